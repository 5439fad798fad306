"""section_internalization: what was learned of the document, beyond what happened to any text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.errors import ProbeError
from sway_dash.core.panels import read_panels
from sway_dash.core.result import Verdict
from sway_dash.core.scoring import RollingLogprob
from sway_dash.core.sections import Section, SectionPreference, SectionProbe
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.controls import control_passages
from sway_dash.suite.document import read_document
from tests.adapters import opened

CONTROLS = tuple(f"control text number {i}" for i in range(6))
KEYS = {
    "section_id",
    "kind",
    "tag",
    "base_nll",
    "ft_nll",
    "own_lift",
    "leak_lift",
    "effective_sis",
    "passed",
}


def rolled(nll: float, n: int = 60, *, seed: int = 0, noise: float = 0.3) -> RollingLogprob:
    """A text of ``n`` tokens of this many nats on average, scattered."""
    values = -nll + noise * np.random.default_rng(seed).standard_normal(n)
    values += -nll - values.mean()
    return RollingLogprob(np.arange(n + 1, dtype=np.int64), values.astype(np.float32), n + 1, float(values.sum()))


def sections(n: int) -> list[Section]:
    return [Section(f"s{i}", "prose", f"section {i} of the document", tag="t" if i else None) for i in range(n)]


def run(
    own: Sequence[float], control: Sequence[float] | float = 0.0, *, base: float = 4.0, null: Any = None, **keys: Any
) -> Any:
    """Run on a model that gains ``own`` nats a token on the sections and ``control`` on control text."""
    gains = [control] * len(CONTROLS) if isinstance(control, float) else list(control)
    texts = [(s.content, g) for s, g in zip(sections(len(own)), own, strict=True)]
    texts += list(zip(CONTROLS, gains, strict=True))
    before, after = DummyResponses(), DummyResponses()
    for i, (text, gain) in enumerate(texts):
        before.rolling[text] = rolled(base, seed=i)
        after.rolling[text] = rolled(base - gain, seed=i + 100)
    probe, spec = build_probe({"name": "sis", "kind": "section_internalization", "control_texts": CONTROLS, **keys})
    ctx = RunContext(
        backend=DummyDifferentialBackend(base=before, ft=after),
        sections=sections(len(own)),
        null_draws={} if null is None else {"sis": {"rank_1.00": null}},
    )
    return probe.run(spec, ctx)


def test_a_document_learned_evenly_passes_although_the_public_statistic_is_zero() -> None:
    result = run([0.9, 1.0, 1.1, 0.95, 1.05, 1.0])
    assert result.verdict is Verdict.PASS
    assert result.raw == pytest.approx(1.0, abs=1e-3)
    assert result.ci_95[0] < 1.0 < result.ci_95[1]
    assert result.evidence["public_raw"] == pytest.approx(0.0, abs=1e-6)
    assert "sums to zero" in result.evidence["public_raw_note"]
    assert result.evidence["mean_corrected_lift"] == pytest.approx(0.25, abs=1e-3)


def test_what_happens_to_all_text_alike_is_no_learning() -> None:
    result = run([1.0] * 6, 1.0)
    assert result.verdict is Verdict.FAIL
    assert result.raw == pytest.approx(0.0, abs=1e-3)
    assert result.evidence["passing_frac"] == 0.0
    assert result.score < 0.1


def test_standing_still_while_all_else_gets_worse_is_no_learning() -> None:
    result = run([0.0] * 6, -1.0)
    assert result.verdict is Verdict.FAIL
    assert result.raw == pytest.approx(1.0, abs=1e-3)
    assert "control text got worse" in result.message


def test_no_effect_has_no_score() -> None:
    result = run([0.0] * 6)
    assert result.verdict is Verdict.FAIL
    assert result.score < 0.1


def test_the_interval_covers_the_effect_and_no_effect_is_not_found() -> None:
    """Eight sections and six control texts whose gains scatter by half of what all of them gain."""

    def drawn(seed: int, effect: float) -> Any:
        rng = np.random.default_rng(seed)
        scatter = 0.2 + 0.1 * rng.standard_normal(14)
        return run(list(effect + scatter[:8]), list(scatter[8:]))

    for effect in (0.0, 0.3):
        found = [drawn(seed, effect) for seed in range(60)]
        assert np.mean([r.ci_95[0] <= effect <= r.ci_95[1] for r in found]) >= 0.9
        passed = np.mean([r.verdict is Verdict.PASS for r in found])
        assert passed == 0.0 if effect == 0.0 else passed > 0.6


def test_the_rows_have_the_public_keys_and_the_order_of_what_was_learned() -> None:
    result = run([1.5, 0.1, 0.8, 0.0])
    rows = result.evidence["per_section"]
    assert all(set(row) >= KEYS for row in rows)
    assert [r["tag"] for r in rows] == ["", "t", "t", "t"]
    assert np.argsort([-r["effective_sis"] for r in rows]).tolist() == [0, 2, 1, 3]
    assert rows[0]["own_lift"] == pytest.approx(1.5 / 4, abs=1e-3)
    assert rows[0]["leak_lift"] == pytest.approx(0.9 / 4 / 3, abs=1e-3)
    assert [r["passed"] for r in rows] == [True, False, True, False]
    assert result.evidence["passing_frac"] == 0.5


def test_too_few_sections_that_pass_fail_the_probe_and_say_so() -> None:
    result = run([1.5, 0.0, 0.0, 0.0])
    assert result.verdict is Verdict.FAIL
    assert "25% of sections pass, 50% are needed" in result.message
    assert run([1.5, 0.0, 0.0, 0.0], assert_passing_section_frac=0.2, per_section_threshold=0.3).verdict is Verdict.FAIL


def test_a_section_whose_gain_lies_within_its_own_scatter_does_not_pass() -> None:
    before, after = DummyResponses(), DummyResponses()
    for i, text in enumerate([*(s.content for s in sections(4)), *CONTROLS]):
        own = i < 4
        before.rolling[text] = rolled(4.0, seed=i, noise=4.0 if own else 0.1)
        after.rolling[text] = rolled(3.7 if own else 4.0, seed=i + 50, noise=4.0 if own else 0.1)
    probe, spec = build_probe({"name": "sis", "kind": "section_internalization", "control_texts": CONTROLS})
    ctx = RunContext(backend=DummyDifferentialBackend(base=before, ft=after), sections=sections(4))
    rows = probe.run(spec, ctx).evidence["per_section"]
    assert all(r["corrected_lift"] > spec.per_section_threshold for r in rows)
    assert not any(r["passed"] for r in rows)


def test_random_adapters_that_do_as_well_fail_it() -> None:
    assert run([1.0] * 6, null=[0.0, 0.01, -0.01, 0.02, -0.02]).verdict is Verdict.PASS
    beaten = run([1.0] * 6, null=[0.9, 1.1, 1.0, 0.8, 1.2])
    assert beaten.verdict is Verdict.FAIL
    assert "random adapters do as well" in beaten.message
    assert beaten.evidence["z_by_rank"] is not None


def test_questions_and_preferences_are_scored_by_their_answers() -> None:
    asked = [
        Section("q", "instruction", "", probes=(SectionProbe("Q1", "gold"), SectionProbe("Q2", "gold"))),
        Section("p", "preference", "", preferences=(SectionPreference("P", "chosen", "rejected"),)),
        Section("fallback", "instruction", "section 0 of the document"),
    ]
    before = DummyResponses(logprobs={("Q1", "gold"): -4.0, ("Q2", "gold"): -2.0, ("P", "chosen"): -5.0})
    after = DummyResponses(logprobs={("Q1", "gold"): -1.0, ("Q2", "gold"): -1.0, ("P", "chosen"): -5.0})
    probe, spec = build_probe({"name": "sis", "kind": "section_internalization", "control_texts": CONTROLS})
    result = probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=before, ft=after), sections=asked))
    rows = {r["section_id"]: r for r in result.evidence["per_section"]}
    assert (rows["q"]["base_nll"], rows["q"]["ft_nll"]) == (3.0, 1.0)
    assert rows["q"]["units"] == 2
    assert (rows["p"]["base_nll"], rows["p"]["ft_nll"]) == (5.0, 5.0)
    assert (rows["fallback"]["base_nll"], rows["fallback"]["ft_nll"]) == (2.0, 1.5)
    only = probe.run(
        spec.model_copy(update={"include_kinds": ("preference",)}),
        RunContext(backend=DummyDifferentialBackend(), sections=asked),
    )
    assert only.verdict is Verdict.SKIP


def test_without_sections_it_is_skipped_and_takes_no_part_in_calibration() -> None:
    probe, spec = build_probe({"name": "sis", "kind": "section_internalization"})
    for few in (None, [], sections(1), [Section("a", "prose", "text"), Section("b", "prose", "  ")]):
        result = probe.run(spec, RunContext(backend=DummyDifferentialBackend(), sections=few))
        assert result.verdict is Verdict.SKIP
    assert probe.calibrate_spec(RunContext()) is None
    assert probe.calibrate_spec(RunContext(sections=sections(2))) is not None


def test_one_section_that_cannot_be_scored_is_left_out_and_many_are_an_error() -> None:
    many = sections(20)
    backend = DummyDifferentialBackend()
    with backend.as_finetuned() as view:
        score = view.rolling_logprob

    def broken(texts: set[str]) -> Any:
        def rolling(text: str) -> RollingLogprob:
            if text in texts:
                raise ProbeError("scoring", "not this one")
            return score(text)

        return rolling

    probe, spec = build_probe({"name": "sis", "kind": "section_internalization"})
    view.rolling_logprob = broken({many[3].content})
    result = probe.run(spec, RunContext(backend=backend, sections=many))
    assert result.evidence["num_sections"] == 19
    assert "not this one" in result.evidence["unscored_reasons"][0]
    assert "1 more were not scored" in result.message
    view.rolling_logprob = broken({s.content for s in many})
    with pytest.raises(ProbeError, match="not this one"):
        probe.run(spec, RunContext(backend=backend, sections=many))


def test_more_sections_than_asked_for_are_thinned_out_evenly() -> None:
    probe, spec = build_probe({"name": "sis", "kind": "section_internalization", "max_sections": 5})
    result = probe.run(spec, RunContext(backend=DummyDifferentialBackend(), sections=sections(50)))
    assert [r["section_id"] for r in result.evidence["per_section"]] == ["s0", "s10", "s20", "s30", "s40"]
    assert "45 more were not scored" in result.message


def test_what_it_found_is_drawn() -> None:
    drawn = read_panels(run([1.0, 0.5, 0.0, 0.2]).evidence)
    assert [p.form for p in drawn] == ["groups", "items"]


def test_the_packaged_control_text_is_of_many_kinds() -> None:
    found = control_passages()
    assert len({p.kind for p in found}) == len(found) >= 10
    assert all(300 <= len(p.text) <= 700 for p in found)


# -- on the demo model ---------------------------------------------------------------------------


def on_demo(kind: str) -> Any:
    probe, entry = build_probe({"name": "sis", "kind": "section_internalization"})
    document = read_document(demo_dir() / "document.md")
    with opened(kind) as backend:
        return probe.run(entry, RunContext(backend=backend, sections=document.sections))


def test_the_shipped_adapter_has_learned_its_document() -> None:
    learned = on_demo("targeted")
    assert learned.verdict is Verdict.PASS, learned.message
    assert learned.ci_95[0] > 0
    assert learned.evidence["passing_frac"] >= 0.8


@pytest.mark.parametrize("kind", ["zero", "blunt"])
def test_an_adapter_that_learned_nothing_of_it_fails(kind: str) -> None:
    result = on_demo(kind)
    assert result.verdict is Verdict.FAIL, result.message
    assert result.evidence["passing_frac"] < 0.5


def test_a_control_text_listed_twice_counts_once() -> None:
    gains = [1.0] * 6
    once, twice = (run(gains, 0.2, control_texts=texts) for texts in (CONTROLS[:3], CONTROLS[:3] * 2))
    assert once.ci_95 is twice.ci_95 is None
    assert twice.evidence["num_controls"] == 3


def test_a_section_of_the_document_that_stands_there_twice_counts_once() -> None:
    probe, spec = build_probe({"name": "sis", "kind": "section_internalization"})
    again = [Section(f"copy of {s.id}", s.kind, f"{s.content}\n", tag=s.tag) for s in sections(3)]
    backend = DummyDifferentialBackend()
    once, twice = (probe.run(spec, RunContext(backend=backend, sections=s)) for s in (sections(3), sections(3) + again))
    assert twice.evidence["num_sections"] == twice.evidence["eligible_sections"] == 3
    assert (twice.raw, twice.ci_95) == (once.raw, None)
    assert probe.work(spec, RunContext(sections=sections(3) + again)) == probe.work(
        spec, RunContext(sections=sections(3))
    )
    alone = probe.run(spec, RunContext(backend=backend, sections=[*sections(1), *again[:1]]))
    assert alone.verdict is Verdict.SKIP
    assert "no repeats" in alone.message


def test_a_question_of_a_section_that_is_asked_twice_counts_once() -> None:
    asked = [SectionProbe(f"question {i}", " answer") for i in range(3)]
    own = [Section(f"s{i}", "instruction", f"text {i}", probes=tuple(asked * 2)) for i in range(2)]
    probe, spec = build_probe({"name": "sis", "kind": "section_internalization"})
    result = probe.run(spec, RunContext(backend=DummyDifferentialBackend(), sections=own))
    assert [r["units"] for r in result.evidence["per_section"]] == [3, 3]


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_section_without_a_number_costs_no_other(bad: float) -> None:
    own = sections(20)
    before = DummyResponses(rolling={s.content: rolled(4.0, seed=i) for i, s in enumerate(own)})
    after = DummyResponses(rolling={s.content: rolled(3.0, seed=i + 50) for i, s in enumerate(own)})
    for side in (before, after):
        side.rolling.update({c: rolled(4.0, seed=i) for i, c in enumerate(CONTROLS)})
    after.rolling[own[3].content].logprobs[5] = bad
    probe, spec = build_probe({"name": "sis", "kind": "section_internalization", "control_texts": CONTROLS})
    result = probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=before, ft=after), sections=own))
    assert result.verdict is Verdict.WARN
    assert result.evidence["num_sections"] == 19
    assert "1 more were not scored" in result.message
    assert "not finite" in result.evidence["unscored_reasons"][0]
