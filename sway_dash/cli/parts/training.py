"""Commands beside a training run: ``watch``, ``sweep``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sway_dash.cli.boundary import fenced
from sway_dash.cli.parts.options import Device, FailOn, Wait

app = typer.Typer()


class SweepFormat(StrEnum):
    """How ``sweep`` prints its comparison."""

    terminal = "terminal"
    md = "md"
    json = "json"


class WatchFormat(StrEnum):
    """How ``watch`` prints."""

    text = "text"
    json = "json"


Details = Annotated[
    int,
    typer.Option(
        "--details",
        min=0,
        metavar="N",
        help="Keep the N most moved prompts of each adapter token by token; 0 keeps none.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option("--threshold", min=0.0, max=1.0, metavar="SCORE", help="Smallest composite score that passes."),
]


@app.command()
@fenced
def sweep(
    spec: Annotated[Path, typer.Argument(help="The suite file, sway.yaml.", show_default=False)],
    adapters: Annotated[
        list[Path] | None, typer.Argument(metavar="ADAPTER", help="Folders of adapters.", show_default=False)
    ] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--adapters", metavar="DIR", help="Every adapter in this folder and below, checkpoints by step."),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="What to call the sweep; what one of this name has measured is kept.")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last sweep by this suite.")] = False,
    device: Device = None,
    details: Details = 0,
    wait: Wait = True,
    format: Annotated[
        SweepFormat, typer.Option("--format", help="How to print the comparison.")
    ] = SweepFormat.terminal,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write the comparison as one HTML file.")
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", "-j", metavar="FILE", help="Also write one line of JSON for each adapter; - prints them alone."
        ),
    ] = None,
    threshold: Threshold = None,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="Leave with 1 if a probe of some adapter ended so or worse.")
    ] = FailOn.error,
) -> None:
    """Measure many adapters of one base and compare them.

    \b
    sway-dash sweep sway.yaml --adapters out/ --html course.html
    sway-dash sweep sway.yaml lora-r4 lora-r8 lora-r16 --name ranks

    The base is loaded and measured once, so each further adapter costs its own passes alone; every adapter is a run of
    its own with the numbers of a single run. One that cannot be measured does not stop the others. Ctrl-C keeps what is
    done, and the same command with --resume goes on there.
    """
    from sway_dash.cli.sweeping import Asked, sweep_adapters

    asked = Asked(
        name=name,
        resume=resume,
        device=device,
        details=details,
        wait=wait,
        form=format.value,
        html=html,
        json=json,
        fail_on=fail_on.value,
        threshold=threshold,
    )
    raise typer.Exit(sweep_adapters(spec, adapters or [], folders or [], asked))


@app.command()
@fenced
def watch(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT_DIR",
            help="Where a trainer writes checkpoint-<step>, or a suite with dlm_source.",
            show_default=False,
        ),
    ],
    spec: Annotated[Path | None, typer.Option("--spec", help="The suite every checkpoint is measured by.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Measure what is there and leave with the gate's exit code.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, max=86_400, metavar="S", help="Seconds between two looks.")
    ] = 10.0,
    history: Annotated[
        Path | None, typer.Option("--history-dir", metavar="DIR", help="Also keep each result as a JSON file here.")
    ] = None,
    most: Annotated[
        int, typer.Option("--max-history", min=0, metavar="N", help="How many such files are kept; 0: all.")
    ] = 100,
    on_fail: Annotated[
        str,
        typer.Option(
            "--on-fail",
            metavar="CMD",
            help="Run in a shell when an adapter does not pass or cannot be measured; $SWAY_RESULT_PATH and $SWAY_RUN"
            " say where its result lies.",
        ),
    ] = "",
    format: Annotated[
        WatchFormat, typer.Option("--format", help="json: one line for each adapter, nothing else on standard output.")
    ] = WatchFormat.text,
    device: Device = None,
    details: Details = 0,
    wait: Wait = True,
    unload: Annotated[
        bool, typer.Option("--unload", help="Give the memory back between checkpoints; the base is loaded each time.")
    ] = False,
    threshold: Threshold = None,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="An adapter does not pass if a probe ended so or worse.")
    ] = FailOn.fail,
) -> None:
    """Measure each checkpoint of a training once it is written.

    \b
    sway-dash watch out/ --spec sway.yaml --on-fail 'echo $SWAY_RUN >> alarm.txt'
    sway-dash watch out/ --spec sway.yaml --once --format json

    The base stays in memory between checkpoints, and the device is free for other runs: each checkpoint waits for its
    turn. What is measured is known by its content, so a restart measures
    nothing twice. The threshold is that of the suite unless --threshold is given. Ctrl-C or SIGTERM ends it after the
    current batch, with exit code 0.

    With --once the exit code is 0 when every adapter there was measured and passed; 1 when one did not pass, is not
    complete, or there is none; 130 or 143 when Ctrl-C or SIGTERM came first.
    """
    from sway_dash.cli.watching import Asked, watch_target

    asked = Asked(
        history=history,
        most=most,
        on_fail=on_fail,
        once=once,
        interval=interval,
        lines=format is WatchFormat.json,
        device=device,
        details=details,
        wait=wait,
        unload=unload,
        fail_on=fail_on.value,
        threshold=threshold,
    )
    raise typer.Exit(watch_target(target, spec, asked))
