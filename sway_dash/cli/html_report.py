"""``sway-dash report --format html``: one file that travels."""

from __future__ import annotations

from pathlib import Path

import typer

from sway_dash.cli.boundary import OK, UsageError
from sway_dash.cli.finding import find_run
from sway_dash.cli.outputs import check_writable, read_files, tell_written, write_bytes


def show_html(source: str, *, out: Path | None, redact: str, paths: bool, preview: bool) -> int:
    """Write the HTML report of a run or result; or print what would leave with it."""
    from sway_dash.report.html import build
    from sway_dash.report.html import redact as hiding

    run = _found(source)
    level = hiding.checked(redact)
    if preview:
        from sway_dash.report.html.first_lines import preview as shown_first

        typer.echo(shown_first(run, level, paths=paths))
        return OK
    if out is None:
        raise UsageError("--format html writes a file: name it with --out report.html")
    check_writable(out, inputs=read_files([source]))
    text = build.report_html(run, redact=level, paths=paths).encode()
    write_bytes(out, text)
    tell_written(f"HTML ({len(text) / 1e6:.1f} MB, {hiding.WORDS[level]})", out)
    return OK


def _found(source: str) -> Path:
    """Path of a result file, of a run folder, or of a run by its id."""
    path = Path(source).expanduser()
    return path if path.is_file() else find_run(source).path
