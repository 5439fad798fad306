"""Takes the reader to the first thing that is wrong. One component on the page that has a form."""

from __future__ import annotations

from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.dash.theme import STATIC


class Jump(JSComponent):
    """Shows nothing. ``to_mark`` goes to the first field marked as wrong, ``to_row`` to a line of the editor."""

    target = param.Dict(default={})

    _esm = STATIC / "jump.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(margin=0, width=0, height=0, **params)
        self._n = 0

    def to_mark(self) -> None:
        """Show and focus the first visible field that is wrong."""
        self._n += 1
        self.target = {"n": self._n}

    def to_row(self, row: int) -> None:
        """Put the editor's cursor on a line, from 0."""
        self._n += 1
        self.target = {"n": self._n, "row": row}
