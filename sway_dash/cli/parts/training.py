"""Commands beside a training run: ``watch``, ``sweep``."""

from __future__ import annotations

import typer

app = typer.Typer()
