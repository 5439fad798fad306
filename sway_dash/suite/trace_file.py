"""Reading the trace of the scoring cache: one JSON record a line, some lines possibly torn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

UNASSIGNED = "<unassigned>"

MAX_LINE = 1 << 20
"""Bytes. A longer line is no record of a trace, and a file without line breaks need not fit into memory."""


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
        with self.path.open("rb") as file:
            for line in _lines(file):
                if not line.strip():
                    continue
                event = parse_line(line)
                if event is None:
                    self.skipped += 1
                else:
                    yield event


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a file; of one that is too long only its beginning, which cannot be read."""
    while line := file.readline(MAX_LINE):
        yield line
        while len(line) == MAX_LINE and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)


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
        try:
            raw = from_json(line)
        except ValueError:
            # The slower parser also takes lone surrogates and a byte order mark.
            raw = json.loads(line)
        return _event(raw) if isinstance(raw, dict) else None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _event(raw: dict[str, Any]) -> TraceEvent:
    get = raw.get
    probe, phase, batch, seq = get("probe"), get("phase"), get("batch"), get("seq")
    # In the order of the fields: by name it takes longer, and a trace has millions of lines.
    return TraceEvent(
        _float(get("ts")),
        None if probe is None else _str(probe),
        _str(get("view_id")),
        _str(get("prompt_hash")),
        _int(get("top_k")),
        _str(get("op")),
        _float(get("wall_ms")),
        _bool(get("hit")),
        None if phase is None else _str(phase),
        None if batch is None else _int(batch),
        None if seq is None else _int(seq),
    )


def _float(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    number = 0.0 if value is None else float(value)
    if not math.isfinite(number):
        msg = f"{value!r} is not a finite number"
        raise ValueError(msg)
    return number


def _int(value: Any) -> int:
    return value if type(value) is int else int(_float(value))


def _str(value: Any) -> str:
    if type(value) is str:
        return value
    if isinstance(value, dict | list):
        msg = "text is expected"
        raise TypeError(msg)
    return "" if value is None else str(value)


def _bool(value: Any) -> bool:
    if value is True or value is False:
        return value
    if value is not None and value not in (0, 1):  # also False and True
        msg = f"{value!r} is neither true nor false"
        raise ValueError(msg)
    return bool(value)
