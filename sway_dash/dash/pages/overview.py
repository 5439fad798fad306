"""The answer on one screen: verdict and noise, every prompt, the running mean, the probes, and what is worth a look."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

from sway_dash.dash.components import body, column, grid, html
from sway_dash.dash.pages.probes import ProbesView
from sway_dash.dash.pages.prompt_chart import PromptChart
from sway_dash.dash.pages.score import ScoreView
from sway_dash.dash.pages.trend import AblationView, MeanView
from sway_dash.dash.pages.verdict import VerdictView
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import esc
from sway_dash.suite.store import runs_root

_FIT = "clamp(170px, 100vh - 640px, 860px)"
"""Verdict, pictures and the first probes are seen together in a window of 1280 by 800, and use a taller one."""


class OverviewPage(pn.viewable.Viewer):
    """Follows the open run, live or over."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        both = {"run": self.run, "choice": self.choice}
        self._verdict = VerdictView(**both)
        self._prompts = PromptChart(**both, fit=_FIT)
        self._mean = MeanView(**both, fit=_FIT)
        self._ablation = AblationView(run=self.run)
        self._probes = ProbesView(run=self.run, linked=True)
        self._score = ScoreView(run=self.run)
        self._empty = html(_nothing_yet())
        # In a column of its own: a grid cannot be hidden.
        self._charts = column(grid(self._prompts, self._mean))
        self._all = column(self._verdict, self._charts, self._probes, self._score, self._ablation, gap=14)
        self._root = body(self._empty, self._all)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Figures of the page."""
        single = (self._verdict, self._mean, self._ablation, self._score)
        return [*self._prompts.plots, *(view.plot for view in single)]

    def rest(self, resting: bool) -> None:
        """The page has been hidden, or is shown again."""
        self._prompts.shown.resting = resting

    @param.depends("run.version", watch=True)
    def _refresh(self) -> None:
        """No empty charts for a run that ended before it measured anything."""
        opened = bool(self.run.run_id)
        self._empty.visible, self._all.visible = not opened, opened
        begun = self.run.live and self.run.status not in ("queued", "starting")
        self._charts.visible = begun or any(s.rows or s.nulls for s in self.run.data.series.values())


def _nothing_yet() -> str:
    where = esc(runs_root())
    return (
        '<h2 class="sway-h2">No run to show</h2><p class="sway-empty">The recorded example is not installed and'
        f" there is no run in {where} yet. Open <b>New run</b>, name a base model and its adapter, write a few prompts"
        " and press Run: the worker measures in its own process and this page follows it.</p>"
    )
