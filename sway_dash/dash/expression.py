"""A text or a regular expression that many texts are searched for, within a budget of time: no expression, however it
is written, holds up the server.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

BUDGET_S = 0.25
"""Seconds of processor one look through all texts may take."""

MAX_CHARS = 1000
MAX_REPEATS = 10_000
"""Counted repeats are written out when an expression is read: more than so many would take its time and memory."""

SLOW = "too slow on these prompts, given up; repeats within repeats, such as (a+)+, take longest"

_COUNTED = re.compile(r"\{(\d{1,9})")


class Expression:
    """What is searched for; capitals do not count. With a ``problem`` nothing is found."""

    def __init__(self, query: str = "", *, regex: bool = False) -> None:
        self.problem = ""
        """What is wrong with it, in words; empty when nothing is. That it is too slow is found while searching."""
        self._of = (query, regex)
        self._left = BUDGET_S
        self._plain = None if regex else re.compile(re.escape(query), re.IGNORECASE)
        self._compiled: Any = None
        if regex:
            self._compile(query)

    def _compile(self, query: str) -> None:
        # Unlike the standard library's, this one can be told when to give up; only who wants it waits for it to load.
        import regex

        self.problem = _too_much(query)
        if self.problem:
            return
        try:
            re.compile(query)
            self._compiled = regex.compile(query, regex.IGNORECASE)
        except (re.error, regex.error) as error:
            where = f" at character {error.pos + 1}" if error.pos is not None else ""
            self.problem = f"not a regular expression: {error.msg}{where}"
        except (RecursionError, OverflowError):
            self.problem = "not a regular expression: too deeply nested"

    def again(self, query: str, *, regex: bool) -> Expression:
        """This or another one, for another look through all texts with the whole budget. Too slow stays too slow."""
        if (query, regex) != self._of:
            return Expression(query, regex=regex)
        self._left = BUDGET_S
        return self

    def search(self, text: str) -> Any:
        """The first hit, or ``None``."""
        if self._plain is not None:
            return self._plain.search(text)
        return self._within(lambda limit: self._compiled.search(text, timeout=limit), None)

    def hits(self, text: str) -> list[Any]:
        """All hits, in order."""
        if self._plain is not None:
            return list(self._plain.finditer(text))
        return self._within(lambda limit: list(self._compiled.finditer(text, timeout=limit)), [])

    def _within(self, look: Callable[[float], T], nothing: T) -> T:
        if self.problem:
            return nothing
        start = time.thread_time()
        try:
            return look(max(self._left, 1e-3))
        except TimeoutError:
            self.problem = SLOW
            return nothing
        finally:
            self._left -= time.thread_time() - start


def _too_much(query: str) -> str:
    if len(query) > MAX_CHARS:
        return f"longer than {MAX_CHARS:,} characters"
    if math.prod(int(n) for n in _COUNTED.findall(query) if int(n)) > MAX_REPEATS:
        return f"its counted repeats come to more than {MAX_REPEATS:,}"
    return ""
