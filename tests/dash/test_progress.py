"""How far, how fast, how long: from the moments of events."""

from __future__ import annotations

from typing import Any

import pytest

from sway_dash.core.events import (
    Event,
    ItemFailed,
    Measurement,
    ModelReady,
    Phase,
    PlannedProbe,
    ProbeFinished,
    RunCancelledEvent,
    RunStarted,
)
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.dash.pages.run_bar import _left
from sway_dash.dash.progress import MIN_ITEMS, Counter, Progress
from sway_dash.suite.fold import Fold, probe_to_dict

PLAN = (
    PlannedProbe(name="noise", kind="null_adapter", category="baseline", measurements=20),
    PlannedProbe(name="off", kind="delta_kl", category="adherence", enabled=False, measurements=7),
    PlannedProbe(name="moved", kind="delta_kl", category="adherence", measurements=10),
)


def measured(ts: float, **fields: Any) -> Measurement:
    return Measurement(ts=ts, probe="moved", item=0, prompt="p", js=0.1, kl=0.1, kl_reverse=0.1, same_top=1, **fields)


def progress(*events: Event) -> Progress:
    found = Progress()
    for event in (RunStarted(ts=0.0, probes=PLAN), *events):
        found.add(event)
    return found


def test_only_enabled_probes_are_counted() -> None:
    p = progress()
    assert (p.whole.done, p.whole.total, list(p.probes)) == (0, 30, ["noise", "moved"])


def test_null_draws_count_for_the_probe_that_asked_for_them() -> None:
    p = progress(Phase(ts=1.0, phase="probe", name="noise"), measured(2.0, role="null"), measured(3.0, role="null"))
    assert p.current is p.probes["noise"]
    assert (p.probes["noise"].done, p.probes["moved"].done, p.whole.done) == (2, 0, 2)


def test_loading_counts_for_no_rate_and_few_measurements_give_none() -> None:
    p = progress(Phase(ts=0.0, phase="loading"), Phase(ts=100.0, phase="probe", name="noise"))
    for i in range(MIN_ITEMS):
        assert p.whole.rate(100.0 + i) is None
        assert p.whole.left(100.0 + i) is None
        p.add(measured(101.0 + i))
    now = 100.0 + MIN_ITEMS + 0.5
    assert p.whole.rate(now) == pytest.approx(MIN_ITEMS / (MIN_ITEMS + 0.5))
    # From the middle of a second on, that is one a second: 25 of 30 are left.
    assert p.whole.left(100.0 + MIN_ITEMS + 1e-9) == pytest.approx(25.0, rel=0.01)
    assert p.probes["noise"].left(100.0 + MIN_ITEMS + 1e-9) == pytest.approx(15.0, rel=0.01)


def test_what_was_taken_over_is_done_and_says_nothing_about_speed() -> None:
    p = progress(Phase(ts=10.0, phase="probe", name="moved"))
    for _ in range(8):
        p.add(measured(10.01, reused=True))
    assert (p.whole.done, p.whole.fresh, p.whole.rate(11.0)) == (8, 0, None)


def test_an_item_that_failed_took_its_time_too() -> None:
    p = progress(Phase(ts=0.0, phase="probe", name="moved"))
    for i in range(1, 7):
        p.add(ItemFailed(ts=float(i), probe="moved", item=i, prompt="p"))
    assert p.whole.done == 6
    assert p.whole.rate(6.5) == pytest.approx(6 / 6.5)


def test_a_probe_that_is_over_leaves_nothing_to_wait_for() -> None:
    p = progress(Phase(ts=0.0, phase="probe", name="noise"))
    for i in range(1, 9):
        p.add(measured(float(i)))
    p.add(ProbeFinished(ts=9.0, result={}))
    assert p.current is None
    assert (p.probes["noise"].left(9.5), p.probes["noise"].rate(9.5)) == (None, None)
    assert p.whole.left(9.5) is not None
    p.add(RunCancelledEvent(ts=10.0))
    assert p.whole.left(10.5) is None


def test_what_is_left_is_the_least_while_probes_without_measurements_are_to_come() -> None:
    plan = (
        PlannedProbe(name="noise", kind="null_adapter", category="baseline", measurements=20, open_ended=True),
        PlannedProbe(name="moved", kind="delta_kl", category="adherence", measurements=10),
        PlannedProbe(name="off", kind="leakage", category="attribution", enabled=False, open_ended=True),
    )
    p, fold = Progress(), Fold()

    def add(event: Event) -> None:
        p.add(event)
        fold.add(event)

    def left(counter: Counter) -> str:
        return _left(counter, 9.5)

    add(RunStarted(ts=0.0, probes=plan))
    add(Phase(ts=0.0, phase="probe", name="noise"))
    for i in range(1, 9):
        add(measured(float(i), role="null"))
    assert "at least" in left(p.whole)
    assert "at least" in left(p.probes["noise"])
    assert fold.open_ended
    row = ProbeResult("noise", "null_adapter", Verdict.PASS, 1.0)
    add(ProbeFinished(ts=9.0, result=probe_to_dict(row)))
    assert "about" in left(p.whole)
    assert not fold.open_ended


def test_the_steps_of_loading_have_their_seconds() -> None:
    p = progress(
        Phase(ts=0.0, phase="loading", name="base"),
        Phase(ts=0.0, phase="loading", name="base", step="packages"),
        Phase(ts=4.0, phase="loading", name="base", step="weights (2.5 GB)"),
    )
    assert [(s.name, s.seconds, s.over) for s in p.steps(6.0)] == [
        ("packages", 4.0, True),
        ("weights (2.5 GB)", 2.0, False),
    ]
    p.add(ModelReady(ts=9.0))
    p.add(Phase(ts=9.0, phase="preflight"))
    assert [(s.name, s.seconds, s.over) for s in p.steps(10.0)][1:] == [
        ("weights (2.5 GB)", 5.0, True),
        ("preflight", 1.0, False),
    ]
    p.add(Phase(ts=11.0, phase="probe", name="noise"))
    assert p.steps(50.0)[-1].seconds == 2.0
    assert p.steps(50.0)[-1].over


def test_a_backend_that_names_no_steps_loads_a_model() -> None:
    p = progress(Phase(ts=1.0, phase="loading", name="base"))
    assert [(s.name, s.seconds) for s in p.steps(3.0)] == [("model", 2.0)]


def test_stopped_while_loading_time_stands_still() -> None:
    p = progress(Phase(ts=1.0, phase="loading", step="weights"), RunCancelledEvent(ts=3.0))
    assert [(s.seconds, s.over) for s in p.steps(99.0)] == [(2.0, True)]


def test_another_attempt_counts_anew() -> None:
    p = progress(Phase(ts=0.0, phase="probe", name="moved"), measured(1.0))
    p.add(RunStarted(ts=5.0, probes=PLAN, resumed=True))
    assert (p.whole.done, p.current, p.steps(9.0)) == (0, None, [])
