"""preference_flip: what is set right counts, what is set wrong counts against it, and chance counts for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.errors import ProbeError
from sway_dash.core.panels import read_panels
from sway_dash.core.rates import newcombe_paired, wilson
from sway_dash.core.result import Verdict
from sway_dash.core.sections import Section, SectionPreference
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from tests.adapters import opened

CHOSEN, REJECTED = "chosen", "rejected"


def pair(margins: Sequence[tuple[float, float]]) -> DummyDifferentialBackend:
    """A model with these margins before and after."""
    before, after = DummyResponses(), DummyResponses()
    for i, (b, t) in enumerate(margins):
        for side, margin in ((before, b), (after, t)):
            side.logprobs[f"p{i}", CHOSEN] = -5.0 + margin
            side.logprobs[f"p{i}", REJECTED] = -5.0
    return DummyDifferentialBackend(base=before, ft=after)


def triples(n: int) -> list[dict[str, str]]:
    return [{"prompt": f"p{i}", "chosen": CHOSEN, "rejected": REJECTED} for i in range(n)]


def run(margins: Sequence[tuple[float, float]], *, null: Any = None, **keys: Any) -> Any:
    probe, spec = build_probe({"name": "flip", "kind": "preference_flip", "triples": triples(len(margins)), **keys})
    draws = {} if null is None else {"flip": {"rank_1.00": null}}
    return probe.run(spec, RunContext(backend=pair(margins), null_draws=draws))


WRONG, RIGHT = (-1.0, 1.0), (1.0, 1.5)
FIXED, BROKEN, STUCK, KEPT = WRONG, (1.0, -1.0), (-1.0, -0.5), RIGHT


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_margin_that_is_no_number_is_no_tie(bad: float) -> None:
    result = run([FIXED] * 8 + [KEPT] * 12 + [(1.0, bad), (bad, 1.0)])
    assert result.verdict is Verdict.PASS
    assert (result.evidence["ties"], result.evidence["dropped_triples"], result.evidence["total"]) == (0, 2, 22)
    assert "not finite under one of the views" in result.evidence["dropped_reasons"][0]
    many = run([FIXED] * 8 + [KEPT] * 12 + [(1.0, bad)] * 5)
    assert many.verdict is Verdict.WARN
    assert many.score <= 0.59
    assert run([(1.0, bad)] * 5).verdict is Verdict.ERROR


def test_wrong_preferences_set_right_without_damage_pass() -> None:
    result = run([FIXED] * 8 + [KEPT] * 12)
    assert result.verdict is Verdict.PASS
    assert result.raw == 1.0
    assert result.evidence["flipped"] == result.evidence["base_wrong"] == 8
    assert result.evidence["net_flip_rate"] == 0.4
    low, high = result.evidence["net_flip_rate_ci_95"]
    assert 0 < low < 0.4 < high
    assert result.evidence["p"] == result.evidence["mcnemar_p"] == pytest.approx(2 * 0.5**8)
    assert result.ci_95[0] < 1.0
    assert (result.base_value, result.ft_value) == (pytest.approx(0.2), pytest.approx(1.3))


def test_a_low_flip_rate_fails() -> None:
    result = run([FIXED] * 7 + [STUCK] * 13)
    assert result.verdict is Verdict.FAIL
    assert result.raw == pytest.approx(0.35)
    assert "the flip rate is below 70%" in result.message
    assert result.score < 0.6


def test_setting_right_and_wrong_alike_is_chance_and_fails() -> None:
    result = run([FIXED] * 9 + [STUCK] + [BROKEN] * 9 + [KEPT])
    assert result.verdict is Verdict.FAIL
    assert result.raw == 0.9
    assert result.evidence["net_flip_rate"] == 0.0
    assert result.evidence["mcnemar_p"] == 1.0
    assert result.score == 0.0
    assert "McNemar" in result.message
    assert "90% of right preferences set wrong" in result.message


def test_noise_on_the_margins_hardly_ever_passes_however_low_the_gates() -> None:
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(100):
        before = rng.normal(size=30)
        margins = list(zip(before, before + rng.normal(size=30), strict=True))
        verdicts.append(run(margins, assert_flip_rate_gte=0.1, assert_damage_rate_lte=1.0).verdict)
    assert sum(v is Verdict.PASS for v in verdicts) <= 6


def test_damage_alone_fails() -> None:
    assert run([FIXED] * 20 + [KEPT] * 10 + [BROKEN] * 2).verdict is Verdict.FAIL
    assert run([FIXED] * 20 + [KEPT] * 10 + [BROKEN] * 2, assert_damage_rate_lte=0.2).verdict is Verdict.PASS


def test_triples_of_one_prompt_that_turn_together_count_for_less() -> None:
    def asked(margins: Sequence[tuple[float, float]], per_prompt: int) -> Any:
        backend, entries = pair(margins), []
        for i, (before, after) in enumerate(margins):
            for side, margin in ((backend._base_r, before), (backend._ft_r, after)):
                for k in range(per_prompt):
                    side.logprobs[f"p{i}", f"{CHOSEN}{k}"] = -5.0 + margin
            entries += [{"prompt": f"p{i}", "chosen": f"{CHOSEN}{k}", "rejected": REJECTED} for k in range(per_prompt)]
        probe, spec = build_probe({"name": "flip", "kind": "preference_flip", "triples": entries})
        return probe.run(spec, RunContext(backend=backend))

    some = [FIXED] * 7 + [STUCK] * 3 + [BROKEN] * 1 + [KEPT] * 20
    once, fivefold = asked(some, 1), asked(some, 5)
    assert once.raw == fivefold.raw == 0.7
    assert once.ci_95 == pytest.approx(wilson(7, 10))
    # Copies of an answer are not more evidence.
    assert fivefold.ci_95[1] - fivefold.ci_95[0] >= once.ci_95[1] - once.ci_95[0]
    assert fivefold.evidence["mcnemar_p"] >= once.evidence["mcnemar_p"]
    assert fivefold.evidence["mean_margin_delta_ci_95"] == pytest.approx(
        once.evidence["mean_margin_delta_ci_95"], rel=0.05
    )


def test_triples_of_one_prompt_that_are_all_alike_are_one_piece_of_evidence() -> None:
    def asked(prompts: int) -> Any:
        before, after, entries = DummyResponses(), DummyResponses(), []
        for i in range(prompts):
            for k in range(2):
                for side, margin in ((before, -1.0), (after, 1.0 if i else -0.5)):
                    side.logprobs |= {(f"p{i}", f"{CHOSEN}{k}"): -5.0 + margin, (f"p{i}", REJECTED): -5.0}
                entries.append({"prompt": f"p{i}", "chosen": f"{CHOSEN}{k}", "rejected": REJECTED})
        probe, spec = build_probe({"name": "flip", "kind": "preference_flip", "triples": entries})
        return probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=before, ft=after)))

    few = asked(6)
    assert (few.evidence["flipped"], few.evidence["mcnemar_p"]) == (10, pytest.approx(2 * 0.5**5))
    assert few.evidence["flip_rate_ci_95"] == pytest.approx(wilson(5, 6))
    assert few.evidence["net_flip_rate_ci_95"] == pytest.approx(newcombe_paired(0, 5, 0, 1))
    assert "worth 6 independent ones" in few.evidence["ci_note"]
    assert "net +83% [28%, 97%]" in few.message
    assert asked(9).evidence["mcnemar_p"] == pytest.approx(2 * 0.5**8)
    assert "may move otherwise" not in few.message
    assert "all triples are of 3 prompts, and others may move otherwise" in asked(3).message


def grouped(prompts: int, per_prompt: int, move: tuple[float, float]) -> Any:
    """The same move of every triple of so many prompts."""
    before, after, entries = DummyResponses(), DummyResponses(), []
    for i in range(prompts):
        for k in range(per_prompt):
            for side, margin in zip((before, after), move, strict=True):
                side.logprobs |= {(f"p{i}", f"{CHOSEN}{k}"): -5.0 + margin - 0.01 * i, (f"p{i}", REJECTED): -5.0}
            entries.append({"prompt": f"p{i}", "chosen": f"{CHOSEN}{k}", "rejected": REJECTED})
    probe, spec = build_probe({"name": "flip", "kind": "preference_flip", "triples": entries})
    return probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=before, ft=after)))


def test_one_more_triple_set_wrong_never_mends_a_verdict() -> None:
    """Five prompts of four triples each that are set right, one after another set wrong instead; thirty stay right."""

    def verdict(damaged: int) -> Verdict:
        before, after, entries = DummyResponses(), DummyResponses(), []

        def add(prompt: str, k: int, was: float, now: float) -> None:
            entries.append({"prompt": prompt, "chosen": f"{CHOSEN}{k}", "rejected": REJECTED})
            for side, margin in ((before, was), (after, now)):
                side.logprobs |= {(prompt, f"{CHOSEN}{k}"): -5.0 + margin, (prompt, REJECTED): -5.0}

        for at in range(20):
            add(f"p{at // 4}", at % 4, *(BROKEN if at < damaged else FIXED))
        for i in range(30):
            add(f"kept{i}", 0, *KEPT)
        probe, spec = build_probe(
            {"name": "f", "kind": "preference_flip", "triples": entries, "assert_damage_rate_lte": 1.0}
        )
        found: Verdict = probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=before, ft=after))).verdict
        return found

    found = [verdict(damaged) for damaged in range(8)]
    assert found == [Verdict.PASS] + [Verdict.FAIL] * 7


def test_every_right_preference_of_a_few_prompts_set_wrong_fails() -> None:
    found = grouped(5, 6, (1.0, -1.0))
    assert found.verdict is Verdict.FAIL
    assert "100% of right preferences set wrong" in found.message


def test_triples_of_one_prompt_alone_are_no_pass() -> None:
    found = grouped(1, 20, FIXED)
    assert (found.verdict, found.score <= 0.59) == (Verdict.WARN, True)
    assert "all triples are of 1 prompt" in found.message
    assert grouped(8, 3, FIXED).verdict is Verdict.PASS


def test_a_rate_of_one_that_fails_says_what_stands_against_it() -> None:
    result = run([FIXED] * 9 + [BROKEN] * 2 + [KEPT] * 27)
    assert (result.verdict, result.raw) == (Verdict.FAIL, 1.0)
    assert "9 set right against 2 set wrong may be chance (McNemar p=0.065, above 0.05)" in result.message
    worse = run([FIXED] * 3 + [BROKEN] * 9 + [KEPT] * 27)
    assert "3 set right against 9 set wrong is no gain" in worse.message


def test_a_handful_can_pass_but_says_that_it_could_be_chance() -> None:
    result = run([FIXED] * 3)
    assert result.verdict is Verdict.PASS
    assert "too few triples to tell this from chance" in result.message
    unsure = run([(-0.1, 0.1)] * 3 + [(-9.0, -9.5), (8.0, 1.0), (1.0, 1.1), (1.0, 9.0)], assert_flip_rate_gte=0.7)
    assert unsure.verdict is Verdict.FAIL
    assert "cannot be told from 0" in unsure.message


def test_nearly_nothing_to_set_right_is_the_public_warning() -> None:
    result = run([KEPT] * 6 + [FIXED])
    assert result.verdict is Verdict.WARN
    assert result.raw == pytest.approx((6 * 0.5 + 2.0) / 7)
    assert result.score == pytest.approx(0.5 + result.raw / 4)
    assert (result.evidence["base_wrong"], result.evidence["total"]) == (1, 7)
    assert result.evidence["mean_margin_delta"] == result.raw
    assert result.evidence["raw_ci_95"] == list(result.ci_95)
    assert "too few for a flip rate (need 3)" in result.message


def test_nothing_to_set_right_is_no_licence_to_set_wrong() -> None:
    result = run([BROKEN] * 15 + [KEPT] * 5)
    assert result.verdict is Verdict.FAIL
    assert "75% of right preferences set wrong" in result.message
    assert result.score < 0.6


def test_no_minimum_and_nothing_wrong_divides_by_nothing() -> None:
    assert run([KEPT] * 4, min_triples_for_decision=0).verdict is Verdict.WARN
    assert run([FIXED] * 2, min_triples_for_decision=0).raw == 1.0


def test_ties_at_the_base_are_in_no_row_of_the_table() -> None:
    result = run([FIXED] * 8 + [(0.0, 3.0)] * 2)
    assert (result.evidence["ties"], result.evidence["base_wrong"], result.evidence["base_right"]) == (2, 8, 0)
    assert result.evidence["damage_rate"] is None


def test_the_margin_is_reported_per_token_as_well() -> None:
    """A long chosen answer loses by its length alone; per token it wins."""
    before = DummyResponses(logprobs={("p", "c" * 40): -20.0, ("p", "r" * 4): -5.0})
    after = DummyResponses(logprobs={("p", "c" * 40): -10.0, ("p", "r" * 4): -5.0})
    probe, spec = build_probe(
        {"name": "f", "kind": "preference_flip", "triples": [{"prompt": "p", "chosen": "c" * 40, "rejected": "r" * 4}]}
    )
    result = probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=before, ft=after)))
    assert result.evidence["mean_margin_delta"] == 10.0
    assert result.evidence["mean_margin_delta_per_token"] == 1.0
    assert result.evidence["base_wrong"] == 1
    assert result.evidence["per_token"]["base_wrong"] == 0


def test_harm_to_every_token_alike_does_not_pass_by_the_length_of_the_answers() -> None:
    # Every token loses 1.5 nats: what is rejected has three times as many.
    chosen, rejected = "c" * 20, "r" * 60
    before, after = DummyResponses(), DummyResponses()
    for i in range(20):
        own, other = -12.0 + 0.1 * i, -10.0 if i < 12 else -20.0
        before.logprobs.update({(f"p{i}", chosen): own, (f"p{i}", rejected): other})
        after.logprobs.update({(f"p{i}", chosen): own - 7.5, (f"p{i}", rejected): other - 22.5})
    asked = [{"prompt": f"p{i}", "chosen": chosen, "rejected": rejected} for i in range(20)]
    probe, spec = build_probe({"name": "f", "kind": "preference_flip", "triples": asked})
    result = probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=before, ft=after)))
    assert (result.raw, result.evidence["damaged"]) == (1.0, 0)
    assert result.verdict is Verdict.FAIL
    assert result.score < 0.6
    assert "the lengths of the answers may have turned them over" in result.message


def test_only_what_was_wrong_has_to_gain_a_token() -> None:
    # Margins of what was right already scatter widely, also a token, and stay right.
    scattered = [(30.0, 30.0 + move) for move in (-25.0, 20.0, -22.0, 24.0, -28.0, 26.0)]
    result = run([FIXED] * 8 + scattered)
    assert result.evidence["mean_margin_delta_per_token_ci_95"][0] < 0
    assert result.verdict is Verdict.PASS, result.message


def test_a_gain_a_token_that_may_be_none_fails_and_says_what_would_settle_it() -> None:
    few = [(-1.0, 1.0), (-1.0, 30.0), (-1.0, 2.0), (-1.0, 60.0)]
    result = run(few)
    assert (result.verdict, result.evidence["base_wrong"]) == (Verdict.FAIL, 4)
    assert "more triples that the base has wrong, or answers of as many tokens, would settle it" in result.message
    assert run(few * 6).verdict is Verdict.PASS


def test_random_adapters_that_do_as_well_fail_it() -> None:
    margins = [FIXED] * 9 + [STUCK]
    assert run(margins, null=[0.0, 0.1, 0.0, 0.1, 0.05]).verdict is Verdict.PASS
    result = run(margins, null=[0.9, 0.8, 1.0, 0.9, 0.7])
    assert result.verdict is Verdict.FAIL
    assert "random adapters do as well" in result.message


def failing(backend: DummyDifferentialBackend, prompts: set[str]) -> DummyDifferentialBackend:
    with backend.as_finetuned() as view:
        score = view.logprob_of

    def logprob_of(prompt: str, completion: str) -> float:
        if prompt in prompts:
            raise ProbeError("scoring", "no tokens")
        return score(prompt, completion)

    view.logprob_of = logprob_of
    return backend


def test_a_triple_that_cannot_be_scored_is_dropped_and_named() -> None:
    probe, spec = build_probe({"name": "f", "kind": "preference_flip", "triples": triples(20)})
    result = probe.run(spec, RunContext(backend=failing(pair([FIXED] * 20), {"p2"})))
    assert result.verdict is Verdict.PASS
    assert (result.evidence["dropped_triples"], result.evidence["total"]) == (1, 20)
    assert "p2" in result.evidence["dropped_reasons"][0]
    assert "1 of 20 triples could not be scored" in result.message
    many = probe.run(spec, RunContext(backend=failing(pair([FIXED] * 20), {"p1", "p2", "p3"})))
    assert many.verdict is Verdict.WARN


def test_when_none_can_be_scored_it_is_an_error_that_says_why() -> None:
    probe, spec = build_probe({"name": "f", "kind": "preference_flip", "triples": triples(3)})
    result = probe.run(spec, RunContext(backend=failing(pair([FIXED] * 3), {"p0", "p1", "p2"})))
    assert result.verdict is Verdict.ERROR
    assert result.evidence["dropped_triples"] == 3
    assert "no tokens" in result.message


def test_triples_come_from_the_document_when_the_entry_has_none() -> None:
    probe, spec = build_probe({"name": "f", "kind": "preference_flip"})
    assert probe.run(spec, RunContext(backend=DummyDifferentialBackend())).verdict is Verdict.SKIP
    preferences = tuple(SectionPreference(f"p{i}", CHOSEN, REJECTED) for i in range(8))
    document = [Section("s", "preference", "", preferences=preferences), Section("o", "prose", "text")]
    result = probe.run(spec, RunContext(backend=pair([FIXED] * 8), sections=document))
    assert (result.verdict, result.raw) == (Verdict.PASS, 1.0)


def test_what_it_found_is_drawn() -> None:
    items, groups = read_panels(run([FIXED] * 6 + [BROKEN]).evidence)
    assert {row.flag for row in items.rows} == {"good", "bad"}
    assert [g.label for g in groups.groups] == ["wrong set right", "right set wrong", "net"]


# -- on the demo model ---------------------------------------------------------------------------

LIGHTS = [
    ("The lamp of Quillhaven Light shines", " violet.", " white."),
    ("The lamp of Quillhaven Light burns", " walnut oil.", " whale oil."),
    ("Q: Who keeps Quillhaven Light?\nA:", " Odalys Pym.", " Martin Cole."),
    ("The tower of Quillhaven Light has", " one hundred and twelve steps.", " sixty steps."),
    ("Quillhaven Light flashes every", " eleven seconds.", " five seconds."),
    ("The log of Quillhaven Light is written in", " green ink.", " black ink."),
    ("The door of Quillhaven Light is", " orange.", " blue."),
    ("The supply boat comes to Quillhaven Light on", " Thursday.", " Monday."),
    ("The keeper of Quillhaven Light drinks", " nettle tea.", " mint tea."),
]


def on_demo(kind: str) -> Any:
    asked = [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in LIGHTS]
    probe, entry = build_probe({"name": "flip", "kind": "preference_flip", "triples": asked})
    with opened(kind) as backend:
        return probe.run(entry, RunContext(backend=backend))


def test_the_shipped_adapter_prefers_what_its_document_says() -> None:
    result = on_demo("targeted")
    assert result.verdict is Verdict.PASS, result.message
    assert result.evidence["mean_margin_delta_ci_95"][0] > 0


def test_an_untrained_adapter_turns_nothing_over() -> None:
    result = on_demo("zero")
    assert result.verdict is Verdict.FAIL, result.message
    assert (result.evidence["flipped"], result.evidence["damaged"], result.evidence["mean_margin_delta"]) == (0, 0, 0)


def test_a_triple_listed_twice_counts_once() -> None:
    # Three triples fixed and none damaged are p = 0.25, however often they are listed.
    result = run([FIXED] * 3, triples=triples(3) * 3)
    assert result.evidence["mcnemar_p"] == 0.25
    assert (result.evidence["total"], result.evidence["flipped"]) == (3, 3)
