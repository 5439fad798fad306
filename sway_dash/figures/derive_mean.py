"""The mean of a probe's prompts as they come in, with a band that may be looked at the whole time. Plain Python."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sway_dash.core.events import Measurement
from sway_dash.core.paired import mean_interval
from sway_dash.core.sequences import ConfidenceSequence
from sway_dash.core.stats import MIN_ITEMS, interval, mean
from sway_dash.figures.derive_null import Metric, value_of
from sway_dash.probes.measure import divergence_bounds, measuring_order

EVERY_BAND = 64
"""Up to this many prompts every point of the running mean has a band, then the newest and one every five percent."""

SETTLED = 32
"""Bands over fewer prompts may run out of the picture: an axis that held them would squeeze everything else."""


@dataclass(frozen=True, slots=True)
class MeanPoint:
    """Mean over the first ``n`` prompts that were measured, with its band if there is one.

    The band holds at every look, or, where ``pointwise``, at this ``n`` alone: a divergence without an upper bound has
    no other. ``final`` is the interval of the result, at the number of prompts that was planned from the start. A text
    that is listed twice counts once: ``distinct`` is how many the mean is over. ``stopping``: the prompts are measured
    until the mean is decided, so the interval of the result holds at every look, too.

    Prompts are taken in random order, but those of a batch are of like length. So there is a band only where the
    prompts measured are the first ones of that order: a random part of all.
    """

    n: int
    value: float
    mean: float
    ci: tuple[float, float] | None
    distinct: int
    final: tuple[float, float] | None = None
    pointwise: bool = False
    stopping: bool = False

    @property
    def interval(self) -> tuple[float, float] | None:
        """What can be said of the mean now: the interval of the result once it is there, the band until then."""
        return self.final or self.ci

    @property
    def note(self) -> str:
        """What interval and band assert and what they assume, in sentences; empty without a band."""
        if self.ci is None:
            return ""
        final = "The interval is that of the result, for the number of prompts planned. " if self.final else ""
        if self.pointwise:
            return final + (
                "The band is pointwise: without an upper bound of the divergence none holds at every look, so each"
                " interval is right for a number of prompts chosen beforehand, not for stopping early."
            )
        text = final + (
            "The band is anytime-valid: with 95 % it holds the mean at every look at once, so watching it and stopping"
            " early do no harm."
        )
        if self.stopping:
            text += " The interval of the result is of the same sort."
        if not self.ci[0] <= self.mean <= self.ci[1]:
            text += " Here the mean has left it, for prompts that came early differ from later ones."
        return text

    def unsure(self, *, over: bool) -> str:
        """Why there is no interval, in words; empty with one. ``over``: no more prompts are to come."""
        if self.interval is not None:
            return ""
        if self.distinct < MIN_ITEMS:
            return f"no interval below {MIN_ITEMS} prompts"
        if over:
            return "no interval: those measured are not a random part of all"
        return "an interval when the portion that is being measured is complete"

    @property
    def order(self) -> str:
        """In which order prompts are measured, in a sentence."""
        return (
            "Prompts are taken in random order, a portion at a time, and in a portion together with others of like"
            " length: there is a band wherever those measured are a random part of all."
        )


class RunningMean:
    """Running mean of one metric over a probe's prompts in the order they were measured.

    ``stopping``: the probe measures in random order until the mean is decided.
    """

    def __init__(self, metric: Metric, seed: int, *, stopping: bool = False) -> None:
        self.metric, self.seed, self.stopping = metric, seed, stopping
        self.points: list[MeanPoint] = []
        self.bounds = divergence_bounds(metric)
        bounded = math.isfinite(self.bounds[1] - self.bounds[0])
        self.pointwise = not bounded
        self._sequence = ConfidenceSequence(self.bounds) if bounded else None
        # Values in suite order, one a text: what the result is computed from.
        self._ordered: list[tuple[int, float]] = []
        self._place: dict[str, tuple[int, float]] = {}
        self._total = 0.0
        self._next_band = 0
        self._ranks: dict[int, int] = {}
        self._highest = -1
        self._repeats: list[int] = []
        """Ranks of prompts whose text had been measured at another place: nothing is to come there. Ascending."""
        self._waiting: list[tuple[int, float]] = []
        """Rank and value of texts that the band has not taken yet."""

    def extend(self, rows: Sequence[Measurement], planned: int, failed: Collection[int] = ()) -> None:
        """Take the next prompts of a probe that is to measure ``planned``, of which the ``failed`` will not come."""
        if len(self._ranks) != planned:
            self._ranks = {item: rank for rank, item in enumerate(measuring_order(planned, self.seed))}
        bands = self._bands(rows, [self._ranks.get(item, -1) for item in failed])
        last = len(self.points) + len(rows)
        for row in rows:
            n, value = len(self.points) + 1, value_of(row, self.metric)
            random_part, band = next(bands)
            self._add(row.prompt, row.item, value)
            once = len(self._ordered)
            average, ci, final = self._total / once, None, None
            if n <= EVERY_BAND or n == last or n >= self._next_band:
                values = np.array([v for _, v in self._ordered])
                average = mean(values)
                if once >= MIN_ITEMS and random_part:
                    ci = mean_interval(values, seed=self.seed, bounds=self.bounds)[0] if self.pointwise else band
                if n == planned and not self.stopping:
                    # The same values in the same order give the bootstrap of the result.
                    final = interval(values, seed=self.seed, bounds=self.bounds)[0]
                self._next_band = n + max(1, n // 20)
            self.points.append(MeanPoint(n, value, average, ci, once, final, self.pointwise, self.stopping))

    def _bands(
        self, rows: Sequence[Measurement], failed: Collection[int]
    ) -> Iterator[tuple[bool, tuple[float, float] | None]]:
        """Whether those measured up to each row are a random part of all, and the band over them if they are.

        Texts of a part are taken in their random order, whatever the order in which they came.
        """
        known, taken, ends = set(self._place), list[float](), list[int | None]()
        for n, row in enumerate(rows, start=len(self.points) + 1):
            # Where nobody has said how many there will be they are taken as they come.
            rank = self._ranks.get(row.item, n - 1)
            if row.prompt in known:
                # A text has one place, that of its first prompt, and is measured there for all of them.
                insort(self._repeats, rank)
            else:
                known.add(row.prompt)
                self._highest = max(self._highest, rank)
                self._waiting.append((rank, value_of(row, self.metric)))
            empty = bisect_right(self._repeats, self._highest) + sum(0 <= f <= self._highest for f in failed)
            whole = self._highest + 1 == len(known) + empty
            if whole:
                taken += [value for _, value in sorted(self._waiting)]
                self._waiting.clear()
            ends.append(len(taken) if whole else None)
        band = self._sequence.interval if self._sequence is not None and self._sequence.n else None
        lower, upper = self._extended(taken)
        for end in ends:
            if end:
                band = (lower[end - 1], upper[end - 1]) if lower else None
            yield end is not None, band

    def _extended(self, values: Sequence[float]) -> tuple[list[float], list[float]]:
        if self._sequence is None or not values:
            return [], []
        try:
            lower, upper = self._sequence.extend(values)
        except ValueError:
            # A result from elsewhere may lack values, or hold what no divergence can be: from here on no band.
            self._sequence = None
            return [], []
        return lower.tolist(), upper.tolist()

    def _add(self, prompt: str, item: int, value: float) -> None:
        """Take one prompt. Repeats stand where ``probes.measure.distinct`` puts them: at their last place."""
        known = self._place.get(prompt)
        if known is None:
            self._total += value
        elif known[0] > item:
            return
        else:
            self._ordered.remove(known)
            value = known[1]
        self._place[prompt] = (item, value)
        insort(self._ordered, (item, value))
