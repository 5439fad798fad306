"""Keys do what the page offers and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash import keys
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
