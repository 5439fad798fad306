"""Does the effect grow with the adapter's strength λ, and where does it level off?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat, field_validator

from sway_dash.core.divergence import LN2
from sway_dash.core.events import Measurement
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import ScalableDifferentialBackend, View
from sway_dash.core.stats import MIN_ITEMS, bootstrap_ci, mean, no_calibration_note, score_from_anchors
from sway_dash.probes.base import Ask, Probe, RunContext
from sway_dash.probes.measure import FLAT, divergence_bounds, divergence_values, rounding_of
from sway_dash.probes.prompts import ListedPromptSpec

Curve = Sequence[float]

AT_BOUND = 0.8
"""From this share of ln 2 on a mean JS is too close to its bound to be asked to grow."""

LEAST_GROWTH = 0.02
"""How far below its gate an overshoot is worth nothing, at the least."""


class AdapterAblationSpec(ListedPromptSpec):
    """Settings of ``adapter_ablation``."""

    kind: Literal["adapter_ablation"] = "adapter_ablation"
    lambdas: tuple[FiniteFloat, ...] = Field(
        default=(0.0, 0.25, 0.5, 0.75, 1.0, 1.25), min_length=3, description="adapter strengths; 1 is as trained"
    )
    assert_linearity_gte: FiniteFloat = Field(default=0.85, description="smallest R² of √divergence on λ, 0 ≤ λ ≤ 1")
    assert_saturation_between: tuple[FiniteFloat, FiniteFloat] = Field(
        default=(0.3, 1.05), description="where 90 % of the effect at λ = 1 may be reached"
    )
    assert_overshoot_gte: FiniteFloat = Field(default=1.02, description="smallest effect at the largest λ over λ = 1")
    assert_z_gte: FiniteFloat = 3.0

    @field_validator("lambdas")
    @classmethod
    def _distinct(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) != len(value):
            msg = f"every λ may be named once, got {list(value)}"
            raise ValueError(msg)
        return value


class AdapterAblationProbe(Probe):
    """Divergence from the base as the adapter is scaled from 0 to beyond 1: linear, saturating or dead."""

    kind = "adapter_ablation"
    spec_cls = AdapterAblationSpec
    category = "ablation"

    def planned(self, spec: AdapterAblationSpec, ctx: RunContext) -> int:
        """One measurement per prompt and λ."""
        return len(spec.prompts) * len(spec.lambdas)

    def asks(self, spec: AdapterAblationSpec, ctx: RunContext) -> list[Ask]:
        """The adapter at every strength on every prompt."""
        return [spec.ask(views=[View.scaled(lam) for lam in spec.lambdas])]

    def run(self, spec: AdapterAblationSpec, ctx: RunContext) -> ProbeResult:
        """Measure every prompt at every λ against λ = 0 and judge the curve's shape."""
        if not spec.prompts:
            return safe_finalize(
                name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message="no prompts: add at least one"
            )
        if not isinstance(ctx.require_backend, ScalableDifferentialBackend):
            message = f"{type(ctx.backend).__name__} is no ScalableDifferentialBackend: it cannot scale the adapter"
            return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.SKIP, message=message)
        views = [View.scaled(lam) for lam in spec.lambdas]
        return self.judge(spec, ctx, spec.measure(ctx, views=views, role="ablation"))

    def judge(self, spec: AdapterAblationSpec, ctx: RunContext, measurements: Sequence[Measurement]) -> ProbeResult:
        """Judge the curve over the prompts that were measured at every λ."""
        curves = _complete_curves(spec, measurements)
        if not curves:
            message = f"no prompt has been measured at all {len(spec.lambdas)} strengths"
            return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message=message)
        lambdas = sorted(spec.lambdas)
        matrix = np.array([[curve[lam] for lam in lambdas] for _, curve in curves])
        means = [mean(matrix[:, j]) for j in range(len(lambdas))]
        floor = rounding_of(ctx, spec.divergence)
        shape = _Shape(spec, lambdas, means, floor)
        bands = [
            bootstrap_ci(matrix[:, j], seed=ctx.seed, bounds=divergence_bounds(spec.divergence))
            for j in range(len(lambdas))
        ]
        enough = len(curves) >= MIN_ITEMS
        ci = _linearity_ci(spec, lambdas, matrix, ctx.seed) if enough and shape.linearity is not None else None
        evidence = {
            "lambdas": list(lambdas),
            "mean_divergence_per_lambda": means,
            "ci_95_per_lambda": bands if enough else None,
            "per_prompt_curves": matrix.tolist(),
            "prompts": [prompt for prompt, _ in curves],
            "divergence_kind": spec.divergence,
            "positions": spec.positions,
            "rounding": floor,
            "unit": "R²",
            "linearity": shape.linearity,
            "linearity_public": r_squared(lambdas, means),
            "linearity_note": "R² of √divergence on λ through the origin; divergences grow as λ² for a small change,"
            " so the public R² of the divergence itself penalises a healthy adapter",
            "saturation_lambda": shape.saturation,
            "saturation_reason": shape.saturation_reason,
            "overshoot": shape.overshoot,
            "at_bound": shape.at_bound,
            "exponent_at_1": shape.exponent,
            "monotonic": shape.monotonic,
            "passed_linearity": shape.passed_linearity,
            "passed_saturation": shape.passed_saturation,
            "passed_overshoot": shape.passed_overshoot,
            "weighted_score": shape.weighted(spec),
            "weight": spec.weight,
            "z_by_rank": None,
            "raw_ci_95": list(ci) if ci else None,
        }
        if shape.linearity is None:
            message = "the curve is flat: scaling the adapter changes nothing, so it has no shape to judge"
            return safe_finalize(
                name=spec.name,
                kind=spec.kind,
                verdict=Verdict.WARN,
                score=0.0,
                message=f"{message} {no_calibration_note(spec.kind)}",
                evidence=evidence,
            )
        passed = shape.passed_linearity and shape.passed_saturation and shape.passed_overshoot
        verdict = (Verdict.PASS if shape.monotonic else Verdict.WARN) if passed else Verdict.FAIL
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=shape.score(spec) if passed else min(shape.score(spec), 0.59),
            raw=shape.linearity,
            ci_95=ci,
            message=f"{shape.sentence(spec)} over {len(curves)} prompts {no_calibration_note(spec.kind)}",
            evidence=evidence,
        )


class _Shape:
    """The numbers that describe a λ curve and whether each passes."""

    def __init__(self, spec: AdapterAblationSpec, lambdas: Curve, means: Curve, floor: float = FLAT) -> None:
        means = without_rounding(means, floor)
        self.linearity = sqrt_linearity(lambdas, means)
        self.saturation, self.saturation_reason = saturation_lambda(lambdas, means)
        self.overshoot = overshoot(lambdas, means)
        self.exponent = exponent_at_1(lambdas, means)
        inside = [m for lam, m in zip(lambdas, means, strict=True) if lam >= 0]
        top = max(means)
        self.monotonic = all(b >= a - 1e-3 * top for a, b in itertools.pairwise(inside))
        lo, hi = spec.assert_saturation_between
        self.passed_linearity = self.linearity is not None and self.linearity >= spec.assert_linearity_gte
        self.passed_saturation = self.saturation is not None and lo <= self.saturation <= hi
        # Close to ln 2 there is no room to grow: the largest λ cannot do more, whatever the adapter.
        self.at_bound = spec.divergence == "js" and (_at_1(lambdas, means) or 0.0) >= AT_BOUND * LN2
        self.passed_overshoot = self.at_bound or self.overshoot >= spec.assert_overshoot_gte

    def score(self, spec: AdapterAblationSpec) -> float:
        """The least of what the three are worth on the common scale: no effect → 0, gate → 0.6, target → 1."""
        gate = min(max(spec.assert_linearity_gte, 1e-6), 1.0 - 1e-6)
        linear = score_from_anchors(self.linearity or 0.0, none=0.0, gate=gate, target=1.0)
        grown = spec.assert_overshoot_gte
        over = 1.0
        if not self.at_bound:
            # Where no growth is asked for, none at all must not be worth nothing.
            none = min(1.0, grown - LEAST_GROWTH)
            over = score_from_anchors(self.overshoot, none=none, gate=grown, target=max(1.2, 1.01 * grown))
        return min(linear, 1.0 if self.passed_saturation else 0.3, over)

    def weighted(self, spec: AdapterAblationSpec) -> float:
        """The public score: 0.4 linearity, 0.3 saturation, 0.3 overshoot, each relative to its gate."""
        linear = min(max((self.linearity or 0.0) / max(spec.assert_linearity_gte, 1e-9), 0.0), 1.0)
        over = 1.0 if self.at_bound else min(max((self.overshoot - 1.0) / 0.2, 0.0), 1.0)
        return 0.4 * linear + 0.3 * (1.0 if self.passed_saturation else 0.3) + 0.3 * over

    def sentence(self, spec: AdapterAblationSpec) -> str:
        """The shape in words, with what fell short."""
        band = list(spec.assert_saturation_between)
        if self.saturation is None:
            saturation = f"90 % of the effect is not reached within λ {band}"
        else:
            saturation = f"90 % of the effect at λ={self.saturation:g}"
            saturation += "" if self.passed_saturation else f" outside {band}"
        parts = [
            f"R² of √divergence on λ {self.linearity or 0.0:.3f}"
            + ("" if self.passed_linearity else f" < {spec.assert_linearity_gte:g}"),
            saturation,
            f"overshoot {self.overshoot:.2f}" + ("" if self.passed_overshoot else f" < {spec.assert_overshoot_gte:g}"),
        ]
        if not self.monotonic:
            parts.append("the effect shrinks somewhere as λ grows")
        return ", ".join(parts)


def without_rounding(means: Curve, floor: float = FLAT) -> Curve:
    """The curve that is judged: all 0 where none of the means is more than rounding."""
    return [0.0] * len(means) if max(means, default=0.0) <= floor else means


def sqrt_linearity(lambdas: Curve, means: Curve) -> float | None:
    """R² of √divergence on λ through the origin, over 0 ≤ λ ≤ 1; ``None`` for a flat curve.

    √JS is a metric (Endres and Schindelin 2003) and to first order linear in λ, because JS ≈ λ²/8 · Fisher information.
    """
    pairs = [(lam, math.sqrt(max(m, 0.0))) for lam, m in zip(lambdas, means, strict=True) if 0.0 <= lam <= 1.0]
    x, y = np.array(pairs).T if pairs else (np.zeros(0), np.zeros(0))
    if len(x) < 2 or float(np.max(y, initial=0.0)) <= 1e-9 or float(x @ x) == 0.0:
        return None
    slope = float(x @ y) / float(x @ x)
    spread = float(((y - y.mean()) ** 2).sum())
    if spread == 0.0:
        return None
    return max(0.0, 1.0 - float(((y - slope * x) ** 2).sum()) / spread)


def r_squared(x: Curve, y: Curve) -> float:
    """R² of an ordinary regression, floored at 0; 0.0 below two points or without spread in x, 1.0 for constant y."""
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(xs) < 2 or float(np.ptp(xs)) == 0.0:
        return 0.0
    spread = float(((ys - ys.mean()) ** 2).sum())
    if spread == 0.0:
        return 1.0
    slope, intercept = np.polyfit(xs, ys, 1)
    return max(0.0, 1.0 - float(((ys - slope * xs - intercept) ** 2).sum()) / spread)


def saturation_lambda(lambdas: Curve, means: Curve) -> tuple[float | None, str]:
    """First λ that reaches 90 % of the divergence at λ = 1 (of the largest if λ = 1 was not measured), and why.

    Reasons: ``found``; ``non_monotonic`` when the curve fell on the way; ``flat_curve``; ``below_floor``.
    """
    # An adapter turned round (λ < 0) has an effect, too, but not one that is on its way to λ = 1.
    pairs = [(lam, m) for lam, m in zip(lambdas, means, strict=True) if lam >= 0]
    lambdas, means = [lam for lam, _ in pairs], [m for _, m in pairs]
    if not means or not np.isfinite(means).all() or max(means) <= 1e-12:
        return None, "flat_curve"
    at_1 = _at_1(lambdas, means)
    target = 0.9 * (at_1 if at_1 is not None and at_1 > 0 else max(means))
    for i, value in enumerate(means):
        if value >= target:
            fell = any(means[j + 1] < means[j] - 1e-9 for j in range(i))
            return float(lambdas[i]), "non_monotonic" if fell else "found"
    return None, "below_floor"


def overshoot(lambdas: Curve, means: Curve) -> float:
    """Divergence at the largest λ over that at λ = 1; 1.0 when there is no such ratio."""
    at_1 = _at_1(lambdas, means)
    top = int(np.argmax(lambdas))
    if at_1 is None or at_1 <= 0 or math.isclose(lambdas[top], 1.0, abs_tol=1e-6):
        return 1.0
    return means[top] / at_1


def exponent_at_1(lambdas: Curve, means: Curve) -> float | None:
    """d log divergence / d log λ at λ = 1: 2 is the small-change regime, below 1 the effect saturates."""
    at_1 = _at_1(lambdas, means)
    below = [(lam, m) for lam, m in zip(lambdas, means, strict=True) if 0 < lam < 1 and m > 0]
    if at_1 is None or at_1 <= 0 or not below:
        return None
    lam, value = max(below)
    return math.log(at_1 / value) / math.log(1.0 / lam)


def _at_1(lambdas: Curve, means: Curve) -> float | None:
    return next((m for lam, m in zip(lambdas, means, strict=True) if math.isclose(lam, 1.0, abs_tol=1e-6)), None)


def _complete_curves(
    spec: AdapterAblationSpec, measurements: Sequence[Measurement]
) -> list[tuple[str, dict[float, float]]]:
    """Prompts measured at every λ, in their order; one that is listed twice is not twice the evidence."""
    found: dict[str, dict[float, float]] = {}
    values = divergence_values(measurements, spec.divergence)
    for m, value in sorted(zip(measurements, values, strict=True), key=lambda pair: pair[0].item):
        if m.lam is not None:
            found.setdefault(m.prompt, {})[m.lam] = value
    return [(text, c) for text, c in found.items() if all(lam in c for lam in spec.lambdas)]


def _linearity_ci(
    spec: AdapterAblationSpec, lambdas: Curve, matrix: np.ndarray[Any, np.dtype[np.float64]], seed: int
) -> tuple[float, float] | None:
    """Percentile interval of R² over resampled prompts; whole curves are resampled, λs stay paired."""
    rng = np.random.default_rng(seed)
    drawn = (matrix[rng.integers(0, len(matrix), len(matrix))].mean(axis=0) for _ in range(400))
    found = [r for means in drawn if (r := sqrt_linearity(lambdas, list(means))) is not None]
    if len(found) < 200:
        return None
    lo, hi = (float(v) for v in np.percentile(found, [2.5, 97.5]))
    return (lo, hi)
