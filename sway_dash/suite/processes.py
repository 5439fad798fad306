"""Whether a process that once put its number into a file is still there. Knows this machine only."""

from __future__ import annotations

import os
import socket

import psutil

CLOCK_SLACK_S = 5.0
"""Start times of processes are rounded, and clocks are set."""


def this_host() -> str:
    """Name of this machine, as it is put beside process numbers."""
    return socket.gethostname()


def is_alive(pid: object, *, since: object, host: object) -> bool:
    """Whether process ``pid`` of ``host`` still runs. ``since``: when it wrote its number down, Unix seconds."""
    if not isinstance(pid, int) or isinstance(pid, bool) or host != this_host():
        return False
    try:
        process = psutil.Process(pid)
        # A process that began later has only inherited the number.
        reused = isinstance(since, int | float) and process.create_time() > since + CLOCK_SLACK_S
        return not reused and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True


def started_at(pid: int | None = None) -> float:
    """When a process began (this one without a number), Unix seconds; 0 if it is not there."""
    try:
        return psutil.Process(pid or os.getpid()).create_time()
    except (psutil.Error, ValueError):
        return 0.0


def memory(pid: int) -> int | None:
    """Bytes of main memory a process holds; ``None`` if it is not there or not ours to ask."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, ValueError):
        return None
