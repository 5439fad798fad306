"""Background work that is done when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Elsewhere:
    """As a thread that takes its time."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def __call__(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.waiting.append((work, then))

    def finish(self) -> None:
        """Do what has waited longest."""
        work, then = self.waiting.pop(0)
        then(work())
