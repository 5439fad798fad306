"""Writing what runs measured: tables and traces for other programs, comparisons for people. Loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sway_dash.cli.boundary import OK, UsageError
from sway_dash.cli.finding import AmbiguousError, find_run
from sway_dash.cli.outputs import STDOUT, check_writable, read_files, tell_written, write_bytes, write_text
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.suite.store import RunFolder


def find_source(name: str) -> Path | RunFolder:
    """A result file, a run folder, or a run by its id."""
    path = Path(name).expanduser()
    return path if path.is_file() else find_run(name)


def export_run(source: str, *, form: str, out: Path | None, draws: bool, redact: str, paths: bool) -> int:
    """Write a run's prompts, its null draws or its trace; text goes to standard output without ``out``."""
    from sway_dash.report.export import make
    from sway_dash.report.html.redact import checked

    if form == "parquet" and out is None:
        raise UsageError("Parquet is no text: give --out FILE")
    if draws and form == "trace":
        raise UsageError("--draws chooses a table, and --format trace writes none")
    if out is not None:
        check_writable(out, inputs=read_files([source]))
    what = form if form == "trace" else f"{'draws' if draws else 'prompts'}.{form}"
    file = make(find_source(source), what, checked(redact), paths=paths)
    target = STDOUT if out is None else out
    write_bytes(target, file.data)
    tell_written(form, target)
    return OK


def export_differences(
    sources: Sequence[str], *, form: str, baseline: str, out: Path | None, draws: bool, redact: str, paths: bool
) -> int:
    """Write what 2 to 8 runs differ by from one of them, prompt by prompt."""
    from sway_dash.report.export import make_differences
    from sway_dash.report.html.compare_elsewhere import Asked
    from sway_dash.report.html.redact import checked

    if draws or form == "trace":
        raise UsageError(f"{'--draws' if draws else '--format trace'} is of one run, and {len(sources)} are given")
    if form == "parquet" and out is None:
        raise UsageError("Parquet is no text: give --out FILE")
    if out is not None:
        check_writable(out, inputs=read_files(sources))
    places = [_place(find_source(source)) for source in sources]
    at = _index(baseline, sources, places) if baseline else 0
    file = make_differences(Asked(places, baseline=at, paths=paths), form, checked(redact))
    target = STDOUT if out is None else out
    write_bytes(target, file.data)
    tell_written(form, target)
    return OK


def track_run(source: str, *, tracker: str, out: Path | None, redact: str, paths: bool) -> int:
    """Log a run to a tracker of experiments and say where it is there."""
    from sway_dash.integrations.trackers import log_result
    from sway_dash.report.html.redact import checked

    typer.echo(log_result(find_source(source), tracker, redact=checked(redact), paths=paths, folder=out))
    return OK


def compare_runs(
    sources: Sequence[str], *, baseline: str, out: Path | None, redact: str, paths: bool, preview: bool
) -> int:
    """Write 2 to 8 runs against one of them as one HTML file, or the first lines of what would leave."""
    from sway_dash.report.html import compare
    from sway_dash.report.html.redact import checked

    level = checked(redact)
    runs = [find_source(source) for source in sources]
    at = _index(baseline, sources, [_place(run) for run in runs]) if baseline else 0
    if preview:
        typer.echo(compare.preview(runs, level, baseline=at, paths=paths))
        return OK
    if out is None:
        raise UsageError("--format html writes a file: add --out comparison.html")
    check_writable(out, inputs=read_files(sources))
    text = compare.compare_html(runs, baseline=at, redact=level, paths=paths)
    write_text(out, text)
    tell_written("comparison", out)
    return OK


def _index(baseline: str, sources: Sequence[str], places: Sequence[Path]) -> int:
    try:
        return places.index(_place(find_source(baseline)))
    except AmbiguousError:
        raise
    except (SwayError, ValueError):
        named = ", ".join(sources)
        raise UsageError(f"--baseline {baseline}: it is none of the runs, {named}") from None


def _place(run: Path | RunFolder) -> Path:
    from sway_dash.suite.run_comparison import place_of

    return place_of(run if isinstance(run, Path) else run.path)
