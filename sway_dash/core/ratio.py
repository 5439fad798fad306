"""Intervals of a ratio of two means. Pure functions."""

from __future__ import annotations

import math

import numpy as np

from sway_dash.core.stats import MIN_ITEMS, Samples


def fieller_paired(above: Samples, below: Samples, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Fieller interval of ``mean(above) / mean(below)`` over the same items (Fieller 1954).

    All ``R`` for which ``mean(above - R·below)`` is not different from 0 in a t test with ``n - 1`` degrees of freedom.
    Assumes independent items and means that are near enough to normal. ``None`` where that set is no interval: when
    ``mean(below)`` itself is not different from 0, any ratio fits; also below :data:`~sway_dash.core.stats.MIN_ITEMS`
    items and for values that are not finite.
    """
    x, y = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    n = x.size
    if n < MIN_ITEMS or n != y.size or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    cov = np.cov(x, y) / n
    return _fieller(x.mean(), y.mean(), cov[0, 0], cov[1, 1], cov[0, 1], n - 1.0, confidence)


def fieller_unpaired(above: Samples, below: Samples, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Fieller interval of ``mean(above) / mean(below)`` over two independent groups of items.

    As :func:`fieller_paired`, with the degrees of freedom of Welch (1947), those of the difference at the observed
    ratio.
    """
    x, y = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    if min(x.size, y.size) < MIN_ITEMS or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    vx, vy = x.var(ddof=1) / x.size, y.var(ddof=1) / y.size
    mx, my = float(x.mean()), float(y.mean())
    if my == 0.0:
        return None
    parts = vx, (mx / my) ** 2 * vy
    total = sum(parts)
    if total == 0.0:
        return (mx / my, mx / my)
    df = total**2 / (parts[0] ** 2 / (x.size - 1) + parts[1] ** 2 / (y.size - 1))
    return _fieller(mx, my, vx, vy, 0.0, df, confidence)


def _fieller(
    mx: float, my: float, vx: float, vy: float, cov: float, df: float, confidence: float
) -> tuple[float, float] | None:
    """Roots of ``(mx - R·my)² = t²·(vx - 2R·cov + R²·vy)``."""
    from scipy.special import stdtrit

    t2 = float(stdtrit(df, 0.5 + confidence / 2.0)) ** 2
    a = my * my - t2 * vy
    b = mx * my - t2 * cov
    c = mx * mx - t2 * vx
    if not a > 0.0:
        return None
    root = math.sqrt(max(b * b - a * c, 0.0))
    return (float((b - root) / a), float((b + root) / a))
