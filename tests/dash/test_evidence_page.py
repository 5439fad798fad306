"""The Evidence page without a browser: any probe is shown, whole, in order, and nothing of it is markup."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sway_dash.core.events import PlannedProbe, ProbeFinished
from sway_dash.core.panels import MAX_ROWS, Items, Row, panels
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.dash.app import App
from sway_dash.dash.pages.evidence import EvidencePage
from sway_dash.dash.pages.evidence_panels import CurvePanel, ListedPanel
from sway_dash.dash.pages.probes import ProbesView
from sway_dash.dash.state import RunState, Selection
from sway_dash.demo import demo_dir
from sway_dash.figures.panel_columns import AT_ONCE, ORDERS
from sway_dash.figures.theme import DARK
from sway_dash.suite.fold import probe_to_dict
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text
from tests.evidence_runs import CLUSTERS, DECAY, HOSTILE, LONG, SECRET, evidence_run, result, results


def opened(folder: object, entry: str = "") -> EvidencePage:
    run = RunState()
    run.open(folder)  # type: ignore[arg-type]
    return EvidencePage(run=run, choice=Selection(entry=entry))


def views(page: EvidencePage) -> list[ListedPanel | CurvePanel]:
    """Panels on the screen, in order."""
    found = [view for own in page._views.values() for view in own]
    return [next(v for v in found if v.__panel__() is shown) for shown in page._panels.objects]


def texts(page: EvidencePage) -> str:
    panes = (page._verdict, page._numbers, page._facts, page._without, page._json)
    return " ".join(str(p.object) for p in panes)


@pytest.fixture
def page(tmp_path: Path) -> EvidencePage:
    return opened(evidence_run(tmp_path))


def test_every_sort_of_result_is_shown_with_what_it_says(page: EvidencePage) -> None:
    forms = {}
    for found in results():
        page.choice.entry = found.name
        assert found.kind in texts(page)
        assert found.verdict.value[:4] in str(page._verdict.object).lower()
        forms[found.name] = [v.panel.title for v in views(page)]
    assert forms == {
        "sections": [LONG.title, CLUSTERS.title],
        "decay": [DECAY.title],
        "topics": [CLUSTERS.title],
        "tools": ["Answers to tool calls", DECAY.title, "Answers to tool calls"],
        "recited": ["Recited from the beginning of a section"],
        "house": [],
        "empty": ["Nothing listed"],
        "broken": [],
        "left_out": [],
    }


def test_without_an_entry_asked_for_the_first_that_failed_is_shown(tmp_path: Path) -> None:
    skipped = result("left_out", "style_fingerprint", Verdict.SKIP, score=None, raw=None)
    passed, failed = result("fine", "topic_contrast"), result("worse", "cluster_kl", Verdict.FAIL)
    assert "worse" in texts(opened(evidence_run(tmp_path / "a", [skipped, passed, failed])))
    assert "fine" in texts(opened(evidence_run(tmp_path / "b", [skipped, passed])))


def test_the_judgement_is_told_in_numbers(page: EvidencePage) -> None:
    page.choice.entry = "sections"
    said = str(page._numbers.object)
    for words in ("0.42 nats", "0.31 to 0.52", "z=+6.10σ, n = 20, p=0.004 as the next draw", "2.0 s"):
        assert words in said


def test_where_nothing_failed_the_noise_is_not_what_opens() -> None:
    page = opened(RunFolder.open(demo_dir() / "run"))
    assert "next_token" in str(page._verdict.object)
    said = str(page._facts.object)
    assert "By prompt, 95 % interval" in said
    assert "per_prompt_ci_95" not in said


def test_what_is_left_is_listed_short_and_whole_on_demand(page: EvidencePage) -> None:
    page.choice.entry = "house"
    said = str(page._facts.object)
    assert "Tone: warm" in said
    assert "0.123" in said
    assert "0.1234567" not in said
    assert "40 in all" in said
    assert "This probe brings no picture" in texts(page)
    assert not page._json.object
    page._fold.open = True
    assert "0.1234567" in str(page._json.object)
    page.choice.entry = "topics"
    assert "per_cluster_size" in str(page._json.object)
    assert "0.1234567" not in str(page._json.object)


def test_nothing_of_a_result_is_markup(page: EvidencePage) -> None:
    page._fold.open = True
    for found in results():
        page.choice.entry = found.name
        assert "<script>" not in texts(page)
        assert "<img" not in texts(page)
        for view in views(page):
            if isinstance(view, ListedPanel):
                for place in range(min(5, view.table.total)):
                    view.row = place
                    assert "<img" not in str(view._text.object)
                names = view.plot.figure.yaxis[0].major_label_overrides.values()
                # TeX would be typeset on the canvas.
                assert not any("$$" in name for name in names)


def test_a_long_panel_is_drawn_in_parts_and_listed_whole(page: EvidencePage) -> None:
    page.choice.entry = "sections"
    view = views(page)[0]
    assert isinstance(view, ListedPanel)
    assert view.table.total == len(LONG.rows)
    changes = [abs(r.tuned - r.base) if r.tuned is not None and r.base is not None else -1.0 for r in LONG.rows]
    expected = sorted(range(120), key=lambda k: -changes[k])
    assert view.order == "-change"
    assert list(view.plot.sources["rows"].data["place"]) == expected[:AT_ONCE]
    assert [item for item, _ in view.table._rows(0, 120)] == expected
    ends = (view.plot.figure.x_range.start, view.plot.figure.x_range.end)
    view._turn(1)
    assert list(view.plot.sources["rows"].data["place"]) == expected[AT_ONCE : 2 * AT_ONCE]
    assert "31 to 60 of 120" in str(view._part.object)
    # Another part is drawn on the same axis.
    assert (view.plot.figure.x_range.start, view.plot.figure.x_range.end) == ends
    # What is not known comes last, and is no zero.
    assert expected[-1] == 5
    view._turn(1)
    view._turn(1)
    view._turn(1)
    assert view.first == 90
    assert list(view.plot.sources["rows"].data["tuned_text"])[-1] == "—"


def test_rows_are_ordered_by_the_head_that_is_clicked_and_by_the_menu(page: EvidencePage) -> None:
    page.choice.entry = "sections"
    view = views(page)[0]
    assert isinstance(view, ListedPanel)

    def first() -> int:
        return int(view.table._rows(0, 1)[0][0])

    view._sort("base")
    assert first() == max(range(120), key=lambda k: LONG.rows[k].base or 0.0)
    view._sort("base")
    assert first() == min(range(120), key=lambda k: LONG.rows[k].base or 0.0)
    view._sort("base")
    assert (view.order, first()) == ("place", 0)
    view._order.value = "flag"
    assert LONG.rows[first()].flag == "bad"
    assert view.table.sort == "flag"
    assert set(view._order.options.values()) <= set(ORDERS)


def test_a_row_opens_whole_wherever_it_is_clicked(page: EvidencePage) -> None:
    page.choice.entry = "sections"
    view = views(page)[0]
    assert isinstance(view, ListedPanel)
    last = view._places[-1]
    view.table._on["open"](last)  # type: ignore[operator]
    assert view.first == 90
    assert last in view.plot.sources["rows"].data["place"]
    assert view.plot.parts["mark"].visible
    assert view.table.active == {"item": last, "place": 119}
    view.plot.sources["rows"].selected.indices = [2]
    assert view.row == view._places[92]
    secret = view._places.index(0)
    view.row = 0
    assert SECRET in str(view._text.object)
    assert view.table.active["place"] == secret


def test_the_picture_and_its_table_say_the_same(page: EvidencePage) -> None:
    page.choice.entry = "decay"
    (view,) = views(page)
    assert isinstance(view, CurvePanel)
    label = view.plot.figure.html_attributes["aria-label"]
    assert DECAY.title in label
    assert "0.31 at tokens before the prompt 0" in label
    said = str(view._table.object)
    assert all(text in said for text in ("0.31", "0.25 to 0.37", "2,048", "—"))
    # A point without a value is a gap, not a zero.
    assert list(view.plot.sources["band"].data["x"]) == [0.0, 256.0, 1024.0, 2048.0]


def test_as_many_rows_as_a_panel_may_have(tmp_path: Path) -> None:
    rows = tuple(Row(label=f"row {k}", base=float(k), tuned=float(k * k)) for k in range(MAX_ROWS))
    many = result("many", "leakage", evidence={"panels": panels(Items(title="Many", rows=rows))})
    view = views(opened(evidence_run(tmp_path, [many])))[0]
    assert isinstance(view, ListedPanel)
    assert view.plot.figure.height < 1000
    assert len(view.plot.sources["rows"].data["y"]) == AT_ONCE


def test_a_row_that_is_a_measured_prompt_leads_to_it(record, tmp_path: Path) -> None:
    prompt = "Prompt 3 about light"
    shown = Items(title="Prompts", rows=(Row(label=prompt, tuned=0.1), Row(label="another", tuned=0.2)))
    extra = result("extra", "house_style", evidence={"panels": panels(shown)})

    def with_extra(events: list) -> list:
        planned = (*events[0].probes, PlannedProbe(name="extra", kind="house_style", category=""))
        started = events[0].model_copy(update={"probes": planned})
        return [started, *events[1:-1], ProbeFinished(result=probe_to_dict(extra)), events[-1]]

    page = opened(record(suite_text(ablation=False, nulls=0), keep=with_extra), "extra")
    view = views(page)[0]
    assert isinstance(view, ListedPanel)
    view.row = 1
    assert not view._go.visible
    view.row = 0
    assert view._go.visible
    view._open_prompt()
    assert (page.choice.probe, page.choice.item, page.goto) == ("moved", 3, "prompts")


def test_a_run_that_goes_on_says_what_it_has_not_come_to(tmp_path: Path) -> None:
    folder = evidence_run(tmp_path, [result("recited", "leakage")], pending=("later",))
    page = opened(folder, "later")
    assert "later" in str(page._verdict.object)
    assert "sway-empty" in str(page._verdict.object)
    assert views(page) == []


def test_the_same_result_again_changes_nothing_on_the_screen(page: EvidencePage) -> None:
    page.choice.entry = "sections"
    view = views(page)[0]
    assert isinstance(view, ListedPanel)
    view.param.update(order="label", first=30)
    page.run.param.update(version=page.run.version + 1)
    page.shown = False
    page.shown = True
    assert (view.order, view.first) == ("label", 30)
    assert views(page)[0] is view


def test_kinds_with_a_page_of_their_own_lead_there(record) -> None:
    page = opened(record(suite_text()), "moved")
    assert page._own.visible
    assert page._own.label == "Open in Prompts"
    page.choice.entry = "noise"
    page._own.param.trigger("clicks")
    assert page.goto == "null"
    # Its result says how far every prompt moved: drawn as well.
    page.choice.entry = "moved"
    assert [v.panel.title for v in views(page)] == ["JS divergence of every prompt"]


def test_the_probes_of_the_overview_lead_to_their_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path))
    folder = evidence_run(tmp_path)
    app = App()
    app.session.start()
    app.show(folder)
    said = str(ProbesView(run=app.run, linked=True)._table.object)
    assert 'data-entry="sections"' in said
    # A notebook has no page to go to.
    assert "<a " not in str(ProbesView(run=app.run)._table.object)
    app.session.hear({"type": "entry", "entry": "decay"})
    assert (app.nav.page, app.choice.entry) == ("evidence", "decay")
    assert "e=decay" in app.query()
    page = app.views["evidence"]
    assert views(page)[0].panel.title == DECAY.title
    app.session.hear({"type": "entry", "entry": "no such entry"})
    assert app.choice.entry == "decay"
    page.next()
    assert app.choice.entry == "topics"
    page.previous()
    page.previous()
    page.previous()
    assert app.choice.entry == "sections"


def test_figures_follow_the_theme_also_when_they_are_made_later(tmp_path: Path) -> None:
    page = opened(evidence_run(tmp_path), "sections")
    page.dark = True
    page.choice.entry = "tools"
    (own,) = [view.plot for view in views(page) if isinstance(view, CurvePanel)]
    assert DARK.tuned in {getattr(r.glyph, "line_color", "") for r in own.figure.renderers}


def test_a_result_without_any_evidence_is_no_error(tmp_path: Path) -> None:
    bare = replace(result("bare", "house_style"), evidence={})
    page = opened(evidence_run(tmp_path, [bare]))
    assert "bare" in str(page._verdict.object)
    assert not page._rest.visible


def _json(found: ProbeResult) -> str:
    return json.dumps(found.evidence)


def test_hostile_results_are_hostile() -> None:
    """The texts above would not be looked for in vain."""
    assert HOSTILE in "".join(json.loads(_json(r)).get("said", "") for r in results())


def test_the_overview_adjusts_p_values_for_how_many_there_are(tmp_path: Path) -> None:
    tests = [
        result(name, "topic_contrast", ci_95=(0.1, 0.3), evidence={"p_permutation": p, "unit": "nats"})
        for name, p in (("first<b>", 0.03), ("second", 0.02))
    ]
    run = RunState()
    run.open(evidence_run(tmp_path / "two", tests))
    shown = str(ProbesView(run=run)._tests.object)
    assert "2 probes were tested together" in shown
    # Holm: twice the smaller p, and never below it for the other.
    assert shown.count("0.040") + shown.count(">0.04<") >= 2
    assert "<b>" not in shown

    run.open(evidence_run(tmp_path / "one", tests[:1]))
    view = ProbesView(run=run)
    assert not view._tests.visible
