"""Python in a process of its own, which has loaded nothing that a test has loaded before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]

REPORT = "\nimport sys\nprint('loaded:', *sorted(set({names!r}) & sys.modules.keys()))\n"


def loaded(code: str, names: Iterable[str], *args: str | Path, **env: str) -> list[str]:
    """Which of these modules the code has loaded when it is through; whatever else it does, it has to succeed."""
    whole = code + REPORT.format(names=sorted(names))
    done = subprocess.run(
        [sys.executable, "-c", whole, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]
