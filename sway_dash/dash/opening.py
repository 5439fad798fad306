"""Runs too large to be read between two clicks are read beside everything else, and opened when that is done.

What a run shows is derived from all of it: shown piece by piece, its bands and verdict would be computed for each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sway_dash.dash import live
from sway_dash.dash.latest import Background, Latest, at_once
from sway_dash.dash.live import Feed
from sway_dash.suite.store import RunFolder


class Opening:
    """One session's wish to look at a run; only the last one counts."""

    def __init__(self, background: Background = at_once) -> None:
        self._latest = Latest(background)
        self._wanted: RunFolder | None = None

    @property
    def waiting(self) -> bool:
        """A run that somebody wants to see is being read."""
        return self._wanted is not None

    def forget(self) -> None:
        """Whoever wanted to see a run has gone elsewhere."""
        self._wanted = None

    def ask(self, folder: RunFolder, then: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Read a run; ``then`` finds it read when it acquires its feed. Neither is called for what is forgotten."""
        self._wanted = folder

        def take(read: Feed) -> None:
            feed = live.adopt(read)
            try:
                self._end(folder, then)
            finally:
                live.release(feed)

        self._latest.ask(partial(live.read, folder), take, lambda error: self._end(folder, partial(failed, error)))

    def _end(self, folder: RunFolder, then: Callable[[], None]) -> None:
        if self._wanted is folder:
            self._wanted = None
            then()
