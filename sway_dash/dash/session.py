"""The one place that meets Panel's runtime: the tick, the address, what the browser says, the end of a session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import panel as pn
import param
from panel.io.state import set_curdoc

from sway_dash.dash import jobs, keys, live, memory, runs
from sway_dash.dash.looks import Looks
from sway_dash.dash.nav import COMPARED, RUN_PAGES, SHARED, read_query
from sway_dash.dash.telling import silence, tell
from sway_dash.suite.store import RunFolder

if TYPE_CHECKING:
    from sway_dash.dash.app import App

PERIOD_MS = 200
IDLE_TICKS = 10
"""A run that is over is looked at once in so many ticks: it may be resumed by somebody."""

log = logging.getLogger(__name__)


class Session:
    """Pulls on the server's loop; nothing else writes to this session's objects."""

    def __init__(self, app: App, *, dark: bool = False) -> None:
        self.app = app
        self.dark = dark
        """The theme as the browser or the reader last wanted it; the page is served in it."""
        self._timer: Any = None
        self._ticks = 0
        self._reading = False
        self._step: tuple[str, ...] = ()
        self._turns = 0
        self.looks = Looks(self._address)

    def start(self, address: str = "") -> None:
        """Go where the address says and follow it once the browser has attached."""
        asked = read_query(_query())
        if address:
            asked["nav"]["run"] = address
        missing = self._apply(asked)
        pn.state.onload(self._attached)
        if missing:
            pn.state.onload(lambda: tell(f"There is no run {missing!r} here."))
        if (document := pn.state.curdoc) is not None:
            pn.state.on_session_destroyed(self._destroyed)
            pn.state.on_session_destroyed(lambda _: silence(document))
            memory.entered(self)
        app = self.app
        app.browser.listen(self.hear)
        app.nav.param.watch(lambda *_: self._address(), ["page", "run", "draft"])
        app.compare.param.watch(lambda *_: self._address(), list(COMPARED))
        app.choice.param.watch(lambda *_: self._address(), list(SHARED))
        self._address()

    @property
    def attached(self) -> bool:
        """Whether a browser shows what has been built so far."""
        return self._timer is not None and pn.state.curdoc is not None

    def soon(self, work: Callable[[], None]) -> None:
        """Do something once what has changed so far is on its way to the browser."""
        document = pn.state.curdoc

        def run() -> None:
            with set_curdoc(document):
                work()

        document.add_next_tick_callback(run)

    def tick(self) -> None:
        """Take what is new; one message to the browser."""
        self._ticks += 1
        app = self.app
        with pn.io.hold():
            app.probing.pull()
            app.looking.pull()
            if app.nav.page == "compare":
                app.compare.pull()
            if app.run.live or not self._ticks % IDLE_TICKS:
                jobs.reap()
                app.run.pull()
                if (page := app.views.get("prompts")) is not None:
                    page.poll()
                if app.nav.page == "runs" and (page := app.views.get("runs")) is not None:
                    page.pull()
        memory.tidy()

    def hear(self, message: Mapping[str, Any]) -> None:
        """What the browser says: a key, another address (Back, Forward), the system's theme."""
        kind = message.get("type")
        if kind == "theme":
            # Once the reader has chosen, it is an echo, and may be of the choice before the last.
            if not self.app.browser.theme:
                self.dark = bool(message.get("dark"))
                self.app.page.dark_theme = self.dark
        elif kind == "address":
            self._turns = message.get("turns", 0)
            self._apply(read_query(str(message.get("query", ""))))
        elif kind == "entry":
            self.app.go("entry", str(message.get("entry", "")))
        elif kind == "key":
            keys.press(self.app, str(message.get("what", "")))

    # -- a run ----------------------------------------------------------------------------------

    def open(self, folder: RunFolder, then: Callable[[], None]) -> None:
        """Look at a run and go on from there."""
        page = self.app.nav.page

        def late() -> None:
            self.app.show(folder)
            if self.app.nav.page == page:
                then()
            # The page may be the one that was there before.
            self.app.turn()

        if not self._wait_for(folder, late):
            self.app.show(folder)
            then()

    def _wait_for(self, folder: RunFolder, then: Callable[[], None]) -> bool:
        """Whether a run is so large that it is read first; ``then`` is called when it has been."""
        app = self.app

        def failed(error: Exception) -> None:
            tell(f"{runs.title(folder)} could not be read: {error}", tone="error")
            app.turn()

        app.opening.forget()
        if not live.in_portions(folder):
            return False
        app.wait(f"Reading {runs.title(folder)}…")
        app.opening.ask(folder, then, failed)
        return True

    def left(self) -> None:
        """The reader has gone to another page: a run that was asked for instead of the open one is not any more."""
        if self.app.run.run_id and not self._reading:
            self.app.opening.forget()

    # -- the address ----------------------------------------------------------------------------

    def _apply(self, asked: dict[str, Any]) -> str:
        """Go where an address says; returns a run that was asked for and is not there."""
        app, nav, missing = self.app, dict(asked["nav"]), ""
        wanted = nav.pop("run", "")
        self._reading = True
        try:
            folder = runs.find(wanted) if wanted else None
            if wanted and folder is None:
                missing = wanted
            if folder is None and not app.run.run_id:
                folder = _newest() or runs.demo_folder()
            if folder is not None and runs.address_of(folder) != app.nav.run:
                pages = (app.nav.page, nav.get("page", "overview"))
                if not self._wait_for(folder, lambda: self._arrive(asked, pages)):
                    app.show(folder)
                elif pages[1] in RUN_PAGES:
                    return missing
            with param.parameterized.batch_call_watchers(app.choice):
                app.choice.param.update(**asked["choice"])
            if asked["compare"]:
                app.compare.param.update(**asked["compare"])
            draft = nav.pop("draft", "")
            if draft and draft != app.draft.id:
                app.draft.open(draft)
            page = nav.pop("page", "overview")
            app.nav.param.update(**nav)
            app.nav.page = page if page in app.makers else "overview"
            self.looks.ask(app.nav.page, asked["look"])
            app.turn()
        finally:
            self._reading = False
            self._step = (app.nav.page, app.nav.run)
        return missing

    def _arrive(self, asked: dict[str, Any], pages: tuple[str, str]) -> None:
        """The run of an address has been read; who has gone to another page meanwhile stays there."""
        if (page := self.app.nav.page) not in pages:
            asked = {**asked, "nav": {"page": page, "run": asked["nav"].get("run", "")}, "look": {}}
        self._apply(asked)
        self._address()

    def _address(self) -> None:
        """Write the address of what is on the screen; another page or run is a step one can go back from."""
        if self._reading or self.app.opening.waiting:
            return
        app = self.app
        step = (app.nav.page, app.nav.run)
        push = bool(self._step) and step != self._step
        app.browser.address = {"query": app.query(), "push": push, "turns": self._turns}
        self._step = step

    def _attached(self) -> None:
        # Not before: what is streamed before the browser has attached never reaches it.
        self._timer = pn.state.add_periodic_callback(self.tick, period=PERIOD_MS)

    def _destroyed(self, session_context: Any) -> None:
        if self._timer is not None:
            self._timer.stop()
        self.app.probing.leave()
        self.app.looking.leave()
        self.app.compare.close()
        self.app.run.close()
        memory.left(self)


def _query() -> str:
    """The query of the page's address."""
    return str(pn.state.location.search) if pn.state.location is not None else ""


def _newest() -> Any:
    for info in runs.recent(limit=1):
        return runs.find(info.id)
    return None
