"""What the running mean says of its band: of prompts that are measured in any case, and of those that may stop."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sway_dash.core.events import Event, Measurement, ProbeFinished, RunCancelledEvent, RunFinished, RunStarted
from sway_dash.core.sequences import confidence_sequence
from sway_dash.dash.pages.trend import MeanView
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.derive import ProbeSeries
from sway_dash.figures.derive_mean import RunningMean
from sway_dash.probes.measure import measuring_order
from sway_dash.report.html import drawn
from sway_dash.report.html.source import source_of
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
    caption = str(MeanView(run=run, choice=Selection())._caption.object)
    assert last.ci[0] < last.final[0]
    assert "The band is wider than this interval" in caption
    assert "wherever those measured are a random part of all" in said


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


def test_a_probe_that_is_whole_shows_its_prompts_in_random_order_each_with_its_band() -> None:
    n, seed = 40, 3
    order = measuring_order(n, seed)
    series = ProbeSeries("p", seed=seed, planned=n)
    by_length = sorted(range(n), key=lambda i: i % 2)
    series.rows += [row(i, 0.01 + 0.6 * (i % 2)) for i in by_length[:-1]]
    assert [p.n for p in series.running("js") if p.ci is not None] == []
    series.rows.append(row(by_length[-1], 0.61))
    points = series.running("js")
    assert [p.value for p in points] == [0.01 + 0.6 * (i % 2) for i in order]
    assert [p.n for p in points if p.ci is not None] == list(range(4, n + 1))


def row(item: int, value: float) -> Measurement:
    return Measurement(
        probe="p", item=item, prompt=f"prompt {item}", view="ft", js=value, kl=value, kl_reverse=0, same_top=1
    )


def test_a_band_stands_only_where_those_measured_are_a_random_part_of_all() -> None:
    n, seed = 40, 3
    order = measuring_order(n, seed)
    values = {item: 0.01 + 0.6 * (item % 2) for item in range(n)}
    # A portion of sixteen by length, as if odd prompts were short; then the others one by one, the last one fails.
    came = [*sorted(order[:16], key=lambda i: i % 2), *order[16:]]
    mean = RunningMean("js", seed)
    failed: set[int] = set()
    for item in came[:-1]:
        mean.extend([row(item, values[item])], n, failed)
    assert [p.n for p in mean.points if p.ci is not None] == list(range(16, 40))
    lower, upper = confidence_sequence([values[i] for i in order[:39]], bounds=mean.bounds)
    for point in mean.points[15:]:
        assert point.ci == pytest.approx((lower[point.n - 1], upper[point.n - 1]), abs=1e-3)
    assert mean.points[7].mean == pytest.approx(0.01)
    assert "portion" in mean.points[7].unsure(over=False)
    assert mean.points[7].unsure(over=True) == "no interval: those measured are not a random part of all"
    assert mean.points[15].unsure(over=False) == mean.points[15].unsure(over=True) == ""
    # All at once gives the same.
    again = RunningMean("js", seed)
    again.extend([row(item, values[item]) for item in came[:-1]], n)
    for one, other in zip(mean.points, again.points, strict=True):
        assert (one.ci is None) == (other.ci is None)
        assert one.ci is None or one.ci == pytest.approx(other.ci, abs=1e-3)


def test_a_run_that_was_stopped_in_a_portion_promises_no_interval(record: Record) -> None:
    def half(events: list[Event]) -> list[Event]:
        """Stopped after six of the twelve prompts, which are not those it would have measured first."""
        seed = next(e.seed for e in events if isinstance(e, RunStarted))
        kept = set(measuring_order(12, seed)[1:7])
        said = [e for e in events if not isinstance(e, Measurement | ProbeFinished | RunFinished)]
        measured = [e for e in events if isinstance(e, Measurement) and e.item in kept]
        return [*said, *measured, RunCancelledEvent(reason="asked to")]

    folder = record(suite_text(prompts=12, ablation=False, nulls=0), keep=half)
    run = RunState()
    run.open(folder)
    assert run.status == "cancelled"
    told = str(MeanView(run=run, choice=Selection())._caption.object)
    page = drawn.Drawn()
    drawn.prompts(source_of(folder).data(), page)
    for text in (told, page.first("mean")):
        assert "no interval: those measured are not a random part of all" in text
        assert "portion" not in text


def test_a_prompt_that_fails_does_not_take_the_band_away() -> None:
    order = measuring_order(20, 0)
    rows = [row(item, 0.1) for item in order if item != order[5]]
    mean = RunningMean("js", 0)
    mean.extend(rows, 20, {order[5]})
    assert all(p.ci is not None for p in mean.points[3:])
    without = RunningMean("js", 0)
    without.extend(rows, 20)
    assert without.points[-1].ci is None


def test_a_prompt_that_is_listed_twice_does_not_take_the_band_away() -> None:
    order = measuring_order(40, 0)
    first, again = sorted((order[4], order[-1]))
    texts = {first: "twice", again: "twice"}
    place = order.index(first)
    came = [item for item in order if item != again]
    came.insert(came.index(first) + 1, again)
    rows = [row(item, 0.1).model_copy(update={"prompt": texts.get(item, f"prompt {item}")}) for item in came]
    mean = RunningMean("js", 0)
    for one in rows:
        mean.extend([one], 40)
    bare = [p.n for p in mean.points if p.ci is None and p.n > 3]
    # Only where the later of both comes first in the order is there a place that nobody fills until then.
    assert bare == list(range(order.index(again) + 1, place + 1))
    assert mean.points[-1].distinct == 39


def test_what_nobody_has_planned_is_taken_as_it_comes() -> None:
    mean = RunningMean("js", 0)
    mean.extend([row(item, 0.1) for item in (7, 2, 9, 4, 1)], 0)
    assert [p.ci is not None for p in mean.points] == [False, False, False, True, True]
