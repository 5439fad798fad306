"""Widgets that read and write one field of a state, and the words they offer."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

SORTS = {
    "automatic": "auto",
    "as in the suite": "suite",
    "largest first": "value",
    "by tag": "tags",
}
"""Orders offered by name; the table's heads offer the rest."""

TITLES = {
    "js": "JS",
    "kl": "KL",
    "rank": "above random",
    "null": "largest random",
    "prompt": "prompt",
    "tags": "tags",
    "top": "top token",
    "same": "same top",
    "positions": "positions",
}


def sort_options(current: str) -> dict[str, str]:
    """The offered orders, and the one that is in force."""
    if not current or current in SORTS.values():
        return dict(SORTS)
    falls = current.startswith("-")
    return {**SORTS, f"{TITLES[current.lstrip('-')]} {'↓' if falls else '↑'}": current}


def bind_select(widget: Any, state: param.Parameterized, name: str, *, value: str = "value") -> None:
    """Let a widget follow a parameter, and the parameter the widget."""

    def shown(*_: Any) -> None:
        wanted = getattr(state, name)
        options = getattr(widget, "options", None)
        known = list(options.values()) if isinstance(options, dict) else options
        if getattr(widget, value) != wanted and (known is None or wanted in known):
            widget.param.update(**{value: wanted})

    def chosen(event: Any) -> None:
        if getattr(state, name) != event.new:
            with pn.io.hold():
                state.param.update(**{name: event.new})

    shown()
    widget.param.watch(chosen, value)
    state.param.watch(shown, name)
