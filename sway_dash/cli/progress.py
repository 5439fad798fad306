"""How far a run is, on standard error: a live bar on a terminal, a line now and then elsewhere. A fold over events."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sway_dash.cli.boundary import note, printable
from sway_dash.core.events import Answered, CacheAccess, ItemFailed, Measurement, Phase, RunStarted, Warned
from sway_dash.suite.fold import Fold
from sway_dash.suite.pace import Pace

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 5.0
"""Seconds between two lines where there is no terminal."""

REDRAW_EVERY_S = 0.1
MAX_FAILED_SHOWN = 3


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
        self.settle()
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
        elif isinstance(event, Answered) and event.new:
            self._pace.add(event.ts or now, event.new)
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

    def settle(self) -> None:
        """Draw for the last time: what is printed from here on stays below."""
        if self._bar is not None:
            self._draw(time.time())
            self._bar.stop()
        self._bar, self._live = None, False

    def _name(self, event: Phase) -> str:
        if event.phase != "probe":
            return f"{event.phase} {event.step or event.name}".strip()
        names = [p.name for p in self.state.planned if p.enabled]
        at = f" ({names.index(event.name) + 1}/{len(names)})" if event.name in names else ""
        return f"{event.name}{at}"

    def _numbers(self, now: float) -> str:
        done, total = self.state.done, self.state.total
        rate = self._pace.rate(now)
        speed = "" if rate is None else f"  {rate:,.1f}/s"
        left = self._pace.left(max(total - done, 0), now)
        least = "at least " if self.state.least or self.state.open_ended else ""
        eta = "" if left is None or done >= total else f"  {least}{clock(left)} left"
        return f"{done:,}{' of at least ' if self.state.least else '/'}{total:,}{speed}{eta}"

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
