"""Names, options and help texts of the commands; what they do is in the modules beside this one.

Nothing but typer is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sway_dash import __version__
from sway_dash.cli.boundary import fenced

app = typer.Typer(
    name="sway-dash",
    help="Did the adapter change the model? Differential testing of fine-tuned language models.",
    no_args_is_help=True,
    # Markup would be looked for in error messages and help, too: what users type stays what it is.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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


class Redacted(StrEnum):
    """What of a run leaves; ``report.html.redact.LEVELS``, which cannot be imported here."""

    full = "full"
    no_generations = "no-generations"
    no_prompts = "no-prompts"
    numbers = "numbers"


JsonOut = Annotated[Path | None, typer.Option("--json", "-j", help="Also write the result as JSON.")]
MarkdownOut = Annotated[Path | None, typer.Option("--markdown", "-m", help="Also write the report as Markdown.")]
JunitOut = Annotated[Path | None, typer.Option("--junit", help="Also write the verdicts as JUnit XML.")]
Details = Annotated[
    int,
    typer.Option(
        "--details",
        min=0,
        metavar="N",
        help="Keep the N most moved prompts token by token, which takes 2 N short generations; 0 keeps none.",
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps, for both models.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sway {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Did the adapter change the model? Differential testing of fine-tuned language models."""


DETAILS = 24
"""``suite.details.LIMIT``, which cannot be imported here."""


@app.command()
@fenced
def run(
    spec: Annotated[Path | None, typer.Argument(help="The suite file, sway.yaml.", show_default=False)] = None,
    json: JsonOut = None,
    markdown: MarkdownOut = None,
    junit: JunitOut = None,
    trace: Annotated[Path | None, typer.Option("--trace", help="Write every scoring call, one JSON a line.")] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Category weights over the defaults: adherence=0.4,ablation=0.1")
    ] = None,
    device: Device = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a stopped run: its folder or id.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What to call the run.")] = "",
    details: Details = DETAILS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the suite and show its plan.")] = False,
) -> None:
    """Measure what a suite file asks for and report it.

    Results go to a run folder (below $SWAY_RUNS_DIR, else ~/sway-runs) before anything else is written. Ctrl-C stops
    after the current batch and keeps what was measured; a second one stops at once.
    """
    from sway_dash.cli.commands import run_suite, weights_over_defaults
    from sway_dash.cli.outputs import Outputs

    code = run_suite(
        spec,
        outputs=Outputs(json=json, markdown=markdown, junit=junit, trace=trace),
        weights=weights_over_defaults(weights),
        device=device,
        resume=resume,
        name=name,
        dry_run=dry_run,
        details=details,
    )
    raise typer.Exit(code)


@app.command()
@fenced
def check(
    adapter: Annotated[Path, typer.Argument(help="Folder of the adapter.", show_default=False)],
    base: Annotated[
        str | None, typer.Option("--base", help="Base model, a hub id or a folder; else what the adapter names.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="Prompts, one a line; .jsonl: the field text or prompt.")
    ] = None,
    device: Device = None,
    details: Details = DETAILS,
    json: JsonOut = None,
    markdown: MarkdownOut = None,
    junit: JunitOut = None,
) -> None:
    """Say in a minute whether an adapter changes its base model, without a suite file."""
    from sway_dash.cli.commands import check_adapter
    from sway_dash.cli.outputs import Outputs

    outputs = Outputs(json=json, markdown=markdown, junit=junit)
    code = check_adapter(adapter, base=base, prompts=prompts, device=device, outputs=outputs, details=details)
    raise typer.Exit(code)


@app.command()
@fenced
def trace(
    file: Annotated[str, typer.Argument(help="A trace file, a run folder or a run id.", show_default=False)],
    format: Annotated[TraceFormat, typer.Option("--format", help="How to print it.")] = TraceFormat.terminal,
    slowest: Annotated[int, typer.Option("--slowest", help="How many of the slowest calls to list.")] = 10,
) -> None:
    """Show where the time of a run went and what its cache saved."""
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
    redact: Annotated[Redacted, typer.Option("--redact", help="HTML: what leaves.")] = Redacted.full,
    paths: Annotated[bool, typer.Option("--paths", help="HTML: keep paths and user names.")] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="HTML: print the first lines of what would leave, and write nothing.")
    ] = False,
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="RUN", help="HTML of several runs: the one the others stand against.")
    ] = "",
) -> None:
    """Show the report of a result that was saved earlier.

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
    from sway_dash.cli.reading import show_report

    raise typer.Exit(show_report(result, form=format.value, out=out))


@app.command()
@fenced
def export(
    run: Annotated[str, typer.Argument(help="A run folder, a run id or a result.json.", show_default=False)],
    format: Annotated[
        ExportFormat, typer.Option("--format", help="A table, or the trace for Perfetto.")
    ] = ExportFormat.csv,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead.")] = None,
    draws: Annotated[bool, typer.Option("--draws", help="One row a null draw and prompt, not one a prompt.")] = False,
    redact: Annotated[Redacted, typer.Option("--redact", help="What leaves: texts, or numbers only.")] = Redacted.full,
    paths: Annotated[bool, typer.Option("--paths", help="Keep paths and user names.")] = False,
) -> None:
    """Write what a run measured for other programs: prompts, null draws, or the trace.

    Every number keeps all its digits. In CSV an apostrophe stands before a text that a spreadsheet would run.
    """
    from sway_dash.cli.exporting import export_run

    code = export_run(run, form=format.value, out=out, draws=draws, redact=redact.value, paths=paths)
    raise typer.Exit(code)


@app.command("list-probes")
@fenced
def list_probes() -> None:
    """List the kinds of probes a suite can ask for."""
    from sway_dash.cli.reading import note_plugins, probe_lines

    note_plugins()
    for line in probe_lines():
        typer.echo(line)


@app.command()
@fenced
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is installed."""
    from sway_dash.cli.doctor import describe, diagnose

    facts = diagnose()
    if json:
        import json as encoder

        typer.echo(encoder.dumps(facts, indent=2))
        return
    for line in describe(facts):
        typer.echo(line)


def main() -> None:
    """Entry point of ``sway-dash``."""
    app(prog_name="sway-dash")


if __name__ == "__main__":
    main()
