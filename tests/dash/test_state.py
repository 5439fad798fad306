"""What each plot would show, driven from a recorded stream without a browser, against numbers computed directly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn
import pytest

from sway_dash.core.divergence import LN2
from sway_dash.core.events import Measurement, ProbeFinished, RunFinished
from sway_dash.core.scoring import BASE, FINETUNED, View
from sway_dash.core.sequences import confidence_sequence
from sway_dash.core.stats import interval, mean
from sway_dash.dash import live
from sway_dash.dash.pages.overview import OverviewPage
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import columns
from sway_dash.figures.derive import EVERY_BAND, ProbeSeries, RunData
from sway_dash.figures.theme import esc
from sway_dash.probes.measure import measuring_order
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import ROOT, suite_text
from tests.processes import loaded

Record = Callable[..., RunFolder]


@pytest.fixture
def state(record: Record) -> RunState:
    found = RunState()
    found.open(record(suite_text()))
    return found


def test_a_finished_run_is_read_whole(state: RunState) -> None:
    assert (state.status, state.word) == ("finished", "changed")
    assert state.done == state.total == 8 * 10 + 8 + 5 * 6
    assert state.probes == ["moved"]
    assert state.tags == ["even", "odd"]
    assert not state.live


def test_dots_are_the_divergences_of_the_backend(state: RunState, fakes: Any) -> None:
    series = state.data.series["moved"]
    rows = sorted(series.rows, key=lambda m: -m.js)
    shown = columns.dots(series, rows, "js", range(len(rows)))
    want = {m.prompt: fakes.comparison(m.prompt, BASE, FINETUNED).js for m in rows}
    assert shown["x"] == sorted(want.values(), reverse=True)
    for m, status in zip(rows, shown["status"], strict=True):
        draws = [fakes.comparison(m.prompt, BASE, View.null(1000 + k)).js for k in range(10)]
        null = series.null_range(m.item, "js")
        assert null is not None
        assert (null.lo, null.hi, null.n) == (min(draws), max(draws), 10)
        assert status == ("above" if want[m.prompt] > max(draws) else "inside")


def test_running_mean_and_band_are_those_of_the_prompts_so_far(state: RunState) -> None:
    series = state.data.series["moved"]
    points = series.running("js")
    for n, point in enumerate(points, 1):
        so_far = [m.js for m in sorted(series.rows[:n], key=lambda m: m.item)]
        assert point.mean == pytest.approx(mean(so_far), abs=1e-15)
    assert [p.ci is None for p in points[:4]] == [True, True, True, False]
    # Anytime-valid, over the prompts in the order they came.
    lower, upper = confidence_sequence([m.js for m in series.rows], bounds=(0.0, LN2))
    for point in points[3:]:
        assert point.ci == pytest.approx((lower[point.n - 1], upper[point.n - 1]), abs=1e-3)
        assert "every look" in point.note
    result = next(p for p in state.data.result().probes if p.name == "moved")
    assert (points[-1].mean, points[-1].interval) == (result.raw, result.ci_95)
    assert [p.final for p in points[:-1]] == [None] * 7


def test_a_divergence_without_a_bound_has_a_pointwise_band_that_says_so(state: RunState) -> None:
    series = state.data.series["moved"]
    points = series.running("kl")
    so_far = [m.kl for m in sorted(series.rows[:6], key=lambda m: m.item)]
    assert points[5].ci == interval(so_far, seed=0, bounds=(0.0, float("inf")))[0]
    assert "pointwise" in points[5].note


def test_a_mean_that_leaves_its_band_is_said_to_have_come_in_no_random_order() -> None:
    values = [0.001] * 100 + [0.6] * 60
    rows = [
        Measurement(probe="p", item=i, prompt=str(i), js=v, kl=0, kl_reverse=0, same_top=1)
        for i, v in enumerate(values)
    ]
    points = ProbeSeries("p", rows=rows).running("js")
    outside = [p for p in points if p.ci and not p.ci[0] <= p.mean <= p.ci[1]]
    assert outside
    assert all("the mean has left it" in p.note for p in outside)
    assert not any("the mean has left it" in p.note for p in points if p not in outside)
    assert "the mean has left it" not in points[63].note


def test_a_text_that_is_listed_twice_moves_the_band_once() -> None:
    def row(item: int, text: str, js: float) -> Measurement:
        return Measurement(probe="p", item=item, prompt=text, js=js, kl=0, kl_reverse=0, same_top=1)

    rows = [row(i, str(i), 0.02 * i) for i in range(12)]
    once, twice = (
        ProbeSeries("p", rows=rows),
        ProbeSeries("p", rows=[*rows, row(12, "3", 0.06)]),
    )
    assert twice.running("js")[-1].ci == once.running("js")[-1].ci
    assert twice.running("js")[-1].distinct == 12


def test_the_strip_shows_the_null_of_the_verdict(state: RunState) -> None:
    nulls, tuned = columns.strip(state.data.series["moved"], "js")
    evidence = state.data.finished["noise"].evidence
    assert nulls["x"] == pytest.approx(evidence["null_draws"]["moved"]["rank_1.00"], abs=1e-15)
    assert tuned["x"] == [state.data.finished["moved"].raw]


def test_ablation_is_the_curve_of_the_probe(state: RunState) -> None:
    line, band, each = columns.ablation(state.data.ablations["strength"])
    evidence = state.data.finished["strength"].evidence
    assert line["lam"] == evidence["lambdas"]
    assert line["mean"] == evidence["mean_divergence_per_lambda"]
    assert list(zip(band["lo"], band["hi"], strict=True)) == [tuple(ci) for ci in evidence["ci_95_per_lambda"]]
    assert each["ys"] == evidence["per_prompt_curves"]


def test_hit_rate_and_totals_are_those_of_the_trace(state: RunState) -> None:
    from sway_dash.suite.trace_analysis import build_report, load

    assert state.folder is not None
    report = build_report(load(state.folder.path / "trace.jsonl"))
    calls = state.data.calls
    assert calls.n == report.total_events
    assert calls.hit_rate == pytest.approx(report.overall_hit_rate)
    assert calls.ms == pytest.approx(report.total_wall_ms)


def test_filters_and_order(state: RunState) -> None:
    series = state.data.series["moved"]
    choice = Selection(tags=["odd"])
    assert sorted(m.item for m in choice.admit(series, series.rows, "js")) == [1, 3, 5, 7]
    assert len(choice.admit(series, series.rows, "js", without=("tags",))) == 8
    assert choice.order(state) == "value"
    choice.sort = "suite"
    assert choice.order(state) == "suite"


def test_events_one_at_a_time_give_what_all_at_once_give(record: Record) -> None:
    events = record(suite_text()).tail().read()
    slowly, at_once = RunData(), RunData()
    for event in events:
        slowly.add(event)
        for series in slowly.series.values():
            series.running("js")
    for event in events:
        at_once.add(event)
    assert slowly.series["moved"].running("js") == at_once.series["moved"].running("js")
    assert slowly.result() == at_once.result()


def test_a_running_run_says_numbers_but_no_judgement(record: Record) -> None:
    def until_third(events: list[Any]) -> list[Any]:
        own = [i for i, e in enumerate(events) if isinstance(e, Measurement) and e.role == "probe"]
        return events[: own[2] + 1]

    folder = record(suite_text(), keep=until_third)
    folder.claim()
    folder.write_meta(claimed_at=folder.meta()["created_at"])  # before its events
    state = RunState()
    state.open(folder)
    assert (state.status, state.word, state.phase) == ("running", "measuring", "moved")
    assert state.sentence.startswith("3 of 8 prompts measured")
    assert "no interval below 4 prompts" in state.sentence
    assert Selection().order(state) == "suite"


def test_new_lines_are_taken_once_and_torn_ones_wait(record: Record) -> None:
    text = suite_text(ablation=False)
    whole = record(text)
    lines = (whole.path / "events.jsonl").read_bytes().splitlines(keepends=True)
    folder = RunFolder.create(text, root=whole.path.parent)
    folder.claim()
    folder.write_meta(claimed_at=whole.meta()["created_at"])  # before its events
    path = folder.path / "events.jsonl"
    state = RunState()
    half = len(lines) // 2
    path.write_bytes(b"".join(lines[:half]) + lines[half][:20])
    state.open(folder)
    before = state.done
    assert state.status == "running"
    with path.open("ab") as file:
        file.write(lines[half][20:] + b"not json\n" + b"".join(lines[half + 1 :]))
    assert state.feed is not None
    state.feed.poll(now=True)
    state.pull()
    assert before < state.done == state.total
    assert state.feed.skipped == 1
    assert state.status == "finished"


def test_a_run_whose_process_is_gone_is_interrupted(record: Record) -> None:
    folder = record(suite_text(), keep=lambda events: [e for e in events if not isinstance(e, RunFinished)][:60])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder.claim()
    folder.write_meta(pid=gone.pid)
    state = RunState()
    state.open(folder)
    state.feed.poll(now=True)  # type: ignore[union-attr]
    state.pull()
    assert state.status == "interrupted"
    assert state.word == "inconclusive"


def test_another_attempt_starts_the_screen_anew(record: Record) -> None:
    folder = record(suite_text(ablation=False))
    path = folder.path / "events.jsonl"
    state = RunState()
    state.open(folder)
    epoch = state.epoch
    with path.open("ab") as file:
        file.write(path.read_bytes())
    state.feed.poll(now=True)  # type: ignore[union-attr]
    state.pull()
    assert state.epoch == epoch + 1
    assert len(state.data.series["moved"].rows) == 8


def test_sessions_share_one_reader(record: Record) -> None:
    folder = record(suite_text())
    first, second = RunState(), RunState()
    first.open(folder)
    second.open(RunFolder(folder.path))
    assert first.feed is second.feed
    first.close()
    assert live._feeds
    second.close()
    assert not live._feeds


def test_identical_models_and_failed_preflight(record: Record) -> None:
    from sway_dash.dash.pages.banner import banner

    state = RunState()
    state.open(record(suite_text("identical", nulls=0)))
    assert state.word == "no detectable change"
    assert "B matrices are all zero" in banner(state)
    state.open(record(suite_text("nan")))
    assert state.word == "broken"
    assert "no score was computed" in banner(state)
    # What the check found is said once: in the verdict.
    (reason,) = state.reasons
    overview = OverviewPage(run=state, choice=Selection())
    said = banner(state) + "".join(str(pane.object) for pane in overview.__panel__().select(pn.pane.HTML))
    assert said.count(esc(reason)) == 1
    assert not any(s.rows for s in state.data.series.values())


def test_many_prompts_get_fewer_bands(record: Record) -> None:
    rows = [
        Measurement(probe="p", item=i, prompt=str(i), js=0.1 + 0.001 * (i % 7), kl=0, kl_reverse=0, same_top=1)
        for i in measuring_order(700, 0)
    ]
    series = ProbeSeries("p", planned=700, rows=rows)
    points = series.running("js")
    assert all(p.ci for p in points[3:EVERY_BAND])
    assert sum(p.ci is not None for p in points) < 200
    assert points[-1].ci is not None
    assert points[-1].mean == pytest.approx(mean(m.js for m in rows))


def test_the_gate_is_only_drawn_for_its_own_divergence(state: RunState) -> None:
    from sway_dash.dash.pages.verdict import gate_of

    assert gate_of(state, "moved", "js") == 0.02
    assert gate_of(state, "moved", "kl") is None


def test_finished_probe_is_kept(state: RunState) -> None:
    assert set(state.data.finished) == {"noise", "moved", "strength"}
    assert isinstance(state.folder.tail().read()[-1], RunFinished)  # type: ignore[union-attr]
    assert any(isinstance(e, ProbeFinished) for e in state.folder.tail().read())  # type: ignore[union-attr]


def test_opening_the_app_does_not_import_torch(tmp_path: Path) -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1])"
    assert loaded(code, ("torch", "transformers", "peft"), ROOT / "apps" / "sway.py", SWAY_RUNS_DIR=str(tmp_path)) == []
