"""What a training run left behind about its loss: step logs as JSON lines, or the state file of a Trainer.

Only text is read here. Restarts are honoured: when a log goes back to an earlier step, what was logged beyond that
step belongs to an attempt that was given up, and is left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sway_dash.core.errors import SwayError

TRAINER_STATE = "trainer_state.json"
MAX_BYTES = 256 * 2**20
"""Larger files are no step logs."""


class TrainingDriftError(SwayError):
    """A training log cannot be read; the text says which and why."""


@dataclass(slots=True)
class LossLog:
    """Training loss (nats a token, as logged) by optimizer step, ascending; ``inf`` where it was not finite."""

    losses: dict[int, float] = field(default_factory=dict)
    validation: dict[int, float] = field(default_factory=dict)
    """Held-out loss by step, where it was logged."""
    files: list[str] = field(default_factory=list)
    restarts: int = 0
    dropped_steps: int = 0
    """Steps of attempts that were given up."""

    def add(self, step: int, loss: float) -> None:
        """Take the next record of the log."""
        if self.losses and (last := next(reversed(self.losses))) >= step:
            known = len(self.losses)
            # Steps ascend, so what is stale stands at the end; every step is removed once at most.
            while self.losses and next(reversed(self.losses)) >= step:
                self.losses.popitem()
            if last > step:
                self.restarts += 1
                self.dropped_steps += known - len(self.losses)
                self.validation = {s: v for s, v in self.validation.items() if s < step}
            else:
                self.validation.pop(step, None)
        self.losses[step] = loss if math.isfinite(loss) else math.inf


def collect_steps(paths: Sequence[Path]) -> dict[int, float]:
    """Loss by step of JSON-lines logs, in the order given."""
    return read_jsonl(paths).losses


def read_jsonl(paths: Sequence[Path]) -> LossLog:
    """Read records ``{"type": "step", "step": …, "loss": …}``; other records are left out.

    Raises ``TrainingDriftError`` for a file that cannot be read or whose first line is not JSON. Later broken lines
    are skipped: a run that was killed may have torn its last one.
    """
    log = LossLog(files=[str(p) for p in paths])
    for path in paths:
        for record in _json_lines(path):
            if isinstance(record, dict) and record.get("type") == "step":
                _take(log, record, ("val_loss", "eval_loss"))
    return log


def read_trainer_state(path: Path) -> LossLog:
    """Read the ``log_history`` of a ``trainer_state.json`` as transformers writes it."""
    try:
        state = json.loads(_text(path))
    except ValueError as error:
        raise TrainingDriftError(f"{path} is not valid JSON: {error}") from None
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise TrainingDriftError(f"{path} has no list 'log_history': it is no state file of a transformers Trainer")
    log = LossLog(files=[str(path)])
    for record in history:
        if isinstance(record, dict):
            _take(log, record, ("eval_loss",))
    return log


def find_log(store: Path) -> tuple[LossLog | None, str]:
    """The loss log in a folder (or file), or ``None`` and what is missing.

    Looked for in this order: ``logs/train-*.jsonl``; ``trainer_state.json``; that of the last ``checkpoint-N``.
    """
    if store.is_file():
        return (read_trainer_state(store) if store.name.endswith(".json") else read_jsonl([store])), ""
    if not store.is_dir():
        return None, f"no logs/ to read: {store} does not exist"
    logs = store / "logs"
    found = sorted(logs.glob("train-*.jsonl"), key=lambda p: _natural(p.name)) if logs.is_dir() else []
    if found:
        return read_jsonl(found), ""
    states = [store / TRAINER_STATE, *_checkpoints(store)]
    state = next((s for s in states if s.is_file()), None)
    if state is not None:
        return read_trainer_state(state), ""
    if logs.is_dir():
        return None, f"no train-*.jsonl in {logs}, and no {TRAINER_STATE} in {store}"
    return None, f"no logs/ folder and no {TRAINER_STATE} in {store}: give the folder the training run wrote to"


def _checkpoints(store: Path) -> list[Path]:
    folders = sorted(store.glob("checkpoint-*"), key=lambda p: _natural(p.name), reverse=True)
    return [f / TRAINER_STATE for f in folders]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key in which 9 comes before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _take(log: LossLog, record: dict[str, Any], validation_keys: Iterable[str]) -> None:
    step = _number(record.get("step"))
    if step is None or not math.isfinite(step):
        return
    loss = _number(record.get("loss"))
    if loss is not None:
        log.add(int(step), loss)
    for key in validation_keys:
        value = _number(record.get(key))
        if value is not None and math.isfinite(value):
            log.validation[int(step)] = value


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TrainingDriftError(f"failed to read {path}: it is larger than {MAX_BYTES // 2**20} MiB")
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise TrainingDriftError(f"failed to read {path}: {error.strerror or error}") from None


def _json_lines(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError as error:
            if number == 1:
                raise TrainingDriftError(f"{path}, line 1, is not valid JSON: {error}") from None
