"""One reader per run folder and process: it tails the files of a run and keeps what they say for all sessions.

Sessions pull: each calls :meth:`Feed.poll` on its own tick; the files are looked at once however many sessions there
are. No Panel, no param.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from sway_dash.core.errors import SwayError
from sway_dash.core.events import Event
from sway_dash.core.result import SuiteResult
from sway_dash.dash import runs
from sway_dash.dash.progress import Progress
from sway_dash.figures.derive import RunData
from sway_dash.report.json_io import load_result
from sway_dash.suite import processes, queue
from sway_dash.suite.replay import events_of
from sway_dash.suite.status import LIVE, Status, settled, status_of
from sway_dash.suite.store import EVENTS, RESULT, STOP, TRACE, RunFolder
from sway_dash.suite.tail import CHUNK, LineTail
from sway_dash.suite.trace_file import TraceEvent, parse_line

POLL_S = 0.08
ALIVE_S = 1.0
ENDING_S = 10.0
AT_ONCE = 500_000
"""Bytes of a run that are read in less than a tick."""
RATE_S = 5.0
"""Scoring calls of so many seconds make the passes per second."""


class Feed:
    """A run folder being read."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.data = RunData()
        self.progress = Progress()
        self.status: Status = "starting"
        self.standing: queue.Standing | None = None
        """Where the run waits for its device."""
        self.memory: int | None = None
        """Bytes of main memory its process holds; ``None`` without a process."""
        self.exit: str = ""
        """How its process ended, when that is known and was not of its own will."""
        self.title = ""
        """What a person calls the run."""
        self.beat = 0
        """Raised when something about its process has changed that its events do not tell."""
        self.users = 0
        self._events: LineTail[Event] = folder.tail()
        self._events.chunk = CHUNK
        self._trace: LineTail[TraceEvent] = LineTail(folder.path / TRACE, parse_line, CHUNK)
        self._passes: deque[float] = deque()
        self._lock = threading.Lock()
        self._polled = 0.0
        self._checked = 0.0
        self._alive = True
        self._claimed = 0.0
        self._replayed = False

    @property
    def skipped(self) -> int:
        """Lines that could not be read."""
        return self._events.skipped + self._trace.skipped

    @property
    def behind(self) -> bool:
        """There is more to read at once."""
        return self._events.more or self._trace.more

    @property
    def over(self) -> bool:
        """Nothing more is to be expected, unless the run is resumed."""
        return self.status not in LIVE

    @property
    def alive(self) -> bool:
        """Its process is there."""
        return self._alive

    @property
    def lingering(self) -> bool:
        """The run is finished and its process is not: it records token details, or gives the model back."""
        return self.status == "finished" and self._alive

    def passes_per_second(self, now: float) -> float | None:
        """Scoring calls that reached the model, over the last seconds; ``None`` unless the run is going on."""
        if self.status != "running":
            return None
        return sum(1 for ts in self._passes if ts > now - RATE_S) / RATE_S

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
                self._look_at_process()
            self._read()
            self.status = self._status(everything_read=not self._events.more)
            if self.over and self.data.fold.unsettled:
                # Looked at again: a process may have begun since, and what it has written has just been read.
                self._look_at_process()
                self.status = self._status(everything_read=not self._events.more)
                if self.over:
                    self.data.settle()

    def _look_at_process(self) -> None:
        meta = self.folder.meta()
        pid, claimed = meta.get("pid"), meta.get("claimed_at")
        self._alive = processes.is_alive(pid, since=claimed, host=meta.get("host")) or self._ending(pid)
        self._claimed = float(claimed) if isinstance(claimed, int | float) else 0.0
        before = (self.standing, self.memory, self.exit, self.title)
        self.standing = queue.standing(self.folder.id) if self._unheard else None
        self.memory = processes.memory(int(pid or 0)) if self._alive else None
        self.exit = "" if self._alive else str(meta.get("exit") or "")
        self.title = runs.title(self.folder, meta)
        if before != (self.standing, self.memory, self.exit, self.title):
            self.beat += 1

    def _ending(self, pid: object) -> bool:
        """The process was killed on request just now, and whoever did it has not yet written its end down."""
        try:
            return pid is not None and time.time() - (self.folder.path / STOP).stat().st_mtime < ENDING_S
        except OSError:
            return False

    @property
    def _unheard(self) -> bool:
        """A process is at work and has not yet written an event."""
        return self._alive and self.data.fold.last_ts < self._claimed

    def _read(self) -> None:
        events = self._events.read() or self._replay()
        for event in events:
            self.data.add(event)
            self.progress.add(event)
        calls = self._trace.read()
        if self._trace.replaced:
            self.data.calls.clear()
        for call in calls:
            self.data.calls.add(call)
            if not call.hit:
                self._passes.append(call.ts)
        while self._passes and self._passes[0] < self._passes[-1] - RATE_S:
            self._passes.popleft()
        if calls:
            self.data.version += 1

    def _replay(self) -> list[Event]:
        """Events of a run of which only the result is here."""
        if self._replayed or (self.folder.path / EVENTS).exists():
            return []
        self._replayed = (self.folder.path / RESULT).is_file()
        if not self._replayed:
            return []
        try:
            return events_of(load_result(self.folder.path / RESULT)[0])
        except SwayError:
            return []

    def _status(self, *, everything_read: bool) -> Status:
        fold = self.data.fold
        return status_of(
            fold.status,
            begun=fold.started is not None,
            # As long as there is something to read, its end may be among it.
            alive=self._alive or not everything_read,
            heard=not self._unheard,
            waiting=self.standing is not None,
        )

    def result(self) -> SuiteResult:
        """The result so far, with the status of a run whose process has gone."""
        return settled(self.data.result(), alive=self.status != "interrupted")


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


def read(folder: RunFolder, wanted: Callable[[], bool] = lambda: True) -> Feed:
    """A run read and judged as far as it goes, for :func:`adopt`. For threads, too: nobody else knows the feed yet.

    What is not ``wanted`` any more is read no further.
    """
    feed = Feed(folder)
    feed.poll(now=True)
    while feed.behind and wanted():
        feed.poll(now=True)
    if feed.over and not feed.behind:
        feed.data.result()
    return feed


def adopt(feed: Feed) -> Feed:
    """Share what has been read, or the feed of the same folder that somebody has opened meanwhile."""
    shared = _feeds.setdefault(feed.folder.path.resolve(), feed)
    shared.users += 1
    return shared


def takes_long(folder: RunFolder) -> bool:
    """Nobody has the run open, and to read it would hold up everybody who waits for the server."""
    return _unread(folder) > AT_ONCE


def in_portions(folder: RunFolder) -> bool:
    """Nobody has the run open, and one portion is only the beginning of it."""
    return _unread(folder) > CHUNK


def _unread(folder: RunFolder) -> int:
    if folder.path.resolve() in _feeds:
        return 0
    return sum(_size(folder.path / name) for name in (EVENTS, TRACE, RESULT))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def release(feed: Feed) -> None:
    """Forget a feed when nobody looks at it any more."""
    feed.users -= 1
    if feed.users <= 0:
        _feeds.pop(feed.folder.path.resolve(), None)
