"""Commands around the runs folder and suite files: ``runs``, ``init``, ``mine``, ``serve``."""

from __future__ import annotations

import typer

app = typer.Typer()
