"""The list of runs: what each is, read from as little of its files as possible. No Panel, no param."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sway_dash.demo import demo_dir
from sway_dash.suite.store import EVENTS, RunFolder, list_runs, runs_root

DEMO = "demo"
"""Name of the recorded example in an address."""

_ENDS = {"run_finished": "finished", "run_cancelled": "cancelled", "run_failed": "failed"}
_SAFE = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One line of the list."""

    id: str
    name: str
    status: str
    created: float


def recent(limit: int = 50) -> list[RunInfo]:
    """The newest runs, newest first."""
    # Names are to the second only.
    return sorted((_info(folder) for folder in islice(list_runs(), limit)), key=lambda r: -r.created)


def demo_folder() -> RunFolder | None:
    """The recorded example, if it is there."""
    try:
        folder = RunFolder(demo_dir() / "run")
    except FileNotFoundError:
        return None
    return folder if (folder.path / EVENTS).is_file() else None


def find(run_id: str) -> RunFolder | None:
    """A run by the name in an address; ``None`` for one that is not there or not a plain name."""
    if run_id == DEMO:
        return demo_folder()
    if not _SAFE.fullmatch(run_id):
        return None
    folder = RunFolder(runs_root() / run_id)
    known = (folder.path / EVENTS).is_file() or bool(folder.meta())
    return folder if known else None


def address_of(folder: RunFolder) -> str:
    """Name of a run in an address."""
    demo = demo_folder()
    return DEMO if demo is not None and demo.path.resolve() == folder.path.resolve() else folder.id


def _info(folder: RunFolder) -> RunInfo:
    meta = folder.meta()
    created = meta.get("created_at")
    status = _last_status(folder.path / EVENTS)
    if status is None:
        status = "running" if folder.is_alive() else "interrupted"
    return RunInfo(
        folder.id,
        str(meta.get("name") or folder.id),
        status,
        float(created) if isinstance(created, int | float) else 0.0,
    )


def _last_status(path: Path) -> str | None:
    """How a run ended, from the last line of its events; ``None`` if it has not said so."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 20_000))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines[-3:]):
        try:
            kind = json.loads(line).get("type")
        except (ValueError, AttributeError):
            continue
        return _ENDS.get(str(kind))
    return None
