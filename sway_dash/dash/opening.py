"""Runs too large to be read between two clicks are read beside everything else, and opened when that is done.

What a run shows is derived from all of it: shown piece by piece, its bands and verdict would be computed for each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from sway_dash.dash import live
from sway_dash.dash.latest import Background, Latest, at_once
from sway_dash.dash.live import Feed
from sway_dash.suite.store import RunFolder


class Opening:
    """One session's wish to look at a run; only the last one counts."""

    def __init__(self, background: Background = at_once) -> None:
        self._latest = Latest(background)
        self._path: Path | None = None
        """Of the run that is being read, or was."""
        self._wanted: tuple[Callable[[], None], Callable[[Exception], None]] | None = None

    @property
    def waiting(self) -> bool:
        """A run that somebody wants to see is being read."""
        return self._wanted is not None

    def forget(self) -> None:
        """Whoever wanted to see a run has gone elsewhere."""
        self._wanted = None

    def ask(self, folder: RunFolder, then: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Read a run; ``then`` finds it read when it acquires its feed. Neither is called for what is forgotten."""
        self._wanted = then, failed
        path = folder.path
        if self._latest.busy and path == self._path:
            return
        self._path = path
        self._latest.ask(partial(live.read, folder, lambda: self._path == path), self._take, self._failed)

    def _take(self, read: Feed) -> None:
        feed = live.adopt(read)
        try:
            if self._wanted is not None:
                (then, _), self._wanted = self._wanted, None
                then()
        finally:
            live.release(feed)

    def _failed(self, error: Exception) -> None:
        if self._wanted is not None:
            (_, failed), self._wanted = self._wanted, None
            failed(error)
