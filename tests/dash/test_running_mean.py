"""What the running mean says of its band: of prompts that are measured in any case, and of those that may stop."""

from __future__ import annotations

from collections.abc import Callable

from sway_dash.dash.pages.trend import MeanView
from sway_dash.dash.state import RunState, Selection
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text

Record = Callable[..., RunFolder]


def opened(folder: RunFolder) -> tuple[RunState, str]:
    run = RunState()
    run.open(folder)
    return run, str(MeanView(run=run, choice=Selection())._note.object)


def test_the_interval_of_a_fixed_number_of_prompts_is_that_of_the_result(record: Record) -> None:
    run, said = opened(record(suite_text(ablation=False, nulls=0)))
    last = run.data.series["moved"].running("js")[-1]
    assert last.interval == last.final == run.data.finished["moved"].ci_95
    assert "The interval is that of the result" in said
    assert "together with others of like length" in said


def test_prompts_that_might_have_stopped_have_no_interval_but_one_that_holds_at_every_look(record: Record) -> None:
    # Few prompts, and a gate near their mean: all of them are measured and nothing is decided.
    run, said = opened(record(suite_text(ablation=False, nulls=0, stop_when_decided=True, assert_mean_gte=0.2)))
    result = run.data.finished["moved"]
    assert result.evidence["stopping"]["side"] is None
    last = run.data.series["moved"].running("js")[-1]
    assert last.n == 8
    assert last.final is None
    assert last.interval == last.ci
    assert "The interval of the result is of the same sort." in said
    assert "that of the result" not in said
    assert "in random order, a portion at a time" in said
    assert "of like length" not in said
