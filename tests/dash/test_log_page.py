"""The Log page without a browser: which lines, where their links lead, what the environment says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sway_dash.core.events import ItemFailed, Phase, RunCancelledEvent, RunStarted, Warned
from sway_dash.dash.log_list import MAX_LINES, LogList
from sway_dash.dash.pages.log import LogView
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.derive import RunData
from sway_dash.figures.environment import rows
from sway_dash.figures.log_lines import LogLine, chosen, log_line
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text

Record = Callable[..., RunFolder]


def troubled(events: list[Any]) -> list[Any]:
    """A run with a warning, a prompt that failed, and hostile words."""
    extra = [
        Warned(ts=5.0, message="logits are <b>identical</b>", causes=("B is zero", "wrong modules")),
        ItemFailed(ts=6.0, probe="moved", item=2, prompt="x", view="ft", message="too long <img src=x>"),
        ItemFailed(ts=6.5, probe="strength", item=1, prompt="y", view="scaled_0.5", message="out of memory"),
    ]
    return [*events[:-1], *extra, events[-1]]


@pytest.fixture
def page(record: Record) -> LogView:
    run = RunState()
    run.open(record(suite_text(), keep=troubled))
    return LogView(run=run, choice=Selection())


def texts(page: LogView) -> list[str]:
    return [row[4] for row in page._list.lines]


def test_lines_are_in_order_and_all_there(page: LogView) -> None:
    assert len(page._list.lines) == len(page.run.data.log)
    assert texts(page)[0].startswith("run ")
    assert texts(page)[-1] == "run finished"
    assert page._note.object == ""


def test_levels_hold_what_is_at_least_as_bad(page: LogView) -> None:
    page.level = "warning"
    assert {row[3] for row in page._list.lines} == {"warning", "error"}
    page.level = "error"
    assert texts(page) == [
        "moved: prompt 3 in ft: too long <img src=x>",
        "strength: prompt 2 in scaled_0.5: out of memory",
    ]
    assert f"2 of {len(page.run.data.log)} lines" in page._note.object


def test_words_are_looked_for_in_any_case(page: LogView) -> None:
    page.query = "OUT of"
    assert len(texts(page)) == 1
    page.query = "no such thing"
    assert not page._list.visible
    assert "No line is like that" in page._note.object


def test_a_line_about_a_prompt_opens_it(page: LogView) -> None:
    asked = []
    page.param.watch(lambda event: asked.append(event.new), "goto")
    page.level = "error"
    first, second = page._list.lines
    assert (first[5], second[5]) == ("Open prompt", "")  # prompts of an ablation are not listed anywhere
    page._list._handle_msg({"open": first[0]})
    assert (page.choice.probe, page.choice.item, asked) == ("moved", 2, ["prompts"])


@pytest.mark.parametrize("message", [None, {}, {"open": 3}, {"open": "999"}, {"open": "x"}, "open"])
def test_odd_messages_of_a_browser_open_nothing(page: LogView, message: Any) -> None:
    page._list._handle_msg(message)
    assert (page.goto, page.choice.item) == ("", None)


def test_only_the_newest_lines_are_sent() -> None:
    shown = LogList(lambda _: None)
    shown.show([(k, LogLine(0.0, "info", str(k))) for k in range(MAX_LINES + 7)], lambda _: False)
    assert [row[4] for row in shown.lines][:2] == ["7", "8"]
    assert len(shown.lines) == MAX_LINES


def test_only_a_live_run_is_followed(page: LogView, record: Record) -> None:
    assert not page._list.follow
    folder = record(suite_text(nulls=0), keep=lambda events: events[:4])
    folder.claim()
    folder.write_meta(claimed_at=folder.meta()["created_at"])
    page.run.open(folder)
    assert page.run.live
    assert page._list.follow
    assert page._follow.value


def test_causes_are_ranked(page: LogView) -> None:
    text = page._warnings.object
    assert text.index("B is zero") < text.index("wrong modules")
    assert "<ol>" in text
    assert "<b>identical" not in text


def test_the_suite_is_there_as_it_was_given(page: LogView) -> None:
    assert page._copy.text == page.run.folder.spec_text()
    assert "adapter_ablation" in page._spec.object


def test_control_characters_of_a_line_are_visible() -> None:
    shown = LogList(lambda _: None)
    shown.show([(0, LogLine(0.0, "info", "a\u202eb\nc"))], lambda _: False)
    assert shown.lines[0][4] == "a‹202E›b⏎c"


# --- lines --------------------------------------------------------------------------------------------------------


def test_filters_keep_the_order() -> None:
    lines = [LogLine(0, "info", "a"), LogLine(1, "error", "ab"), LogLine(2, "warning", "b"), LogLine(3, "error", "B")]
    assert [line.ts for line in chosen(lines, "warning")] == [1, 2, 3]
    assert [line.ts for line in chosen(lines, "error", "b")] == [1, 3]
    assert [line.ts for line in chosen(lines, "info", " ")] == [0, 1, 2, 3]


def test_events_tell_their_level_and_place() -> None:
    failed = log_line(ItemFailed(ts=1.0, probe="p", item=4, prompt="x", message="no"))
    assert (failed.level, failed.probe, failed.item) == ("error", "p", 4)
    assert log_line(RunCancelledEvent(reason="stopped")).level == "warning"
    assert log_line(Phase(phase="loading", name="model", step="weights")).text == "loading: weights"


# --- the environment ----------------------------------------------------------------------------------------------


def test_the_environment_is_named_in_words() -> None:
    environment = {
        "python": "3.11.7",
        "packages": {"torch": "2.13.0", "numpy": "2.4"},
        "torch": "2.13.0",
        "base": "model",
        "parameters": 1598880,
        "adapter_targets": ["q_proj", "k_proj"],
        "update_norm": 58.2599,
        "base_revision": None,
        "sides": {"base": {"dtype": "bf16"}},
        "odd": "<b>",
    }
    found = dict(
        rows(environment, RunStarted(seed=7, sway_version="0.1.0"), {"class": "strict", "notes": ["on a GPU"]})
    )
    assert found["Parameters of the base"] == "1,598,880"
    assert found["Adapter targets"] == "q_proj, k_proj"
    assert found["‖ΔW‖ of the adapter"] == "58.3"
    assert found["sides · base · dtype"] == "bf16"
    assert (found["torch"], found["Seed"], found["Determinism"]) == ("2.13.0", "7", "strict: on a GPU")
    assert "Base revision" not in found
    assert list(found).count("torch") == 1


def test_before_the_model_is_ready_nothing_is_known() -> None:
    assert rows({}, None, None) == []
    page = LogView(run=RunState(), choice=Selection())
    assert "Not known yet" in page._env.object
    assert RunData().log == []
