"""Non-inferiority: is the harm, at the bad end of what the data allow, still smaller than a margin? Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sway_dash.core.bootstrap import MIN_CLUSTERS, BootstrapT, Samples, bootstrap_t, cluster_t, mean
from sway_dash.core.rates import wilson
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

    The bound is that of :func:`~sway_dash.core.stats.bootstrap_ci`, of whole clusters when ``clusters``
    are given. Harms that are only 0 and 1 are a rate and get Wilson's bound; only -1, 0 and 1 a difference of paired
    rates and get that of Bonett and Price (2012): ``d̃ + z·√((b̃ + c̃ - d̃²) / (n + 2))`` with ``b̃ = (b + 1)/(n + 2)``,
    ``c̃ = (c + 1)/(n + 2)``, ``d̃ = b̃ - c̃``. Both have a width also when nothing happened.

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
    if clusters is not None and (groups := len(set(clusters))) < n:
        if groups < MIN_CLUSTERS:
            return Margin(centre, None, None, None, f"no bound below {MIN_CLUSTERS} clusters (there are {groups})")
        ends = _of(cluster_t(x, clusters, n_bootstrap=RESAMPLES, seed=seed))
        method, least = f"cluster bootstrap-t over {groups} clusters", 1.0 / (RESAMPLES + 1)
    elif np.isin(x, (0.0, 1.0)).all():
        k = int(x.sum())
        ends, method = lambda c: wilson(k, n, confidence=c), f"Wilson, {k} of {n} items"
    elif np.isin(x, (-1.0, 0.0, 1.0)).all():
        up, down = int((x > 0).sum()), int((x < 0).sum())
        ends, method = lambda c: _bonett_price(up, down, n, c), f"Bonett-Price, {up} worse and {down} better of {n}"
    else:
        ends, method = _of(bootstrap_t(x, n_bootstrap=RESAMPLES, seed=seed)), f"bootstrap-t over {n} items"
        method, least = method + ", all of them equal" * bool(x.min() == x.max()), 1.0 / (RESAMPLES + 1)
    # Rounded: 2 · 0.95 - 1 is not 0.9, and quantiles of resamples step there.
    found = ends(round(2.0 * confidence - 1.0, 12))
    if found is None:
        return Margin(centre, None, None, None, "no bound: too few resamples have a spread")
    p = min(max(_p(ends, centre, margin), least), 1.0 - least)
    return Margin(centre, found[1], found[1] < margin, p, f"one-sided {confidence:.0%} {method}")


def _of(drawn: BootstrapT | None) -> Ends:
    return lambda c: None if drawn is None else drawn.interval(c)


def _bonett_price(up: int, down: int, n: int, confidence: float) -> tuple[float, float]:
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
