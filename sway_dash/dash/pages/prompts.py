"""Prompt by prompt: filters, chart and table on the left, the open prompt beside them."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

from sway_dash.dash.components import body, column
from sway_dash.dash.pages.filters import FilterBar
from sway_dash.dash.pages.prompt_chart import PromptChart
from sway_dash.dash.pages.prompt_table import PromptTable, TagTable
from sway_dash.dash.plots import Plot
from sway_dash.dash.prompt_list import PromptList
from sway_dash.dash.state import RunState, Selection


class PromptsView(pn.viewable.Viewer):
    """The chart and the table alone."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        shown = PromptList(run=self.run, choice=self.choice)
        self.chart = PromptChart(run=self.run, choice=self.choice, shown=shown)
        self._table = PromptTable(choice=self.choice, shown=shown)
        self._root = column(self._table)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plot(self) -> Plot:
        """The dot plot, which brings the other figure's colours along."""
        dots, ecdf = self.chart.plots
        return Plot(dots.figure, paints=[*dots.paints, *ecdf.paints])


class PromptsPage(pn.viewable.Viewer):
    """Everything about single prompts."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.shown = PromptList(run=self.run, choice=self.choice)
        both = {"choice": self.choice, "shown": self.shown}
        self._filters = FilterBar(**both)
        self._chart = PromptChart(run=self.run, **both)
        self._tags, self._table = TagTable(**both), PromptTable(**both)
        left = column(self._chart, self._tags, self._table, gap=22)
        self._root = body(self._filters, left)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        return [*self._chart.plots]
