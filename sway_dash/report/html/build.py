"""Builds the report of one run. ``python -m sway_dash.report.html.build RUN -o report.html`` does it in a process of
its own, which is what a process that has imported Panel must do: Panel changes what Bokeh writes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sway_dash.core.errors import SwayError
from sway_dash.core.files import write_whole
from sway_dash.core.result import SuiteResult
from sway_dash.figures.derive import RunData
from sway_dash.figures.theme import esc, visible
from sway_dash.report.html import drawn, drawn_trace, sections
from sway_dash.report.html.contents import contents
from sway_dash.report.html.evidence import evidence
from sway_dash.report.html.page import page
from sway_dash.report.html.parts import heading, section
from sway_dash.report.html.process import ask, on_disk
from sway_dash.report.html.prompts_section import prompts
from sway_dash.report.html.redact import LEVELS, WORDS, Redaction, checked, redacted
from sway_dash.report.html.source import Source, source_of
from sway_dash.suite.status import settled

if TYPE_CHECKING:
    from sway_dash.figures.opened import Run

SCRIPTS = ("prompts.js", "tokens.js", "report.js", "evidence.js")


def report_html(run: Run, *, redact: Redaction = "full", paths: bool = False) -> str:
    """One self-contained HTML page of a run: the same run gives the same bytes.

    Where this process has imported Panel another one does the work.

    Parameters
    ----------
    run
        A run folder, a path to one or to a result file, or a result.
    redact
        What is left out; see :mod:`sway_dash.report.html.redact`.
    paths
        Keep paths and the name of the user, which otherwise never leave.
    """
    level = checked(redact)
    if "panel" in sys.modules:
        with tempfile.TemporaryDirectory() as folder:
            made = write_elsewhere(run, Path(folder) / "report.html", redact=redact, paths=paths)
            return made.read_text(encoding="utf-8")
    return _render(redacted(source_of(run), level, paths=paths), level)


def _render(source: Source, level: Redaction) -> str:
    data = source.data()
    result = settled(data.result(), alive=source.alive)
    out = drawn.Drawn()
    measured = any(s.rows for s in data.series.values()) or bool(data.fold.failed_items)
    if measured:
        drawn.prompts(data, out)
    drawn.strength(data, out)
    entries = drawn.null(data, out)
    time = drawn_trace.trace(data, out)
    found, tables = evidence(result, out)
    parts = [
        ("answer", "Answer", sections.answer(result, data, out), ""),
        ("prompts", "Prompts", prompts(data, out) if measured else sections.no_prompts(), ""),
        ("probes", "Probes", sections.probes(result), ""),
        ("evidence", "Evidence", found, ""),
        ("strength", "Adapter strength", sections.strength(data, out), ""),
        ("null", "Random adapters", sections.null(data, out, entries), ""),
        ("trace", "Time and cache", time, "screen"),
        ("run", "Run", _run(result, data, source), ""),
    ]
    kept = [part for part in parts if part[2]]
    body = "".join(section(name, title, html, css_class=css_class) for name, title, html, css_class in kept)
    about = f"Snapshot of run {visible(source.id)}, {sections.stamp(result.started_at)} · {WORDS[level]}"
    return page(
        visible(source.name),
        body,
        out.figures,
        {
            "words": out.words,
            "prompts": contents(data, source.details if measured else ()),
            "evidence": tables,
        },
        scripts=SCRIPTS,
        kicker=about,
        nav=[(name, title) for name, title, _, _ in kept],
    )


def _run(result: SuiteResult, data: RunData, source: Source) -> str:
    suite = sections.spec(source.spec)
    left = f"<div>{heading('Environment')}{sections.environment(result, data)}</div>"
    right = f"<div>{heading('How it was measured')}{sections.methods(result, data)}</div>"
    warned = "".join(f"<li>{esc(text)}</li>" for text in result.warnings)
    right += f"<div>{heading('Warnings')}<ul class='notes'>{warned}</ul></div>" if warned else ""
    right += f"<div class='screen'>{heading('Suite')}{suite}</div>" if suite else ""
    return f'<div class="two"><div>{left}</div><div class="stack">{right}{sections.folded_log(data)}</div></div>'


def write(run: Run, path: Path | str, *, redact: Redaction = "full", paths: bool = False) -> Path:
    """Write the report (see :func:`report_html`) to a file and return its path.

    ``SwayError`` for what is no run or no redaction; ``OSError`` where the file cannot be written.
    """
    path = Path(path).expanduser()
    text = report_html(run, redact=redact, paths=paths)
    write_whole(path, text)
    return path


def write_elsewhere(run: Run, path: Path | str, *, redact: Redaction = "full", paths: bool = False) -> Path:
    """The same in a process of its own. It takes a second or two: not on a loop that serves people."""
    path = Path(path).expanduser().resolve()
    with tempfile.TemporaryDirectory() as folder:
        command = [on_disk(run, Path(folder)), "-o", str(path), "--redact", redact, *(["--paths"] if paths else [])]
        ask("sway_dash.report.html.build", *command)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a report from the command line of this module; the exit code."""
    parser = argparse.ArgumentParser(prog="sway_dash.report.html.build", description="Write a run as one HTML file.")
    parser.add_argument("run", help="a run folder or a result file")
    parser.add_argument("-o", "--out", required=True, help="where to write it")
    parser.add_argument("--redact", default="full", choices=LEVELS)
    parser.add_argument("--paths", action="store_true", help="keep paths and the name of the user")
    given = parser.parse_args(arguments)
    try:
        text = report_html(given.run, redact=given.redact, paths=given.paths)
        write_whole(given.out, text)
    except (SwayError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
