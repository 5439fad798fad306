"""Looking at what is there: results, traces, runs, kinds of probes. Loads no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sway_dash.cli.boundary import NOTHING, OK, UsageError, complain, note, out_console
from sway_dash.cli.finding import AmbiguousError, find_run
from sway_dash.cli.outputs import STDOUT, check_writable, read_files, tell_written, write_text
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.core.result import SuiteResult, SwayScore
    from sway_dash.probes import Probe
    from sway_dash.suite.gate import Gate
    from sway_dash.suite.store import RunFolder


def show_report(source: str, *, form: str, out: Path | None, redact: str = "full", paths: bool = False) -> int:
    """Render a result file or a run folder again; on a terminal as it is, else what leaves of it."""
    from sway_dash.report.formats import gate_words
    from sway_dash.report.html.redact import checked
    from sway_dash.report.leaving import leaving
    from sway_dash.suite.report import to_json, to_junit, to_markdown, to_terminal

    if form == "terminal" and out is not None:
        raise UsageError("--format terminal does not support --out: choose md, json or junit")
    if out is not None:
        check_writable(out, inputs=read_files([source]))
    result, score = read_result(source)
    path = Path(source).expanduser()
    gate = decision_of(path) if path.is_file() else None
    if form == "terminal":
        to_terminal(result, score, console=out_console())
        if gate is not None:
            typer.echo(f"gate: {gate_words(gate)}")
        return OK
    label, render = {
        "md": ("Markdown", to_markdown),
        "markdown": ("Markdown", to_markdown),
        "json": ("JSON", to_json),
        "junit": ("JUnit", to_junit),
    }[form]
    run = path if path.is_file() or redact == "full" else find_run(source)
    told, rated, decided = leaving(result, score, gate, run=run, redact=checked(redact), paths=paths)
    _deliver(render(told, rated, gate=decided), label, out)
    return OK


def decision_of(path: Path) -> Gate | None:
    """The decision in a result file, if a gate has written one."""
    from sway_dash.report.json_io import load_document
    from sway_dash.suite.gate import Gate

    return Gate.from_dict(load_document(path).get("gate"))


def only_for(form: str, given: Mapping[str, bool]) -> None:
    """``UsageError`` for options that a format does not heed: what was to be left out would be in it."""
    if named := [option for option, is_given in given.items() if is_given]:
        are = "is" if len(named) == 1 else "are"
        if form == "terminal":
            raise UsageError(f"{', '.join(named)} {are} for what leaves: choose --format html, md, json or junit")
        raise UsageError(f"{', '.join(named)} {are} for --format html only")


def read_result(source: str) -> tuple[SuiteResult, SwayScore]:
    """Result and score of a result file, of a run folder, or of a run by its id."""
    from sway_dash.suite.report import load_result

    path = Path(source).expanduser()
    if path.is_dir() or not path.exists():
        try:
            return folder_result(find_run(source))
        except UsageError:
            if path.is_dir() or path.suffix != ".json":
                raise
    return load_result(path)


def folder_result(folder: RunFolder) -> tuple[SuiteResult, SwayScore]:
    """What a run folder holds: its saved result once the run has ended, else the result so far."""
    from sway_dash.suite.execute import folder_spec
    from sway_dash.suite.report import load_result
    from sway_dash.suite.score import compute
    from sway_dash.suite.store import RESULT

    result = folder.result()
    if result.status not in ("running", "interrupted") and (folder.path / RESULT).is_file():
        return load_result(folder.path / RESULT)
    try:
        weights = folder_spec(folder).defaults.score_weights
    except SwayError:
        weights = None
    return result, compute(result, weights=weights)


def show_trace(source: str, *, form: str, slowest: int) -> int:
    """Analyse a trace file or the trace of a run folder; exit code 1 when it holds no events."""
    from sway_dash.suite import trace_analysis as analysis
    from sway_dash.suite.store import TRACE

    path = Path(source).expanduser()
    if path.is_dir() or not path.exists():
        try:
            path = find_run(source).path / TRACE
        except AmbiguousError:
            raise
        except SwayError:
            if path.is_dir():
                path = path / TRACE
            elif path.name == source and not path.suffix:
                raise
    report = analysis.build_report(analysis.read(path), slowest_k=max(slowest, 0))
    if report.total_events == 0:
        skipped = f" ({report.skipped_lines} unreadable lines)" if report.skipped_lines else ""
        complain(f"no events in {path}{skipped}")
        return NOTHING
    if form == "terminal":
        analysis.render_terminal(report, console=out_console())
    elif form == "json":
        typer.echo(analysis.render_json(report))
    else:
        typer.echo(analysis.render_markdown(report), nl=False)
    return OK


def note_plugins() -> None:
    """Say which probes of other packages could not be loaded."""
    import warnings

    with warnings.catch_warnings():
        # Said below, in the words of the command line.
        warnings.simplefilter("ignore", UserWarning)
        from sway_dash.probes.plugins import plugin_problems
    for problem in plugin_problems():
        note(problem)


def summary_of(cls: type[Probe]) -> str:
    """What a probe measures, in one line."""
    import inspect
    import sys

    # The class's own words only: an inherited docstring would describe every probe.
    about = inspect.cleandoc(cls.__doc__ or getattr(sys.modules.get(cls.__module__), "__doc__", None) or "")
    return next((line.strip() for line in about.splitlines() if line.strip()), "no description")


def _deliver(text: str, label: str, out: Path | None) -> None:
    target = STDOUT if out is None else out
    write_text(target, text)
    tell_written(label, target)
