"""Runs whose adapters are checkpoints of one training run, in the order of their steps."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sway_dash.core.divergence import LN2
from sway_dash.core.paired import mean_interval
from sway_dash.core.stats import mean
from sway_dash.suite.comparison import Comparison, Side
from sway_dash.suite.pairing import Array, Index

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


@dataclass(frozen=True)
class Course:
    """A divergence over the steps of a training run, over the prompts that every checkpoint has."""

    checkpoints: Checkpoints
    places: Index
    """``(n,)`` places of those prompts in the alignment."""
    values: Array
    """``(n, steps)`` divergences, nats."""
    means: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    """95 % interval of each mean, pointwise."""
    nulls: tuple[tuple[float, float] | None, ...]
    """Smallest and largest mean of the random adapters over the same prompts; ``None`` without them."""


def course(comparison: Comparison, checkpoints: Checkpoints) -> Course | None:
    """How the runs of a comparison that are checkpoints move on; ``None`` when no prompt is in all of them.

    A mean over other prompts at every step would show the prompts, not the training.
    """
    runs = [run for _, run in checkpoints.steps]
    values = comparison.values[:, runs]
    places = np.flatnonzero(comparison.admitted & comparison.alignment.first & ~np.isnan(values).any(axis=1))
    if not places.size:
        return None
    bounds = (0.0, LN2) if comparison.metric == "js" else (0.0, float("inf"))
    common = values[places]
    nulls = []
    for run in runs:
        series = comparison.series[run]
        draws = series.nulls.get(comparison.metric) if series is not None else None
        means = draws[comparison.alignment.rows[places, run]].mean(axis=0) if draws is not None else np.zeros(0)
        means = means[~np.isnan(means)]
        nulls.append((float(means.min()), float(means.max())) if means.size else None)
    return Course(
        checkpoints=checkpoints,
        places=places,
        values=common,
        means=tuple(mean(column) for column in common.T),
        intervals=tuple(mean_interval(column, bounds=bounds)[0] for column in common.T),
        nulls=tuple(nulls),
    )
