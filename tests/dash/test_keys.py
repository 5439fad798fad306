"""Keys do what the page offers and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash import jobs, keys, runs
from sway_dash.dash.app import App


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path))
    found = App()
    found.session.start()
    return found


def test_what_a_page_does_not_offer_does_nothing(app: App) -> None:
    for page in ("overview", "runs", "new", "compare", "probe", "log"):
        app.go("page", page)
        for what in ("rest", "shown", "_lay", "say", "delete", "reread", ""):
            keys.press(app, what)
            assert app.nav.page == page
    # Enter on the list of runs has nothing to open.
    app.go("page", "runs")
    keys.press(app, "open")
    assert app.nav.page == "runs"


def test_the_key_that_stops_a_run_asks_first(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is open is the recorded example: nothing is to be written into it.
    monkeypatch.setattr(jobs, "cancel", lambda folder: None)
    stopped: list[Any] = []
    app.bar.param.watch(stopped.append, "cancel")
    app.go("page", "overview")
    app.run.param.update(status="running")
    keys.press(app, "stop")
    assert (app.bar.asking, stopped) == (True, [])
    keys.press(app, "back")
    assert not app.bar.asking
    keys.press(app, "open")
    assert stopped == []
    for confirm in ("stop", "open"):
        keys.press(app, "stop")
        keys.press(app, confirm)
        assert (app.bar.asking, len(stopped)) == (False, 1)
        stopped.clear()
        app.go("page", "overview")


def test_the_question_whether_to_stop_goes_with_its_run_and_its_page(app: App) -> None:
    app.go("page", "overview")
    app.run.param.update(status="running")
    keys.press(app, "stop")
    app.go("page", "log")
    assert not app.bar.asking
    keys.press(app, "stop")
    asked: list[bool] = []
    app.run.param.watch(lambda _: asked.append(app.bar.asking), "run_id", onlychanged=False)
    app.show(runs.find(runs.DEMO))
    assert not app.bar.asking
    assert not any(asked)


def test_the_probed_prompt_is_added_with_one_key(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    app.go("page", "probe")
    app.draft.load(
        "models: {base: {base: b}, ft: {base: b}}\nsuite: [{name: x, kind: delta_kl, prompts: [p]}]\n", base_dir=""
    )
    app.probing.text = "The lamp is"
    keys.press(app, "add")
    assert "The lamp is" in app.draft.text


def test_a_page_that_cannot_be_made_is_said(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def broken() -> Any:
        raise ValueError("no such colour")

    app.makers["log"] = broken
    monkeypatch.setattr("sway_dash.dash.app.tell", lambda text, **_: told.append(text))
    app.go("page", "log")
    assert told == ["Log could not be opened: ValueError: no such colour"]
    app.go("page", "overview")
    assert app._holders["overview"].visible


def test_the_open_run_is_marked_for_comparison_and_starred_by_key(app: App) -> None:
    app.go("page", "probe")
    for what in ("mark", "star"):
        keys.press(app, what)
    assert (app.compare.runs, runs.baseline()) == ([], "")
    app.go("page", "log")
    keys.press(app, "mark")
    assert app.compare.runs == [runs.DEMO]
    keys.press(app, "star")
    assert runs.baseline() == runs.DEMO
    assert "baseline" in app.bar._head.object
    for what in ("mark", "star"):
        keys.press(app, what)
    assert (app.compare.runs, runs.baseline()) == ([], "")
    assert "baseline" not in app.bar._head.object
    app.compare.param.update(runs=[f"r-{n}" for n in range(8)])
    keys.press(app, "mark")
    assert runs.DEMO not in app.compare.runs
