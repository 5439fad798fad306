"""Bands that hold a whole curve at once, where an interval at every point holds each by itself. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sway_dash.core.bootstrap import LONGEST_SIDE, student_quantile

Array = npt.NDArray[np.float64]

LEAST = 8
"""From so many curves on their resamples can tell how far the worst point strays."""

LEAST_SHARE = 0.25
"""Share of all curves that a point needs: resamples of the few longest stray far, and would widen every other point."""


def sup_t(
    curves: Array,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    n_bootstrap: int = 1000,
    bounds: tuple[float, float] | None = None,
) -> tuple[Array, Array] | None:
    """Simultaneous band of a mean curve: bootstrap sup-t (Montiel Olea and Plagborg-Møller 2019; Hall 1988).

    Whole curves are resampled, so what their points share is kept. With ``t*_j = (m*_j - m_j) / se*_j`` at point ``j``
    the band is ``[m_j - q⁺·se_j, m_j + q⁻·se_j]``, ``q⁺`` and ``q⁻`` the ``1 - α/2`` quantiles of ``max_j t*_j`` and of
    ``max_j -t*_j`` over resamples, so that it follows skewness, at most :data:`~sway_dash.core.bootstrap.LONGEST_SIDE`
    times Student's quantile for one of ``k`` points (Bonferroni). With ``1 - α`` it holds the mean at every point at
    once; it assumes independent curves. A point without spread has no width.

    Parameters
    ----------
    curves
        ``(n, k)``, one row an item; NaN where a curve has no value, as behind the end of a short one. The mean at a
        point is then over the curves that have one.
    bounds
        Range of the mean; the band is clamped to it.

    Returns
    -------
    ``(k,)`` lower and upper ends, NaN at points that fewer than :data:`LEAST` curves have, or fewer than
    :data:`LEAST_SHARE` of them; ``None`` where that is all points, or for values that are infinite.
    """
    x = np.asarray(curves, dtype=np.float64)
    known = ~np.isnan(x)
    judged = known.sum(axis=0) >= max(LEAST, LEAST_SHARE * known.any(axis=1).sum())
    if np.isinf(x).any() or not judged.any():
        return None
    kept = known[:, judged]
    reach, values = kept.sum(axis=0), np.where(kept, x[:, judged], 0.0)
    centre = values.sum(axis=0) / reach
    own = np.where(kept, values - centre, 0.0)
    error = np.sqrt((own**2).sum(axis=0) / (reach - 1) / reach)
    moving = error > 1e-12 * np.abs(values).max(initial=0.0)
    lo, hi = centre.copy(), centre.copy()
    if moving.any():
        above, below = _worst(own[:, moving], kept[:, moving], error[moving], n_bootstrap, seed)
        most = LONGEST_SIDE * student_quantile(int(reach.min()) - 1, 1.0 - (1.0 - confidence) / (2.0 * reach.size))
        level = 1.0 - (1.0 - confidence) / 2.0
        lo[moving] -= min(float(np.quantile(above, level, method="inverted_cdf")), most) * error[moving]
        hi[moving] += min(float(np.quantile(below, level, method="inverted_cdf")), most) * error[moving]
    if bounds is not None:
        lo, hi = np.clip(lo, *bounds), np.clip(hi, *bounds)
    ends = np.full((2, x.shape[1]), np.nan)
    ends[:, judged] = np.minimum(lo, centre), np.maximum(hi, centre)
    return ends[0], ends[1]


def simultaneous(
    curves: Array,
    points: Sequence[tuple[float, float] | None],
    *,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
) -> tuple[list[tuple[float, float] | None], str]:
    """:func:`sup_t` of ``(n, k)`` whole curves and what it is, in words.

    With fewer than :data:`LEAST` curves the intervals of single ``points`` stand in its place, and are said to be that.
    """
    band = sup_t(curves, seed=seed, bounds=bounds)
    if band is None:
        return list(points), f"95 % interval of each point by itself: {len(curves)} curves are too few for a band"
    ends: list[tuple[float, float] | None] = [(float(a), float(b)) for a, b in zip(*band, strict=True)]
    return ends, "with 95 % the band holds the mean at all points at once (sup-t)"


def _worst(own: Array, kept: npt.NDArray[np.bool_], error: Array, resamples: int, seed: int) -> tuple[Array, Array]:
    """How far resamples of whole curves stray at their worst point, in their own errors: above and below the mean."""
    n = len(own)
    rng = np.random.default_rng(seed)
    above, below = np.empty(resamples), np.empty(resamples)
    # In blocks, so that many curves do not need all resamples at once.
    block = max(1, min(resamples, 4_000_000 // max(own.shape)))
    for start in range(0, resamples, block):
        part = slice(start, min(start + block, resamples))
        rows = part.stop - start
        drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        size = times @ kept
        moved = times @ own / np.maximum(size, 1.0)
        spread = np.maximum(times @ own**2 - size * moved**2, 0.0) / np.maximum(size - 1.0, 1.0)
        t = moved / np.maximum(np.sqrt(spread / np.maximum(size, 1.0)), 1e-6 * error)
        # Of one curve or none a resample has no error at this point.
        t[size < 2.0] = 0.0
        above[part], below[part] = t.max(axis=1), -t.min(axis=1)
    return above, below


def dkw(n: int, *, confidence: float = 0.95) -> float:
    """How far a cumulative distribution of ``n`` independent items may lie from the true one anywhere, as a share.

    ``√(log(2/α) / 2n)``: the inequality of Dvoretzky, Kiefer and Wolfowitz (1956) with Massart's constant (1990), for
    every ``n`` and any distribution. 1 without items.
    """
    return min(1.0, math.sqrt(math.log(2.0 / (1.0 - confidence)) / (2.0 * n))) if n else 1.0
