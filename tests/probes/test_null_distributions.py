"""Several kinds of noise in one suite: drawn, kept and compared apart; the closest one is judged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import NULL_STYLES
from sway_dash.core.stats import next_draw_p, null_stats
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.null_adapter import calibration, noise_cap, noise_does_as_well
from sway_dash.suite.fold import with_null
from sway_dash.suite.runner import run
from tests.fakes_cli import Exact, amplitude, null_js

A = {"name": "a", "kind": "delta_kl", "prompts": ["one", "two"]}
FAINT = [0.010, 0.011, 0.012, 0.011, 0.010]
LOUD = [0.20, 0.25, 0.22, 0.24, 0.21]


def noise(style: str, **keys: Any) -> dict[str, Any]:
    return {"name": style, "kind": "null_adapter", "runs": 3, "distribution": style, **keys}


def mean_null(style: str, seed: int) -> float:
    return math.fsum(null_js(p, seed, 1.0, style) for p in A["prompts"]) / 2


def made(style: str, draws: list[float], name: str = "noise") -> ProbeResult:
    stats = {"delta_kl": null_stats(draws)}
    evidence = {
        "distribution": style,
        "null_stats": stats,
        "null_stats_by_rank": {"rank_1.00": stats},
        "null_draws": {"a": {"rank_1.00": draws}},
    }
    return ProbeResult(name, "null_adapter", Verdict.PASS, 1.0, evidence=evidence)


def against(raw: float, *results: ProbeResult, sign: int = 1):
    ctx = RunContext()
    for result in results:
        ctx = with_null(ctx, result)
    return calibration(ctx, build_probe(A)[1], raw, sign=sign)


def test_every_draw_of_every_distribution_is_stored(dummy_spec):
    *nulls, moved = run(dummy_spec(*map(noise, NULL_STYLES), A), Exact()).probes
    for style, row in zip(NULL_STYLES, nulls, strict=True):
        assert row.evidence["distribution"] == style
        expected = [mean_null(style, 1000 + i) for i in range(3)]
        assert row.evidence["null_draws"]["a"]["rank_1.00"] == pytest.approx(expected)
    told = moved.evidence["null"]["by_distribution"]
    assert set(told) == set(NULL_STYLES)
    for style in NULL_STYLES:
        draws = [mean_null(style, 1000 + i) for i in range(3)]
        assert told[style]["p_prediction"] == pytest.approx(next_draw_p(moved.raw, draws, positive=True))
    assert "of the trained spectrum" in nulls[2].message


def test_the_closest_null_is_judged(dummy_spec):
    *_, moved = run(dummy_spec(*map(noise, NULL_STYLES), A), Exact()).probes
    told = moved.evidence["null"]
    closest = max(told["by_distribution"].values(), key=lambda facts: facts["p_prediction"])
    assert told["distribution"] == "spectrum"
    assert told["p_prediction"] == closest["p_prediction"]
    assert moved.z_score == closest["z"]
    assert "of the trained spectrum, n=3" in moved.message
    assert "closest of 3 nulls" in moved.message
    alone = run(dummy_spec(noise("gaussian"), A), Exact()).probes[1]
    assert alone.z_score > moved.z_score


@pytest.mark.parametrize("order", [("gaussian", "spectrum"), ("spectrum", "gaussian")])
def test_the_order_of_the_entries_does_not_matter(order):
    draws = {"gaussian": FAINT, "spectrum": LOUD}
    found = against(0.23, *(made(style, draws[style]) for style in order))
    assert found.distribution == "spectrum"
    assert found.p > 0.05
    assert against(0.23, made("gaussian", FAINT)).p < 0.001


def test_what_is_above_one_kind_of_noise_and_inside_another_is_no_finding(dummy_spec):
    class Loud(Exact):
        """Noise of the trained spectrum does about as much as the trained adapter."""

        def _one(self, view, prompt):
            found = super()._one(view, prompt)
            times = 1.0 + 0.1 * (view.seed % 5)
            return found if view.style == "gaussian" else replace(found, js=times * amplitude(prompt))

    alone = run(dummy_spec(noise("gaussian"), A), Loud()).probes[-1]
    both = run(dummy_spec(noise("gaussian"), noise("spectrum", runs=5), A), Loud()).probes[-1]
    assert (alone.verdict, both.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert both.score < 0.6 <= alone.score
    assert both.evidence["null"]["by_distribution"]["gaussian"]["p_prediction"] < 0.01


def test_noise_that_does_not_vary_and_does_less_is_passed_over_and_said():
    said = []
    ctx = RunContext(emit=said.append)
    for result in (made("gaussian", FAINT), made("spectrum", [0.05] * 5)):
        ctx = with_null(ctx, result)
    found = calibration(ctx, build_probe(A)[1], 0.23)
    assert (found.distribution, found.among) == ("gaussian", ())
    (warned,) = said
    assert warned.message == (
        "random adapters (of the trained spectrum) do not differ: all 5 give 0.05 for a, p=0.17 by rank, and no z"
    )


@pytest.mark.parametrize(("raw", "sign"), [(0.75, 1), (0.5, 1), (0.75, -1), (0.8, -1)])
def test_what_noise_that_does_not_vary_does_as_well_is_no_finding(raw, sign):
    found = against(raw, made("norm_matched", [0.75] * 20), sign=sign)
    assert (found.z, found.p, found.rank_p, found.n) == (0.0, 1.0, 1.0, 20)
    assert noise_does_as_well(found, 3.0) == "random adapters do as well: z below 3, p=1 above 0.05"
    assert found.sentence == "not beyond the null (of the trained size, n=20, all draws alike)"
    # One draw is none to compare with, and neither are statistics without draws.
    assert against(raw, made("norm_matched", [0.75]), sign=sign) is None
    assert calibration(RunContext(null_stats={"delta_kl": null_stats([0.75] * 20)}), build_probe(A)[1], raw) is None


def test_the_least_z_and_the_largest_p_are_judged_whichever_null_they_come_from():
    few, many = [0.009, 0.011], [0.009, 0.011, 0.0125, 0.0075] * 10
    found = against(0.0152, made("spectrum", few), made("norm_matched", many))
    by = {c.distribution: c for c in found.among}
    assert by["spectrum"].p > by["norm_matched"].p
    assert by["spectrum"].z > 3.0 > by["norm_matched"].z
    assert (found.distribution, found.p) == ("spectrum", by["spectrum"].p)
    assert (found.z, found.z_by_rank) == (by["norm_matched"].z, by["norm_matched"].z_by_rank)
    assert "z against the one of the trained size" in found.sentence


def test_more_than_noise_needs_z_and_p():
    assert noise_does_as_well(None, 3.0) == ""
    assert noise_cap(None, 3.0) == 1.0
    clear = against(0.23, made("gaussian", FAINT))
    assert (noise_does_as_well(clear, 3.0), noise_cap(clear, 3.0)) == ("", 1.0)
    # Of two draws even a z of 5 is no small p.
    few = against(0.015, made("gaussian", [0.009, 0.011]))
    assert few.z == pytest.approx(5.0)
    assert noise_does_as_well(few, 3.0) == "random adapters do as well: p=0.11 above 0.05"
    assert noise_cap(few, 3.0) == 0.59
    assert noise_cap(against(0.0115, made("gaussian", FAINT)), 3.0) < 0.59


def test_draws_of_another_entry_are_no_null_of_this_one():
    # The draws of "a" failed, those of another entry of its kind did not: their statistics are of other prompts.
    other = made("gaussian", FAINT)
    other.evidence["null_draws"] = {"b": other.evidence["null_draws"]["a"]}
    assert against(0.23, other) is None
    # Statistics that came without any draws stand for the kind.
    other.evidence["null_draws"] = {}
    assert against(0.23, other).p < 0.001


def test_for_smaller_is_better_the_closest_is_the_one_least_undercut():
    found = against(0.15, made("gaussian", LOUD), made("spectrum", FAINT), sign=-1)
    assert found.distribution == "spectrum"
    assert found.p > 0.99
    assert against(0.15, made("gaussian", LOUD), sign=-1).p < 0.05


def test_of_one_distribution_the_later_entry_counts():
    found = against(0.23, made("spectrum", LOUD), made("spectrum", FAINT))
    assert found.p < 0.001
    assert found.among == ()


def test_the_null_of_the_public_format_is_the_gaussian_one(dummy_spec):
    for order in (NULL_STYLES, NULL_STYLES[::-1]):
        result = run(dummy_spec(*map(noise, order), A), Exact())
        own = next(p for p in result.probes if p.name == "gaussian").evidence
        assert result.null_stats == own["null_stats"]
    result = run(dummy_spec(noise("spectrum"), A), Exact())
    assert result.null_stats == result.probes[0].evidence["null_stats"]


def test_results_from_before_there_were_distributions_are_gaussian():
    old = made("gaussian", FAINT)
    del old.evidence["distribution"]
    assert against(0.23, old).distribution == "gaussian"
    kept = RunContext(null_stats={"delta_kl": null_stats(FAINT)})
    assert calibration(kept, build_probe(A)[1], 0.23).distribution == "gaussian"


@pytest.mark.parametrize("style", ["norm_matched", "spectrum"])
def test_draws_of_one_distribution_are_never_taken_for_another(dummy_spec, style):
    first = run(dummy_spec(noise("gaussian"), A), Exact()).probes[0]
    row = run(dummy_spec(noise(style), A), Exact()).probes[0]
    again = run(dummy_spec(noise(style, init_scale=0.5), A), Exact()).probes[0]
    assert (row.evidence["reused"], again.evidence["from_cache"]) == (0, True)
    assert row.evidence["null_draws"] != first.evidence["null_draws"]
    assert again.evidence["null_draws"] == row.evidence["null_draws"]


def test_a_backend_that_has_gaussian_nulls_alone_says_so(dummy_spec):
    class Plain(Exact):
        null_styles = ("gaussian",)

    row, moved = run(dummy_spec(noise("spectrum"), A), Plain()).probes
    assert row.verdict is Verdict.SKIP
    assert "Plain has no such random adapters: use distribution: gaussian" in row.message
    assert moved.z_score is None


def test_other_names_of_distributions_are_refused():
    from sway_dash.core.errors import SpecValidationError

    with pytest.raises(SpecValidationError, match="distribution"):
        build_probe(noise("uniform"))


def test_what_the_noise_leaves_out_is_said(dummy_spec):
    class Biased(Exact):
        def null_leaves_out(self, style):
            return ("biases",) if style == "gaussian" else ()

    row = run(dummy_spec(noise("gaussian"), A), Biased()).probes[0]
    assert "without biases, which stay the base's" in row.message
    assert row.evidence["left_out"] == ["biases"]
    assert run(dummy_spec(noise("spectrum"), A), Biased()).probes[0].evidence["left_out"] == []


def test_the_dummys_other_nulls_are_as_large_as_its_tuned_side():
    import numpy as np

    backend = DummyDifferentialBackend(base=DummyResponses(), ft=DummyResponses())
    with backend.as_base() as view:
        base = view.next_token_dist("x").logprobs.astype(float)
    with backend.as_finetuned() as view:
        change = np.linalg.norm(view.next_token_dist("x").logprobs - base)
    for style in ("norm_matched", "spectrum"):
        with backend.as_null_adapter(3, style=style) as view:
            moved = view.next_token_dist("x").logprobs - base
        # Up to the constant that makes it a distribution again.
        best = min(np.linalg.norm(moved - c) for c in np.linspace(-10, 10, 4001))
        assert best <= change * 1.001
        assert best > 0.3 * change
