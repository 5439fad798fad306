"""Every state a run can be in says what it is and what can be done."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sway_dash.core import events as ev
from sway_dash.dash.failures import out_of_memory
from sway_dash.dash.pages.banner import banner, in_line, ordinal
from sway_dash.dash.pages.run_bar import RunBar, strip
from sway_dash.dash.state import RunState
from sway_dash.suite.processes import this_host
from sway_dash.suite.queue import Place, Standing
from sway_dash.suite.store import EVENTS, RunFolder
from tests.dash.conftest import suite_text

NOW = 1_800_000_000.0
PLAN = (ev.PlannedProbe(name="moved", kind="delta_kl", category="adherence", measurements=24),)

Told = Callable[..., RunState]


def measured(i: int, **fields: Any) -> ev.Measurement:
    values = {"js": 0.1, "kl": 0.1, "kl_reverse": 0.1, "same_top": 1.0, **fields}
    return ev.Measurement(ts=NOW + i, probe="moved", item=i, prompt=f"prompt {i}", **values)


def place(name: str, *, holding: bool = False) -> Place:
    return Place("", 1, 0.0, name, name, holding=holding)


STARTED = ev.RunStarted(seq=1, ts=NOW, base_model_id="models/base", adapter_id="out/cook", probes=PLAN)
MEASURING = ev.Phase(ts=NOW, phase="probe", name="moved")


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """A run whose events are these; ``alive`` while this process is its worker."""

    def make(*events: ev.Event, alive: bool = False, **meta: Any) -> RunState:
        folder = RunFolder.create(suite_text(), root=tmp_path / "runs", name="cook")
        for event in events:
            folder.append(event)
        folder.close()
        if alive:
            import os

            folder.write_meta(pid=os.getpid(), host=this_host(), claimed_at=NOW - 1)
        folder.write_meta(**meta)
        state = RunState()
        state.open(folder)
        return state

    return make


def test_no_run_says_nothing() -> None:
    assert banner(RunState()) == ""
    assert "No run yet" in RunBar(run=RunState())._head.object


def test_a_waiting_run_says_where_and_behind_whom(told: Told) -> None:
    state = told()
    state.feed.standing = Standing("cuda:0", 3, (place("<b>A</b>", holding=True), place("B")))  # type: ignore[union-attr]
    state.status = "queued"
    text = banner(state)
    assert "3rd in line for cuda:0, behind &lt;b&gt;A&lt;/b&gt;, then B." in text


def test_an_inspector_has_no_name_but_is_named() -> None:
    assert in_line(Standing("cpu", 2, (place("", holding=True),))) == "2nd in line for cpu, behind an open inspector"
    many = (place("A", holding=True), *(place(n) for n in "BCDEF"))
    assert in_line(Standing("cpu", 7, many)).endswith("behind A, then B, then C, then D and 2 more")
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd"]
    )


def test_a_starting_worker_is_announced(told: Told) -> None:
    state = told(alive=True)
    assert state.status == "starting"
    assert "worker process is starting" in banner(state)


def test_loading_names_its_steps_with_seconds(told: Told) -> None:
    state = told(
        STARTED,
        ev.Phase(ts=NOW, phase="loading", name="base"),
        ev.Phase(ts=NOW, phase="loading", name="base", detail="cook", step="packages"),
        ev.Phase(ts=NOW + 4, phase="loading", name="base", detail="cook", step="weights (2.5 GB)"),
        alive=True,
    )
    text = banner(state, now=NOW + 10)
    assert "base with adapter cook" in text
    assert "packages 4.0 s → weights (2.5 GB) 6.0 s so far" in text
    assert 'role="status"' not in text, "a screen reader would read it every second"


def test_the_check_of_the_model_is_a_step(told: Told) -> None:
    state = told(STARTED, ev.Phase(ts=NOW, phase="preflight"), alive=True)
    assert "preflight 2.0 s so far" in banner(state, now=NOW + 2)


def test_without_a_result_the_first_is_on_its_way(told: Told) -> None:
    assert "first result is on its way" in banner(told(STARTED, MEASURING, alive=True), now=NOW)


def test_few_results_have_no_interval_yet(told: Told) -> None:
    text = banner(told(STARTED, MEASURING, *(measured(i) for i in range(3)), alive=True))
    assert "3 prompts measured; a mean has an interval from 4 prompts" in text
    assert banner(told(STARTED, MEASURING, *(measured(i) for i in range(4)), alive=True)) == ""


def test_a_stopping_run_says_when_it_ends(told: Told) -> None:
    state = told(STARTED, MEASURING, measured(0), alive=True)
    state.folder.request_stop()  # type: ignore[union-attr]
    state.pull()
    assert "ends after its current batch" in banner(state)


def test_a_finished_run_has_no_banner(told: Told) -> None:
    assert banner(told(STARTED, MEASURING, measured(0), ev.RunFinished(ts=NOW + 5))) == ""


def test_a_stopped_run_says_what_its_numbers_use(told: Told) -> None:
    state = told(STARTED, MEASURING, *(measured(i) for i in range(14)), ev.RunCancelledEvent(ts=NOW + 20))
    assert "14 of 24. The numbers below use these." in banner(state)
    while_loading = ev.RunCancelledEvent(ts=NOW + 20, reason="stopped while the model was loaded")
    text = banner(told(STARTED, while_loading))
    assert "Nothing was measured." in text
    assert "stopped while the model was loaded" in text


def test_a_worker_that_died_says_how_and_what_is_safe(told: Told) -> None:
    events = (STARTED, MEASURING, *(measured(i) for i in range(14)))
    assert "ended without saying so, likely killed or out of memory. 14 measurements are safe." in banner(told(*events))
    state = told(*events, exit="killed; likely out of memory")
    text = banner(state, worker_log="Traceback <script>")
    assert "The worker exited (killed; likely out of memory). 14 measurements are safe." in text
    assert "Traceback &lt;script&gt;" in text


def test_a_failed_load_offers_to_try_again(told: Told) -> None:
    state = told(STARTED, ev.RunFailed(ts=NOW + 3, message="the base x cannot be loaded"))
    assert "the base x cannot be loaded" in banner(state)
    bar = RunBar(run=state)
    assert (bar._resume.visible, bar._resume.label) == (True, "Try again")
    state = told(STARTED, MEASURING, measured(0), ev.RunFailed(ts=NOW + 3, message="the disk is gone"))
    assert RunBar(run=state)._resume.label == "Resume"


@pytest.mark.parametrize(
    ("message", "needed", "free", "device"),
    [
        (
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 1 has a total capacity of 79.10 GiB of which 1.25 GiB"
            " is free. Process 7 has 77 GiB memory in use.",
            2.5 * 2**30,
            1.25 * 2**30,
            "GPU 1",
        ),
        (
            "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 14.76 GiB total capacity; 13.50 GiB already"
            " allocated; 11.75 MiB free; 13.6 GiB reserved in total by PyTorch)",
            20 * 2**20,
            11.75 * 2**20,
            "GPU 0",
        ),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory: you tried"
            " to allocate 8589934592 bytes. Error code 12 (Cannot allocate memory)",
            2.0**33,
            None,
            "main memory",
        ),
        ("MPS backend out of memory (MPS allocated: 5.05 GB). Tried to allocate 1.00 GB", 1e9, None, "the GPU"),
        ("MemoryError: ", None, None, "main memory"),
    ],
)
def test_running_out_of_memory_is_recognised(
    message: str, needed: float | None, free: float | None, device: str
) -> None:
    found = out_of_memory(message)
    assert found is not None
    assert (found.needed, found.free, found.device) == (needed, free, device)


def test_other_failures_are_not_about_memory() -> None:
    assert out_of_memory("the base folder holds only pickled weights") is None
    assert out_of_memory("Memory card reader: 5 GB free") is None


def test_running_out_of_memory_says_what_to_try(told: Told) -> None:
    message = (
        "the base x cannot be loaded: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of"
        " 79.10 GiB of which 1.25 GiB is free."
    )
    failed = ev.RunFailed(ts=NOW + 3, message=message)
    text = banner(told(STARTED, ev.Phase(ts=NOW, phase="loading", name="x"), failed))
    assert "2.68 GB more was needed and 1.34 GB was free on GPU 0. The models themselves did not fit." in text
    assert "bf16" in text
    assert "device: cpu" in text


def test_a_probe_that_ran_out_of_memory_says_so_in_a_finished_run(told: Told) -> None:
    row = {"name": "moved", "kind": "delta_kl", "verdict": "error", "score": None, "message": "MemoryError: no room"}
    state = told(STARTED, MEASURING, ev.ProbeFinished(ts=NOW + 1, result=row), ev.RunFinished(ts=NOW + 2))
    text = banner(state)
    assert "Out of memory." in text
    assert "a single prompt did not fit" in text
    assert "device: cpu" not in text, "it ran there"


def test_unreadable_lines_are_counted(told: Told) -> None:
    state = told(STARTED, MEASURING, measured(0))
    path = state.folder.path / EVENTS  # type: ignore[union-attr]
    with path.open("a") as file:
        file.write("not json\n" + '{"type": "from_the_future"}\n' + "[1]\n" + '{"torn')
    state.feed.poll(now=True)  # type: ignore[union-attr]
    state.pull()
    assert state.done == 1
    assert "3 lines of the run&#x27;s files" in banner(state, skipped=state.feed.skipped)  # type: ignore[union-attr]


def test_a_newer_version_is_named(told: Told) -> None:
    newer = STARTED.model_copy(update={"schema_version": ev.EVENT_SCHEMA + 1, "sway_version": "9.9"})
    text = banner(told(newer, MEASURING, measured(0), ev.RunFinished(ts=NOW + 1)))
    assert "Version 9.9 wrote this run" in text


def test_an_imported_report_says_what_it_is(told: Told) -> None:
    assert "From report.json: a result without its run" in banner(told(STARTED), imported="report.json")


def test_the_strip_tells_speed_time_left_and_memory(told: Told) -> None:
    events = [ev.Phase(ts=NOW, phase="probe", name="moved"), *(measured(i) for i in range(1, 11))]
    state = told(STARTED, *events, alive=True)
    text = strip(state.feed, NOW + 11)  # type: ignore[arg-type]
    assert text.startswith("moved: 10 of 24, 0.909/s, about 15 s left")
    assert "whole run" not in text, "it is this probe"
    two = STARTED.model_copy(update={"probes": (*PLAN, PLAN[0].model_copy(update={"name": "more"}))})
    text = strip(told(two, *events, alive=True).feed, NOW + 11)  # type: ignore[arg-type]
    assert "about 15 s left · whole run, 0.909/s, about 42 s left" in text
    assert "worker holds" in text
    few = told(STARTED, *events[:5], alive=True)
    assert "left" not in strip(few.feed, NOW + 5)  # type: ignore[arg-type]


def test_a_finished_run_whose_process_lives_records_details(told: Told) -> None:
    state = told(STARTED, MEASURING, measured(0), ev.RunFinished(ts=NOW + 5), alive=True)
    assert state.status == "finished"
    assert strip(state.feed, time.time()).startswith("the worker is ending")  # type: ignore[arg-type]
    (state.folder.path / "tokens.jsonl").touch()  # type: ignore[union-attr]
    assert strip(state.feed, time.time()).startswith("recording token details")  # type: ignore[arg-type]
    assert RunBar(run=state)._cancel.visible
    state.folder.release()  # type: ignore[union-attr]
    state.feed.poll(now=True)  # type: ignore[union-attr]
    state.pull()
    bar = RunBar(run=state)
    assert (bar._strip.visible, bar._cancel.visible) == (False, False)
