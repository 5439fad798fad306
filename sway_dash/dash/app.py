"""Composition root: state, pages and the page frame of one browser session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param
from bokeh.themes import Theme

from sway_dash.core.errors import SwayError
from sway_dash.dash import first, runs
from sway_dash.dash.browser import COOKIE, Browser
from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import BODY, column, html, set_html
from sway_dash.dash.draft import Draft
from sway_dash.dash.frame import frame
from sway_dash.dash.holding import Holding
from sway_dash.dash.links import Links
from sway_dash.dash.nav import RUN_PAGES, TITLES, Nav, to_query
from sway_dash.dash.off_loop import off_loop
from sway_dash.dash.opening import Opening
from sway_dash.dash.pages.ablation import AblationPage
from sway_dash.dash.pages.compare import CompareView
from sway_dash.dash.pages.evidence import EvidencePage
from sway_dash.dash.pages.export import ExportDialog, Scene
from sway_dash.dash.pages.help import Help
from sway_dash.dash.pages.log import LogView
from sway_dash.dash.pages.new_run import NewRunView
from sway_dash.dash.pages.null import NullPage
from sway_dash.dash.pages.overview import OverviewPage
from sway_dash.dash.pages.palette import Palette
from sway_dash.dash.pages.probe import ProbePage
from sway_dash.dash.pages.prompts import PromptsPage
from sway_dash.dash.pages.run_bar import RunBar
from sway_dash.dash.pages.runs import RunsView
from sway_dash.dash.pages.trace import TraceView
from sway_dash.dash.probing import Probing
from sway_dash.dash.session import Session
from sway_dash.dash.state import RunState, Selection
from sway_dash.dash.telling import tell
from sway_dash.dash.yaml_tree import Place
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import count, esc
from sway_dash.suite.execute import folder_spec
from sway_dash.suite.store import RunFolder

log = logging.getLogger(__name__)


class App(param.Parameterized):
    """One session: where it is, what it looks at and the pages that show it."""

    def __init__(self, *, dark: bool = False, **params: Any) -> None:
        super().__init__(**params)
        self.nav = Nav()
        self.run = RunState()
        self.choice = Selection()
        self.holding = Holding(run=self.run, choice=self.choice)
        self.compare = CompareState(background=off_loop)
        self.draft = Draft()
        self.probing, self.looking = Probing(), Probing()
        self.opening = Opening(off_loop)
        self.browser = Browser()
        self.bar = RunBar(run=self.run)
        self.help = Help()
        self.export = ExportDialog(self._scene, run=self.run, choice=self.choice)
        self.palette = Palette(self.go, run=self.run, choice=self.choice)
        self.views: dict[str, Any] = {}
        self.makers = self._pages()
        self.page = self._page(dark)
        self.session = Session(self, dark=dark)
        self._wire()

    # -- pages ----------------------------------------------------------------------------------

    def _pages(self) -> dict[str, Callable[[], Any]]:
        """How each page is made; it is made on the first visit."""
        both = {"run": self.run, "choice": self.choice}
        return {
            "overview": lambda: OverviewPage(**both),
            "evidence": lambda: self._asking(EvidencePage(**both)),
            "prompts": self._prompts,
            "ablation": lambda: self._asking(AblationPage(**both)),
            "null": self._null,
            "trace": lambda: self._asking(TraceView(**both)),
            "log": lambda: self._asking(LogView(**both)),
            "new": self._new_run,
            "runs": self._list,
            "compare": lambda: CompareView(state=self.compare),
            "probe": lambda: ProbePage(run=self.run, draft=self.draft, probing=self.probing),
        }

    def view(self, page: str) -> Any:
        """The view of a page; made when first asked for."""
        if page not in self.views:
            view = self.views[page] = self.makers[page]()
            self.holding.listen(view)
            self._recolor(view)
            # Pages are Bokeh columns that stay and are hidden: Bokeh measures plots that have no layout yet.
            holder = pn.Column(view, sizing_mode="stretch_width", margin=0, visible=False)
            self._holders[page] = holder
            self._main.append(holder)
        return self.views[page]

    def _asking(self, view: Any) -> Any:
        view.param.watch(lambda e: self.go("page", e.new) if e.new else None, "goto")
        return view

    def _prompts(self) -> PromptsPage:
        view = PromptsPage(run=self.run, choice=self.choice)
        view.param.watch(lambda e: self._look(e.new), "wanted", onlychanged=False)
        return view

    def _look(self, prompt: str) -> None:
        """Ask the open run's model for a prompt that was not recorded token by token."""
        view = self.views["prompts"]
        if self.run.folder is None:
            return
        try:
            if not self.looking.loaded:
                self.looking.load(folder_spec(self.run.folder))
        except SwayError as error:
            view.show_problem(str(error))
            return
        self.looking.ask(prompt)

    def _looked(self) -> None:
        """Hand the answer, or why there is none, to the page that asked."""
        view, looking = self.views.get("prompts"), self.looking
        if view is None:
            return
        if looking.error:
            view.show_problem(looking.error)
        elif looking.detail is not None:
            view.show_detail(looking.detail)

    def _new_run(self) -> NewRunView:
        view = NewRunView(draft=self.draft)
        view.param.watch(lambda e: self.go("run", e.new) if e.new else None, "started")
        return view

    def _null(self) -> NullPage:
        view = NullPage(run=self.run, choice=self.choice)
        view.param.watch(lambda e: self._more_nulls(e.new) if e.new else None, "more")
        return view

    def _more_nulls(self, n: int) -> None:
        """A new run like this one with more random adapters; those that were drawn are found again."""
        self.duplicate(self.nav.run)
        entries = enumerate(self.draft.entries())
        places: dict[Place, Any] = {("suite", i, "runs"): n for i, e in entries if e.get("kind") == "null_adapter"}
        self.draft.set_values(places)

    def _list(self) -> RunsView:
        view = RunsView()
        view.param.watch(lambda e: self.go("run", e.new) if e.new else None, "opened")
        view.param.watch(lambda e: self.duplicate(e.new) if e.new else None, "duplicate")
        view.param.watch(lambda _: self._compare(view.compare), "comparing")
        return view

    def _compare(self, marked: list[str]) -> None:
        starred = runs.baseline()
        kept = runs.to_compare(marked, starred)
        self.compare.param.update(runs=kept, baseline=starred if starred in kept else "")
        self.nav.page = "compare"
        if left := len(set(marked)) - len(kept):
            tell(f"{len(kept)} runs are compared at a time; {count(left, 'older one is', 'older ones are')} left out.")

    def _opened_from_compare(self, goto: tuple[str, int]) -> None:
        address, item = goto
        if (folder := runs.find(address)) is not None:
            self.session.open(folder, lambda: self.go("prompt", item))

    # -- going somewhere ------------------------------------------------------------------------

    def go(self, kind: str, value: Any) -> None:
        """Go to a page, to a run's overview, or to a prompt or a suite entry of the open run."""
        if kind == "run":
            if (folder := runs.find(value)) is not None:
                self.session.open(folder, lambda: self.go("page", "overview"))
        elif kind == "entry":
            if value in self.run.data.entries() or value in self.run.data.finished:
                self.choice.entry = value
                self.nav.page = "evidence"
        elif kind == "prompt":
            self.choice.item = value
            self.nav.page = "prompts" if "prompts" in self.makers else "overview"
        elif value in self.makers:
            self.nav.page = value

    def hold(self) -> None:
        """Hold what is shown while the run goes on, or follow it again, with zoomed pictures put back."""
        zoomed = [plot for plot in _plots(self.views.get(self.nav.page)) if plot.zoomed]
        # Who has zoomed in reads: held it stays as it is, and to follow is to see the whole again.
        self.run.hold(not self.run.held)
        if not self.run.held:
            for plot in zoomed:
                plot.unzoom()

    def wait(self, words: str) -> None:
        """Say what is being waited for, in the place of the page."""
        self.bar.asking = False
        self._head.visible = False
        self._place("", words)

    def show(self, folder: RunFolder | None) -> None:
        """Look at a run, with no choices left over from the one before."""
        if folder is None:
            return
        with param.parameterized.batch_call_watchers(self.choice):
            self.choice.clear()
            self.choice.param.update(item=None, token=None, entry="", probe="", metric="js", sort="auto")
        address = runs.address_of(folder)
        self.bar.param.update(demo=address == runs.DEMO, asking=False)
        # Another run may be of another model.
        self.looking.leave()
        self.run.open(folder)
        self.nav.run = address

    # -- frame ----------------------------------------------------------------------------------

    def _page(self, dark: bool) -> pmui.Page:
        self._holders: dict[str, pn.Column] = {}
        self._top = Links(
            lambda page: self.go("page", self._run_page if page == "overview" else page),
            items={page: "Run" if page == "overview" else TITLES[page] for page in self._shown(TOP)},
            label="Main",
            css_classes=["sway-main"],
            styles={"margin-left": "20px", "min-width": "0"},
        )
        self._tabs = Links(
            lambda page: self.go("page", page),
            items={page: TITLES[page] for page in self._shown(RUN_PAGES)},
            label="Pages of the run",
        )
        self._head = pn.Column(
            self.bar,
            self._tabs,
            sizing_mode="stretch_width",
            margin=0,
            css_classes=["sway-body"],
            stylesheets=[BODY, _HEAD],
        )
        self._waiting = html()
        self._waiter = column(self._waiting, visible=False)
        self._main = pn.Column(self._waiter, sizing_mode="stretch_width", margin=0)
        help_button = pmui.IconButton(icon="help_outline", description="Help and keys", margin=0, size="small")
        help_button.on_click(lambda _: setattr(self.help, "open", True))
        return frame(
            header=[self._top, pn.HSpacer(), help_button],
            main=[self._head, self._main, self.help, self.palette, self.export, self.browser],
            dark=dark,
        )

    def _shown(self, pages: tuple[str, ...]) -> list[str]:
        return [page for page in pages if page in self.makers]

    def query(self) -> str:
        """Query of the address of what is on the screen."""
        return to_query(self.nav, self.choice, self.compare, self.session.looks.query(self.nav.page))

    def origin(self) -> str:
        """Address of the app without its query."""
        here = pn.state.location
        return f"{here.protocol}//{here.hostname}:{here.port}{here.pathname}" if here is not None else ""

    # -- the graph ------------------------------------------------------------------------------

    def _wire(self) -> None:
        self._run_page = "overview"
        self.page.param.watch(lambda _: self._theme(), "dark_theme")
        self.nav.param.watch(lambda _: self.run.follow(), "page")
        self.nav.param.watch(lambda _: self.bar.param.update(asking=False), "page")
        self.nav.param.watch(lambda _: self.session.left(), "page")
        self.nav.param.watch(lambda _: self.turn(), "page")
        self.bar.param.watch(lambda _: self.duplicate(self.nav.run), "duplicate")
        self.bar.param.watch(lambda _: setattr(self.export, "open", True), "export")
        self.bar.param.watch(lambda _: self.hold(), "hold")
        self.draft.param.watch(lambda e: setattr(self.nav, "draft", e.new), "id")
        self.compare.param.watch(lambda e: self._opened_from_compare(e.new) if e.new else None, "goto")
        self.compare.param.watch(lambda e: self.go("run", e.new) if e.new else None, "opened")
        self.looking.param.watch(lambda *_: self._looked(), ["detail", "error"])
        self.help.param.watch(lambda e: setattr(self.browser, "letters", e.new), "letters")
        self.browser.param.watch(lambda e: setattr(self.help, "letters", e.new), "letters")

    def turn(self) -> None:
        """Show the page of the address, after the click has been answered."""
        page = self.nav.page
        if page in RUN_PAGES:
            self._run_page = page
            if self.opening.waiting:
                return
        self._head.visible = page in RUN_PAGES
        self._top.active = "overview" if page in RUN_PAGES else page
        self._tabs.active = page
        if not self.session.attached:
            self.lay()
            return
        if page not in self.views:
            self._place("")
        self.session.soon(self.lay)

    def lay(self) -> None:
        """Put the page of the address on the screen; by then it may be another one than was asked for."""
        page = self.nav.page
        if page in RUN_PAGES and self.opening.waiting:
            # It would show the run of before.
            return
        # In one message: the browser lays the page out once.
        with pn.io.hold():
            try:
                self.view(page)
                if page in ("runs", "compare"):
                    self.views[page].reread()
            except Exception as error:
                # Nobody should look at "Opening…" for ever.
                log.exception("the page %s could not be made", page)
                tell(f"{TITLES[page]} could not be opened: {type(error).__name__}: {error}", tone="error")
            self._place(page)
            self.session.looks.take(page, self.views.get(page))

    def _place(self, page: str, words: str = "Opening…") -> None:
        """Show a page, or words as long as there is none."""
        if not page:
            set_html(self._waiting, f'<p class="sway-empty" role="status">{esc(words)}</p>')
        self._waiter.visible = not page
        for name, holder in self._holders.items():
            holder.visible = name == page
            view = self.views[name]
            if "shown" in view.param:
                view.shown = name == page
            elif hasattr(view, "rest"):
                view.rest(name != page)

    def _theme(self) -> None:
        if (dark := bool(self.page.dark_theme)) != self.session.dark:
            # The switch was used, not the browser heard: it is to keep the choice, and not to speak of its own.
            self.session.dark = dark
            self.browser.theme = "dark" if dark else "light"
        with pn.io.hold():
            for view in self.views.values():
                self._recolor(view)

    def _scene(self) -> Scene:
        """What the export dialog lies over."""
        page = self.nav.page
        return Scene(page, _plots(self.views.get(page)), bool(self.page.dark_theme))

    def _recolor(self, view: Any) -> None:
        dark = bool(self.page.dark_theme)
        for plot in _plots(view):
            plot.recolor(dark)
        if "dark" in view.param:
            view.dark = dark

    def duplicate(self, address: str) -> None:
        """Begin a new run with the suite of another."""
        folder = runs.find(address)
        if folder is None:
            return
        try:
            text = folder.spec_text()
        except SwayError as error:
            tell(str(error), tone="error")
            return
        name = "Example, run here" if address == runs.DEMO else f"{runs.title(folder)}, again"
        self.draft.load(text, base_dir=folder.base_dir(), title=name)
        self.nav.page = "new"


def _plots(view: Any) -> list[Plot]:
    """Figures of a page."""
    return getattr(view, "plots", None) or ([view.plot] if hasattr(view, "plot") else [])


TOP = ("overview", "runs", "new", "compare", "probe")
"""The row of the head; the overview stands for whatever page of the run was last looked at."""


def create_app(address: str = "") -> pmui.Page:
    """The page of one session, showing the run of an address, else the recorded example."""
    theme = (pn.state.cookies or {}).get(COOKIE, "")
    dark = theme == "dark"
    # Widgets take the colours of the session they are made in; in others they would light up for a moment.
    pn.config.theme = "dark" if dark else "default"
    app = App(dark=dark)
    app.session.start(address)
    if pn.state.curdoc is not None:
        pn.state.curdoc.theme = _PAINTED
        pn.state.curdoc.template_variables.update(first.variables(theme, app.run, app.choice))
    return app.page


_PAINTED = Theme(json={"attrs": {part: {} for part in ("Figure", "Axis", "Grid", "Title", "Legend", "ColorBar")}})
"""Figures have their colours from us. What a theme does not name the page would paint again in the browser, and report
every colour back: half of all messages while it loads."""

_HEAD = ":host(.sway-body) { padding-bottom: 0; gap: 6px; }"
