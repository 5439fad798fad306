"""A live view can be held while one reads, and follows again with one key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash import jobs, keys
from sway_dash.dash.app import App
from sway_dash.dash.browser import KEYS
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text
from tests.dash.test_prompts import Going

Record = Callable[..., RunFolder]


@pytest.fixture
def session(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[App, Going]]:
    """A session at a run of which two prompts have been measured."""
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path / "runs"))
    folder = record(suite_text(prompts=12, ablation=False))
    going, app = Going(folder), App()
    app.show(folder)
    app.view("overview")
    going.measure(2)
    app.run.pull()
    yield app, going
    going.state.close()
    app.run.close()


def drawn(app: App) -> tuple[int, int]:
    """Dots and points of the running mean."""
    page: Any = app.views["overview"]
    return len(page._prompts.dots.sources["rows"].data["x"]), len(page._mean.plot.sources["line"].data["n"])


def strip(app: App) -> str:
    return str(app.bar._strip.object)


def test_what_is_shown_stays_until_it_is_followed_again(session: tuple[App, Going]) -> None:
    app, going = session
    assert drawn(app) == (2, 2)
    keys.press(app, "hold")
    head = str(app.bar._head.object)
    going.measure(3)
    app.run.pull()
    assert drawn(app) == (2, 2)
    assert str(app.bar._head.object) == head
    assert "view held" in head
    assert "3 measured since" in strip(app)
    keys.press(app, "hold")
    assert drawn(app) == (5, 5)
    assert "view held" not in str(app.bar._head.object)


def test_a_run_that_ends_while_it_is_held_says_so_and_shows_its_end_when_followed(session: tuple[App, Going]) -> None:
    app, going = session
    app.bar.param.trigger("hold")
    going.measure(end=True)
    app.run.pull()
    assert app.run.status == "running"
    assert "the run has ended: finished" in strip(app)
    assert "goes on" not in strip(app)
    app.bar.param.trigger("hold")
    assert app.run.status == "finished"
    # What is over has nothing to follow.
    keys.press(app, "hold")
    assert not app.run.held
    assert not app.bar._hold.visible


def test_a_zoomed_picture_is_held_as_it_is_and_put_back_when_followed(session: tuple[App, Going]) -> None:
    app, going = session
    page: Any = app.views["overview"]
    span = page._mean.plot.figure.x_range
    whole = (span.start, span.end)
    span.update(start=3.0, end=5.0)
    going.measure(2)
    app.run.pull()
    keys.press(app, "hold")
    assert app.run.held
    going.measure(2)
    app.run.pull()
    assert drawn(app) == (4, 4)
    assert (span.start, span.end) == (3.0, 5.0)
    keys.press(app, "hold")
    assert (span.start, span.end) == whole
    assert drawn(app) == (6, 6)
    going.measure(end=True)
    app.run.pull()
    span.update(start=3.0, end=5.0)
    keys.press(app, "hold")
    assert (span.start, span.end) == whole
    assert not app.run.held


@pytest.mark.parametrize(
    "change",
    [
        lambda app: app.choice.param.update(metric="kl"),
        lambda app: app.choice.param.update(sort="prompt"),
        lambda app: app.choice.param.update(query="light"),
        lambda app: setattr(app.nav, "page", "prompts"),
    ],
    ids=["metric", "sort", "filter", "page"],
)
def test_what_would_be_drawn_anew_lets_go_so_that_all_is_of_one_moment(
    session: tuple[App, Going], change: Callable[[App], None]
) -> None:
    app, going = session
    keys.press(app, "hold")
    going.measure(3)
    app.run.pull()
    heads: list[int] = []
    # As every view does it: what is drawn for a choice stands beside the head of that moment.
    app.choice.param.watch(lambda *_: heads.append(app.run.done), ["metric", "sort", "query"])
    app.choice.item = 1
    assert app.run.held
    change(app)
    assert not app.run.held
    assert app.run.done == app.run.data.fold.done
    assert set(heads) <= {app.run.done}
    assert drawn(app)[1] == 5
    assert "view held" not in str(app.bar._head.object)


def test_a_choice_within_a_page_lets_go_too(session: tuple[App, Going]) -> None:
    app, _ = session
    log = app.view("log")
    keys.press(app, "hold")
    log.query = "loading"
    assert not app.run.held


def test_stop_after_an_end_that_was_not_seen_stops_nothing(
    session: tuple[App, Going], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, going = session
    asked: list[RunFolder] = []
    monkeypatch.setattr(jobs, "cancel", asked.append)
    app.bar.param.trigger("hold")
    app.bar.param.trigger("cancel")
    assert (len(asked), app.run.held) == (1, False)
    app.bar.param.trigger("hold")
    going.measure(end=True)
    RunFolder(going.path.parent).release()
    app.run.pull()
    app.bar.param.trigger("cancel")
    assert (len(asked), app.run.status, app.run.held) == (1, "finished", False)


def test_fewer_than_before_are_none_measured_since(session: tuple[App, Going]) -> None:
    app, _ = session
    keys.press(app, "hold")
    app.run.done += 7
    app.run.pull()
    assert "View held: 0 measured since. Follow (F)" in strip(app)


def test_another_run_is_followed(session: tuple[App, Going], record: Record) -> None:
    app, _ = session
    keys.press(app, "hold")
    app.show(record(suite_text(prompts=4, nulls=0, ablation=False)))
    assert not app.run.held
    assert app.run.status == "finished"


def test_the_help_names_the_key() -> None:
    assert ("f", "hold") in [key[:2] for key in KEYS]
