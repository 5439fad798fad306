"""Intervals and tests of rates: how often something happened, and whether it happens more often now. Pure functions.

The plain normal interval ``p ± z·√(p(1-p)/n)`` is not used anywhere: at a rate of 0 or 1 it has no width.
"""

from __future__ import annotations

import math


def wilson(k: float, n: float, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Wilson's score interval of a rate, ``k`` of ``n`` (Wilson 1927; Newcombe 1998a, method 3).

    ``(p̂ + z²/2n ± z·√(p̂(1-p̂)/n + z²/4n²)) / (1 + z²/n)``, two-sided, without continuity correction. Assumes
    independent items. Its coverage is near the nominal one on average over rates, also at 0 and ``n``; for single rates
    near 0 or 1 it falls to about 0.9 at a nominal 0.95. Counts may be fractions: what items in groups are worth.

    ``None`` without items or for a ``confidence`` outside (0, 1); ``ValueError`` for counts that cannot be.
    """
    if n < 0 or not 0 <= k <= n:
        msg = f"{k} of {n} is no rate"
        raise ValueError(msg)
    if n == 0 or not 0.0 < confidence < 1.0:
        return None
    z2 = _normal_quantile(0.5 + confidence / 2.0) ** 2
    p = k / n
    centre = p + z2 / (2 * n)
    half = math.sqrt(z2 * (p * (1.0 - p) / n + z2 / (4 * n * n)))
    # At the ends the bound is exact: rounding leaves 1e-17 there.
    lo = 0.0 if k == 0 else max(0.0, (centre - half) / (1.0 + z2 / n))
    hi = 1.0 if k == n else min(1.0, (centre + half) / (1.0 + z2 / n))
    return lo, hi


def newcombe_paired(
    both: float, first_only: float, second_only: float, neither: float, *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval of the difference of two rates over the same items, first minus second (Newcombe 1998b, method 10).

    With ``a, b, c, d`` the four counts in the order given, ``n`` their sum, ``θ = (b - c) / n`` and the Wilson
    intervals ``[l₁, u₁]``, ``[l₂, u₂]`` of ``p₁ = (a + b) / n`` and ``p₂ = (a + c) / n``::

        lower = θ - √((p₁ - l₁)² - 2φ(p₁ - l₁)(u₂ - p₂) + (u₂ - p₂)²)
        upper = θ + √((u₁ - p₁)² - 2φ(u₁ - p₁)(p₂ - l₂) + (p₂ - l₂)²)

    ``φ = (ad - bc) / √((a+b)(c+d)(a+c)(b+d))``, its numerator reduced by ``n/2`` but not below 0 where it is positive;
    0 when a margin is empty. Assumes independent items; counts may be fractions. ``None`` without items or for a
    ``confidence`` outside (0, 1).
    """
    counts = (both, first_only, second_only, neither)
    if min(counts) < 0:
        msg = f"counts are not negative, got {counts}"
        raise ValueError(msg)
    n = sum(counts)
    if n == 0 or not 0.0 < confidence < 1.0:
        return None
    first, second = both + first_only, both + second_only
    one, two = wilson(first, n, confidence=confidence), wilson(second, n, confidence=confidence)
    if one is None or two is None:
        return None
    (l1, u1), (l2, u2) = one, two
    p1, p2 = first / n, second / n
    cross = both * neither - first_only * second_only
    if cross > 0:
        cross = max(cross - n / 2.0, 0.0)
    margins = math.prod((first, n - first, second, n - second))
    phi = cross / math.sqrt(margins) if margins else 0.0
    theta = (first_only - second_only) / n

    def reach(own: float, other: float) -> float:
        return math.sqrt(max(own * own - 2.0 * phi * own * other + other * other, 0.0))

    return max(-1.0, theta - reach(p1 - l1, u2 - p2)), min(1.0, theta + reach(u1 - p1, p2 - l2))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p-value of McNemar's test: were the two kinds of change equally likely?

    ``b`` and ``c`` count the items that changed one way and the other. Given ``b + c`` changes, ``b`` is binomial with
    1/2: ``p = min(1, 2 · P(X ≤ min(b, c)))`` (McNemar 1947; exact form Cochran 1950). 1 without any change. Assumes
    independent items; it is conservative for few changes: below 6 it cannot reach 0.05.
    """
    if min(b, c) < 0:
        msg = f"counts are not negative, got {(b, c)}"
        raise ValueError(msg)
    from scipy.special import bdtr

    return min(1.0, 2.0 * float(bdtr(min(b, c), b + c, 0.5))) if b + c else 1.0


def _normal_quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(p))
