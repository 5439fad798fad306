"""Figures as JSON that the page brings to life: light, with the changes that make them dark and those of other states.

A change is what Bokeh's own protocol calls a patch: the attribute of a model and its new value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bokeh.document import Document

from sway_dash.figures.plots.base import Plot, painted
from sway_dash.figures.theme import FONT

Json = Any
Attributes = dict[tuple[str, str], Json]


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
        _dress(drawing.plot)
        document.add_root(drawing.plot.figure)
    names = list(dict.fromkeys(name for drawing in group.values() for name in drawing.states)) or [""]

    def taken(state: str, *, dark: bool = False) -> Json:
        for drawing in group.values():
            if state in drawing.states:
                drawing.states[state]()
            drawing.plot.recolor(dark)
        return document.to_json(deferred=False)

    taken_of = {name: taken(name) for name in names}
    dark = taken(names[-1], dark=True)
    first = taken_of[names[0]]
    number = _Numbers()
    whole = number.renamed(first)
    states = {name: _attributes(number.renamed(found)) for name, found in taken_of.items()}
    light, night = states[names[-1]], _attributes(number.renamed(dark))
    base = states[names[0]]
    there = {model for model, _ in base}
    # What a state brings along comes with the attribute that holds it.
    changed = {
        key for found in states.values() for key in found if key[0] in there and found[key] != base.get(key, _NONE)
    }
    roots = {name: number.known[drawing.plot.figure.id] for name, drawing in group.items()}
    return {
        "doc": whole,
        "roots": roots,
        "dark": [[*key, light[key], value] for key, value in night.items() if key in light and light[key] != value],
        "states": {
            name: [[*key, found[key]] for key in sorted(changed) if key in found] for name, found in states.items()
        }
        if len(names) > 1
        else {},
    }


_NONE = object()


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


def _attributes(document: Json) -> Attributes:
    """Every attribute of every model; nested models by their reference, so that a change is told once."""
    found: Attributes = {}
    for model in _models(document):
        for name, value in model.get("attributes", {}).items():
            found[model["id"], name] = value if _has_new(value) else _references(value)
    return found


def _models(value: Json) -> Iterator[dict[str, Json]]:
    if isinstance(value, dict):
        if value.get("type") == "object" and "id" in value:
            yield value
        for inner in value.values():
            yield from _models(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _models(inner)


def _has_new(value: Json) -> bool:
    """Whether this is a small model that a state brings along, such as an axis' ticks."""
    return isinstance(value, dict) and value.get("name") in ("FixedTicker", "BasicTicker")


def _references(value: Json) -> Json:
    if isinstance(value, dict):
        if value.get("type") == "object" and "id" in value:
            return {"id": value["id"]}
        return {k: _references(v) for k, v in value.items()}
    return [_references(v) for v in value] if isinstance(value, list) else value


def _dress(plot: Plot) -> None:
    """Names to find sources and parts by, and the colours that the dashboard's pages give to frames."""
    for name, model in (*plot.sources.items(), *plot.parts.items()):
        if hasattr(model, "name"):
            model.name = name
    fig = plot.figure
    fig.update(background_fill_color=None, border_fill_color=None)
    for axis in fig.axis:
        axis.update(axis_label_text_font=FONT, major_label_text_font=FONT, axis_label_text_font_size="12px")
        painted(plot, axis, axis_line_color="rule", major_tick_line_color="rule")
        painted(plot, axis, major_label_text_color="muted", axis_label_text_color="muted")
    for grid in fig.grid:
        if grid.grid_line_color is not None:
            painted(plot, grid, grid_line_color="rule")
