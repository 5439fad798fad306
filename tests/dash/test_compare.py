"""What the Compare page would show, without a browser, against numbers computed directly."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sway_dash.core.divergence import LN2
from sway_dash.core.events import Event, Measurement
from sway_dash.core.paired import adjusted, mean_interval, paired
from sway_dash.core.scoring import BASE, FINETUNED
from sway_dash.core.stats import mean
from sway_dash.dash import app as app_module
from sway_dash.dash import compare_state, live, run_edits, runs
from sway_dash.dash.app import App
from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.pages.compare import CompareView
from sway_dash.dash.pages.compare_bar import CompareBar
from sway_dash.dash.pages.compare_charts import CourseChart, DifferenceChart, PairChart
from sway_dash.dash.pages.compare_head import CompareHead
from sway_dash.dash.pages.compare_probes import ProbeMatrix, SettingsDiff
from sway_dash.dash.pages.compare_table import ComparePrompt, CompareTable, UnpairedList
from sway_dash.dash.run_tokens import RunTokens
from sway_dash.figures import compare_columns as columns
from sway_dash.suite.checkpoints import course, ordered
from sway_dash.suite.store import RunFolder
from tests import fakes as fake
from tests.dash.conftest import suite_text
from tests.dash.elsewhere import Elsewhere

Make = Callable[..., str]


@pytest.fixture
def make(record: Callable[..., RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Record a run on the fake backend and return its address."""
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path / "runs"))

    def recorded(address: str, base: str = "plain", *, adapter: str = "", keep: Any = None, **kwargs: Any) -> str:
        def edit(events: list[Event]) -> list[Event]:
            if adapter:
                events = [
                    e.model_copy(update={"adapter_id": adapter}) if e.type == "run_started" else e for e in events
                ]
            return keep(events) if keep else events

        folder = record(suite_text(base, ablation=False, **kwargs), keep=edit)
        folder.path.rename(folder.path.parent / address)
        return address

    return recorded


@pytest.fixture
def state(make: Make) -> CompareState:
    return CompareState(runs=[make("a"), make("b", "strong2", prompts=9), make("c", "strong0.5")])


def texts(n: int = 8) -> list[str]:
    return [f"Prompt {i} about {'light' if i % 4 else 'bread'}" for i in range(n)]


def js(strong: float, n: int = 8) -> np.ndarray[Any, Any]:
    return np.array([fake.comparison(p, BASE, FINETUNED, strong).js for p in texts(n)])


def shown(view: Any) -> str:
    """Text of every HTML pane of a view."""
    panes = view._root.select(lambda o: type(o).__name__ == "HTML")
    return " ".join(str(p.object) for p in panes)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_library(state: CompareState) -> None:
    want = [js(2.0) - js(1.0), js(0.5) - js(1.0)]
    comparison = state.comparison
    assert comparison is not None
    rows, noise = columns.deltas(comparison)
    assert rows["run"] == [1, 2]
    for k, deltas in enumerate(want):
        contrast = comparison.contrasts[k]
        found = paired(deltas, floor=contrast.floors[:8], bounds=(-LN2, LN2))
        assert rows["mean"][k] == pytest.approx(found.mean, abs=1e-9)
        assert (rows["lo"][k], rows["hi"][k]) == pytest.approx(found.ci, abs=1e-9)
        assert noise["hi"][k] == -noise["lo"][k] == contrast.mean_floor
    ps = adjusted([paired(d) for d in want])
    assert [c.stats.p_holm for c in comparison.contrasts] == pytest.approx([p.p_holm for p in ps], abs=1e-9)
    pairs = columns.pairs(comparison, comparison.contrasts[0], by_size=True)
    order = np.argsort(-want[0], kind="stable")
    assert pairs["prompt"] == [texts()[i] for i in order]
    assert pairs["a"] == pytest.approx(js(1.0)[order], abs=1e-9)
    assert pairs["b"] == pytest.approx(js(2.0)[order], abs=1e-9)


def test_ways_are_told_by_word_colour_and_shape(state: CompareState) -> None:
    comparison = state.comparison
    assert comparison is not None
    stronger = columns.pairs(comparison, comparison.contrasts[0], by_size=True)
    weaker = columns.pairs(comparison, comparison.contrasts[1], by_size=True)
    assert stronger["way"][0] == "more changed"
    assert stronger["marker"][0] == "triangle"
    assert weaker["way"][-1] == "less changed"
    assert weaker["marker"][-1] == "inverted_triangle"


def test_another_baseline_turns_the_signs_round_and_is_kept(state: CompareState) -> None:
    before = {c.run: c.stats.mean for c in state.comparison.contrasts}  # type: ignore[union-attr]
    assert state.set_baseline("b") == ""
    after = {c.run: c.stats.mean for c in state.comparison.contrasts}  # type: ignore[union-attr]
    assert after[0] == pytest.approx(-before[1], abs=1e-12)
    assert (state.base, state.stored, runs.baseline()) == (1, "b", "b")
    # The pair that was looked at is still looked at, the other way round.
    assert state.focused == 0
    assert CompareState(runs=["c", "a", "b"]).base == 2


def test_an_address_names_its_baseline_whatever_is_kept(state: CompareState) -> None:
    state.set_baseline("b")
    assert CompareState(runs=["a", "b", "c"], baseline="c").base == 2


def test_keys_go_through_the_other_runs(state: CompareState) -> None:
    seen = []
    for _ in range(3):
        seen.append(state.focused)
        state.next_run()
    assert seen == [1, 2, 1]
    state.previous_run()
    assert state.focused == 1
    state.set_baseline()
    assert state.base == 1


def test_tags_and_search_leave_prompts_out_of_the_numbers_but_noise_does_not(state: CompareState) -> None:
    whole = state.comparison.contrasts[0].stats  # type: ignore[union-attr]
    state.outside = True
    assert state.comparison.contrasts[0].stats == whole  # type: ignore[union-attr]
    assert 0 < len(state.places()) < 8
    state.param.update(outside=False, tags=["odd"])
    odd = (js(2.0) - js(1.0))[1::2]
    assert state.comparison.contrasts[0].stats.mean == pytest.approx(mean(odd), abs=1e-12)  # type: ignore[union-attr]
    state.param.update(tags=[], query="PROMPT 3")
    assert [state.comparison.alignment.keys[i][0] for i in state.places()] == [texts()[3]]  # type: ignore[union-attr]
    state.param.update(query="prompt [0-2] ", regex=True)
    assert len(state.places()) == 3
    state.query = "("
    assert state.places() == []
    assert "not a regular expression" in state.problem
    state.clear()
    assert (len(state.places()), state.problem) == (9, "")


def test_the_table_starts_with_the_largest_difference_and_ends_with_the_unpaired(state: CompareState) -> None:
    table = CompareTable(state=state)
    order = np.argsort(-np.abs(js(2.0) - js(1.0)), kind="stable")
    assert [cells[1] for _, cells in table._rows(0, 9)] == [*(texts()[i] for i in order), texts(9)[8]]
    assert [head[1] for head in table.table.heads] == ["", "Prompt", "Δ B−A", "A ★", "B", "C", "|Δ|", "Tags"]
    assert table._rows(8, 1)[0][1][0] == "—"
    state.next_run()
    assert table.table.heads[2][1] == "Δ C−A"
    assert all(len(cells) == len(table.table.heads) for _, cells in table._rows(0, 9))
    for key, wanted in (("prompt", "prompt"), ("prompt", "-prompt"), ("prompt", ""), ("B", "-B"), ("delta", "-delta")):
        table._sort(key)
        assert state.sort == wanted
    assert [p for p, _ in table._rows(0, 8)] == np.argsort(-(js(0.5) - js(1.0)), kind="stable").tolist()


def test_the_csv_holds_the_rows_in_full(state: CompareState) -> None:
    state.tags = ["odd"]
    rows = list(csv.reader(CompareTable(state=state).csv()))
    assert rows[0][:3] == ["prompt", "occurrence", "tags"]
    assert rows[0][-2:] == ["delta B", "delta C"]
    by_prompt = {row[0]: row for row in rows[1:]}
    assert set(by_prompt) == set(texts()[1::2])
    assert float(by_prompt[texts()[3]][-2]) == pytest.approx((js(2.0) - js(1.0))[3], abs=1e-15)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_the_head_says_what_changed_and_what_stands_against_it(state: CompareState) -> None:
    said = shown(CompareHead(state=state))
    assert "<b>B</b>" in said
    assert "paired bootstrap-t, n = 8" in said
    assert "1 prompt only in B" in said
    assert "Not quite comparable:</b> different base model, prompts." in said


def test_identical_runs_say_that_nothing_changed(make: Make) -> None:
    said = shown(CompareHead(state=CompareState(runs=[make("a"), make("again")])))
    assert "Nothing changed: all 8 prompts have the same JS in B and A." in said
    assert "Not quite comparable" not in said


def test_an_unpaired_prompt_is_listed_with_the_reason(state: CompareState) -> None:
    view = UnpairedList(state=state)
    assert "1 prompt not in every run" in shown(view)
    assert view._rows(0, 5) == [(8, [texts(9)[8], "B", "A: not in its suite; C: not in its suite"])]
    state.remove("b")
    assert not view._root.visible


def test_the_open_prompt_is_shown_in_every_run_and_opens_there(state: CompareState) -> None:
    view, table = ComparePrompt(state=state), CompareTable(state=state)
    went: list[Any] = []
    state.param.watch(lambda e: went.append(e.new), "goto")
    table._open(8)
    assert "not in its suite" in shown(view)
    assert [item[1] for item in view._open.items] == ["Open in B"]
    view._open._handle_msg({"key": "1"})
    assert went == [("b", 8), None]
    table._open(99)
    assert state.item == 8
    table._step(-1)
    assert state.item == state.places()[-2]


def test_probes_and_settings_side_by_side(state: CompareState, make: Make) -> None:
    state.add(make("d", "strong0.05", nulls=5))
    matrix, settings = shown(ProbeMatrix(state=state)), shown(SettingsDiff(state=state))
    assert "regressed" in matrix
    assert "▽ fail" in matrix
    assert "B: 1 improved, 1 same · C: 1 same, 1 regressed · D: 1 same, 1 regressed" in matrix
    assert "suite.noise.runs" in settings
    assert "suite.moved.kind" not in settings


def test_a_run_without_a_probe_has_lost_it(make: Make) -> None:
    state = CompareState(runs=[make("a"), make("b", nulls=0)])
    said = shown(ProbeMatrix(state=state))
    assert "not in this run" in said
    assert "✕ lost" in said


def test_hostile_names_are_escaped(make: Make, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202e"
    for name in ("a", "b"):
        make(name)
        RunFolder(tmp_path / "runs" / name).write_meta(name=hostile)
    state = CompareState(runs=["a", "b"])
    view = CompareView(state=state)
    assert "<img" not in shown(view)
    assert "\u202e" not in shown(view) + str(view._bar._tokens.items)


# --- bar --------------------------------------------------------------------------------------------------------------


def test_too_few_runs_say_what_to_do(make: Make) -> None:
    make("a")
    make("b")
    state = CompareState()
    view = CompareView(state=state)
    assert not view._rest.visible
    assert "Choose two to 8 runs" in shown(view._bar)
    assert {item[0] for item in view._bar._recent.items} >= {"a", "b"}
    view._bar._recent._handle_msg({"key": "a"})
    assert "One more run is needed" in shown(view._bar)
    view._bar._picker.value = "b"
    assert state.runs == ["a", "b"]
    assert view._bar._picker.value == ""
    assert view._rest.visible


def test_runs_that_are_not_there_are_named_and_left_out(make: Make) -> None:
    state = CompareState(runs=[make("a"), "gone-<b>", make("b")])
    assert state.addresses == ["a", "b"]
    assert "There is no run <code>gone-&lt;b&gt;</code> here" in shown(CompareBar(state=state))


def test_tokens_order_star_drop_and_open(state: CompareState) -> None:
    bar = CompareBar(state=state)
    tokens = bar._tokens
    assert [item[:2] for item in tokens.items] == [["a", "A"], ["b", "B"], ["c", "C"]]
    assert [item[4] for item in tokens.items] == [True, False, False]
    opened: list[str] = []
    state.param.watch(lambda e: opened.append(e.new), "opened")
    for what, run in (("right", "a"), ("show", "c"), ("baseline", "b"), ("remove", "a"), ("open", "c")):
        tokens._handle_msg({"what": what, "run": run})
    assert state.addresses == ["b", "c"]
    assert (state.base, state.focused) == (0, 1)
    assert opened == ["c", ""]


@pytest.mark.parametrize(
    "message", [None, "x", {"what": "rm", "run": "a"}, {"what": "remove", "run": "z"}, {"run": "a"}]
)
def test_a_message_that_means_nothing_does_nothing(message: Any) -> None:
    acted: list[Any] = []
    tokens = RunTokens(lambda *args: acted.append(args))
    tokens.offer([("a", "A", "name", "finished", True, False)])
    tokens._handle_msg(message)
    assert acted == []


def test_no_more_than_eight_runs(make: Make) -> None:
    names = [make(f"r{i}", prompts=4, nulls=0) for i in range(9)]
    state = CompareState(runs=names)
    assert len(state.sides) == 8
    assert "8 runs can be compared at a time" in shown(CompareBar(state=state))
    state.add("r8")
    assert len(state.sides) == 8


# --- plots ------------------------------------------------------------------------------------------------------------


def test_how_prompts_are_drawn_follows_their_number(make: Make) -> None:
    for n, mode in ((30, "slope"), (31, "rows"), (200, "rows"), (201, "cloud")):
        state = CompareState(runs=[make(f"a{n}", prompts=n, nulls=2), make(f"b{n}", "strong2", prompts=n, nulls=2)])
        chart = PairChart(state=state)
        assert [name for name, pane in chart._panes.items() if pane.visible] == [mode]
        assert len(chart._plots[mode].sources["rows"].data["place"]) == n
        assert "more changed" in chart._plots[mode].figure.html_attributes["aria-label"]
    bins = chart._bins.sources["bins"].data
    assert sum(bins["count"]) == 201
    assert any(left <= 1e-12 <= right + 1e-12 for left, right in zip(bins["left"], bins["right"], strict=True))


def test_a_click_on_a_mark_opens_the_prompt_and_on_a_run_shows_it(state: CompareState) -> None:
    chart, differences = PairChart(state=state), DifferenceChart(state=state)
    source = chart._plots["slope"].sources["rows"]
    source.selected.indices = [2]
    assert state.item == source.data["place"][2]
    differences.plot.sources["rows"].selected.indices = [1]
    assert state.focused == 2
    assert source.selected.indices == [source.data["place"].index(state.item)]


def test_names_of_slopes_keep_their_distance() -> None:
    rows = {"a": [0.1] * 14, "b": [0.5] * 14, "way": ["more changed"] * 14, "prompt": [str(i) for i in range(14)]}
    found = columns.slope_labels(rows, top=0.55, height=280, limit=20)
    gaps = np.diff(found["y"])
    assert len(found["y"]) == columns.NAMED_SLOPES
    assert (gaps >= 14 * 0.55 / 280 - 1e-12).all()
    assert max(found["y"]) <= 0.55


def test_corridor_and_bars_are_where_the_same_values_lie(state: CompareState) -> None:
    comparison = state.comparison
    assert comparison is not None
    contrast = comparison.contrasts[0]
    rows = columns.pairs(comparison, contrast, by_size=True)
    bars = columns.floor_bars(comparison, contrast, rows)
    for i, way in enumerate(rows["way"]):
        assert (bars["lo"][i] <= rows["b"][i] <= bars["hi"][i]) == (way == "same")


def test_zoomed_axes_are_left_alone_while_runs_go_on() -> None:
    from sway_dash.figures.plots import paired as plots

    plot = plots.mean_differences()
    plots.reach(plot, "x", -0.1, 0.2, anew=True)
    wide = (plot.figure.x_range.start, plot.figure.x_range.end)
    plots.reach(plot, "x", -0.01, 0.02, anew=False)
    assert (plot.figure.x_range.start, plot.figure.x_range.end) == wide
    plot.figure.x_range.update(start=0.0, end=0.05)
    plots.reach(plot, "x", -1.0, 1.0, anew=False)
    assert (plot.figure.x_range.start, plot.figure.x_range.end) == (0.0, 0.05)
    plots.reach(plot, "x", -1.0, 1.0, anew=True)
    assert plot.figure.x_range.end > 1.0


def test_checkpoints_are_a_course_on_a_numeric_axis(make: Make) -> None:
    strengths = {500: 0.8, 50: 0.2, 1000: 1.0}
    for step, strong in strengths.items():
        make(f"k{step}", f"strong{strong}", adapter=f"/out/run/checkpoint-{step}")
    state = CompareState(runs=["k500", "k50", "k1000", make("other", prompts=6)])
    comparison = state.comparison
    assert comparison is not None
    found = course(comparison, ordered(state.sides))  # type: ignore[arg-type]
    assert found is not None
    shown_columns = columns.course_columns(found, state.labels)
    assert shown_columns["line"]["step"] == [50.0, 500.0, 1000.0]
    for mean_, ci, strong in zip(found.means, found.intervals, (0.2, 0.8, 1.0), strict=True):
        assert mean_ == pytest.approx(mean(js(strong)), abs=1e-9)
        assert ci == pytest.approx(mean_interval(js(strong), bounds=(0.0, LN2))[0], abs=1e-9)
    assert np.array(shown_columns["each"]["ys"])[:, 0] == pytest.approx(js(0.2), abs=1e-9)
    chart = CourseChart(state=state)
    assert chart._root.visible
    assert "step 50 (B)" in shown(chart)
    assert "1 run of another training run" in shown(chart)
    state.remove("k50")
    assert not chart._root.visible


def test_marked_runs_are_compared_oldest_first_and_checkpoints_by_step(make: Make) -> None:
    times = {"last": 4.0, "k9": 3.0, "k50": 2.0, "first": 1.0, "k100": 5.0}
    for name, created in times.items():
        make(name, adapter=f"/out/run/checkpoint-{name[1:]}" if name.startswith("k") else "")
        RunFolder(runs.runs_root() / name).write_meta(created_at=created)
    app = App()
    app._compare(["k100", "last", "k9", "k50", "first"])
    assert app.compare.runs == ["first", "k9", "k50", "k100", "last"]
    assert app.compare.base == 0
    run_edits.set_baseline("k9")
    app._compare(["k50", "k9"])
    assert app.compare.runs == ["k9", "k50"]
    app._compare(["last", "k9", "first"])
    assert app.compare.addresses[app.compare.base] == "k9"
    app.compare.close()


def test_of_more_than_can_be_compared_the_newest_and_the_baseline_are(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"r{i}" for i in range(11)]
    for i, name in enumerate(names):
        make(name, prompts=2, nulls=0)
        RunFolder(runs.runs_root() / name).write_meta(created_at=float(i + 1))
    run_edits.set_baseline("r1")
    said: list[str] = []
    monkeypatch.setattr(app_module, "tell", said.append)
    app = App()
    app._compare(names[::-1])
    assert app.compare.runs == ["r1", *names[4:]]
    assert app.compare.addresses[app.compare.base] == "r1"
    assert said == ["8 runs are compared at a time; 3 older ones are left out."]
    app._compare(names[2:4])
    assert len(said) == 1
    app.compare.close()


def test_many_prompts_are_a_band_over_checkpoints(make: Make) -> None:
    for step in (1, 2, 3):
        make(f"k{step}", f"strong{step}", adapter=f"/out/checkpoint-{step}", prompts=201, nulls=2)
    state = CompareState(runs=["k1", "k2", "k3"])
    found = course(state.comparison, ordered(state.sides))  # type: ignore[arg-type]
    assert found is not None
    shown_columns = columns.course_columns(found, state.labels)
    assert shown_columns["each"]["xs"] == []
    assert shown_columns["middle"]["lo"] == pytest.approx(np.quantile(found.values, 0.1, axis=0))
    assert all(lo <= hi for lo, hi in zip(shown_columns["nulls"]["lo"], shown_columns["nulls"]["hi"], strict=True))


# --- live -------------------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_is_followed(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_state, "LIVE_S", 0.0)
    later: list[Event] = []

    def half(events: list[Event]) -> list[Event]:
        own = [i for i, e in enumerate(events) if isinstance(e, Measurement) and e.role == "probe"]
        later.extend(events[own[3] + 1 :])
        return events[: own[3] + 1]

    make("a")
    make("b", "strong2", keep=half)
    folder = RunFolder(tmp_path / "runs" / "b")
    folder.claim()
    state = CompareState(runs=["a", "b"])
    view, chart = CompareView(state=state), PairChart(state=state)
    assert state.live
    assert state.comparison.contrasts[0].stats.n == 4  # type: ignore[union-attr]
    assert "B is still being measured" in shown(view)
    comparison = state.comparison
    assert comparison is not None
    state.item = int(comparison.contrasts[0].only_baseline[0])
    assert "not measured yet" in shown(ComparePrompt(state=state))
    # In suite order: rows do not jump while one reads.
    assert state.places() == sorted(state.places())
    opened = comparison.alignment.keys[state.item]
    for event in later:
        folder.append(event.model_copy(update={"ts": time.time()}))
    folder.close()
    end = time.monotonic() + 300
    while state.live:
        assert time.monotonic() < end
        time.sleep(0.05)
        state.pull()
    assert state.comparison.contrasts[0].stats.n == 8  # type: ignore[union-attr]
    assert state.comparison.alignment.keys[state.item] == opened  # type: ignore[union-attr]
    assert len(chart._plots["slope"].sources["rows"].data["place"]) == 8
    assert state.places() != sorted(state.places())


def test_readers_are_shared_and_given_back(make: Make) -> None:
    names = [make("a"), make("b")]
    first, second = CompareState(runs=names), CompareState(runs=names)
    assert len(live._feeds) == 2
    first.runs = ["a"]
    first.close()
    assert len(live._feeds) == 2
    second.close()
    assert not live._feeds


def test_a_stopped_run_is_compared_on_what_it_has_and_says_so(make: Make) -> None:
    def stopped(events: list[Event]) -> list[Event]:
        from sway_dash.core.events import RunCancelledEvent

        own = [i for i, e in enumerate(events) if isinstance(e, Measurement) and e.role == "probe"]
        return [*events[: own[4] + 1], RunCancelledEvent()]

    state = CompareState(runs=[make("a"), make("b", keep=stopped)])
    assert state.comparison.contrasts[0].stats.n == 5  # type: ignore[union-attr]
    said = shown(CompareView(state=state))
    assert "B was cancelled after" in said
    assert "3 prompts only in A" in said
    assert "B: not measured" in str(UnpairedList(state=state)._rows(0, 3))


def test_views_are_painted_in_both_themes(state: CompareState) -> None:
    view = CompareView(state=state)
    colours = []
    for dark in (False, True):
        for plot in view.plots:
            plot.recolor(dark)
        colours.append(view._difference.plot.parts["dot"].glyph.fill_color)
    assert colours[0] != colours[1]
    assert all(plot.figure.html_attributes["aria-label"] for plot in view.plots)


def test_the_same_state_sends_nothing(state: CompareState) -> None:
    version = state.version
    assert not state.pull()
    assert state.version == version


def test_an_address_opens_its_prompt_in_the_alignment_of_its_own_runs(state: CompareState, make: Make) -> None:
    opened = CompareState(runs=["a", "b"], item=3)
    assert opened.item == 3
    # From the prompts of these runs to those of others, as Back does it, and to fewer than the place.
    small = [make("d", prompts=4), make("e", "strong2", prompts=4)]
    state.item = 7
    state.param.update(runs=small, item=2)
    assert state.item == 2
    assert state.comparison is not None
    assert state.comparison.alignment.keys[2] == state._open_key
    state.param.update(runs=["a", "b"], item=7)
    state.runs = small
    assert state.item is None


def test_the_open_prompt_stays_open_when_the_runs_change(state: CompareState) -> None:
    state.item = 4
    key = state.comparison.alignment.keys[4] if state.comparison else None
    state.runs = ["c", "a"]
    assert state.comparison is not None
    assert state.comparison.alignment.keys[state.item or 0] == key
    state.item = None
    state.query = "light"
    assert state.item is None


# --- large runs ----------------------------------------------------------------------------------------------------


def test_large_runs_are_read_elsewhere_and_nobody_waits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [make("a"), make("b", "strong2"), make("c", "strong0.5")]
    monkeypatch.setattr(live, "AT_ONCE", 0)
    polled: list[str] = []
    poll = live.Feed.poll
    monkeypatch.setattr(live.Feed, "poll", lambda self, **kw: (polled.append(self.folder.id), poll(self, **kw))[1])
    elsewhere = Elsewhere()
    state = CompareState(runs=addresses, item=2, background=elsewhere)
    bar = CompareBar(state=state)
    assert polled == [], "a run was read while the server waited"
    assert state.opening == addresses
    assert "Reading 3 runs…" in str(bar._said.object)
    assert not bar._empty.visible
    # The page stays in use, and nothing is read twice.
    state.pull()
    state.tags = ["odd"]
    assert len(elsewhere.waiting) == 1
    elsewhere.finish()
    assert state.addresses == addresses
    assert (state.opening, state.item) == ([], 2)
    assert state.comparison is not None
    assert "Reading" not in str(bar._said.object)
    # What somebody has open already is there at once.
    again = CompareState(runs=addresses, background=elsewhere)
    assert (again.opening, elsewhere.waiting) == ([], [])
    assert [feed.users for feed in live._feeds.values()] == [2, 2, 2]
    for one in (state, again):
        one.close()
    assert live._feeds == {}


def test_nothing_is_compared_with_another_run_while_the_baseline_is_being_read(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, others = make("large"), [make("b", "strong2"), make("c", "strong0.5")]
    monkeypatch.setattr(live, "takes_long", lambda folder: folder.id == large)
    run_edits.set_baseline(large)
    elsewhere = Elsewhere()
    state = CompareState(runs=[*others, large], background=elsewhere)
    bar, page = CompareBar(state=state), CompareView(state=state)
    assert (state.comparison, state.addresses, state.labels) == (None, others, ["A", "B"])
    assert not page._rest.visible
    assert "Reading 1 run…" in str(bar._said.object)
    assert [item[:2] for item in bar._tokens.items] == [["b", "A"], ["c", "B"]]
    assert not any(item[4] or item[5] for item in bar._tokens.items), "another run is starred"
    elsewhere.finish()
    assert state.addresses[state.base] == large
    assert state.comparison is not None
    assert [c.run for c in state.comparison.contrasts] == [0, 1]
    # Where nobody has chosen one, the first is the baseline.
    run_edits.set_baseline("")
    state.close()
    first = CompareState(runs=[large, *others], background=elsewhere)
    assert (first.comparison, first.labels) == (None, ["B", "C"])
    elsewhere.finish()
    assert (first.base, first.labels) == (0, ["A", "B", "C"])


def without_first(events: list[Event]) -> list[Event]:
    return [e for e in events if not (isinstance(e, Measurement) and e.role == "probe" and e.item == 0)]


def test_the_open_prompt_is_itself_while_a_run_is_being_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # The prompt at a place among all runs is another one among those that are there first.
    small = [make("a", prompts=8, keep=without_first), make("b", "strong2", prompts=8, keep=without_first)]
    large = make("large")
    monkeypatch.setattr(live, "takes_long", lambda folder: folder.id == large)
    runs_of = [large, *small]
    wanted = CompareState(runs=runs_of, baseline="a")
    keys = wanted.comparison.alignment.keys  # type: ignore[union-attr]
    wanted.close()
    elsewhere = Elsewhere()
    state = CompareState(runs=runs_of, baseline="a", item=3, background=elsewhere)
    assert (state.comparison, state.item, state.opening) == (None, 3, [large])
    elsewhere.finish()
    assert state.comparison is not None
    assert (state.item, state._key(state.item)) == (3, keys[3])
    # An open one that is in none of the others comes back with the run it is in; one that is stays open meanwhile.
    again = make("again")
    monkeypatch.setattr(live, "takes_long", lambda folder: folder.id == again)
    for text, meanwhile in (("Prompt 0", None), ("Prompt 3", "Prompt 3")):
        state.runs = runs_of
        state.item = next(i for i, key in enumerate(keys) if key[0].startswith(text))
        state.runs = [again, *small]
        assert state.comparison is not None
        key = state._key(state.item)
        assert (key and key[0][:8]) == meanwhile
        elsewhere.finish()
        key = state._key(state.item)
        assert key is not None
        assert key[0].startswith(text)


def test_runs_that_come_when_nobody_compares_any_more_are_let_go(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [make("a"), make("b", "strong2"), make("c")]
    monkeypatch.setattr(live, "AT_ONCE", 0)
    elsewhere = Elsewhere()
    left, closed = (CompareState(runs=addresses, background=elsewhere) for _ in range(2))
    left.remove("c")
    closed.close()
    elsewhere.finish()
    elsewhere.finish()
    assert (left.addresses, left.opening) == (["a", "b"], [])
    assert (closed.addresses, closed.opening) == ([], [])
    assert {feed.folder.id: feed.users for feed in live._feeds.values()} == {"a": 1, "b": 1}


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_compared(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [make("a"), make("b", "strong2"), make("c")]
    read = live.read

    def broken(folder: RunFolder) -> live.Feed:
        if folder.id == "b":
            raise MemoryError
        return read(folder)

    monkeypatch.setattr(live, "AT_ONCE", 0)
    monkeypatch.setattr(live, "read", broken)
    state = CompareState(runs=addresses)
    assert (state.addresses, state.missing, state.opening) == (["a", "c"], ["b"], [])
