"""Where along an answer the tuned model leaves the base, and whether the difference grows or fades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat

from sway_dash.core.bands import LEAST, dkw, sup_t
from sway_dash.core.divergence import LN2
from sway_dash.core.events import Measurement
from sway_dash.core.panels import Curve, panels
from sway_dash.core.rates import wilson
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import FINETUNED, ExactComparer
from sway_dash.core.stats import interval, mean, ratio_ci, score_from_anchors
from sway_dash.probes.base import Ask, Probe, ProbeSpec, PromptField, RunContext
from sway_dash.probes.measure import distinct, measure_prompts

QUARTERS = 4
"""Early and late are the first and the last quarter of each answer."""

MOST_RESAMPLED = 200
"""Answers up to which the mean of a position has a bootstrap interval."""


class KLTrajectorySpec(ProbeSpec):
    """Settings of ``kl_trajectory``."""

    kind: Literal["kl_trajectory"] = "kl_trajectory"
    prompts: tuple[PromptField, ...] = Field(default=(), description="texts to continue")
    continuation_tokens: int = Field(default=32, ge=4, le=2048, description="length of the answer, in tokens")
    threshold: Annotated[FiniteFloat, Field(gt=0, lt=LN2)] = Field(
        default=0.1, description="JS at one position from which the tuned model has left the base, nats"
    )
    assert_departing_share_gte: Annotated[FiniteFloat, Field(gt=0, le=1)] = Field(
        default=0.5, description="smallest share of answers on which it leaves"
    )


@dataclass(frozen=True, slots=True)
class Trajectory:
    """JS by position, nats: along the base's greedy answer, and along the tuned model's own."""

    prompt: str
    along_base: tuple[float, ...]
    along_tuned: tuple[float, ...]
    parts_at: int | None
    """Position of the first token in which the two answers differ; ``None`` if they do not."""

    def leaves_at(self, threshold: float) -> int | None:
        """First position of the base's answer at which JS exceeds the threshold; ``None`` if none does."""
        return next((i for i, v in enumerate(self.along_base) if v > threshold), None)


class KLTrajectoryProbe(Probe):
    """Divergence per position of an answer that both models read.

    Both models score the same text, so a position's value is what they expect there, not the echo of an earlier
    difference in what was sampled; that the text is the base's matters after the first difference, so the curve along
    the tuned model's own answer stands beside it.

    Where a curve rises or falls is read from all of its positions, so its band holds all of them at once: bootstrap
    sup-t around the mean curves (:func:`~sway_dash.core.bands.sup_t`), Dvoretzky-Kiefer-Wolfowitz around the share of
    answers that have been left (:func:`~sway_dash.core.bands.dkw`).
    """

    kind = "kl_trajectory"
    spec_cls = KLTrajectorySpec
    category = "adherence"

    def planned(self, spec: KLTrajectorySpec, ctx: RunContext) -> int:
        """One measurement per prompt."""
        return len(spec.prompts)

    def asks(self, spec: KLTrajectorySpec, ctx: RunContext) -> list[Ask]:
        """The tuned view along the answers to every prompt."""
        texts = tuple(p.text for p in spec.prompts)
        return [Ask((FINETUNED,), texts, "continuation", spec.continuation_tokens)]

    def run(self, spec: KLTrajectorySpec, ctx: RunContext) -> ProbeResult:
        """Measure every prompt along both answers and judge where the tuned model leaves."""
        if not spec.prompts:
            return self._short(spec, Verdict.ERROR, "no prompts: add at least one")
        if not isinstance(ctx.require_backend, ExactComparer):
            message = f"{type(ctx.backend).__name__} cannot compare along an answer: a backend with logits is needed"
            return self._short(spec, Verdict.SKIP, message)
        measured = measure_prompts(
            spec.name,
            spec.prompts,
            ctx,
            positions="continuation",
            continuation_tokens=spec.continuation_tokens,
        )
        return self.judge(spec, ctx, measured)

    def judge(self, spec: KLTrajectorySpec, ctx: RunContext, measurements: Sequence[Measurement]) -> ProbeResult:
        """Share of answers on which the tuned model leaves the base, and the mean curve."""
        found = [trajectory(m) for m in distinct(measurements)]
        if not found:
            return self._short(spec, Verdict.ERROR, "no prompt could be measured")
        n = len(found)
        leaves = [t.leaves_at(spec.threshold) for t in found]
        departed = sorted(at for at in leaves if at is not None)
        share, ci = len(departed) / n, wilson(len(departed), n)
        early, late = quarters(found)
        ratio = mean(early) / mean(late) if late and mean(late) > 0 else None
        ratio_band = ratio_ci(early, late, seed=ctx.seed, bounds=(0.0, math.inf)) if ratio is not None else None
        passed = share >= spec.assert_departing_share_gte
        score = score_from_anchors(share, none=0.0, gate=min(spec.assert_departing_share_gte, 1 - 1e-6), target=1.0)
        unmeasured = len(spec.prompts) - len(measurements)
        verdict = (Verdict.WARN if unmeasured else Verdict.PASS) if passed else Verdict.FAIL
        along_base = _mean_curve([t.along_base for t in found], ctx.seed)
        along_tuned = _mean_curve([t.along_tuned for t in found], ctx.seed)
        parted = [t.parts_at for t in found if t.parts_at is not None]
        median = departed[(len(departed) - 1) // 2] if departed else None
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=score if passed else min(score, 0.59),
            raw=share,
            ci_95=ci,
            message=_sentence(spec, n, departed, share, ci, median, ratio, ratio_band, unmeasured),
            evidence={
                "departing_share": share,
                "raw_ci_95": list(ci) if ci else None,
                "threshold": spec.threshold,
                "unit": "share of answers",
                "leaves_at": leaves,
                "median_position": median,
                "parts_at": [t.parts_at for t in found],
                "answers_that_differ": len(parted),
                "mean_js_along_base": along_base,
                "mean_js_along_tuned": along_tuned,
                "mean_js": mean(v for t in found for v in t.along_base),
                "early_late_ratio": ratio,
                "early_late_ratio_ci_95": list(ratio_band) if ratio_band else None,
                "early_late_note": "mean JS in the first quarter of each answer over that in the last; answers of at"
                f" least {QUARTERS} positions",
                "num_prompts": n,
                "unmeasured_prompts": unmeasured,
                "prompts": [t.prompt for t in found],
                "weight": spec.weight,
                "z_by_rank": None,
                "panels": self._panels(spec, along_base, along_tuned, leaves, n),
            },
        )

    def _panels(
        self,
        spec: KLTrajectorySpec,
        along_base: list[dict[str, Any]],
        along_tuned: list[dict[str, Any]],
        leaves: Sequence[int | None],
        n: int,
    ) -> list[dict[str, Any]]:
        def curve(title: str, points: list[dict[str, Any]]) -> Curve:
            # Too few answers for a band anywhere: an interval is better than nothing, and said to be no more.
            ends = "band_95" if any(p["band_95"] for p in points) else "ci_95"
            how = (
                "with 95 % the band holds the mean at all positions at once (sup-t)"
                if ends == "band_95"
                else "too few answers for a band: 95 % interval of each position by itself"
            )
            how += "; answers that have ended are left out"
            if ends == "band_95" and not all(p["band_95"] for p in points):
                how += f"; no band where fewer than a quarter of the answers or fewer than {LEAST} go on"
            return Curve(
                title=title,
                x_label="position in the answer (tokens)",
                y_label="mean JS (nats)",
                x=tuple(float(p["position"]) for p in points),
                y=tuple(p["mean"] for p in points),
                lo=tuple(p[ends][0] if p[ends] else None for p in points),
                hi=tuple(p[ends][1] if p[ends] else None for p in points),
                gate=spec.threshold,
                note=how,
            )

        counts = [sum(1 for at in leaves if at is not None and at <= i) for i in range(len(along_base))]
        apart = dkw(n)
        share = Curve(
            title="Answers on which the tuned model has left the base",
            x_label="position in the answer (tokens)",
            y_label="share of answers",
            x=tuple(float(i) for i in range(len(along_base))),
            y=tuple(k / n for k in counts),
            lo=tuple(max(0.0, k / n - apart) for k in counts),
            hi=tuple(min(1.0, k / n + apart) for k in counts),
            gate=spec.assert_departing_share_gte,
            note=f"left: JS above {spec.threshold:g} nats; with 95 % the band holds all positions at once (DKW)",
        )
        return panels(
            curve("Difference along the base's answer", along_base),
            curve("Difference along the tuned model's answer", along_tuned),
            share,
        )

    def _short(self, spec: KLTrajectorySpec, verdict: Verdict, message: str) -> ProbeResult:
        evidence = {"weight": spec.weight}
        return safe_finalize(name=spec.name, kind=spec.kind, verdict=verdict, message=message, evidence=evidence)


def trajectory(m: Measurement) -> Trajectory:
    """Take the two answers of a measurement along continuations apart."""
    values = tuple(m.per_position) or (m.js,)
    n = m.reference_positions
    if not n:
        # Recorded before the two answers were told apart.
        return Trajectory(m.prompt, values, values, None)
    own = values[: min(m.common_tokens + 1, n)] + values[n:]
    return Trajectory(m.prompt, values[:n], own, m.common_tokens if m.common_tokens < n else None)


def quarters(found: Sequence[Trajectory]) -> tuple[list[float], list[float]]:
    """Mean JS in the first and in the last quarter of each answer that is long enough to have them."""
    early, late = [], []
    for t in found:
        size = len(t.along_base) // QUARTERS
        if size:
            early.append(mean(t.along_base[:size]))
            late.append(mean(t.along_base[-size:]))
    return early, late


def _mean_curve(curves: Sequence[Sequence[float]], seed: int) -> list[dict[str, Any]]:
    """Mean over the answers that reach a position: ``band_95`` holds all positions at once, ``ci_95`` each by itself.

    Where there are very many answers, the interval is Student's t: resampling thousands at every position takes
    minutes, and their mean is as good as normal.
    """
    ragged = np.full((len(curves), max(map(len, curves))), np.nan)
    for row, curve in zip(ragged, curves, strict=True):
        row[: len(curve)] = curve
    band = sup_t(ragged, seed=seed, bounds=(0.0, LN2))
    out = []
    for i in range(ragged.shape[1]):
        values = [c[i] for c in curves if len(c) > i]
        few = len(values) <= MOST_RESAMPLED
        ci = interval(values, seed=seed, bounds=(0.0, LN2))[0] if few else _student(values)
        ends = None if band is None or np.isnan(band[0][i]) else [float(band[0][i]), float(band[1][i])]
        point = {"position": i, "mean": mean(values), "ci_95": list(ci) if ci else None, "band_95": ends}
        out.append({**point, "n": len(values)})
    return out


def _student(values: Sequence[float]) -> tuple[float, float]:
    from scipy.special import stdtrit

    x = np.asarray(values, dtype=np.float64)
    half = float(stdtrit(x.size - 1, 0.975)) * float(x.std(ddof=1)) / math.sqrt(x.size)
    centre = mean(values)
    return max(0.0, centre - half), min(LN2, centre + half)


def _sentence(
    spec: KLTrajectorySpec,
    n: int,
    departed: Sequence[int],
    share: float,
    ci: tuple[float, float] | None,
    median: int | None,
    ratio: float | None,
    ratio_band: tuple[float, float] | None,
    unmeasured: int,
) -> str:
    band = f" [{ci[0]:.3g}, {ci[1]:.3g}]" if ci else ""
    parts = [f"the tuned model leaves the base (JS above {spec.threshold:g} nats) on {len(departed)} of {n} answers"]
    parts.append(f"a share of {share:.3g}{band}")
    if share < spec.assert_departing_share_gte:
        parts[-1] += f", below the gate of {spec.assert_departing_share_gte:g}"
    if median is not None:
        parts.append(f"half of these by position {median}")
    if ratio is not None and math.isfinite(ratio):
        spread = f" [{ratio_band[0]:.3g}, {ratio_band[1]:.3g}]" if ratio_band else ""
        parts.append(
            f"the difference {_early_or_late(ratio, ratio_band)} (first over last quarter {ratio:.3g}{spread})"
        )
    if unmeasured:
        parts.append(f"{unmeasured} prompts not measured")
    return ", ".join(parts)


def _early_or_late(ratio: float, band: tuple[float, float] | None) -> str:
    """Where the difference is larger, as far as the interval of the ratio lets it be said."""
    if band is None:
        return "may be larger early or late"
    lo, hi = band
    if lo >= 0.8 and hi <= 1.25:
        return "is as large early as late"
    if lo > 1.0 or hi < 1.0:
        return "is larger early" if ratio > 1.0 else "is larger late"
    return "may be larger early or late"
