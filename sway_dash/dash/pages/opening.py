"""Opening a prompt from anywhere, and asking for something a view cannot do itself."""

from __future__ import annotations

from typing import Any

import param

from sway_dash.dash.state import Selection
from sway_dash.figures.derive import Place


def ask(view: param.Parameterized, name: str, value: Any) -> None:
    """Set a parameter that others wait for; asking for the same again is asking again."""
    with param.parameterized.discard_events(view):
        setattr(view, name, view.param[name].default)
    setattr(view, name, value)


def open_prompt(choice: Selection, place: Place | None) -> bool:
    """Make a prompt the open one; False where it cannot be opened."""
    if place is None or place.item is None:
        return False
    choice.param.update(probe=place.probe, item=place.item, token=None)
    return True
