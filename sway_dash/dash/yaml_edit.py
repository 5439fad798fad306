"""Changing values in YAML text and leaving every other byte alone: comments, order, quotes, indentation, style.

The text is the truth. A change is a few replacements at places the tree names; afterwards the text is read again and
must give exactly the data that were wanted. Where it does not, the smallest part that holds the change is written anew,
then the next larger, at last the whole document.

A value is never written through an alias: the alias gives way to a value of its own, at that place only. When a named
value is changed, its first alias takes over the old value and the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import yaml

from sway_dash.dash.yaml_render import document
from sway_dash.dash.yaml_splice import Edits, Unwritable, dash_of, newline_of
from sway_dash.dash.yaml_tree import Node, Place, at, compose, line_end, line_start, parse, plain, same


class _Remove:
    """Stands for taking a key or an item away."""


REMOVE = _Remove()


def edit(text: str, place: Place, value: Any) -> str:
    """Text in which ``value`` stands at ``place``; ``REMOVE`` takes the key or item away.

    Mappings on the way that are missing are made. Raises ``yaml.YAMLError`` when the text is no YAML, and ``KeyError``
    or ``IndexError`` when there can be no such place.
    """
    return rewrite(text, put(parse(text), place, value))


def insert(text: str, place: Place, value: Any) -> str:
    """Text with another item in a list; the last part of ``place`` is the index it gets."""
    data = parse(text)
    _within(data, place[:-1]).insert(place[-1], plain(value))
    return rewrite(text, data)


def move(text: str, place: Place, to: int) -> str:
    """Text in which an item of a list stands at another index, with the comments above it."""
    data = parse(text)
    parent, index = _within(data, place[:-1]), int(place[-1])
    order = list(range(len(parent)))
    order.insert(to, order.pop(index))
    parent[:] = [parent[i] for i in order]
    root = compose(text)
    node = at(root, place[:-1]) if root else None
    own_lines = node is not None and node.block and not text[line_start(text, node.body) : node.body].strip()
    if node is not None and node.kind == "seq" and own_lines:
        parts = [_chunk(text, node, i) for i in range(len(node.items))]
        between = [text[a[1] : b[0]] for a, b in pairwise(parts)]
        moved = [text[slice(*parts[i])] for i in order]
        inner = "".join(part + gap for part, gap in zip(moved, [*between, ""], strict=True))
        found = text[: parts[0][0]] + inner + text[parts[-1][1] :]
        if same(_read(found), data):
            return found
    return rewrite(text, data)


def duplicate(text: str, place: Place) -> str:
    """Text in which an item of a list stands twice, the copy behind it and written the same way."""
    data = parse(text)
    parent, index = _within(data, place[:-1]), int(place[-1])
    parent.insert(index + 1, plain(parent[index]))
    root = compose(text)
    node = at(root, place) if root else None
    above = at(root, place[:-1]) if root else None
    if node is not None and above is not None and above.block:
        dash = dash_of(text, above, index)
        own = _without_anchors(text, node)
        column = dash - line_start(text, dash)
        copy = f"{newline_of(text)}{' ' * column}{text[dash : node.start]}{own}"
        end = line_end(text, node.end)
        found = text[:end] + copy + text[end:]
        if same(_read(found), data):
            return found
    return rewrite(text, data)


def rewrite(text: str, wanted: Any) -> str:
    """Text that reads as ``wanted``, changed only where the data differ."""
    old = parse(text)
    if same(old, wanted):
        return text
    root = compose(text)
    if root is None:
        return document(wanted)
    place = _common(old, wanted)
    larger = [place[:end] for end in range(len(place), -1, -1)]
    attempts: list[Callable[[], Edits]] = [
        lambda: Edits(text, root).change(root, old, wanted),
        *(partial(Edits(text, root).renew, where, wanted) for where in larger),
    ]
    for attempt in attempts:
        try:
            found = attempt().applied()
        except (Unwritable, RecursionError):
            continue
        if same(_read(found), wanted):
            return found
    return document(wanted)


def put(data: Any, place: Place, value: Any) -> Any:
    """Copy of plain data with ``value`` at ``place``; missing mappings on the way are made."""
    data = plain(data)
    here: Any = data
    for key, following in pairwise(place):
        if isinstance(here, dict) and not isinstance(here.get(key), dict | list):
            here[key] = [] if isinstance(following, int) else {}
        here = here[key]
    last = place[-1]
    if value is not REMOVE:
        here[last] = plain(value)
    elif isinstance(here, dict):
        here.pop(last, None)
    else:
        del here[last]
    return data


# -- text and data ------------------------------------------------------------------------------


def _read(text: str) -> Any:
    """Data of a text; something that equals no data when it cannot be read."""
    try:
        return parse(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return REMOVE


def _within(data: Any, place: Place) -> Any:
    for key in place:
        data = data[key]
    return data


def _common(old: Any, new: Any) -> Place:
    """The deepest place that holds every difference."""
    place: list[str | int] = []
    while True:
        if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
            differing: list[Any] = [k for k in old if not same(old[k], new[k])]
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            differing = [i for i in range(len(old)) if not same(old[i], new[i])]
        else:
            return tuple(place)
        if len(differing) != 1 or not isinstance(differing[0], str | int):
            return tuple(place)
        place.append(differing[0])
        old, new = old[differing[0]], new[differing[0]]


def _chunk(text: str, node: Node, index: int) -> tuple[int, int]:
    """An item of a block list with the comment lines directly above it and the comment on its last line."""
    dash = dash_of(text, node, index)
    start = line_start(text, dash)
    floor = line_end(text, node.items[index - 1].end) if index else -1
    while start > floor + 1:
        above = line_start(text, start - 1)
        if above <= floor or not text[above:start].lstrip().startswith("#"):
            break
        start = above
    return start, line_end(text, node.items[index].end)


def _without_anchors(text: str, node: Node) -> str:
    """Text of a node without the names in it."""
    out = text[node.start : node.end]
    for inner in reversed([n for n in node.walk() if n.anchor]):
        begin = inner.start - node.start
        out = out[:begin] + re.sub(rf"&{re.escape(inner.anchor)}[ \t]*", "", out[begin:], count=1)
    return out
