"""The Prompts page without a browser: which prompts are shown, in which order, and what is said of each of them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sway_dash.core.bands import dkw
from sway_dash.core.events import ItemFailed, Measurement, RunFinished
from sway_dash.core.scoring import BASE, FINETUNED
from sway_dash.core.stats import interval
from sway_dash.dash.expression import Expression
from sway_dash.dash.pages.filters import FilterBar
from sway_dash.dash.pages.prompt_chart import MAX_DOTS, PromptChart
from sway_dash.dash.pages.prompt_table import PromptTable, TagTable
from sway_dash.dash.pages.prompts import PromptsPage
from sway_dash.dash.prompt_cells import HEADS, pieces, to_csv
from sway_dash.dash.prompt_list import PromptList
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import columns
from sway_dash.figures.derive import value_of
from sway_dash.figures.plots.scale import LINEAR, ROOT, ticks
from sway_dash.figures.prompt_stats import by_tag, summary
from sway_dash.figures.theme import percent
from sway_dash.suite.details import record as record_details
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text

Record = Callable[..., RunFolder]

HOSTILE = "<img src=x onerror=alert(1)> </script> \x00 \u202eabc"


@pytest.fixture
def state(record: Record) -> RunState:
    found = RunState()
    found.open(record(suite_text(prompts=12, ablation=False)))
    return found


@pytest.fixture
def shown(state: RunState) -> PromptList:
    return PromptList(run=state, choice=Selection())


def items(shown: PromptList) -> list[int]:
    return [r.item for r in shown.rows]


class Going:
    """A recorded run whose events come a few at a time, as if it were measured now."""

    def __init__(self, folder: RunFolder) -> None:
        self.lines = (folder.path / "events.jsonl").read_bytes().splitlines(keepends=True)
        own = b'"role":"probe"'
        self.places = [i for i, line in enumerate(self.lines) if own in line]
        self.path = folder.path / "events.jsonl"
        self.path.write_bytes(b"".join(self.lines[: self.places[0]]))
        self.at = self.places[0]
        folder.claim()
        # What is there was written after the claim, as when a worker writes it.
        folder.write_meta(claimed_at=json.loads(self.lines[0])["ts"])
        self.state = RunState()
        self.state.open(folder)

    def measure(self, n: int = 1, *, end: bool = False) -> None:
        """Let ``n`` more prompts be measured, or all that is left happen."""
        left = [i for i in self.places if i >= self.at]
        stop = len(self.lines) if end else left[min(n, len(left)) - 1] + 1
        with self.path.open("ab") as file:
            file.write(b"".join(self.lines[self.at : stop]))
        self.at = stop
        assert self.state.feed is not None
        self.state.feed.poll(now=True)
        self.state.pull()


@pytest.fixture
def going(record: Record) -> Iterator[Going]:
    found = Going(record(suite_text(prompts=12, ablation=False)))
    yield found
    found.state.close()


# -- which prompts, in which order ---------------------------------------------------------------


def test_a_finished_run_shows_the_largest_first(shown: PromptList) -> None:
    values = [r.m.js for r in shown.rows if r.m]
    assert values == sorted(values, reverse=True)
    assert len(values) == shown.total == 12
    assert [shown.place(i) for i in items(shown)] == list(range(12))


@pytest.mark.parametrize("name", ["js", "kl", "null", "same", "positions", "rank"])
def test_every_number_can_be_the_order_both_ways(shown: PromptList, name: str) -> None:
    def key(item: int) -> float:
        row = shown.row(item)
        assert row is not None
        assert row.m is not None
        of = shown.standing(row)
        assert of.null is not None
        own = {"js": row.m.js, "kl": row.m.kl, "null": of.null.hi, "same": row.m.same_top, "positions": 1.0}
        return own.get(name, of.below / of.null.n)

    for order, falls in ((name, False), (f"-{name}", True)):
        shown.choice.sort = order
        values = [key(i) for i in items(shown)]
        assert values == sorted(values, reverse=falls)


def test_order_by_words(shown: PromptList) -> None:
    shown.choice.sort = "prompt"
    texts = [r.prompt for r in shown.rows]
    assert texts == sorted(texts, key=str.casefold)
    shown.choice.sort = "tags"
    assert [r.tags[0] for r in shown.rows] == ["even"] * 6 + ["odd"] * 6


def test_the_filter_narrows_and_the_order_stays(shown: PromptList) -> None:
    whole = items(shown)
    shown.choice.tags = ["odd"]
    assert items(shown) == [i for i in whole if i % 2]
    shown.choice.query = "BREAD"
    assert items(shown) == []
    shown.choice.tags = []
    assert items(shown) == [i for i in whole if i % 4 == 0]
    shown.choice.param.update(query=r"prompt 1\d", regex=True)
    assert sorted(items(shown)) == [10, 11]
    shown.choice.clear()
    assert items(shown) == whole


def test_a_control_ignores_its_own_choice_and_no_other(shown: PromptList) -> None:
    shown.choice.param.update(tags=["odd"], query="light")
    assert {r.item for r in shown.without("tags")} == {i for i in range(12) if i % 4}
    assert {r.item for r in shown.without("query")} == {1, 3, 5, 7, 9, 11}
    assert {r.item for r in shown.without("status")} == set(items(shown))


def test_brushed_prompts_are_what_the_table_shows_and_the_rest_stays_in_the_chart(shown: PromptList) -> None:
    whole = items(shown)
    shown.choice.picked = whole[2:5]
    assert items(shown) == whole[2:5]
    assert [r.item for r in shown.candidates] == whole


def test_places_are_kept_while_a_run_goes_on(going: Going) -> None:
    shown = PromptList(run=going.state, choice=Selection())
    assert items(shown) == list(range(12))
    assert all(r.m is None for r in shown.rows)
    layout = shown.layout
    for done in range(1, 12):
        going.measure()
        assert items(shown) == list(range(12))
        assert sum(r.m is not None for r in shown.rows) == done
        assert {shown.standing(r).place for r in shown.rows if r.m is None} == {"pending"}
    assert (shown.layout, shown.stale) == (layout, False)
    going.measure(end=True)
    values = [r.m.js for r in shown.rows if r.m]
    assert values == sorted(values, reverse=True)
    assert len(values) == 12


def test_rows_in_another_order_are_added_at_the_end_until_somebody_asks(going: Going) -> None:
    shown = PromptList(run=going.state, choice=Selection(sort="-js"))
    going.measure(4)
    first = items(shown)
    assert shown.stale
    shown.resort()
    assert not shown.stale
    ordered = items(shown)
    assert sorted(ordered) == sorted(first)
    layout = shown.layout
    going.measure(3)
    assert items(shown)[:4] == ordered
    assert (len(shown.rows), shown.layout, shown.stale) == (7, layout, True)
    shown.resort()
    values = [r.m.js for r in shown.rows if r.m]
    assert values == sorted(values, reverse=True)


def test_prompts_that_failed_are_shown_with_their_reason(record: Record) -> None:
    def fail(events: list[Any]) -> list[Any]:
        out = []
        for e in events:
            lost = isinstance(e, Measurement) and e.role == "probe" and e.item == 3
            own = {"probe": "moved", "item": 3, "prompt": "Prompt 3", "message": f"no room {HOSTILE}", "seq": e.seq}
            out.append(ItemFailed(**own) if lost else e)
        return out

    state = RunState()
    state.open(record(suite_text(prompts=6, nulls=2, ablation=False), keep=fail))
    page = PromptsPage(run=state, choice=Selection())
    row = page.shown.row(3)
    assert row is not None
    assert page.shown.standing(row).place == "failed"
    assert "failed" in page._chart.dots.sources["rows"].data["status"]
    cells = dict(page._table.table.page["rows"])[3]
    assert cells[1] == "✕"
    assert any("no room" in str(c) for c in cells)
    assert "1 could not be measured" in page._filters._count.object
    page.choice.item = 3
    assert "no room" in page._detail._words.object
    assert "<img" not in page._detail._words.object


def test_a_look_for_an_expression_has_one_budget_for_all_prompts(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(events: list[Any]) -> list[Any]:
        lost = {"probe": "moved", "message": "no room"}
        return [
            ItemFailed(item=e.item, prompt=e.prompt, seq=e.seq, **lost)
            if isinstance(e, Measurement) and e.role == "probe" and e.item > 2
            else e
            for e in events
        ]

    state, choice, looks = RunState(), Selection(), []
    state.open(record(suite_text(prompts=8, nulls=0, ablation=False), keep=fail))
    shown = PromptList(run=state, choice=choice)
    again = Expression.again
    monkeypatch.setattr(Expression, "again", lambda self, *a, **kw: (looks.append(a), again(self, *a, **kw))[1])
    choice.param.update(query=r"prompt [1-5] about light", regex=True)
    assert sorted(items(shown)) == [1, 2, 3, 5]
    assert len(looks) == 1


def test_walking_through_the_shown_prompts_stops_at_the_ends(shown: PromptList) -> None:
    shown.choice.tags = ["even"]
    seen = []
    for _ in range(8):
        shown.open(shown.next_item(1))
        seen.append(shown.choice.item)
    assert seen[:6] == items(shown)
    assert seen[6:] == [items(shown)[-1]] * 2
    shown.choice.token = 4
    shown.open(shown.next_item(-1))
    assert (shown.choice.item, shown.choice.token) == (items(shown)[-2], None)


# -- numbers -------------------------------------------------------------------------------------


def test_the_mean_and_its_interval_are_those_of_the_result(state: RunState, shown: PromptList) -> None:
    of = summary(shown.measured(), "js", shown.series.seed)
    result = next(p for p in state.data.result().probes if p.name == "moved")
    assert of is not None
    assert (of.mean, of.ci) == (result.raw, result.ci_95)
    assert of.median == np.median([r.m.js for r in shown.rows if r.m])


def test_a_text_that_is_listed_twice_counts_once() -> None:
    rows = many(9)
    twice = [*rows, *(m.model_copy(update={"item": 9 + m.item}) for m in rows[:4])]
    assert summary(twice, "js", 0).n == 9  # type: ignore[union-attr]
    assert summary(twice, "js", 0).mean == summary(rows, "js", 0).mean  # type: ignore[union-attr]


def test_every_tag_has_its_own_mean_and_interval(shown: PromptList) -> None:
    found = by_tag(shown.measured(), "kl", 0)
    for tag, rest in (("even", 0), ("odd", 1)):
        values = [m.kl for m in shown.measured() if m.item % 2 == rest]
        assert found[tag].n == 6
        assert found[tag].ci == interval(values, seed=0, bounds=(0.0, math.inf))[0]
    assert by_tag(shown.measured()[:3], "js", 0)["odd"].ci is None


def many(n: int) -> list[Measurement]:
    rng = np.random.default_rng(3)
    values = rng.gamma(0.7, 0.1, n)
    return [
        Measurement(probe="p", item=i, prompt=f"{i}", js=float(v), kl=float(v), kl_reverse=0, same_top=1)
        for i, v in enumerate(values)
    ]


def test_the_interval_of_many_prompts_is_close_to_the_bootstrap() -> None:
    rows = many(800)
    of, boot = summary(rows, "kl", 0), interval([m.kl for m in rows], bounds=(0.0, math.inf))[0]
    assert of is not None
    assert of.ci is not None
    assert boot is not None
    width = boot[1] - boot[0]
    assert of.ci == pytest.approx(boot, abs=0.03 * width)
    assert "Hall" in of.method


def test_distributions_of_many_prompts_are_exact_where_they_are_drawn() -> None:
    values = [m.js for m in many(3000)]
    found = columns.ecdf(values)
    assert len(found["x"]) <= 400
    assert (found["x"][0], found["x"][-1], found["share"][-1]) == (min(values), max(values), 1.0)
    for x, share in zip(found["x"], found["share"], strict=True):
        assert share == np.mean(np.asarray(values) <= x)
    ticks_ = columns.rug(values, faint=[v < 0.1 for v in values], y=-1.0)
    assert len(ticks_["x"]) <= 400
    dark = [x for x, a in zip(ticks_["x"], ticks_["alpha"], strict=True) if a > 0.5]
    assert min(dark) >= 0.1 - max(values) / 400


@pytest.mark.parametrize("hi", [0.004, 0.3, 1.7, 25.0])
def test_a_square_root_axis_has_zero_and_round_values_that_do_not_crowd(hi: float) -> None:
    found = ticks(ROOT, -0.02, ROOT.to(hi))
    places = list(found)
    assert places[0] == 0.0
    assert found[0.0] == "0"
    assert 4 <= len(places) <= 8
    assert min(np.diff(places)) >= ROOT.to(hi) / 8
    for place, label in list(found.items())[1:]:
        assert float(label) == pytest.approx(ROOT.back(place))
        assert len(label.replace(".", "").strip("0")) <= 2
    narrow = ticks(ROOT, ROOT.to(0.9 * hi), ROOT.to(hi))
    assert len(narrow) >= 2


# -- chart ---------------------------------------------------------------------------------------


def event(**kw: Any) -> Any:
    return SimpleNamespace(**kw)


def box(x0: float, x1: float, y0: float, y1: float) -> Any:
    return event(final=True, geometry={"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1})


def test_a_click_on_a_row_opens_it_and_a_box_brushes(state: RunState) -> None:
    choice = Selection()
    chart = PromptChart(run=state, choice=choice)
    rows = chart.shown.rows
    chart._dot_tapped(event(x=0.01, y=-2.2))
    assert choice.item == rows[2].item
    assert chart.dots.sources["rows"].selected.indices == [2]
    chart._dots_brushed(box(-1, 1, -4.4, -1.6))
    assert choice.picked == sorted(r.item for r in rows[2:5])
    alphas = dict(zip(chart.dots.sources["rows"].data["item"], chart.dots.sources["rows"].data["alpha"], strict=True))
    assert {i for i, a in alphas.items() if a == 1.0} == set(choice.picked)
    assert len(alphas) == 12
    chart._dots_brushed(box(0.6, 0.69, -0.4, 0.4))
    assert choice.picked == []


def test_kl_is_drawn_on_square_roots_and_linear_on_request(state: RunState) -> None:
    choice = Selection(metric="kl")
    chart = PromptChart(run=state, choice=choice)
    values = [r.m.kl for r in chart.shown.rows if r.m]
    assert chart.dots.sources["rows"].data["x"] == [math.sqrt(v) for v in values]
    assert chart.dots.figure.x_range.end > math.sqrt(max(values))
    assert not chart.dots.parts["bound"].visible
    of = summary(chart.shown.measured(), "kl", 0)
    assert of is not None
    assert chart.dots.parts["mean"].location == math.sqrt(of.mean)
    labels = chart.dots.figure.xaxis[0].major_label_overrides
    assert all(float(text) == pytest.approx(place**2, rel=0.01) for place, text in labels.items())
    chart.linear = True
    assert chart.dots.sources["rows"].data["x"] == values
    choice.metric = "js"
    assert chart.scale is LINEAR
    assert chart.dots.parts["bound"].visible


def test_a_filter_does_not_move_the_axis(state: RunState) -> None:
    choice = Selection()
    chart = PromptChart(run=state, choice=choice)
    end = chart.dots.figure.x_range.end
    choice.query = "bread"
    assert chart.dots.figure.x_range.end == end
    assert len(chart.dots.sources["rows"].data["x"]) == 3


def test_streamed_dots_are_those_of_a_chart_made_at_the_end(going: Going) -> None:
    choice = Selection(sort="suite")
    chart = PromptChart(run=going.state, choice=choice)
    for _ in range(12):
        going.measure()
    going.measure(end=True)
    fresh = PromptChart(run=going.state, choice=choice)

    def dots(c: PromptChart) -> list[Any]:
        data = c.dots.sources["rows"].data
        return sorted(zip(data["item"], data["x"], data["y"], data["status"], strict=True))

    assert dots(chart) == dots(fresh)
    assert len(dots(chart)) == 12
    assert chart._caption.object == fresh._caption.object


def test_more_prompts_than_dots_are_drawn_as_distributions(state: RunState) -> None:
    series = state.data.series["moved"]
    series.rows = many(MAX_DOTS + 200)
    series.planned = len(series.rows)
    choice = Selection()
    chart = PromptChart(run=state, choice=choice)
    assert chart.many
    assert f"the whole curve is within ± {percent(dkw(len(series.rows)))}" in chart._marks.object
    assert chart._ecdf_pane.visible
    assert not chart._dots_pane.visible
    tuned = chart.ecdf.sources["tuned"].data
    assert tuned["x"][-1] == max(m.js for m in series.rows)
    wanted = sorted(series.rows, key=lambda m: m.js)[300]
    chart._ecdf_tapped(event(x=wanted.js, y=0.2))
    assert choice.item == wanted.item
    chart._ecdf_brushed(box(0.2, 0.4, 0, 1))
    assert set(choice.picked) == {m.item for m in series.rows if 0.2 <= m.js <= 0.4}
    assert len(chart.shown.rows) == len(choice.picked) < len(chart.shown.candidates)


# -- filters -------------------------------------------------------------------------------------


def keys(chips: Any) -> dict[str, tuple[str, str]]:
    return {key: (number, state) for key, _, number, state in chips.items}


def test_filters_say_what_is_in_force_and_can_be_taken_away(shown: PromptList) -> None:
    choice = shown.choice
    bar = FilterBar(choice=choice, shown=shown)
    assert "12 of 12 prompts shown" in bar._count.object
    assert keys(bar._tags) == {"even": ("6", "off"), "odd": ("6", "off")}
    bar._tags._handle_msg({"key": "odd"})
    bar._search.value_input = "light"
    choice.least = 0.001
    assert choice.tags == ["odd"]
    assert set(keys(bar._active)) == {"tag odd", "query", "least", "all"}
    assert f"{len(shown.rows)} of 12 prompts shown" in bar._count.object
    # Of the prompts with "light" in them, whichever tag is chosen.
    light = [r.m for r in shown.without("tags") if r.m]
    assert keys(bar._tags)["even"][0] == str(sum("even" in m.tags for m in light))
    bar._active._handle_msg({"key": "tag odd"})
    bar._active._handle_msg({"key": "query"})
    assert (choice.tags, choice.query, bar._search.value) == ([], "", "")
    bar._active._handle_msg({"key": "all"})
    assert not choice.filtered
    assert keys(bar._active) == {}


def test_the_statuses_are_counted(shown: PromptList) -> None:
    bar = FilterBar(choice=shown.choice, shown=shown)
    places = [shown.standing(r).place for r in shown.rows]
    above, inside = places.count("above"), places.count("inside")
    assert above + inside == 12
    assert keys(bar._status) == {"above": (str(above), "off"), "inside": (str(inside), "off")}
    bar._status._handle_msg({"key": "above"})
    assert shown.choice.status == "above"
    assert len(shown.rows) == above
    assert keys(bar._status) == {"above": (str(above), "on"), "inside": (str(inside), "off")}
    bar._status._handle_msg({"key": "above"})
    assert len(shown.rows) == 12


def test_a_broken_pattern_is_named_and_hides_nothing_for_ever(shown: PromptList) -> None:
    bar = FilterBar(choice=shown.choice, shown=shown)
    shown.choice.param.update(query="light(", regex=True)
    assert bar._search.error_state
    assert bar._search.helper_text == "not a regular expression: missing ), unterminated subpattern at character 6"
    assert shown.rows == []
    shown.choice.regex = False
    assert not bar._search.error_state
    shown.choice.query = "light"
    assert len(shown.rows) == 9


# -- table ---------------------------------------------------------------------------------------


def test_heads_order_chart_and_table_and_come_back(shown: PromptList) -> None:
    table = PromptTable(choice=shown.choice, shown=shown)
    assert table.table.sort == "-js"
    for key, wanted in (("kl", ["-kl", "kl", "auto"]), ("prompt", ["prompt", "-prompt", "auto"])):
        for sort in wanted:
            table.table._handle_msg({"type": "sort", "key": key})
            assert shown.choice.sort == sort
    table.table._handle_msg({"type": "sort", "key": "mark"})
    assert shown.choice.sort == "auto"


def test_the_table_gives_the_rows_that_are_asked_for(shown: PromptList) -> None:
    table = PromptTable(choice=shown.choice, shown=shown)
    table.table._handle_msg({"type": "window", "first": 5, "count": 3})
    assert table.table.page["first"] == 5
    assert [item for item, _ in table.table.page["rows"]] == items(shown)[5:8]
    shown.choice.query = "bread"
    assert [item for item, _ in table.table.page["rows"]] == items(shown)[2:]
    table.table._handle_msg({"type": "open", "item": items(shown)[1]})
    assert shown.choice.item == items(shown)[1]
    assert table.table.active == {"item": shown.choice.item, "place": 1}
    table.table._handle_msg({"type": "step", "step": 1})
    assert shown.choice.item == items(shown)[2]


def test_new_rows_do_not_move_what_one_reads(going: Going) -> None:
    choice = Selection(sort="-js")
    shown = PromptList(run=going.state, choice=choice)
    table = PromptTable(choice=choice, shown=shown)
    going.measure(5)
    shown.resort()
    choice.item = items(shown)[3]
    before, active, top = [r for r, _ in table.table.page["rows"]], table.table.active, table.table.top
    for _ in range(6):
        going.measure()
        assert [r for r, _ in table.table.page["rows"]][:5] == before
        assert table.table.active == active
    assert table.table.top == top
    assert table.table.total == 11


def test_the_file_holds_what_is_on_the_screen(shown: PromptList) -> None:
    table = PromptTable(choice=shown.choice, shown=shown)
    shown.choice.param.update(tags=["odd"], sort="kl")
    table.table._handle_msg({"type": "column", "key": "tags", "shown": False})
    lines = list(csv.reader(table.csv()))
    head, body = lines[0], lines[1:]
    assert head == ["prompt number", "status", "prompt", "js", "kl", "rank", "null", "top base", "top tuned"]
    assert [int(line[0]) - 1 for line in body] == items(shown)
    for line, row in zip(body, shown.rows, strict=True):
        assert row.m is not None
        assert (line[2], float(line[3]), float(line[4])) == (row.prompt, row.m.js, row.m.kl)
        assert line[5] == f"{shown.standing(row).below}/10"


def test_texts_reach_the_file_as_they_are(shown: PromptList) -> None:
    from dataclasses import replace

    text = 'a "quoted", text\nof two lines ' + HOSTILE
    row = replace(shown.rows[0], prompt=text)
    lines = list(csv.reader(io.StringIO(to_csv([(row, shown.standing(row))], ["prompt"]), newline="")))
    assert lines[1] == [text]


def test_hits_of_a_search_stand_apart_and_a_late_one_is_brought_into_sight() -> None:
    hit = Expression("sea")
    assert pieces("The Sea and the sea.", hit) == ["The ", "Sea", " and the ", "sea", "."]
    assert pieces("no hit", hit) == "no hit"
    late = pieces("x" * 5000 + " the sea " + "y" * 5000, hit)
    assert late[1] == "sea"
    assert late[0].startswith("…")
    assert len("".join(late)) < 200
    assert "‹202E›" in pieces(HOSTILE, None)
    assert len(pieces("z" * 100_000, None)) < 200


def test_tags_are_chosen_in_their_table(shown: PromptList) -> None:
    table = TagTable(choice=shown.choice, shown=shown)
    rows = table.table.page["rows"]
    assert [cells[1] for _, cells in rows] == ["even", "odd"]
    table.table._handle_msg({"type": "open", "item": 1})
    assert shown.choice.tags == ["odd"]
    rows = table.table.page["rows"]
    assert [cells[0] for _, cells in rows] == ["", "✓"]
    assert [cells[2] for _, cells in rows] == ["6", "6"]
    table.table._handle_msg({"type": "open", "item": 1})
    assert shown.choice.tags == []


def test_the_columns_are_those_of_the_heads(shown: PromptList) -> None:
    table = PromptTable(choice=shown.choice, shown=shown)
    for _, cells in table.table.page["rows"]:
        assert len(cells) == len(HEADS)
    assert set(table.table.hidden) == {"same", "positions", "ci"}


def test_the_reader_s_columns_stay_and_come_back(shown: PromptList) -> None:
    table = PromptTable(choice=shown.choice, shown=shown)
    table.table._handle_msg({"type": "column", "key": "kl", "shown": False})
    table.table._handle_msg({"type": "column", "key": "ci", "shown": True})
    chosen = {"same", "positions", "kl"}
    assert set(table.table.hidden) == chosen
    shown.run.epoch += 1
    table._refresh()
    assert set(table.table.hidden) == chosen
    again = PromptTable(choice=shown.choice, shown=shown)
    remembered = {"kl": False, "ci": True, "mark": False, "no column": False, "<b>": 1}
    again.table._handle_msg({"type": "columns", "shown": remembered})
    again.table._handle_msg({"type": "columns", "shown": ["kl"]})
    again.table._handle_msg({"type": "column", "key": ["kl"], "shown": True})
    assert set(again.table.hidden) == chosen
    assert "KL" not in again.csv().getvalue().splitlines()[0]
    assert again.table.kept


def test_a_search_looks_through_what_the_models_said(record: Record, fakes: Any) -> None:
    folder = record(suite_text(prompts=6, nulls=4, ablation=False))
    record_details(folder, fakes.FakeBackend(), [f"Prompt {i} about {'light' if i % 4 else 'bread'}" for i in (1, 2)])
    path = folder.details().path
    first, second = path.read_text(encoding="utf-8").splitlines()
    said = json.loads(first) | {"base_says": ["a", " king"], "tuned_says": ['"],', " fisher", ' of ,"tokens":[']}
    path.write_text(f"{json.dumps(said, separators=(',', ':'))}\n{second}\n", encoding="utf-8")
    state = RunState()
    state.open(folder)
    shown = PromptList(run=state, choice=Selection())
    bar = FilterBar(choice=shown.choice, shown=shown)
    for query, regex in (("A KING", False), ("fisher of", False), (r"fi\w+ of ,.tok", True), ("a king$", True)):
        shown.choice.param.update(query=query, regex=regex)
        assert items(shown) == [1], query
    assert any("generations too" in chip[1] for chip in bar._active.items)
    assert "generations" in bar._search.label
    table = PromptTable(choice=shown.choice, shown=shown)
    found = {}
    for query in ("king", "fisher", "about", "odd"):
        shown.choice.param.update(query=query, regex=False)
        (found[query],) = (cells[2] for item, cells in table._rows(0, 9) if item == 1)
    assert found["king"] == ["Prompt 1 about light · base says: a ", "king", ""]
    assert found["fisher"] == ['Prompt 1 about light · tuned says: "], ', "fisher", ' of ,"tokens":[']
    assert found["about"] == ["Prompt 1 ", "about", " light"], "what is in the prompt itself needs no other reason"
    assert found["odd"] == "Prompt 1 about light", "nor does a tag"
    shown.choice.param.update(query="kingfisher", regex=False)
    assert items(shown) == []


# -- the open prompt -----------------------------------------------------------------------------


@pytest.fixture
def page(record: Record, fakes: Any) -> PromptsPage:
    folder = record(suite_text(prompts=6, nulls=4, ablation=False))
    record_details(folder, fakes.FakeBackend(), [f"Prompt {i} about {'light' if i % 4 else 'bread'}" for i in (1, 2)])
    state = RunState()
    state.open(folder)
    return PromptsPage(run=state, choice=Selection())


def test_the_pane_is_there_while_a_prompt_is_open(page: PromptsPage) -> None:
    assert not page._pane.visible
    page.open()
    assert page._pane.visible
    assert page.choice.item == page.shown.rows[0].item
    assert "1 of 6" in page._detail._head.object
    page.next()
    assert "2 of 6" in page._detail._head.object
    page.previous()
    page.previous()
    assert "1 of 6" in page._detail._head.object
    assert page._detail._back.disabled
    page.choice.item = None
    assert not page._pane.visible
    page.choice.item = 4711
    assert not page._pane.visible


def test_a_recorded_prompt_opens_at_its_next_token(page: PromptsPage, fakes: Any) -> None:
    page.choice.item = 1
    detail = fakes.detail("Prompt 1 about light", BASE, FINETUNED, top=8, new_tokens=24)
    first = next(i for i, t in enumerate(detail.tokens) if t.part == "continuation")
    assert page._detail._known.visible
    assert page._detail._text.text.chosen == first
    want = detail.tokens[first].prediction
    data = page._detail._distribution.tokens.sources["tokens"].data
    shown = {int(i): (b, t) for i, b, t in zip(data["id"], data["base"], data["tuned"], strict=True) if i}
    for c in want.choices:
        if c.id in shown:
            assert shown[c.id] == pytest.approx((c.base, c.tuned), rel=1e-3)
    assert (sum(data["base"]), sum(data["tuned"])) == pytest.approx((1.0, 1.0))
    assert data["label"][-1] == "all other tokens"
    page.previous_token()
    assert page.choice.token == first - 1
    page.next_token()
    page.previous_token()
    assert page._detail._text.text.chosen == page.choice.token == first - 1
    again = page._detail._distribution.tokens.sources["tokens"].data
    assert again["base"] != data["base"]
    for _ in range(100):
        page.previous_token()
    assert page.choice.token == 0
    assert "no prediction" in page._detail._distribution._head.object
    assert not page._detail._distribution._dumbbell.visible


def test_a_prompt_without_tokens_shows_what_was_measured_and_can_be_asked_for(page: PromptsPage, fakes: Any) -> None:
    asked: list[str] = []
    page.param.watch(lambda e: asked.append(e.new), "wanted", onlychanged=False)
    page.choice.item = 3
    assert page._detail._unknown.visible
    m = next(m for m in page.shown.series.rows if m.item == 3)
    data = page._detail._distribution.tokens.sources["tokens"].data
    top = {i: p for _, i, p in m.tuned_top}
    known = {int(i): p for i, p in zip(data["id"], data["tuned"], strict=True) if p == p}
    assert known
    assert known.items() <= top.items()
    page._detail._ask()
    assert asked == [m.prompt]
    assert page._detail._look.disabled
    page.show_problem("the model cannot be loaded")
    assert "the model cannot be loaded" in page._detail._state.object
    assert not page._detail._look.disabled
    page._detail._ask()
    assert asked == [m.prompt] * 2
    page.show_detail(fakes.detail(m.prompt, BASE, FINETUNED))
    assert page._detail._known.visible
    assert not page._detail._unknown.visible
    page.choice.item = 1
    page.choice.item = 3
    assert page._detail._known.visible


def test_tokens_that_are_recorded_later_are_found(page: PromptsPage, fakes: Any) -> None:
    page.choice.item = 4
    assert not page._detail._known.visible
    assert page.run.folder is not None
    record_details(page.run.folder, fakes.FakeBackend(), ["Prompt 4 about bread"])
    page.poll()
    assert page._detail._known.visible


def test_numbers_are_those_of_the_measurement(page: PromptsPage) -> None:
    page.choice.item = 1
    m = next(m for m in page.shown.series.rows if m.item == 1)
    text = page._detail._numbers.object
    null = page.shown.series.null_range(1, "js")
    assert null is not None
    for wanted in (f"{m.js:.3g} nats", f"{m.kl:.3g} nats", f"{null.hi:.3g} nats", "of 4", "over the whole vocabulary"):
        assert wanted in text
    assert value_of(m, "kl") == m.kl


def test_a_run_that_ends_keeps_the_open_prompt(going: Going) -> None:
    page = PromptsPage(run=going.state, choice=Selection())
    going.measure(3)
    page.open()
    opened = page.choice.item
    going.measure(end=True)
    assert page.choice.item == opened
    assert isinstance(going.state.folder.tail().read()[-1], RunFinished)  # type: ignore[union-attr]
    assert page._table.table.active["item"] == opened
