"""All runs: a click opens one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash import runs
from sway_dash.dash.components import body, heading, html, set_html
from sway_dash.dash.theme import esc, visible
from sway_dash.suite.store import runs_root

MARKS = {"finished": "✓", "running": "…", "cancelled": "◇", "interrupted": "◇", "failed": "✕"}


class RunsView(pn.viewable.Viewer):
    """Table of recent runs; writes ``opened`` and nothing else."""

    opened = param.String(default="", doc="Address of the run to open.")
    refresh = param.Event(doc="Read the folder again.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._note = html()
        self._demo = pmui.Button(label="Open the recorded example", variant="outlined", size="small", margin=0)
        self._demo.on_click(lambda _: self._open(runs.DEMO))
        self._table = pn.widgets.Tabulator(
            self._frame(),
            disabled=True,
            show_index=False,
            selectable=False,
            layout="fit_columns",
            pagination="remote",
            page_size=20,
            sizing_mode="stretch_width",
            widths={"State": 130, "Started": 170},
            hidden_columns=["id"],
            margin=0,
            css_classes=["sway-hook-runs"],
        )
        self._table.on_click(lambda event: self._open(str(self._table.value["id"].iloc[event.row])))
        again = pmui.Button.from_param(
            self.param.refresh, description="", label="Refresh", variant="text", size="small", margin=0
        )
        self._root = body(
            html(heading("Runs")), pn.FlexBox(self._demo, again, gap="8px", margin=0), self._note, self._table
        )
        self.reread()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("refresh", watch=True)
    def reread(self) -> None:
        """Read the folder of runs."""
        frame = self._frame()
        self._table.visible = bool(len(frame))
        self._demo.visible = runs.demo_folder() is not None
        where = esc(runs_root())
        text = f"In {where}; newest first. A click opens a run." if len(frame) else f"No runs yet in {where}."
        set_html(self._note, f'<p class="sway-caption">{text}</p>')
        if not frame.equals(self._table.value):
            self._table.value = frame

    def _open(self, address: str) -> None:
        self.opened = address
        self.opened = ""

    def _frame(self) -> pd.DataFrame:
        rows = [
            {
                "id": r.id,
                "State": f"{MARKS.get(r.status, '')} {r.status}",
                "Run": visible(r.name),
                "Started": f"{datetime.fromtimestamp(r.created).astimezone():%Y-%m-%d %H:%M}" if r.created else "",
            }
            for r in runs.recent()
        ]
        return pd.DataFrame(rows, columns=["id", "State", "Run", "Started"], dtype="object")
