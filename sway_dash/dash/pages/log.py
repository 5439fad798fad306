"""What happened, in order; warnings with their likely causes; the suite as it was given; on what it ran."""

from __future__ import annotations

import html as _html
import json
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash import jobs
from sway_dash.dash.components import HIDDEN_LABEL, body, column, grid, html, set_html
from sway_dash.dash.copy_button import CopyButton
from sway_dash.dash.log_list import MAX_LINES, LogList
from sway_dash.dash.looks import Look
from sway_dash.dash.pages.opening import ask, open_prompt
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.derive import LogLine, Place
from sway_dash.figures.environment import rows
from sway_dash.figures.log_lines import chosen
from sway_dash.figures.markup import heading, table, toned
from sway_dash.figures.theme import count, esc

LEVELS = {"All": "info", "Problems": "warning", "Errors": "error"}


class LogView(pn.viewable.Viewer):
    """The run's story, newest last. A line about a prompt opens it and asks for ``goto``."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    level: Any = param.Selector(
        default="info", objects=["info", "warning", "error"], doc="Lines of at least this level."
    )
    query = param.String(default="", doc="Only lines that hold this.")
    goto = param.String(default="", doc="Page that is asked for.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"choice": Selection(), **params})
        self._level = pmui.RadioButtonGroup.from_param(
            self.param.level,
            options=LEVELS,
            size="small",
            label="Lines",
            description="",
            width=280,
            margin=(6, 8, 4, 0),
            stylesheets=[HIDDEN_LABEL],
        )
        self._query = pmui.TextInput(
            label="Filter lines",
            size="small",
            width=220,
            margin=(6, 8, 4, 0),
            css_classes=["sway-hook-log-query"],
        )
        self._query.param.watch(lambda event: setattr(self, "query", event.new or ""), "value_input")
        self.param.watch(lambda event: self._query.param.update(value=event.new, value_input=event.new), "query")
        self._list = LogList(self._open, sizing_mode="stretch_width", css_classes=["sway-hook-log"])
        self._follow = pmui.Checkbox.from_param(
            self._list.param.follow, label="Follow the newest", description="", size="small", margin=(0, 8, 4, 0)
        )
        self._note = html(css_classes=["sway-hook-log-note"])
        self._warnings, self._printed = html(css_classes=["sway-hook-warnings"]), html()
        self._spec, self._env = html(), html(css_classes=["sway-hook-environment"])
        self._copy = CopyButton(label="Copy the suite")
        controls = pn.FlexBox(self._level, self._query, self._follow, margin=0, sizing_mode="stretch_width")
        self._root = body(
            self._warnings,
            column(html(heading("Log")), controls, self._note, self._list, self._printed),
            grid(
                column(html(heading("Suite, as given")), self._copy, self._spec),
                column(html(heading("Environment")), self._env),
                even=True,
            ),
        )
        self._shown: tuple[Any, ...] = ()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def look(self) -> Look:
        """What the address says of the page."""
        return {"level": (self, "level"), "find": (self, "query")}

    @param.depends("run.version", watch=True)
    def _refresh(self) -> None:
        data, run = self.run.data, self.run
        shown = (run.epoch, len(data.log), run.status, bool(data.fold.environment))
        if shown == self._shown:
            return
        another = shown[0] != self._shown[0] if self._shown else True
        self._shown = shown
        with pn.io.hold():
            if another:
                self._list.follow = run.live
                self._show_spec()
            self._show_lines()
            set_html(self._warnings, self._warned())
            printed = jobs.log_tail(run.folder) if run.folder else ""
            set_html(self._printed, _fold("What the worker printed", printed) if printed else "")
            found = rows(data.fold.environment, data.started, data.fold.determinism)
            raw = json.dumps(data.fold.environment, indent=2, ensure_ascii=False)
            cells = [(esc(name), f'<span class="sway-num">{esc(value)}</span>') for name, value in found]
            known = table(("What", "Value"), cells) + _fold("As recorded", raw)
            set_html(self._env, known if found else '<p class="sway-empty">Not known yet.</p>')

    @param.depends("level", "query", watch=True)
    def _show_lines(self) -> None:
        log = self.run.data.log
        kept = set(map(id, chosen(log, self.level, self.query)))
        lines = [(k, line) for k, line in enumerate(log) if id(line) in kept]
        self._list.show(lines, lambda line: self._place(line) is not None)
        self._list.visible = bool(lines)
        left_out = len(lines) - MAX_LINES
        parts = [f"{len(lines):,} of {count(len(log), 'line')}"] if len(lines) < len(log) else []
        if left_out > 0:
            parts.append(f"the first {left_out:,} are not shown")
        text = "; ".join(parts) + "." if parts else ""
        if not lines:
            text = "No line is like that." if log else "Nothing has happened yet."
        set_html(self._note, f'<p class="sway-caption">{esc(text)}</p>' if text else "")

    def _show_spec(self) -> None:
        folder = self.run.folder
        try:
            spec = folder.spec_text() if folder else ""
        except SwayError:
            spec = ""
        self._copy.param.update(text=spec, visible=bool(spec))
        missing = '<p class="sway-empty">The suite of this run is not there.</p>'
        set_html(self._spec, f"<pre>{_html.escape(spec)}</pre>" if spec else missing)

    def _warned(self) -> str:
        found = self.run.data.fold.warnings
        if not found:
            return ""
        boxes = []
        for warning in found:
            causes = "".join(f"<li>{esc(cause)}</li>" for cause in warning.causes)
            likely = f"<p>Likely causes, most likely first:</p><ol>{causes}</ol>" if causes else ""
            boxes.append(toned("warn", "sway-banner", f"<b>Warning.</b> {esc(warning.message)}{likely}", role="status"))
        return heading("Warnings") + "".join(boxes)

    def _place(self, line: LogLine) -> Place | None:
        """Where the prompt of a line can be opened."""
        if line.item is None or line.probe not in self.run.data.series:
            return None
        return Place("", line.probe, line.item)

    def _open(self, number: int) -> None:
        log = self.run.data.log
        if number < len(log) and open_prompt(self.choice, self._place(log[number])):
            ask(self, "goto", "prompts")


def _fold(title: str, text: str) -> str:
    return f"<details><summary>{esc(title)}</summary><pre>{_html.escape(text)}</pre></details>"
