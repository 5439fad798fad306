"""Runs of the command line take their turn on a device, as those of the dashboard do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from sway_dash.cli.boundary import note, os_sentence
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.suite.queue import Standing
    from sway_dash.suite.spec import SwaySpec
    from sway_dash.suite.store import RunFolder

WAITED = "stopped while it waited for its device"


class Turns:
    """The turn of a command that measures adapter after adapter: taken when one is to be measured, and kept.

    A command that finds everything measured waits for nobody.
    """

    def __init__(self, stopped: Callable[[], bool], *, wait: bool) -> None:
        self._stopped, self._wait = stopped, wait
        self._held = ExitStack()
        self._ours = False

    def take(self, spec: SwaySpec, folder: RunFolder, *, device: str | None) -> None:
        """Wait for the devices of a suite, as the run of ``folder``; returns also when that was stopped."""
        from sway_dash.core.events import RunCancelledEvent
        from sway_dash.suite.execute import end, with_device
        from sway_dash.suite.usable import occupied

        if self._ours:
            return
        # The place in line is shown as this run's. Why it cannot be is said when it is to be measured.
        with suppress(SwayError, OSError):
            folder.claim()
        name = str(folder.meta().get("name") or folder.id)
        line = turn(
            occupied(with_device(spec, device)), name=name, run=folder.id, stopped=self._stopped, wait=self._wait
        )
        try:
            self._ours = self._held.enter_context(line)
        except KeyboardInterrupt:
            end(folder, RunCancelledEvent(reason=WAITED))
            raise

    def leave(self) -> None:
        """Let others measure; may be called twice."""
        self._ours = False
        self._held.close()


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
