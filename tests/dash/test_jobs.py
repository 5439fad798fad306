"""Workers: they finish, stop, are killed, die, and are found again. Real processes on the fake backend."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash import jobs
from sway_dash.dash.state import RunState
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text

pytestmark = pytest.mark.usefixtures("fakes")


def wait(state: RunState, until: Callable[[], bool], seconds: float = 60.0) -> None:
    """Pull as a session does until something holds."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"{state.status} after {seconds} s: {jobs.log_tail(state.folder)}"  # type: ignore[arg-type]
        time.sleep(0.05)
        state.pull()


def start(tmp_path: Path, base: str, **options: Any) -> tuple[RunFolder, RunState]:
    folder = jobs.start(suite_text(base, **options), base_dir=tmp_path, name="job", root=tmp_path / "runs")
    state = RunState()
    state.open(folder)
    return folder, state


def test_a_worker_measures_and_ends(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "plain")
    assert state.live
    wait(state, lambda: not state.live)
    assert (state.status, state.word) == ("finished", "changed")
    assert (folder.path / "result.json").is_file()
    wait(state, lambda: not folder.is_alive())


def test_cancel_keeps_what_was_measured(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "slow", prompts=40)
    wait(state, lambda: state.done >= 3)
    jobs.cancel(folder)
    wait(state, lambda: not state.live)
    assert state.status == "cancelled"
    assert state.word == "inconclusive"
    assert 3 <= state.done < state.total
    assert (folder.path / "result.json").is_file()


def test_cancel_during_start_is_not_lost(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "slow", prompts=200)
    jobs.cancel(folder)
    wait(state, lambda: not state.live)
    assert state.status == "cancelled"


def test_a_worker_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "deaf", prompts=200, nulls=0)
    wait(state, lambda: state.done >= 3)
    watcher = jobs.cancel(folder, grace_s=0.2)
    wait(state, lambda: not state.live)
    watcher.join(timeout=20)
    assert state.status == "cancelled"
    assert "killed" in state.data.fold.reason
    assert not folder.is_alive()


def test_a_worker_that_dies_is_noticed_and_its_items_are_safe(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "slow", prompts=60, nulls=0)
    wait(state, lambda: state.done >= 5)
    os.kill(folder.meta()["pid"], signal.SIGKILL)
    wait(state, lambda: not state.live)
    assert state.status == "interrupted"
    assert state.done >= 5
    jobs.launch(folder, resume=True)
    again = RunState()
    again.open(folder)
    wait(again, lambda: again.live)
    wait(again, lambda: not again.live)
    assert again.status == "finished"


def test_a_model_that_cannot_be_loaded_fails_with_its_reason(tmp_path: Path) -> None:
    _, state = start(tmp_path, "noload")
    wait(state, lambda: not state.live)
    assert state.status == "failed"
    assert "cannot be read" in state.data.fold.reason
    assert state.word == "broken"


def test_kill_leaves_other_processes_alone(tmp_path: Path) -> None:
    folder = RunFolder.create(suite_text(), root=tmp_path)
    folder.claim()  # this process
    assert jobs.kill(folder) is False
