"""One job per device: real processes in line, some of which are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sway_dash.core.errors import SwayError
from sway_dash.suite import queue
from sway_dash.suite.loader import loads
from sway_dash.suite.processes import this_host

ROOT = Path(__file__).parents[2]

CODE = """
import sys
from sway_dash.suite import queue
asked = next((int(a) for a in sys.argv[3:] if a.isdigit()), None)
run, yields = sys.argv[2], "yields" in sys.argv
with queue.turn(sys.argv[1].split(","), run=run, name=run, yields=yields, asked=asked) as ours:
    print("torch" in sys.modules, flush=True)
    sys.stdin.readline()
"""


class Jobs:
    """Processes that take a place in line and keep the device until they are told to leave it."""

    def __init__(self) -> None:
        self.all: list[subprocess.Popen[str]] = []

    def start(self, run: str, device: str = "cpu", *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CODE, device, run, *more]
        self.all.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT))
        return self.all[-1]

    def leave(self, job: subprocess.Popen[str]) -> None:
        """Let a job end by itself."""
        job.communicate("\n", timeout=300)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    found = Jobs()
    yield found
    for process in found.all:
        process.kill()
        process.communicate()


def until(holds: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, queue.lines()
        time.sleep(0.03)


def runs(device: str = "cpu") -> list[str]:
    """Who stands in line, the one with the device marked."""
    return [p.run + "*" * p.holding for p in queue.line(device)]


def test_the_second_waits_until_the_first_has_left(jobs: Jobs) -> None:
    first = jobs.start("a")
    until(lambda: runs() == ["a*"])
    jobs.start("b")
    until(lambda: runs() == ["a*", "b"])
    standing = queue.standing("b")
    assert standing is not None
    assert (standing.device, standing.position, [p.name for p in standing.before]) == ("cpu", 2, ["a"])
    assert queue.standing("a") is None
    jobs.leave(first)
    until(lambda: runs() == ["b*"])
    assert queue.standing("b") is None


def test_first_come_first_served(jobs: Jobs) -> None:
    order = "abcd"
    for i, run in enumerate(order):
        jobs.start(run)
        until(lambda i=i: len(runs()) == i + 1)  # type: ignore[misc]
    for i, run in enumerate(order):
        until(lambda i=i, run=run: runs() == [f"{run}*", *order[i + 1 :]])  # type: ignore[misc]
        jobs.leave(jobs.all[i])
    assert queue.lines() == {}


def test_the_order_is_that_of_the_asking_not_of_the_getting_up(jobs: Jobs) -> None:
    holder = jobs.start("holder")
    until(lambda: runs() == ["holder*"])
    now = time.time_ns()
    for n, (run, asked) in enumerate([("third", now + 3), ("first", now + 1), ("second", now + 2)]):
        jobs.start(run, "cpu", str(asked))
        until(lambda n=n: len(runs()) == n + 2)  # type: ignore[misc]
    jobs.start("no word of when")
    until(lambda: runs() == ["holder*", "first", "second", "third", "no word of when"])
    standing = queue.standing("second")
    assert standing is not None
    assert (standing.position, [p.run for p in standing.before]) == (3, ["holder", "first"])
    jobs.leave(holder)
    until(lambda: runs() == ["first*", "second", "third", "no word of when"])
    # Who has the device keeps it, whoever asked before.
    jobs.start("earlier", "cpu", str(now))
    until(lambda: runs() == ["first*", "earlier", "second", "third", "no word of when"])
    jobs.leave(jobs.all[2])
    until(lambda: runs() == ["earlier*", "second", "third", "no word of when"])


def test_who_was_killed_blocks_nobody(jobs: Jobs) -> None:
    holder = jobs.start("holder")
    until(lambda: runs() == ["holder*"])
    waiter = jobs.start("waiter")
    until(lambda: runs() == ["holder*", "waiter"])
    jobs.start("last")
    until(lambda: runs() == ["holder*", "waiter", "last"])
    waiter.kill()
    waiter.wait()
    assert runs() == ["holder*", "last"]
    holder.kill()
    holder.wait()
    until(lambda: runs() == ["last*"])


def test_other_devices_do_not_wait(jobs: Jobs) -> None:
    jobs.start("a", "cuda:0")
    jobs.start("b", "cuda:1")
    until(lambda: (runs("cuda:0"), runs("cuda:1")) == (["a*"], ["b*"]))
    assert set(queue.lines()) == {"cuda:0", "cuda:1"}


def test_two_jobs_for_both_devices_do_not_wait_for_each_other(jobs: Jobs) -> None:
    one = jobs.start("one", "cuda:0,cuda:1")
    until(lambda: "one*" in runs("cuda:1"))
    other = jobs.start("other", "cuda:1,cuda:0")
    until(lambda: "other" in runs("cuda:0"))
    jobs.leave(one)
    until(lambda: runs("cuda:0") == runs("cuda:1") == ["other*"])
    assert queue.lines().keys() == {"cuda:0", "cuda:1"}
    jobs.leave(other)


def test_waiting_needs_no_model_stack(jobs: Jobs) -> None:
    job = jobs.start("a")
    assert job.communicate("\n", timeout=300)[0].strip() == "False"


def test_cancelled_while_waiting_leaves_the_line(jobs: Jobs) -> None:
    jobs.start("a")
    until(lambda: runs() == ["a*"])
    stop = threading.Event()
    got: list[bool] = []

    def wait() -> None:
        with queue.turn(["cpu"], run="b", cancelled=stop.is_set) as ours:
            got.append(ours)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: runs() == ["a*", "b"])
    stop.set()
    thread.join(timeout=300)
    assert got == [False]
    assert runs() == ["a*"]


def test_a_failure_inside_gives_the_device_back() -> None:
    with pytest.raises(ZeroDivisionError), queue.turn(["cpu"], run="a"):
        1 / 0
    with queue.turn(["cpu"], run="b") as ours:
        assert ours
        assert runs() == ["b*"]


def test_who_yields_hears_that_a_run_waits(jobs: Jobs) -> None:
    inspector = jobs.start("", "cpu", "yields")
    until(lambda: runs() == ["*"])
    assert not queue.wanted(inspector.pid)
    jobs.start("another", "cpu", "yields")
    until(lambda: len(runs()) == 2)
    assert not queue.wanted(inspector.pid)
    run = jobs.start("run")
    until(lambda: len(runs()) == 3)
    assert queue.wanted(inspector.pid)
    assert not queue.wanted(run.pid)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', json.dumps({"pid": "x", "host": this_host()})])
def test_a_torn_place_is_no_place(text: str) -> None:
    with queue.turn(["cpu"], run="a"):
        pass
    folder = next(p for p in (queue.runs_root() / queue.FOLDER).iterdir() if p.is_dir())
    (folder / "00000000000000000001-1.json").write_text(text)
    with queue.turn(["cpu"], run="b") as ours:
        assert ours


def test_a_number_that_went_to_another_process_is_no_place() -> None:
    with queue.turn(["cpu"], run="old"):
        (path,) = (queue.runs_root() / queue.FOLDER).glob("*/*.json")
        data = json.loads(path.read_text())
    # As if this process had been given the number of one that ended long ago.
    path.write_text(json.dumps({**data, "since": data["since"] - 10_000_000}))
    assert runs() == []
    assert not path.exists()


def test_a_line_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / queue.FOLDER).write_text("a file")
    with pytest.raises(SwayError, match="cannot get in line for cpu"), queue.turn(["cpu"], root=tmp_path):
        pass


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [queue.device_name(d) for d in ("cpu", "CUDA", "cuda:1", "mps")] == ["cpu", "cuda:0", "cuda:1", "mps"]
    # The same card under two numbers is one device.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-abc")
    assert [queue.device_name(d) for d in ("cuda", "cuda:1", "cuda:2")] == ["cuda:3", "cuda:GPU-abc", "cuda:2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert queue.device_name("auto") in ("cpu", "mps")


@pytest.mark.parametrize(("differential", "want"), [(True, ("cpu",)), (False, ("cpu", "cuda:1"))])
def test_only_models_that_are_loaded_take_a_device(differential: bool, want: tuple[str, ...]) -> None:
    text = (
        f"models: {{base: {{base: m, device: 'cuda:1'}}, ft: {{base: m, device: cpu}}}}\n"
        f"defaults: {{differential: {str(differential).lower()}}}\nsuite: []\n"
    )
    assert queue.devices(loads(text)) == want


def test_a_place_names_this_process() -> None:
    with queue.turn(["cpu"], run="r", name="a run"):
        (place,) = queue.line("cpu")
    assert (place.pid, place.name, place.holding, place.yields) == (os.getpid(), "a run", True, False)
