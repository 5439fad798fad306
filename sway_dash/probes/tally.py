"""How many of a probe's questions are answered, told while it goes on; and where answering was cut short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sway_dash.core.events import Answered


def _unheard(event: Any) -> None:
    """Nobody listens."""


class Tally:
    """Counts the answers of both views to all that a probe asks; every change is an :class:`Answered` event."""

    def __init__(self, probe: str = "", tell: Callable[[Any], None] = _unheard) -> None:
        self._probe, self._tell = probe, tell
        self.done = self.total = 0
        self.short: tuple[int, int] | None = None
        """Items that both views answered before the run was stopped, and items asked; ``None`` while nothing is cut."""

        self.whole: tuple[int, int] | None = None
        """The same of the first step that was answered to its end, where a part is kept: what a later stop leaves."""

    def expect(self, n: int) -> None:
        """So many answers more are to come."""
        if n:
            self.total += n
            self._say(0)

    def took(self, n: int) -> None:
        """So many answers have come."""
        self.done += n
        self._say(n)

    def _say(self, new: int) -> None:
        self._tell(Answered(probe=self._probe, new=new, done=self.done, total=self.total))
