"""Runs of the command line take their turn on a device: none measures beside another unless told so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from sway_dash.suite import queue
from sway_dash.suite.store import RunFolder, list_runs, runs_root


def in_line() -> RunFolder:
    """The run that waits, once there is one."""
    deadline = time.monotonic() + 60
    while not (found := [f for f in list_runs() if queue.standing(f.id)]):
        assert time.monotonic() < deadline, "no run got in line"
        time.sleep(0.02)
    return found[0]


@pytest.fixture
def beside(cli: Callable[..., Any]) -> Callable[..., Future[Any]]:
    """Start a command while something else goes on in the test."""
    pool = ThreadPoolExecutor(1)
    return lambda *args: pool.submit(cli, *args)


def test_a_run_waits_for_the_one_that_has_the_device(beside, suite):
    with queue.turn(("cpu",), name="the first"):
        running = beside("run", suite)
        folder = in_line()
        assert queue.standing(folder.id).before[0].name == "the first"
        assert not folder.measurements()
    result = running.result(timeout=60)
    assert result.exit_code == 0
    assert f"waiting for cpu, which the first (process {os.getpid()}) has" in result.stderr
    assert folder.result().status == "finished"
    assert not queue.lines()


def test_told_so_it_measures_beside_the_other(cli, suite):
    with queue.turn(("cpu",), name="the first"):
        result = cli("run", suite, "--no-wait")
    assert result.exit_code == 0
    assert "waiting" not in result.stderr


def test_a_run_stopped_in_line_can_go_on_later(beside, cli, suite):
    with queue.turn(("cpu",), name="the first"):
        running = beside("run", suite)
        folder = in_line()
        folder.request_stop()
        result = running.result(timeout=60)
    assert result.exit_code != 0
    assert folder.result().status == "cancelled"
    assert f"--resume {folder.id}" in result.stderr
    assert cli("run", "--resume", folder.id).exit_code == 0
    assert folder.result().status == "finished"


def test_the_lock_of_somebody_else_keeps_no_run_from_measuring(cli, suite, monkeypatch):
    class Theirs(queue.FileLock):
        def acquire(self, *_, **__):
            raise PermissionError(13, "Permission denied", "/shared/.queue/cpu/host.lock")

    monkeypatch.setattr(queue, "FileLock", Theirs)
    result = cli("run", suite)
    assert result.exit_code == 0, result.stderr
    assert "host.lock: Permission denied; measuring without waiting for others" in result.stderr
    assert not queue.lines(), "whoever has given up does not stand in line"
    (folder,) = list_runs()
    assert folder.result().status == "finished"


def test_a_line_that_cannot_be_written_keeps_no_run_from_measuring(cli, suite):
    runs_root().mkdir(parents=True, exist_ok=True)
    (runs_root() / queue.FOLDER).write_text("")
    result = cli("run", suite)
    assert result.exit_code == 0
    assert "cannot get in line for cpu" in result.stderr
