"""One reader per run folder and process: it tails the files of a run and keeps what they say for all sessions.

Sessions pull: each calls :meth:`Feed.poll` on its own tick; the files are looked at once however many sessions there
are. No Panel, no param.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pydantic import ValidationError

from sway_dash.core.events import EVENT, Event
from sway_dash.core.result import SuiteResult
from sway_dash.dash.derive import RunData
from sway_dash.suite.store import EVENTS, TRACE, RunFolder
from sway_dash.suite.trace_file import parse_line

T = TypeVar("T")

CHUNK = 4_000_000
"""Bytes read at a time: a large finished run must not hold up the other sessions."""

POLL_S = 0.08
ALIVE_S = 1.0

Status = Literal["starting", "running", "finished", "cancelled", "failed", "interrupted"]


@dataclass
class LineTail(Generic[T]):
    """Complete new lines of a growing file, parsed; unreadable ones are counted."""

    path: Path
    parse: Callable[[bytes], T | None]
    offset: int = 0
    skipped: int = 0
    inode: int = 0

    def read(self) -> tuple[list[T], bool]:
        """Return new records, and whether the file was replaced by a new one since the last look."""
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                replaced = bool(self.inode) and (stat.st_ino != self.inode or stat.st_size < self.offset)
                if replaced:
                    self.offset = self.skipped = 0
                self.inode = stat.st_ino
                file.seek(self.offset)
                chunk = file.read(CHUNK)
                # A line longer than a chunk (many long prompts in one record) is read to its end.
                while b"\n" not in chunk and (more := file.read(CHUNK)):
                    chunk += more
        except OSError:
            return [], False
        end = chunk.rfind(b"\n") + 1
        self.offset += end
        found = []
        for line in chunk[:end].splitlines():
            if not line.strip():
                continue
            record = self.parse(line)
            if record is None:
                self.skipped += 1
            else:
                found.append(record)
        return found, replaced


def _parse_event(line: bytes) -> Event | None:
    try:
        return EVENT.validate_json(line)
    except ValidationError:
        return None


class Feed:
    """A run folder being read."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.data = RunData()
        self.status: Status = "starting"
        self.users = 0
        self._events: LineTail[Event] = LineTail(folder.path / EVENTS, _parse_event)
        self._trace = LineTail(folder.path / TRACE, parse_line)
        self._lock = threading.Lock()
        self._polled = 0.0
        self._checked = 0.0
        self._alive = True

    @property
    def skipped(self) -> int:
        """Lines that could not be read."""
        return self._events.skipped + self._trace.skipped

    @property
    def over(self) -> bool:
        """Nothing more is to be expected, unless the run is resumed."""
        return self.status not in ("starting", "running")

    def poll(self, *, now: bool = False) -> None:
        """Take in what was written since the last look; at most once in :data:`POLL_S` unless ``now``."""
        with self._lock:
            moment = time.monotonic()
            if not now and moment - self._polled < POLL_S:
                return
            self._polled = moment
            # Asked before reading: whatever a process wrote before it ended is then read below.
            if moment - self._checked > ALIVE_S or now:
                self._checked = moment
                self._alive = self.over or self.folder.is_alive()
            read = self._read()
            self.status = self._status(everything_read=not read)

    def _read(self) -> bool:
        events, _ = self._events.read()
        for event in events:
            self.data.add(event)
        calls, replaced = self._trace.read()
        if replaced:
            self.data.calls.clear()
        for call in calls:
            self.data.calls.add(call)
        if calls:
            self.data.version += 1
        return bool(events)

    def _status(self, *, everything_read: bool) -> Status:
        fold = self.data.fold
        if fold.started is not None and fold.status != "running":
            return fold.status  # type: ignore[return-value]
        if not self._alive and everything_read:
            return "interrupted"
        return "running" if fold.started is not None else "starting"

    def result(self) -> SuiteResult:
        """The result so far, with the status of a run whose process has gone."""
        from dataclasses import replace

        result = self.data.result()
        return replace(result, status=self.status) if self.status == "interrupted" else result


_feeds: dict[Path, Feed] = {}


def acquire(folder: RunFolder) -> Feed:
    """The feed of a folder, shared by all who ask for it; give it back with :func:`release`."""
    key = folder.path.resolve()
    feed = _feeds.get(key)
    if feed is None:
        feed = _feeds[key] = Feed(folder)
        feed.poll(now=True)
    feed.users += 1
    return feed


def release(feed: Feed) -> None:
    """Forget a feed when nobody looks at it any more."""
    feed.users -= 1
    if feed.users <= 0:
        _feeds.pop(feed.folder.path.resolve(), None)
