"""A row of small buttons that are on or off, or take themselves away. Their texts are untrusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import panel as pn
import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC, css, visible

_STYLE = (STATIC / "chips.css").read_text(encoding="utf-8")

State = Literal["on", "off", "remove"]


class Chips(JSComponent):
    """``pressed`` is called with the key of the button that was pressed."""

    items = param.List(default=[], doc="Lists of key, text, number behind it, and state.")
    label = param.String(default="")

    _esm = STATIC / "chips.js"

    def __init__(self, pressed: Callable[[str], None], **params: Any) -> None:
        super().__init__(margin=0, stylesheets=[css(), _STYLE], **params)
        self._pressed = pressed

    def offer(self, chips: Iterable[tuple[str, str, str, State]]) -> None:
        """Show these buttons; nothing is sent when they are the same."""
        items = [[key, visible(text), number, state] for key, text, number, state in chips]
        # An empty row takes no room by its style: a change of visibility would measure the whole page anew.
        if items != self.items:
            self.items = items

    def _handle_msg(self, data: Any) -> None:
        key = data.get("key") if isinstance(data, dict) else None
        if key in [item[0] for item in self.items]:
            with pn.io.hold():
                self._pressed(str(key))
