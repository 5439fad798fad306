"""Commands for several results: ``compare``, ``diff``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sway_dash.cli.boundary import fenced
from sway_dash.cli.parts.options import DETAILS, Details, Device, Wait

app = typer.Typer()


class CompareFormat(StrEnum):
    """How ``compare`` and ``diff`` print."""

    terminal = "terminal"
    md = "md"
    markdown = "markdown"
    json = "json"
    html = "html"


Format = Annotated[CompareFormat, typer.Option("--format", help="How to print it; html takes 2 to 8 runs.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead.")]
FailOnRegression = Annotated[
    float,
    typer.Option(
        "--fail-on-regression",
        min=0.0,
        metavar="DROP",
        help="Exit with 1 when the last run is worse than its baseline: a score or the composite fell by DROP or more,"
        " a verdict got worse, or a probe was lost (gone, skipped, ended in an error). 0: never.",
    ),
]
Threshold = Annotated[
    float,
    typer.Option(
        "--threshold",
        min=0.0,
        metavar="DIFF",
        help="Difference of scores from which on a probe is shown as improved or regressed; no gate.",
    ),
]
Top = Annotated[int, typer.Option("--top", min=0, metavar="N", help="How many prompts to list of each kind.")]

SHOWN_FROM = 0.10
"""``suite.compare.DEFAULT_REGRESSION_THRESHOLD``, which cannot be imported here."""


@app.command()
@fenced
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN…", help="Run folders, run ids or result files, the oldest first.", show_default=False
        ),
    ],
    format: Format = CompareFormat.terminal,
    out: Out = None,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline",
            metavar="RUN",
            help="What the others stand against: a run, first (the first one named), best (the highest composite but"
            " the last run's), or previous: each run against the one before it. html has one for all: the first.",
            show_default="previous",
        ),
    ] = "",
    fail_on_regression: FailOnRegression = 0.0,
    threshold: Threshold = SHOWN_FROM,
    top: Top = 5,
) -> None:
    """What became better, worse, lost or new between runs?

    \b
    sway-dash compare last-week today --fail-on-regression 0.1
    sway-dash compare results/*.json --baseline best --format md -o compare.md

    Probe by probe and prompt by prompt. Prompts are paired by their text: mean difference with its interval, how many
    moved more, the same (inside the noise floor) or less, and a test whose p is adjusted for all runs and probes
    (Holm). What stands against a comparison, such as another base model, is said first; a verdict that changed comes
    with the reason the probe gave.
    """
    from sway_dash.cli.comparing import Shown, compare_sources

    shown = Shown(format.value, out, threshold=threshold, fail_on=fail_on_regression, top=top)
    raise typer.Exit(compare_sources(runs, baseline=baseline, shown=shown))


@app.command()
@fenced
def diff(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="SPEC | ADAPTER ADAPTER", help="A suite with --a and --b, or two adapters."),
    ],
    a: Annotated[Path | None, typer.Option("--a", metavar="ADAPTER", help="The adapter before.")] = None,
    b: Annotated[Path | None, typer.Option("--b", metavar="ADAPTER", help="The adapter after.")] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="Without a suite: base model; else what the adapters name.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            help="Without a suite: prompts, one a line; .jsonl: the field text or prompt; - reads standard input.",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what an earlier diff or sweep has.")] = False,
    device: Device = None,
    details: Details = DETAILS,
    wait: Wait = True,
    format: Format = CompareFormat.terminal,
    out: Out = None,
    fail_on_regression: FailOnRegression = 0.0,
    threshold: Threshold = SHOWN_FROM,
    top: Top = 5,
) -> None:
    """In what do two adapters of one base differ?

    \b
    sway-dash diff ./monday ./today --prompts questions.txt
    sway-dash diff sway.yaml --a ./monday --b ./today

    Both are measured by the same suite over one loaded base, each as a run of its own that can be opened, resumed and
    compared again. What is shown is what sway-dash compare shows of these two runs, with the reason of every verdict
    that changed.
    """
    from sway_dash.cli.comparing import Shown
    from sway_dash.cli.diffing import asked, diff_adapters

    what = asked(targets, a=a, b=b, base=base, prompts=prompts)
    shown = Shown(format.value, out, threshold=threshold, fail_on=fail_on_regression, top=top)
    raise typer.Exit(diff_adapters(what, device=device, details=details, again=again, wait=wait, shown=shown))
