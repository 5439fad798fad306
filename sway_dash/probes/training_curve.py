"""Is a loss curve falling, by how much, and does it jump? Robust statistics of a sequence of losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FALSE_ALARMS = 0.01
"""Expected number of spikes found in a curve of Gaussian noise, whatever its length."""

MAX_TREND_POINTS = 512
"""Longer curves are cut into so many bins, and the trend is that of their medians: slopes of all pairs are many."""

FLAT_NOISE = 0.01
"""Share of the curve's range below which a residual is never called a spike."""


def compute_metrics(losses: Sequence[float], *, rolling_window: int, spike_sigma: float) -> dict[str, Any]:
    """Describe a loss curve; a value is ``None`` where it is not defined, never NaN or infinite.

    ``convergence_ratio``
        Median of the last window over median of the first; a window is a tenth of the curve, at most
        ``rolling_window`` steps. Single batches, which the public ratio compares, are mostly noise.
    ``smoothness``
        ``drop / (drop + s)``: the fall between those medians against the standard error ``s = 1.2533 σ / √w`` of such
        a median (asymptotic for normal noise), σ from :func:`noise_sigma`. It does not depend on how many points were
        logged, once a window is full. 0 for a curve that does not fall.
    ``smoothness_public``
        ``1 − Var(Δ) / Var(loss)``, which does: kept for comparison with other tools.
    ``trend_p``, ``tau``
        Mann-Kendall test of a falling trend, one-sided (Mann 1945; Kendall's τ against time, ties corrected). Assumes
        independent noise around the trend.
    ``slope``, ``slope_ci_95``
        Theil-Sen slope in nats a step with Sen's interval (Sen 1968).
    ``spikes``, ``instability_events``
        See :func:`spike_positions`; every non-finite loss is an instability, too.
    """
    raw = np.asarray(losses, dtype=np.float64)
    finite = np.isfinite(raw)
    bad = int((~finite).sum())
    y, at = raw[finite], np.flatnonzero(finite)
    out: dict[str, Any] = {
        "initial_loss": None, "final_loss": None, "initial_median": None, "final_median": None,
        "convergence_ratio": None, "convergence_ratio_public": None, "smoothness": 0.0, "smoothness_public": 0.0,
        "noise": None, "window": None, "tau": None, "trend_p": None, "rising_p": None, "slope": None,
        "slope_ci_95": None, "non_finite": bad, "spikes": 0, "spike_positions": [],
        "instability_events": float(bad), "ends_non_finite": bool(len(raw)) and not bool(finite[-1]),
    }  # fmt: skip
    if not len(y):
        return out
    window = max(1, min(len(y) // 2, max(2, min(rolling_window, len(y) // 10))))
    first, last = float(np.median(y[:window])), float(np.median(y[-window:]))
    noise = noise_sigma(y)
    error = 1.2533 * noise / math.sqrt(window)
    drop = first - last
    spikes = spike_positions(y, window=rolling_window, sigma=spike_sigma)
    out |= {
        "initial_loss": float(y[0]),
        "final_loss": float(y[-1]),
        "initial_median": first,
        "final_median": last,
        "convergence_ratio": last / first if first > 0 else None,
        "convergence_ratio_public": float(y[-1] / y[0]) if y[0] > 0 else None,
        "smoothness": drop / (drop + error) if drop > 0 else 0.0,
        "smoothness_public": public_smoothness(y),
        "noise": noise,
        "window": window,
        "spikes": len(spikes),
        "spike_positions": [int(at[i]) for i in spikes],
        "instability_events": float(bad + len(spikes)),
    }
    return out | trend(at, y)


def public_smoothness(y: Floats) -> float:
    """``max(0, 1 − Var(Δ) / Var(loss))``; 0 for a constant curve."""
    spread = float(np.var(y))
    return 0.0 if spread == 0.0 else max(0.0, 1.0 - float(np.var(np.diff(y))) / spread)


def trend(x: npt.NDArray[np.int64], y: Floats) -> dict[str, Any]:
    """Mann-Kendall test and Theil-Sen slope of ``y`` on ``x``; nothing below 4 points or for a constant curve."""
    from scipy.stats import kendalltau, theilslopes

    if len(y) < 4 or float(np.ptp(y)) == 0.0:
        return {}
    xs: Floats = x.astype(np.float64)
    if len(y) > MAX_TREND_POINTS:
        cuts = np.array_split(np.arange(len(y)), MAX_TREND_POINTS)
        xs, y = np.array([xs[c].mean() for c in cuts]), np.array([float(np.median(y[c])) for c in cuts])
    falling, rising = (kendalltau(xs, y, alternative=side) for side in ("less", "greater"))
    slope, _, lo, hi = theilslopes(y, xs, 0.95)
    values = [float(falling.statistic), float(falling.pvalue), float(rising.pvalue), float(slope), float(lo), float(hi)]
    if not all(math.isfinite(v) for v in values):
        return {}
    return {
        "tau": values[0],
        "trend_p": values[1],
        "rising_p": values[2],
        "slope": values[3],
        "slope_ci_95": values[4:],
    }


def detrended(y: Floats, window: int) -> Floats:
    """Residuals from a running median whose window shrinks symmetrically towards both ends.

    A one-sided window would leave a steep beginning above its own median. So the first and last points have no
    residual.
    """
    half = max(1, window // 2)
    out = np.zeros(len(y))
    for i in range(len(y)):
        reach = min(half, i, len(y) - 1 - i)
        out[i] = y[i] - np.median(y[i - reach : i + reach + 1])
    return out


def noise_sigma(y: Floats) -> float:
    """Standard deviation of the noise around a smooth curve, from each point and the line between its neighbours.

    ``e_i = y_i − (y_{i−1} + y_{i+1}) / 2`` has variance 1.5 σ² for independent noise, whatever smooth trend runs
    beneath (Gasser, Sroka and Jennen-Steinmetz 1986); here with 1.4826 · median |e| in place of the root mean square,
    so that single jumps do not count. 0 below 3 points.
    """
    if len(y) < 3:
        return 0.0
    return 1.4826 * float(np.median(np.abs(y[1:-1] - 0.5 * (y[:-2] + y[2:])))) / math.sqrt(1.5)


def spike_positions(y: Floats, *, window: int, sigma: float) -> list[int]:
    """Where the loss jumps up: a Hampel filter on detrended residuals; neighbours count as one spike.

    A residual is a spike beyond ``k`` times the larger of the noise around it and over the whole curve. ``k`` is
    ``sigma``, or more on a long curve, so that Gaussian noise alone gives :data:`FALSE_ALARMS` spikes a curve: at a
    fixed 3 σ a thousand steps would have one. Noise is MAD-based (Hampel 1974) and at least :data:`FLAT_NOISE` of the
    curve's range between its 5th and 95th percentiles.
    """
    if len(y) < 5:
        return []
    from scipy.special import ndtri

    residual = detrended(y, window)
    lo, hi = (float(v) for v in np.percentile(y, [5, 95]))
    whole = max(noise_sigma(y), FLAT_NOISE * (hi - lo))
    k = max(sigma, float(ndtri(1.0 - FALSE_ALARMS / len(y))))
    around = max(10, 2 * window)
    found = [
        int(i)
        for i in np.flatnonzero(residual > k * whole)
        if residual[i] > k * noise_sigma(y[max(0, i - around) : i + around + 1])
    ]
    return [i for n, i in enumerate(found) if not n or i > found[n - 1] + 1]


def downsampled_curve(steps: Sequence[int], losses: Sequence[float], *, cap: int) -> list[tuple[int, float]]:
    """At most ``cap`` points (at least 2) of a curve, evenly spread, with its first and its last."""
    n = len(steps)
    points = max(2, min(cap, n))
    keep = sorted({round(i * (n - 1) / (points - 1)) for i in range(points)}) if n else []
    return [(int(steps[i]), float(losses[i])) for i in keep]
