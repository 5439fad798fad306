"""Null draws kept on disk between runs, with every sample, keyed by content.

Each line of a file is one measurement; its key covers base, adapter, dtype, prompt and the view's parameters at full
precision (``probes.measure.measurement_key``), so a retrained adapter or another dtype never meets a stale draw.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from sway_dash.core.events import Measurement
from sway_dash.core.kept import root


def draws_file(fingerprint: str) -> str:
    """Name of the file, below :func:`root`, that holds the draws of one fingerprint."""
    return f"{fingerprint[:32]}.jsonl"


class NullCache:
    """Draws of one fingerprint. Inert without a fingerprint or with ``SWAY_DISABLE_NULL_CACHE=1``.

    A disk that refuses costs the cache, never the run.
    """

    def __init__(self, fingerprint: str) -> None:
        enabled = bool(fingerprint) and os.environ.get("SWAY_DISABLE_NULL_CACHE") != "1"
        self._path = root() / draws_file(fingerprint) if enabled else None
        self._known: dict[str, Measurement] = {}
        self._file: TextIO | None = None
        self._torn = False
        if self._path is not None and self._path.is_file():
            self._read(self._path)

    def get(self, key: str) -> Measurement | None:
        """The stored draw, or ``None``."""
        return self._known.get(key)

    def put(self, measurement: Measurement) -> None:
        """Append a draw that is not stored yet."""
        if self._path is None or not measurement.key or measurement.key in self._known:
            return
        self._known[measurement.key] = measurement
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("a", encoding="utf-8")
                if self._torn:
                    self._file.write("\n")
            self._file.write(measurement.model_dump_json() + "\n")
        except OSError:
            self._path = None

    def close(self) -> None:
        """Flush and close; may be called twice."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                self._path = None
            self._file = None

    def _read(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        self._torn = bool(text) and not text.endswith("\n")
        # Not splitlines: prompts may hold line separators that are none in JSON.
        for line in text.split("\n"):
            try:
                draw = Measurement.model_validate_json(line)
            except ValidationError:
                # A torn last line of an interrupted run: that draw is simply made again.
                continue
            if draw.key:
                self._known[draw.key] = draw
