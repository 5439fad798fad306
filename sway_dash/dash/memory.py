"""The server's memory is tidied while nobody waits for it.

Walking through all objects of a large run takes a quarter of a second, and Python would do so in the middle of an
answer. While sessions are open it is done between answers instead.

When the last session has ended its memory goes back to the system, and not only to the next session. Python's allocator
can give back only whole mebibytes in which nothing is left, so part of it stays for the next session. With
``PYTHONMALLOC=malloc`` in the server's environment nearly all returns.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
import time

SETTLE_S = 2.0
"""A session is let go by everything that holds it within so many seconds of its end."""
QUIET_S = 1.0
"""Nobody waits when no browser has said anything for so many seconds."""
SHARE = 0.02
"""At most about so much of the time is spent walking through objects."""
DUE = 10
"""So many collections of younger objects make one of all worth while: Python's own measure."""
LATEST_S = 60.0
"""However much is asked for, objects are looked through so long after they might have been."""
NEVER = 2**30

_open: set[int] = set()
_usual = gc.get_threshold()
_heard = 0.0
_rested = 0.0
"""When all objects may be looked through again."""


def entered(session: object) -> None:
    """Somebody looks at the server."""
    global _rested
    _open.add(id(session))
    _rested = max(_rested, time.monotonic())
    gc.set_threshold(*_usual[:2], NEVER)


def heard() -> None:
    """A browser has asked for something."""
    global _heard
    _heard = time.monotonic()


def tidy() -> None:
    """Free what nothing holds any more, if that is worth while and nobody waits; sessions call it all the time."""
    global _rested
    now = time.monotonic()
    asked = now - _heard < QUIET_S and now < _rested + LATEST_S
    if asked or now < _rested or gc.get_count()[2] < DUE:
        return
    gc.collect()
    end = time.monotonic()
    _rested = end + (end - now) / SHARE


def left(session: object) -> None:
    """Nobody looks through this session any more."""
    _open.discard(id(session))
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    loop.call_later(SETTLE_S, _when_nobody_looks)


def _when_nobody_looks() -> None:
    if not _open:
        gc.set_threshold(*_usual)
        give_back()


def give_back() -> None:
    """Free what nothing holds any more, and hand the free pages to the system."""
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
