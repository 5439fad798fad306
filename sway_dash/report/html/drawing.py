"""Figures as JSON that the page brings to life: light, with the changes that make them dark and those of other states.

A change is what Bokeh's own protocol calls a patch: the attribute of a model and its new value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bokeh.core.serialization import Serializer
from bokeh.document import Document
from bokeh.document.events import ColumnDataChangedEvent, ModelChangedEvent
from bokeh.models import Ticker

from sway_dash.figures.plots.base import Plot

Json = Any
Key = tuple[Any, str]
"""A model and the name of its attribute."""


@dataclass
class Drawing:
    """A plot, and what fills it in each of its states; without states it is drawn as it is."""

    plot: Plot
    states: Mapping[str, Callable[[], None]] = field(default_factory=dict)


def drawings(figures: Mapping[str, Plot | Drawing]) -> list[dict[str, Json]]:
    """Documents of figures; those that share an axis share a document.

    Every document has its models, the id of each root by the figure's name, and ``dark`` and ``states`` as patches.
    """
    groups: dict[int, dict[str, Drawing]] = {}
    for name, found in figures.items():
        drawing = found if isinstance(found, Drawing) else Drawing(found)
        groups.setdefault(id(drawing.plot.figure.x_range), {})[name] = drawing
    return [_document(group) for group in groups.values()]


def _document(group: Mapping[str, Drawing]) -> dict[str, Json]:
    document = Document()
    document.title = "figure"
    for drawing in group.values():
        _name(drawing.plot)
        document.add_root(drawing.plot.figure)
    names = list(dict.fromkeys(name for drawing in group.values() for name in drawing.states))

    def enter(state: str) -> None:
        for drawing in group.values():
            if state in drawing.states:
                drawing.states[state]()

    if names:
        enter(names[0])
    for drawing in group.values():
        drawing.plot.recolor(False)
    number = _Numbers()
    whole = number.renamed(document.to_json(deferred=False))
    there = {model for model in document.models if not isinstance(model, Ticker)}
    touched = _Touched(document)

    def values(keys: Iterable[Key]) -> list[Json]:
        return [number.renamed(_encoded(model, name, there)) for model, name in keys]

    for drawing in group.values():
        drawing.plot.recolor(True)
    paints = touched.taken()
    dark = values(paints)
    for drawing in group.values():
        drawing.plot.recolor(False)
    light = values(paints)
    # Round once to see what changes, and once to write it down: of each state everything that another changes.
    touched.taken()
    for name in [*names[1:], *names[:1]] if len(names) > 1 else []:
        enter(name)
    changes = touched.taken()
    found: dict[str, list[Json]] = {}
    for name in names if changes else []:
        enter(name)
        found[name] = values(changes)
    differ = [k for k in range(len(changes)) if any(v[k] != found[names[0]][k] for v in found.values())]
    states = {
        name: [[number.known[changes[k][0].id], changes[k][1], told[k]] for k in differ]
        for name, told in found.items()
        if differ
    }
    return {
        "doc": whole,
        "roots": {name: number.known[drawing.plot.figure.id] for name, drawing in group.items()},
        "dark": [
            [number.known[model.id], name, day, night]
            for (model, name), day, night in zip(paints, light, dark, strict=True)
        ],
        "states": states,
    }


class _Touched:
    """Attributes of a document's models that were given another value since one asked last, in order."""

    def __init__(self, document: Document) -> None:
        self._models = {model.id for model in document.models}
        self._found: dict[Key, None] = {}
        document.on_change(self._note)

    def _note(self, event: Any) -> None:
        # What a change brings along comes with the attribute that holds it.
        if isinstance(event, ModelChangedEvent | ColumnDataChangedEvent) and event.model.id in self._models:
            self._found[event.model, event.attr] = None

    def taken(self) -> list[Key]:
        found, self._found = list(self._found), {}
        return found


def _encoded(model: Any, name: str, there: set[Any]) -> Json:
    """Value of an attribute as it is sent: models that are there by their reference, ticks as a new model."""
    return Serializer(references=there, deferred=False).encode(model.lookup(name).get_value(model))


class _Numbers:
    """Gives models numbers in the order they are met: Bokeh counts on through a process, a report must not."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def renamed(self, value: Json) -> Json:
        if isinstance(value, dict):
            out = {k: self.renamed(v) for k, v in value.items() if k != "id"}
            if isinstance(value.get("id"), str) and _ID.fullmatch(value["id"]):
                out["id"] = self.known.setdefault(value["id"], f"m{len(self.known)}")
            elif "id" in value:
                out["id"] = value["id"]
            return out
        return [self.renamed(v) for v in value] if isinstance(value, list) else value


_ID = re.compile(r"p\d+")


def _name(plot: Plot) -> None:
    """Names to find sources and parts by."""
    for name, model in (*plot.sources.items(), *plot.parts.items()):
        if hasattr(model, "name"):
            model.name = name
