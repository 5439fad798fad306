"""How far a run is, on standard error: a live bar on a terminal, a line now and then elsewhere. A fold over events."""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sway_dash.cli.boundary import note, printable
from sway_dash.core.events import CacheAccess, ItemFailed, Measurement, Phase, RunStarted, Warned
from sway_dash.suite.fold import Fold

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

WINDOW_S = 20.0
"""How far the rate looks back."""

BURST_S = 0.1
"""Measurements of one batch come at once."""

MIN_SPAN_S = 0.5
"""Below this a rate would be noise."""

LINE_EVERY_S = 5.0
"""Seconds between two lines where there is no terminal."""

REDRAW_EVERY_S = 0.1
MAX_FAILED_SHOWN = 3


class Pace:
    """Measurements per second over the last seconds, and the time left at that rate."""

    def __init__(self) -> None:
        self._count = 0
        self._points: deque[tuple[float, int]] = deque()
        """Moments and how many had been taken by then; what comes in one burst shares a moment."""

    def start(self, now: float) -> None:
        """Work begins now: batches may take long, and the first one counts, too."""
        if not self._points:
            self._points.append((now, 0))

    def add(self, now: float) -> None:
        """Count one measurement that was really taken."""
        self._count += 1
        if len(self._points) > 1 and now - self._points[-1][0] < BURST_S:
            now, _ = self._points.pop()
        self._points.append((now, self._count))
        # Three points stay: however rare the batches are, there is something to count from.
        while len(self._points) > 3 and now - self._points[1][0] > WINDOW_S:
            self._points.popleft()

    def rate(self, now: float) -> float | None:
        """Measurements per second; ``None`` while too little is known."""
        if len(self._points) < 2:
            return None
        start, before = self._points[0]
        end, count = now, self._count
        if now - self._points[-1][0] < BURST_S:
            # Of the batch that is just coming in nobody knows how much is still to come.
            end, count = self._points[-2]
        return (count - before) / (end - start) if count > before and end - start >= MIN_SPAN_S else None

    def left(self, remaining: int, now: float) -> float | None:
        """Seconds until ``remaining`` more are done."""
        rate = self.rate(now)
        return remaining / rate if rate else None


def clock(seconds: float | None) -> str:
    """``0:07``, ``12:30``, ``1:02:03``; a dash when it is not known."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class RunProgress:
    """Follows the events of one run; ``state`` is their fold, at any time the result so far."""

    def __init__(self, *, live: bool | None = None) -> None:
        self.state = Fold()
        self._pace = Pace()
        self._live = sys.stderr.isatty() if live is None else live
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._step = ""
        self._said = 0.0
        self._failed = 0

    def __enter__(self) -> RunProgress:
        if self._live:
            self._bar = _bar()
            self._task = self._bar.add_task("starting", total=None, numbers="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._draw(time.time())
            self._bar.stop()
        if self._failed > MAX_FAILED_SHOWN:
            note(f"… {self._failed - MAX_FAILED_SHOWN} more measurements failed")

    def add(self, event: Any) -> None:
        """Take one event and show what changed."""
        if isinstance(event, CacheAccess):
            return
        self.state.add(event)
        now = time.time()
        if isinstance(event, Measurement) and not event.reused:
            self._pace.add(event.ts or now)
        elif isinstance(event, Warned):
            self._say("\n  ".join([f"warning: {event.message}", *event.causes]))
        elif isinstance(event, ItemFailed):
            self._failed += 1
            if self._failed <= MAX_FAILED_SHOWN:
                self._say(f"not measured: {event.probe}, prompt {event.item + 1}: {event.message}")
        elif isinstance(event, RunStarted):
            if event.resumed:
                self._say("resumed: what was measured before is not measured again")
        elif isinstance(event, Phase):
            self._step = self._name(event)
            if event.phase == "probe":
                self._pace.start(event.ts or now)
            self._said = 0.0 if self._live else self._said
            if not self._live:
                self._say(self._step)
        if now - self._said >= (REDRAW_EVERY_S if self._live else LINE_EVERY_S):
            self._draw(now)

    def _name(self, event: Phase) -> str:
        if event.phase != "probe":
            return f"{event.phase} {event.name}".strip()
        names = [p.name for p in self.state.planned if p.enabled]
        at = f" ({names.index(event.name) + 1}/{len(names)})" if event.name in names else ""
        return f"{event.name}{at}"

    def _numbers(self, now: float) -> str:
        done, total = self.state.done, self.state.total
        rate = self._pace.rate(now)
        speed = "" if rate is None else f"  {rate:,.1f}/s"
        left = self._pace.left(max(total - done, 0), now)
        eta = "" if left is None or done >= total else f"  {clock(left)} left"
        return f"{done:,}/{total:,}{speed}{eta}"

    def _draw(self, now: float) -> None:
        self._said = now
        if self._bar is not None and self._task is not None:
            total = self.state.total or None
            numbers = self._numbers(now) if total else ""
            step = printable(self._step)
            self._bar.update(self._task, description=step, completed=self.state.done, total=total, numbers=numbers)
        elif self.state.done:
            note(f"{self._step}: {self._numbers(now)}")

    def _say(self, text: str) -> None:
        if self._bar is None:
            note(text)
            return
        from rich.text import Text

        self._bar.console.print(Text(printable(text)))


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    return Progress(
        SpinnerColumn(),
        # markup=False: probe names and paths are shown as they are.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
        console=Console(stderr=True, highlight=False),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
