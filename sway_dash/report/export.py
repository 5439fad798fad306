"""One way for every file that leaves a run: what is made, what it is called, and what of the run is in it."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sway_dash.core.errors import SwayError, did_you_mean

if TYPE_CHECKING:
    from sway_dash.figures.opened import Run
    from sway_dash.report.html.compare_elsewhere import Asked
    from sway_dash.report.html.redact import Redaction

MEDIA: Final = {
    "html": "text/html",
    "csv": "text/csv",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
}

KINDS: Final = (
    "html",
    "prompts.csv",
    "prompts.jsonl",
    "prompts.parquet",
    "draws.csv",
    "draws.jsonl",
    "draws.parquet",
    "trace",
)
"""What :func:`make` makes: the report, a table and its format, or the trace."""


@dataclass(frozen=True)
class File:
    """A file that is ready to leave."""

    name: str
    kind: str
    """Media type."""
    data: bytes


def make(run: Run, what: str, level: Redaction = "full", *, paths: bool = False) -> File:
    """Make one of :data:`KINDS`. ``SwayError`` for what is no run, no kind or no level, and without pyarrow."""
    from sway_dash.report.html.redact import checked, redacted
    from sway_dash.report.html.source import source_of

    if what not in KINDS:
        raise SwayError(f"{what!r} cannot be exported: {', '.join(KINDS)}.{did_you_mean(what, KINDS)}")
    if what == "html":
        return _report(run, checked(level), paths=paths)
    source = redacted(source_of(run), checked(level), paths=paths)
    data = source.data()
    if what == "trace":
        from sway_dash.suite.chrome_trace import chrome_trace

        steps = [(s.name, s.start, data.fold.last_ts if s.end is None else s.end) for s in data.steps]
        trace = chrome_trace(source.calls, steps, name=f"sway-dash {source.name}")
        text = json.dumps(trace, separators=(",", ":"))
        return File(f"{stem(source.id)}-trace.json", MEDIA["json"], text.encode())
    from sway_dash.figures.opened import OpenedRun
    from sway_dash.report import frames

    table, _, form = what.partition(".")
    opened = OpenedRun(source.id, source.name, data, source.alive)
    frame = frames.measurements(opened) if table == "prompts" else frames.draws(opened)
    content = frames.encode(frame, "csv" if form == "csv" else "jsonl" if form == "jsonl" else "parquet")
    return File(f"{stem(source.id)}-{what}", MEDIA[form], content)


def make_differences(asked: Asked, form: str, level: Redaction = "full") -> File:
    """Make the table of a comparison, see :mod:`sway_dash.report.compared`. ``SwayError`` as of :func:`make`."""
    from sway_dash.report import compared, frames
    from sway_dash.report.html.redact import checked

    known = next((f for f in frames.FORMATS if f == form), None)
    if known is None:
        near = did_you_mean(form, frames.FORMATS)
        raise SwayError(f"{form!r} is no format of a table: {', '.join(frames.FORMATS)}.{near}")
    data = frames.encode(compared.of_runs(asked, checked(level)), known)
    return File(f"comparison-prompts.{form}", MEDIA[form], data)


def _report(run: Run, level: Redaction, *, paths: bool) -> File:
    from sway_dash.figures.opened import open_run
    from sway_dash.report.html.build import write_elsewhere

    name = "run" if level == "numbers" else stem(open_run(run).id)
    with tempfile.TemporaryDirectory(prefix="sway-") as folder:
        path = write_elsewhere(run, Path(folder) / "report.html", redact=level, paths=paths)
        return File(f"{name}-report.html", MEDIA["html"], path.read_bytes())


def stem(run_id: str) -> str:
    """Beginning of a file's name: the run's id, of letters that every disk takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).strip("-.") or "run"


def moment(ts: float) -> str:
    """A Unix time for readers anywhere: ``2026-01-31 12:00 UTC``."""
    return f"{datetime.fromtimestamp(ts, UTC):%Y-%m-%d %H:%M} UTC"
