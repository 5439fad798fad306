"""How much of the spread of values lies between topics: the public specificity, and intervals of it and of ICC(1)."""

from __future__ import annotations

import numpy as np

from sway_dash.core.anova import FloatArray, IntArray
from sway_dash.core.stats import MIN_ITEMS, mean

RESAMPLES = 1000

Interval = tuple[float, float]


def specificity(values: FloatArray, labels: IntArray) -> float | None:
    """Public metric: variance of the topics' means over itself plus the mean variance within; ``None`` if both are 0.

    Population variances. Under no signal it is above 0: the means of small topics differ by chance.
    """
    apart, inside = between(values, labels), within(values, labels)
    return apart / (apart + inside) if apart + inside > 0 else None


def between(values: FloatArray, labels: IntArray) -> float:
    """Population variance of the topics' means."""
    means = np.array([mean(values[labels == c]) for c in np.unique(labels)])
    return _variance(means)


def within(values: FloatArray, labels: IntArray) -> float:
    """Mean of the topics' population variances, over those of two items or more."""
    parts = [values[labels == c] for c in np.unique(labels)]
    spreads = [_variance(part) for part in parts if len(part) >= 2]
    return mean(spreads) if spreads else 0.0


def _variance(values: FloatArray) -> float:
    """Population variance; exactly 0 for equal values."""
    return 0.0 if len(values) < 2 or values.min() == values.max() else float(values.var())


def within_bootstrap(
    values: FloatArray, labels: IntArray, raw: float, icc: float, seed: int
) -> tuple[Interval | None, Interval | None]:
    """95 % intervals of specificity and ICC(1): prompts are drawn again within their topic.

    Drawing (prompt, topic) pairs together would change the topics' sizes and add to the spread between them. Resampled
    means still scatter more than the means themselves; the shift that gives is taken off (basic bias correction).
    """
    if len(values) < MIN_ITEMS:
        return None, None
    rng = np.random.default_rng(seed)
    parts = [values[labels == c] for c in np.unique(labels)]
    drawn = [part[rng.integers(0, len(part), (RESAMPLES, len(part)))] for part in parts]
    sizes = np.array([len(part) for part in parts], dtype=np.float64)
    means = np.stack([d.mean(axis=1) for d in drawn], axis=1)
    spreads = np.stack([d.var(axis=1) for d in drawn], axis=1)
    n, k = sizes.sum(), len(sizes)
    apart, inside = means.var(axis=1), spreads[:, sizes >= 2].mean(axis=1)
    overall = means @ sizes / n
    msb = ((means - overall[:, None]) ** 2) @ sizes / (k - 1)
    msw = spreads @ sizes / (n - k)
    below = msb + ((n - (sizes**2).sum() / n) / (k - 1) - 1.0) * msw
    held = (apart + inside > 0) & (below > 0)
    if held.sum() < RESAMPLES // 2:
        return None, None
    shares = apart[held] / (apart[held] + inside[held])
    return _shifted(shares, raw, 0.0), _shifted((msb[held] - msw[held]) / below[held], icc, -1.0)


def _shifted(draws: FloatArray, value: float, least: float) -> Interval:
    lo, hi = np.percentile(draws - (draws.mean() - value), [2.5, 97.5])
    return (min(max(float(lo), least), value), max(min(float(hi), 1.0), value))
