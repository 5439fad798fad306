"""Ctrl-C and SIGTERM during a run: the first asks, the second insists. Knows signals, nothing of suites."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

PATIENCE_S = 5.0
"""For so long after an interruption or the end of a run, while its result is saved and shown, none is let through."""


class StopSwitch:
    """Catches SIGINT and SIGTERM while it is entered.

    The first signal makes :meth:`requested` true, so that a run stops after its current batch. A later one raises
    ``KeyboardInterrupt`` at once, unless the result is being written (:meth:`settle`): impatience must not lose it.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The first signal that came."""
        self.hurried = False
        """A signal came after the run was over: what may be left out shall be."""
        self._newest: int = signal.SIGINT
        self._quiet_since: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSwitch:
        # Elsewhere Python lets nobody set a handler, and nobody gets one either.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal is not None

    @property
    def code(self) -> int:
        """Exit code of what was stopped: 128 and the number of the signal, 130 for Ctrl-C."""
        return 128 + (self._newest if self.signal is None else self.signal)

    def settle(self) -> None:
        """The run is over: for a while nothing may interrupt what follows."""
        self._quiet_since = time.monotonic()

    def go_on(self) -> None:
        """There is more to do after all: an interruption asks again before it insists."""
        self._quiet_since = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self._newest = number
        self.hurried = self._quiet_since is not None
        if self._quiet_since is not None and now - self._quiet_since < PATIENCE_S:
            return
        if self.signal is None and self._quiet_since is None:
            self.signal = number
            _say("stopping after the current batch, what is measured is kept; Ctrl-C again stops at once")
            return
        self._quiet_since = now
        _say("stopping at once")
        raise KeyboardInterrupt


def _say(text: str) -> None:
    # A handler may run in the middle of a print: only the bare system call can be entered twice.
    os.write(2, f"\n{text}\n".encode())
