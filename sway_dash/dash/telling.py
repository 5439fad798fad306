"""A word at the edge of the page."""

from __future__ import annotations

import panel as pn


def tell(text: str, *, tone: str = "warning") -> None:
    """A word at the edge of the page; errors stay until they are dismissed."""
    if pn.state.notifications:
        pn.state.notifications.send(text, duration=0 if tone == "error" else 6000, type=tone)
