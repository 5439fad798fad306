"""Runs as worker processes: start, stop, kill. They outlive the browser tab and give all memory back at their end.

The run folder is the only tie between a worker and the screen. No Panel, no param, no torch here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import sway_dash
from sway_dash.core.errors import SwayError
from sway_dash.core.events import TERMINAL, RunCancelledEvent
from sway_dash.suite.execute import folder_spec, save_result
from sway_dash.suite.store import RunFolder

WORKER = "sway_dash.suite.execute"
LOG = "worker.log"

GRACE_S = 15.0
"""How long a worker may take to end its batch after Cancel before it is killed."""

_workers: dict[int, subprocess.Popen[bytes]] = {}


def start(
    spec_text: str, *, base_dir: Path, name: str = "", spec_path: str = "", root: Path | None = None
) -> RunFolder:
    """Make a run folder and start its worker; ``RunFolderError`` if the folder cannot be made."""
    folder = RunFolder.create(spec_text, root=root, name=name, base_dir=base_dir, spec_path=spec_path)
    launch(folder)
    return folder


def launch(folder: RunFolder, *, resume: bool = False) -> int:
    """Start the worker of a folder that exists; returns its process id."""
    reap()
    source = str(Path(sway_dash.__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH")) if p)
    command = [sys.executable, "-m", WORKER, str(folder.path), *(["--resume"] if resume else [])]
    with (folder.path / LOG).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )
    _workers[process.pid] = process
    # The worker says so itself, but only after its imports; until then it must not pass for dead.
    folder.write_meta(pid=process.pid, host=socket.gethostname(), claimed_at=time.time())
    return process.pid


def cancel(folder: RunFolder, *, grace_s: float = GRACE_S) -> threading.Thread:
    """Ask a run to stop after its batch, and kill its worker if it has not ended after the grace period.

    Returns the thread that watches; nobody has to wait for it.
    """
    folder.request_stop()
    watcher = threading.Thread(target=_kill_after, args=(folder, grace_s), name=f"cancel-{folder.id}", daemon=True)
    watcher.start()
    return watcher


def kill(folder: RunFolder) -> bool:
    """End a worker at once and note the end in its folder; False if it is not a worker of ours that still runs."""
    pid = folder.meta().get("pid")
    if not isinstance(pid, int) or not folder.is_alive() or not _is_worker(pid):
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _wait_dead(folder, 5.0)
    events = folder.tail().read()
    if not (events and isinstance(events[-1], TERMINAL)):
        # The only writer is gone, so this is the one line written by somebody else.
        seq = events[-1].seq + 1 if events else 1
        folder.append(RunCancelledEvent(seq=seq, ts=time.time(), reason="the worker did not stop in time: killed"))
        folder.close()
        save_result(folder, folder.result(), weights=_weights(folder))
    folder.release()
    return True


def _weights(folder: RunFolder) -> dict[str, float] | None:
    try:
        return folder_spec(folder).defaults.score_weights
    except SwayError:
        return None


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
    """Collect workers that have ended, so that no zombies stay."""
    for process in _workers.values():
        process.poll()


def _kill_after(folder: RunFolder, grace_s: float) -> None:
    if not _wait_dead(folder, grace_s, stop=True):
        kill(folder)
    reap()


def _wait_dead(folder: RunFolder, seconds: float, *, stop: bool = False) -> bool:
    """Wait until the process is gone; False when the time is up first."""
    end = time.monotonic() + seconds
    while folder.is_alive():
        # A worker that was still starting takes the request for an old one and removes it.
        if stop and not folder.stop_requested():
            folder.request_stop()
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def _is_worker(pid: int) -> bool:
    """Whether a process is a worker: its id may have gone to another program, or be that of a notebook."""
    if pid in _workers:
        return True
    try:
        return WORKER.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
