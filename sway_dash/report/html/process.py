"""Asking a module for its command line in a process of its own: Panel changes what Bokeh writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sway_dash.core.errors import SwayError
from sway_dash.core.result import SuiteResult

if TYPE_CHECKING:
    from sway_dash.figures.opened import Run


def ask(module: str, *arguments: str) -> str:
    """What ``python -m module`` prints; ``SwayError`` with its sentence when it fails.

    It takes seconds: not on a loop that serves people.
    """
    # The same source, also where it is not installed.
    source = str(Path(__file__).resolve().parents[3])
    known = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": known, "PYTHONIOENCODING": "utf-8"},
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise SwayError(said[-1] if said else f"the report could not be built (exit code {done.returncode})")
    return done.stdout


def on_disk(run: Run, folder: Path) -> str:
    """Path of a run that another process can read."""
    if isinstance(run, SuiteResult):
        from sway_dash.report.json_io import to_json
        from sway_dash.suite.score import compute

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{run.run_id or 'result'}.json"
        path.write_text(to_json(run, compute(run)), encoding="utf-8")
        return str(path)
    return str(run if isinstance(run, str | Path) else run.path)
