"""A list of runs in the browser. Names are untrusted; what is pressed is said to the owner, who keeps the marks.

Whether a run is really to be stopped the browser asks in the list itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import panel as pn
import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC, css

_STYLE = (STATIC / "run_list.css").read_text(encoding="utf-8")


class RunList(JSComponent):
    """``heads`` are lists of key, title, is a number; ``items`` of address, cells (one a head), can be stopped."""

    heads = param.List(default=[])
    items = param.List(default=[])
    marked = param.List(default=[], item_type=str, doc="Addresses of the marked runs.")
    sort = param.String(default="", doc="Key of the column in whose order the rows are, with a minus when it falls.")
    words = param.List(default=[], doc="Stop, the question before it, what follows, and the answer that stops nothing.")
    label = param.String(default="Runs", doc="What the list is, for a screen reader.")

    _esm = STATIC / "run_list.js"

    def __init__(
        self,
        *,
        on_open: Callable[[str], None],
        on_mark: Callable[[list[str], bool], None],
        on_sort: Callable[[str], None],
        on_stop: Callable[[str], None],
        **params: Any,
    ) -> None:
        super().__init__(sizing_mode="stretch_width", margin=0, stylesheets=[css(), _STYLE], **params)
        self._open, self._mark, self._sort, self._stop = on_open, on_mark, on_sort, on_stop

    def offer(self, items: Sequence[tuple[str, Sequence[str], bool]], marked: Sequence[str]) -> None:
        """Show these rows; nothing is sent when they are the same."""
        changes: dict[str, Any] = {
            "items": [[run, list(cells), stops] for run, cells, stops in items],
            "marked": list(marked),
        }
        self.param.update(**{name: value for name, value in changes.items() if value != getattr(self, name)})

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict):
            # Not all of what is changed before the page has loaded would reach the browser.
            pn.state.onload(lambda: self._heard(data))

    def _heard(self, data: dict[str, Any]) -> None:
        what, shown = data.get("what"), [item[0] for item in self.items]
        if what == "all":
            self._mark(shown, bool(data.get("on")))
        elif what == "sort" and data.get("key") in [head[0] for head in self.heads]:
            self._sort(str(data["key"]))
        elif data.get("run") not in shown:
            return
        elif what == "open":
            self._open(str(data["run"]))
        elif what == "mark":
            self._mark([str(data["run"])], bool(data.get("on")))
        elif what == "stop" and next(stops for run, _, stops in self.items if run == data["run"]):
            self._stop(str(data["run"]))
