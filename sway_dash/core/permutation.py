"""Permutation tests: could the labels just as well have been dealt at random? Pure functions."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Statistic = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]

TIE = 1e-12
"""Statistics this close to the observed one, relative to it, are ties: the order of a sum moves them by that much."""


def permutation_p(
    values: Sequence[Any] | npt.NDArray[Any],
    labels: Sequence[Any] | npt.NDArray[Any],
    statistic: Statistic,
    *,
    n: int = 9999,
    seed: int = 0,
) -> float:
    """One-sided p-value of ``statistic(values, labels)``, large values being extreme.

    Under the null hypothesis every assignment of the same labels to the values is equally likely (exchangeable items).
    When there are at most ``n + 1`` different assignments all of them are looked at and ``p = #{s ≥ s_obs} / all``, the
    observed one among them; otherwise ``n`` random ones and ``p = (1 + #{s ≥ s_obs}) / (n + 1)``, never 0 and valid for
    any ``n`` (Phipson and Smyth 2010).

    Parameters
    ----------
    values
        ``(m, ...)``, one entry an item.
    labels
        ``(m,)``; any number of groups, or numbers to correlate with.
    statistic
        Called with both as arrays; must be finite.
    """
    x, y = np.asarray(values), np.asarray(labels)
    if len(x) != len(y):
        msg = f"every value needs its label: {len(x)} values, {len(y)} labels"
        raise ValueError(msg)
    if len(x) == 0 or n < 1:
        msg = "a permutation test needs items and at least one permutation"
        raise ValueError(msg)
    observed = _finite(statistic(x, y))
    least = observed - TIE * abs(observed)
    kinds, codes = np.unique(y, return_inverse=True)
    if _assignments(codes) <= n + 1:
        found = [_finite(statistic(x, kinds[order])) >= least for order in _distinct(codes)]
        return sum(found) / len(found)
    rng = np.random.default_rng(seed)
    reached = sum(_finite(statistic(x, rng.permutation(y))) >= least for _ in range(n))
    return (1 + reached) / (n + 1)


def _finite(value: float) -> float:
    value = float(value)
    if not math.isfinite(value):
        msg = f"the statistic of a permutation test must be finite, got {value}"
        raise ValueError(msg)
    return value


def _assignments(codes: npt.NDArray[np.intp]) -> int:
    """Number of different orders of the labels: ``m! / Π c!``."""
    counts = Counter(codes.tolist()).values()
    return math.factorial(len(codes)) // math.prod(math.factorial(c) for c in counts)


def _distinct(codes: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    """Every different order of the labels once: each kind but the commonest is dealt to the places that are left."""
    (most, _), *others = Counter(codes.tolist()).most_common()

    def deal(order: npt.NDArray[np.intp], left: list[tuple[int, int]]) -> Iterator[npt.NDArray[np.intp]]:
        if not left:
            yield order
            return
        (code, count), *rest = left
        for places in itertools.combinations(np.flatnonzero(order == most).tolist(), count):
            dealt = order.copy()
            dealt[list(places)] = code
            yield from deal(dealt, rest)

    return deal(np.full(len(codes), most, dtype=np.intp), others)
