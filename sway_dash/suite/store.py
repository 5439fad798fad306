"""Run folders: everything about a run on disk, append-only, readable while it is written and after a crash.

::

    <root>/<run id>/
        run.json       what this run is: id, name, spec path, process; written whole, then renamed
        spec.yaml      the suite as given, byte for byte
        events.jsonl   core.events, one a line
        trace.jsonl    scoring calls in the public trace format
        tokens.jsonl   prompts token by token, one a line; suite.details
        result.json    the finished result in the public format
        columns.npz    values and null draws of a finished run as arrays; suite.columns
        stop           its presence asks the run to stop
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from filelock import FileLock
from pydantic import ValidationError

from sway_dash.core.errors import SpecValidationError, SwayError
from sway_dash.core.events import EVENT, TERMINAL, CacheAccess, Event, Measurement
from sway_dash.core.files import write_whole
from sway_dash.core.result import SuiteResult
from sway_dash.suite.details import DetailFile
from sway_dash.suite.fold import Fold
from sway_dash.suite.processes import is_alive, this_host
from sway_dash.suite.status import settled
from sway_dash.suite.tail import LineTail

if TYPE_CHECKING:
    from sway_dash.report.html.redact import Redaction

META, SPEC, EVENTS, TRACE, TOKENS, RESULT, STOP = (
    "run.json",
    "spec.yaml",
    "events.jsonl",
    "trace.jsonl",
    "tokens.jsonl",
    "result.json",
    "stop",
)
COLUMNS = "columns.npz"
FILES = (META, SPEC, EVENTS, TRACE, TOKENS, RESULT, STOP, COLUMNS)
"""What a run consists of: nothing else is to be written under these names."""


class RunFolderError(SwayError):
    """A run folder cannot be made or read."""


def runs_root() -> Path:
    """``$SWAY_RUNS_DIR``, else ``~/sway-runs``."""
    own = os.environ.get("SWAY_RUNS_DIR")
    return Path(own).expanduser() if own else Path.home() / "sway-runs"


def new_run_id() -> str:
    """A name that sorts by time and starts with a letter (so that no URL parser takes it for a number)."""
    return f"r-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def parse_event(line: bytes) -> Event | None:
    """The event of a line; ``None`` if there is none this program knows."""
    try:
        return EVENT.validate_json(line)
    except ValidationError:
        return None


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.error: str | None = None
        self._file: TextIO | None = None
        self._flushed = 0.0
        self._claimed = False

    # -- making and finding ---------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        spec_text: str,
        *,
        root: Path | None = None,
        name: str = "",
        base_dir: Path | None = None,
        spec_path: str = "",
    ) -> RunFolder:
        """Make a folder for a new run. ``base_dir`` is what relative paths in the suite are relative to."""
        root = root or runs_root()
        run_id = new_run_id()
        folder = cls(root / run_id)
        try:
            folder.path.mkdir(parents=True)
            (folder.path / SPEC).write_text(spec_text, encoding="utf-8")
            folder.write_meta(
                id=run_id,
                name=name or run_id,
                created_at=time.time(),
                spec_path=spec_path,
                base_dir=str(base_dir or Path.cwd()),
            )
        except OSError as error:
            shutil.rmtree(folder.path, ignore_errors=True)
            msg = f"cannot write to {root}: {error.strerror or error}; set SWAY_RUNS_DIR to a folder you can write to"
            raise RunFolderError(msg) from None
        return folder

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """An existing folder; ``RunFolderError`` if it holds no run."""
        folder = cls(Path(path))
        if not (folder.path / META).is_file() and not (folder.path / EVENTS).is_file():
            msg = f"{folder.path} is no run folder: it has neither {META} nor {EVENTS}"
            raise RunFolderError(msg)
        return folder

    @property
    def id(self) -> str:
        """Name of the run: that of its folder."""
        return self.path.name

    # -- describing -----------------------------------------------------------------------------

    def meta(self) -> dict[str, Any]:
        """What ``run.json`` says; empty when it is missing or torn."""
        try:
            data = json.loads((self.path / META).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def write_meta(self, **changes: Any) -> None:
        """Update ``run.json`` in one step: a reader sees the old file or the new one, and no writer loses another's.

        Raises ``OSError`` if what is there cannot be read: it would be lost.
        """
        with FileLock(self.path / f".{META}.lock"):
            if (self.path / META).exists():
                (self.path / META).read_bytes()
            data = {**self.meta(), **changes}
            write_whole(self.path / META, json.dumps(data, indent=2, sort_keys=True) + "\n")

    def claim(self) -> None:
        """Say which process runs it, so that others can see whether it still lives; clears an old stop request.

        ``RunFolderError`` while another process is at work in the folder: two writers would mix their events. Nothing
        happens when this object has claimed it already: a stop request that came since is not an old one.
        """
        if self._claimed:
            return
        owner = self.meta().get("pid")
        if owner != os.getpid() and self.is_alive():
            msg = f"{self.path} is being run by process {owner}: stop it first, or wait for its end"
            raise RunFolderError(msg)
        (self.path / STOP).unlink(missing_ok=True)
        self.write_meta(pid=os.getpid(), host=this_host(), claimed_at=time.time())
        self._claimed = True

    def release(self) -> None:
        """Say that no process is at work here any more."""
        self._claimed = False
        with suppress(OSError):
            self.write_meta(pid=None)

    def spec_text(self) -> str:
        """The suite as given."""
        try:
            return (self.path / SPEC).read_text(encoding="utf-8")
        except OSError as error:
            msg = f"{self.path / SPEC} cannot be read: {error.strerror or error}"
            raise SpecValidationError(msg) from None

    def base_dir(self) -> Path:
        """What relative paths of the suite are relative to (itself relative to the run folder, if it is)."""
        return (self.path / str(self.meta().get("base_dir") or ".")).resolve()

    def is_alive(self) -> bool:
        """Whether the process that claimed the run still exists (only known on its own host)."""
        meta = self.meta()
        return is_alive(meta.get("pid"), since=meta.get("claimed_at"), host=meta.get("host"))

    # -- writing --------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Append an event; a scoring call goes to the trace writer of the run instead.

        When the disk refuses, ``error`` says so and the run goes on: its result is still in memory.
        """
        if isinstance(event, CacheAccess) or self.error:
            return
        try:
            if self._file is None:
                self._repair_last_line()
                self._file = (self.path / EVENTS).open("a", encoding="utf-8")
            self._file.write(event.model_dump_json() + "\n")
            now = time.monotonic()
            # Measurements come in bursts; everything else is rare and wanted at once.
            if not isinstance(event, Measurement) or now - self._flushed > 0.1:
                self._file.flush()
                self._flushed = now
            if isinstance(event, TERMINAL):
                self.close()
        except OSError as error:
            self.error = f"{self.path / EVENTS} is not written any more: {error.strerror or error}"
            with suppress(OSError):
                self.close()

    def write_result(self, text: str) -> None:
        """Write ``result.json`` in one step. ``OSError`` is the caller's to report."""
        write_whole(self.path / RESULT, text)

    def close(self) -> None:
        """Flush and close; may be called twice."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def request_stop(self) -> None:
        """Ask the run to stop after its current batch."""
        (self.path / STOP).touch()

    def stop_requested(self) -> bool:
        """Whether somebody asked the run to stop."""
        return (self.path / STOP).exists()

    def _repair_last_line(self) -> None:
        """End a torn last line of a crashed attempt, so that the next record starts on its own."""
        path = self.path / EVENTS
        if path.exists() and path.stat().st_size:
            with path.open("rb+") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")

    # -- reading --------------------------------------------------------------------------------

    def tail(self) -> LineTail[Event]:
        """A reader of this run's events from the beginning."""
        return LineTail(self.path / EVENTS, parse_event)

    def fold(self) -> Fold:
        """State of the run as its events tell it."""
        return Fold().extend(self.tail().read())

    def result(self) -> SuiteResult:
        """Result so far. A run that ended without saying so (crash, kill) has the status ``interrupted``."""
        fold = self.fold()
        alive = self.is_alive()
        if not alive:
            fold.settle()
        return settled(fold.result(), alive=alive)

    def to_html(self, path: Path | str, *, redact: Redaction = "full", paths: bool = False) -> Path:
        """Write the run as one HTML file that needs neither Python nor a network; return its path.

        ``redact`` says what is left out, ``paths`` keeps paths and the name of the user.
        """
        from sway_dash.report.html.build import write

        return write(self, path, redact=redact, paths=paths)

    def details(self) -> DetailFile:
        """A reader of this run's prompts token by token; empty when none were recorded."""
        return DetailFile(self.path / TOKENS)

    def measurements(self) -> dict[str, Measurement]:
        """Measurements of all attempts by content key, for a resumed run."""
        found: dict[str, Measurement] = {}
        for event in self.tail().read():
            # The same pair of views may also be a λ of an ablation; a probe's own record holds more (tokens, interval).
            if isinstance(event, Measurement) and event.key and (event.role == "probe" or event.key not in found):
                found[event.key] = event
        return found


def list_runs(root: Path | None = None) -> Iterator[RunFolder]:
    """Run folders below ``root``, newest first."""
    root = root or runs_root()
    if not root.is_dir():
        return
    for path in sorted((p for p in root.iterdir() if p.is_dir()), key=lambda p: p.name, reverse=True):
        if (path / META).is_file() or (path / EVENTS).is_file():
            yield RunFolder(path)
