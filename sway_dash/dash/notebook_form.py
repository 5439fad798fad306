"""The compact form of a notebook's widget: models, prompts, preset, Run and Stop. It edits a suite and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.notebook_design import WIDGETS
from sway_dash.dash.notebook_suite import NotebookSuite
from sway_dash.figures.theme import esc


class NotebookForm(pn.viewable.Viewer):
    """``on_run`` and ``on_stop`` are called by the buttons; what ``on_run`` raises is said below them."""

    running = param.Boolean(default=False, doc="A run goes on: it can be stopped, and nothing else.")

    def __init__(
        self, suite: NotebookSuite, on_run: Callable[[], object], on_stop: Callable[[], None], *, held: str = ""
    ) -> None:
        super().__init__()
        self.suite = suite
        style: dict[str, Any] = {"stylesheets": [WIDGETS], "margin": (0, 12, 8, 0)}
        wide = {"sizing_mode": "stretch_width", **style}
        self.base = pn.widgets.TextInput(name="Base model: hub id or folder", value=suite.base, **wide)
        self.adapter = pn.widgets.TextInput(name="Adapter folder", value=suite.adapter, **wide)
        self.prompts = pn.widgets.TextAreaInput(
            name="Prompts, one a line (\\n is a line break)", value=suite.lines, rows=5, max_length=5_000_000, **wide
        )
        self.preset = pn.widgets.Select(name="Probes", options=suite.presets, value=suite.preset, width=200, **style)
        self.start = pn.widgets.Button(name="Run", button_type="primary", width=90, **style)
        self.stop = pn.widgets.Button(name="Stop", width=90, disabled=True, **style)
        self._said = html(css_classes=["sway-hook-said"])
        self._on_run, self._on_stop = on_run, on_stop
        self.start.on_click(lambda _: self._run())
        self.stop.on_click(lambda _: self._on_stop())
        models = html(f'<p class="sway-kicker">Measures the model in memory: {esc(held)}</p>') if held else None
        first = models or pn.Row(self.base, self.adapter, sizing_mode="stretch_width", margin=0)
        last = pn.Row(self.preset, pn.Column(pn.Spacer(height=18), pn.Row(self.start, self.stop)), margin=0)
        self._root = column(first, self.prompts, last, self._said, gap=2)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def take(self) -> None:
        """Write what is typed into the suite."""
        self.suite.change(
            base=self.base.value, adapter=self.adapter.value, lines=self.prompts.value, preset=self.preset.value
        )

    def say(self, text: str) -> None:
        """A sentence below the buttons; empty to take it away."""
        set_html(self._said, f'<p class="sway-alert" role="alert">{esc(text)}</p>' if text else "")

    def _run(self) -> None:
        self.say("")
        try:
            self.take()
            self._on_run()
        except SwayError as error:
            self.say(str(error))

    @param.depends("running", watch=True)
    def _turn(self) -> None:
        self.start.disabled, self.stop.disabled = self.running, not self.running
        for widget in (self.base, self.adapter, self.prompts, self.preset):
            widget.disabled = self.running
