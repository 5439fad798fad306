"""The one reader of growing files with a JSON record a line: events, traces, token details."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

CHUNK = 4_000_000
"""Bytes a reader that must not hold up others takes at a time."""


@dataclass
class LineTail(Generic[T]):
    """Reads what has been appended to a file since the last look; never splits a line.

    ``parse`` returns ``None`` for a line it cannot read; such lines are counted and passed over.
    """

    path: Path
    parse: Callable[[bytes], T | None]
    chunk: int | None = None
    """Bytes to read at a time; all there is when ``None``."""
    offset: int = 0
    skipped: int = 0
    """Complete lines that were not readable."""
    torn: bool = False
    """At the last look the file ended in the middle of a line."""
    more: bool = False
    """At the last look there was more than one chunk to read."""
    replaced: bool = False
    """At the last look another file was in its place, and was read from its beginning."""
    inode: int = 0

    def read(self) -> list[T]:
        """Return the records of all complete new lines; none of what is no regular file (a device has no end)."""
        self.replaced = self.more = False
        if not self.path.is_file():
            return []
        try:
            chunk = self._bytes()
        except OSError:
            return []
        end = chunk.rfind(b"\n") + 1
        self.torn = end < len(chunk)
        self.offset += end
        found = []
        # Only at line feeds: inside a JSON text other line separators are characters like any other.
        for line in chunk[:end].split(b"\n"):
            if not line.strip():
                continue
            record = self.parse(line)
            if record is None:
                self.skipped += 1
            else:
                found.append(record)
        return found

    def _bytes(self) -> bytes:
        with self.path.open("rb") as file:
            stat = os.fstat(file.fileno())
            if self.inode and (stat.st_ino != self.inode or stat.st_size < self.offset):
                self.replaced = True
                self.offset = self.skipped = 0
            self.inode = stat.st_ino
            file.seek(self.offset)
            chunk = file.read(-1 if self.chunk is None else self.chunk)
            self.more = self.chunk is not None and len(chunk) == self.chunk
            # A line longer than a chunk (many long prompts in one record) is read to its end.
            while self.chunk and b"\n" not in chunk and (more := file.read(self.chunk)):
                chunk += more
        return chunk
