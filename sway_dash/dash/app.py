"""Composition root: state, pages and the page frame of one browser session."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param
from panel.util import edit_readonly

from sway_dash.dash import runs
from sway_dash.dash.components import BODY, body, column, grid, html
from sway_dash.dash.draft import Draft
from sway_dash.dash.pages.detail import DetailView
from sway_dash.dash.pages.log import LogView
from sway_dash.dash.pages.new_run import NewRunView
from sway_dash.dash.pages.probes import ProbesView
from sway_dash.dash.pages.prompts import PromptsView
from sway_dash.dash.pages.run_bar import RunBar
from sway_dash.dash.pages.runs import RunsView
from sway_dash.dash.pages.trace import TraceView
from sway_dash.dash.pages.trend import AblationView, MeanView
from sway_dash.dash.pages.verdict import VerdictView
from sway_dash.dash.session import Session
from sway_dash.dash.state import RunState, Selection
from sway_dash.dash.theme import assets, css, esc, theme_config
from sway_dash.suite.store import RunFolder, runs_root

OVERVIEW, TRACE, LOG, NEW, RUNS = range(5)
PAGES = ("Overview", "Trace", "Log", "New run", "Runs")

BAR_SX = {
    ".MuiAppBar-root": {
        "bgcolor": "background.paper",
        "backgroundImage": "none",
        "color": "text.primary",
        "boxShadow": "none",
        "borderBottom": "1px solid",
        "borderColor": "divider",
    },
    ".MuiAppBar-root .MuiIconButton-root, .MuiAppBar-root .title": {"color": "text.primary"},
}


class App(param.Parameterized):
    """One session: what it looks at and the pages that show it."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.run = RunState()
        self.choice = Selection()
        self.draft = Draft()
        both = {"run": self.run, "choice": self.choice}
        self.bar = RunBar(run=self.run)
        self.verdict = VerdictView(**both)
        self.prompts = PromptsView(**both)
        self.mean = MeanView(**both)
        self.detail = DetailView(**both)
        self.ablation = AblationView(run=self.run)
        self.probes = ProbesView(run=self.run)
        self.trace = TraceView(run=self.run)
        self.log = LogView(run=self.run)
        self.new = NewRunView(draft=self.draft)
        self.list = RunsView()
        self.page = self._page()
        self.session = Session(self)
        self._wire()

    @property
    def plots(self) -> list[Any]:
        """Every plot of the session."""
        views = (self.verdict, self.prompts, self.mean, self.detail, self.ablation, self.trace)
        return [view.plot for view in views]

    def show(self, folder: RunFolder | None) -> None:
        """Look at a run, with no choices left over from the one before."""
        if folder is None:
            return
        with param.parameterized.batch_call_watchers(self.choice):
            self.choice.param.update(item=None, tags=[], probe="", metric="js", sort="auto")
        self.bar.demo = runs.address_of(folder) == runs.DEMO
        self.run.open(folder)
        self._empty.visible = False
        self._overview.visible = True

    def _page(self) -> pmui.Page:
        self._empty = html(_nothing_yet())
        side = column(self.mean, self.detail, gap=22)
        shape = grid(self.probes, self.ablation)
        self._charts = grid(self.prompts.chart, side)
        self._rows = column(self.prompts)
        self._overview = column(self.verdict, self._charts, shape, self._rows, gap=26, visible=False)
        self.tabs = pmui.Tabs(
            *((name, pn.Spacer(height=0, margin=0)) for name in PAGES), sizing_mode="stretch_width", margin=0
        )
        # The tabs are only a switch. Pages are Bokeh columns that are filled on the first visit and hidden afterwards:
        # the tabs' own content is mounted late by React, and Bokeh measures plots that have no layout yet.
        self._pages = [
            pn.Column(sizing_mode="stretch_width", margin=0, visible=i == OVERVIEW) for i in range(len(PAGES))
        ]
        self._pages[OVERVIEW].append(body(self._empty, self._overview))
        head = pn.Column(
            self.bar, sizing_mode="stretch_width", margin=0, css_classes=["sway-body"], stylesheets=[BODY, _HEAD]
        )
        logo = assets() / "logo.svg"
        page = pmui.Page(
            title="sway_dash",
            main=[head, self.tabs, *self._pages],
            theme_config=theme_config(),
            logo=logo if logo.is_file() else None,
            favicon=logo if logo.is_file() else None,
            meta_description="Did the LoRA adapter change the model?",
            raw_css=[css()],
            sx=BAR_SX,
            busy_indicator=None,
        )
        # The page follows Panel's busy state, which changes twice a tick, and every change walks all models of the
        # document: two thirds of the server's time. We show no busy sign, so nothing is lost.
        with edit_readonly(page):
            page.busy = False
        return page

    def _wire(self) -> None:
        self.page.param.watch(self._theme, "dark_theme")
        self.run.param.watch(self._measured, "version")
        self._theme()
        self.tabs.param.watch(self._tab, "active")
        self.new.param.watch(lambda e: self._opened(e.new, OVERVIEW), "started")
        self.list.param.watch(lambda e: self._opened(e.new, OVERVIEW), "opened")
        self.bar.param.watch(lambda _: self._duplicate(), "duplicate")

    def _theme(self, *_: Any) -> None:
        dark = bool(self.page.dark_theme)
        with pn.io.hold():
            for plot in self.plots:
                plot.recolor(dark)
            self.new.dark = dark

    def _measured(self, *_: Any) -> None:
        """No empty charts for a run that ended before it measured anything."""
        shown = self.run.live or any(s.rows or s.nulls for s in self.run.data.series.values())
        self._charts.visible = self._rows.visible = shown

    def _tab(self, event: Any) -> None:
        page = self._pages[event.new]
        if not len(page):
            page.append([self._overview, self.trace, self.log, self.new, self.list][event.new])
        if event.new == RUNS:
            self.list.reread()
        for i, other in enumerate(self._pages):
            other.visible = i == event.new

    def _opened(self, address: str, tab: int) -> None:
        if not address:
            return
        folder = runs.find(address)
        if folder is None:
            return
        self.show(folder)
        self.tabs.active = tab

    def _duplicate(self) -> None:
        folder = self.run.folder
        if folder is not None:
            name = "Example, run here" if self.bar.demo else f"{self.run.title}, again"
            self.draft.load(folder.spec_text(), base_dir=folder.base_dir(), title=name)
            self.tabs.active = NEW


def create_app(address: str = "") -> pmui.Page:
    """The page of one session, showing the run of an address, else the recorded example."""
    app = App()
    app.session.start(address)
    return app.page


_HEAD = ":host(.sway-body) { padding-bottom: 4px; }"


def _nothing_yet() -> str:
    where = esc(runs_root())
    return (
        '<h2 class="sway-h2">No run to show</h2><p class="sway-empty">The recorded example is not installed and'
        f" there is no run in {where} yet. Open <b>New run</b>, name a base model and its adapter, write a few prompts"
        " and press Run: the worker measures in its own process and this page follows it.</p>"
    )
