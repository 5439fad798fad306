"""What state a run is in, from what its events say and whether its process lives: the one rule for every reader."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

from sway_dash.core.result import SuiteResult

Status = Literal["queued", "starting", "running", "finished", "cancelled", "failed", "interrupted"]

LIVE = ("queued", "starting", "running")
"""States in which more is to be expected."""


def status_of(told: str, *, begun: bool, alive: bool, heard: bool = True, waiting: bool = False) -> Status:
    """State of a run.

    Parameters
    ----------
    told
        What its events say (``Fold.status``): running, or how it ended.
    begun
        It has said anything at all.
    alive
        Its process lives.
    heard
        The process that is at work now has said something: what was told is not left from an earlier attempt.
    waiting
        It waits for its device.
    """
    if alive and not heard:
        return "queued" if waiting else "starting"
    if told != "running":
        return cast("Status", told)
    if not alive:
        # It ended without saying so: a crash, a kill.
        return "interrupted"
    return "running" if begun else "starting"


def settled(result: SuiteResult, *, alive: bool) -> SuiteResult:
    """The result with the state of its run; a result knows no state before running."""
    status = status_of(result.status, begun=True, alive=alive)
    return result if status == result.status else replace(result, status=status)
