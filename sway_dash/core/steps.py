"""Named steps of something long: whoever does the work says what comes next, whoever shows it listens.

Loading a model goes through functions that know nothing of a run; this spares them a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("steps", default=None)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Hear the steps of what is done inside; what the listener raises ends the work."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def step(name: str) -> None:
    """Say what is done from here on; nothing happens when nobody listens."""
    listener = _listener.get()
    if listener is not None:
        listener(name)
