"""Divergence by adapter strength, prompt by prompt, and the numbers that describe its shape. No param, no Panel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sway_dash.core.bands import sup_t
from sway_dash.core.divergence import LN2
from sway_dash.core.events import Measurement
from sway_dash.core.stats import MIN_ITEMS, bootstrap_ci, mean, ratio_ci
from sway_dash.figures.derive_null import Metric, value_of
from sway_dash.probes.adapter_ablation import (
    AT_BOUND,
    AdapterAblationSpec,
    overshoot,
    saturation_lambda,
    sqrt_linearity,
    without_rounding,
)
from sway_dash.probes.measure import divergence_bounds

Point = tuple[float, float, tuple[float, float] | None, int]
"""λ, mean, interval, prompts."""

TINY = 0.01
"""A prompt that is moved less than this part of the mean has no shape of its own."""

OFF_NATS = 1e-6
"""Up to here a divergence at λ = 0 is rounding."""


@dataclass
class AblationSeries:
    """Divergence by adapter strength, nats."""

    name: str
    seed: int = 0
    metric: Metric = "js"
    planned: tuple[float, ...] = ()
    """Strengths the entry asks for."""
    curves: dict[float, dict[int, float]] = field(default_factory=dict)
    prompts: dict[int, str] = field(default_factory=dict)
    stored: tuple[Point, ...] = ()
    """Means of a result that was stored without its prompts."""
    _points: dict[float, tuple[tuple[int, ...], float, tuple[float, float] | None]] = field(default_factory=dict)
    _whole: tuple[Any, list[tuple[float, float, float]]] | None = None

    def add(self, m: Measurement) -> None:
        """Take one measurement."""
        if m.lam is not None:
            self.curves.setdefault(m.lam, {})[m.item] = value_of(m, self.metric)
            self.prompts[m.item] = m.prompt

    @property
    def size(self) -> int:
        """Measurements so far."""
        return sum(map(len, self.curves.values()))

    def lambdas(self) -> list[float]:
        """Strengths that have been measured."""
        return sorted(self.curves) or [lam for lam, _, _, _ in self.stored]

    def items(self) -> list[int]:
        """Prompts the mean is over: those measured at every strength; until there is one, all that are measured."""
        every = sorted({i for found in self.curves.values() for i in found})
        wanted = [self.curves.get(lam, {}) for lam in self.planned or self.curves]
        complete = [i for i in every if all(i in found for found in wanted)]
        # A prompt that is listed twice is not twice the evidence.
        return list({self.prompts[i]: i for i in reversed(complete or every)}.values())[::-1]

    def curve(self, item: int) -> list[tuple[float, float]]:
        """One prompt's divergences by strength."""
        return [(lam, found[item]) for lam, found in sorted(self.curves.items()) if item in found]

    def points(self) -> list[Point]:
        """Mean by strength; a strength is computed again only when it has other prompts.

        The same seed draws the same prompts at every strength: the band resamples whole curves.
        """
        if not self.curves:
            return list(self.stored)
        items = self.items()
        out: list[Point] = []
        for lam in self.lambdas():
            own = tuple(i for i in items if i in self.curves[lam])
            if not own:
                continue
            known = self._points.get(lam)
            if known is None or known[0] != own:
                values = [self.curves[lam][i] for i in own]
                bounds = divergence_bounds(self.metric)
                ci = bootstrap_ci(values, seed=self.seed, bounds=bounds) if len(values) >= MIN_ITEMS else None
                known = self._points[lam] = (own, mean(values), ci)
            out.append((lam, known[1], known[2], len(own)))
        return out

    def whole(self) -> list[tuple[float, float, float]]:
        """λ and the ends of a band that holds the mean at every strength at once; empty with few complete prompts."""
        items = [i for i in self.items() if all(i in found for found in self.curves.values())]
        key = (tuple(items), len(self.curves))
        if self._whole is None or self._whole[0] != key:
            lambdas = sorted(self.curves)
            values = np.array([[self.curves[lam][i] for lam in lambdas] for i in items]).reshape(len(items), -1)
            band = sup_t(values, seed=self.seed, bounds=divergence_bounds(self.metric))
            ends = [] if band is None else list(zip(lambdas, *(side.tolist() for side in band), strict=True))
            self._whole = (key, ends)
        return self._whole[1]

    def at_one(self) -> float | None:
        """Mean at λ = 1, the adapter as trained."""
        return next((m for lam, m, _, _ in self.points() if math.isclose(lam, 1.0, abs_tol=1e-6)), None)

    def relative(self) -> list[Point]:
        """Mean by strength over the mean at λ = 1; empty without one. Interval: the same prompts above and below."""
        one = self.at_one()
        if not one:
            return []
        if not self.curves:
            return [(lam, m / one, None, n) for lam, m, _, n in self.stored]
        ones = next(found for lam, found in self.curves.items() if math.isclose(lam, 1.0, abs_tol=1e-6))
        out: list[Point] = []
        for lam, _, _, n in self.points():
            own = [i for i in self.items() if i in self.curves[lam] and i in ones]
            above, below = [self.curves[lam][i] for i in own], [ones[i] for i in own]
            if not own or mean(below) <= 0:
                continue
            ci = ratio_ci(above, below, seed=self.seed, bounds=(0.0, math.inf)) if len(own) >= MIN_ITEMS else None
            out.append((lam, mean(above) / mean(below), ci, n))
        return out

    def saturation_of(self, item: int) -> float | None:
        """First strength at which a prompt has 90 % of its own effect at λ = 1."""
        curve = self.curve(item)
        return saturation_lambda([lam for lam, _ in curve], [v for _, v in curve])[0] if curve else None

    def at_zero(self, noise: float = 0.0) -> tuple[float, bool] | None:
        """Mean at λ = 0, and whether it is more than rounding; ``None`` where it is not measured.

        λ = 0 is the base itself: the same model measured twice, in another batch. ``noise`` is what the run found a
        model to lie from itself.
        """
        zero = next((m for lam, m, _, _ in self.points() if lam == 0.0), None)
        if zero is None:
            return None
        return zero, zero > max(OFF_NATS, noise, TINY * (self.at_one() or 0.0))


def from_evidence(name: str, evidence: Mapping[str, Any], seed: int) -> AblationSeries | None:
    """The curve of a result of which no measurements are here; ``None`` when the result holds none either."""
    lambdas, means = evidence.get("lambdas"), evidence.get("mean_divergence_per_lambda")
    if not isinstance(lambdas, Sequence) or not isinstance(means, Sequence) or len(lambdas) != len(means):
        return None
    try:
        return _series(name, evidence, seed, lambdas, means)
    except (TypeError, ValueError, OverflowError):
        # A file of another program: what is not as the format says is left out.
        return None


def _series(
    name: str, evidence: Mapping[str, Any], seed: int, lambdas: Sequence[Any], means: Sequence[Any]
) -> AblationSeries:
    metric: Metric = "kl" if evidence.get("divergence_kind") == "kl" else "js"
    series = AblationSeries(name, seed, metric, tuple(map(float, lambdas)))
    curves, prompts = evidence.get("per_prompt_curves") or (), evidence.get("prompts") or ()
    if curves and len(curves) == len(prompts) and all(len(curve) == len(lambdas) for curve in curves):
        for item, (curve, prompt) in enumerate(zip(curves, prompts, strict=True)):
            series.prompts[item] = str(prompt)
            for lam, value in zip(series.planned, curve, strict=True):
                series.curves.setdefault(lam, {})[item] = float(value)
    else:
        n = len(prompts)
        series.stored = tuple(sorted((float(lam), float(m), None, n) for lam, m in zip(lambdas, means, strict=True)))
    return series


@dataclass(frozen=True, slots=True)
class ShapeNumber:
    """One number of a curve's shape beside the range in which the probe accepts it."""

    name: str
    words: str
    value: float | None
    lo: float
    hi: float
    passed: bool | None
    """``None`` while there is nothing to judge."""
    note: str = ""

    @property
    def verdict(self) -> str:
        """In one word."""
        return {True: "✓ passes", False: "✕ fails", None: "not known"}[self.passed]


def shape(series: AblationSeries, entry: Mapping[str, Any], evidence: Mapping[str, Any]) -> list[ShapeNumber]:
    """Linearity, saturation, overshoot: as the probe has judged them, or over what is measured so far."""

    def setting(name: str) -> Any:
        return entry.get(name, AdapterAblationSpec.model_fields[name].default)

    points = series.points()
    lambdas, means = [p[0] for p in points], without_rounding([p[1] for p in points])
    if evidence.get("lambdas"):
        linear, saturated, over = evidence.get("linearity"), evidence.get("saturation_lambda"), evidence["overshoot"]
        at_bound = bool(evidence.get("at_bound"))
    else:
        linear = sqrt_linearity(lambdas, means) if points else None
        saturated = saturation_lambda(lambdas, means)[0] if points else None
        over = overshoot(lambdas, means) if points else None
        at_bound = series.metric == "js" and (series.at_one() or 0.0) >= AT_BOUND * LN2
    least_linear, least_over = float(setting("assert_linearity_gte")), float(setting("assert_overshoot_gte"))
    lo, hi = (float(v) for v in setting("assert_saturation_between"))
    flat = linear is None
    top = max(lambdas, default=1.0)
    bound = f"At λ = 1 the mean is near ln 2 already, so no more is asked of λ = {top:g}" if at_bound else ""
    return [
        ShapeNumber(
            "Linearity",
            "R² of √divergence on λ through the origin, 0 ≤ λ ≤ 1",
            linear,
            least_linear,
            1.0,
            None if linear is None else linear >= least_linear,
            "The curve is flat: it has no shape" if flat and points else "",
        ),
        ShapeNumber(
            "Saturation",
            "smallest λ with 90 % of the effect at λ = 1",
            saturated,
            lo,
            hi,
            None if not points or flat else saturated is not None and lo <= saturated <= hi,
            "" if saturated is not None or flat else "Not reached at any λ",
        ),
        ShapeNumber(
            "Overshoot",
            f"effect at λ = {top:g} over that at λ = 1",
            over,
            -math.inf if at_bound else least_over,
            math.inf,
            None if over is None or flat else at_bound or over >= least_over,
            bound,
        ),
    ]


def fitted(points: Sequence[Point], steps: int = 40) -> list[tuple[float, float]]:
    """The curve that linearity compares with: (slope · λ)², fitted to √divergence over 0 ≤ λ ≤ 1."""
    x = np.array([lam for lam, _, _, _ in points if 0 <= lam <= 1])
    means = without_rounding([m for _, m, _, _ in points])
    y = np.sqrt(np.array([max(m, 0.0) for (lam, *_), m in zip(points, means, strict=True) if 0 <= lam <= 1]))
    if len(x) < 2 or not float(x @ x) or float(y.max()) <= 1e-9:
        return []
    slope = float(x @ y) / float(x @ x)
    return [(lam, (slope * lam) ** 2) for lam in np.linspace(0.0, float(x.max()), steps).tolist()]
