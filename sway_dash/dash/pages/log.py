"""What happened, in order; the suite as it was given; on what it ran."""

from __future__ import annotations

import html as _html
import json
from datetime import datetime
from typing import Any

import panel as pn
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash import jobs
from sway_dash.dash.components import body, column, grid, heading, html, set_html
from sway_dash.dash.state import RunState
from sway_dash.dash.theme import count, esc, var

SHOWN = 300
TONES = {"info": "muted", "warning": "warn", "error": "bad"}


class LogView(pn.viewable.Viewer):
    """The run's story, newest last."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._log = html(css_classes=["sway-hook-log"])
        self._spec = html()
        self._env = html()
        self._root = body(
            column(html(heading("Log")), self._log),
            grid(
                column(html(heading("Suite, as given")), self._spec),
                column(html(heading("Environment")), self._env),
                even=True,
            ),
        )
        self._shown: tuple[Any, ...] = ()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("run.version", watch=True)
    def _refresh(self) -> None:
        data = self.run.data
        shown = (self.run.epoch, len(data.log), self.run.status)
        if shown == self._shown:
            return
        self._shown = shown
        lines = data.log[-SHOWN:]
        left_out = len(data.log) - len(lines)
        note = f'<p class="sway-caption">{count(left_out, "earlier line")} not shown.</p>' if left_out else ""
        items = "".join(
            f"<li><time>{datetime.fromtimestamp(line.ts).astimezone():%H:%M:%S}</time>"
            f'<span style="color: {var(TONES[line.level])}">{line.level}</span><span>{esc(line.text)}</span></li>'
            for line in lines
        )
        printed = jobs.log_tail(self.run.folder) if self.run.folder else ""
        worker = (
            f"<details><summary>What the worker printed</summary><pre>{_html.escape(printed)}</pre></details>"
            if printed
            else ""
        )
        empty = '<p class="sway-empty">Nothing has happened yet.</p>'
        set_html(self._log, (f'{note}<ol class="sway-log">{items}</ol>' if items else empty) + worker)
        try:
            spec = self.run.folder.spec_text() if self.run.folder else ""
        except SwayError:
            spec = ""
        set_html(self._spec, f"<pre>{_html.escape(spec)}</pre>")
        env = (
            json.dumps(data.fold.environment, indent=2, ensure_ascii=False)
            if data.fold.environment
            else "not known yet"
        )
        set_html(self._env, f"<pre>{_html.escape(env)}</pre>")
