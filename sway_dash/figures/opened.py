"""A run from wherever it is: its folder, a path to it, a result file, or a result in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sway_dash.core.errors import SwayError
from sway_dash.core.events import Event
from sway_dash.core.result import SuiteResult
from sway_dash.figures.derive import RunData
from sway_dash.report.json_io import load_result
from sway_dash.suite.replay import events_of
from sway_dash.suite.status import settled
from sway_dash.suite.store import RESULT, RunFolder

Run = RunFolder | SuiteResult | Path | str
"""What stands for a run: a folder or result file by its path, an opened folder, a result."""


@dataclass(frozen=True)
class OpenedRun:
    """A run as it was when it was opened; what is measured later is not in it."""

    id: str
    name: str
    data: RunData
    alive: bool
    folder: RunFolder | None = None
    """``None`` of a run of which only the result is here."""
    events: tuple[Event, ...] = ()
    """What ``data`` was made from."""

    @cached_property
    def result(self) -> SuiteResult:
        """The result so far."""
        return settled(self.data.result(), alive=self.alive)


def open_run(run: Run) -> OpenedRun:
    """Read a run. ``SwayError`` with one sentence for a path that holds neither a run nor a result."""
    if isinstance(run, SuiteResult):
        return _replayed(run, run.run_id or "result")
    if not isinstance(run, RunFolder):
        path = Path(run).expanduser()
        if not path.exists():
            raise SwayError(f"{path} is not there: give a run folder or a result file")
        if path.is_file():
            result, _ = load_result(path)
            return _replayed(result, result.run_id or path.stem)
        run = RunFolder(path) if (path / RESULT).is_file() else RunFolder.open(path)
    data, events = RunData(), tuple(run.tail().read())
    for event in events:
        data.add(event)
    if data.started is None and (run.path / RESULT).is_file():
        return _replayed(load_result(run.path / RESULT)[0], run.id)
    # A folder may have been copied under another name.
    run_id = (data.started.run_id if data.started else "") or run.id
    return OpenedRun(run_id, str(run.meta().get("name") or run_id), data, run.is_alive(), run, events)


def _replayed(result: SuiteResult, name: str) -> OpenedRun:
    data, events = RunData(), tuple(events_of(result))
    for event in events:
        data.add(event)
    return OpenedRun(result.run_id or name, name, data, alive=result.status == "running", events=events)
