"""Hands a file that was made on the server to the browser, which saves it. Shows nothing."""

from __future__ import annotations

from typing import Any

from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC


class Courier(JSComponent):
    """Carries files one at a time; nothing of them is kept in the page."""

    _esm = STATIC / "courier.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(width=0, height=0, margin=0, sizing_mode="fixed", **params)

    def deliver(self, name: str, kind: str, data: bytes) -> None:
        """Have the browser save ``data`` under ``name``; ``kind`` is its media type."""
        self._send_msg({"name": name, "kind": kind, "data": data})
