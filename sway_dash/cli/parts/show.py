"""Commands that show what was measured: ``trace``, ``report``, ``export``; and ``list-probes``, ``doctor``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sway_dash.cli.boundary import fenced

app = typer.Typer()


class TraceFormat(StrEnum):
    """How ``trace`` prints."""

    terminal = "terminal"
    md = "md"
    markdown = "markdown"
    json = "json"


class ReportFormat(StrEnum):
    """How ``report`` prints."""

    terminal = "terminal"
    md = "md"
    markdown = "markdown"
    json = "json"
    junit = "junit"
    html = "html"


class ExportFormat(StrEnum):
    """What ``export`` writes."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"
    trace = "trace"


class Tracker(StrEnum):
    """Where ``export --to`` logs a run."""

    mlflow = "mlflow"
    wandb = "wandb"
    tensorboard = "tensorboard"


class Redacted(StrEnum):
    """What of a run leaves; ``report.html.redact.LEVELS``, which cannot be imported here."""

    full = "full"
    no_generations = "no-generations"
    no_prompts = "no-prompts"
    numbers = "numbers"


@app.command()
@fenced
def trace(
    file: Annotated[str, typer.Argument(help="A trace file, a run folder or a run id.", show_default=False)],
    format: Annotated[TraceFormat, typer.Option("--format", help="How to print it.")] = TraceFormat.terminal,
    slowest: Annotated[
        int, typer.Option("--slowest", max=10_000, help="How many of the slowest calls to list; 0 or less: none.")
    ] = 10,
) -> None:
    """Where did the time of a run go, and what did its cache save?

    \b
    sway-dash trace RUN
    sway-dash trace trace.jsonl --format md --slowest 20
    """
    from sway_dash.cli.reading import show_trace

    raise typer.Exit(show_trace(file, form=format.value, slowest=slowest))


@app.command()
@fenced
def report(
    results: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="A result.json, a run folder or a run id; several: HTML compares them."),
    ],
    format: Annotated[ReportFormat, typer.Option("--format", help="How to print it.")] = ReportFormat.terminal,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead.")] = None,
    redact: Annotated[Redacted, typer.Option("--redact", help="What leaves.")] = Redacted.full,
    paths: Annotated[bool, typer.Option("--paths", help="Keep paths and user names.")] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="HTML: print the first lines of what would leave, and write nothing.")
    ] = False,
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="RUN", help="HTML of several runs: the one the others stand against.")
    ] = "",
) -> None:
    """Show the report of a run, or of several beside each other.

    \b
    sway-dash report RUN --format md
    sway-dash report RUN --format html -o report.html --redact no-prompts

    --format html writes one file that needs neither Python nor a network; of 2 to 8 runs it compares them with the
    first, or with --baseline.
    """
    if len(results) > 1 or baseline:
        from sway_dash.cli.exporting import compare_runs

        if format is not ReportFormat.html:
            raise typer.BadParameter("several runs are compared by --format html", param_hint="RUN")
        code = compare_runs(results, baseline=baseline, out=out, redact=redact.value, paths=paths, preview=preview)
        raise typer.Exit(code)
    result = results[0]
    if format is ReportFormat.html:
        from sway_dash.cli.html_report import show_html

        raise typer.Exit(show_html(result, out=out, redact=redact.value, paths=paths, preview=preview))
    from sway_dash.cli.reading import only_for, show_report

    hiding = {"--redact": redact is not Redacted.full, "--paths": paths} if format is ReportFormat.terminal else {}
    only_for(format.value, {**hiding, "--preview": preview})
    raise typer.Exit(show_report(result, form=format.value, out=out, redact=redact.value, paths=paths))


@app.command()
@fenced
def export(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN", help="A run folder, a run id or a result.json; several: differences.", show_default=False
        ),
    ],
    format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="A table, or the trace for Perfetto.", show_default=ExportFormat.csv.value),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead.")] = None,
    draws: Annotated[bool, typer.Option("--draws", help="One row a null draw and prompt, not one a prompt.")] = False,
    redact: Annotated[Redacted, typer.Option("--redact", help="What leaves: texts, or numbers only.")] = Redacted.full,
    paths: Annotated[bool, typer.Option("--paths", help="Keep paths and user names.")] = False,
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="RUN", help="Of several runs the one the others stand against.")
    ] = "",
    to: Annotated[
        Tracker | None, typer.Option("--to", help="Log to a tracker instead; --out: TensorBoard's folder.")
    ] = None,
) -> None:
    """Write what a run measured for other programs.

    \b
    sway-dash export RUN -o prompts.csv
    sway-dash export RUN --format trace -o trace.json
    sway-dash export RUN OTHER -o differences.csv
    sway-dash export RUN --to mlflow

    A table of prompts or null draws, the trace for Perfetto, or the whole run into a tracker; of 2 to 8 runs what each
    differs by from the first, or from --baseline, prompt by prompt. Every number keeps all its digits. In CSV an
    apostrophe stands before a text that a spreadsheet would run.
    """
    run, several = runs[0], len(runs) > 1 or bool(baseline)
    if to is not None:
        from sway_dash.cli.exporting import track_run

        if several:
            raise typer.BadParameter(f"one run goes to {to.value}: name them one by one", param_hint="RUN")
        given = {"--draws": draws, "--format": format is not None, "--out": out and to is not Tracker.tensorboard}
        if extra := [option for option, is_given in given.items() if is_given]:
            said = f"{', '.join(extra)} {'is' if len(extra) == 1 else 'are'} for a file"
            raise typer.BadParameter(
                f"{said}, and a whole run goes to {to.value}: leave out one of the two", param_hint="--to"
            )
        raise typer.Exit(track_run(run, tracker=to.value, out=out, redact=redact.value, paths=paths))
    form = ExportFormat.csv if format is None else format
    if several:
        from sway_dash.cli.exporting import export_differences

        code = export_differences(
            runs, form=form.value, baseline=baseline, out=out, draws=draws, redact=redact.value, paths=paths
        )
        raise typer.Exit(code)
    from sway_dash.cli.exporting import export_run

    code = export_run(run, form=form.value, out=out, draws=draws, redact=redact.value, paths=paths)
    raise typer.Exit(code)


@app.command("list-probes")
@fenced
def list_probes(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="One of them: its settings and an example.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Which probes can a suite ask for, and what can one be told?

    \b
    sway-dash list-probes
    sway-dash list-probes delta_kl

    Without KIND a line each says what they measure; with it come its settings with type, default and meaning, and an
    entry to start from.
    """
    from sway_dash.cli.reading import note_plugins

    note_plugins()
    from sway_dash.cli.probe_kinds import show_kind, show_kinds

    raise typer.Exit(show_kinds(as_json=json) if kind is None else show_kind(kind, as_json=json))


@app.command()
@fenced
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is installed here, and what is it needed for?

    \b
    sway-dash doctor
    sway-dash doctor --json
    """
    from sway_dash.cli.doctor import describe, diagnose

    facts = diagnose()
    if json:
        import json as encoder

        typer.echo(encoder.dumps(facts, indent=2))
        return
    for line in describe(facts):
        typer.echo(line)
