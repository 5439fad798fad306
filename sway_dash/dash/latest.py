"""Questions whose newest answer is the only one that counts. No Panel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger(__name__)

Background = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""Does the first somewhere and hands its result to the second; see :func:`sway_dash.dash.off_loop.off_loop`."""


def at_once(work: Callable[[], Any], then: Callable[[Any], None]) -> None:
    """Do the work here and now."""
    then(work())


Work = Callable[[], Any]
Then = Callable[[Any], None]
Failed = Callable[[Exception], None]


@dataclass(slots=True)
class _Question:
    work: Work
    then: Then
    failed: Failed | None
    pause_s: float
    passed_over: threading.Event = field(default_factory=threading.Event)

    def answer(self) -> tuple[Any, Exception | None]:
        """Runs elsewhere. A question that fails must not keep the next one waiting for ever."""
        if self.passed_over.wait(self.pause_s):
            return None, None
        try:
            return self.work(), None
        except Exception as error:
            log.exception("background work failed")
            return None, error


class Latest:
    """Lets one piece of work run at a time; of those that wait only the newest is done."""

    def __init__(self, background: Background = at_once) -> None:
        self._background = background
        self._current: _Question | None = None
        self._waiting: _Question | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._current is not None

    def ask(self, work: Work, then: Then, failed: Failed | None = None, *, pause_s: float = 0.0) -> None:
        """Do this work, now or after what is being done; an answer that is out of date is thrown away.

        With ``pause_s`` the work begins only when nothing else has been asked for so many seconds.
        """
        question = _Question(work, then, failed, pause_s)
        if self._current is None:
            self._begin(question)
            return
        self._current.passed_over.set()
        self._waiting = question

    def _begin(self, question: _Question) -> None:
        self._current = question
        self._background(question.answer, lambda found: self._done(question, *found))

    def _done(self, question: _Question, answer: Any, error: Exception | None) -> None:
        self._current = None
        if self._waiting is not None:
            following, self._waiting = self._waiting, None
            self._begin(following)
        elif error is None:
            question.then(answer)
        elif question.failed is not None:
            question.failed(error)
