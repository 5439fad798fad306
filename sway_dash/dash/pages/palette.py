"""Go anywhere by typing a few letters: pages, runs, prompts of the open run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash import runs
from sway_dash.dash.components import dialog
from sway_dash.dash.nav import TITLES
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.theme import visible

MAX_PROMPTS = 300


class Palette(pn.viewable.Viewer):
    """``go`` is called with ``("page" | "run" | "prompt", value)`` of what was chosen."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    open = param.Boolean(default=False)

    def __init__(self, go: Callable[[str, Any], None], **params: Any) -> None:
        super().__init__(**params)
        self._go = go
        self._found: dict[str, tuple[str, Any]] = {}
        self._field = pmui.AutocompleteInput(
            label="Page, run or prompt",
            options=[],
            restrict=True,
            case_sensitive=False,
            search_strategy="includes",
            min_characters=0,
            sizing_mode="stretch_width",
            margin=(8, 0),
        )
        self._field.param.watch(self._chosen, "value")
        self._dialog = dialog(self._field, "Go to", width="sm", show_close_button=False)
        self._dialog.param.watch(lambda e: setattr(self, "open", e.new), "open")

    def __panel__(self) -> pn.viewable.Viewable:
        return self._dialog

    @param.depends("open", watch=True)
    def _opened(self) -> None:
        if self.open:
            self._found = self._places()
            self._field.param.update(options=list(self._found), value=None)
        self._dialog.open = self.open

    def _places(self) -> dict[str, tuple[str, Any]]:
        found: dict[str, tuple[str, Any]] = {title: ("page", page) for page, title in TITLES.items()}
        if runs.demo_folder() is not None:
            found["Run: recorded example"] = ("run", runs.DEMO)
        for info in runs.recent():
            found[f"Run: {visible(info.name)} ({info.id})"] = ("run", info.id)
        series = self.choice.series(self.run.data)
        for m in sorted(series.rows, key=lambda m: m.item)[:MAX_PROMPTS] if series else ():
            found[f"Prompt {m.item + 1}: {visible(m.prompt)[:100]}"] = ("prompt", m.item)
        return found

    def _chosen(self, event: Any) -> None:
        if event.new in self._found:
            self.open = False
            self._go(*self._found[event.new])
