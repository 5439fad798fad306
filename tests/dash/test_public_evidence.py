"""Results of other programs are drawn from the evidence keys of the public format; nonsense in them is left out."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.core.panels import Curve, Groups, Items, panels
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.figures.evidence import brief, facts, judgement, panels_of
from sway_dash.figures.public_evidence import _BY_KIND, from_public

PUBLIC: dict[str, dict[str, Any]] = {
    "delta_kl": {"per_prompt": [0.1, 0.2], "divergence_kind": "kl"},
    "adapter_ablation": {"lambdas": [0, 0.5, 1], "mean_divergence_per_lambda": [0.0, 0.1, 0.3]},
    "adapter_revert": {
        "per_case": [{"prompt": "p", "cos_ft_base": 0.9, "cos_ft_gold": 0.4, "reverted": True}],
    },
    "prompt_collapse": {"context_lengths": [0, 256], "mean_divergence_per_length": [0.4, 0.1]},
    "cluster_kl": {
        "per_cluster_mean_kl": [0.4, math.nan],
        "per_cluster_size": [3, 0],
        "cluster_exemplars": [["Lamps", "Boats"], []],
    },
    "section_internalization": {
        "per_section": [
            {"section_id": "s1", "kind": "prose", "tag": "", "base_nll": 3.0, "ft_nll": 2.0, "passed": True}
        ]
    },
    "paraphrase_invariance": {"verbatim_lift_mean": 0.5, "paraphrase_lift_mean": 0.1},
    "style_fingerprint": {"base_fp": [1.0] * 6, "ft_fp": [0.5] * 6, "doc_fp": [0.4] * 6},
    "calibration_drift": {
        "worst_offenders": [{"prompt": "2 + 2 =", "gold": " 4", "delta": -1.5}],
        "regression_nats_threshold": 1.0,
    },
    "leakage": {"per_section": [{"section_id": "s1", "clean_recall": 0.5, "perturbed_recall": 0.1}]},
    "external_perplexity": {"per_chunk_delta": [-0.1, 0.02]},
    "tool_use_fidelity": {"json_valid_rate_base": 0.2, "json_valid_rate_ft": 0.9, "hallucination_rate": 0.0},
    "multi_turn_coherence_decay": {"turns_axis": [2, 3], "per_turn_kls": [0.3, 0.2]},
    "gradient_ghost": {"worst_layers": [{"layer": 3, "ratio": 2.5}]},
    "training_drift": {"curve_sampled": [[1, 5.2], [2, 4.1]]},
}


def of(kind: str, evidence: dict[str, Any]) -> ProbeResult:
    return ProbeResult(name="x", kind=kind, verdict=Verdict.PASS, score=1.0, evidence=evidence)


@pytest.mark.parametrize("kind", sorted(_BY_KIND))
def test_public_evidence_is_drawn(kind: str) -> None:
    (panel,) = panels_of(of(kind, PUBLIC[kind]))
    assert panel.title
    if isinstance(panel, Curve):
        assert len(panel.x) == len(panel.y) >= 2
    else:
        assert panel.rows if isinstance(panel, Items) else panel.groups


def test_numbers_stand_where_they_belong() -> None:
    (sections,) = from_public("section_internalization", PUBLIC["section_internalization"])
    assert isinstance(sections, Items)
    assert (sections.rows[0].base, sections.rows[0].tuned, sections.rows[0].flag) == (3.0, 2.0, "good")
    (clusters,) = from_public("cluster_kl", PUBLIC["cluster_kl"])
    assert isinstance(clusters, Groups)
    assert [(g.label, g.value, g.n) for g in clusters.groups] == [("Lamps", 0.4, 3), ("cluster 2", None, 0)]
    (drift,) = from_public("calibration_drift", PUBLIC["calibration_drift"])
    assert isinstance(drift, Items)
    assert (drift.rows[0].tuned, drift.gate) == (-1.5, -1.0)
    (reverted,) = from_public("adapter_revert", PUBLIC["adapter_revert"])
    assert isinstance(reverted, Items)
    assert (reverted.rows[0].tuned, reverted.rows[0].flag) == (pytest.approx(-0.5), "bad")


@pytest.mark.parametrize(("reverted", "flag"), [(True, "bad"), (False, "good"), (None, ""), ("yes", "")])
def test_a_case_that_does_not_say_how_it_ended_is_marked_neither_way(reverted: Any, flag: str) -> None:
    case = {"prompt": "p", "cos_ft_gold": 0.9, "cos_ft_base": 0.2, "reverted": reverted}
    (panel,) = from_public("adapter_revert", {"per_case": [case]})
    assert isinstance(panel, Items)
    assert panel.rows[0].flag == flag


def test_panels_of_the_probe_come_first() -> None:
    own = Items(title="Own", rows=())
    assert panels_of(of("leakage", {**PUBLIC["leakage"], "panels": panels(own)})) == [own]


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(kind=st.sampled_from(sorted(_BY_KIND)), data=st.data())
def test_nonsense_is_left_out(kind: str, data: st.DataObject) -> None:
    evidence = {key: data.draw(json) for key in PUBLIC[kind]}
    panels_of(of(kind, evidence))
    assert all(isinstance(text, str) for pair in facts(evidence) for text in pair)


def test_values_in_a_few_words() -> None:
    assert brief(0.123456) == "0.123"
    assert brief(None) == "—"
    assert brief(True) == "yes"
    assert brief(list(range(9))) == "0, 1, 2, 3, 4, 5 … 9 in all"
    assert brief([]) == "none"
    assert brief("x" * 500) == "x" * 119 + "…"
    assert facts({"a": {"b": {"c": {"d": 1}}}, "weight": 1.0}) == [("A: b: c", "1 key")]


def test_what_is_not_known_is_not_in_the_judgement() -> None:
    assert judgement(of("leakage", {})) == [("Score", "1")]
