"""When the last session has ended its memory goes back to the system, and not only to the next session."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys

SETTLE_S = 2.0
"""A session is let go by everything that holds it within so many seconds of its end."""

_open: set[int] = set()


def entered(session: object) -> None:
    """Somebody looks at the server."""
    _open.add(id(session))


def left(session: object) -> None:
    """Nobody looks through this session any more."""
    _open.discard(id(session))
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    loop.call_later(SETTLE_S, _when_nobody_looks)


def _when_nobody_looks() -> None:
    # Walking through all objects of a large run takes a third of a second: only while nobody waits.
    if not _open:
        give_back()


def give_back() -> None:
    """Free what nothing holds any more, and hand the free pages to the system."""
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
