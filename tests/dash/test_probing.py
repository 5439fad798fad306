"""A prompt asked by hand, with real processes behind it and no browser before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import psutil
import pytest

from sway_dash.core.errors import SwayError
from sway_dash.dash import probing
from sway_dash.dash.probing import Probing
from sway_dash.suite.loader import loads
from tests.dash.conftest import suite_text


def until(probe: Probing, holds: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, (probe.state, probe.error)
        probe.pull()
        time.sleep(0.02)


@pytest.fixture
def make(fakes: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Probing]]:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path))
    found: list[Probing] = []

    def new() -> Probing:
        found.append(Probing())
        return found[-1]

    yield new
    for probe in found:
        probe.unload()
    assert probing._models == {}


def first_js(probe: Probing) -> float:
    assert probe.detail is not None
    return next(t.prediction.js for t in probe.detail.tokens if t.part == "continuation" and t.prediction)


def test_a_question_is_answered_once_the_model_is_there(make: Callable[[], Probing], fakes: Any) -> None:
    from sway_dash.core.scoring import BASE, FINETUNED

    probe = make()
    probe.text = "The light is"
    probe.load(loads(suite_text()))
    assert probe.state in ("starting", "waiting", "ready", "busy")
    until(probe, lambda: probe.detail is not None)
    assert probe.detail.prompt == "The light is"
    assert first_js(probe) == pytest.approx(fakes.comparison("The light is", BASE, FINETUNED).js, rel=1e-5)
    assert probe.memory > 0


def test_only_the_newest_strength_is_waited_for(make: Callable[[], Probing]) -> None:
    probe = make()
    probe.load(loads(suite_text()))
    probe.text = "The light is"
    for lam in (0.2, 0.4, 0.6, 0.0):
        probe.lam = lam
        probe.pull()
    until(probe, lambda: probe.asked == ("The light is", 0.0))
    assert first_js(probe) == 0.0


def test_the_noise_of_the_suite_can_stand_in_the_adapters_place(make: Callable[[], Probing], fakes: Any) -> None:
    from sway_dash.core.scoring import BASE, View

    spec = loads(suite_text(nulls=0))
    noise = {"name": "noise", "kind": "null_adapter", "seed_base": 500, "init_scale": 0.1}
    probe = make()
    probe.load(spec.model_copy(update={"suite": [noise, *spec.suite]}))
    until(probe, lambda: probe.state == "ready")
    # As the suite draws it.
    assert probe.noises["gaussian"] == View.null(500, init_scale=0.1)
    probe.noise = View.null(501, init_scale=0.1)
    probe.text = "The light is"
    until(probe, lambda: probe.detail is not None)
    assert probe.asked_noise == probe.noise
    assert first_js(probe) == pytest.approx(fakes.comparison("The light is", BASE, probe.noise).js, rel=1e-5)
    probe.noise = None
    until(probe, lambda: probe.asked_noise is None)
    assert first_js(probe) > 0.0


def test_noises_of_a_suite_come_before_those_it_does_not_draw() -> None:
    from sway_dash.core.scoring import View

    spec = loads(suite_text(nulls=0))
    entries = [
        {"name": "a", "kind": "null_adapter", "distribution": "spectrum", "rank_multipliers": [0.5, 2.0]},
        {"name": "b", "kind": "null_adapter", "distribution": "spectrum", "seed_base": 7},
    ]
    found = probing._noises(spec.model_copy(update={"suite": [*entries, *spec.suite]}))
    assert list(found) == ["spectrum", "gaussian", "norm_matched"]
    assert found["spectrum"] == View.null(1000, rank_scale=0.5, style="spectrum")


def test_two_sessions_share_a_process_and_the_last_ends_it(make: Callable[[], Probing]) -> None:
    a, b = make(), make()
    for probe in (a, b):
        probe.text = "The light is"
        probe.load(loads(suite_text()))
    pid = a._inspector.pid
    assert pid == b._inspector.pid
    for probe in (a, b):
        until(probe, lambda probe=probe: probe.detail is not None)
    a.leave()
    assert psutil.pid_exists(pid)
    inspector = b._inspector
    b.leave()
    end = time.monotonic() + 300
    while inspector.pid is not None:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_model_that_cannot_be_loaded_says_why(make: Callable[[], Probing]) -> None:
    probe = make()
    probe.text = "x"
    probe.load(loads(suite_text("noload")))
    until(probe, lambda: probe.state == "failed")
    assert "cannot be read" in probe.error


def test_a_process_that_is_killed_says_so_and_can_be_loaded_again(make: Callable[[], Probing]) -> None:
    probe = make()
    probe.load(loads(suite_text()))
    until(probe, lambda: probe.state == "ready")
    psutil.Process(probe._inspector.pid).kill()
    until(probe, lambda: probe.state == "ended")
    assert "SIGKILL" in probe.error
    probe.text = "The light is"
    probe.load(loads(suite_text()))
    until(probe, lambda: probe.detail is not None)


def test_the_same_prompt_can_be_asked_again_after_an_error(make: Callable[[], Probing]) -> None:
    probe = make()
    probe.load(loads(suite_text()))
    seen: list[str] = []
    probe.param.watch(lambda e: seen.append(e.new) if e.new else None, "error")
    until(probe, lambda: probe.state == "ready")
    assert probe._inspector is not None
    answers = probe._inspector.ask

    def refuse(*args: Any, **kwargs: Any) -> Future[Any]:
        refused: Future[Any] = Future()
        refused.set_exception(SwayError("out of memory"))
        return refused

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe._inspector, "ask", refuse)
        for n in (1, 2):
            probe.ask("The light is")
            until(probe, lambda n=n: len(seen) == n)
    assert answers == probe._inspector.ask
    probe.ask("The light is")
    until(probe, lambda: probe.detail is not None)
    first = probe.detail
    probe.ask("The light is")
    until(probe, lambda: probe.detail is not None)
    assert probe.detail is not first


def test_leaving_does_not_end_what_somebody_else_has_loaded_meanwhile(make: Callable[[], Probing]) -> None:
    a, b = make(), make()
    a.load(loads(suite_text()))
    b.load(loads(suite_text()))
    assert a._inspector is b._inspector
    a.unload()
    c = make()
    c.load(loads(suite_text()))
    b.leave()
    c.text = "The light is"
    until(c, lambda: c.detail is not None)
