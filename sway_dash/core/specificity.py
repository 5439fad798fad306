"""How much of the spread of values lies between topics: the public specificity, and intervals of it and of ICC(1)."""

from __future__ import annotations

import numpy as np

from sway_dash.core.anova import FloatArray, IntArray
from sway_dash.core.stats import MIN_ITEMS, mean

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


def intervals(values: FloatArray, labels: IntArray) -> tuple[Interval | None, Interval | None]:
    """95 % intervals of specificity and of ICC(1), for these topics and other prompts of them.

    Jackknife: prompts are left out one at a time, topic by topic, ``se² = Σ_g (n_g - 1)/n_g · Σ (ψ_i - ψ̄_g)²``, and
    Student's t with ``n - k`` degrees of freedom is applied to ``ψ``, the log of the ratio of the variance between to
    that within (for ICC(1), ``log F``), where it is nearly symmetric (Arvesen and Schmitz 1970). In simulation with
    two to five topics of 4 to 40 prompts the interval of ICC(1) covers 91 to 97 % for normal and 84 to 91 % for
    exponential values; a bootstrap within topics covers 71 to 94 %. The public specificity is biased upward in small
    topics, and its interval with it.

    ``None`` below four prompts or without a spread; ``(1, 1)`` when nothing differs within any topic.
    """
    parts = [values[labels == c] for c in np.unique(labels)]
    n, k = len(values), len(parts)
    if n < MIN_ITEMS or k < 2 or n <= k or between(values, labels) == 0.0:
        return None, None
    if within(values, labels) == 0.0:
        return (1.0, 1.0), (1.0, 1.0)
    from scipy.special import stdtrit

    sizes = np.array([len(part) for part in parts], dtype=np.float64)
    means = np.array([part.mean() for part in parts])
    squares = np.array([((part - part.mean()) ** 2).sum() for part in parts])
    # Where leaving one out leaves no spread, its ratio is large and not infinite.
    floor = 1e-9 * float(values.var())
    estimate, variance = _log_ratios(sizes, means, squares, floor), np.zeros(2)
    for g, part in enumerate(parts):
        size = len(part)
        if size < 2:
            continue
        left = [np.repeat(a[None], size, axis=0) for a in (sizes, means, squares)]
        left[0][:, g] = size - 1
        left[1][:, g] = (part.sum() - part) / (size - 1)
        left[2][:, g] = np.maximum(squares[g] - (part - means[g]) ** 2 * size / (size - 1), 0.0)
        without = _log_ratios(left[0], left[1], left[2], floor)
        variance += (size - 1) / size * ((without - without.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    reach = float(stdtrit(n - k, 0.975)) * np.sqrt(variance)
    n0 = (n - float((sizes**2).sum()) / n) / (k - 1)
    lo, hi = np.clip(estimate - reach, -500.0, 500.0), np.clip(estimate + reach, -500.0, 500.0)
    shares = 1.0 / (1.0 + np.exp(-lo[0])), 1.0 / (1.0 + np.exp(-hi[0]))
    iccs = [-np.expm1(-f) / (1.0 + (n0 - 1.0) * np.exp(-f)) for f in (lo[1], hi[1])]
    return (float(shares[0]), float(shares[1])), (float(iccs[0]), float(iccs[1]))


def _log_ratios(sizes: FloatArray, means: FloatArray, squares: FloatArray, floor: float) -> FloatArray:
    """Logs of between/within and of F, ``(2, ...)``, from sizes, means and sums of squares of topics ``(..., k)``."""
    n, k = sizes.sum(axis=-1), sizes.shape[-1]
    several = sizes >= 2
    inside = np.where(several, squares / sizes, 0.0).sum(axis=-1) / np.maximum(several.sum(axis=-1), 1)
    overall = (means * sizes).sum(axis=-1) / n
    msb = (sizes * (means - overall[..., None]) ** 2).sum(axis=-1) / (k - 1)
    msw = squares.sum(axis=-1) / np.maximum(n - k, 1)
    pairs = ((means.var(axis=-1), inside), (msb, msw))
    logs: FloatArray = np.stack([np.log(np.maximum(a, floor)) - np.log(np.maximum(b, floor)) for a, b in pairs])
    return logs
