"""A button that puts a text on the clipboard of the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC, css

_STYLE = (STATIC / "copy_button.css").read_text(encoding="utf-8")


class CopyButton(JSComponent):
    """``label`` is what it says; it copies what ``make`` gives when it is pressed, without one ``text``."""

    label = param.String(default="Copy")
    text = param.String(default="")
    answer = param.Integer(default=0, doc="Raised when the text is there.")

    _esm = STATIC / "copy_button.js"

    def __init__(self, make: Callable[[], str] | None = None, **params: Any) -> None:
        super().__init__(margin=0, stylesheets=[css(), _STYLE], **params)
        self._make = make

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict) and data.get("type") == "text":
            if self._make is not None:
                self.text = self._make()
            self.answer += 1
