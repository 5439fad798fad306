"""How fast measurements come, and how long the rest takes at that rate. Arithmetic on moments; no clock of its own."""

from __future__ import annotations

from collections import deque

WINDOW_S = 20.0
"""How far the rate looks back."""

BURST_S = 0.1
"""Measurements of one batch come at once."""

MIN_SPAN_S = 0.5
"""Below this a rate would be noise."""


class Pace:
    """Measurements per second over the last seconds, and the time left at the rate since the beginning."""

    def __init__(self) -> None:
        self._count = 0
        self._points: deque[tuple[float, int]] = deque()
        """Moments and how many had been taken by then; what comes in one burst shares a moment."""
        self._began: tuple[float, int] | None = None

    def start(self, now: float) -> None:
        """Work begins now: batches may take long, and the first one counts, too."""
        if not self._points:
            self._points.append((now, 0))

    def add(self, now: float, n: int = 1) -> None:
        """Count ``n`` measurements that were really taken."""
        self._count += n
        if len(self._points) > 1 and now - self._points[-1][0] < BURST_S:
            now, _ = self._points.pop()
        self._points.append((now, self._count))
        self._began = self._began or self._points[0]
        # Three points stay: however rare the batches are, there is something to count from.
        while len(self._points) > 3 and now - self._points[1][0] > WINDOW_S:
            self._points.popleft()

    def rate(self, now: float) -> float | None:
        """Measurements per second; ``None`` while too little is known."""
        return self._rate(self._points[0], now) if len(self._points) > 1 else None

    def _rate(self, since: tuple[float, int], now: float) -> float | None:
        start, before = since
        end, count = now, self._count
        if now - self._points[-1][0] < BURST_S:
            # Of the batch that is just coming in nobody knows how much is still to come.
            end, count = self._points[-2]
        return (count - before) / (end - start) if count > before and end - start >= MIN_SPAN_S else None

    def left(self, remaining: int, now: float) -> float | None:
        """Seconds until ``remaining`` more are done.

        Measurements differ in what they take, so that the rate of the last seconds says little of those to come.
        """
        rate = self._rate(self._began, now) if self._began and len(self._points) > 1 else None
        return remaining / rate if rate else None
