"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

DETAILS = 24
"""``suite.details.LIMIT``, which cannot be imported here."""
