"""The Trace page without a browser: cuts move every panel, a slow pass opens its prompt, live calls move no zoom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from sway_dash.backends.instrumentation import prompt_digest
from sway_dash.dash.pages.trace import TraceView
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.calls import Cut
from sway_dash.suite.store import RunFolder
from sway_dash.suite.trace_file import load
from tests.dash.conftest import suite_text
from tests.dash.test_calls import synthetic

Record = Callable[..., RunFolder]


@pytest.fixture
def run(record: Record) -> RunState:
    found = RunState()
    found.open(record(suite_text()))
    return found


@pytest.fixture
def page(run: RunState) -> TraceView:
    return TraceView(run=run, choice=Selection())


def bars(page: TraceView) -> dict[str, Any]:
    return dict(page._timeline.sources["bars"].data)


def ends(page: TraceView) -> tuple[float, float]:
    return page._time.start, page._time.end


def zoom(page: TraceView, start: float, end: float) -> None:
    page._zoomed(SimpleNamespace(x0=start, x1=end))


def test_the_summary_counts_what_the_trace_counts(page: TraceView, run: RunState) -> None:
    events = load(run.folder.path / "trace.jsonl")
    hits = sum(e.hit for e in events)
    assert f"{len(events):,} scoring calls" in page._summary.object
    assert f"{hits:,} of {len(events):,} answered by the cache" in page._summary.object
    assert "The cache was never full" in page._summary.object
    look_ups = page._cache["time"][0].sources["bars"].data
    assert (sum(look_ups["all"]), sum(look_ups["hits"])) == (len(events), hits)


def test_steps_stand_above_the_passes(page: TraceView, run: RunState) -> None:
    steps = page._timeline.sources["steps"].data
    assert list(steps["name"]) == ["checking", "noise", "moved", "strength"]
    assert all(b >= a for a, b in zip(steps["right"], steps["left"][1:], strict=False))
    assert page._timeline.figure.yaxis[0].major_label_overrides[1.0] == "step"
    assert "not in a traced call" in page._caption.object


def test_a_zoom_narrows_every_panel(page: TraceView, run: RunState) -> None:
    before, slow = bars(page), page._slow.value.copy()
    span = ends(page)
    middle = sorted(before["left"])[len(before["left"]) // 2]
    zoom(page, middle, span[1])
    assert page.window == (middle, span[1])
    assert ends(page) == (middle, span[1])
    known = run.data.calls.table(run.data.started.ts)
    inside = known.calls(Cut(middle, span[1]))
    assert 0 < len(inside) < len(known)
    assert min(bars(page)["right"]) >= middle
    assert len(bars(page)["left"]) < len(before["left"])
    assert sum(page._cache["time"][0].sources["bars"].data["all"]) == len(inside)
    assert not page._slow.value.equals(slow)
    assert f"{len(inside):,} call" in page._cut_text.object
    zoom(page, *span)
    assert page.window is None
    assert page._slow.value.equals(slow)


def test_call_numbers_and_time_show_the_same_stretch(page: TraceView, run: RunState) -> None:
    page.axis = "calls"
    assert [p.visible for p in page._panels.values()] == [False, True]
    known = run.data.calls.table(run.data.started.ts)
    page._zoomed_calls(SimpleNamespace(x0=20.5, x1=60.5))
    assert page.window == (known.at[20], known.at[59])
    assert (page._number.start, page._number.end) == (20.5, 60.5)
    assert sum(page._cache["calls"][0].sources["bars"].data["all"]) == len(known.calls(Cut(*page.window)))
    page._zoomed_calls(SimpleNamespace(x0=0.5, x1=len(known) + 0.5))
    assert page.window is None


def test_the_window_can_be_moved_by_key(page: TraceView) -> None:
    span = ends(page)
    assert page._slider.value == span
    page._slid(SimpleNamespace(new=(0.5 * span[1], span[1])))
    assert page.window == (0.5 * span[1], span[1])
    zoom(page, *span)
    assert page._slider.value == span


def test_a_box_filters_and_the_same_box_clears(page: TraceView) -> None:
    boxes = page._icicle.sources["boxes"]
    data = boxes.data
    k = next(i for i, op in enumerate(data["op"]) if op and data["view"][i] == "ft")
    chosen = (data["probe"][k], data["view"][k], data["op"][k])
    boxes.selected.indices = [k]
    assert (page.probe, page.view, page.op) == chosen
    assert boxes.selected.indices == []
    assert set(bars(page)["view"]) == {"tuned"}
    assert page._selects["view"].value == "ft"
    data = boxes.data
    k = next(i for i, op in enumerate(data["op"]) if op)
    boxes.selected.indices = [k]
    assert (page.probe, page.view, page.op) == ("", "", "")


def test_a_choice_in_a_list_filters_too(page: TraceView) -> None:
    page._selects["probe"].value = "noise"
    assert set(bars(page)["probe"]) == {"noise"}
    assert set(page._slow.value["probe"]) == {"noise"}
    page._whole.clicks += 1
    assert page.probe == ""


def test_a_slow_pass_opens_its_longest_prompt(page: TraceView, run: RunState) -> None:
    asked = []
    page.param.watch(lambda event: asked.append(event.new), "goto")
    row = next(k for k, p in enumerate(page._places) if p is not None and p.item is not None)
    text = page._slow.value["prompt"].iloc[row]
    page._clicked(SimpleNamespace(row=row))
    assert page.choice.probe == "moved"
    assert run.data.prompts("moved")[page.choice.item] == text
    page._clicked(SimpleNamespace(row=row))
    assert asked == ["prompts", "prompts"]


def test_a_prompt_no_probe_lists_cannot_be_opened(page: TraceView, run: RunState) -> None:
    assert run.data.place_of(prompt_digest("a")).item is None  # of the ablation alone
    assert run.data.place_of("0" * 12) is None
    asked = []
    page.param.watch(lambda event: asked.append(event.new), "goto")
    page._places = [run.data.place_of(prompt_digest("a"))]
    page._clicked(SimpleNamespace(row=0))
    assert (asked, page.choice.item) == ([], None)


def test_the_download_is_a_chrome_trace_of_the_whole_run(page: TraceView, run: RunState) -> None:
    events = load(run.folder.path / "trace.jsonl")
    page.window = (0.0, 0.001)
    # On a thread of its own: browser tests in the same process leave a loop running on this one.
    with ThreadPoolExecutor(1) as thread:
        made = thread.submit(asyncio.run, page._chrome()).result()
    trace = json.loads(made.getvalue())["traceEvents"]
    assert sum(len(e["args"]["prompt_hashes"]) for e in trace if "prompt_hashes" in e.get("args", {})) == sum(
        not e.hit for e in events
    )
    assert sum(e["ph"] == "i" for e in trace) == sum(e.hit for e in events)
    assert [e["name"] for e in trace if e.get("cat") == "step"] == ["checking", "noise", "moved", "strength"]


def test_live_calls_are_drawn_without_a_new_figure_and_without_moving_a_zoom(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sway_dash.dash.pages import trace as trace_module

    monkeypatch.setattr(trace_module, "PERIOD_S", 0.0)
    folder = record(suite_text(ablation=False))
    run = RunState()
    run.open(folder)
    page = TraceView(run=run, choice=Selection())
    figures = [plot.figure for plot in page.plots]
    span, sources = ends(page), dict(page._timeline.sources)
    zoom(page, 0.2 * span[1], 0.9 * span[1])
    zoomed, before = ends(page), len(bars(page)["left"])
    last = max(e.ts for e in load(folder.path / "trace.jsonl"))
    for event in synthetic(200):
        run.data.calls.add(event.__class__(*(last + event.ts - 1.79e9, *_rest(event))))
    run.version += 1
    assert ends(page) == zoomed
    assert page._time.reset_end > span[1]
    assert len(bars(page)["left"]) == before
    page.window = None
    assert ends(page)[1] > span[1]
    assert [plot.figure for plot in page.plots] == figures
    assert all(page._timeline.sources[name] is source for name, source in sources.items())


def _rest(e: Any) -> tuple[Any, ...]:
    return (e.probe, e.view_id, e.prompt_hash, e.top_k, e.op, e.wall_ms, e.hit, e.phase, e.batch, e.seq)


def test_a_page_that_is_not_shown_draws_when_it_is(run: RunState) -> None:
    page = TraceView(run=run, choice=Selection(), shown=False)
    assert not bars(page)["left"]
    page.shown = True
    assert bars(page)["left"]


def test_another_run_is_shown_whole(page: TraceView, run: RunState, record: Record) -> None:
    page.param.update(window=(0.0, 0.001), probe="noise")
    run.open(record(suite_text(nulls=0)))
    assert (page.window, page.probe) == (None, "")
    assert set(bars(page)["probe"]) == {"moved", "strength"}


def test_a_run_without_a_trace_says_so(record: Record) -> None:
    folder = record(suite_text(ablation=False))
    (folder.path / "trace.jsonl").unlink()
    run = RunState()
    run.open(folder)
    page = TraceView(run=run, choice=Selection())
    assert "no trace of its calls" in page._summary.object
    assert not page._everything.visible


def test_a_hundred_thousand_calls_send_a_bounded_number_of_bars(record: Record) -> None:
    run = RunState()
    run.open(record(suite_text(ablation=False)))
    run.data.calls.clear()
    origin = run.data.started.ts
    for event in synthetic(100_000):
        run.data.calls.add(event.__class__(*(origin + event.ts - 1.79e9, *_rest(event))))
    page = TraceView(run=run, choice=Selection())
    sent = sum(len(next(iter(s.data.values()), ())) for plot in page.plots for s in plot.sources.values())
    assert sent < 12_000
    assert "as shares of time" in page._timeline.figure.html_attributes["aria-label"]
    zoom(page, 20.0, 22.0)
    assert "zoom in" not in " ".join(bars(page)["probe"])
    assert len(bars(page)["left"]) > 20
