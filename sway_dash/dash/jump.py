"""Takes the reader to the first thing that is wrong. One component on the page that has a form."""

from __future__ import annotations

from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC


class Jump(JSComponent):
    """Shows nothing. ``to_mark`` goes to the first field that is marked as wrong."""

    target = param.Integer(default=0, doc="Raised to go there.")

    _esm = STATIC / "jump.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(margin=0, width=0, height=0, **params)

    def to_mark(self) -> None:
        """Show and focus the first visible field that is wrong."""
        self.target += 1
