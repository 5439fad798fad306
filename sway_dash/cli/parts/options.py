"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class FailOn(StrEnum):
    """What fails a gate; ``suite.gate.FailOn``, which cannot be imported here."""

    never = "never"
    error = "error"
    fail = "fail"
    warn = "warn"


JsonOut = Annotated[
    Path | None, typer.Option("--json", "-j", metavar="FILE", help="Also write the result as JSON; - prints it alone.")
]
MarkdownOut = Annotated[
    Path | None, typer.Option("--markdown", "-m", metavar="FILE", help="Also write the report as Markdown.")
]
JunitOut = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Also write the verdicts as JUnit XML.")]
TraceOut = Annotated[
    Path | None, typer.Option("--trace", metavar="FILE", help="Also write every scoring call, one line of JSON each.")
]
Name = Annotated[str, typer.Option("--name", help="What to call the run.")]
Weights = Annotated[
    str | None, typer.Option("--weights", help="Category weights over the defaults: adherence=0.4,ablation=0.1")
]
ExitOn = Annotated[
    FailOn,
    typer.Option("--fail-on", help="Leave with 1 if a probe ended so or worse, or the run did not reach its end."),
]
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

Wait = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait",
        help="Wait for a run that measures on the device now, or measure beside it.",
        show_default=False,
    ),
]

DETAILS = 24
"""``suite.details.LIMIT``, which cannot be imported here."""
