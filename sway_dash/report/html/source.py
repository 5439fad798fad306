"""What a report is made from: what a run has written, as records that can be redacted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sway_dash.core.detail import PromptDetail
from sway_dash.core.events import Event, Measurement
from sway_dash.figures.derive import RunData
from sway_dash.suite.trace_file import TraceEvent, read

if TYPE_CHECKING:
    from sway_dash.figures.opened import Run

TRACE = "trace.jsonl"


@dataclass(frozen=True)
class Source:
    """A run as it was when it was read; redaction makes another of these."""

    id: str
    name: str
    events: tuple[Event, ...]
    calls: tuple[TraceEvent, ...] = ()
    details: tuple[PromptDetail, ...] = ()
    """Prompts token by token, under the tuned view, in the order they were measured."""
    spec: str = ""
    """The suite as text; empty where it is not known or does not leave."""
    alive: bool = False
    path: Path | None = None
    """Where the run lies on this machine; never part of a report."""

    def data(self) -> RunData:
        """The same, ready to be drawn."""
        data = RunData()
        for event in self.events:
            data.add(event)
        for call in self.calls:
            data.calls.add(call)
        return data


def source_of(run: Run) -> Source:
    """Read a run folder, a path to one or to a result file, or a result. ``SwayError`` for what is no run."""
    from sway_dash.figures.opened import open_run

    opened = open_run(run)
    folder = opened.folder
    if folder is None:
        return Source(opened.id, opened.name, opened.events, alive=opened.alive)
    events = opened.events
    kept = folder.details()
    prompts = dict.fromkeys(m.prompt for m in events if isinstance(m, Measurement) and m.role == "probe")
    found = [detail for prompt in (prompts if kept.keys() else ()) if (detail := kept.find(prompt)) is not None]
    trace = folder.path / TRACE
    try:
        spec = folder.spec_text()
    except Exception:  # a run without its suite is still a run
        spec = ""
    calls = tuple(read(trace)) if trace.is_file() else ()
    return Source(opened.id, opened.name, events, calls, tuple(found), spec, opened.alive, folder.path)
