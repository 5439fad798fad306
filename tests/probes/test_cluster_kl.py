"""cluster_kl: a change that keeps to one topic passes; noise, an even change and too small a change do not."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.events import Measurement
from sway_dash.core.panels import read_panels
from sway_dash.core.result import Verdict
from sway_dash.core.scoring import NoiseFloor, View
from sway_dash.core.stats import null_stats
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.cluster_kl import ClusterKLProbe, find_topics
from tests.adapters import made
from tests.fakes_cli import Exact

WORDS = ("one", "two", "three", "four", "five", "six", "seven")
BREAD = [f"the loaf of bread number {w} is baked with flour" for w in WORDS]
BOATS = [f"sailing boats leave harbour {w} at high tide" for w in WORDS]
TEXTS = [*BREAD, *BOATS]


def entry(**keys: Any) -> tuple[Any, Any]:
    keys = {"prompts": TEXTS, "num_clusters": 2, "min_prompts": 8, **keys}
    return build_probe({"name": "topics", "kind": "cluster_kl", **keys})


def judged(values: Any, *, ctx: RunContext | None = None, tags: list[list[str]] | None = None, **keys: Any) -> Any:
    prompts: list[Any] = TEXTS
    if tags is not None:
        prompts = [{"text": t, "tags": own} for t, own in zip(TEXTS, tags, strict=True)]
    probe, spec = entry(prompts=prompts, **keys)
    tagged = find_topics(spec, 0).prompts
    found = [
        Measurement(probe="topics", item=i, prompt=p.text, tags=p.tags, js=v, kl=v, kl_reverse=v, same_top=1.0)
        for i, (p, v) in enumerate(zip(tagged, values, strict=False))
    ]
    return probe.judge(spec, ctx or RunContext(), found)


def split(high: float, low: float, spread: float = 0.1) -> list[float]:
    steps = 1.0 + spread * np.linspace(-1.0, 1.0, 7)
    return [*(high * steps), *(low * steps)]


# -- what is refused, in order -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "verdict", "words"),
    [
        ({"prompts": []}, Verdict.ERROR, "no prompts"),
        ({"min_prompts": 20}, Verdict.SKIP, "≥20"),
        ({"num_clusters": 8}, Verdict.SKIP, "num_clusters=8"),
        ({"topics": "tags"}, Verdict.SKIP, "at least two tags"),
        (
            {"topics": "tags", "prompts": [{"text": t, "tags": [t]} for t in TEXTS]},
            Verdict.SKIP,
            "two prompts of one tag",
        ),
    ],
)
def test_what_cannot_be_judged_is_not_measured(keys: dict[str, Any], verdict: Verdict, words: str) -> None:
    probe, spec = entry(**keys)
    backend = Exact()
    result = probe.run(spec, RunContext(backend=backend))
    assert result.verdict is verdict
    assert words in result.message
    assert backend.calls == []


def test_without_scikit_learn_it_is_skipped_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    probe, spec = entry()
    result = probe.run(spec, RunContext(backend=Exact()))
    assert result.verdict is Verdict.SKIP
    assert "semsim" in result.message
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    result = probe.run(spec, RunContext(backend=Exact()))
    assert result.verdict is Verdict.SKIP
    assert "scikit-learn" in result.message


# -- verdicts ------------------------------------------------------------------------------------


def test_a_change_that_keeps_to_one_topic_passes_and_the_topic_is_named() -> None:
    result = judged(split(0.4, 0.002))
    assert result.verdict is Verdict.PASS
    assert result.raw > 0.8
    assert result.evidence["icc"] > 0.9
    assert result.evidence["p_permutation"] < 0.01
    assert result.evidence["per_cluster_size"] == [7, 7]
    assert result.evidence["per_cluster_mean_kl"] == pytest.approx([0.4, 0.002])
    assert result.evidence["moved_most"] == "cluster 1"
    assert BREAD[0] in result.evidence["cluster_exemplars"][0]
    lo, hi = result.ci_95
    assert 0.0 <= lo <= result.raw <= hi <= 1.0
    # The number of the table is in the sentence beside the one that is judged.
    assert f"a share of {result.raw:.3g} of the spread" in result.message
    assert f"ICC(1) {result.evidence['icc']:.3g}" in result.message


def test_a_change_that_is_as_large_everywhere_fails() -> None:
    rng = np.random.default_rng(5)
    result = judged(0.3 + 0.05 * rng.normal(size=14))
    assert result.verdict is Verdict.FAIL
    assert any("dealt at random" in r for r in result.evidence["reasons"])
    assert any("below the gate" in r for r in result.evidence["reasons"])
    assert result.score < 0.3


def test_by_chance_alone_nothing_passes() -> None:
    rng = np.random.default_rng(6)
    tags = [["a"]] * 7 + [["b"]] * 7
    found = [judged(np.exp(rng.normal(size=14)), topics="tags", tags=tags) for _ in range(8)]
    assert not any(r.verdict is Verdict.PASS for r in found)
    # The public metric is not 0 then: this is why it does not decide.
    assert np.mean([r.raw for r in found]) > 0.02


def test_however_clear_the_contrast_a_change_of_nothing_fails() -> None:
    result = judged(split(1e-6, 1e-9))
    assert result.verdict is Verdict.FAIL
    assert result.evidence["icc"] > 0.9
    assert "no topic moved by 0.005 nats" in result.message
    assert result.score < 0.001
    nearly = judged(split(0.0049, 0.00001))
    assert nearly.evidence["reasons"] == ["no topic moved by 0.005 nats (most: 0.0049)"]
    assert 0.5 < nearly.score < 0.6
    assert judged(split(0.4, 0.002), assert_moved_gte=0.0).score > 0.9


def test_topics_that_cannot_be_compared_are_not_called_alike() -> None:
    tags = [["a"]] * 7 + [["b"]] * 7
    one = judged(split(0.4, 0.002)[:7], topics="tags", tags=tags)
    assert (one.verdict, one.raw) == (Verdict.ERROR, None)
    assert "the 7 prompts that were measured are all of one topic" in one.message
    tags = [["a"], *([f"b{i}"] for i in range(12)), ["a"]]
    alone = judged(split(0.4, 0.002)[:13], topics="tags", tags=tags)
    assert (alone.verdict, alone.raw) == (Verdict.ERROR, None)
    assert "the 13 prompts that were measured are each of another topic" in alone.message


def test_significant_but_weak_fails_by_the_gate() -> None:
    values = split(0.4, 0.2, spread=0.8)
    result = judged(values, topics="tags", tags=[["a"]] * 7 + [["b"]] * 7)
    assert 0.0 < result.evidence["icc"] < 0.6
    assert result.verdict is Verdict.FAIL
    lenient = judged(values, topics="tags", tags=[["a"]] * 7 + [["b"]] * 7, assert_specificity_gte=0.1)
    assert lenient.verdict is (Verdict.PASS if lenient.evidence["p_permutation"] <= 0.05 else Verdict.FAIL)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_no_spread_at_all_is_degenerate(value: float) -> None:
    result = judged([value] * 14)
    assert (result.verdict, result.raw, result.score, result.z_score) == (Verdict.WARN, 0.5, 0.0, None)
    assert result.message.startswith("degenerate")
    assert result.evidence["degenerate_zero_variance"] is True
    assert "z_by_rank" not in result.evidence


def test_a_spread_of_rounding_alone_is_no_change() -> None:
    found = judged(split(2e-5, 1e-5), ctx=RunContext(noise=NoiseFloor(prompts=4, js=1e-4, kl=1e-3)))
    assert (found.verdict, found.evidence["icc"]) == (Verdict.WARN, None)
    assert "no prompt is changed" in found.message
    assert "no prompt is changed" not in judged(split(2e-5, 1e-5)).message


def test_noise_that_is_as_specific_fails_it() -> None:
    draws = [0.9, 0.95] * 5
    ctx = RunContext(null_stats={"cluster_kl": null_stats(draws)}, null_draws={"topics": {"rank_1.00": draws}})
    result = judged(split(0.4, 0.002), ctx=ctx)
    assert result.verdict is Verdict.FAIL
    assert "vs null" in result.message
    assert any("z below 3" in r for r in result.evidence["reasons"])
    low = [0.05, 0.1] * 5
    ctx = RunContext(null_stats={"cluster_kl": null_stats(low)}, null_draws={"topics": {"rank_1.00": low}})
    assert judged(split(0.4, 0.002), ctx=ctx).verdict is Verdict.PASS
    # Far from two draws, but two draws cannot say where the next one would fall.
    few = [0.85, 0.89]
    ctx = RunContext(null_draws={"topics": {"rank_1.00": few}})
    result = judged(split(0.4, 0.002), ctx=ctx)
    assert result.z_score > 3.0
    assert (result.verdict, len(result.evidence["reasons"])) == (Verdict.FAIL, 1)
    assert "above 0.05" in result.message
    assert result.score < 0.6


def test_tags_serve_as_topics_and_prompts_without_one_are_left_out() -> None:
    tags = [["a"]] * 6 + [[]] + [["b", "c"]] * 7
    result = judged(split(0.4, 0.002), topics="tags", tags=tags)
    assert result.evidence["topics"] == ["a", "b"]
    assert result.evidence["per_cluster_size"] == [6, 7]
    assert result.evidence["prompts_without_topic"] == 1


def test_part_of_the_prompts_is_no_pass() -> None:
    result = judged(split(0.4, 0.002)[:12])
    assert result.verdict is Verdict.WARN
    assert "2 prompts not measured" in result.message


def test_what_it_found_is_drawn_and_fits_into_json() -> None:
    result = judged(split(0.4, 0.002), num_clusters=3)
    (groups,) = read_panels(result.evidence)
    assert len(groups.groups) == 3
    json.dumps(result.evidence, allow_nan=False)


def test_judging_again_takes_the_topics_it_was_measured_with_and_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    probe, spec = entry()
    seen: list[Any] = []
    first = probe.run(spec, RunContext(backend=Exact(), emit=seen.append))
    assert "TF-IDF" in first.evidence["topics_from"]
    assert {m.tags[-1] for m in seen} == {"cluster 1", "cluster 2"}
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    again = probe.judge(spec, RunContext(), seen)
    assert (again.verdict, again.raw, again.score, again.message) == (
        first.verdict,
        first.raw,
        first.score,
        first.message,
    )
    assert again.evidence["labels"] == first.evidence["labels"]


def test_noise_is_drawn_over_the_same_topics_with_one_reference_pass() -> None:
    probe, spec = entry()
    backend = Exact()
    views = [View.null(s) for s in (1, 2, 3)]
    found = probe.draw_null(spec, RunContext(backend=backend), views)
    assert set(found) == set(views)
    assert all(0.0 <= v <= 1.0 for v in found.values())
    assert len(backend.calls) == 3 * len(TEXTS)


def test_the_spec_for_a_null_without_an_own_entry_can_be_run() -> None:
    spec = ClusterKLProbe.calibrate_spec(RunContext())
    assert (len(spec.prompts), spec.num_clusters, spec.min_prompts) == (8, 2, 8)
    result = ClusterKLProbe().run(spec, RunContext(backend=DummyDifferentialBackend()))
    assert result.verdict in (Verdict.WARN, Verdict.FAIL)


# -- on the demo model ---------------------------------------------------------------------------


def on_demo(kind: str, *others: dict[str, Any], **keys: Any) -> list[Any]:
    """The result with these settings, and with ``others`` over the same measurements."""
    import yaml

    from sway_dash.backends.hf import HuggingFaceDifferentialBackend
    from sway_dash.core.model import ModelSpec

    suite = yaml.safe_load((demo_dir() / "sway.yaml").read_text(encoding="utf-8"))["suite"]
    prompts = next(e for e in suite if e["name"] == "next_token")["prompts"]
    probe, spec = entry(prompts=prompts, min_prompts=20, **keys)
    seen: list[Any] = []
    model = ModelSpec(base=str(demo_dir() / "model"), device="cpu", dtype="fp32")
    backend = HuggingFaceDifferentialBackend(base_spec=model, adapter_path=made(kind))
    try:
        found = [probe.run(spec, RunContext(backend=backend, emit=seen.append))]
    finally:
        backend.close()
    for other in others:
        probe, spec = entry(prompts=prompts, min_prompts=20, **other)
        found.append(probe.judge(spec, RunContext(), seen))
    return found


def test_the_shipped_adapter_keeps_to_its_topic() -> None:
    by_wording, by_tag = on_demo("targeted", {"topics": "tags"}, num_clusters=2)
    assert by_tag.verdict is Verdict.PASS, by_tag.message
    assert by_tag.evidence["moved_most"] == "on-topic"
    assert by_wording.evidence["p_permutation"] < 0.01


def test_a_random_change_of_the_same_size_does_not() -> None:
    (result,) = on_demo("blunt", topics="tags")
    assert result.verdict is Verdict.FAIL, result.message


def test_an_adapter_that_does_nothing_is_no_pass() -> None:
    (result,) = on_demo("zero", topics="tags")
    assert result.verdict is Verdict.WARN
