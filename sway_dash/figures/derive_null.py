"""What random adapters did to one entry of a suite, and where the tuned adapter stands among them.

Every number comes from ``core.stats``, as in the result of the run. Plain Python: no param, no Panel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sway_dash.core.events import Measurement
from sway_dash.core.numbers import MAX_Z
from sway_dash.core.stats import (
    mean,
    next_draw_interval,
    next_draw_p,
    null_stats,
    prediction_interval,
    prediction_p,
    rank_p,
    z_score,
)
from sway_dash.probes.null_adapter import rank_key

Metric = Literal["js", "kl"]

SIGNIFICANCE = 0.05
FEW, SOME, MANY = 3, 10, 30
"""From so many draws on: an interval; a rank worth reading; a distribution worth drawing."""


def value_of(m: Measurement, metric: Metric) -> float:
    """The divergence of a measurement, nats; ``kl`` is KL(tuned ‖ base)."""
    return m.js if metric == "js" else m.kl


@dataclass(frozen=True, slots=True)
class NullRange:
    """What random adapters do to one prompt, nats."""

    lo: float
    hi: float
    n: int


@dataclass
class NullSet:
    """Draws of one ``null_adapter`` entry for one other entry, at every rank it was asked for."""

    entry: str
    """Name of the ``null_adapter`` entry."""
    distribution: str = "gaussian"
    """What its random adapters keep of the trained one."""
    primary: str = "rank_1.00"
    """The rank that counts: the trained one if it is drawn, else the first."""
    by_rank: dict[str, dict[str, dict[int, Measurement]]] = field(default_factory=dict)
    """Rank → null view → prompt index → its measurement."""
    by_item: dict[int, dict[str, Measurement]] = field(default_factory=dict)
    """Prompt index → null view → its measurement, at the rank that counts."""
    _means: dict[tuple[str, Metric, str], tuple[int, float]] = field(default_factory=dict)
    _ranges: dict[tuple[int, Metric], NullRange] = field(default_factory=dict)

    def add(self, m: Measurement) -> None:
        """Take one measurement."""
        rank = m.view.partition("_rank")[2]
        key = rank_key(float(rank)) if rank else rank_key(1.0)
        self.by_rank.setdefault(key, {}).setdefault(m.view, {})[m.item] = m
        if key == self.primary:
            self.by_item.setdefault(m.item, {})[m.view] = m
            for metric in ("js", "kl"):
                self._ranges.pop((m.item, metric), None)

    def range_of(self, item: int, metric: Metric) -> NullRange | None:
        """Smallest and largest draw on a prompt."""
        found = self._ranges.get((item, metric))
        if found is None and self.by_item.get(item):
            draws = [value_of(m, metric) for m in self.by_item[item].values()]
            found = self._ranges[item, metric] = NullRange(min(draws), max(draws), len(draws))
        return found

    def complete(self, planned: int) -> bool:
        """Whether there is a draw over all prompts: what :meth:`draws` would give is not empty."""
        views = self.by_rank.get(self.primary, {})
        want = planned or max(map(len, views.values()), default=0)
        return any(len(rows) >= want for rows in views.values())

    def draws(self, metric: Metric, planned: int, rank: str = "") -> list[float]:
        """Mean of every complete draw over the prompts, a text that is listed twice once; in the order of the seeds."""
        views = self.by_rank.get(rank or self.primary, {})
        want = planned or max(map(len, views.values()), default=0)
        return [
            self._mean(rank or self.primary, view, metric)
            for view in sorted(views, key=_seed)
            if len(views[view]) >= want
        ]

    def _mean(self, rank: str, view: str, metric: Metric) -> float:
        rows = self.by_rank[rank][view]
        known = self._means.get((rank, metric, view))
        if known is None or known[0] != len(rows):
            once = {m.prompt: value_of(m, metric) for m in rows.values()}
            known = self._means[rank, metric, view] = (len(rows), mean(once.values()))
        return known[1]


def _seed(view: str) -> tuple[int, str]:
    seed = view.partition("_")[2].partition("_")[0]
    return (int(seed) if seed.isdecimal() else 0, view)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a value stands among null draws; ``None`` where the draws cannot say."""

    raw: float | None
    draws: tuple[float, ...]
    stats: Mapping[str, float] | None
    z: float | None
    """Cut at ±:data:`MAX_Z`, as in the result."""
    p: float | None
    """One-sided, of the value as the next draw: Student's t with n − 1 degrees of freedom."""
    rank_p: float | None
    expected: tuple[float, float] | None
    """Where the next draw would fall with 95 %."""
    unit: str = "nats"
    positive: bool = False
    """The value cannot be negative: p and ``expected`` are on the scale of logarithms."""

    @property
    def n(self) -> int:
        """How many draws there are; of some results only their mean and spread were kept."""
        return len(self.draws) or int((self.stats or {}).get("n") or 0)

    @property
    def above(self) -> int:
        """How many draws lie below the value."""
        return sum(1 for v in self.draws if self.raw is not None and v < self.raw)

    @property
    def calibrates(self) -> bool:
        """Whether the draws are enough, and vary enough, to say what noise looks like."""
        return self.n >= FEW and self.expected is not None


def stand(
    raw: float | None,
    draws: Sequence[float],
    kept: Mapping[str, float] | None = None,
    *,
    sign: int = 1,
    unit: str = "nats",
    positive: bool = False,
    most: float = math.inf,
) -> Standing:
    """Compare a value with draws, by the functions the result was made with; without draws, with what was ``kept``.

    ``sign`` is -1 where smaller is better: z, p and the rank then say how far below the draws the value is.
    ``positive``: the value cannot be negative (:func:`~sway_dash.core.stats.next_draw_p`), and
    is ``most`` at the most.
    """
    stats = null_stats(draws) if draws else kept
    z = z_score(raw, stats)
    p = next_draw_p(raw, draws, positive=positive) if draws else prediction_p(raw, stats)
    return Standing(
        raw=raw,
        draws=tuple(draws),
        stats=stats,
        z=None if z is None else min(max(sign * z, -MAX_Z), MAX_Z),
        p=p if p is None or sign > 0 else 1.0 - p,
        rank_p=rank_p(sign * raw, [sign * v for v in draws]) if draws and raw is not None else None,
        expected=next_draw_interval(draws, positive=positive, most=most) if draws else prediction_interval(stats),
        unit=unit,
        positive=positive and bool(draws),
    )


@dataclass(frozen=True, slots=True)
class OwnNull:
    """How many prompts stand above the random adapters on the same prompt."""

    above: int
    """Above where the next draw on the prompt would fall with 95 % (one-sided)."""
    judged: int
    above_all: int
    """Above every draw on the prompt."""
    drawn: int
    """Prompts that have draws."""
    draws: int
    """Largest number of draws on a prompt."""


def own_null(rows: Sequence[Measurement], null: NullSet, metric: Metric) -> OwnNull:
    """Test prompt by prompt; a prompt with fewer than 3 draws, or draws that do not vary, is not judged."""
    above = judged = above_all = drawn = most = 0
    for m in rows:
        draws = [value_of(d, metric) for d in null.by_item.get(m.item, {}).values()]
        if not draws:
            continue
        drawn += 1
        most = max(most, len(draws))
        value = value_of(m, metric)
        above_all += value > max(draws)
        p = next_draw_p(value, draws, positive=True) if len(draws) >= FEW else None
        if p is not None:
            judged += 1
            above += p <= SIGNIFICANCE
    return OwnNull(above, judged, above_all, drawn, most)


def norms(evidence: Mapping[str, Any]) -> tuple[float | None, dict[str, float]]:
    """‖ΔW‖ of the trained adapter and, by rank, of a random one, where the backend could tell."""
    found = evidence.get("update_norms")
    found = found if isinstance(found, Mapping) else {}
    trained, null = found.get("trained"), found.get("null")
    null = null if isinstance(null, Mapping) else {}
    return (
        float(trained) if isinstance(trained, int | float) else None,
        {str(rank): float(v) for rank, v in null.items() if isinstance(v, int | float)},
    )
