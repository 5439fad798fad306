"""The editor of the YAML side: sends what is typed, takes what the form writes, and keeps the two apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import panel as pn
import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC


class YamlEditor(JSComponent):
    """Shows a text; ``typed`` is called with what a person has made of it.

    What was typed on a text that has been replaced meanwhile is left out: it would bring the old text back.
    """

    content = param.Dict(default={"text": "", "number": 0}, doc="Text, and how many there were before it.")
    marks = param.List(default=[], doc="Lists of row, from 0, and message.")
    dark = param.Boolean(default=False)
    spot = param.Dict(default={}, doc="Row to go to.")
    height_px = param.Integer(default=560)

    _esm = STATIC / "yaml_editor.js"

    def __init__(self, typed: Callable[[str], None], **params: Any) -> None:
        super().__init__(sizing_mode="stretch_width", min_width=0, margin=0, **params)
        self._typed = typed
        self._text = ""
        """What the browser shows, as far as it has said so."""

    def show(self, text: str) -> None:
        """Show a text; nothing is sent when it is the one that was typed."""
        if text != self._text:
            self._text = text
            self.content = {"text": text, "number": self.content["number"] + 1}

    def mark(self, rows: Iterable[tuple[int, str]]) -> None:
        """Mark rows, from 0, with what is wrong there."""
        found = [[row, text] for row, text in rows]
        if found != self.marks:
            self.marks = found

    def go_to(self, row: int) -> None:
        """Put the cursor on a row, from 0."""
        self.spot = {"row": row, "n": self.spot.get("n", 0) + 1}

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict) or data.get("type") != "text" or data.get("number") != self.content["number"]:
            return
        self._text = str(data.get("text", ""))
        with pn.io.hold():
            self._typed(self._text)
