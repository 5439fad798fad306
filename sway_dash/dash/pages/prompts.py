"""Prompt by prompt: filters, chart and tables on the left, the open prompt beside them."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

from sway_dash.core.detail import PromptDetail
from sway_dash.dash.components import body, column
from sway_dash.dash.divider import Divider
from sway_dash.dash.looks import Look
from sway_dash.dash.off_loop import off_loop
from sway_dash.dash.pages.detail import DetailPane
from sway_dash.dash.pages.filters import FilterBar
from sway_dash.dash.pages.prompt_chart import PromptChart
from sway_dash.dash.pages.prompt_table import PromptTable, TagTable
from sway_dash.dash.prompt_list import PromptList
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import STATIC

_STYLE = (STATIC / "prompts.css").read_text(encoding="utf-8")


class PromptsPage(pn.viewable.Viewer):
    """Everything about single prompts. The pane of the open prompt is there while ``choice.item`` is set."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    wanted = param.String(default="", doc="Prompt whose tokens somebody asked for; answered by `show_detail`.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.shown = PromptList(run=self.run, choice=self.choice, background=off_loop)
        both = {"choice": self.choice, "shown": self.shown}
        self._filters = FilterBar(**both)
        self._chart = PromptChart(run=self.run, **both)
        self._tags, self._table = TagTable(**both), PromptTable(**both)
        self._detail = DetailPane(run=self.run, **both)
        self._detail.param.watch(self._asked, "wanted", onlychanged=False)
        left = column(self._chart, self._tags, self._table, gap=22, css_classes=["sway-list"])
        self._pane = column(self._detail, css_classes=["sway-pane"], stylesheets=[_STYLE], visible=False)
        self._divider = Divider(visible=False)
        self._split = pn.Column(
            left,
            self._divider,
            self._pane,
            sizing_mode="stretch_width",
            margin=0,
            css_classes=["sway-split"],
            stylesheets=[_STYLE],
        )
        self._root = body(self._filters, self._split)
        self.choice.param.watch(self._opened, "item")
        self.shown.param.watch(self._opened, "version")
        self._opened()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        return [*self._chart.plots, *self._detail.plots]

    @property
    def look(self) -> Look:
        """What the address says of the page."""
        return {"linear": (self._chart, "linear"), **self._detail.look}

    def rest(self, resting: bool) -> None:
        """The page has been hidden, or is shown again."""
        self.shown.resting = resting

    def _opened(self, *_: Any) -> None:
        # An address may name a prompt that this run does not have.
        opened = self.shown.row(self.choice.item) is not None
        self._divider.opened = self.choice.item if opened else -1
        if self._pane.visible != opened:
            self._pane.visible = self._divider.visible = opened
            self._split.css_classes = ["sway-split", "sway-open"] if opened else ["sway-split"]

    # -- keys -----------------------------------------------------------------------------------

    def next(self) -> None:
        """Open the next prompt."""
        self._detail.next()

    def previous(self) -> None:
        """Open the previous prompt."""
        self._detail.previous()

    def next_token(self) -> None:
        """Go to the next token of the open prompt."""
        self._detail.next_token()

    def previous_token(self) -> None:
        """Go to the previous token of the open prompt."""
        self._detail.previous_token()

    def search(self) -> None:
        """Put the cursor into the search box."""
        self._filters.focus()

    def open(self) -> None:
        """Open the first prompt shown."""
        if self.choice.item is None:
            self._detail.next()

    # -- tokens that were asked for -------------------------------------------------------------

    def show_detail(self, detail: PromptDetail) -> None:
        """Take the answer to ``wanted``."""
        self._detail.show_detail(detail)

    def show_problem(self, text: str) -> None:
        """Say why there is no answer to ``wanted``."""
        self._detail.show_problem(text)

    def poll(self) -> None:
        """Look whether more was recorded of the open prompt; for ticks in which nothing else has changed."""
        self._detail.poll()

    def _asked(self, event: Any) -> None:
        if self.wanted == event.new:
            self.param.trigger("wanted")
        else:
            self.wanted = event.new
