"""Workers: they finish, stop, are killed, die, and are found again. Real processes on the fake backend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from sway_dash.core.events import Measurement, Phase, RunCancelledEvent, RunStarted
from sway_dash.core.result import ProbeResult
from sway_dash.dash import jobs, runs
from sway_dash.dash.pages.banner import banner
from sway_dash.dash.pages.run_bar import RunBar
from sway_dash.dash.pages.runs import RunsView
from sway_dash.dash.state import RunState
from sway_dash.suite import queue
from sway_dash.suite.report import load_result
from sway_dash.suite.store import RESULT, RunFolder, RunFolderError
from tests.dash.conftest import ROOT, suite_text

pytestmark = pytest.mark.usefixtures("fakes")


def wait(state: RunState, until: Callable[[], bool], seconds: float = 300.0) -> None:
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


def keyed(kind: str = "Slow", **options: Any) -> str:
    """A suite whose measurements have keys, so that they can be taken over; ``kind`` is a class of ``fakes_cli``."""
    text = suite_text(**{"nulls": 3, "ablation": False, "prompts": 40, **options})
    return text.replace("tests.fakes:FakeBackend", f"tests.fakes_cli:{kind}")


def begin(tmp_path: Path, text: str, name: str = "job") -> tuple[RunFolder, RunState]:
    folder = jobs.start(text, base_dir=tmp_path, name=name, root=tmp_path / "runs")
    state = RunState()
    state.open(folder)
    return folder, state


@pytest.fixture(autouse=True)
def _nothing_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path / "runs"))
    yield
    for process in list(jobs._workers.values()):
        process.kill()
        process.wait()
    jobs.reap()


def test_a_worker_measures_and_ends(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "plain")
    pid = folder.meta()["pid"]
    assert state.live
    wait(state, lambda: not state.live)
    assert (state.status, state.word) == ("finished", "changed")
    wait(state, lambda: not state.feed.lingering)  # type: ignore[union-attr]
    assert (folder.path / "result.json").is_file()
    jobs._workers[pid].wait(timeout=300)
    assert not psutil.pid_exists(pid), "its memory has not been given back"
    assert state.feed.memory is None  # type: ignore[union-attr]


def test_cancel_keeps_what_was_measured(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "slow", prompts=40)
    wait(state, lambda: state.done >= 3)
    jobs.cancel(folder)
    wait(state, lambda: not state.live)
    assert state.status == "cancelled"
    assert state.word == "inconclusive"
    assert 3 <= state.done < state.total
    assert (folder.path / "result.json").is_file()


def test_stop_before_it_has_begun_ends_it_at_once(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "slow", prompts=200)
    jobs.cancel(folder, grace_s=10_000)
    wait(state, lambda: not state.live)
    assert (state.status, state.done) == ("cancelled", 0)
    assert not folder.is_alive()


def test_stop_while_loading_ends_it_at_once(tmp_path: Path) -> None:
    folder, state = begin(tmp_path, keyed("Heavy"))
    wait(state, lambda: state.phase == "loading the model")
    wait(state, lambda: "weights (2.5 GB)" in banner(state))
    jobs.cancel(folder, grace_s=10_000)
    wait(state, lambda: not state.live)
    assert (state.status, state.done) == ("cancelled", 0)
    assert "stopped while the model was loaded" in banner(state)
    assert load_result(folder.path / RESULT)[0].status == "cancelled"
    bar = RunBar(run=state)
    assert (bar._resume.visible, bar._resume.label) == (True, "Try again")


def test_a_worker_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "deaf", prompts=200, nulls=0)
    wait(state, lambda: state.done >= 3)
    watcher = jobs.cancel(folder, grace_s=0.2)
    wait(state, lambda: not state.live)
    watcher.join(timeout=3000)
    assert state.status == "cancelled"
    assert "killed" in state.data.fold.reason
    assert not folder.is_alive()


def plain(result: ProbeResult) -> dict[str, Any]:
    """A probe's result without what the clock has put into it, and without how much of it was measured anew."""
    from sway_dash.suite.fold import probe_to_dict

    found = {k: v for k, v in probe_to_dict(result).items() if k != "duration_s"}
    origin = ("measured", "reused", "from_cache")
    return {**found, "evidence": {k: v for k, v in found["evidence"].items() if k not in origin}}


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_resume_measures_only_what_is_missing_and_ends_like_an_uninterrupted_run(tmp_path: Path, how: str) -> None:
    whole, state = begin(tmp_path, keyed(), "whole")
    wait(state, lambda: not state.live)
    folder, state = begin(tmp_path, keyed())
    # Three draws on 40 prompts, then the prompts: both have been begun and neither is done.
    wait(state, lambda: state.done >= 130)
    if how == "killed":
        os.kill(folder.meta()["pid"], signal.SIGKILL)
    else:
        jobs.cancel(folder)
    wait(state, lambda: not state.live)
    wait(state, lambda: not RunBar(run=state)._resume.disabled)
    jobs.reap()
    safe = folder.measurements()
    assert 130 <= len(safe) < 160
    if how == "killed":
        state.feed.poll(now=True)  # type: ignore[union-attr]
        state.pull()
        assert f"(killed; likely out of memory). {len(safe)} measurements are safe." in banner(state)
    assert RunBar(run=state)._resume.label == "Resume"
    jobs.launch(folder, resume=True)
    wait(state, lambda: state.status == "finished")
    assert state.done == state.total == 160

    events = folder.tail().read()
    (again,) = (i for i, e in enumerate(events) if isinstance(e, RunStarted) and e.resumed)
    fresh = [e for e in events[again:] if isinstance(e, Measurement) and not e.reused]
    assert not {e.key for e in fresh} & set(safe), "measured twice"
    assert len(fresh) == 160 - len(safe)
    results = [load_result(f.path / RESULT)[0] for f in (whole, folder)]
    assert [plain(p) for p in results[0].probes] == [plain(p) for p in results[1].probes]


def test_an_unfinished_run_whose_processes_are_all_gone_is_found_interrupted(tmp_path: Path) -> None:
    folder = serve_and_die(tmp_path, suite_text("slow", prompts=5000, nulls=0))
    wait_for(lambda: len(folder.fold().measurements.get("moved", ())) > 3)
    os.kill(folder.meta()["pid"], signal.SIGKILL)
    wait_for(lambda: not folder.is_alive())
    (found,) = runs.everything()
    assert (found.id, found.status) == (folder.id, "interrupted")
    state = RunState()
    state.open(folder)
    assert state.status == "interrupted"
    assert "has ended without saying so" in banner(state)


def test_a_run_goes_on_without_its_server_and_a_new_one_finds_it(tmp_path: Path) -> None:
    folder = serve_and_die(tmp_path, suite_text("slow", prompts=200, nulls=0, ablation=False))
    state = RunState()
    state.open(folder)
    assert state.live
    wait(state, lambda: state.status == "running" and 0 < state.done < 200)
    wait(state, lambda: not state.live)
    assert (state.status, state.done) == ("finished", 200)


SERVER = """
import sys, time
from pathlib import Path
from sway_dash.dash import jobs
folder = jobs.start(Path(sys.argv[1]).read_text(), base_dir=Path(sys.argv[1]).parent, name="job")
print(folder.path, flush=True)
time.sleep(600)
"""


def serve_and_die(tmp_path: Path, text: str) -> RunFolder:
    """Another process starts a run and is killed."""
    (tmp_path / "suite.yaml").write_text(text)
    command = [sys.executable, "-c", SERVER, str(tmp_path / "suite.yaml")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    path = server.stdout.readline().strip()  # type: ignore[union-attr]
    server.kill()
    server.communicate()
    return RunFolder.open(path)


def wait_for(holds: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- the line -----------------------------------------------------------------------------------


def phases(folder: RunFolder) -> list[float]:
    """When the model was first loaded and when the run ended."""
    events = folder.tail().read()
    return [next(e.ts for e in events if isinstance(e, Phase)), events[-1].ts]


def test_two_runs_on_one_device_run_one_after_the_other(tmp_path: Path) -> None:
    first, one = start(tmp_path, "slow", prompts=5000, nulls=0, ablation=False)
    wait(one, lambda: one.status == "running")
    second, other = start(tmp_path, "slow", prompts=5, nulls=0, ablation=False)
    wait(other, lambda: other.status == "queued")
    assert "2nd in line for cpu, behind job." in banner(other)
    assert (RunBar(run=other)._cancel.visible, RunBar(run=other)._progress.visible) == (True, False)
    assert [r.status for r in runs.everything()] == ["queued", "running"]
    assert second.fold().started is None, "it has begun to load"
    jobs.cancel(first)
    wait(other, lambda: not other.live)
    wait(one, lambda: not one.live)
    assert (one.status, other.status) == ("cancelled", "finished")
    assert phases(first)[1] <= phases(second)[0]


def test_a_run_stopped_in_line_never_loads_and_lets_the_next_one_pass(tmp_path: Path) -> None:
    first, one = start(tmp_path, "slow", prompts=5000, nulls=0, ablation=False)
    wait(one, lambda: one.status == "running")
    second, other = start(tmp_path, "slow", prompts=5, nulls=0)
    wait(other, lambda: other.status == "queued")
    third, last = start(tmp_path, "slow", prompts=5, nulls=0)
    wait(last, lambda: last.status == "queued")
    assert "3rd in line" in banner(last)
    jobs.cancel(second)
    wait(other, lambda: not other.live)
    assert (other.status, other.done) == ("cancelled", 0)
    assert [type(e) for e in second.tail().read()] == [RunCancelledEvent]
    assert one.live
    wait(last, lambda: "2nd in line" in banner(last))
    jobs.cancel(first)
    wait(last, lambda: last.status == "finished")
    assert third.fold().done


def test_a_stop_file_is_enough_for_a_run_in_line(tmp_path: Path) -> None:
    with queue.turn(["cpu"], name="another"):
        folder, state = start(tmp_path, "plain")
        wait(state, lambda: state.status == "queued")
        folder.request_stop()
        wait(state, lambda: not state.live)
    assert state.status == "cancelled"
    assert "stopped while it waited for its device" in banner(state)


def test_runs_stand_in_line_in_the_order_in_which_they_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([5, 1, 3])
    clock = {**vars(time), "time_ns": lambda: next(moments)}
    monkeypatch.setattr(jobs, "time", SimpleNamespace(**clock))
    with queue.turn(["cpu"], name="another", asked=0):
        found = [start(tmp_path, "plain", prompts=4, nulls=0, ablation=False) for _ in range(3)]
        for _, state in found:
            wait(state, lambda state=state: state.status == "queued")  # type: ignore[misc]
        places = [p for p in queue.line("cpu") if not p.holding]
        late, early, middle = (folder for folder, _ in found)
        assert [p.run for p in places] == [early.id, middle.id, late.id]
        assert [int(p.ticket.split("-")[0]) for p in places] == [1, 3, 5]
    for _, state in found:
        wait(state, lambda state=state: state.status == "finished")  # type: ignore[misc]
    begun = [folder.fold().started.ts for folder in (early, middle, late)]  # type: ignore[union-attr]
    assert begun == sorted(begun)


def test_a_run_in_line_is_stopped_from_the_list_of_runs(tmp_path: Path) -> None:
    with queue.turn(["cpu"], name="another"):
        folder, state = start(tmp_path, "plain")
        wait(state, lambda: state.status == "queued")
        page = RunsView()
        assert [(item[0], item[1][0], item[2]) for item in page._list.items] == [(folder.id, "… 2nd in line", True)]
        page._list._handle_msg({"what": "stop", "run": "another"})
        assert state.live
        page._list._handle_msg({"what": "stop", "run": folder.id})
        wait(state, lambda: not state.live)
    assert (state.status, state.done) == ("cancelled", 0)
    page.pull()
    assert [(item[1][0], item[2]) for item in page._list.items] == [("◇ cancelled", False)]


def test_a_run_that_is_being_stopped_says_so_in_the_list_and_is_stopped_once(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "deaf", prompts=200, nulls=0)
    wait(state, lambda: state.done >= 3)
    folder.request_stop()
    page = RunsView()
    assert [(item[1][0], item[2]) for item in page._list.items] == [("… stopping", False)]
    assert jobs.kill(folder)
    page.pull()
    assert [(item[1][0], item[2]) for item in page._list.items] == [("◇ cancelled", False)]


def test_a_resumed_run_that_is_stopped_in_line_keeps_its_end(tmp_path: Path) -> None:
    folder, state = begin(tmp_path, keyed())
    wait(state, lambda: state.done >= 125)
    jobs.cancel(folder)
    wait(state, lambda: not state.live)
    wait(state, lambda: not folder.is_alive())
    before, done = len(folder.tail().read()), state.done
    with queue.turn(["cpu"], name="another"):
        jobs.launch(folder, resume=True)
        wait(state, lambda: state.status == "queued")
        jobs.cancel(folder)
        wait(state, lambda: not state.live)
    assert (state.status, state.done) == ("cancelled", done)
    assert len(folder.tail().read()) == before


# -- what goes wrong ----------------------------------------------------------------------------


def test_a_model_that_cannot_be_loaded_fails_with_its_reason(tmp_path: Path) -> None:
    _, state = start(tmp_path, "noload")
    wait(state, lambda: not state.live)
    assert state.status == "failed"
    assert "cannot be read" in state.data.fold.reason
    assert state.word == "broken"
    assert RunBar(run=state)._resume.label == "Try again"


NOWHERE = """\
models:
  base: {base: ./nowhere, device: cpu}
  ft: {base: ./nowhere, device: cpu, adapter: ./mine}
suite:
  - {name: moved, kind: delta_kl, prompts: [one, two, three, four]}
"""


@pytest.mark.parametrize(("text", "said"), [("models: [", ""), (NOWHERE, "mine does not exist")], ids=["text", "model"])
def test_what_cannot_be_measured_fails_before_it_waits(tmp_path: Path, text: str, said: str) -> None:
    with queue.turn(["cpu"], name="another"):
        folder, state = begin(tmp_path, text)
        wait(state, lambda: not state.live)
    assert state.status == "failed"
    assert state.data.fold.reason
    assert said in state.data.fold.reason
    # The events tell it first.
    wait(state, (folder.path / RESULT).exists)
    assert load_result(folder.path / RESULT)[0].status == "failed"


def test_one_worker_at_a_time(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "slow", prompts=100)
    with pytest.raises(RunFolderError, match="is being run by process"):
        jobs.launch(folder, resume=True)
    bar = RunBar(run=state)
    bar.param.trigger("resume")
    jobs.cancel(folder)
    wait(state, lambda: state.status == "cancelled")


def test_a_worker_of_another_folder_is_left_alone(tmp_path: Path) -> None:
    folder, state = start(tmp_path, "slow", prompts=100, nulls=0, ablation=False)
    wait(state, lambda: state.done > 0)
    other = RunFolder.create(suite_text(), root=tmp_path / "runs")
    other.write_meta(**{k: folder.meta()[k] for k in ("pid", "host", "claimed_at")})
    assert jobs.kill(other) is False
    assert folder.is_alive()
    assert jobs.kill(folder)


def test_kill_leaves_other_processes_alone(tmp_path: Path) -> None:
    folder = RunFolder.create(suite_text(), root=tmp_path)
    folder.claim()  # this process
    assert jobs.kill(folder) is False
