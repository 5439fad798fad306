"""A row of links that lead to pages of this session: real links, so that one opens in another tab, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC, css

_STYLE = (STATIC / "links.css").read_text(encoding="utf-8")


class Links(JSComponent):
    """``items`` maps page names to their titles; a plain click calls ``go`` with the page's name."""

    items = param.Dict(default={})
    active = param.String(default="")
    label = param.String(default="Pages", doc="What the row is, for a screen reader.")
    query = param.String(default="", doc="What a link's address has besides its page.")

    _esm = STATIC / "links.js"

    def __init__(self, go: Callable[[str], None], **params: Any) -> None:
        super().__init__(margin=0, stylesheets=[css(), _STYLE], **params)
        self._go = go

    def _handle_msg(self, data: Any) -> None:
        page = data.get("page") if isinstance(data, dict) else None
        if page in self.items:
            self._go(str(page))
