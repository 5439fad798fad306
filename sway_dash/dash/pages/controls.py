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


def bind_search(box: Any, state: Any, pause_ms: int) -> None:
    """Let a text field follow ``state.query``, and the query the field once typing has paused: a look takes a while."""

    def find(text: str) -> None:
        if state.query != text:
            state.param.update(query=text)

    def paused(text: str) -> None:
        if box.value_input == text:
            with pn.io.hold():
                find(text)

    def typed(event: Any) -> None:
        doc = pn.state.curdoc
        if doc is None:
            find(event.new)
        else:
            # Of the document, not of the event loop: what it calls may change figures.
            doc.add_timeout_callback(lambda: paused(event.new), pause_ms)

    box.param.watch(typed, "value_input")
    box.param.watch(lambda event: find(event.new), "value")
    state.param.watch(lambda event: box.param.update(value=event.new, value_input=event.new), "query")
