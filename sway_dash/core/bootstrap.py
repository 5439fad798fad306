"""Bootstrap-t: how far a mean may lie from the truth, by resamples of its own items. Pure functions on arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MIN_CLUSTERS = 4
"""Below this many clusters the spread between them is not known well enough for an interval."""

LONGEST_SIDE = 3.0
"""Resamples stretch a side of an interval to at most this many times that of Student's t."""

LONGEST_SKEW = 1.125
"""Skewness over the root of the number of items, times the quantile, at which Hall's longer side is longest."""

FEW = range(4, 8)
"""So many items show their skewness badly to resamples: their interval is no shorter than a skewness-corrected t."""

FEW_CLUSTERS = 20.0
"""The same of clusters of unequal size, below this effective number: large ones skew the sums as outliers do."""

LEAST_CLUSTERS = 3.0
"""Smallest effective number of clusters that is reckoned with: with fewer a t interval is wide without bound."""

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

    ``spread`` is the standard error of the mean on ``df`` degrees of freedom, ``skew`` the skewness of what it is the
    mean of, ``means`` and ``t`` the mean and the studentised error ``(m* - m) / se*`` of every resample. ``few`` is the
    number of items, or the effective number of clusters, where they are too few for resamples alone.
    """

    centre: float
    spread: float
    df: int
    skew: float
    means: npt.NDArray[np.float64]
    t: npt.NDArray[np.float64]
    few: float | None = None

    def interval(
        self, confidence: float = 0.95, bounds: tuple[float, float] | None = None
    ) -> tuple[float, float] | None:
        """Bootstrap-t, of few items or clusters no shorter than :func:`hall_sides`; ``(m, m)`` without spread.

        See :func:`~sway_dash.core.stats.bootstrap_ci`. ``None`` when fewer than 20 resamples have a spread.
        """
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
        wide = student_quantile(self.df, 1.0 - alpha) * spread
        # Few or tied values: so many resamples repeat one value that the quantile of t* is infinite on this side.
        low, high = (float(v) for v in np.quantile(self.means, [alpha, 1.0 - alpha]))
        lo = centre - t_hi * spread if math.isfinite(t_hi) else min(centre - wide, low)
        hi = centre - t_lo * spread if math.isfinite(t_lo) else max(centre + wide, high)
        lo, hi = max(lo, centre - LONGEST_SIDE * wide), min(hi, centre + LONGEST_SIDE * wide)
        if self.few is not None:
            below, above = hall_sides(self.skew, self.few - 1.0, confidence)
            lo, hi = min(lo, centre - below * spread), max(hi, centre + above * spread)
        if bounds is not None:
            lo, hi = max(lo, bounds[0]), min(hi, bounds[1])
        lo, hi = min(lo, centre), max(hi, centre)
        return (lo, hi) if math.isfinite(lo) and math.isfinite(hi) else None

    def safe_above(self, confidence: float) -> tuple[float, float] | None:
        """:meth:`interval` whose upper end is fit for a one-sided bound: no shorter than that of a larger skewness.

        Values with their tail above look harmless, little spread and little skewed at once where the tail is not among
        them: a bound by what resamples show of it is too short just then. So the skewness is freed of its bias,
        ``G₁ = n²/((n-1)(n-2)) · skew``, raised by half its standard error under normality,
        ``√(6n(n-1)/((n-2)(n+1)(n+3)))`` (Joanes and Gill 1998), and put into :func:`hall_sides`.
        """
        found = self.interval(confidence)
        if found is None or self.spread == 0.0:
            return found
        n = self.df + 1.0 if self.few is None else self.few
        skew = n * n / ((n - 1.0) * (n - 2.0)) * self.skew
        skew += 0.5 * math.sqrt(6.0 * n * (n - 1.0) / ((n - 2.0) * (n + 1.0) * (n + 3.0)))
        return found[0], max(found[1], self.centre + hall_sides(skew, n - 1.0, confidence)[1] * self.spread)


def hall_sides(skew: float, df: float, confidence: float) -> tuple[float, float]:
    """How far below and above the mean Hall's skewness-corrected interval reaches, in standard errors.

    ``g(T) = T + aT²/3 + a²T³/27 + a/6`` of the t statistic ``T``, ``a = skew / √n``, is symmetric to order 1/n and
    monotone (Hall 1992, "On the removal of skewness by transformation"); the ends are where it reaches ``±q``. ``q`` is
    Student's quantile times ``√(n / (n - 1))``, the expansion that Hesterberg (2015, section 5.3) gives quantiles of
    few items; ``n = df + 1``. The longer side grows with ``a`` to ``4q`` at ``aq =`` :data:`LONGEST_SKEW` and would
    shrink from there, though more skewness is no reason for a shorter one: it stays.
    """
    n = df + 1
    q = student_quantile(df, 0.5 + confidence / 2.0) * math.sqrt(n / df)

    def side(a: float) -> float:
        a = min(a, LONGEST_SKEW / q)
        return q if abs(a) < 1e-9 else 3.0 / a * (1.0 - math.cbrt(1.0 - a * (q + a / 6.0)))

    return side(-skew / math.sqrt(n)), side(skew / math.sqrt(n))


def skewness(x: npt.NDArray[np.float64]) -> float:
    """Third central moment over the cube of the sample standard deviation; 0 without spread."""
    apart = x - x.mean()
    # Scaled first: cubes of small divergences underflow.
    size = float(np.abs(apart).max(initial=0.0))
    if size == 0.0 or x.size < 3:
        return 0.0
    apart = apart / size
    spread = math.sqrt(float((apart**2).sum()) / (x.size - 1))
    return float((apart**3).mean()) / spread**3


def bootstrap_t(samples: Samples, *, n_bootstrap: int = 1000, seed: int = 0) -> BootstrapT | None:
    """Resamples of the mean of independent ``(n,)`` values; ``None`` when empty or not finite."""
    x = np.asarray(samples, dtype=np.float64)
    if x.size == 0 or not np.isfinite(x).all():
        return None
    centre, n = mean(x), x.size
    if x.min() == x.max():
        return BootstrapT(centre, 0.0, n - 1, 0.0, np.empty(0), np.empty(0))
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
    few = float(n) if n in FEW else None
    return BootstrapT(centre, float(x.std(ddof=1)) / math.sqrt(n), n - 1, skewness(x), means, t, few)


def cluster_t(
    values: Samples, clusters: Sequence[object], *, n_bootstrap: int = 1000, seed: int = 0
) -> BootstrapT | None:
    """Resamples of whole clusters; ``None`` below :data:`MIN_CLUSTERS` clusters or for values that are not finite.

    The mean is over items, ``m = Σ S_g / Σ n_g`` (``S_g`` the sum, ``n_g`` the size of a cluster), its standard error
    ``se² = G/(G-1) · Σ (S_g - m·n_g)² / N²`` (the linearised ratio estimator; Cochran 1977, section 6), on ``G - 1``
    degrees of freedom, its skewness that of the ``S_g - m·n_g``. A resample draws ``G`` clusters with all their items
    and is studentised with its own ``se*`` (Davison and Hinkley 1997, section 3.8; Cameron, Gelbach and Miller 2008).
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
        return BootstrapT(centre, 0.0, g - 1, 0.0, np.empty(0), np.empty(0))
    # Around the mean: sums of small differences lose no digits.
    sums = np.bincount(of, weights=x - centre).astype(np.float64)
    least = 1e-12 * float(np.abs(x).max())
    sizes = np.bincount(of).astype(np.float64)
    return _ratio_t(centre, sums, sizes, _few_clusters(sizes), least, n_bootstrap, seed)


def ratio_t(above: Samples, below: Samples, *, n_bootstrap: int = 1000, seed: int = 0) -> BootstrapT | None:
    """Resamples of ``R = Σ a / Σ b`` over paired items, ``b`` not negative; ``None`` where it has no such resamples.

    As of the mean of clusters, which is such a ratio: the standard error is that of the linearised estimator,
    ``se² = n/(n-1) · Σ (a - R·b)² / (Σ b)²`` (Cochran 1977, section 6), and every resample is studentised with its own.
    """
    x, y = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    usable = x.size >= MIN_CLUSTERS and x.size == y.size and np.isfinite(x).all() and np.isfinite(y).all()
    if not usable or y.min() < 0.0 or not y.any():
        return None
    centre = float(x.sum() / y.sum())
    least = 1e-12 * float(np.abs(x).max()) / float(y.mean())
    few = float(x.size) if x.size in FEW else None
    drawn = _ratio_t(centre, x - centre * y, y, few, least, n_bootstrap, seed)
    # A resample of items that have nothing below has no ratio.
    return drawn if np.isfinite(drawn.means).all() else None


def _ratio_t(
    centre: float,
    sums: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    few: float | None,
    least: float,
    n_bootstrap: int,
    seed: int,
) -> BootstrapT:
    """Resamples of a ratio of sums; ``sums`` are the numerators less ``centre`` times the ``sizes`` below.

    A standard error of at most ``least`` is rounding.
    """
    g = sizes.size
    factor = g / (g - 1)
    error = math.sqrt(factor * float((sums**2).sum())) / float(sizes.sum())
    if error <= least:
        return BootstrapT(centre, 0.0, g - 1, 0.0, np.empty(0), np.empty(0))
    rng = np.random.default_rng(seed)
    off, t = np.empty(n_bootstrap), np.empty(n_bootstrap)
    block = max(1, min(n_bootstrap, 2_000_000 // g))
    for start in range(0, n_bootstrap, block):
        drawn = rng.integers(0, g, size=(min(block, n_bootstrap - start), g))
        s, n = sums[drawn], sizes[drawn]
        part = slice(start, start + len(drawn))
        with np.errstate(divide="ignore", invalid="ignore"):
            total = n.sum(axis=1)
            off[part] = moved = s.sum(axis=1) / total
            own = np.sqrt(factor * ((s - moved[:, None] * n) ** 2).sum(axis=1)) / total
            own[own <= 1e-9 * error] = 0.0
            t[part] = moved / own
    return BootstrapT(centre, error, g - 1, skewness(sums), centre + off, t, few)


def _few_clusters(sizes: npt.NDArray[np.float64]) -> float | None:
    """Effective number of clusters where that is few."""
    if (sizes == sizes[0]).all():
        # Their means are as good as single items.
        return float(sizes.size) if sizes.size in FEW else None
    squares = (sizes / sizes.max()) ** 2
    effective = max(float(squares.sum()) ** 2 / float((squares**2).sum()), LEAST_CLUSTERS)
    return effective if effective < FEW_CLUSTERS else None


def student_quantile(df: float, p: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, p))
