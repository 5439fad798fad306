"""The command for CI: ``gate``."""

from __future__ import annotations

import typer

app = typer.Typer()
