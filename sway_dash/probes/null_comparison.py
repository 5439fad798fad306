"""Where a value stands among what random adapters do.

Of several distributions of random adapters each is a hypothesis of its own of what noise does. "More than noise" holds
only where every one of them is rejected, by z and by p, so the least z and the largest p are judged and no correction
for their number is needed (intersection-union test, Berger 1982).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sway_dash.core.events import Warned
from sway_dash.core.numbers import MAX_Z as MAX_Z
from sway_dash.core.numbers import number, p_text, said, z_text
from sway_dash.core.stats import (
    format_z_profile,
    next_draw_p,
    no_calibration_note,
    null_stats,
    prediction_p,
    rank_p,
    z_score,
    z_scores_by_rank,
)
from sway_dash.probes.base import ProbeSpec, RunContext

SIGNIFICANCE = 0.05
"""Largest p-value of the adapter as the next null draw that still counts as more than noise."""

NULL_NAMES: Mapping[str, str] = {
    "gaussian": "Gaussian",
    "norm_matched": "of the trained size",
    "spectrum": "of the trained spectrum",
}
"""Distributions of random adapters in words."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where a raw value stands against its null."""

    z: float
    p: float | None
    """Of the value as the next draw; 1 where draws that do not vary are as large."""
    rank_p: float | None
    n: int
    largest: float | None
    z_by_rank: dict[str, float] | None
    sign: int = 1
    """-1 where smaller is better: z and p then say how far below the null the value is."""
    positive: bool = False
    """The value cannot be negative: p is on the scale of logarithms."""
    distribution: str = "gaussian"
    flat: bool = False
    """The draws do not vary, and the value is not beyond them: z is 0 for want of one."""
    among: tuple[Calibration, ...] = ()
    """Every distribution that was drawn, this one with them; empty when it is the only one."""

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        z = said("z", z_text(self.z))
        p = "" if self.p is None else f", {said('p', p_text(self.p))} as the next draw"
        what = "" if self.distribution == "gaussian" and not self.among else f"{null_name(self.distribution)}, "
        if self.flat and not self.among:
            return f"not beyond the null ({what}n={self.n}, all draws alike)"
        closest = f"; the closest of {len(self.among)} nulls" if self.among else ""
        least = min(self.among, key=lambda c: c.z, default=self)
        if self.among and least.distribution != self.distribution:
            closest += f", z against the one {null_name(least.distribution)}"
        return f"{z} vs null ({what}n={self.n}{p}{closest})"

    @property
    def evidence(self) -> dict[str, Any]:
        """JSON-ready facts: of the distribution that is judged, and of each."""
        return {
            **self._facts,
            "sign": self.sign,
            "positive": self.positive,
            "distribution": self.distribution,
            "by_distribution": {c.distribution: {**c._facts, "z": c.z} for c in self.among or (self,)},
        }

    @property
    def _facts(self) -> dict[str, Any]:
        return {"n": self.n, "p_prediction": self.p, "p_rank": self.rank_p, "largest_draw": self.largest}


def null_name(distribution: str) -> str:
    """A distribution of random adapters in words."""
    return NULL_NAMES.get(distribution, distribution)


def calibration(
    ctx: RunContext, spec: ProbeSpec, raw: float, *, sign: int = 1, positive: bool = False
) -> Calibration | None:
    """Compare ``raw`` with the null of this entry; ``None`` when there is none to compare with.

    ``sign`` is -1 where smaller is better: z and p then say how far below the null ``raw`` is. ``positive`` is for a
    statistic that cannot be negative (:func:`~sway_dash.core.stats.next_draw_p`). Of several distributions the least z
    and the largest p count, whichever they come from. Only where no entry has draws, as with statistics
    from elsewhere, are those of the kind taken: draws on other prompts are no null of this entry.
    """
    own = {style: drawn[spec.name] for style, drawn in ctx.null_distributions.items() if drawn.get(spec.name)}
    if not own and ctx.null_draws.get(spec.name):
        own = {"gaussian": ctx.null_draws[spec.name]}
    if not own:
        if ctx.null_draws or any(ctx.null_distributions.values()):
            return None
        stats = get_null_stats(ctx, spec.kind)
        return _against(raw, "gaussian", stats, (), get_null_stats_by_rank(ctx, spec.kind), sign, positive)
    found = []
    for style, by_rank in own.items():
        summaries = {rank: null_stats(values) for rank, values in by_rank.items() if values}
        if not summaries:
            continue
        primary = primary_rank(summaries)
        draws = by_rank[primary]
        if against := _against(raw, style, summaries[primary], draws, summaries, sign, positive):
            found.append(against)
        elif len(draws) >= 2 and math.isfinite(raw):
            # Beyond draws that do not vary no z is known: this null is passed over, but not in silence.
            p = rank_p(sign * raw, [sign * v for v in draws])
            same = f"all {len(draws)} give {number(draws[0])} for {spec.name}"
            message = f"random adapters ({null_name(style)}) do not differ: {same}"
            ctx.emit(Warned(message=f"{message}, {said('p', p_text(p))} by rank, and no z", probe=spec.name))
    if len(found) < 2:
        return found[0] if found else None
    closest = max(found, key=lambda c: (1.0 if c.p is None else c.p, -c.z))
    least = min(found, key=lambda c: c.z)
    return replace(closest, z=least.z, z_by_rank=least.z_by_rank, among=tuple(found))


def compared(parts: Sequence[str], null: Calibration | None, kind: str, *, context: bool = False) -> str:
    """A message: its ``parts``, and how the value compares with random adapters, or that nothing was drawn.

    ``context`` is for kinds that are not judged by them.
    """
    if null is None:
        return f"{', '.join(parts)} {no_calibration_note(kind)}"
    ranks = [format_z_profile(null.z_by_rank)] if null.z_by_rank and len(null.z_by_rank) > 1 else []
    return ", ".join([*parts, f"for context: {null.sentence}" if context else null.sentence, *ranks])


def noise_does_as_well(null: Calibration | None, z_gate: float) -> str:
    """Why a value counts as no more than what random adapters do; empty when it is more, and when there are none."""
    if null is None:
        return ""
    faults = [f"z below {z_gate:g}"] * (null.z < z_gate)
    if null.p is not None and null.p > SIGNIFICANCE:
        faults.append(f"{said('p', p_text(null.p))} above {SIGNIFICANCE:g}")
    return f"random adapters do as well: {', '.join(faults)}" if faults else ""


def noise_cap(null: Calibration | None, z_gate: float) -> float:
    """Largest score of a value: 1 when it is more than noise, else below the gate's 0.6, and 0 from the mean down."""
    if null is None or not noise_does_as_well(null, z_gate):
        return 1.0
    return min(0.59, 0.6 * max(0.0, null.z) / max(z_gate, 1e-9))


def _against(
    raw: float,
    distribution: str,
    stats: Mapping[str, float] | None,
    draws: Sequence[float],
    by_rank: Mapping[str, Mapping[str, float]] | None,
    sign: int,
    positive: bool,
) -> Calibration | None:
    z = z_score(raw, stats)
    p = next_draw_p(raw, draws, positive=positive) if draws else prediction_p(raw, stats)
    p = p if p is None or sign > 0 else 1.0 - p
    flat = z is None
    if z is None:
        if len(draws) < 2 or not math.isfinite(raw) or sign * raw > max(sign * v for v in draws):
            return None
        # Draws without a spread give no z, but what they do as well is no finding.
        z, p = 0.0, 1.0
    return Calibration(
        z=min(max(sign * z, -MAX_Z), MAX_Z),
        p=p,
        rank_p=rank_p(sign * raw, [sign * v for v in draws]) if draws else None,
        n=int((stats or {}).get("n") or 0),
        largest=max(draws) if draws else None,
        z_by_rank=z_scores_by_rank(raw, by_rank, sign=sign),
        sign=sign,
        positive=positive and bool(draws),
        distribution=distribution,
        flat=flat,
    )


def get_null_stats(ctx: RunContext, kind: str) -> Mapping[str, float] | None:
    """Null statistics of a kind, if a ``null_adapter`` entry has made them."""
    return ctx.null_stats.get(kind)


def get_null_stats_by_rank(ctx: RunContext, kind: str) -> dict[str, Mapping[str, float]] | None:
    """Null statistics of a kind for every rank multiplier that has them."""
    found = {rank: kinds[kind] for rank, kinds in ctx.null_stats_by_rank.items() if kind in kinds}
    return found or None


def primary_rank(by_rank: Mapping[str, Any]) -> str:
    """The rank key that counts: the trained rank if it was drawn, else the first."""
    return "rank_1.00" if "rank_1.00" in by_rank else next(iter(by_rank))
