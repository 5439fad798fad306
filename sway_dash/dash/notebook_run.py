"""The run behind a notebook's widget: a worker process, or a thread that measures the model the notebook holds.

No Panel. Whoever looks at the run reads its folder; only status and end are asked for here.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from sway_dash import backends
from sway_dash.core.errors import SwayError
from sway_dash.core.result import SuiteResult
from sway_dash.dash import jobs, live
from sway_dash.figures.opened import Run, open_run
from sway_dash.report.json_io import to_json
from sway_dash.suite.execute import execute
from sway_dash.suite.score import compute
from sway_dash.suite.store import EVENTS, META, RunFolder

STEP_S = 0.1
LEAVE_S = 10.0
"""How long the end of the process waits for the batch of a run in memory."""


class NotebookRun:
    """One attempt at a suite. Made stopped; :meth:`start` once."""

    def __init__(self, held: tuple[Any, Any] | None = None) -> None:
        self.held = held
        """Model and tokenizer of the notebook; without them a worker loads what the suite names."""
        self.folder: RunFolder | None = None
        self.error: BaseException | None = None
        """What ended the measuring thread, if anything did."""
        self._thread: threading.Thread | None = None
        # Not the thread's own: an interruption of join() makes Python 3.11 take a running thread for ended.
        self._ended = threading.Event()
        self._feed: live.Feed | None = None

    def start(self, text: str, *, base_dir: Path, name: str, spec_path: str, root: Path | None = None) -> None:
        """Begin to measure; returns at once."""
        if self.held is None:
            self.folder = jobs.start(text, base_dir=base_dir, name=name, spec_path=spec_path, root=root)
        else:
            self.folder = RunFolder.create(text, root=root, name=name, base_dir=base_dir, spec_path=spec_path)
            self.folder.claim()
            self._thread = threading.Thread(target=self._measure, name=f"sway-{self.folder.id}", daemon=True)
            self._thread.start()
            # A thread inside torch when the interpreter ends takes the process down with a message.
            atexit.register(self._leave)
        self._feed = live.acquire(self.folder)

    def _measure(self) -> None:
        assert self.folder is not None
        assert self.held is not None
        model, tokenizer = self.held
        try:
            execute(self.folder, opener=lambda: backends.from_model(model, tokenizer))
        except BaseException as error:  # the thread's end is told to whoever waits
            self.error = error
        finally:
            self._ended.set()
            atexit.unregister(self._leave)

    def _leave(self) -> None:
        self.stop()
        self._ended.wait(LEAVE_S)

    @property
    def live(self) -> bool:
        """Whether more is to be expected."""
        if self._thread is not None:
            return not self._ended.is_set()
        if self._feed is None:
            return False
        jobs.reap()
        self._feed.poll()
        # The worker stays a while after the end, to record the prompts token by token.
        return not self._feed.over or self._feed.lingering

    def stop(self) -> None:
        """Ask it to stop after its batch; what is measured stays."""
        if self.folder is not None and self.live:
            if self.held is None:
                jobs.cancel(self.folder)
            else:
                self.folder.request_stop()

    def wait(self, tick: Callable[[], None], seconds: float | None) -> bool:
        """Wait for the end, calling ``tick`` meanwhile; False when the time is up first.

        An interruption of the kernel stops the run, waits for its batch to end, and goes on to the caller.
        """
        end = None if seconds is None else time.monotonic() + seconds
        try:
            while self.live:
                tick()
                if end is not None and time.monotonic() >= end:
                    return False
                self._pause()
        except KeyboardInterrupt:
            self.stop()
            while self.live:
                self._pause()
            tick()
            raise
        tick()
        return True

    def _pause(self) -> None:
        if self._thread is not None:
            self._ended.wait(STEP_S)
        else:
            time.sleep(STEP_S)


def folder_of(run: Run) -> RunFolder:
    """The folder of anything that stands for a run; of a bare result a temporary one is made.

    ``SwayError`` for what is no run.
    """
    if isinstance(run, RunFolder):
        return run
    if isinstance(run, SuiteResult):
        return _imported(run, run.run_id or "result")
    path = Path(run).expanduser()
    if isinstance(run, str) and not path.exists():
        from sway_dash.dash.runs import find

        if (found := find(run)) is not None:
            return found
    if path.is_dir():
        return RunFolder.open(path) if (path / META).is_file() or (path / EVENTS).is_file() else _whole(path)
    if path.name == "result.json" and ((path.parent / EVENTS).is_file() or (path.parent / META).is_file()):
        return RunFolder.open(path.parent)
    return _whole(path)


def _whole(path: Path) -> RunFolder:
    opened = open_run(path)
    return _imported(opened.result, opened.id)


def _imported(result: SuiteResult, name: str) -> RunFolder:
    """A folder with nothing but this result, gone with the process."""
    root = Path(_scratch.name)
    folder = RunFolder(root / f"{len(list(root.iterdir()))}" / (Path(name).name or "result"))
    folder.path.mkdir(parents=True)
    folder.write_meta(id=folder.id, name=name, created_at=result.started_at.timestamp(), imported=True)
    folder.write_result(to_json(result, compute(result)))
    return folder


class _Scratch:
    """A temporary folder, made when it is first asked for."""

    def __init__(self) -> None:
        self._made: Any = None

    @property
    def name(self) -> str:
        import tempfile

        if self._made is None:
            self._made = tempfile.TemporaryDirectory(prefix="sway-shown-", ignore_cleanup_errors=True)
        return str(self._made.name)


_scratch = _Scratch()


class ShownResult(SuiteResult):
    """A result that notebooks show with its picture and tables."""

    def _repr_html_(self) -> str:
        from sway_dash.dash.notebook_static import static_html

        # A result has no draws of single prompts; the run it is of has.
        return static_html(self.__dict__.get("_folder") or self)

    def __repr__(self) -> str:
        word = ""
        with suppress(SwayError):
            from sway_dash.suite.headline import headline

            word = headline(self).word
        return f"<{self.run_id or 'result'}: {self.status}{', ' + word if word else ''}, {len(self.probes)} probes>"


def shown(result: SuiteResult, folder: RunFolder | None = None) -> ShownResult:
    """The same result, as one that notebooks show: with everything its run has written, where it has a folder."""
    found = ShownResult(**{f.name: getattr(result, f.name) for f in fields(result) if f.init})
    object.__setattr__(found, "_folder", folder)
    return found
