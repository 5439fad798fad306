"""Runs of the command line take their turn on a device: none measures beside another unless told so."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from sway_dash.cli import waiting
from sway_dash.suite import queue
from sway_dash.suite.store import RunFolder, list_runs, runs_root
from tests.fakes_sweep import SUITE, adapter

LIMIT_S = 300
"""When a command that does not go on is given up; says nothing of how long it may take."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Event:
    """Set once a command has said that it waits: its place in line is written down before."""
    said = Event()

    def tell(standing: queue.Standing) -> None:
        say(standing)
        said.set()

    say = waiting._tell
    monkeypatch.setattr(waiting, "_tell", tell)
    return said


@pytest.fixture
def in_line(told: Event) -> Callable[[], RunFolder]:
    """The run that waits, once it has said so."""

    def wait() -> RunFolder:
        assert told.wait(LIMIT_S), "no run got in line"
        (found,) = (f for f in list_runs() if queue.standing(f.id))
        return found

    return wait


@pytest.fixture
def beside(cli: Callable[..., Any]) -> Callable[..., Future[Any]]:
    """Start a command while something else goes on in the test."""
    pool = ThreadPoolExecutor(1)
    return lambda *args: pool.submit(cli, *args)


def test_a_run_waits_for_the_one_that_has_the_device(beside, in_line, suite):
    with queue.turn(("cpu",), name="the first"):
        running = beside("run", suite)
        folder = in_line()
        assert queue.standing(folder.id).before[0].name == "the first"
        assert not folder.measurements()
    result = running.result(timeout=LIMIT_S)
    assert result.exit_code == 0
    assert f"waiting for cpu, which the first (process {os.getpid()}) has" in result.stderr
    assert folder.result().status == "finished"
    assert not queue.lines()


def test_told_so_it_measures_beside_the_other(cli, suite):
    with queue.turn(("cpu",), name="the first"):
        result = cli("run", suite, "--no-wait")
    assert result.exit_code == 0
    assert "waiting" not in result.stderr


def test_a_run_stopped_in_line_can_go_on_later(beside, in_line, cli, suite):
    with queue.turn(("cpu",), name="the first"):
        running = beside("run", suite)
        folder = in_line()
        folder.request_stop()
        result = running.result(timeout=LIMIT_S)
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


def test_a_suite_that_asks_no_model_waits_for_nobody(beside, tmp_path):
    lora = Path(__file__).parents[2] / "assets" / "demo" / "adapter"
    text = SUITE.partition("suite:")[0]
    (tmp_path / "sway.yaml").write_text(
        f"{text}suite:\n  - {{name: g, kind: gradient_ghost, adapter_path: '{lora}'}}\n"
    )
    with queue.turn(("cpu",), name="the first"):
        result = beside("run", tmp_path / "sway.yaml").result(timeout=LIMIT_S)
    assert result.exit_code == 0, result.stderr
    assert "waiting" not in result.stderr


SWEPT = (
    ("sweep", "sway.yaml", "a", "b"),
    ("watch", "out", "--spec", "sway.yaml", "--once", "--fail-on", "never"),
    ("diff", "sway.yaml", "--a", "a", "--b", "b", "--details", "0"),
)


@pytest.fixture
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite, two adapters and a training in the folder of the test."""
    monkeypatch.setattr("sway_dash.suite.watch.SETTLE_S", 0.0)
    (tmp_path / "sway.yaml").write_text(SUITE)
    for name in ("a", "b", "out/checkpoint-1", "out/checkpoint-2"):
        adapter(tmp_path / name, content=name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", SWEPT, ids=lambda command: command[0])
def test_what_measures_adapter_after_adapter_waits_once_there_is_one_to_measure(
    beside, in_line, cli, adapters, command
):
    with queue.turn(("cpu",), name="the first"):
        running = beside(*command)
        folder = in_line()
        assert not folder.measurements()
    result = running.result(timeout=LIMIT_S)
    assert result.exit_code in (0, 1), result.stderr
    assert "waiting for cpu, which the first" in result.stderr
    assert folder.result().status == "finished"
    assert not queue.lines()
    with queue.turn(("cpu",), name="the first"):
        # All is measured: there is nothing to wait for.
        again = cli(*command, *(["--resume"] if command[0] == "sweep" else []))
    assert "waiting" not in again.stderr
    assert len(list(list_runs())) == 2


@pytest.mark.parametrize("command", SWEPT, ids=lambda command: command[0])
def test_adapter_after_adapter_beside_another_when_told_so(cli, adapters, command):
    with queue.turn(("cpu",), name="the first"):
        result = cli(*command, "--no-wait")
    assert result.exit_code in (0, 1), result.stderr
    assert "waiting" not in result.stderr
    assert {f.result().status for f in list_runs()} == {"finished"}


def test_between_two_checkpoints_others_may_measure(cli, adapters, monkeypatch):
    from sway_dash.cli.watching import _Watch

    lines: list[Any] = []
    monkeypatch.setattr(_Watch, "_judge", lambda self, outcome: lines.append(queue.lines()))
    cli(*SWEPT[1])
    assert lines == [{}, {}]


def test_a_sweep_that_is_stopped_in_line_measures_nothing(beside, in_line, cli, adapters, monkeypatch):
    with queue.turn(("cpu",), name="the first"):
        running = beside(*SWEPT[0])
        folder = in_line()
        monkeypatch.setattr("sway_dash.cli.interrupt.StopSwitch.requested", lambda self: True)
        result = running.result(timeout=LIMIT_S)
        assert not queue.line("cpu")[1:]
    assert result.exit_code == 130
    assert folder.result().status == "cancelled"
    assert not folder.measurements()
    assert len(list(list_runs())) == 1


def test_mine_waits_for_its_device(beside, told, adapters):
    with queue.turn(("cpu",), name="the first"):
        running = beside("mine", "sway.yaml", "--mode", "outliers", "--top-k", "2", "--out", "found.yaml")
        assert told.wait(LIMIT_S), "nothing got in line"
        assert len(queue.line("cpu")) == 2
        assert not (adapters / "found.yaml").exists()
    assert "waiting for cpu" in running.result(timeout=LIMIT_S).stderr
