"""Ctrl-C during a run: the first asks, the second insists. Knows signals, nothing of suites."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

PATIENCE_S = 3.0
"""After an interruption the result is being saved: for so long no other one is let through."""


class StopSwitch:
    """Catches SIGINT and SIGTERM while it is entered.

    The first signal makes :meth:`requested` true, so that a run stops after its current batch. A later one raises
    ``KeyboardInterrupt`` at once. After :meth:`settle` signals are ignored: the result is being written.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The first signal that came."""
        self._settled = False
        self._raised = 0.0
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

    def settle(self) -> None:
        """From now on nothing may interrupt."""
        self._settled = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._settled:
            return
        if self.signal is None:
            self.signal = number
            _say("stopping after the current batch, what is measured is kept; Ctrl-C again stops at once")
            return
        now = time.monotonic()
        if self._raised and now - self._raised < PATIENCE_S:
            return
        self._raised = now
        _say("stopping at once")
        raise KeyboardInterrupt


def _say(text: str) -> None:
    # A handler may run in the middle of a print: only the bare system call can be entered twice.
    os.write(2, f"\n{text}\n".encode())
