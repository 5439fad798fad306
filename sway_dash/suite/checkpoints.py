"""Runs whose adapters are checkpoints of one training run, in the order of their steps."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sway_dash.suite.comparison import Side

_STEP = re.compile(r"(?:checkpoint|ckpt|global[_-]?step|step|iter)[_-]?(\d{1,12})$", re.IGNORECASE)
STATE = "trainer_state.json"
MAX_STATE_BYTES = 32_000_000
"""A trainer's state holds its whole log; more than this is not read for one number."""

FEWEST = 3
"""Two checkpoints are a pair, not a course."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """A training run's checkpoints: its folder, and (step, index of the run), by step."""

    training: str
    steps: tuple[tuple[int, int], ...]


def checkpoint_of(adapter: str) -> tuple[str, int] | None:
    """Training run and step of an adapter path; ``None`` when neither its name nor its trainer's state tells one.

    ``out/checkpoint-500`` is step 500 of ``out``; ``out`` itself is the last step, if its ``trainer_state.json`` is
    still there.
    """
    path = adapter.rstrip("/\\").replace("\\", "/")
    if not path:
        return None
    parent, _, name = path.rpartition("/")
    if found := _STEP.search(name):
        return parent + "/" + name[: found.start()], int(found.group(1))
    step = _global_step(Path(path) / STATE)
    return None if step is None else (path + "/", step)


def ordered(sides: Sequence[Side]) -> Checkpoints | None:
    """The largest group of runs that are checkpoints of one training run; ``None`` for fewer than :data:`FEWEST`.

    Of two runs of the same checkpoint the first counts.
    """
    groups: dict[str, dict[int, int]] = {}
    for index, side in enumerate(sides):
        found = checkpoint_of(_adapter(side))
        if found is not None:
            groups.setdefault(found[0], {}).setdefault(found[1], index)
    training, steps = max(groups.items(), key=lambda group: len(group[1]), default=("", {}))
    return Checkpoints(training.rstrip("/"), tuple(sorted(steps.items()))) if len(steps) >= FEWEST else None


def _adapter(side: Side) -> str:
    """Where the adapter was: as the backend resolved it, else as the suite names it."""
    known = side.environment.get("adapter")
    return known if isinstance(known, str) and known else side.adapter


def _global_step(path: Path) -> int | None:
    try:
        if not path.is_file() or path.stat().st_size > MAX_STATE_BYTES:
            return None
        step = json.loads(path.read_bytes()).get("global_step")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return step if isinstance(step, int) and not isinstance(step, bool) and step >= 0 else None
