"""Runs of the command line take their turn on a device, as those of the dashboard do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sway_dash.cli.boundary import note, os_sentence
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.suite.queue import Standing


@contextmanager
def turn(
    devices: Sequence[str], *, name: str, run: str = "", stopped: Callable[[], bool] = lambda: False, wait: bool = True
) -> Iterator[bool]:
    """Have the devices until the block ends, after whoever measures on them now; False if stopped before.

    Without ``wait`` nothing is taken. Where no place in line can be written down nobody is waited for either: a run
    that would stand alone must not fail for it.
    """
    from sway_dash.suite import queue

    if not wait:
        yield True
        return
    with ExitStack() as stack:
        try:
            line = queue.turn(devices, run=run, name=name, cancelled=stopped, waiting=_tell)
            ours = stack.enter_context(line)
        except (SwayError, OSError) as error:
            # The folder of runs may be shared: somebody else's lock file, or a disk that is full.
            why = f"cannot get in line: {os_sentence(error)}" if isinstance(error, OSError) else error
            note(f"{why}; measuring without waiting for others")
            ours = True
        yield ours


def _tell(standing: Standing) -> None:
    who = ", then ".join(f"{p.name or p.run or 'another process'} (process {p.pid})" for p in standing.before)
    note(f"waiting for {standing.device}, which {who or 'another process'} has; --no-wait measures beside it")
