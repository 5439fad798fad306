"""Non-inferiority: is the harm, at the bad end of what the data allow, still smaller than a margin? Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sway_dash.core.bootstrap import MIN_CLUSTERS, BootstrapT, Samples, bootstrap_t, cluster_t, mean
from sway_dash.core.grouped import gravest, harm_ci, independent_items
from sway_dash.core.rates import newcombe_paired
from sway_dash.core.stats import MIN_ITEMS

RESAMPLES = 2000
"""A tail of 5 % is read from 100 of them; the smallest p is one in so many."""

Ends = Callable[[float], tuple[float, float] | None]
"""Two-sided interval of a given confidence."""


@dataclass(frozen=True, slots=True)
class Margin:
    """Outcome of a non-inferiority test, in the unit of the harms. ``None`` means not known; ``note`` says why, or how.

    ``upper`` is the one-sided upper bound of the mean harm, ``p`` the one-sided p-value of "the mean harm reaches the
    margin", ``passed`` whether ``upper`` lies below the margin.
    """

    mean: float | None
    upper: float | None
    passed: bool | None
    p: float | None
    note: str


def non_inferior(
    harms: Samples,
    margin: float,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    clusters: Sequence[object] | None = None,
) -> Margin:
    """Whether the mean harm is below a margin, and not merely "not shown to be above" it.

    Passes iff the one-sided upper confidence bound of the mean is smaller than ``margin``: the upper end of the
    two-sided interval of confidence ``2c - 1`` (Schuirmann 1987; ICH E9 1998, section 3.3.2). Harmful adapters pass
    with a probability of at most ``1 - c``. Few items do not pass by being few: that widens the bound.

    The bound is that of :meth:`~sway_dash.core.bootstrap.BootstrapT.safe_above`, of whole clusters when ``clusters``
    are given. A mean harm equal to the margin then passes, at a nominal 5 %, in up to 5 % of normal, 6 % of exponential
    and gamma(1/2) harms, in up to 8 % of the last at 4 and 5 items (10 % of log-normal ones, σ = 1); by the end of the
    two-sided interval in up to 5, 10 and 12 % (14 %).

    Harms that are only 0 and 1 are a rate and get Wilson's bound, in clusters that of
    :func:`~sway_dash.core.grouped.harm_ci`; only -1, 0 and 1 a difference of paired rates and get that of Bonett and
    Price (2012): ``d̃ + z·√((b̃ + c̃ - d̃²) / (n + 2))`` with ``b̃ = (b + 1)/(n + 2)``, ``c̃ = (c + 1)/(n + 2)``, ``d̃ =
    b̃ - c̃``, in clusters of as many items as :func:`~sway_dash.core.grouped.independent_items` says. Both have a width
    also when nothing happened.

    Parameters
    ----------
    harms
        ``(n,)`` harm of every item, larger is worse, independent items or independent clusters.
    margin
        Largest mean harm that would still be tolerable, same unit.
    confidence
        Of the one-sided bound, inside (0.5, 1).
    clusters
        ``(n,)`` hashable labels of items that belong together.

    Returns
    -------
    ``passed``, ``upper`` and ``p`` are ``None`` below 4 items or clusters, and for values that are not finite.
    """
    if not 0.5 < confidence < 1.0:
        msg = f"the confidence of a one-sided bound lies between 0.5 and 1, got {confidence}"
        raise ValueError(msg)
    x = np.asarray(harms, dtype=np.float64)
    n = x.size
    if n == 0 or not np.isfinite(x).all():
        return Margin(None, None, None, None, "no bound: the values are not finite" if n else "no bound: no items")
    centre = mean(x)
    if n < MIN_ITEMS:
        return Margin(centre, None, None, None, f"no bound below {MIN_ITEMS} items (n = {n})")
    least = 0.0
    ends: Ends
    groups = n if clusters is None else len(set(clusters))
    if groups < min(n, MIN_CLUSTERS):
        return Margin(centre, None, None, None, f"no bound below {MIN_CLUSTERS} clusters (there are {groups})")
    if np.isin(x, (-1.0, 0.0, 1.0)).all():
        worth = n if clusters is None else independent_items(x, clusters)
        up, down = (int((side * x > 0).sum()) for side in (1, -1))
        of = f"{n} items" + f", worth {worth} independent ones" * (worth < n)
        if down:
            ends = partial(_bonett_price, up * worth / n, down * worth / n, worth)
            method = f"Bonett-Price, {up} worse and {down} better of {of}"
        else:
            counts = [(float(up), n)] if clusters is None else gravest((x > 0).tolist(), clusters)
            ends, method = lambda c: harm_ci(counts, confidence=c), f"Wilson, {up} of {of}"
            method += ", or of the clusters hit hardest alone" * (worth < n)
    elif clusters is not None and groups < n:
        ends = _of(cluster_t(x, clusters, n_bootstrap=RESAMPLES, seed=seed))
        method, least = f"cluster bootstrap-t over {groups} clusters", 1.0 / (RESAMPLES + 1)
    else:
        ends, method = _of(bootstrap_t(x, n_bootstrap=RESAMPLES, seed=seed)), f"bootstrap-t over {n} items"
        method, least = method + ", all of them equal" * bool(x.min() == x.max()), 1.0 / (RESAMPLES + 1)
    # Rounded: 2 · 0.95 - 1 is not 0.9, and quantiles of resamples step there.
    found = ends(round(2.0 * confidence - 1.0, 12))
    if found is None:
        return Margin(centre, None, None, None, "no bound: too few resamples have a spread")
    p = min(max(_p(ends, centre, margin), least), 1.0 - least)
    return Margin(centre, found[1], found[1] < margin, p, f"one-sided {confidence:.0%} {method}")


def fallen_rate(both: int, gained: int, lost: int, neither: int, margin: float, *, confidence: float = 0.95) -> Margin:
    """Non-inferiority of a rate over the same items, before and after: whether it fell by less than ``margin``.

    The counts are of items right on both sides, after alone, before alone, and on neither. The fall is ``(lost -
    gained) / n``; its bound is Newcombe's for paired rates (:func:`~sway_dash.core.rates.newcombe_paired`). Where
    nothing was gained that one is too short, and Clopper and Pearson's exact bound of the share lost (1934) takes its
    place where it is longer: a fall as large as the margin passed in up to 8 % without it, and does in up to 6 % with
    it (10 to 40 items, margins of 0.05 to 0.3, exact sums), but for 7.6 % of 10 items of which many change sides.
    """
    n = both + gained + lost + neither
    if n == 0:
        return Margin(None, None, None, None, "no bound: no items")
    centre = (lost - gained) / n
    if n < MIN_ITEMS:
        return Margin(centre, None, None, None, f"no bound below {MIN_ITEMS} items (n = {n})")

    def ends(c: float) -> tuple[float, float] | None:
        rise = newcombe_paired(both, gained, lost, neither, confidence=c)
        if rise is None:
            return None
        low, high = -rise[1], -rise[0]
        return (low, high) if gained else (low, max(high, _clopper_pearson(lost, n, 0.5 + c / 2.0)))

    found = ends(round(2.0 * confidence - 1.0, 12))
    if found is None:
        return Margin(centre, None, None, None, "no bound")
    method = "Newcombe" if gained else "Newcombe or Clopper-Pearson, the longer"
    note = f"one-sided {confidence:.0%} {method}, {lost} lost and {gained} gained of {n}"
    return Margin(centre, found[1], found[1] < margin, _p(ends, centre, margin), note)


def _clopper_pearson(k: int, n: int, confidence: float) -> float:
    """Exact one-sided upper bound of a rate."""
    from scipy.special import bdtri

    return 1.0 if k == n else float(bdtri(k, n, 1.0 - confidence))


def _of(drawn: BootstrapT | None) -> Ends:
    return lambda c: None if drawn is None else drawn.safe_above(c)


def _bonett_price(up: float, down: float, n: int, confidence: float) -> tuple[float, float]:
    from scipy.special import ndtri

    worse, better = (up + 1) / (n + 2), (down + 1) / (n + 2)
    d = worse - better
    half = float(ndtri(0.5 + confidence / 2.0)) * math.sqrt((worse + better - d * d) / (n + 2))
    return max(-1.0, d - half), min(1.0, d + half)


def _p(ends: Ends, centre: float, margin: float) -> float:
    """The p-value that belongs to the bound, by bisection: the smallest ``1 - c`` whose bound lies below the margin.

    Where the mean itself does not, it is read off the other end: 1 minus the smallest ``1 - c`` whose lower bound lies
    above the margin.
    """
    below = centre < margin
    lo, hi = 1e-9, 0.5
    for _ in range(50):
        p = 0.5 * (lo + hi)
        ci = ends(1.0 - 2.0 * p)
        clear = ci is not None and (ci[1] < margin if below else ci[0] > margin)
        lo, hi = (lo, p) if clear else (p, hi)
    return hi if below else 1.0 - hi
