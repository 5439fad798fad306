"""Large runs are read while everything else goes on; only the run asked for last is opened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash import drafts, keys, live, runs
from sway_dash.dash.app import App
from sway_dash.dash.draft import Draft
from sway_dash.dash.opening import Opening
from sway_dash.suite.store import RunFolder

Work = Callable[[], Any]


class Elsewhere:
    """Work that is done when a test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Work, Callable[[Any], None]]] = []

    def __call__(self, work: Work, then: Callable[[Any], None]) -> None:
        self.jobs.append((work, then))

    def go_on(self) -> None:
        work, then = self.jobs.pop(0)
        then(work())


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def app(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> App:
    """An app for which every run is a large one."""
    monkeypatch.setattr(live, "in_portions", lambda folder: folder.path.resolve() not in live._feeds)
    found = App()
    found.opening = Opening(elsewhere)
    return found


def copy_of(folder: RunFolder | None, root: Path) -> RunFolder:
    """The recorded example as another run."""
    assert folder is not None
    shutil.copytree(folder.path, root / "another")
    return RunFolder(root / "another")


def words(app: App) -> str:
    """What stands in the place of a page."""
    return str(app._waiting.object) if app._waiter.visible else ""


def test_a_large_run_is_read_before_its_page_is_shown(app: App, elsewhere: Elsewhere) -> None:
    app.go("run", runs.DEMO)
    assert "Reading" in words(app)
    assert not app.run.run_id
    assert not app._head.visible
    elsewhere.go_on()
    assert app.run.run_id
    assert app.run.feed is not None
    assert not app.run.feed.behind
    assert (app.nav.page, words(app)) == ("overview", "")
    assert app._head.visible
    assert app.run.feed.users == 1, "the reader is this session's alone"


def test_who_goes_elsewhere_meanwhile_stays_there(app: App, elsewhere: Elsewhere, tmp_path: Path) -> None:
    app.go("run", runs.DEMO)
    app.go("page", "new")
    elsewhere.go_on()
    assert app.nav.page == "new"
    assert app.run.run_id, "there was no other run its pages could show"
    first = app.run.folder
    other = copy_of(runs.demo_folder(), tmp_path)
    app.go("page", "runs")
    app.session.open(other, lambda: app.go("page", "trace"))
    app.go("page", "new")
    elsewhere.go_on()
    assert (app.nav.page, app.run.folder) == ("new", first)
    assert len(live._feeds) == 1, "what nobody looks at is let go"


def test_the_first_run_arrives_wherever_the_reader_has_gone(app: App, elsewhere: Elsewhere) -> None:
    app.session.hear({"type": "address", "query": f"run={runs.DEMO}&page=prompts&x=kl"})
    app.go("page", "ablation")
    app.lay()
    assert "Reading" in words(app)
    elsewhere.go_on()
    assert (app.nav.page, app.nav.run, app.choice.metric) == ("ablation", runs.DEMO, "kl")
    assert words(app) == ""


def test_a_page_that_needs_no_run_does_not_wait_for_one(app: App, elsewhere: Elsewhere) -> None:
    app.draft.set_text("models: {}\n")
    other = Draft()
    other.set_text("suite: []\n")
    drafts.flush()
    app.session.hear({"type": "address", "query": f"run={runs.DEMO}&page=new&draft={other.id}"})
    assert (app.nav.page, words(app), app.draft.text) == ("new", "", "suite: []\n")
    app.draft.set_text("suite: [] # mine\n")
    elsewhere.go_on()
    assert (app.nav.page, app.nav.run, app.draft.text) == ("new", runs.DEMO, "suite: [] # mine\n")


def test_keys_leave_the_run_of_before_alone_while_another_is_read(
    app: App, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    app.go("run", runs.DEMO)
    elsewhere.go_on()
    app.session.open(copy_of(runs.demo_folder(), tmp_path), lambda: None)
    keys.press(app, "mark")
    assert app.compare.runs == []
    elsewhere.go_on()
    keys.press(app, "mark")
    assert len(app.compare.runs) == 1


def test_a_run_is_read_once_however_often_it_is_asked_for(tmp_path: Path, elsewhere: Elsewhere) -> None:
    opening, folder, arrived = Opening(elsewhere), copy_of(runs.demo_folder(), tmp_path), []
    for name in ("first", "second"):
        opening.ask(folder, lambda name=name: arrived.append(name), arrived.append)
    elsewhere.go_on()
    assert arrived == ["second"]
    assert not elsewhere.jobs


def test_what_is_wanted_no_more_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CHUNK", 1000)
    folder = copy_of(runs.demo_folder(), tmp_path)
    assert live.read(folder, lambda: False).behind
    assert not live.read(folder).behind


def test_a_run_that_cannot_be_read_leaves_the_page_of_before(
    app: App, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("sway_dash.dash.session.tell", lambda text, **_: told.append(text))

    def broken(folder: object, wanted: object) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(live, "read", broken)
    app.go("page", "new")
    app.go("run", runs.DEMO)
    elsewhere.go_on()
    assert told
    assert "could not be read: disk gone" in told[0]
    assert (app.nav.page, words(app)) == ("new", "")


def test_an_address_is_kept_while_its_run_is_read(app: App, elsewhere: Elsewhere) -> None:
    asked = f"run={runs.DEMO}&page=prompts"
    app.session.hear({"type": "address", "query": asked})
    before = app.browser.address
    app.session._address()
    assert app.browser.address == before, "an address without the run would be what a reload asks for"
    elsewhere.go_on()
    assert app.nav.page == "prompts"
    assert f"run={runs.DEMO}" in app.browser.address["query"]
