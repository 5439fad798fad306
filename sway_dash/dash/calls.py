"""Scoring calls of a run as its trace tells them: hit rate over calls, totals by view, the slowest. Plain Python."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from sway_dash.suite.trace_file import TraceEvent

MAX_POINTS = 1000
SLOWEST = 20


@dataclass
class ViewTotal:
    """Calls in one view; milliseconds are those of misses and hits together."""

    view: str
    calls: int = 0
    hits: int = 0
    ms: float = 0.0


@dataclass
class Calls:
    """Statistics over the calls seen so far, in bounded memory."""

    n: int = 0
    hits: int = 0
    ms: float = 0.0
    epoch: int = 0
    """Raised when points were thinned out or thrown away: what was drawn must be drawn anew."""
    points: list[tuple[int, float]] = field(default_factory=list)
    """(call number, hit rate until then); at most :data:`MAX_POINTS`, evenly spaced."""
    views: dict[str, ViewTotal] = field(default_factory=dict)
    _stride: int = 1
    _slowest: list[tuple[float, int, TraceEvent]] = field(default_factory=list)

    @property
    def misses(self) -> int:
        """Calls that reached the model."""
        return self.n - self.hits

    @property
    def hit_rate(self) -> float | None:
        """Share of calls the cache answered; ``None`` without calls."""
        return self.hits / self.n if self.n else None

    def add(self, call: TraceEvent) -> None:
        """Take one call."""
        self.n += 1
        self.hits += call.hit
        self.ms += call.wall_ms
        total = self.views.setdefault(call.view_id, ViewTotal(call.view_id))
        total.calls += 1
        total.hits += call.hit
        total.ms += call.wall_ms
        if not call.hit:
            entry = (call.wall_ms, -self.n, call)
            if len(self._slowest) < SLOWEST:
                heapq.heappush(self._slowest, entry)
            elif entry > self._slowest[0]:
                heapq.heapreplace(self._slowest, entry)
        if self.n % self._stride == 0:
            self.points.append((self.n, self.hits / self.n))
            if len(self.points) > MAX_POINTS:
                self._stride *= 2
                self.points = [p for p in self.points if p[0] % self._stride == 0]
                self.epoch += 1

    def slowest(self) -> list[TraceEvent]:
        """The slowest misses, slowest first."""
        return [call for _, _, call in sorted(self._slowest, key=lambda e: (-e[0], -e[1]))]

    def clear(self) -> None:
        """Forget everything: the trace was started anew."""
        epoch = self.epoch + 1
        self.__init__()  # type: ignore[misc]
        self.epoch = epoch
