"""Quantiles of a stream of durations in bounded memory."""

from __future__ import annotations

import math
from array import array
from itertools import accumulate

EXACT_LIMIT = 2048
"""Up to this many values a quantile is exact."""

RELATIVE_ERROR = 0.01
"""Beyond it every value is known to 1 %."""

_GAMMA = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
_SMALLEST = 1e-9


class QuantileSketch:
    """Quantiles of non-negative numbers seen one at a time.

    Keeps the first :data:`EXACT_LIMIT` values as they are. When more come, all are counted in buckets whose bounds grow
    by a constant factor, so that the middle of a bucket is within :data:`RELATIVE_ERROR` of every value in it (Masson,
    Rim and Lee, "DDSketch", VLDB 2019). About 2 000 buckets span nine orders of magnitude on either side of 1. Values
    below 1e-9 count as zero.
    """

    __slots__ = ("_buckets", "_first", "_n", "_zeros")

    def __init__(self) -> None:
        self._n = 0
        self._first = array("d")
        self._buckets: dict[int, int] = {}
        self._zeros = 0

    def __len__(self) -> int:
        return self._n

    @property
    def exact(self) -> bool:
        """Whether quantiles are still exact."""
        return self._n <= EXACT_LIMIT

    def add(self, value: float) -> None:
        """Count one value."""
        self._n += 1
        if self._n <= EXACT_LIMIT:
            self._first.append(value)
            return
        if self._first:
            for earlier in self._first:
                self._count(earlier)
            self._first = array("d")
        self._count(value)

    def merge(self, other: QuantileSketch) -> None:
        """Count what another sketch has seen, as if its values had come here one by one."""
        n = self._n + other._n
        if n <= EXACT_LIMIT:
            self._first.extend(other._first)
        else:
            for value in (*self._first, *other._first):
                self._count(value)
            self._first = array("d")
            for index, count in other._buckets.items():
                self._buckets[index] = self._buckets.get(index, 0) + count
            self._zeros += other._zeros
        self._n = n

    def quantile(self, q: float) -> float | None:
        """Value at rank ``q (n - 1)``, interpolated linearly between neighbours; ``None`` before the first value."""
        if not 0.0 <= q <= 1.0:
            msg = f"a quantile lies in [0, 1], got {q}"
            raise ValueError(msg)
        if self._n == 0:
            return None
        rank = q * (self._n - 1)
        low = math.floor(rank)
        high = min(low + 1, self._n - 1)
        at_low, at_high = self._at(low, high)
        return at_low + (rank - low) * (at_high - at_low)

    def _count(self, value: float) -> None:
        if value < _SMALLEST:
            self._zeros += 1
            return
        index = math.ceil(math.log(value) / _LOG_GAMMA)
        self._buckets[index] = self._buckets.get(index, 0) + 1

    def _at(self, *ranks: int) -> list[float]:
        """Values at ranks counted from 0, in order."""
        if self.exact:
            ordered = sorted(self._first)
            return [ordered[r] for r in ranks]
        indices = sorted(self._buckets)
        ends = list(accumulate((self._buckets[i] for i in indices), initial=self._zeros))[1:]
        return [self._bucket_value(r, indices, ends) for r in ranks]

    def _bucket_value(self, rank: int, indices: list[int], ends: list[int]) -> float:
        if rank < self._zeros:
            return 0.0
        index = next(i for i, end in zip(indices, ends, strict=True) if rank < end)
        return 2.0 * _GAMMA**index / (_GAMMA + 1.0)
