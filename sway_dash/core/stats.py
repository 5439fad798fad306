"""Uncertainty of a mean, and where a value stands among null draws. Pure functions on arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MIN_STD = 1e-6
"""A null spread below this is numerical noise: no z is formed from it."""

MIN_ITEMS = 4
"""Below this many items a mean has no interval worth showing."""

MIN_CLUSTERS = 4
"""Below this many clusters the spread between them is not known well enough for an interval."""

LONGEST_SIDE = 2.5
"""A bootstrap interval reaches at most this many times as far from the mean as Student's t."""

Samples = Sequence[float] | npt.NDArray[np.floating[Any]]


def mean(samples: Iterable[float]) -> float:
    """Mean of a correctly rounded sum; the mean of identical floats is that float. ``ValueError`` when empty."""
    values = [float(v) for v in samples]
    if not values:
        msg = "the mean of no values is not defined"
        raise ValueError(msg)
    # The quotient can be off by its last bit: between the extremes it cannot.
    return min(max(math.fsum(values) / len(values), min(values)), max(values))


@dataclass(frozen=True, slots=True)
class BootstrapT:
    """A mean with its bootstrap distribution; intervals of any confidence are read from the one set of resamples.

    ``spread`` is the standard error of the mean on ``df`` degrees of freedom, ``means`` and ``t`` the mean and the
    studentised error ``(m* - m) / se*`` of every resample.
    """

    centre: float
    spread: float
    df: int
    means: npt.NDArray[np.float64]
    t: npt.NDArray[np.float64]

    def interval(
        self, confidence: float = 0.95, bounds: tuple[float, float] | None = None
    ) -> tuple[float, float] | None:
        """``[m - t*_hi · se, m - t*_lo · se]`` with the rules of :func:`bootstrap_ci`; ``(m, m)`` without spread."""
        if not 0.0 < confidence < 1.0:
            return None
        centre, spread = self.centre, self.spread
        if spread == 0.0:
            return (centre, centre)
        t = self.t[~np.isnan(self.t)]
        if t.size < 20:
            return None
        alpha = (1.0 - confidence) / 2.0
        t_lo, t_hi = (float(v) for v in np.quantile(t, [alpha, 1.0 - alpha], method="inverted_cdf"))
        wide = _student_quantile(self.df, 1.0 - alpha) * spread
        # Few or tied values: so many resamples repeat one value that the quantile of t* is infinite on this side.
        low, high = (float(v) for v in np.quantile(self.means, [alpha, 1.0 - alpha]))
        lo = centre - t_hi * spread if math.isfinite(t_hi) else min(centre - wide, low)
        hi = centre - t_lo * spread if math.isfinite(t_lo) else max(centre + wide, high)
        lo, hi = max(lo, centre - LONGEST_SIDE * wide), min(hi, centre + LONGEST_SIDE * wide)
        if bounds is not None:
            lo, hi = max(lo, bounds[0]), min(hi, bounds[1])
        lo, hi = min(lo, centre), max(hi, centre)
        return (lo, hi) if math.isfinite(lo) and math.isfinite(hi) else None


def bootstrap_t(samples: Samples, *, n_bootstrap: int = 1000, seed: int = 0) -> BootstrapT | None:
    """Resamples of the mean of independent ``(n,)`` values; ``None`` when empty or not finite."""
    x = np.asarray(samples, dtype=np.float64)
    if x.size == 0 or not np.isfinite(x).all():
        return None
    centre, n = mean(x), x.size
    if x.min() == x.max():
        return BootstrapT(centre, 0.0, n - 1, np.empty(0), np.empty(0))
    rng = np.random.default_rng(seed)
    means, t = np.empty(n_bootstrap), np.empty(n_bootstrap)
    # In blocks, so that many items do not need an (n_bootstrap, n) matrix at once.
    block = max(1, min(n_bootstrap, 4_000_000 // n))
    for start in range(0, n_bootstrap, block):
        drawn = x[rng.integers(0, n, size=(min(block, n_bootstrap - start), n))]
        error = drawn.std(axis=1, ddof=1) / math.sqrt(n)
        # Rounding gives a repeated value a tiny spread now and then, and t* = 1e15 with it: say 0 instead.
        error[drawn.min(axis=1) == drawn.max(axis=1)] = 0.0
        part = slice(start, start + len(drawn))
        means[part] = drawn.mean(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            t[part] = (means[part] - centre) / error
    return BootstrapT(centre, float(x.std(ddof=1)) / math.sqrt(n), n - 1, means, t)


def bootstrap_ci(
    samples: Samples,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
) -> tuple[float, float] | None:
    """Bootstrap-t interval of the mean.

    Each resample gives ``t* = (m* - m) / se*``; the interval is ``[m - t*_hi · se, m - t*_lo · se]`` (Efron 1981;
    Hall 1988). Studentising restores the coverage that the percentile bootstrap loses on few, skewed values: for
    a nominal 95 % at n = 4, about 93 % against 78 %. Assumes independent items. A side on which resamples of one
    repeated value leave no finite quantile (n below 4, or nearly all values tied) takes the wider of Student's t and
    the percentile bound. Neither side is longer than :data:`LONGEST_SIDE` times Student's: with few values and one far
    from the rest, single resamples would otherwise stretch it without end. In simulation the cap costs at most one
    point of coverage on normal, exponential, gamma and bimodal data from n = 4 on, and halves the width or better at
    n = 4.

    Parameters
    ----------
    samples
        ``(n,)`` values.
    bounds
        Range of the statistic; the interval is clamped to it.

    Returns
    -------
    ``(lo, hi)``; ``(v, v)`` when all values are equal; ``None`` when empty, non-finite, or ``confidence`` is not
    inside (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        return None
    drawn = bootstrap_t(samples, n_bootstrap=n_bootstrap, seed=seed)
    return None if drawn is None else drawn.interval(confidence, bounds)


def cluster_t(
    values: Samples, clusters: Sequence[object], *, n_bootstrap: int = 1000, seed: int = 0
) -> BootstrapT | None:
    """Resamples of whole clusters; ``None`` below :data:`MIN_CLUSTERS` clusters or for values that are not finite.

    The mean is over items, ``m = Σ S_g / Σ n_g`` (``S_g`` the sum, ``n_g`` the size of a cluster), its standard error
    ``se² = G/(G-1) · Σ (S_g - m·n_g)² / N²`` (the linearised ratio estimator; Cochran 1977, section 6), on ``G - 1``
    degrees of freedom. A resample draws ``G`` clusters with all their items and is studentised with its own ``se*``
    (Davison and Hinkley 1997, section 3.8; Cameron, Gelbach and Miller 2008).
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size != len(clusters):
        msg = f"every value needs its cluster: {x.size} values, {len(clusters)} clusters"
        raise ValueError(msg)
    place: dict[object, int] = {}
    of = np.fromiter((place.setdefault(c, len(place)) for c in clusters), dtype=np.intp, count=x.size)
    g = len(place)
    if g < MIN_CLUSTERS or not np.isfinite(x).all():
        return None
    centre = mean(x)
    if x.min() == x.max():
        return BootstrapT(centre, 0.0, g - 1, np.empty(0), np.empty(0))
    # Around the mean: sums of small differences lose no digits.
    sums, sizes = np.bincount(of, weights=x - centre), np.bincount(of).astype(np.float64)
    factor = g / (g - 1)
    error = math.sqrt(factor * float((sums**2).sum())) / x.size
    if error <= 1e-12 * float(np.abs(x).max()):
        return BootstrapT(centre, 0.0, g - 1, np.empty(0), np.empty(0))
    rng = np.random.default_rng(seed)
    off, t = np.empty(n_bootstrap), np.empty(n_bootstrap)
    block = max(1, min(n_bootstrap, 2_000_000 // g))
    for start in range(0, n_bootstrap, block):
        drawn = rng.integers(0, g, size=(min(block, n_bootstrap - start), g))
        s, n = sums[drawn], sizes[drawn]
        total = n.sum(axis=1)
        moved = s.sum(axis=1) / total
        own = np.sqrt(factor * ((s - moved[:, None] * n) ** 2).sum(axis=1)) / total
        own[own <= 1e-9 * error] = 0.0
        part = slice(start, start + len(drawn))
        off[part] = moved
        with np.errstate(divide="ignore", invalid="ignore"):
            t[part] = moved / own
    return BootstrapT(centre, error, g - 1, centre + off, t)


def cluster_ci(
    values: Samples,
    clusters: Sequence[object],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
) -> tuple[float, float] | None:
    """Cluster bootstrap-t interval of the mean over items that share a document, section or prompt.

    See :func:`cluster_t`. Assumes independent clusters, whatever happens inside one; with one item a cluster it is
    :func:`bootstrap_ci`. Treating clustered items as independent makes intervals too short by about
    ``√(1 + (n̄ - 1)·ρ)``, ``ρ`` the correlation inside a cluster.

    Parameters
    ----------
    values
        ``(n,)`` values.
    clusters
        ``(n,)`` hashable labels, one a value.
    bounds
        Range of the statistic; the interval is clamped to it.

    Gives ``(lo, hi)``; ``(v, v)`` without any spread between clusters; ``None`` below :data:`MIN_CLUSTERS` clusters,
    for values that are not finite, or a ``confidence`` outside (0, 1). ``ValueError`` when the lengths differ.
    """
    if not 0.0 < confidence < 1.0:
        return None
    drawn = cluster_t(values, clusters, seed=seed)
    return None if drawn is None else drawn.interval(confidence, bounds)


def _student_quantile(df: int, p: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def interval(
    samples: Samples, *, seed: int = 0, confidence: float = 0.95, bounds: tuple[float, float] | None = None
) -> tuple[tuple[float, float] | None, str]:
    """Interval of a mean together with its method, or ``None`` together with the reason there is none."""
    n = len(samples)
    if n < MIN_ITEMS:
        return None, f"no interval below {MIN_ITEMS} items (n = {n})"
    ci = bootstrap_ci(samples, seed=seed, confidence=confidence, bounds=bounds)
    if ci is None:
        return None, "no interval: the values are not finite"
    return ci, f"{confidence:.0%} bootstrap-t over {n} items"


def null_stats(draws: Sequence[float]) -> dict[str, float]:
    """Summarise null draws in the public form: ``mean``, population ``std`` (floored), ``n``, ``degenerate``."""
    values = [float(v) for v in draws]
    centre = mean(values)
    spread = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / len(values))
    degenerate = len(values) <= 1 or spread == 0.0
    return {
        "mean": centre,
        "std": max(spread, MIN_STD),
        "n": float(len(values)),
        "degenerate": 1.0 if degenerate else 0.0,
    }


def z_score(raw: float | None, stats: Mapping[str, float] | None) -> float | None:
    """``(raw - mean) / std`` of the null; ``None`` where that would mean nothing."""
    if raw is None or stats is None or stats.get("mean") is None:
        return None
    centre, std = float(stats["mean"]), float(stats.get("std") or 0.0)
    if not all(math.isfinite(v) for v in (raw, centre, std)):
        return None
    if std < MIN_STD or float(stats.get("degenerate") or 0.0) >= 0.5:
        return None
    return (raw - centre) / std


def prediction_p(raw: float | None, stats: Mapping[str, float] | None) -> float | None:
    """One-sided p-value of ``raw`` as the next draw from a normal null of which ``n`` draws are known.

    ``t = (raw - mean) / (s √(1 + 1/n))`` with ``n - 1`` degrees of freedom, ``s`` the sample standard deviation (Hahn
    and Meeker 1991, prediction intervals). ``None`` when fewer than 2 draws or a degenerate null.
    """
    z = z_score(raw, stats)
    n = float((stats or {}).get("n") or 0.0)
    if z is None or n < 2:
        return None
    from scipy.special import stdtr

    # z uses the population spread of the public format: s = std · √(n / (n - 1)).
    t = z * math.sqrt((n - 1.0) / n) / math.sqrt(1.0 + 1.0 / n)
    return float(stdtr(n - 1.0, -t))


def prediction_interval(stats: Mapping[str, float] | None, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Where the next draw of a normal null would fall: ``mean ± t · s · √(1 + 1/n)``, two-sided.

    The same reading of the draws as :func:`prediction_p`, and ``None`` where that is. Not clamped: the draws alone say
    nothing about a bound.
    """
    n = float((stats or {}).get("n") or 0.0)
    if stats is None or n < 2 or z_score(0.0, stats) is None:
        return None
    s = float(stats["std"]) * math.sqrt(n / (n - 1.0))
    half = _student_quantile(int(n) - 1, 0.5 + confidence / 2.0) * s * math.sqrt(1.0 + 1.0 / n)
    return (float(stats["mean"]) - half, float(stats["mean"]) + half)


def rank_p(raw: float, draws: Sequence[float]) -> float:
    """Exact one-sided randomisation p-value, ``(1 + #{null ≥ raw}) / (n + 1)`` (Phipson and Smyth 2010)."""
    return (1 + sum(1 for v in draws if v >= raw)) / (len(draws) + 1)


def score_from_z(z: float | None) -> float | None:
    """Public score map: logistic of z / 3. Kept for readers of the format; see :func:`score_from_anchors`."""
    if z is None:
        return None
    return 1.0 / (1.0 + math.exp(-min(max(z / 3.0, -50.0), 50.0)))


def verdict_from_z(z: float | None, threshold: float) -> str | None:
    """``"pass"`` iff ``z ≥ threshold``, ``"fail"`` otherwise; ``None`` without a z."""
    return None if z is None else ("pass" if z >= threshold else "fail")


def score_from_anchors(value: float, *, none: float, gate: float, target: float) -> float:
    """Map an effect to [0, 1], piecewise linear: ``none`` → 0, ``gate`` → 0.6, ``target`` → 1.

    Works for smaller-is-better too (``none > gate > target``). The same map with and without calibration.
    """
    points = [(none, 0.0), (gate, 0.6), (target, 1.0)]
    if none > target:
        points = [(-x, y) for x, y in points]
        value = -value
    xs, ys = zip(*points, strict=True)
    return float(np.interp(value, xs, ys))


def z_scores_by_rank(
    raw: float | None, by_rank: Mapping[str, Mapping[str, float]] | None, *, sign: int = 1
) -> dict[str, float] | None:
    """``sign · z`` per rank multiplier; ``None`` when no rank gives one."""
    found = {k: sign * z for k, s in (by_rank or {}).items() if (z := z_score(raw, s)) is not None}
    return found or None


def format_z_profile(z_by_rank: Mapping[str, float] | None) -> str:
    """``{"rank_0.50": 6.8}`` → ``"+6.80σ @ 0.5x"``, several joined by ``" / "``."""

    def label(key: str) -> str:
        try:
            return f"{float(key.removeprefix('rank_')):g}x"
        except ValueError:
            return key

    return " / ".join(f"{z:+.2f}σ @ {label(k)}" for k, z in (z_by_rank or {}).items())


def no_calibration_note(kind: str) -> str:
    """What a message ends with when there was no null to compare with."""
    return f"(no calibration for {kind})"


def percentiles(samples: Samples) -> dict[str, float]:
    """Median, p90, p95, p99 and maximum, for the line under a plot."""
    x = np.asarray(samples, dtype=np.float64)
    p50, p90, p95, p99 = (float(v) for v in np.percentile(x, [50, 90, 95, 99]))
    return {"median": p50, "p90": p90, "p95": p95, "p99": p99, "max": float(x.max())}


def ratio_ci(
    above: Samples, below: Samples, *, n_bootstrap: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of ``mean(above) / mean(below)`` over paired items.

    Items are resampled, so both means are over the same ones and what they share cancels. ``None`` below
    :data:`MIN_ITEMS` items, for non-finite values, and where a resampled denominator is not positive.
    """
    x, y = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    if x.size < MIN_ITEMS or x.size != y.size or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    rng = np.random.default_rng(seed)
    numerator, denominator = np.empty(n_bootstrap), np.empty(n_bootstrap)
    block = max(1, min(n_bootstrap, 4_000_000 // x.size))
    for start in range(0, n_bootstrap, block):
        part = slice(start, min(start + block, n_bootstrap))
        drawn = rng.integers(0, x.size, size=(part.stop - start, x.size))
        numerator[part], denominator[part] = x[drawn].mean(axis=1), y[drawn].mean(axis=1)
    if (denominator <= 0).any():
        return None
    tail = (1.0 - confidence) / 2.0
    lo, hi = np.quantile(numerator / denominator, [tail, 1.0 - tail])
    return (float(lo), float(hi))


def block_interval(
    values: Samples, *, confidence: float = 0.95, bounds: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Interval of the mean of a serially correlated sequence, such as divergences along a text.

    The sequence ``(T,)`` is cut into blocks of ``⌈T^(1/3)⌉`` neighbours; the blocks' means are treated as independent
    and get a Student t interval (batch means; Carlstein 1986). ``None`` below :data:`MIN_ITEMS` blocks.
    """
    x = np.asarray(values, dtype=np.float64)
    size = math.ceil(x.size ** (1 / 3)) if x.size else 1
    count = x.size // size
    if count < MIN_ITEMS or not np.isfinite(x).all():
        return None
    from scipy.special import stdtrit

    # Uneven blocks, so that no position is dropped.
    blocks = np.array([part.mean() for part in np.array_split(x, count)])
    half = float(stdtrit(count - 1, 0.5 + confidence / 2)) * float(blocks.std(ddof=1)) / math.sqrt(count)
    centre = float(x.mean())
    lo, hi = centre - half, centre + half
    return (lo, hi) if bounds is None else (max(lo, bounds[0]), min(hi, bounds[1]))
