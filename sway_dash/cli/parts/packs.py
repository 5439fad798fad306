"""Commands that move a suite: ``pack``, ``unpack``."""

from __future__ import annotations

import typer

app = typer.Typer()
