"""Two to eight runs against one of them: better, worse, the same; which prompts moved."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import beside, body, column, grid
from sway_dash.dash.pages.compare_bar import CompareBar
from sway_dash.dash.pages.compare_charts import CourseChart, DifferenceChart, PairChart
from sway_dash.dash.pages.compare_filters import CompareFilters
from sway_dash.dash.pages.compare_head import CompareHead
from sway_dash.dash.pages.compare_probes import ProbeMatrix, SettingsDiff
from sway_dash.dash.pages.compare_table import ComparePrompt, CompareTable, UnpairedList
from sway_dash.dash.pages.export import CompareExport, Scene
from sway_dash.figures.plots import Plot


class CompareView(pn.viewable.Viewer):
    """The page. ``state.goto`` and ``state.opened`` say what somebody asked to open elsewhere."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]
    dark = param.Boolean(default=False, doc="The page is dark.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        own = {"state": self.state}
        self._bar = CompareBar(**own)
        self._filters = CompareFilters(**own)
        self._pair, self._difference, self._course = PairChart(**own), DifferenceChart(**own), CourseChart(**own)
        side = column(self._difference, self._course, ComparePrompt(**own), gap=22)
        self._export = CompareExport(lambda: Scene("compare", self.plots, self.dark), **own)
        button = pmui.Button(label="Export", size="small", variant="text", margin=0, description="")
        button.on_click(lambda _: setattr(self._export, "open", True))
        self._rest = column(
            beside(column(CompareHead(**own), styles={"flex": "1 1 320px"}), button, gap="6px 16px", align="start"),
            self._filters,
            grid(self._pair, side),
            CompareTable(**own),
            UnpairedList(**own),
            ProbeMatrix(**own),
            SettingsDiff(**own),
            gap=24,
            visible=False,
        )
        self._root = body(self._bar, self._rest, self._export)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        return [*self._pair.plots, self._difference.plot, self._course.plot]

    def reread(self) -> None:
        """Look which runs there are; to be called when the page is opened."""
        self._bar.reread()

    def focus_search(self) -> None:
        """Put the cursor into the search box."""
        self._filters.focus()

    @param.depends("state.version", watch=True)
    def _refresh(self) -> None:
        self._rest.visible = self.state.comparison is not None
