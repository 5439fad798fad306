"""A button that puts a text on the clipboard of the browser."""

from __future__ import annotations

from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.dash.theme import STATIC, css

_STYLE = (STATIC / "copy_button.css").read_text(encoding="utf-8")


class CopyButton(JSComponent):
    """``label`` is what it says, ``text`` what it copies."""

    label = param.String(default="Copy")
    text = param.String(default="")

    _esm = STATIC / "copy_button.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(margin=0, stylesheets=[css(), _STYLE], **params)
