"""Anytime-valid confidence sequences: intervals of a mean that hold at every look, however often and whenever stopped.

A fixed-n interval is right with 95 % at one number of items chosen beforehand. Looked at after every item, and stopped
at the first convenient moment, it misses the mean far more often. A confidence sequence ``[L_t, U_t]`` satisfies
``P(there is a t with μ outside [L_t, U_t]) ≤ α``: it may be watched, and the watching may decide when to stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CAP = 0.9
"""Largest share of the capital that is bet on one item: 1 would let a single item ruin a bet for good."""

HORIZONS: Array = np.array([25.0, 250.0, 2500.0])
"""For so many items each of the bets is the best one."""

WEIGHTS: Array = np.array([0.15, 0.75, 0.1])
"""What part of the capital goes into each of the bets."""

START = 0.0625
"""Sum of squares that stands for the items before the first, on the scale from 0 to 1."""

GRID = 96
"""Candidate means at a time; they close in on the interval as that shrinks."""

WHOLE = 1024
"""Candidates over the whole range, for the rare items after which the interval has left those at hand."""

BLOCK = 256
"""Items taken at once."""


class ConfidenceSequence:
    """Confidence sequence of the mean of bounded values, by hedged betting (Waudby-Smith and Ramdas 2024, section 4).

    For a candidate mean ``m`` two gamblers bet against it, one that items lie above, one that they lie below::

        K⁺_t(m) = Π (1 + λ⁺_i·(x_i - m)),    K⁻_t(m) = Π (1 - λ⁻_i·(x_i - m))

    At ``m = μ`` both are nonnegative martingales from 1 on, so by Ville's inequality either reaches ``2/α`` at any
    time with a probability of at most ``α/2``; the candidates against which neither has now are the interval. Each
    capital is the mean of three with the predictable bets ``λ_t = √(2·log(2/α) / (σ̂²_{t-1}·max(h, t)))``, the plug-in
    bets that suit a number ``h`` of items, with ``h`` = 25, 250 and 2,500 at weights 0.15, 0.75 and 0.1. Such a mean is
    a martingale as well and never holds less than ``weight`` times what the best of them does (the method of mixtures,
    Robbins 1970). Bets are cut at ``0.9/m`` and ``0.9/(1 - m)``, for values scaled to [0, 1]; ``σ̂²`` is the variance so
    far (with :data:`START` for what came before the first item).

    Assumes that every item, given those before it, has the same mean ``μ``: independent draws, or prompts in random
    order out of a list that is a sample of prompts like them, whose mean is meant. Nothing else: no normality, no
    minimal n. At 200 items that use their range it is about 1.5 times as wide as mean ± 1.96 standard errors, and 1.1
    to 1.2 times as wide as the betting interval for 200 items fixed beforehand, which assumes as little.

    For values crowded at one end it is wider, and any interval that assumes no more than a range has to be: ``n`` items
    that show no large one exclude a share ``q`` of items at the far bound only where ``(1 - q)^n`` is small. Beside
    every distribution with mean ``m`` stands one with mean ``m + q·(1 - m)`` that leaves the same ``n`` items with
    probability ``(1 - q)^n``, so the upper end of an interval that misses above with at most ``α/2`` lies, in half of
    all samples, at least ``log(1/α)/n`` (1.5 % at 200 items and 95 %) of the way from the mean to the far bound, even
    at one ``n`` fixed beforehand. Intervals that end lower, bootstrap-t among them, trust that there is no such item.

    The intersection of all intervals so far would hold, too, and be a little shorter. It is not taken: where the order
    was not random after all it would keep what the first items said, while this interval follows the mean.
    """

    def __init__(self, bounds: tuple[float, float], *, confidence: float = 0.95) -> None:
        lo, hi = bounds
        if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
            msg = f"a confidence sequence needs finite bounds, lower first, got {bounds}"
            raise ValueError(msg)
        if not 0.0 < confidence < 1.0:
            msg = f"a confidence lies between 0 and 1, got {confidence}"
            raise ValueError(msg)
        self.bounds = bounds
        self.confidence = confidence
        self._threshold = math.log(2.0 / (1.0 - confidence))
        self._items: list[Array] = []
        self._bets: list[Array] = []
        self._n, self._sum, self._squares = 0, 0.0, 0.0
        self._ends = (0.0, 1.0)
        # Candidates, and the log capital of both gamblers at each, horizon by horizon.
        self._grid: Array
        self._up: Array
        self._down: Array
        self._around()

    @property
    def n(self) -> int:
        """How many items have been taken."""
        return self._n

    @property
    def interval(self) -> tuple[float, float]:
        """The interval after the last item; the bounds before the first."""
        return self._unscaled(self._ends[0]), self._unscaled(self._ends[1])

    def extend(self, values: Sequence[float] | npt.NDArray[np.floating[Any]]) -> tuple[Array, Array]:
        """Take the next ``(k,)`` values; lower and upper bounds, ``(k,)`` each, after every one of them.

        Item by item or all at once gives the same bounds up to the interpolation between candidates (below a thousandth
        of the width). ``ValueError`` for values outside the bounds; float noise outside them is cut off.
        """
        lo, hi = self.bounds
        x = (np.asarray(values, dtype=np.float64) - lo) / (hi - lo)
        if not (np.abs(x - 0.5) <= 0.5 + 1e-6).all():
            msg = f"every value must lie in [{lo:g}, {hi:g}]"
            raise ValueError(msg)
        x = np.clip(x, 0.0, 1.0)
        lower, upper = np.empty(x.size), np.empty(x.size)
        for start in range(0, x.size, BLOCK):
            part = slice(start, min(start + BLOCK, x.size))
            lower[part], upper[part] = self._take(x[part])
        return self._unscaled(lower), self._unscaled(upper)

    def _take(self, x: Array) -> tuple[Array, Array]:
        bets = self._next_bets(x)
        lower, upper, inside = self._bounds(x, bets)
        self._items.append(x)
        self._bets.append(bets)
        if not inside:
            self._lay(1e-9, 1.0 - 1e-9, WHOLE, but=x.size)
            lower, upper, _ = self._bounds(x, bets)
        self._ends = (float(lower[-1]), float(upper[-1]))
        if not inside or self._ends[1] - self._ends[0] < 0.15 * (self._grid[-1] - self._grid[0]):
            self._around()
        return lower, upper

    def _bounds(self, x: Array, bets: Array) -> tuple[Array, Array, bool]:
        """Interval after each item, and whether the candidates hold all of them; moves the capitals on."""
        ups, downs = self._gains(x, bets)
        up, down = _pooled(ups, self._up), _pooled(downs, self._down)
        first, last = self._grid[0] > 1e-9, self._grid[-1] < 1.0 - 1e-9
        reached = self._threshold
        inside = not (first and (up[:, 0] < reached).any()) and not (last and (down[:, -1] < reached).any())
        inside = inside and not (up[:, -1] >= reached).any() and not (down[:, 0] >= reached).any()
        lower = _crossing(self._grid, up, reached)
        upper = 1.0 - _crossing(1.0 - self._grid[::-1], down[:, ::-1], reached)
        # Only where the order was not random can each gambler have won against what the other leaves.
        crossed = lower > upper
        lower[crossed] = upper[crossed] = 0.5 * (lower + upper)[crossed]
        return lower, upper, inside

    def _next_bets(self, x: Array) -> Array:
        """``(horizons, items)`` ``λ_t`` for the next items: each from the items before it alone."""
        t = np.arange(self._n + 1, self._n + x.size + 1, dtype=np.float64)
        sums = self._sum + np.cumsum(x)
        means = (0.5 + sums) / (t + 1.0)
        squares = self._squares + np.cumsum((x - means) ** 2)
        spread = (START + np.concatenate(([self._squares], squares[:-1]))) / t
        self._n, self._sum, self._squares = int(t[-1]), float(sums[-1]), float(squares[-1])
        return np.asarray(np.sqrt(2.0 * self._threshold / (spread * np.maximum(HORIZONS[:, None], t))))

    def _gains(self, x: Array, bets: Array) -> tuple[Array, Array]:
        """``(horizons, items, candidates)`` log growth of the two capitals."""
        apart = x[:, None] - self._grid
        up = np.minimum(bets[..., None], CAP / self._grid)
        down = np.minimum(bets[..., None], CAP / (1.0 - self._grid))
        up *= apart
        down *= apart
        return np.log1p(up, out=up), np.log1p(np.negative(down, out=down), out=down)

    def _around(self) -> None:
        """Lay the candidates around the interval, with room for it to move."""
        lo, hi = self._ends
        room = max(hi - lo, 1e-6)
        self._lay(max(lo - room, 1e-9), min(hi + room, 1.0 - 1e-9), GRID)

    def _lay(self, lo: float, hi: float, n: int, *, but: int = 0) -> None:
        """Take ``n`` candidates from ``lo`` to ``hi`` and replay on them every item except the last ``but``."""
        self._grid = np.linspace(lo, hi, n)
        self._up, self._down = np.zeros((HORIZONS.size, n)), np.zeros((HORIZONS.size, n))
        if not self._items:
            return
        items, bets = np.concatenate(self._items), np.concatenate(self._bets, axis=1)
        self._items, self._bets = [items], [bets]
        for start in range(0, items.size - but, BLOCK):
            part = slice(start, min(start + BLOCK, items.size - but))
            up, down = self._gains(items[part], bets[:, part])
            self._up += up.sum(axis=1)
            self._down += down.sum(axis=1)

    def _unscaled(self, x: Any) -> Any:
        lo, hi = self.bounds
        return lo + x * (hi - lo)


def _pooled(gains: Array, before: Array) -> Array:
    """``(items, candidates)`` log of the mean capital; moves ``before``, that of every horizon, on to the last item."""
    gains[:, 0] += before
    np.cumsum(gains, axis=1, out=gains)
    before[:] = gains[:, -1]
    largest = gains.max(axis=0)
    gains -= largest
    shares = np.tensordot(WEIGHTS, np.exp(gains, out=gains), axes=1)
    return np.asarray(largest + np.log(shares))


def _crossing(grid: Array, capital: Array, threshold: float) -> Array:
    """Where ``(items, candidates)`` log capital, falling in the candidates, crosses the threshold; 0 where it never is.

    Linear between candidates, which are so close that this moves the crossing by less than a thousandth of the width.
    """
    above = (capital >= threshold).sum(axis=1)
    rows = np.flatnonzero(above)
    found = np.zeros(len(capital))
    left = above[rows] - 1
    right = np.minimum(left + 1, grid.size - 1)
    drop = capital[rows, left] - capital[rows, right]
    share = np.where(drop > 0.0, (capital[rows, left] - threshold) / np.where(drop > 0.0, drop, 1.0), 0.0)
    found[rows] = grid[left] + share * (grid[right] - grid[left])
    return found


def confidence_sequence(
    values: Sequence[float] | npt.NDArray[np.floating[Any]], *, bounds: tuple[float, float], confidence: float = 0.95
) -> tuple[Array, Array]:
    """Lower and upper bounds after each of ``(n,)`` values in the order they came; see :class:`ConfidenceSequence`."""
    return ConfidenceSequence(bounds, confidence=confidence).extend(values)
