"""Undo and redo over versions of a text. Plain data; one history whoever made the change."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

BURST_S = 1.2
"""Changes from one source that follow each other faster are one step."""

LIMIT = 200
"""Steps that are remembered."""


@dataclass(slots=True)
class _Step(Generic[T]):
    version: T
    source: Hashable
    at: float


class History(Generic[T]):
    """Versions in a row and which of them is shown."""

    def __init__(self, first: T) -> None:
        self._steps = [_Step(first, None, 0.0)]
        self._now = 0

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier version."""
        return self._now > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a later version."""
        return self._now < len(self._steps) - 1

    def add(self, version: T, source: Hashable = None) -> None:
        """Another version; it takes the last one's place when the same ``source`` made that one a moment ago."""
        at, last = time.monotonic(), self._steps[self._now]
        burst = source is not None and source == last.source and at - last.at < BURST_S and not self.can_redo
        if burst:
            self._steps[self._now] = _Step(version, source, at)
            return
        self._steps = [*self._steps[: self._now + 1], _Step(version, source, at)][-LIMIT:]
        self._now = len(self._steps) - 1

    @property
    def versions(self) -> tuple[list[T], int]:
        """Every version, and the place of the one that is shown."""
        return [step.version for step in self._steps], self._now

    def resume(self, versions: Sequence[T], now: int, *, alone: bool) -> None:
        """Put the versions of an earlier sitting in place of the one shown; ``alone`` leaves nothing before them."""
        before = [] if alone else self._steps[: self._now]
        steps = [*before, *(_Step(version, None, 0.0) for version in versions)]
        cut = max(0, len(steps) - LIMIT)
        self._steps, self._now = steps[cut:], max(0, len(before) + now - cut)

    def undo(self) -> T:
        """Go one version back."""
        return self._go(-1)

    def redo(self) -> T:
        """Go one version forward."""
        return self._go(1)

    def _go(self, by: int) -> T:
        self._now = min(max(0, self._now + by), len(self._steps) - 1)
        # What is typed now is a step of its own.
        self._steps[self._now].source = None
        return self._steps[self._now].version
