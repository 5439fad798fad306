"""Reading the trace of the scoring cache: one JSON record a line, some lines possibly torn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNASSIGNED = "<unassigned>"


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One look-up in the scoring cache. ``ts``: Unix seconds at its end; ``wall_ms``: its share of its batch.

    ``phase``, ``batch`` (prompts in the batch) and ``seq`` are ``None`` in traces of programs that do not write them.
    """

    ts: float
    probe: str | None
    view_id: str
    prompt_hash: str
    top_k: int
    op: str
    wall_ms: float
    hit: bool
    phase: str | None = None
    batch: int | None = None
    seq: int | None = None

    @property
    def owner(self) -> str:
        """The probe it was done for; outside any probe its phase in angle brackets, or ``<unassigned>``."""
        if self.probe is not None:
            return self.probe
        return f"<{self.phase}>" if self.phase and self.phase != "probe" else UNASSIGNED


class Trace(list[TraceEvent]):
    """Events of a trace file in file order; ``skipped`` counts the lines that could not be read."""

    def __init__(self, events: Iterable[TraceEvent] = (), *, skipped: int = 0) -> None:
        super().__init__(events)
        self.skipped = skipped


class TraceReader(Iterator[TraceEvent]):
    """Events of a trace file one at a time; ``skipped`` counts the unreadable lines passed so far."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.skipped = 0
        self._events = self._read()

    def __next__(self) -> TraceEvent:
        return next(self._events)

    def _read(self) -> Iterator[TraceEvent]:
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.strip():
                    continue
                event = parse_line(line)
                if event is None:
                    self.skipped += 1
                else:
                    yield event


def read(path: Path | str) -> TraceReader:
    """Read a trace file event by event, in bounded memory. ``OSError`` at the first event if it cannot be opened."""
    return TraceReader(path)


def load(path: Path | str) -> Trace:
    """Read a whole trace file; blank lines are passed over, unreadable ones are counted in ``skipped``.

    Unreadable is what is no JSON object (the torn last line of a run that was killed, say) and what holds a value of
    another kind. Missing keys take their defaults. ``OSError`` if the file cannot be read.
    """
    reader = read(path)
    trace = Trace(reader)
    trace.skipped = reader.skipped
    return trace


def parse_line(line: str | bytes) -> TraceEvent | None:
    """Return the event a line of a trace file holds, or ``None`` if it cannot be read."""
    try:
        raw = json.loads(line)
        return _event(raw) if isinstance(raw, dict) else None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _event(raw: dict[str, Any]) -> TraceEvent:
    return TraceEvent(
        ts=_float(raw.get("ts")),
        probe=None if raw.get("probe") is None else _str(raw["probe"]),
        view_id=_str(raw.get("view_id")),
        prompt_hash=_str(raw.get("prompt_hash")),
        top_k=int(_float(raw.get("top_k"))),
        op=_str(raw.get("op")),
        wall_ms=_float(raw.get("wall_ms")),
        hit=_bool(raw.get("hit")),
        phase=None if raw.get("phase") is None else _str(raw["phase"]),
        batch=None if raw.get("batch") is None else int(_float(raw["batch"])),
        seq=None if raw.get("seq") is None else int(_float(raw["seq"])),
    )


def _float(value: Any) -> float:
    number = 0.0 if value is None else float(value)
    if not math.isfinite(number):
        msg = f"{value!r} is not a finite number"
        raise ValueError(msg)
    return number


def _str(value: Any) -> str:
    if isinstance(value, dict | list):
        msg = "text is expected"
        raise TypeError(msg)
    return "" if value is None else str(value)


def _bool(value: Any) -> bool:
    if value is not None and value not in (0, 1):  # also False and True
        msg = f"{value!r} is neither true nor false"
        raise ValueError(msg)
    return bool(value)
