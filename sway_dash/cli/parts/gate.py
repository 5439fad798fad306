"""The command for CI: ``gate``."""

from __future__ import annotations

from typing import Annotated

import typer

from sway_dash.cli.boundary import fenced
from sway_dash.cli.parts.options import (
    DETAILS,
    Details,
    Device,
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
def gate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SUITE|RUN", help="A suite file to measure; or a run or result.json to judge.", show_default=False
        ),
    ],
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=0.0,
            max=1.0,
            metavar="SCORE",
            help="Smallest overall score that passes; else the suite's coverage_threshold.",
            show_default=False,
        ),
    ] = None,
    fail_on: Annotated[FailOn, typer.Option("--fail-on", help="The mildest verdict that fails the gate.")] = (
        FailOn.fail
    ),
    allow_errors: Annotated[
        bool, typer.Option("--allow-errors", help="Let probes that could not be measured pass, if others were.")
    ] = False,
    json: JsonOut = None,
    markdown: MarkdownOut = None,
    junit: JunitOut = None,
    trace: TraceOut = None,
    weights: Weights = None,
    device: Device = None,
    name: Name = "",
    details: Details = DETAILS,
    wait: Wait = True,
) -> None:
    """Is an adapter good enough? The exit code is 1 if it is not.

    \b
    sway-dash gate sway.yaml --junit junit.xml
    sway-dash gate RUN --threshold 0.7 --fail-on warn

    It fails on a failed probe, an overall score below the threshold, a probe or a model that could not be measured, a
    run that did not reach its end, and where nothing was scored. The last line names every reason.
    """
    from sway_dash.cli.commands import weights_over_defaults
    from sway_dash.cli.gating import run_gate
    from sway_dash.cli.outputs import Outputs

    code = run_gate(
        source,
        threshold=threshold,
        fail_on=fail_on.value,
        allow_errors=allow_errors,
        outputs=Outputs(json=json, markdown=markdown, junit=junit, trace=trace),
        weights=weights_over_defaults(weights),
        device=device,
        name=name,
        details=details,
        wait=wait,
    )
    raise typer.Exit(code)
