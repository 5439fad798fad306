"""The score section without a browser: its parts add up, and other settings give what a new run with them gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.events import Event, Measurement, ProbeFinished
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.dash import second_look, what_if
from sway_dash.dash.pages import score
from sway_dash.dash.pages.score import ScoreView
from sway_dash.dash.second_look import NO_EVENTS
from sway_dash.dash.state import RunState
from sway_dash.dash.what_if import WhatIf
from sway_dash.figures.score_columns import bar, left_out, partial, parts
from sway_dash.suite.execute import folder_spec, save_result
from sway_dash.suite.headline import headline
from sway_dash.suite.rejudge import cannot, rejudge
from sway_dash.suite.score import compute
from sway_dash.suite.store import EVENTS, RunFolder
from tests.dash.conftest import suite_text
from tests.dash.elsewhere import Elsewhere

Record = Callable[..., RunFolder]

HOSTILE = "<img src=x onerror=alert(1)>: {a: [\u202e'\"\n- x # $$x$$"

OTHER: dict[str, dict[str, Any]] = {
    "moved": {"assert_mean_gte": 0.09, "assert_z_gte": 40.0, "weight": 2.5},
    "strength": {"assert_linearity_gte": 0.999, "assert_saturation_between": [0.2, 0.4], "assert_overshoot_gte": 1.5},
    "noise": {"weight": 3.0},
}
WEIGHTS = {"ablation": 0.6, "baseline": 0.2}


def opened(folder: RunFolder) -> WhatIf:
    run = RunState()
    run.open(folder)
    return WhatIf(run=run)


def with_settings(text: str, settings: dict[str, dict[str, Any]], weights: dict[str, float] | None = None) -> str:
    spec = yaml.safe_load(text)
    for entry in spec["suite"]:
        entry.update(settings.get(entry["name"], {}))
    if weights:
        spec["defaults"] = {**spec.get("defaults", {}), "score_weights": weights}
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)


def bare(result: ProbeResult) -> ProbeResult:
    """Without what no two runs share: how long it took."""
    norms = {k: v for k, v in result.evidence.items() if k != "update_norms"}
    return replace(result, duration_s=0.0, evidence=norms)


def texts(view: ScoreView) -> str:
    panes = (view._sentence, view._table, view._left_out, view._outcome)
    return " ".join(str(p.object) for p in panes) + str(view._fold.title)


# --- other settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nulls", [10, 0])
def test_other_settings_give_what_a_new_run_with_them_gives(record: Record, nulls: int) -> None:
    text = suite_text(prompts=12, nulls=nulls)
    what = opened(record(text))
    again = with_settings(text, OTHER, WEIGHTS)
    rerun = record(again)
    for name, own in OTHER.items():
        for field, value in own.items():
            what.set(name, field, value)
    for category, weight in WEIGHTS.items():
        what.set_weight(category, weight)
    expected = rerun.result()
    assert what.problems == {}
    assert [bare(p) for p in what.result.probes] == [bare(p) for p in expected.probes]
    assert [p.verdict for p in what.result.probes] != [p.verdict for p in what.recorded.probes]
    assert what.score == compute(expected, weights=folder_spec(rerun).defaults.score_weights)
    assert what.score.overall != what.recorded_score.overall
    entries = {p.name: p.entry for p in rerun.fold().planned}
    assert what.answer == headline(expected, entries=entries)


def test_the_copied_lines_are_what_a_suite_needs_to_give_the_same(record: Record) -> None:
    text = suite_text(prompts=6)
    what = opened(record(text))
    what.set("moved", "assert_mean_gte", 0.09)
    what.set("strength", "assert_saturation_between", [0.2, 0.4])
    what.set_weight("ablation", 0.6)
    lines = yaml.safe_load(what.snippet())
    own = {entry.pop("name"): entry for entry in lines["suite"]}
    expected = record(with_settings(text, own, lines["defaults"]["score_weights"]))
    assert [bare(p) for p in what.result.probes] == [bare(p) for p in expected.result().probes]
    weights = folder_spec(expected).defaults.score_weights
    assert compute(expected.result(), weights=weights) == what.score


def test_weights_of_the_suite_are_those_of_the_run_and_stay_in_the_copied_lines(record: Record) -> None:
    text = with_settings(suite_text(prompts=6), {}, {"attribution": 0.0, "ablation": 0.5})
    folder = record(text)
    what = opened(folder)
    assert what.recorded_score == compute(folder.result(), weights=folder_spec(folder).defaults.score_weights)
    what.set_weight("adherence", 0.7)
    assert yaml.safe_load(what.snippet()) == {
        "defaults": {"score_weights": {"adherence": 0.7, "attribution": 0.0, "ablation": 0.5}}
    }


def test_a_saved_score_says_what_the_weights_were(record: Record) -> None:
    folder = record(suite_text(prompts=6))
    save_result(folder, folder.result(), weights={"adherence": 1.0, "ablation": 3.0})
    assert opened(folder).used == {"adherence": 1.0, "ablation": 3.0}


def test_reset_and_the_value_of_the_run_take_everything_back(record: Record) -> None:
    what = opened(record(suite_text(prompts=6)))
    before = what.score
    what.set("moved", "assert_mean_gte", 0.5)
    what.set_weight("ablation", 9)
    assert what.changed
    assert what.score != before
    what.reset()
    assert (what.changed, what.score, what.result, what.snippet()) == (False, before, what.recorded, "")
    what.set("moved", "assert_mean_gte", 0.02)
    what.set("strength", "assert_saturation_between", [0.3, 1.05])
    what.set_weight("ablation", "0.15")
    assert not what.changed


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("assert_mean_gte", -1, "greater than or equal to 0"),
        ("assert_mean_gte", "abc", "number"),
        ("assert_mean_gte", "nan", "finite"),
        ("assert_mean_gte", True, "number"),
        ("weight", -0.5, "greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_named_and_the_others_count(record: Record, field: str, value: Any, word: str) -> None:
    what = opened(record(suite_text(prompts=6)))
    what.set("moved", "assert_z_gte", 1e6)
    alone = what.score
    what.set("moved", field, value)
    assert list(what.problems) == [("moved", field)]
    assert word in what.problems["moved", field]
    assert what.score == alone
    assert yaml.safe_load(what.snippet()) == {"suite": [{"name": "moved", "assert_z_gte": 1e6}]}


@pytest.mark.parametrize("value", [-1, "inf", "much"])
def test_a_wrong_weight_of_a_category_is_named(record: Record, value: Any) -> None:
    what = opened(record(suite_text(prompts=6)))
    before = what.score
    what.set_weight("ablation", value)
    assert list(what.problems) == [("", "ablation")]
    assert what.score == before
    assert not what.changed


def test_all_weights_cannot_be_zero(record: Record) -> None:
    text = with_settings(suite_text(prompts=6), {}, {"attribution": 0, "calibration": 0, "ablation": 0})
    what = opened(record(text))
    before = what.score
    what.set_weight("adherence", 0)
    assert "positive weight" in what.problems["", "adherence"]
    assert what.score == before


# --- many prompts -------------------------------------------------------------------------------------------------


def test_many_measurements_are_judged_elsewhere_and_the_newest_settings_count(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what_if, "AT_ONCE", 0)
    judged: list[str] = []
    rejudged = second_look.rejudge
    monkeypatch.setattr(
        second_look, "rejudge", lambda f, r, *a, **kw: (judged.append(r.name), rejudged(f, r, *a, **kw))[1]
    )
    elsewhere = Elsewhere()
    run = RunState()
    run.open(record(suite_text(prompts=6)))
    what = WhatIf(run=run, background=elsewhere)
    assert not what.there
    elsewhere.finish()
    assert what.there
    recorded = what.recorded_score
    what.look()
    assert not what.looked
    elsewhere.finish()
    assert what.looked
    for value in (0.2, 0.4, 0.6):
        what.set("moved", "assert_mean_gte", value)
    assert (what.busy, what.score, judged) == (True, recorded, [])
    # The others were passed over before they were begun.
    elsewhere.finish()
    assert (what.busy, what.score) == (True, recorded)
    elsewhere.finish()
    assert (what.busy, judged, elsewhere.waiting) == (False, ["moved"], [])
    alone = WhatIf(run=run)
    alone.set("moved", "assert_mean_gte", 0.6)
    assert what.score == alone.score != recorded


def test_an_answer_about_another_run_is_thrown_away(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_if, "AT_ONCE", 0)
    elsewhere = Elsewhere()
    run = RunState()
    run.open(record(suite_text(prompts=6)))
    what = WhatIf(run=run, background=elsewhere)
    elsewhere.finish()
    what.set("moved", "assert_mean_gte", 0.6)
    run.open(record(suite_text(prompts=5, nulls=0)))
    assert not what.there
    while elsewhere.waiting:
        elsewhere.finish()
    assert (what.busy, what.changed, what.settings) == (False, False, {})
    assert what.result == what.recorded == run.feed.result()  # type: ignore[union-attr]


def test_the_fields_come_when_it_is_known_which_there_are(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_if, "AT_ONCE", 0)
    elsewhere = Elsewhere()
    monkeypatch.setattr(score, "off_loop", elsewhere)
    run = RunState()
    run.open(record(suite_text(prompts=6)))
    view = ScoreView(run=run)
    elsewhere.finish()
    view._fold.open = view._try.open = True
    assert view._inputs == {}
    assert "Looking which verdicts" in view._editor[0].object
    elsewhere.finish()
    gate, _ = view._inputs["moved", "assert_mean_gte"]
    gate.value = "0.6"
    assert view._waiting.visible
    assert str(view._outcome.object) == ""
    elsewhere.finish()
    assert not view._waiting.visible
    assert "▽ fail" in str(view._outcome.object)


# --- what cannot be given anew ------------------------------------------------------------------------------------


def test_verdicts_that_cannot_be_given_anew_say_why(record: Record) -> None:
    folder = record(suite_text(prompts=6))
    what = opened(folder)
    why = {p.name: what.why_not(p) for p in what.recorded.probes}
    assert why == {"noise": "it has no threshold", "moved": "", "strength": ""}
    assert [f.name for f in what.fields(what.recorded.probes[0])] == ["weight"]
    (moved,) = [p for p in what.recorded.probes if p.name == "moved"]
    other = replace(moved, raw=2 * (moved.raw or 1.0))
    assert "another version" in cannot(folder.fold(), other)
    kept = rejudge(folder.fold(), other, {"assert_mean_gte": 9.0, "weight": 4.0})
    assert (kept.result.verdict, kept.result.evidence["weight"]) == (other.verdict, 4.0)
    assert "another version" in kept.reason
    error = replace(moved, verdict=Verdict.ERROR, score=None)
    assert cannot(folder.fold(), error) == "it ended in an error"
    with pytest.raises(SpecValidationError):
        rejudge(folder.fold(), moved, {"assert_mean_gte": -1})


def test_a_result_without_its_events_offers_weights_alone(record: Record) -> None:
    folder = record(suite_text(prompts=6))
    save_result(folder, folder.result())
    (folder.path / EVENTS).unlink()
    what = opened(folder)
    moved = next(p for p in what.recorded.probes if p.name == "moved")
    assert what.why_not(moved) == NO_EVENTS
    assert [f.name for f in what.fields(moved)] == ["weight"]
    what.set("moved", "weight", 0)
    assert "adherence" not in what.score.components


def test_a_stopped_run_is_judged_over_what_there_is_and_stays_a_warning(record: Record) -> None:
    def half(events: list[Event]) -> list[Event]:
        own = [i for i, e in enumerate(events) if isinstance(e, Measurement) and e.role == "probe"]
        return events[: own[4] + 1]

    what = opened(record(suite_text(prompts=8, nulls=5), keep=half))
    assert what.run.status == "interrupted"
    assert partial(what.recorded) == ["moved"]
    what.set("moved", "assert_mean_gte", 0.6)
    moved = next(p for p in what.result.probes if p.name == "moved")
    assert moved.verdict is Verdict.WARN
    assert "below the gate of 0.6" in moved.message
    assert moved.score != next(p for p in what.recorded.probes if p.name == "moved").score


# --- the parts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS, {"adherence": 1.0}])
def test_the_parts_add_up_to_the_score(record: Record, weights: dict[str, float] | None) -> None:
    text = with_settings(suite_text(prompts=6), {"moved": {"weight": 2.0, "assert_mean_gte": 0.08}})
    spec = yaml.safe_load(text)
    spec["suite"].append({**spec["suite"][1], "name": "again", "assert_mean_gte": 0.3, "weight": 0.5})
    result = record(yaml.safe_dump(spec)).result()
    score = compute(result, weights=weights)
    found = parts(result, score)
    assert sum(p.adds for p in found) == pytest.approx(score.overall, abs=1e-12)
    assert sum(p.share for p in found) == pytest.approx(1.0, abs=1e-12)
    for category, value in score.components.items():
        own = [p for p in found if p.category == category]
        if own:
            assert sum(p.adds for p in own) / sum(p.share for p in own) == pytest.approx(value, abs=1e-12)
    columns = bar(found, 1.0)
    assert columns["left"][1:] == columns["right"][:-1]
    assert columns["right"][-1] == pytest.approx(score.overall, abs=1e-12)


def test_every_probe_that_does_not_count_has_its_reason(record: Record) -> None:
    spec = yaml.safe_load(suite_text(prompts=6))
    moved = spec["suite"][1]
    spec["suite"] += [
        {**moved, "name": "off", "enabled": False},
        {**moved, "name": "weightless", "weight": 0},
        {**moved, "name": "empty", "prompts": []},
    ]
    folder = record(yaml.safe_dump(spec))
    view = ScoreView(run=opened(folder).run)
    score = compute(folder.result())
    reasons = {o.probe: o.reason for o in left_out(folder.result(), score, folder.fold().planned)}
    assert reasons == {
        "noise": "the category baseline weighs 0",
        "off": "disabled in the suite",
        "weightless": "its weight is 0",
        "empty": "ended in an error",
    }
    assert "4 of 6 probes not counted" in view._fold.title
    view._fold.open = True
    assert all(reason in str(view._left_out.object) for reason in reasons.values())


# --- the section --------------------------------------------------------------------------------------------------


def test_the_section_waits_for_the_end_and_is_one_line_until_it_is_opened(record: Record) -> None:
    folder = record(suite_text(prompts=6))
    run = RunState()
    view = ScoreView(run=run)
    assert not view._root.visible
    run.open(folder)
    run.pull()
    assert view._root.visible
    assert view._fold.title.startswith(f"Composite score {view.what.score.overall:.3g}, {view.what.score.band}")
    assert str(view._table.object) == ""
    view._fold.open = True
    assert "next" not in str(view._outcome.object)
    assert view._table.object.count("<tr>") == 1 + 2 * 2
    run.param.update(status="running", version=run.version + 1)
    assert not view._root.visible


def test_fields_show_what_the_suite_says_and_what_becomes_of_it(record: Record) -> None:
    view = ScoreView(run=opened(record(suite_text(prompts=6, assert_mean_gte=0.05))).run)
    view._fold.open = view._try.open = True
    gate, _ = view._inputs["moved", "assert_mean_gte"]
    z, _ = view._inputs["moved", "assert_z_gte"]
    assert "spec says 0.05" in gate.helper_text
    assert "default 3" in z.helper_text
    gate.value = "0.6"
    outcome = str(view._outcome.object)
    assert "<td>0.05</td><td>0.6</td>" in outcome
    assert "▲ pass" in outcome
    assert "▽ fail" in outcome
    assert f"The answer: {view.run.word} → no detectable change." in outcome
    assert "{name: moved, assert_mean_gte: 0.6}" in outcome
    assert "with your settings" in view._fold.title
    assert "With your settings" in view.plot.figure.html_attributes["aria-label"]
    assert sorted(set(view.plot.sources["parts"].data["y"])) == [0.0, 1.0]
    z.value = "high"
    assert z.error_state
    view._reset.clicks += 1
    assert (gate.value, z.value, z.error_state) == ("", "", False)
    assert str(view._outcome.object) == ""
    assert view.plot.sources["rest"].data["y"] == [1.0]


def test_another_run_has_fields_of_its_own(record: Record) -> None:
    run = RunState()
    run.open(record(suite_text(prompts=6)))
    view = ScoreView(run=run)
    view._fold.open = view._try.open = True
    view._inputs["moved", "assert_mean_gte"][0].value = "0.6"
    run.open(record(suite_text(prompts=6, ablation=False, nulls=0)))
    assert not view.what.changed
    assert {name for name, _ in view._inputs} == {"moved", ""}
    assert all(widget.value == "" for widget, _ in view._inputs.values())


def test_hostile_names_are_text(record: Record) -> None:
    spec = yaml.safe_load(suite_text(prompts=6))
    spec["suite"][1]["name"] = HOSTILE
    view = ScoreView(run=opened(record(yaml.safe_dump(spec))).run)
    view._fold.open = view._try.open = True
    view._inputs[HOSTILE, "assert_mean_gte"][0].value = "0.6"
    shown = texts(view) + " ".join(str(p.object) for p in view._editor if hasattr(p, "object"))
    assert "<img" not in shown
    assert "&lt;img src=x onerror" in shown
    assert "\u202e" not in shown
    assert yaml.safe_load(view.what.snippet()) == {"suite": [{"name": HOSTILE, "assert_mean_gte": 0.6}]}
    assert "\u202e" not in "".join(view.plot.sources["parts"].data["probe"])
    assert "\u202e" not in view.plot.figure.html_attributes["aria-label"]


def test_nothing_is_written_to_the_run(record: Record) -> None:
    folder = record(suite_text(prompts=6))
    before = {p.name: p.read_bytes() for p in folder.path.iterdir()}
    what = opened(folder)
    what.set("moved", "assert_mean_gte", 0.6)
    assert what.changed
    assert {p.name: p.read_bytes() for p in folder.path.iterdir()} == before


def test_a_run_that_measured_nothing_has_no_score(record: Record) -> None:
    folder = record(suite_text("nan", prompts=6))
    view = ScoreView(run=opened(folder).run)
    assert any(isinstance(e, ProbeFinished) for e in folder.tail().read())
    assert view._root.visible
    view._fold.open = True
    assert "no probe counts" in view._fold.title
    assert "no composite score" in str(view._sentence.object)
