"""One-way analysis of variance: how much of the spread of single values lies between groups. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class OneWay:
    """Table of a one-way analysis of variance over ``n`` values in ``k`` groups.

    ``ms_between`` and ``ms_within`` are mean squares, in the square of the values' unit. ``icc`` and ``omega_squared``
    scatter about 0 when the groups differ by chance alone, so they may be negative; 1 when all spread is between
    groups. Both are ``None`` when no value differs from any other.
    """

    k: int
    n: int
    ms_between: float
    ms_within: float
    icc: float | None
    omega_squared: float | None


def one_way(values: Sequence[float] | FloatArray, groups: Sequence[Any] | npt.NDArray[Any]) -> OneWay | None:
    """Analysis of variance of ``values`` ``(n,)`` by their ``groups`` ``(n,)``.

    With ``SSB``, ``SSW`` the sums of squares between and within, ``MSB = SSB/(k - 1)``, ``MSW = SSW/(n - k)`` and
    ``n₀ = (n - Σn_g²/n)/(k - 1)``::

        ICC(1) = (MSB - MSW) / (MSB + (n₀ - 1)·MSW)
        ω²     = (SSB - (k - 1)·MSW) / (SSB + SSW + MSW)

    ICC(1): Shrout and Fleiss 1979, with ``n₀`` for unequal groups (Donner 1986). ω²: Hays 1963. Under no signal
    ``E[MSB] = E[MSW]``, so both numerators are 0 on average; that needs exchangeable values, not normal ones.

    ``None`` below two groups or without a group of two: then there is no spread within.
    """
    x = np.asarray(values, dtype=np.float64)
    codes = codes_of(groups)
    sizes = np.bincount(codes).astype(np.float64)
    k, n = len(sizes), len(x)
    if k < 2 or n <= k:
        return None
    # Around the mean: squares of large numbers would lose the small differences between them.
    centred = x - x.mean()
    means = np.bincount(codes, weights=centred) / sizes
    between = float((sizes * means**2).sum())
    within = float(((centred - means[codes]) ** 2).sum())
    noise = 1e-24 * float((x**2).sum())
    between, within = (0.0 if v <= noise else v for v in (between, within))
    msb, msw = between / (k - 1), within / (n - k)
    n0 = (n - float((sizes**2).sum()) / n) / (k - 1)
    below = msb + (n0 - 1.0) * msw
    icc = (msb - msw) / below if below > 0 else None
    omega = (between - (k - 1) * msw) / (between + within + msw) if between + within > 0 else None
    return OneWay(k, n, msb, msw, icc, omega)


def between_groups(values: npt.NDArray[Any], groups: npt.NDArray[Any]) -> float:
    """Sum of squares between groups given as numbers 0, 1, …; for a permutation test.

    The total is the same for every order of the labels, so F, ICC(1), ω² and this order the permutations alike.
    """
    sizes = np.bincount(groups)
    held = sizes > 0
    sums = np.bincount(groups, weights=values - values.mean())
    return float((sums[held] ** 2 / sizes[held]).sum())


def codes_of(groups: Sequence[Any] | npt.NDArray[Any]) -> IntArray:
    """Groups as numbers 0, 1, …; labels may be whole prompts, so they never become an array of strings."""
    if isinstance(groups, np.ndarray):
        return np.unique(groups, return_inverse=True)[1].astype(np.intp)
    place: dict[Any, int] = {}
    return np.fromiter((place.setdefault(g, len(place)) for g in groups), dtype=np.intp, count=len(groups))
