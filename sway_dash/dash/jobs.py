"""Runs as worker processes: start, stop, kill. They outlive the browser tab and give all memory back at their end.

The run folder is the only tie between a worker and the screen. No Panel, no param, no torch here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

import sway_dash
from sway_dash.core.events import RunCancelledEvent
from sway_dash.suite.execute import ASKED, end
from sway_dash.suite.processes import this_host
from sway_dash.suite.store import RunFolder, RunFolderError

WORKER = "sway_dash.suite.execute"
LOG = "worker.log"

GRACE_S = 15.0
"""How long a worker that measures may take to end its batch after Stop before it is killed."""

_workers: dict[int, subprocess.Popen[bytes]] = {}
_folders: dict[int, RunFolder] = {}


def start(
    spec_text: str, *, base_dir: Path, name: str = "", spec_path: str = "", root: Path | None = None
) -> RunFolder:
    """Make a run folder and start its worker; ``RunFolderError`` if the folder cannot be made."""
    folder = RunFolder.create(spec_text, root=root, name=name, base_dir=base_dir, spec_path=spec_path)
    launch(folder)
    return folder


def launch(folder: RunFolder, *, resume: bool = False) -> int:
    """Start the worker of a folder that exists; returns its process id. ``RunFolderError`` while it has one."""
    asked = time.time_ns()
    reap()
    if folder.is_alive():
        msg = f"{folder.path} is being run by process {folder.meta().get('pid')}: stop it first, or wait for its end"
        raise RunFolderError(msg)
    source = str(Path(sway_dash.__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH")) if p)
    command = [sys.executable, "-m", WORKER, str(folder.path), ASKED, str(asked), *(["--resume"] if resume else [])]
    with (folder.path / LOG).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )
    _workers[process.pid], _folders[process.pid] = process, folder
    # The worker says so itself, but only after its imports; until then it must not pass for dead.
    folder.write_meta(pid=process.pid, host=this_host(), claimed_at=time.time(), exit=None)
    return process.pid


def cancel(folder: RunFolder, *, grace_s: float = GRACE_S) -> threading.Thread:
    """Stop a run: after its batch when it measures, at once when it has nothing to lose yet.

    A worker that does not listen is killed after the grace period. Returns the thread that watches; nobody has to wait
    for it.
    """
    folder.request_stop()
    watcher = threading.Thread(target=_stop, args=(folder, grace_s), name=f"cancel-{folder.id}", daemon=True)
    watcher.start()
    return watcher


def kill(folder: RunFolder, *, reason: str = "the worker did not stop in time: killed") -> bool:
    """End a worker at once and note the end in its folder; False if it is not a worker of ours that still runs."""
    pid = folder.meta().get("pid")
    if not isinstance(pid, int) or not folder.is_alive() or not _is_worker(pid, folder):
        return False
    # Its end was wished for: nothing to be told as an accident.
    _folders.pop(pid, None)
    folder.request_stop()
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).kill()
    _wait_dead(folder, 5.0)
    # The only writer is gone, so this is the one line written by somebody else.
    end(folder, RunCancelledEvent(reason=reason))
    return True


def log_tail(folder: RunFolder, limit: int = 4000) -> str:
    """End of what the worker printed."""
    try:
        with (folder.path / LOG).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def reap() -> None:
    """Collect workers that have ended, so that no zombies stay, and note how those ended that were not to."""
    for pid, process in list(_workers.items()):
        code = process.poll()
        if code is None:
            continue
        _workers.pop(pid, None)
        folder = _folders.pop(pid, None)
        if code and folder is not None and folder.meta().get("pid") == pid:
            with suppress(OSError):
                folder.write_meta(exit=_how(code))


def _how(code: int) -> str:
    """What an exit code says, in words."""
    if code == -signal.SIGKILL:
        return "killed; likely out of memory"
    if code < 0:
        with suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _stop(folder: RunFolder, grace_s: float) -> None:
    stage = _before_measuring(folder)
    if not (stage and kill(folder, reason=stage)) and not _wait_dead(folder, grace_s, stop=True):
        kill(folder)
    reap()


def _before_measuring(folder: RunFolder) -> str:
    """How to call the end of an attempt that has measured nothing yet; empty for one that has begun to."""
    fold, claimed = folder.fold(), folder.meta().get("claimed_at")
    if isinstance(claimed, int | float) and fold.last_ts < claimed:
        return "stopped before it began"
    if fold.phase is None or fold.phase.phase != "probe":
        return "stopped while the model was loaded"
    return ""


def _wait_dead(folder: RunFolder, seconds: float, *, stop: bool = False) -> bool:
    """Wait until the process is gone; False when the time is up first."""
    until = time.monotonic() + seconds
    while folder.is_alive():
        # A worker that was still starting takes the request for an old one and removes it.
        if stop and not folder.stop_requested():
            folder.request_stop()
        if time.monotonic() >= until:
            return False
        time.sleep(0.05)
    return True


def _is_worker(pid: int, folder: RunFolder) -> bool:
    """Whether a process is this folder's worker: its id may have gone to another program, or be that of a notebook."""
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return WORKER in command and any(Path(part) == folder.path or _same(part, folder.path) for part in command)


def _same(part: str, path: Path) -> bool:
    try:
        return Path(part).is_dir() and Path(part).resolve() == path.resolve()
    except (OSError, ValueError):
        return False
