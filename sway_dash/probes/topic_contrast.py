"""Did the adapter change what it was trained on, and leave the rest alone?"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat

from sway_dash.core.events import Measurement
from sway_dash.core.margins import Margin
from sway_dash.core.numbers import p_text, said
from sway_dash.core.panels import Group, Groups, panels
from sway_dash.core.permutation import permutation_p
from sway_dash.core.ratio import fieller_unpaired
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import View
from sway_dash.core.stats import MIN_ITEMS, interval, mean, score_from_anchors
from sway_dash.probes.base import SENTINEL_PROMPTS, Ask, Probe, Prompt, PromptField, RunContext
from sway_dash.probes.harm import bounded_harm
from sway_dash.probes.measure import distinct, divergence_bounds, divergence_values
from sway_dash.probes.null_adapter import Calibration, calibration, compared, noise_cap, noise_does_as_well
from sway_dash.probes.prompts import ListedPromptSpec

SIGNIFICANCE = 0.05
"""Largest permutation p-value at which the two kinds of prompts count as moved differently."""

FloatArray = npt.NDArray[np.float64]


class TopicContrastSpec(ListedPromptSpec):
    """Settings of ``topic_contrast``."""

    kind: Literal["topic_contrast"] = "topic_contrast"
    prompts: tuple[PromptField, ...] = Field(default=(), description="texts to continue, each with one of the two tags")
    on: str = Field(default="on-topic", min_length=1, description="tag of the prompts that ought to change")
    off: str = Field(default="off-topic", min_length=1, description="tag of the prompts that ought to stay")
    assert_targeted_gte: Annotated[FiniteFloat, Field(gt=0.0)] = Field(
        default=0.02, description="smallest mean change on topic, nats"
    )
    assert_collateral_lt: Annotated[FiniteFloat, Field(gt=0.0)] = Field(
        default=0.02, description="largest mean change off topic, nats; its upper bound has to stay below"
    )
    assert_z_gte: FiniteFloat = Field(default=3.0, description="smallest z against the null, when there is one")


class TopicContrastProbe(Probe):
    """Mean divergence on topic (targeted change) against that off topic (collateral change)."""

    kind = "topic_contrast"
    spec_cls = TopicContrastSpec
    category = "attribution"
    batch_score = True

    def planned(self, spec: TopicContrastSpec, ctx: RunContext) -> int:
        """One measurement per prompt with one of the tags."""
        return 0 if _refused(spec) else len(_tagged(spec))

    def asks(self, spec: TopicContrastSpec, ctx: RunContext) -> list[Ask]:
        """The tuned view on every prompt with one of the tags."""
        return [spec.ask([p.text for p in _tagged(spec)])]

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> TopicContrastSpec:
        """The sentinel prompts, half of them taken for the topic."""
        tags = ("on-topic", "off-topic")
        prompts = tuple(Prompt(text=p, tags=(tags[i % 2],)) for i, p in enumerate(SENTINEL_PROMPTS))
        return TopicContrastSpec(name="calibration", prompts=prompts, top_k=ctx.top_k)

    def run(self, spec: TopicContrastSpec, ctx: RunContext) -> ProbeResult:
        """Measure the prompts of both tags and compare their means."""
        refused = _refused(spec)
        return refused if refused is not None else self.judge(spec, ctx, spec.measure(ctx, _tagged(spec)))

    def draw_null(self, spec: TopicContrastSpec, ctx: RunContext, views: Sequence[View]) -> dict[View, float]:
        """Difference of the means under every null view, all views over one reference pass."""
        if _refused(spec) is not None:
            return {}
        by_id: dict[str, list[Measurement]] = {}
        for m in spec.measure(ctx, _tagged(spec), views=views, role="null"):
            by_id.setdefault(m.view, []).append(m)
        found: dict[View, float] = {}
        for view in views:
            on, off = _split(spec, by_id.get(view.id, ()))
            if len(on) and len(off):
                found[view] = mean(on) - mean(off)
        return found

    def judge(self, spec: TopicContrastSpec, ctx: RunContext, measurements: Sequence[Measurement]) -> ProbeResult:
        """A pass needs a change on topic that is large and not chance, and one off topic that is shown to be small."""
        on, off = _split(spec, measurements)
        if not len(on) or not len(off):
            side = spec.on if not len(on) else spec.off
            return _ended(spec, Verdict.ERROR, f"no prompt tagged {side!r} could be measured")
        bounds = divergence_bounds(spec.divergence)
        targeted, collateral = mean(on), mean(off)
        on_ci, off_ci = (interval(side, seed=ctx.seed, bounds=bounds)[0] for side in (on, off))
        difference_ci = welch(on, off)
        ratio = targeted / collateral if collateral > 0 else None
        ratio_ci = fieller_unpaired(on, off) if ratio is not None else None
        labels = np.repeat([1, 0], [len(on), len(off)])
        p = permutation_p(np.concatenate([on, off]), labels, _difference, seed=ctx.seed)
        null = calibration(ctx, spec, targeted - collateral)
        harm = bounded_harm(off.tolist(), spec.assert_collateral_lt, seed=ctx.seed)
        testable = least_p(len(on), len(off)) <= SIGNIFICANCE
        against = _against(spec, targeted, collateral, p if testable else None, null)
        unsure = [] if against else _unsure(spec, harm, len(on), len(off))
        score = _score(spec, targeted, collateral, p, null)
        unmeasured = len(_tagged(spec)) - len(measurements)
        verdict = Verdict.FAIL if against else Verdict.WARN if unsure or unmeasured else Verdict.PASS
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=min(score, 0.59) if against else score,
            raw=targeted - collateral,
            z_score=null.z if null else None,
            ci_95=difference_ci,
            message=_message(
                spec,
                (targeted - collateral, difference_ci),
                (targeted, on_ci),
                (collateral, off_ci),
                (ratio, ratio_ci),
                p,
                null,
                [*against, *unsure],
                unmeasured,
            ),
            evidence={
                "targeted": targeted,
                "targeted_ci_95": list(on_ci) if on_ci else None,
                "collateral": collateral,
                "collateral_ci_95": list(off_ci) if off_ci else None,
                "collateral_upper": harm.upper,
                "collateral_note": harm.note,
                "ratio": ratio,
                "ratio_ci_95": list(ratio_ci) if ratio_ci else None,
                "p_permutation": p,
                "on": spec.on,
                "off": spec.off,
                "num_on": len(on),
                "num_off": len(off),
                "unmeasured_prompts": unmeasured,
                "prompts_without_tag": len(spec.prompts) - len(_tagged(spec)),
                "overlap": _overlap(on, off),
                "divergence_kind": spec.divergence,
                "positions": spec.positions,
                "unit": "nats",
                "prompts": [m.prompt for m in measurements],
                "tags": [list(m.tags) for m in measurements],
                "per_prompt": divergence_values(measurements, spec.divergence),
                "reasons": [*against, *unsure],
                "weight": spec.weight,
                "z_by_rank": null.z_by_rank if null else None,
                "null": null.evidence if null else None,
                "raw_ci_95": list(difference_ci) if difference_ci else None,
                "panels": _panels(spec, measurements, (on, off), (on_ci, off_ci)),
            },
        )


def welch(on: FloatArray, off: FloatArray, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of ``mean(on) - mean(off)`` of two independent groups with unequal variances (Welch 1947).

    Assumes independent prompts and means near enough to normal. ``None`` below four prompts on a side.
    """
    if min(len(on), len(off)) < MIN_ITEMS:
        return None
    from scipy.special import stdtrit

    parts = [float(side.var(ddof=1)) / len(side) for side in (on, off)]
    centre, total = mean(on) - mean(off), sum(parts)
    if total == 0.0:
        return (centre, centre)
    df = total**2 / sum(v**2 / (len(side) - 1) for v, side in zip(parts, (on, off), strict=True))
    half = float(stdtrit(df, 0.5 + confidence / 2.0)) * total**0.5
    return (centre - half, centre + half)


def _tagged(spec: TopicContrastSpec) -> list[Prompt]:
    """Prompts of either kind, in order."""
    return [p for p in spec.prompts if {spec.on, spec.off} & set(p.tags)]


def _refused(spec: TopicContrastSpec) -> ProbeResult | None:
    """The result that needs no measurement, if there is one."""
    if not spec.prompts:
        return _ended(spec, Verdict.ERROR, "no prompts: add at least one")
    if spec.on == spec.off:
        return _ended(spec, Verdict.ERROR, f"on and off are both {spec.on!r}: name two different tags")
    texts = {tag: {p.text for p in spec.prompts if tag in p.tags} for tag in (spec.on, spec.off)}
    shared = texts[spec.on] & texts[spec.off]
    both = next((p.text for p in spec.prompts if p.text in shared), None)
    if both is not None:
        message = f"the prompt {both[:60]!r} is tagged both {spec.on!r} and {spec.off!r}: it can only be one"
        return _ended(spec, Verdict.ERROR, message)
    for tag in (spec.on, spec.off):
        count = len(texts[tag])
        if count < 2:
            message = f"needs at least two prompts tagged {tag!r}, has {count}: tag them, or name another tag"
            return _ended(spec, Verdict.SKIP, message)
    return None


def _ended(spec: TopicContrastSpec, verdict: Verdict, message: str) -> ProbeResult:
    return safe_finalize(
        name=spec.name, kind=spec.kind, verdict=verdict, message=message, evidence={"weight": spec.weight}
    )


def _split(spec: TopicContrastSpec, measurements: Sequence[Measurement]) -> tuple[FloatArray, FloatArray]:
    """Divergences of the different prompts of either kind."""
    once = distinct(measurements)
    sides = ([m for m in once if tag in m.tags] for tag in (spec.on, spec.off))
    on, off = (np.array(divergence_values(side, spec.divergence), dtype=np.float64) for side in sides)
    return on, off


def _difference(values: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    return float(values[labels == 1].mean() - values[labels == 0].mean())


def least_p(n_on: int, n_off: int) -> float:
    """Smallest p of the permutation test of so many prompts: the share of one assignment of the tags among all."""
    return 1.0 / comb(n_on + n_off, n_on)


def _too_few(n_on: int, n_off: int) -> str:
    """Why so many prompts can show nothing; empty if they can."""
    least = least_p(n_on, n_off)
    if least <= SIGNIFICANCE:
        return ""
    return f"{n_on} prompts on and {n_off} off topic reach p={least:.2g} at best: three of each would do"


def _overlap(on: FloatArray, off: FloatArray) -> float:
    """Share of (on, off) pairs in which the off-topic prompt moved at least as much: 0 apart, 0.5 alike."""
    ordered = np.sort(on)
    below, upto = np.searchsorted(ordered, off, side="left"), np.searchsorted(ordered, off, side="right")
    return float((below + upto).mean() / (2 * len(on)))


def _against(
    spec: TopicContrastSpec, targeted: float, collateral: float, p: float | None, null: Calibration | None
) -> list[str]:
    """Everything that makes it a failure; ``p`` is ``None`` where there are too few prompts for a small one."""
    found = []
    if targeted < spec.assert_targeted_gte:
        found.append(f"the change on topic is below the gate of {spec.assert_targeted_gte:g}")
    if collateral >= spec.assert_collateral_lt:
        found.append(f"the change off topic reaches the gate of {spec.assert_collateral_lt:g}")
    if p is not None and p > SIGNIFICANCE:
        found.append(f"tags dealt at random do as well (p={p:.2g})")
    if noise := noise_does_as_well(null, spec.assert_z_gte):
        found.append(noise)
    return found


def _unsure(spec: TopicContrastSpec, harm: Margin, n_on: int, n_off: int) -> list[str]:
    """What keeps a result that is good as far as it goes from being a pass."""
    if few := _too_few(n_on, n_off):
        return [few]
    if harm.passed is None or n_off < MIN_ITEMS:
        return [f"too few prompts off topic to bound the change ({harm.note})"]
    if not harm.passed and harm.upper is not None:
        return [
            f"inconclusive: the change off topic may be up to {harm.upper:.3g}, above {spec.assert_collateral_lt:g}"
        ]
    return []


def _score(spec: TopicContrastSpec, targeted: float, collateral: float, p: float, null: Calibration | None) -> float:
    """The smaller of what the change on topic and the quiet off topic are worth; noise is worth nothing."""
    gate = spec.assert_targeted_gte
    effect = score_from_anchors(targeted, none=0.0, gate=gate, target=10.0 * gate)
    margin = spec.assert_collateral_lt
    # Twice the margin off topic, or as much as on topic, is no targeting at all.
    quiet = score_from_anchors(collateral, none=max(2.0 * margin, targeted), gate=margin, target=0.0)
    score = min(effect, quiet)
    if p > SIGNIFICANCE:
        score = min(score, 0.6 * SIGNIFICANCE / p)
    return min(score, noise_cap(null, spec.assert_z_gte))


def _message(
    spec: TopicContrastSpec,
    contrast: tuple[float, tuple[float, float] | None],
    on: tuple[float, tuple[float, float] | None],
    off: tuple[float, tuple[float, float] | None],
    by: tuple[float | None, tuple[float, float] | None],
    p: float,
    null: Calibration | None,
    reasons: Sequence[str],
    unmeasured: int,
) -> str:
    def with_band(value: float, ci: tuple[float, float] | None) -> str:
        return f"{value:.3g}" + (f" [{ci[0]:.3g}, {ci[1]:.3g}]" if ci else "")

    parts = [
        f"contrast {with_band(*contrast)} nats: mean change {with_band(*on)} on topic less {with_band(*off)} off topic"
    ]
    ratio, ratio_ci = by
    if ratio is not None:
        # A ratio may be large: 1240, not 1.24e+03.
        ends = f" [{ratio_ci[0]:.0f}, {ratio_ci[1]:.0f}]" if ratio_ci else ""
        parts.append(f"ratio {ratio:.0f}{ends}" if ratio >= 100 else f"ratio {with_band(ratio, ratio_ci)}")
    parts += [f"permutation {said('p', p_text(p))}", *reasons]
    if unmeasured:
        parts.append(f"{unmeasured} prompts not measured")
    return compared(parts, null, spec.kind)


def _panels(
    spec: TopicContrastSpec,
    measurements: Sequence[Measurement],
    sides: tuple[FloatArray, FloatArray],
    bands: tuple[tuple[float, float] | None, tuple[float, float] | None],
) -> list[dict[str, Any]]:
    """Both sides, and below them every further tag, which shows where collateral change sits."""
    groups = [
        Group(label=tag, value=mean(values), lo=ci[0] if ci else None, hi=ci[1] if ci else None, n=len(values))
        for tag, values, ci in zip((spec.on, spec.off), sides, bands, strict=True)
    ]
    once = distinct(measurements)
    for tag in dict.fromkeys(t for m in once for t in m.tags if t not in (spec.on, spec.off)):
        for side in (spec.on, spec.off):
            own = divergence_values([m for m in once if tag in m.tags and side in m.tags], spec.divergence)
            if own:
                groups.append(Group(label=f"{side}, {tag}", value=mean(own), n=len(own)))
    note = "intervals 95 %, of the two sides alone"
    return panels(Groups(title="Mean divergence by tag", unit="nats", groups=tuple(groups[:40]), note=note))
