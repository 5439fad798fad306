"""A table of any length of which only the rows in sight are in the browser. It knows rows of texts, not prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import panel as pn
import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC, css

_STYLE = (STATIC / "virtual_table.css").read_text(encoding="utf-8")

AT_ONCE = 60
"""Rows given before the browser has asked."""
MOST = 400
"""Rows given at once, whatever the browser asks for."""

Cell = str | list[str]
"""A text, or pieces of one of which every other is a hit of a search."""


Rows = Callable[[int, int], Sequence[tuple[int, Sequence[Cell]]]]
"""Item numbers and cells of so many rows (second) from a place on (first)."""


class VirtualTable(JSComponent):
    """Shows ``total`` rows. Sorting, opening and stepping are said to the owner, who decides."""

    heads = param.List(default=[], doc="Lists of key, title, width (CSS), whether it is a number, and its order.")
    hidden = param.List(default=[], doc="Keys of the columns that are not shown; :meth:`hide` sets it.")
    kept = param.String(default="", doc="Name under which the browser keeps the reader's columns; empty: it does not.")
    total = param.Integer(default=0)
    page = param.Dict(default={"first": 0, "rows": []}, doc="The rows the browser has, from the first one's place on.")
    sort = param.String(default="", doc="The order in force, with a minus in front when it falls.")
    active = param.Dict(default={"item": -1, "place": -1}, doc="The open row.")
    label = param.String(default="")
    height_px = param.Integer(default=520)
    choosable = param.Boolean(default=True, doc="Offer to hide columns and to move them.")
    top = param.Integer(default=0, doc="Raised to show the first row.")

    _esm = STATIC / "virtual_table.js"

    def __init__(
        self,
        rows: Rows,
        *,
        on_sort: Callable[[str], None],
        on_open: Callable[[int], None],
        on_step: Callable[[int], None],
        **params: Any,
    ) -> None:
        super().__init__(
            sizing_mode="stretch_width", margin=0, stylesheets=[css(), _STYLE], **{"min_width": 0, **params}
        )
        self._rows = rows
        self._on = {"sort": on_sort, "open": on_open, "step": on_step}
        self._window = (0, AT_ONCE)
        self._usual = list(self.hidden)
        self._chosen: dict[str, bool] = {}
        self._order: list[str] = []

    @property
    def shown(self) -> list[str]:
        """Keys of the columns in sight, from left to right."""
        keys = [head[0] for head in self.heads if head[0] not in self.hidden]
        return sorted(keys, key=lambda key: self._order.index(key) if key in self._order else len(self._order))

    def hide(self, keys: Sequence[str]) -> None:
        """Columns that are not shown as long as the reader has not chosen otherwise."""
        self._usual = list(keys)
        self._lay()

    def _choose(self, shown: Mapping[Any, Any]) -> None:
        known = [head[0] for head in self.heads if head[1]]
        self._chosen |= {key: bool(on) for key, on in shown.items() if key in known}
        self._lay()

    def _lay(self) -> None:
        keys = [head[0] for head in self.heads]
        self.hidden = [key for key in keys if not self._chosen.get(key, key not in self._usual)]

    def refresh(self) -> None:
        """Give the browser its rows again if they have changed."""
        first, count = self._window
        first = max(0, min(first, self.total - 1))
        page = {"first": first, "rows": [[item, list(cells)] for item, cells in self._rows(first, count)]}
        if page != self.page:
            self.page = page

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict):
            with pn.io.hold():
                self._heard(data)

    def _heard(self, data: dict[str, Any]) -> None:
        what = data.get("type")
        if what == "window":
            self._window = (max(0, int(data["first"])), max(1, min(int(data["count"]), MOST)))
            self.refresh()
        elif what == "sort" and data.get("key") in [head[0] for head in self.heads]:
            self._on["sort"](str(data["key"]))  # type: ignore[operator]
        elif what == "open":
            self._on["open"](int(data["item"]))  # type: ignore[operator]
        elif what == "step":
            self._on["step"](1 if data["step"] > 0 else -1)  # type: ignore[operator]
        elif what == "column":
            self._choose({str(data.get("key")): data.get("shown")})
        elif what == "order" and isinstance(data.get("keys"), list):
            known = [head[0] for head in self.heads]
            self._order = [key for key in known if key in data["keys"]]
            self._order.sort(key=data["keys"].index)
        elif what == "columns" and isinstance(data.get("shown"), dict):
            # Not all of what is changed before the page has loaded would reach the browser.
            pn.state.onload(lambda: self._choose(data["shown"]))
