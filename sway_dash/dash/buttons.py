"""A row of small buttons, as many as there happen to be. Their texts are untrusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC, css, visible

_STYLE = (STATIC / "buttons.css").read_text(encoding="utf-8")


class Buttons(JSComponent):
    """``pressed`` is called with the key of the button that was pressed."""

    items = param.List(default=[], doc="Lists of key, text, and what stands behind it in small print.")
    label = param.String(default="")

    _esm = STATIC / "buttons.js"

    def __init__(self, pressed: Callable[[str], None], **params: Any) -> None:
        super().__init__(margin=0, stylesheets=[css(), _STYLE], **params)
        self._pressed = pressed

    def offer(self, buttons: Iterable[tuple[str, str, str]]) -> None:
        """Show these buttons; nothing is sent when they are the same."""
        items = [[key, visible(text), visible(more)] for key, text, more in buttons]
        if items != self.items:
            self.param.update(items=items, visible=bool(items))

    def _handle_msg(self, data: Any) -> None:
        key = data.get("key") if isinstance(data, dict) else None
        if key in [item[0] for item in self.items]:
            self._pressed(str(key))
