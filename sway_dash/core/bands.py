"""Bands that hold a whole curve at once, where an interval at every point holds each by itself. Pure functions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sway_dash.core.bootstrap import LONGEST_SIDE, student_quantile

Array = npt.NDArray[np.float64]

LEAST = 8
"""From so many curves on their resamples can tell how far the worst point strays."""


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
        ``(n, k)``, one row an item, complete.
    bounds
        Range of the mean; the band is clamped to it.

    Returns
    -------
    ``(k,)`` lower and upper ends; ``None`` below :data:`LEAST` curves or for values that are not finite.
    """
    x = np.asarray(curves, dtype=np.float64)
    n, k = x.shape
    if n < LEAST or k == 0 or not np.isfinite(x).all():
        return None
    centre = x.mean(axis=0)
    error = x.std(axis=0, ddof=1) / math.sqrt(n)
    moving = error > 1e-12 * np.abs(x).max(initial=0.0)
    lo, hi = centre.copy(), centre.copy()
    if moving.any():
        rng = np.random.default_rng(seed)
        most = LONGEST_SIDE * student_quantile(n - 1, 1.0 - (1.0 - confidence) / (2.0 * k))
        own = x[:, moving] - centre[moving]
        above, below = np.empty(n_bootstrap), np.empty(n_bootstrap)
        # In blocks, so that many curves do not need all resamples at once.
        block = max(1, min(n_bootstrap, 2_000_000 // own.size))
        for start in range(0, n_bootstrap, block):
            part = slice(start, min(start + block, n_bootstrap))
            drawn = own[rng.integers(0, n, (part.stop - start, n))]
            spread = np.maximum(drawn.std(axis=1, ddof=1) / math.sqrt(n), 1e-9 * error[moving])
            t = drawn.mean(axis=1) / spread
            above[part], below[part] = t.max(axis=1), -t.min(axis=1)
        level = 1.0 - (1.0 - confidence) / 2.0
        lo[moving] -= min(float(np.quantile(above, level, method="inverted_cdf")), most) * error[moving]
        hi[moving] += min(float(np.quantile(below, level, method="inverted_cdf")), most) * error[moving]
    if bounds is not None:
        lo, hi = np.clip(lo, *bounds), np.clip(hi, *bounds)
    return np.minimum(lo, centre), np.maximum(hi, centre)


def dkw(n: int, *, confidence: float = 0.95) -> float:
    """How far a cumulative distribution of ``n`` independent items may lie from the true one anywhere, as a share.

    ``√(log(2/α) / 2n)``: the inequality of Dvoretzky, Kiefer and Wolfowitz (1956) with Massart's constant (1990), for
    every ``n`` and any distribution. 1 without items.
    """
    return min(1.0, math.sqrt(math.log(2.0 / (1.0 - confidence)) / (2.0 * n))) if n else 1.0
