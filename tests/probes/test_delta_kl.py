"""delta_kl: a change must be more than noise and large enough; nothing is asserted over part of the prompts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.errors import ProbeError
from sway_dash.core.events import Measurement
from sway_dash.core.result import Verdict
from sway_dash.core.scoring import TokenDist
from sway_dash.core.stats import null_stats
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.measure import measuring_order
from sway_dash.suite.runner import run
from tests.fakes_cli import UNMEASURABLE, Exact, amplitude

LN2 = math.log(2)
NAMES = [f"p{i}" for i in range(8)]


def probe(**keys: Any):
    return build_probe({"name": "moved", "kind": "delta_kl", "prompts": NAMES, **keys})


def measured(values, **fields):
    return [
        Measurement(probe="moved", item=i, prompt=f"p{i}", js=v, kl=2 * v, kl_reverse=3 * v, same_top=1.0, **fields)
        for i, v in enumerate(values)
    ]


def judged(values, *, null=None, draws=None, seed=0, **keys: Any):
    cls, spec = probe(**keys)
    ctx = RunContext(
        seed=seed,
        null_stats={} if null is None else {"delta_kl": null},
        null_draws={} if draws is None else {"moved": {"rank_1.00": draws}},
    )
    return cls.judge(spec, ctx, measured(values))


def spread(centre: float, n: int = 8) -> list[float]:
    return [centre * (0.8 + 0.4 * i / (n - 1)) for i in range(n)]


def test_no_prompts_is_an_error_that_says_what_to_do():
    cls, spec = probe(prompts=[])
    result = cls.run(spec, RunContext(backend=Exact()))
    assert (result.verdict, result.message) == (Verdict.ERROR, "no prompts: add at least one")


def test_the_raw_value_is_the_mean_over_the_prompts_with_an_interval_around_it():
    cls, spec = probe()
    result = cls.run(spec, RunContext(backend=Exact()))
    assert result.raw == pytest.approx(np.mean([amplitude(p) for p in NAMES]), abs=1e-12)
    lo, hi = result.ci_95
    assert 0.0 <= lo < result.raw < hi <= LN2
    assert result.verdict is Verdict.PASS
    assert result.evidence["per_prompt"] == [amplitude(p) for p in NAMES]
    assert result.evidence["prompts"] == NAMES
    assert result.evidence["max"] == max(amplitude(p) for p in NAMES)
    assert result.evidence["num_prompts"] == 8


def test_below_four_prompts_there_is_no_interval_and_the_reason_is_said():
    result = judged([0.1, 0.2, 0.3], prompts=NAMES[:3])
    assert result.ci_95 is None
    assert result.evidence["ci_note"] == "no interval below 4 items (n = 3)"
    # The public format has a verdict of any number of prompts, so what it rests on is said.
    assert "too few prompts for an interval: the verdict is of these 3 alone" in result.message
    assert "too few" not in judged([0.1, 0.2, 0.3, 0.2], prompts=NAMES[:4]).message


def test_identical_sides_are_zero_and_fail():
    same = TokenDist(np.arange(3), np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32)), 3)
    answers = DummyResponses(token_dists=dict.fromkeys(NAMES, same))
    cls, spec = probe()
    result = cls.run(spec, RunContext(backend=DummyDifferentialBackend(base=answers, ft=answers)))
    assert result.raw == 0.0
    assert result.verdict is Verdict.FAIL
    assert "base and tuned are identical on 8 of 8" in result.message


def test_js_of_two_point_distributions_has_the_closed_form():
    p, q = np.array([0.9, 0.1]), np.array([0.4, 0.6])

    def dist(mass):
        return TokenDist(np.arange(2), np.log(mass).astype(np.float32), 2)

    backend = DummyDifferentialBackend(
        base=DummyResponses(token_dists={"x": dist(p)}), ft=DummyResponses(token_dists={"x": dist(q)})
    )
    m = (p + q) / 2
    js = 0.5 * float((p * np.log(p / m)).sum()) + 0.5 * float((q * np.log(q / m)).sum())
    kl = float((q * np.log(q / p)).sum())
    for kind, expected in (("js", js), ("kl", kl)):
        cls, spec = probe(prompts=["x"], divergence=kind)
        result = cls.run(spec, RunContext(backend=backend))
        assert result.raw == pytest.approx(expected, rel=1e-6)
        assert result.evidence["mean_kl"] == pytest.approx(kl, rel=1e-6)
        assert result.evidence["mean_kl_reverse"] == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-6)
        assert result.evidence["exact"]


def test_numbers_that_are_none_stop_the_probe():
    nan = TokenDist(np.arange(2), np.array([np.nan, -1.0], dtype=np.float32), 10)
    backend = DummyDifferentialBackend(ft=DummyResponses(token_dists=dict.fromkeys(NAMES, nan)))
    cls, spec = probe()
    with pytest.raises(ProbeError, match="non-finite"):
        cls.run(spec, RunContext(backend=backend))


def test_without_a_null_only_the_size_is_judged_and_the_message_says_so():
    assert judged(spread(0.05)).verdict is Verdict.PASS
    small = judged(spread(0.01))
    assert small.verdict is Verdict.FAIL
    assert "below the gate of 0.02" in small.message
    assert small.message.endswith("(no calibration for delta_kl)")
    assert small.z_score is None


# A null of twenty draws with mean 0.01 and population standard deviation 0.001.
WIDE = [0.009, 0.011] * 10
NULL = null_stats(WIDE)


@pytest.mark.parametrize(
    ("centre", "verdict", "why"),
    [
        (0.05, Verdict.PASS, "large and far from noise"),
        (0.0125, Verdict.FAIL, "z is 2.5"),
        (0.0145, Verdict.FAIL, "z is 4.5 but the effect is below the gate"),
    ],
)
def test_a_change_must_be_both_significant_and_large(centre, verdict, why):
    result = judged(spread(centre), null=NULL, draws=WIDE)
    assert result.z_score == pytest.approx((centre - 0.01) / 0.001, rel=1e-6), why
    assert result.verdict is verdict, why


def test_a_large_z_over_few_draws_is_not_enough():
    # Two draws: z = 4 population standard deviations is t(1) = 4 / √2 / √1.5 = 2.31, p = 0.13 (0.15 of logarithms).
    draws = [0.009, 0.011]
    result = judged(spread(0.014), null=null_stats(draws), draws=draws, assert_mean_gte=0.001)
    assert result.z_score == pytest.approx(4.0)
    assert result.evidence["null"]["p_prediction"] == pytest.approx(0.15, abs=0.005)
    assert result.verdict is Verdict.FAIL
    # The effect alone would be worth everything: a failure says why and scores as one.
    assert result.evidence["reasons"] == ["random adapters do as well: p=0.15 above 0.05"]
    assert result.evidence["reasons"][0] in result.message
    assert result.score < 0.6


def test_a_significant_p_is_not_enough_below_the_z_gate():
    result = judged(spread(0.0125), null=NULL, draws=WIDE, assert_mean_gte=0.001)
    assert result.evidence["null"]["p_prediction"] < 0.05
    assert result.verdict is Verdict.FAIL
    passing = judged(spread(0.0125), null=NULL, draws=WIDE, assert_mean_gte=0.001, assert_z_gte=2.0)
    assert passing.verdict is Verdict.PASS


def test_a_degenerate_null_gives_no_z_and_leaves_the_size():
    result = judged(spread(0.05), null=null_stats([0.01]), draws=[0.01])
    assert result.z_score is None
    assert result.verdict is Verdict.PASS


def test_the_null_of_the_own_entry_comes_before_that_of_the_kind():
    other = null_stats([0.2, 0.3])
    result = judged(spread(0.05), null=other, draws=WIDE)
    assert result.z_score == pytest.approx(40.0)
    assert result.evidence["null"]["n"] == 20
    assert result.evidence["null"]["p_rank"] == pytest.approx(1 / 21)
    assert result.evidence["null"]["largest_draw"] == 0.011


def test_noise_that_does_as_well_caps_the_score():
    strong = judged(spread(0.2))
    beaten = judged(spread(0.2), null=null_stats([0.1, 0.3] * 5), draws=[0.1, 0.3] * 5)
    assert strong.score == pytest.approx(1.0)
    assert beaten.score == pytest.approx(0.0, abs=1e-9)
    assert judged(spread(0.02)).score == pytest.approx(0.6)


def test_part_of_the_prompts_is_never_a_pass():
    assert judged(spread(0.05)[:6]).verdict is Verdict.WARN
    assert judged(spread(0.001)[:6]).verdict is Verdict.FAIL
    partial = judged(spread(0.05)[:6])
    assert partial.evidence["unmeasured_prompts"] == 2
    assert "2 prompts not measured" in partial.message


def test_nothing_measured_is_an_error():
    assert judged([]).verdict is Verdict.ERROR


def test_a_tenth_of_failed_prompts_is_a_warning_and_more_an_error():
    cls, spec = probe(prompts=[*(f"q{i}" for i in range(9)), UNMEASURABLE])
    assert cls.run(spec, RunContext(backend=Exact())).verdict is Verdict.WARN
    cls, spec = probe(prompts=["a", UNMEASURABLE])
    with pytest.raises(ProbeError, match="1 of 2"):
        cls.run(spec, RunContext(backend=Exact()))


def test_the_order_of_the_prompts_changes_no_number():
    there = judged(spread(0.05))
    back = judged(spread(0.05)[::-1])
    assert there.raw == back.raw
    assert there.score == back.score


def test_tags_reach_the_evidence():
    cls, spec = probe(prompts=[{"text": "a", "tags": ["x"]}, "b"])
    result = cls.run(spec, RunContext(backend=Exact()))
    assert result.evidence["tags"] == [["x"], []]


def test_an_inexact_backend_says_how_far_off_it_can_be():
    cls, spec = probe()
    result = cls.run(spec, RunContext(backend=DummyDifferentialBackend()))
    assert not result.evidence["exact"]
    assert result.evidence["max_error_bound"] > 0.0


def test_the_own_top_k_goes_to_the_backend_and_else_that_of_the_suite():
    asked = []

    class Spy(DummyDifferentialBackend):
        def activate(self, view):
            manager = super().activate(view)
            scorer = self._views[view]
            scorer.next_token_dist_batch = lambda prompts, *, top_k: (  # type: ignore[method-assign]
                asked.append((view.id, list(prompts), top_k)) or [scorer.next_token_dist(p) for p in prompts]
            )
            return manager

    for own, expected in ((None, 9), (5, 5)):
        asked.clear()
        cls, spec = probe(top_k=own)
        cls.run(spec, RunContext(backend=Spy(), top_k=9))
        # One call a view holds all prompts, in the order the seed gives.
        names = [NAMES[i] for i in measuring_order(len(NAMES), 0)]
        assert asked == [("base", names, expected), ("ft", names, expected)]


def test_judging_again_needs_no_backend_and_gives_the_same():
    seen = []
    cls, spec = probe()
    first = cls.run(spec, RunContext(backend=Exact(), emit=seen.append))
    again = cls.judge(spec, RunContext(), seen)
    assert again == first


def test_a_prompt_that_is_listed_twice_is_not_twice_the_evidence(dummy_spec):
    once = dummy_spec({"name": "d", "kind": "delta_kl", "prompts": ["a", "b", "c", "d", "e"]})
    often = dummy_spec({"name": "d", "kind": "delta_kl", "prompts": ["a", "b", "c", "d", "e", "e", "e", "e"]})
    (want,), (got,) = (run(spec, Exact()).probes for spec in (once, often))
    assert (got.raw, got.ci_95) == (want.raw, want.ci_95)
    assert got.evidence["num_prompts"] == 8
    assert got.evidence["distinct_prompts"] == 5
    assert "3 of 8 are repeats" in got.message


class Shuffled(Exact):
    """Takes prompts one by one in the order of the seed, as a model takes its batches."""

    def compare(self, reference, views, prompts, **how):
        order = measuring_order(len(prompts), how["seed"])
        for at, view, answer in super().compare(reference, views, [prompts[i] for i in order], **how):
            yield order[at], view, answer


def test_prompts_are_taken_in_one_order_whatever_is_known_already_or_listed_twice():
    texts = [f"prompt {i}" for i in range(40)]
    order = measuring_order(40, 5)

    def taken(texts, recall=lambda key: None):
        seen: list[Any] = []
        cls, spec = probe(prompts=texts)
        cls.run(spec, RunContext(backend=Shuffled(), emit=seen.append, seed=5, fingerprint="f", recall=recall))
        return [m for m in seen if not m.reused]

    whole = taken(texts)
    assert [m.item for m in whole] == order
    known = {m.key: m for m in whole[:16]}
    assert taken(texts, known.get) == whole[16:]
    again = [*texts[:30], texts[3], *texts[31:]]
    came = list(dict.fromkeys(m.prompt for m in taken(again)))
    assert came == [texts[i] for i in order if i != 30]


def test_what_takes_long_is_measured_in_random_portions():
    seen = []

    class Along(Exact):
        def compare(self, reference, views, prompts, **how):
            asked.append(list(prompts))
            yield from super().compare(reference, views, prompts, **how)

    for positions, sizes in (("next", [40]), ("continuation", [16, 16, 8])):
        asked: list[list[str]] = []
        cls, spec = probe(prompts=[f"prompt {i}" for i in range(40)], positions=positions)
        cls.run(spec, RunContext(backend=Along(), emit=seen.append, seed=5))
        assert [len(block) for block in asked] == sizes
    order = measuring_order(40, 5)
    assert set(asked[0]) == {f"prompt {i}" for i in order[:16]}
    assert len({m.prompt for m in seen}) == 40
