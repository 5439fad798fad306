"""The line between a list and the pane beside it, which a reader can move."""

from __future__ import annotations

from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC, css

_STYLE = (STATIC / "divider.css").read_text(encoding="utf-8")


class Divider(JSComponent):
    """Stands before the pane in a grid of columns ``--list`` and ``--pane``."""

    opened = param.Integer(default=-1, doc="What the pane shows; a new value brings it into sight where it is below.")

    _esm = STATIC / "divider.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(margin=0, stylesheets=[css(), _STYLE], **params)
