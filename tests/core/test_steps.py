"""Named steps reach who listens, and a run can be stopped between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sway_dash.core import events as ev
from sway_dash.core.steps import listening, step
from sway_dash.suite.runner import run_opening
from tests.fakes_cli import Exact

DELTA = {"name": "moved", "kind": "delta_kl", "prompts": ["one", "two", "three"]}


def open_in_steps() -> Exact:
    step("packages")
    step("weights (2.5 GB)")
    step("adapter")
    return Exact()


def test_without_a_listener_a_step_says_nothing() -> None:
    heard: list[str] = []
    step("weights")
    with listening(heard.append):
        pass
    step("weights")
    assert heard == []


def test_a_listener_hears_the_steps_of_what_is_done_inside() -> None:
    heard: list[str] = []
    with listening(heard.append):
        step("a")
        with listening(lambda name: heard.append(name.upper())):
            step("b")
        step("c")
    step("d")
    assert heard == ["a", "B", "c"]


def test_loading_tells_its_steps_as_events(dummy_spec) -> None:
    seen: list[ev.Event] = []
    result = run_opening(dummy_spec(DELTA), open_in_steps, on_event=seen.append)
    assert result.status == "finished"
    loading = [e.step for e in seen if isinstance(e, ev.Phase) and e.phase == "loading"]
    assert loading == ["", "packages", "weights (2.5 GB)", "adapter"]


def test_a_run_stops_between_two_steps_of_loading(dummy_spec) -> None:
    seen: list[ev.Event] = []

    def asked() -> bool:
        return any(isinstance(e, ev.Phase) and e.step.startswith("weights") for e in seen)

    result = run_opening(dummy_spec(DELTA), open_in_steps, on_event=seen.append, cancel=asked)
    assert result.status == "cancelled"
    assert [e.step for e in seen if isinstance(e, ev.Phase)] == ["", "packages", "weights (2.5 GB)"]


def test_a_model_that_is_loaded_names_its_steps() -> None:
    pytest.importorskip("torch")
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend
    from sway_dash.core.model import ModelSpec

    demo = Path(__file__).parents[2] / "assets" / "demo"
    heard: list[str] = []
    with listening(heard.append):
        spec = ModelSpec(base=str(demo / "model"), device="cpu")
        HuggingFaceDifferentialBackend(base_spec=spec, adapter_path=demo / "adapter").close()
    assert heard == ["packages", "weights (3.2 MB)", "tokenizer", "adapter"]
