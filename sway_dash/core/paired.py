"""Paired differences: the same items measured twice. Pure functions on arrays.

A difference is "same" when it lies inside a floor: what noise alone would make of it. The caller passes the floor; a
good one for two divergences of one prompt is :func:`null_spread` of that prompt's null draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sway_dash.core.bootstrap import hall_sides, skewness
from sway_dash.core.families import holm
from sway_dash.core.stats import MIN_ITEMS, interval, mean

Array = npt.NDArray[np.float64]

NUMERIC_FLOOR = 1e-6
"""Differences of this size, in nats, are float noise: nothing smaller is called a change, whatever the nulls say."""

MIN_NONZERO = 6
"""With fewer differences that are not 0 the two-sided signed-rank p cannot be below 0.05: 2 / 2^5 = 0.0625."""

EXACT_RANKS = 50
"""Up to so many differences the signed-rank p is exact, beyond it is the normal approximation."""

MANY = 500
"""More items than this get a closed interval of the same order of accuracy instead of a bootstrap."""


def rounding(values: Array, noise: float) -> Array:
    """``(n,)`` how far rounding alone may have moved each divergence, nats.

    ``noise`` is the divergence of either view from itself. The square root of JS is a metric (Endres and Schindelin
    2003): moving either end by ``√noise`` moves ``√JS`` by at most ``2√noise``, so JS by at most ``4√(JS·noise) +
    4·noise``. For KL the same holds only to leading order, for small ``noise``.
    """
    return np.asarray(4.0 * np.sqrt(np.maximum(values, 0.0) * noise) + 4.0 * noise)


@dataclass(frozen=True, slots=True)
class Paired:
    """Differences ``run - baseline`` over ``n`` items. ``None`` means not known; the note beside it says why, or how.

    ``p`` is the two-sided Wilcoxon signed-rank p, ``p_holm`` the same adjusted for ``tests`` comparisons (Holm 1979),
    ``d_z`` the mean difference in standard deviations of the differences (Cohen's d_z).
    """

    n: int
    mean: float | None
    ci: tuple[float, float] | None
    ci_note: str
    up: int
    same: int
    down: int
    d_z: float | None
    d_z_note: str
    p: float | None
    p_note: str
    largest: float
    """Largest absolute difference; 0.0 without items."""
    tests: int = 1
    p_holm: float | None = None

    @property
    def identical(self) -> bool:
        """Every item has the same value in both, to :data:`NUMERIC_FLOOR`."""
        return self.n > 0 and self.largest <= NUMERIC_FLOOR


def paired(
    deltas: Sequence[float] | Array,
    *,
    floor: float | Sequence[float] | Array = NUMERIC_FLOOR,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
) -> Paired:
    """Summarise paired differences.

    Parameters
    ----------
    deltas
        ``(n,)`` differences, one an item, finite.
    floor
        Largest absolute difference that still counts as the same; one number, or one an item.
    bounds
        Range of the mean difference; its interval is clamped to it.

    Returns
    -------
    Mean with its 95 % interval (:func:`mean_interval`), counts above, inside and below the floor, effect size, and the
    signed-rank p (:func:`signed_rank`). Differences up to :data:`NUMERIC_FLOOR` are zeros for that test.
    """
    x = np.asarray(deltas, dtype=np.float64)
    limit = np.broadcast_to(np.maximum(np.asarray(floor, dtype=np.float64), NUMERIC_FLOOR), x.shape)
    up, down = int((x > limit).sum()), int((x < -limit).sum())
    ci, ci_note = mean_interval(x, seed=seed, bounds=bounds)
    d_z, d_z_note = effect_size(x)
    p, p_note = signed_rank(np.where(np.abs(x) <= NUMERIC_FLOOR, 0.0, x))
    return Paired(
        n=x.size,
        mean=mean(x) if x.size else None,
        ci=ci,
        ci_note=ci_note,
        up=up,
        same=x.size - up - down,
        down=down,
        d_z=d_z,
        d_z_note=d_z_note,
        p=p,
        p_note=p_note,
        largest=float(np.abs(x).max(initial=0.0)),
        p_holm=p,
    )


def mean_interval(
    deltas: Array, *, seed: int = 0, bounds: tuple[float, float] | None = None
) -> tuple[tuple[float, float] | None, str]:
    """95 % interval of a mean (of differences) with its method, or ``None`` with the reason.

    Bootstrap-t up to :data:`MANY` items. Beyond, the bootstrap of a page of runs takes longer than a reader waits, and
    Hall's transformation of the t statistic (:func:`~sway_dash.core.bootstrap.hall_sides`) corrects the same skewness
    term in closed form.
    """
    n = deltas.size
    if n <= MANY:
        return interval(deltas, seed=seed, bounds=bounds)
    if not np.isfinite(deltas).all():
        return None, "no interval: the values are not finite"
    below, above = hall_sides(skewness(deltas), n - 1, 0.95)
    centre, error = mean(deltas), float(deltas.std(ddof=1)) / math.sqrt(n)
    lo, hi = min(centre - below * error, centre), max(centre + above * error, centre)
    if bounds is not None:
        lo, hi = max(lo, bounds[0]), min(hi, bounds[1])
    return (lo, hi), f"95% skewness-corrected t (Hall) over {n} items"


def effect_size(deltas: Array) -> tuple[float | None, str]:
    """Cohen's d_z, the mean over the sample standard deviation of the differences, or ``None`` with the reason."""
    if deltas.size < MIN_ITEMS:
        return None, f"no effect size below {MIN_ITEMS} items (n = {deltas.size})"
    spread = float(deltas.std(ddof=1))
    # Rounding gives a repeated value a tiny spread now and then.
    if deltas.min() == deltas.max() or spread == 0.0:
        return None, "no effect size: all differences are equal"
    return mean(deltas) / spread, "mean difference in standard deviations of the differences (d_z)"


def signed_rank(deltas: Sequence[float] | Array) -> tuple[float | None, str]:
    """Two-sided Wilcoxon signed-rank p with its method, or ``None`` with the reason.

    Zeros are dropped (Wilcoxon 1945), ties share their mean rank. Up to :data:`EXACT_RANKS` differences the p is exact
    given the ties: the distribution of the rank sum over all signs; beyond it is normal with the variance corrected for
    ties, without continuity correction.
    """
    x = np.asarray(deltas, dtype=np.float64)
    x = x[x != 0.0]
    n = x.size
    if n < MIN_NONZERO:
        return None, f"no test below {MIN_NONZERO} differences that are not 0 (there are {n})"
    _, place, counts = np.unique(np.abs(x), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    # Twice the mean rank of each group of ties: a whole number.
    ranks = (2 * last - counts + 1)[place]
    positive = int(ranks[x > 0].sum())
    total = n * (n + 1)
    if n <= EXACT_RANKS:
        ways = np.zeros(total + 1)
        ways[0] = 1.0
        for rank in ranks:
            ways[rank:] += ways[: total + 1 - rank].copy()
        share = ways / ways.sum()
        p = 2.0 * min(float(share[: positive + 1].sum()), float(share[positive:].sum()))
        method = "exact"
    else:
        from scipy.special import ndtr

        variance = n * (n + 1) * (2 * n + 1) / 24.0 - float((counts.astype(float) ** 3 - counts).sum()) / 48.0
        p = 2.0 * float(ndtr(-abs(positive / 2.0 - total / 4.0) / math.sqrt(variance)))
        method = "normal approximation"
    return min(p, 1.0), f"Wilcoxon signed-rank, two-sided, {method}, {n} differences that are not 0"


def adjusted(results: Sequence[Paired]) -> list[Paired]:
    """The same results with p adjusted for how many of them were tested."""
    tests = sum(r.p is not None for r in results)
    ps = holm([r.p for r in results])
    return [replace(r, tests=max(tests, 1), p_holm=p) for r, p in zip(results, ps, strict=True)]


def null_spread(draws: Sequence[Sequence[float]] | npt.NDArray[np.floating[Any]]) -> Array:
    """How far two null draws of one item lie apart: the 95 % quantile of ``|a - b|`` over all pairs of draws.

    ``(n, m)`` draws, one row an item, give ``(n,)`` spreads; for few draws (``m`` up to 6) that is the largest minus
    the smallest. Two further draws stay inside in 90 % of cases at ``m`` = 12, in 94 % at 60 (skewed draws, simulated).
    0 with fewer than two draws: one draw says nothing about noise.
    """
    x = np.asarray(draws, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        return np.zeros(len(x))
    first, second = np.triu_indices(x.shape[1], k=1)
    out = np.empty(len(x))
    # In blocks, so that many items and many draws do not need all pairs at once.
    block = max(1, 4_000_000 // first.size)
    for start in range(0, len(x), block):
        part = x[start : start + block]
        apart = np.abs(part[:, first] - part[:, second])
        out[start : start + block] = np.quantile(apart, 0.95, axis=1, method="higher")
    return out
