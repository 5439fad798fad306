"""Scoring calls of a run as its trace tells them, in columns that are cut and summed up quickly. No param, no Panel.

:class:`Calls` takes them one at a time; :meth:`Calls.table` is what readers look at. Some 50 bytes a call.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sway_dash.suite.passes import continues, lay_out
from sway_dash.suite.trace_file import TraceEvent

MAX_KEPT = 1_000_000
"""Calls beyond this many are counted only."""

TOUCH_S = 1e-9
"""Passes that follow each other closely share an edge up to rounding."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a trace that is looked at: a stretch of time, in seconds since the start, and what it was for."""

    start: float = -np.inf
    end: float = np.inf
    probe: str = ""
    view: str = ""
    op: str = ""

    @property
    def always(self) -> Cut:
        """The same, at any time."""
        return replace(self, start=-np.inf, end=np.inf)


@dataclass(frozen=True)
class CallTable:
    """Calls, and the passes they make up, one column a property. Times in seconds since the start of the run.

    ``probe``, ``view``, ``op`` and ``prompt`` are places in ``names``. ``of_pass`` is the place of a call's pass, -1
    for what the cache answered. Passes are in order and do not overlap.
    """

    names: tuple[str, ...]
    begin: Floats
    at: Floats
    """End of each call: that of its pass; for an answer of the cache, its moment."""
    ms: Floats
    hit: Bools
    probe: Ints
    view: Ints
    op: Ints
    prompt: Ints
    of_pass: Ints
    pass_start: Floats
    pass_end: Floats
    pass_first: Ints
    """First call of each pass."""
    pass_n: Ints
    _code: Mapping[str, int] = field(repr=False, default_factory=dict)

    def __len__(self) -> int:
        return len(self.at)

    def calls(self, cut: Cut) -> Ints:
        """Places of a cut's calls: the misses of its passes, and what the cache answered in its stretch of time."""
        return self._chosen(cut, np.arange(*self._stretch(cut), dtype=np.int32))

    def passes(self, cut: Cut) -> Ints:
        """Places of a cut's passes: those that were, at least in part, going on in its stretch of time."""
        lo, hi = np.searchsorted(self.pass_first, self._stretch(cut)).tolist()
        places = np.arange(lo, hi, dtype=np.int32)
        kept = self._chosen(cut, self.pass_first[places])
        return places[np.isin(self.pass_first[places], kept, assume_unique=True)] if len(kept) < len(places) else places

    def _stretch(self, cut: Cut) -> tuple[int, int]:
        """First call of a cut's time, and the one after its last. What only touches it is not in it."""
        lo, first = np.searchsorted(self.at, [cut.start, cut.start + TOUCH_S], side="left").tolist()
        last, hi = np.searchsorted(self.begin, [cut.end - TOUCH_S, cut.end], side="right").tolist()
        # An answer of the cache takes no time: one on the edge is inside.
        while first > lo and self.hit[first - 1]:
            first -= 1
        while last < hi and self.hit[last]:
            last += 1
        return first, max(first, last)

    def _chosen(self, cut: Cut, calls: Ints) -> Ints:
        """Those of ``calls`` that a cut's probe, view and operation let through."""
        for column, name in ((self.probe, cut.probe), (self.view, cut.view), (self.op, cut.op)):
            if name:
                calls = calls[column[calls] == self._code.get(name, -1)]
        return calls

    @cached_property
    def price(self) -> Floats:
        """What each call would have cost as a miss: the median miss of its operation in its view, ms; NaN without."""
        pair = self.op.astype(np.int64) * (len(self.names) + 1) + self.view
        kinds, of = np.unique(pair, return_inverse=True)
        median = np.full(len(kinds), np.nan)
        missed = np.flatnonzero(~self.hit)
        missed = missed[np.argsort(of[missed], kind="stable")]
        for group in np.split(missed, np.flatnonzero(np.diff(of[missed])) + 1) if len(missed) else ():
            median[of[group[0]]] = np.median(self.ms[group])
        return np.asarray(median[of], dtype=np.float64)

    def used(self, column: Ints) -> list[str]:
        """Names in a column, in order of appearance."""
        codes, first = np.unique(column, return_index=True)
        return [self.names[c] for c in codes[np.argsort(first)].tolist()]


class Calls:
    """Takes calls one at a time; totals cover all of them, the table the first :data:`MAX_KEPT`."""

    def __init__(self) -> None:
        self.epoch = 0
        self._clear()

    def _clear(self) -> None:
        self.n = 0
        self.hits = 0
        self.ms = 0.0
        self._code: dict[str, int] = {}
        self._floats = {name: array("d") for name in ("at", "ms", "pass_s", "pass_written")}
        self._ints = {name: array("i") for name in ("probe", "view", "op", "prompt", "of_pass", "pass_first", "pass_n")}
        self._hit = array("b")
        self._last: TraceEvent | None = None
        self._table: tuple[tuple[int, float], CallTable] | None = None

    @property
    def misses(self) -> int:
        """Calls that reached the model."""
        return self.n - self.hits

    @property
    def hit_rate(self) -> float | None:
        """Share of calls the cache answered; ``None`` without calls."""
        return self.hits / self.n if self.n else None

    @property
    def left_out(self) -> int:
        """Calls that are counted but not in the table."""
        return max(0, self.n - MAX_KEPT)

    def add(self, call: TraceEvent) -> None:
        """Take one call."""
        self.n += 1
        self.hits += call.hit
        self.ms += call.wall_ms
        if self.n > MAX_KEPT:
            return
        ints, floats = self._ints, self._floats
        if call.hit:
            ints["of_pass"].append(-1)
        else:
            self._pass(call)
        floats["at"].append(call.ts)
        floats["ms"].append(call.wall_ms)
        self._hit.append(call.hit)
        code = self._code
        ints["probe"].append(code.setdefault(call.owner, len(code)))
        ints["view"].append(code.setdefault(call.view_id, len(code)))
        ints["op"].append(code.setdefault(call.op, len(code)))
        ints["prompt"].append(code.setdefault(call.prompt_hash, len(code)))
        self._last = call

    def _pass(self, call: TraceEvent) -> None:
        ints, floats = self._ints, self._floats
        if ints["pass_n"] and continues(call, self._last, ints["pass_n"][-1]):
            ints["pass_n"][-1] += 1
            floats["pass_s"][-1] += call.wall_ms / 1000.0
            floats["pass_written"][-1] = call.ts
        else:
            ints["pass_first"].append(len(self._hit))
            ints["pass_n"].append(1)
            floats["pass_s"].append(call.wall_ms / 1000.0)
            floats["pass_written"].append(call.ts)
        ints["of_pass"].append(len(ints["pass_n"]) - 1)

    def table(self, origin: float) -> CallTable:
        """What is known, in columns; the same object until there is more. ``origin``: Unix seconds of the start."""
        key = (self.n, origin)
        if self._table is None or self._table[0] != key:
            self._table = (key, self._columns(origin))
        return self._table[1]

    def _columns(self, origin: float) -> CallTable:
        floats = {name: np.array(values, dtype=np.float64) for name, values in self._floats.items()}
        ints = {name: np.array(values, dtype=np.int32) for name, values in self._ints.items()}
        seconds = floats["pass_s"]
        starts = lay_out(floats["pass_written"] - origin, seconds)
        begin, end = self._moments(floats["at"] - origin, ints["of_pass"], ints["pass_first"], starts, seconds)
        return CallTable(
            names=tuple(self._code),
            begin=begin,
            at=end,
            ms=floats["ms"],
            hit=np.array(self._hit, dtype=np.bool_),
            probe=ints["probe"],
            view=ints["view"],
            op=ints["op"],
            prompt=ints["prompt"],
            of_pass=ints["of_pass"],
            pass_start=starts,
            pass_end=starts + seconds,
            pass_first=ints["pass_first"],
            pass_n=ints["pass_n"],
            _code=dict(self._code),
        )

    @staticmethod
    def _moments(written: Floats, of_pass: Ints, first: Ints, starts: Floats, seconds: Floats) -> tuple[Floats, Floats]:
        """Begin and end of every call, both in order.

        A look-up is written when its group of passes is done; the cache was asked before the pass that follows.
        """
        hit = of_pass < 0
        following = np.searchsorted(first, np.flatnonzero(hit))
        begin, end = np.empty_like(written), np.empty_like(written)
        begin[hit] = end[hit] = np.minimum(written[hit], np.append(starts, np.inf)[following])
        begin[~hit] = starts[of_pass[~hit]]
        end[~hit] = (starts + seconds)[of_pass[~hit]]
        # Clocks are set back now and then.
        return np.maximum.accumulate(begin), np.maximum.accumulate(end)

    def clear(self) -> None:
        """Forget everything: the trace was started anew."""
        self._clear()
        self.epoch += 1
