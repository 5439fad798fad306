"""adapter_ablation: shapes of the λ curve with closed-form numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.events import Measurement
from sway_dash.core.result import Verdict
from sway_dash.core.scoring import BASE, FINETUNED
from sway_dash.probes import build_probe
from sway_dash.probes.adapter_ablation import (
    _Shape,
    exponent_at_1,
    overshoot,
    r_squared,
    saturation_lambda,
    sqrt_linearity,
)
from sway_dash.probes.base import RunContext, ViewPair
from tests.fakes_cli import Exact, amplitude

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
NAMES = ("a", "b", "c", "d", "e")


def probe(**keys: Any):
    return build_probe({"name": "shape", "kind": "adapter_ablation", "prompts": list(NAMES), **keys})


def judged(curve, *, lambdas=LAMBDAS, scales=(0.8, 0.9, 1.0, 1.1, 1.2), drop=(), repeats=1, **keys: Any):
    """Judge synthetic measurements: every prompt follows ``curve(λ)`` times its own scale."""
    cls, spec = probe(lambdas=list(lambdas), **keys)
    rows = []
    for lam in lambdas:
        for i, (name, scale) in enumerate(list(zip(NAMES, scales, strict=True)) * repeats):
            if (lam, i) in drop:
                continue
            js = max(0.0, curve(lam) * scale)
            rows.append(
                Measurement(
                    probe="shape",
                    item=i,
                    prompt=name,
                    role="ablation",
                    lam=lam,
                    js=js,
                    kl=js,
                    kl_reverse=js,
                    same_top=1,
                )
            )
    return cls.judge(spec, RunContext(), rows)


def test_no_prompts_is_an_error_before_the_backend_is_looked_at():
    cls, spec = probe(prompts=[])
    assert cls.run(spec, RunContext(backend=None)).verdict is Verdict.ERROR


def test_a_backend_that_cannot_scale_is_a_skip():
    cls, spec = probe()
    result = cls.run(spec, RunContext(backend=ViewPair(Exact(), BASE, FINETUNED)))
    assert result.verdict is Verdict.SKIP
    assert "ViewPair is no ScalableDifferentialBackend" in result.message


def test_a_curve_that_is_linear_in_the_root_passes_with_all_its_numbers():
    result = judged(lambda lam: 0.1 * lam**2)
    assert result.verdict is Verdict.PASS
    assert result.raw == pytest.approx(1.0)
    e = result.evidence
    assert e["mean_divergence_per_lambda"] == pytest.approx([0.1 * lam**2 for lam in LAMBDAS])
    assert e["overshoot"] == pytest.approx(1.25**2)
    # 90 % of the effect at λ = 1 needs λ ≥ √0.9 = 0.949.
    assert (e["saturation_lambda"], e["saturation_reason"]) == (1.0, "found")
    assert e["exponent_at_1"] == pytest.approx(2.0)
    assert e["monotonic"]
    assert result.score == pytest.approx(1.0)
    assert result.ci_95 == pytest.approx((1.0, 1.0))
    assert "(no calibration for adapter_ablation)" in result.message


def test_the_public_r_squared_of_the_same_curve_is_lower():
    e = judged(lambda lam: 0.1 * lam**2).evidence
    x = np.array(LAMBDAS)
    assert e["linearity_public"] == pytest.approx(np.corrcoef(x, 0.1 * x**2)[0, 1] ** 2)
    assert e["linearity_public"] < e["linearity"]


def test_a_flat_curve_is_a_warning_without_a_number():
    result = judged(lambda lam: 0.0)
    assert result.verdict is Verdict.WARN
    assert (result.raw, result.score, result.ci_95) == (None, 0.0, None)
    assert "the curve is flat" in result.message
    assert result.evidence["saturation_reason"] == "flat_curve"


def test_a_curve_of_rounding_is_judged_like_an_exactly_flat_one():
    exact, rounding = judged(lambda lam: 0.0), judged(lambda lam: 1e-14 * (1.0 + (lam * 7.3) % 1.0))
    assert rounding.verdict is Verdict.WARN
    assert (rounding.raw, rounding.score, rounding.message) == (None, 0.0, exact.message)
    for key in ("linearity", "saturation_lambda", "saturation_reason", "overshoot", "exponent_at_1", "monotonic"):
        assert rounding.evidence[key] == exact.evidence[key]
    # What was measured is kept as it was.
    assert rounding.evidence["mean_divergence_per_lambda"][0] == pytest.approx(1e-14)
    assert judged(lambda lam: 1e-6 * lam**2).verdict is Verdict.PASS


def test_an_effect_that_is_not_reached_is_told_in_a_whole_sentence():
    _, spec = probe()
    said = _Shape(spec, LAMBDAS, [math.nan] * len(LAMBDAS)).sentence(spec)
    assert "90 % of the effect is not reached within λ [0.3, 1.05]" in said


def test_a_saturating_curve_fails_where_it_saturates_too_early():
    result = judged(lambda lam: 0.1 if lam > 0 else 0.0)
    e = result.evidence
    assert (e["saturation_lambda"], e["saturation_reason"]) == (0.25, "found")
    assert not e["passed_saturation"]
    assert e["overshoot"] == pytest.approx(1.0)
    assert result.verdict is Verdict.FAIL
    assert "outside [0.3, 1.05]" in result.message or "outside (0.3, 1.05)" in result.message


def test_a_curve_that_levels_off_late_is_inside_the_band():
    e = judged(lambda lam: 0.1 * math.tanh(2 * lam) ** 2).evidence
    # tanh²(2 λ) ≥ 0.9 tanh²(2) = 0.836 first at λ = 0.75: tanh²(1.5) = 0.819 is not enough, so λ = 1.
    assert e["saturation_lambda"] == 1.0
    assert e["passed_saturation"]


def test_a_decreasing_curve_fails():
    result = judged(lambda lam: 0.1 * (1.3 - lam))
    e = result.evidence
    assert e["saturation_lambda"] == 0.0
    assert not e["monotonic"]
    assert e["linearity"] == 0.0
    assert result.verdict is Verdict.FAIL
    assert "the effect shrinks somewhere as λ grows" in result.message


def test_a_curve_that_falls_beyond_one_does_not_overshoot():
    result = judged(lambda lam: 0.1 * lam**2 if lam <= 1 else 0.05)
    assert result.evidence["overshoot"] == pytest.approx(0.5)
    assert not result.evidence["passed_overshoot"]
    assert result.verdict is Verdict.FAIL
    # Two of three are as good as can be: the public weights make that 0.7. The least of the three is worth nothing.
    assert result.evidence["weighted_score"] == pytest.approx(0.7)
    assert result.score == 0.0
    assert "overshoot 0.50 < 1.02" in result.message


def test_a_healthy_curve_with_a_dip_inside_is_only_a_warning():
    dip = {0.0: 0.0, 0.25: 0.012, 0.5: 0.011, 0.75: 0.06, 1.0: 0.1, 1.25: 0.15}
    result = judged(dip.__getitem__)
    assert result.evidence["saturation_reason"] == "non_monotonic"
    assert result.verdict is Verdict.WARN


def test_without_lambda_one_there_is_no_overshoot_and_the_largest_value_counts():
    lambdas = (0.0, 0.3, 0.6, 0.9)
    e = judged(lambda lam: 0.1 * lam**2, lambdas=lambdas).evidence
    assert e["overshoot"] == 1.0
    assert e["exponent_at_1"] is None
    assert e["saturation_lambda"] == 0.9
    assert e["linearity"] == pytest.approx(1.0)


def test_a_curve_without_enough_strengths_between_zero_and_one_has_no_shape():
    result = judged(lambda lam: 0.1 * lam**2, lambdas=(1.5, 2.0, 3.0))
    assert result.raw is None
    assert result.verdict is not Verdict.PASS


def test_the_order_of_the_strengths_in_the_file_does_not_matter():
    straight = judged(lambda lam: 0.1 * lam**2)
    shuffled = judged(lambda lam: 0.1 * lam**2, lambdas=(1.0, 0.0, 1.25, 0.5, 0.25, 0.75))
    assert shuffled.evidence == straight.evidence


def test_negative_strengths_do_not_disturb_the_line():
    e = judged(lambda lam: 0.1 * lam**2, lambdas=(-0.5, 0.0, 0.5, 1.0)).evidence
    assert e["linearity"] == pytest.approx(1.0)
    assert e["monotonic"]


def test_only_prompts_measured_at_every_strength_count():
    result = judged(lambda lam: 0.1 * lam**2, drop={(0.5, 0), (1.0, 3)})
    assert result.evidence["prompts"] == ["b", "c", "e"]
    assert len(result.evidence["per_prompt_curves"]) == 3
    assert result.ci_95 is None
    assert result.evidence["ci_95_per_lambda"] is None


def test_no_complete_curve_is_an_error():
    result = judged(lambda lam: lam, drop={(0.5, i) for i in range(5)})
    assert result.verdict is Verdict.ERROR
    assert "no prompt has been measured at all 6 strengths" in result.message


def test_bands_hold_the_means():
    e = judged(lambda lam: 0.1 * lam**2).evidence
    for mean, (lo, hi) in zip(e["mean_divergence_per_lambda"], e["ci_95_per_lambda"], strict=True):
        assert 0.0 <= lo <= mean <= hi


def test_zero_and_one_are_the_base_and_the_trained_adapter():
    backend = Exact()
    cls, spec = probe(prompts=["a"], lambdas=[0, 0.5, 1])
    result = cls.run(spec, RunContext(backend=backend))
    assert [view for view, _ in backend.calls] == ["base", "scaled_0.5", "ft"]
    assert result.evidence["mean_divergence_per_lambda"] == pytest.approx([0, amplitude("a") / 4, amplitude("a")])


def test_the_dummy_can_be_ablated():
    cls, spec = probe()
    result = cls.run(spec, RunContext(backend=DummyDifferentialBackend()))
    means = result.evidence["mean_divergence_per_lambda"]
    assert means[0] == 0.0
    assert means == sorted(means)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [([], [], 0.0), ([1], [1], 0.0), ([1, 1], [1, 2], 0.0), ([1, 2], [3, 3], 1.0), ([0, 1, 2], [1, 3, 5], 1.0)],
)
def test_r_squared_at_its_edges(x, y, expected):
    assert r_squared(x, y) == pytest.approx(expected)


def test_r_squared_is_that_of_a_regression():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20))
    assert r_squared(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


@pytest.mark.parametrize(
    ("divs", "expected"),
    [
        ([0, 0.5, 0.8, 0.95, 1], (0.75, "found")),
        ([0, 0.95, 0.7, 1], (0.25, "found")),
        ([0, 0.6, 0.4, 0.95, 1], (0.75, "non_monotonic")),
        ([1, 0.5, 0.2], (0.0, "found")),
        ([0.1, math.nan, 0.5], (None, "flat_curve")),
        ([0, 0, 0], (None, "flat_curve")),
        ([], (None, "flat_curve")),
    ],
)
def test_where_a_curve_saturates(divs, expected):
    assert saturation_lambda([0.25 * i for i in range(len(divs))], divs) == expected


def test_overshoot_and_exponent_need_a_divergence_at_one():
    assert overshoot([0, 1, 2], [0, 0.1, 0.3]) == pytest.approx(3.0)
    assert overshoot([0, 0.5, 1], [0, 0.1, 0.3]) == 1.0
    assert overshoot([0, 1, 2], [0, 0.0, 0.3]) == 1.0
    assert exponent_at_1([0, 0.5, 1], [0, 0.05, 0.1]) == pytest.approx(1.0)
    assert exponent_at_1([0, 1], [0, 0.1]) is None


def test_linearity_of_a_flat_curve_is_not_a_number():
    assert sqrt_linearity([0, 0.5, 1], [0, 0, 0]) is None
    assert sqrt_linearity([0, 0.5, 1], [0.1, 0.1, 0.1]) is None
    assert sqrt_linearity([], []) is None
    assert sqrt_linearity([0, 0.5, 1], [0, 0.025, 0.1]) == pytest.approx(1.0)


def test_a_prompt_listed_twice_counts_once():
    twice = judged(lambda lam: 0.1 * lam**2, prompts=[*NAMES, *NAMES], repeats=2)
    once = judged(lambda lam: 0.1 * lam**2)
    for key in ("ci_95_per_lambda", "mean_divergence_per_lambda", "prompts", "raw_ci_95"):
        assert twice.evidence[key] == once.evidence[key]


def test_the_score_is_that_of_the_common_scale():
    # λ² grown by 1.25² and straight: everything at its target. At a gate: 0.6, whichever of them it is.
    square = judged(lambda lam: 0.1 * lam**2)
    assert square.score == pytest.approx(1.0)
    grown = judged(lambda lam: 0.1 * lam**2, assert_overshoot_gte=1.25**2)
    assert grown.score == pytest.approx(0.6)
    bent = {lam: 0.1 * lam for lam in LAMBDAS}.__getitem__
    linearity = judged(bent).raw
    assert judged(bent, assert_linearity_gte=linearity).score == pytest.approx(0.6)
    scores = [judged(bent, assert_linearity_gte=gate).score for gate in (0.2, 0.5, 0.7, linearity, 0.95, 0.99)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)


def test_what_grows_no_further_is_worth_the_gate_where_no_growth_is_asked_for():
    flat = {lam: min(lam, 1.0) ** 2 * 0.1 for lam in LAMBDAS}.__getitem__
    result = judged(flat, assert_overshoot_gte=1.0)
    assert (result.verdict, result.evidence["overshoot"]) == (Verdict.PASS, 1.0)
    assert result.score == pytest.approx(0.6)
    assert judged(flat, assert_overshoot_gte=0.9).score > 0.6
