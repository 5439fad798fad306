"""Large runs are read while everything else goes on; only the run asked for last is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sway_dash.dash import live, runs
from sway_dash.dash.app import App
from sway_dash.dash.opening import Opening

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


def test_who_goes_elsewhere_meanwhile_stays_there(app: App, elsewhere: Elsewhere) -> None:
    app.go("run", runs.DEMO)
    app.go("page", "new")
    elsewhere.go_on()
    assert app.nav.page == "new"
    assert not app.run.run_id
    assert not live._feeds, "what nobody looks at is let go"


def test_a_run_that_cannot_be_read_leaves_the_page_of_before(
    app: App, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("sway_dash.dash.app.tell", lambda text, **_: told.append(text))

    def broken(folder: object) -> None:
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
