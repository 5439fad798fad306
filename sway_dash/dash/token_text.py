"""A text whose tokens are coloured, can be chosen one by one, and stay text that can be selected and copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC, css, token_css

_STYLE = token_css() + (STATIC / "token_text.css").read_text(encoding="utf-8")


class TokenText(JSComponent):
    """Draws what ``token_columns.heat`` gives; ``on_token`` is called with the index of a token that was chosen."""

    view = param.Dict(
        default={
            "start": 0,
            "total": 0,
            "chosen": -1,
            "signed": False,
            "tokens": [],
            "line": [],
            "peaks": [],
        }
    )
    chosen = param.Integer(default=-1, doc="Index of the open token.")
    label = param.String(default="The text, token by token")
    said = param.String(default="", doc="Words above the continuation.")

    _esm = STATIC / "token_text.js"

    def __init__(self, on_token: Callable[[int], None], **params: Any) -> None:
        super().__init__(sizing_mode="stretch_width", min_width=0, margin=0, stylesheets=[css(), _STYLE], **params)
        self._on_token = on_token

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict) and data.get("type") == "token":
            index = int(data["token"])
            if 0 <= index < self.view["total"]:
                self._on_token(index)
