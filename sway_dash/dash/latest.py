"""Questions whose newest answer is the only one that counts. No Panel."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

Background = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""Does the first somewhere and hands its result to the second; see :func:`sway_dash.dash.off_loop.off_loop`."""


def at_once(work: Callable[[], Any], then: Callable[[Any], None]) -> None:
    """Do the work here and now."""
    then(work())


class Latest:
    """Lets one piece of work run at a time; of those that wait only the newest is done."""

    def __init__(self, background: Background = at_once) -> None:
        self._background = background
        self._busy = False
        self._waiting: tuple[Callable[[], Any], Callable[[Any], None]] | None = None

    def ask(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do this work, now or after what is being done; an answer that is out of date is thrown away."""
        if self._busy:
            self._waiting = (work, then)
            return
        self._busy = True
        self._background(lambda: _safe(work), lambda found: self._done(found, then))

    def _done(self, found: tuple[bool, Any], then: Callable[[Any], None]) -> None:
        self._busy = False
        if self._waiting is None:
            if found[0]:
                then(found[1])
            return
        following, self._waiting = self._waiting, None
        self.ask(*following)


def _safe(work: Callable[[], Any]) -> tuple[bool, Any]:
    """A question that fails must not keep the next one waiting for ever."""
    try:
        return True, work()
    except Exception:
        log.exception("background work failed")
        return False, None
