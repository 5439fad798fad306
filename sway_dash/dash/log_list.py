"""The lines of a log in the browser: they scroll in a box, follow the newest on request, and open prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.log_lines import LogLine
from sway_dash.figures.theme import STATIC, css, visible

_STYLE = (STATIC / "log.css").read_text(encoding="utf-8")
MAX_LINES = 500
"""So many of the newest lines are in the browser."""


class LogList(JSComponent):
    """``opened`` is called with the number of the line whose prompt is asked for."""

    lines = param.List(default=[], doc="Lists of number, time, ISO time, level, text, and what the link says.")
    follow = param.Boolean(default=True, doc="The newest line stays in sight; the reader's own scrolling ends it.")

    _esm = STATIC / "log.js"

    def __init__(self, opened: Callable[[int], None], **params: Any) -> None:
        super().__init__(margin=0, stylesheets=[css(), _STYLE], **params)
        self._opened = opened

    def show(self, lines: Sequence[tuple[int, LogLine]], linked: Callable[[LogLine], bool]) -> None:
        """Show the newest of these numbered lines; nothing is sent when they are the same."""
        rows = [_row(number, line, linked(line)) for number, line in lines[-MAX_LINES:]]
        if rows != self.lines:
            self.lines = rows

    def _handle_msg(self, data: Any) -> None:
        key = data.get("open") if isinstance(data, dict) else None
        if isinstance(key, str) and key in {row[0] for row in self.lines}:
            self._opened(int(key))


def _row(number: int, line: LogLine, linked: bool) -> list[str]:
    when = datetime.fromtimestamp(line.ts).astimezone()
    link = "Open prompt" if linked else ""
    iso = when.isoformat(timespec="milliseconds")
    return [str(number), f"{when:%H:%M:%S}", iso, line.level, visible(line.text), link]
