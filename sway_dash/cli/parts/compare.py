"""Commands for several results: ``compare``, ``diff``."""

from __future__ import annotations

import typer

app = typer.Typer()
