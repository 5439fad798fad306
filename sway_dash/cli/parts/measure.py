"""Commands that measure: ``run``, ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sway_dash.cli.boundary import fenced
from sway_dash.cli.parts.options import (
    DETAILS,
    Details,
    Device,
    ExitOn,
    FailOn,
    JsonOut,
    JunitOut,
    MarkdownOut,
    Name,
    TraceOut,
    Wait,
    Weights,
)

app = typer.Typer()


@app.command()
@fenced
def run(
    spec: Annotated[Path | None, typer.Argument(help="The suite file, sway.yaml.", show_default=False)] = None,
    json: JsonOut = None,
    markdown: MarkdownOut = None,
    junit: JunitOut = None,
    trace: TraceOut = None,
    weights: Weights = None,
    device: Device = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a stopped run: its folder or id.")
    ] = None,
    name: Name = "",
    details: Details = DETAILS,
    wait: Wait = True,
    fail_on: ExitOn = FailOn.never,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the suite and show its plan.")] = False,
) -> None:
    """Measure what a suite file asks for and report it.

    \b
    sway-dash run sway.yaml
    sway-dash run sway.yaml --fail-on fail --junit junit.xml
    sway-dash run --resume RUN

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
        wait=wait,
        fail_on=fail_on.value,
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
        Path | None,
        typer.Option(
            "--prompts", help="Prompts, one a line; .jsonl: the field text or prompt; - reads standard input."
        ),
    ] = None,
    device: Device = None,
    details: Details = DETAILS,
    wait: Wait = True,
    name: Name = "",
    json: JsonOut = None,
    markdown: MarkdownOut = None,
    junit: JunitOut = None,
    trace: TraceOut = None,
    fail_on: ExitOn = FailOn.never,
) -> None:
    """Does an adapter change its base model? Needs no suite file.

    \b
    sway-dash check ./adapter
    sway-dash check ./adapter --base org/model --prompts prompts.txt --fail-on fail
    """
    from sway_dash.cli.commands import check_adapter
    from sway_dash.cli.outputs import Outputs

    code = check_adapter(
        adapter,
        base=base,
        prompts=prompts,
        device=device,
        outputs=Outputs(json=json, markdown=markdown, junit=junit, trace=trace),
        details=details,
        wait=wait,
        name=name,
        fail_on=fail_on.value,
    )
    raise typer.Exit(code)
