"""Results of other programs, and hostile ones: shown as text, drawn whole, and never the end of a page."""

from __future__ import annotations

from typing import Any

import pytest

from sway_dash.core.events import PlannedProbe, ProbeFinished, RunFinished, RunStarted
from sway_dash.dash.pages.null import NullPage
from sway_dash.dash.pages.probes import ProbesView
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import null_columns as nc
from sway_dash.figures.derive import RunData

EVIL = "<img src=x onerror=1>"
TOLD = {"n": 3, "distribution": "gaussian"}


def held(*results: dict[str, Any]) -> RunState:
    """A run of which only results are known."""
    data = RunData()
    planned = [PlannedProbe(name=r["name"], kind=r["kind"], category="baseline") for r in results]
    data.add(RunStarted(probes=tuple(planned)))
    for result in results:
        data.add(ProbeFinished(result={"verdict": "pass", "score": 1.0, **result}))
    data.add(RunFinished())

    class Held(RunState):
        @property
        def data(self) -> RunData:
            return data

    return Held()


def noise(name: str = "noise", **evidence: Any) -> dict[str, Any]:
    return {"name": name, "kind": "null_adapter", "evidence": evidence}


def judged(name: str = "drift", raw: float = 0.1, **evidence: Any) -> dict[str, Any]:
    return {"name": name, "kind": "external_perplexity", "raw": raw, "z_score": 2.0, "evidence": evidence}


def shown(run: RunState) -> NullPage:
    return NullPage(run=run, choice=Selection())


def test_a_unit_that_is_markup_is_shown_as_text() -> None:
    draws = {"drift": {"rank_1.00": [0.4, 0.5, 0.45]}}
    page = shown(held(noise(null_draws=draws), judged(null=TOLD, unit=EVIL)))
    listed = str(page._list.object)
    assert "&lt;img" in listed
    for pane in (page._list, page._words, page._caption, page._kind_text, page._rank_text):
        assert "<img" not in str(pane.object)


@pytest.mark.parametrize("null", [{"n": EVIL}, ["x"], "x", 3, {"n": [EVIL]}])
def test_a_null_that_is_none_is_shown_as_text_in_the_table_of_probes(null: Any) -> None:
    said = str(ProbesView(run=held(judged(null=null)))._table.object)
    assert "<img" not in said
    assert "z=+2" in said


def test_only_what_passed_is_cut_short_in_a_low_window() -> None:
    verdicts = ("pass", "fail", "warn", "skip", "error")
    run = held(*({"name": v, "kind": "external_perplexity", "verdict": v, "message": f"said of {v}"} for v in verdicts))
    cells = {
        v: cell for v in verdicts for cell in str(ProbesView(run=run)._table.object).split("<td") if f"of {v}" in cell
    }
    assert [v for v in verdicts if "sway-message" in cells[v]] == ["pass"]


def test_values_below_zero_are_on_the_plots_by_rank_and_by_kind() -> None:
    one = {"drift": {"rank_1.00": [-0.3, -0.2, -0.25], "rank_2.00": [-0.5, -0.6, -0.4]}}
    two = {"drift": {"rank_1.00": [-0.31, -0.7, -0.26]}}
    page = shown(
        held(noise(null_draws=one), noise("same", null_draws=two, distribution="norm_matched"), judged(null=TOLD))
    )
    for plot in (page._ranks, page._kinds):
        values = [*plot.sources["draws"].data["x"], *plot.sources["tuned"].data["x"]]
        assert min(values) < -0.5
        span = plot.figure.x_range
        assert span.start < min(values)
        assert span.end > max(values)


@pytest.mark.parametrize(
    "evidence",
    [
        {"null_draws": ["x"]},
        {"null_draws": {"drift": ["x"], "moved": [0.1]}},
        {"null_draws": {"drift": {"rank_1.00": ["x", None]}, "moved": {"rank_1.00": "abc"}}},
        {"null_stats": [1], "null_draws": 3, "update_norms": [1], "left_out": 2},
        {"null_stats": {"delta_kl": "x"}},
        {"skipped_kinds": 7},
    ],
)
def test_evidence_of_another_shape_is_left_out(evidence: dict[str, Any]) -> None:
    moved = {"name": "moved", "kind": "delta_kl", "raw": 0.5, "z_score": 2.0}
    run = held(noise(**evidence), judged(null=TOLD), moved)
    assert nc.every(run.data) == []
    page = shown(run)
    assert page._none.visible


def test_a_draw_that_is_no_number_does_not_hide_the_others() -> None:
    draws = {"drift": {"rank_1.00": [0.4, None, "x", 0.5, 0.45]}}
    (found,) = nc.every(held(noise(null_draws=draws, update_norms=["x"]), judged(null=TOLD)).data)
    assert found.standing.draws == (0.4, 0.5, 0.45)


def test_kinds_that_were_skipped_are_told_in_either_form() -> None:
    listed = ["leakage", {"entry": "a", "kind": "k", "reason": "this kind has no null"}, {"kind": "training_drift"}]
    text = nc.why_none(held(noise(skipped_kinds=listed)).data, False)
    assert "leakage has no null; a: this kind has no null; training_drift has no null." in text


def test_names_are_never_taken_for_tex() -> None:
    tex, entry = "$$x^2$$", "$$y^2$$"
    one = {entry: {"rank_1.00": [0.4, 0.5, 0.45], tex: [0.1, 0.2, 0.3]}}
    same = {entry: {"rank_1.00": [0.3, 0.6, 0.5]}}
    page = shown(
        held(noise("b", null_draws=same), noise(tex, null_draws=one), judged(entry, null=TOLD, unit="\\(x\\)"))
    )
    labels = [plot.figure.xaxis.axis_label or "" for plot in page.plots]
    for plot in page.plots:
        labels += list(plot.figure.yaxis[0].major_label_overrides.values())
    assert any("x^2" in label for label in labels)
    assert any("y^2" in label for label in labels)
    assert not any("$$" in label or "\\(" in label for label in labels)
