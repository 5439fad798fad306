"""What a trace of the scoring cache tells: where the time went, what the cache saved. One pass, bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from sway_dash.core.sketch import EXACT_LIMIT, RELATIVE_ERROR, QuantileSketch
from sway_dash.report.trace import render_json, render_markdown, render_terminal
from sway_dash.suite.trace_file import Trace, TraceEvent, TraceReader, load, read

__all__ = [
    "CellSummary",
    "OpSummary",
    "PhaseSummary",
    "ProbeSummary",
    "Trace",
    "TraceEvent",
    "TraceReader",
    "TraceReport",
    "ViewSummary",
    "WarmUp",
    "build_report",
    "load",
    "per_probe_summary",
    "per_view_summary",
    "read",
    "render_json",
    "render_markdown",
    "render_terminal",
    "slowest_events",
]

MAX_GROUPS = 1024
"""Combinations of probe, view, operation and phase that are told apart; what comes later stands together."""

OTHER = "<other>"

K = TypeVar("K")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class ProbeSummary:
    """Look-ups on behalf of one probe."""

    probe: str
    n_events: int
    total_ms: float
    cache_hits: int
    cache_misses: int

    @property
    def hit_rate(self) -> float:
        """Share of look-ups the cache answered; 0.0 without look-ups."""
        return self.cache_hits / self.n_events if self.n_events else 0.0


@dataclass(frozen=True, slots=True)
class ViewSummary:
    """Look-ups in one view."""

    view_id: str
    n_events: int
    total_ms: float


@dataclass(frozen=True, slots=True)
class PhaseSummary:
    """Look-ups in one phase of the run."""

    phase: str
    n_events: int
    total_ms: float
    cache_hits: int
    cache_misses: int


@dataclass(frozen=True, slots=True)
class CellSummary:
    """Look-ups of one probe in one view. Times in milliseconds, of misses and of hits; ``None`` without any."""

    probe: str
    view_id: str
    n_events: int
    total_ms: float
    cache_hits: int
    cache_misses: int
    miss_p50_ms: float | None
    miss_p95_ms: float | None
    hit_p50_ms: float | None
    hit_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class OpSummary:
    """What the cache saved for one operation on one view: hits x median time of a miss.

    ``saved_s`` is ``None`` where nothing missed: then there is no price to put on a hit.
    """

    op: str
    view_id: str
    cache_hits: int
    cache_misses: int
    miss_p50_ms: float | None
    miss_p95_ms: float | None
    saved_s: float | None


@dataclass(frozen=True, slots=True)
class WarmUp:
    """First batch of misses in a view: it also pays for compilation, allocation and page faults."""

    view_id: str
    probe: str
    op: str
    ts: float
    n_events: int
    wall_ms: float
    batch: int = 1


@dataclass(frozen=True, slots=True)
class TraceReport:
    """What a trace tells. ``approximate`` says whether some percentile is known to 1 % only."""

    total_events: int
    total_wall_ms: float
    overall_hit_rate: float
    per_probe: list[ProbeSummary]
    per_view: list[ViewSummary]
    slowest: list[TraceEvent]
    # Beyond the public format:
    skipped_lines: int = 0
    per_phase: list[PhaseSummary] = field(default_factory=list)
    probe_by_view: list[CellSummary] = field(default_factory=list)
    per_op: list[OpSummary] = field(default_factory=list)
    saved_s: float = 0.0
    hits_without_price: int = 0
    warm_ups: list[WarmUp] = field(default_factory=list)
    slowest_warm_up: list[int] = field(default_factory=list)
    """Which of ``slowest`` belong to a warm-up, as indices."""
    first_ts: float | None = None
    last_ts: float | None = None
    approximate: bool = False
    percentile_note: str = f"exact up to {EXACT_LIMIT} values a cell, within {RELATIVE_ERROR:.0%} beyond"


class _Sums:
    """Running sums of a group of look-ups."""

    __slots__ = ("hit_ms", "hits", "miss_ms", "misses", "total_ms")

    def __init__(self) -> None:
        self.hits = self.misses = 0
        self.total_ms = 0.0
        self.hit_ms: QuantileSketch | None = None
        self.miss_ms: QuantileSketch | None = None

    def add(self, event: TraceEvent) -> None:
        """Count one look-up, without its time's place among others."""
        self.total_ms += event.wall_ms
        if event.hit:
            self.hits += 1
        else:
            self.misses += 1

    def add_timed(self, event: TraceEvent) -> None:
        """Count one look-up."""
        self.total_ms += event.wall_ms
        if event.hit:
            self.hits += 1
            if self.hit_ms is None:
                self.hit_ms = QuantileSketch()
            self.hit_ms.add(event.wall_ms)
        else:
            self.misses += 1
            if self.miss_ms is None:
                self.miss_ms = QuantileSketch()
            self.miss_ms.add(event.wall_ms)

    def merge(self, other: _Sums, *, times: bool) -> None:
        """Count the look-ups of another group."""
        self.hits += other.hits
        self.misses += other.misses
        self.total_ms += other.total_ms
        if times:
            self.hit_ms = _merged_times(self.hit_ms, other.hit_ms)
            self.miss_ms = _merged_times(self.miss_ms, other.miss_ms)

    @property
    def n(self) -> int:
        return self.hits + self.misses

    def counts(self) -> tuple[int, float, int, int]:
        return self.n, self.total_ms, self.hits, self.misses

    def percentiles(self) -> tuple[float | None, float | None, float | None, float | None]:
        """Median and 95th percentile of the misses, then of the hits."""
        miss, hit = self.miss_ms or QuantileSketch(), self.hit_ms or QuantileSketch()
        return miss.quantile(0.5), miss.quantile(0.95), hit.quantile(0.5), hit.quantile(0.95)

    @property
    def exact(self) -> bool:
        return all(s is None or s.exact for s in (self.hit_ms, self.miss_ms))


def _merged_times(mine: QuantileSketch | None, other: QuantileSketch | None) -> QuantileSketch | None:
    if other is None:
        return mine
    merged = QuantileSketch() if mine is None else mine
    merged.merge(other)
    return merged


def per_probe_summary(events: Iterable[TraceEvent]) -> list[ProbeSummary]:
    """Sum up by probe, most time first; look-ups outside any probe stand under their phase or ``<unassigned>``."""
    return _summaries(_grouped(events, lambda e: e.owner), ProbeSummary)


def per_view_summary(events: Iterable[TraceEvent]) -> list[ViewSummary]:
    """Sum up by view, most time first."""
    groups = _grouped(events, lambda e: e.view_id)
    return [ViewSummary(view, sums.n, sums.total_ms) for view, sums in _by_time(groups)]


def slowest_events(events: Iterable[TraceEvent], *, k: int = 10) -> list[TraceEvent]:
    """Return at most ``k`` events, longest first; equal ones in file order."""
    return heapq.nlargest(max(k, 0), events, key=lambda e: e.wall_ms)


def build_report(events: Iterable[TraceEvent], *, slowest_k: int = 10) -> TraceReport:
    """Analyse a trace in one pass.

    Memory grows with the number of probes, views and operations (up to :data:`MAX_GROUPS` combinations), not with the
    number of events. Lines that could not be read are taken from ``events.skipped`` where there is one (:func:`load`,
    :func:`read`).
    """
    tally = _Tally()
    # At least one is drawn: asked for none, nlargest would not look at the events at all.
    slowest = heapq.nlargest(max(slowest_k, 1), map(tally.add, events), key=lambda seen: seen[0].wall_ms)
    return tally.report(slowest[: max(slowest_k, 0)], skipped=int(getattr(events, "skipped", 0)))


Key = tuple[str, str, str, str | None]
"""Owner, view, operation, phase."""


class _Tally:
    """Everything a report needs, one event at a time."""

    def __init__(self) -> None:
        self.total_ms = 0.0
        self.probes: dict[str, _Sums] = {}
        self.views: dict[str, _Sums] = {}
        # One group an event: what else is summed up, and all percentiles, are made of these at the end.
        self.groups: dict[Key, tuple[_Sums, _Sums, _Sums]] = {}
        self.warm_ups: dict[str, WarmUp] = {}
        self.first_ts: float | None = None
        self.last_ts: float | None = None

    def add(self, event: TraceEvent) -> tuple[TraceEvent, bool]:
        """Count an event; says whether it belongs to a warm-up."""
        key = (event.owner, event.view_id, event.op, event.phase)
        group = self.groups.get(key)
        if group is None:
            group = self._new_group(key)
        timed, probe, view = group
        timed.add_timed(event)
        probe.add(event)
        view.add(event)
        self.total_ms += event.wall_ms
        ts = event.ts
        if self.first_ts is None or self.last_ts is None:
            self.first_ts = self.last_ts = ts
        elif ts > self.last_ts:
            self.last_ts = ts
        elif ts < self.first_ts:
            self.first_ts = ts
        return event, not event.hit and self._warms_up(event)

    def _new_group(self, key: Key) -> tuple[_Sums, _Sums, _Sums]:
        if len(self.groups) >= MAX_GROUPS:
            key = (OTHER, OTHER, OTHER, None)
        if key not in self.groups:
            sums = (_Sums(), self.probes.setdefault(key[0], _Sums()), self.views.setdefault(key[1], _Sums()))
            self.groups[key] = sums
        return self.groups[key]

    def _warms_up(self, event: TraceEvent) -> bool:
        first = self.warm_ups.get(event.view_id)
        if first is None:
            if len(self.warm_ups) >= MAX_GROUPS:
                return False
            self.warm_ups[event.view_id] = WarmUp(
                event.view_id, event.owner, event.op, event.ts, 1, event.wall_ms, max(event.batch or 1, 1)
            )
            return True
        if first.n_events >= first.batch or event.op != first.op:
            return False
        # The misses of one batch follow each other: they share the first one's warm-up.
        self.warm_ups[event.view_id] = replace(
            first, n_events=first.n_events + 1, wall_ms=first.wall_ms + event.wall_ms
        )
        return True

    def _by(self, part: Callable[[Key], K], *, times: bool = False) -> dict[K, _Sums]:
        found: dict[K, _Sums] = {}
        for key, (timed, *_) in self.groups.items():
            found.setdefault(part(key), _Sums()).merge(timed, times=times)
        return found

    def report(self, slowest: list[tuple[TraceEvent, bool]], *, skipped: int) -> TraceReport:
        """What the events seen so far tell."""
        whole = _Sums()
        for sums in self.probes.values():
            whole.merge(sums, times=False)
        cells = self._by(lambda key: (key[0], key[1]), times=True)
        by_op = self._by(lambda key: (key[2], key[1]), times=True)
        ops = [_op_summary(*item) for item in _by_time(by_op)]
        phases = self._by(lambda key: key[3])
        phases.pop(None, None)
        return TraceReport(
            total_events=whole.n,
            total_wall_ms=self.total_ms,
            overall_hit_rate=whole.hits / whole.n if whole.n else 0.0,
            per_probe=_summaries(self.probes, ProbeSummary),
            per_view=[ViewSummary(v, s.n, s.total_ms) for v, s in _by_time(self.views)],
            slowest=[event for event, _ in slowest],
            skipped_lines=skipped,
            per_phase=_summaries({str(name): sums for name, sums in phases.items()}, PhaseSummary),
            probe_by_view=[_cell(*item) for item in _by_time(cells)],
            per_op=ops,
            saved_s=sum(op.saved_s or 0.0 for op in ops),
            hits_without_price=sum(op.cache_hits for op in ops if op.saved_s is None),
            warm_ups=list(self.warm_ups.values()),
            slowest_warm_up=[i for i, (_, warm) in enumerate(slowest) if warm],
            first_ts=self.first_ts,
            last_ts=self.last_ts,
            approximate=not all(sums.exact for sums in (*cells.values(), *by_op.values())),
        )


def _cell(key: tuple[str, str], sums: _Sums) -> CellSummary:
    probe, view = key
    n, total_ms, hits, misses = sums.counts()
    return CellSummary(probe, view, n, total_ms, hits, misses, *sums.percentiles())


def _op_summary(key: tuple[str, str], sums: _Sums) -> OpSummary:
    p50, p95, *_ = sums.percentiles()
    saved = None if p50 is None else sums.hits * p50 / 1000.0
    return OpSummary(*key, sums.hits, sums.misses, p50, p95, saved)


def _grouped(events: Iterable[TraceEvent], key: Callable[[TraceEvent], str]) -> dict[str, _Sums]:
    groups: dict[str, _Sums] = {}
    for event in events:
        groups.setdefault(key(event), _Sums()).add(event)
    return groups


def _by_time(groups: Mapping[K, _Sums]) -> list[tuple[K, _Sums]]:
    return sorted(groups.items(), key=lambda item: -item[1].total_ms)


def _summaries(groups: Mapping[str, _Sums], make: Callable[[str, int, float, int, int], S]) -> list[S]:
    return [make(name, *sums.counts()) for name, sums in _by_time(groups)]
