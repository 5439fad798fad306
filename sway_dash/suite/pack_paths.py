"""The paths in a suite's text: which there are, and the same text with other paths. All else, comments too, stays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import yaml

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.yaml_text import LOADER, load_yaml
from sway_dash.suite.document import FIELD
from sway_dash.suite.loader import ENTRY_PATHS

Place = tuple[str | int, ...]

MERGE = "<<"

_PLAIN = re.compile(r"[A-Za-z._/][\w./-]*")
_BEFORE = re.compile(r"(?:[&!]\S*\s+)+")
"""Anchors and tags, which stand before the value they belong to."""


def path_places(data: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Every place of a suite that may name a file or a folder, with what it says."""
    if isinstance(source := data.get(FIELD), str):
        yield (FIELD,), source
    models = data.get("models")
    for side, one in models.items() if isinstance(models, Mapping) else ():
        for key in ("base", "adapter"):
            if isinstance(one, Mapping) and isinstance(one.get(key), str):
                yield ("models", side, key), one[key]
    entries = data.get("suite")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        for key in ENTRY_PATHS:
            if isinstance(entry, Mapping) and isinstance(entry.get(key), str):
                yield ("suite", index, key), entry[key]


def with_paths(text: str, change: Callable[[Place, str], str]) -> str:
    """The text with every path as ``change(place, path)`` gives it.

    ``SpecValidationError`` where that cannot be written into the text as it stands.
    """
    data = load_yaml(text)
    new = {place: said for place, path in path_places(data) if (said := change(place, path)) != path}
    if not new:
        return text
    root = yaml.compose(text, Loader=LOADER)
    spans: dict[tuple[int, int], str] = {}
    for place, path in new.items():
        node = _node(root, place)
        if not isinstance(node, yaml.ScalarNode):
            raise _wrong(place)
        span = (node.start_mark.index, node.end_mark.index)
        # One value, written once and named twice, cannot become two.
        if spans.setdefault(span, path) != path:
            raise _wrong(place)
    for (start, end), path in sorted(spans.items(), reverse=True):
        before = _BEFORE.match(text[start:end])
        text = f"{text[: start + (before.end() if before else 0)]}{_scalar(path)}{text[end:]}"
    # A text may be written in more ways than are known here: what it says now is what counts.
    expected = deepcopy(data)
    for place, path in new.items():
        _put(expected, place, path)
    try:
        same = load_yaml(text) == expected
    except (yaml.YAMLError, ValueError):
        same = False
    if not same:
        raise _wrong(next(iter(new)))
    return text


def _node(node: Any, place: Place) -> Any:
    for key in place:
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            node = node.value[key]
        elif isinstance(node, yaml.MappingNode):
            node = _value(node, str(key))
        else:
            return None
    return node


def _value(node: yaml.MappingNode, key: str) -> Any:
    """The value of a key, its own before one that is merged in."""
    for name, value in reversed(node.value):
        if name.value == key:
            return value
    for name, value in node.value:
        if name.value == MERGE:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(source, yaml.MappingNode) and (found := _value(source, key)) is not None:
                    return found
    return None


def _put(data: Any, place: Place, value: str) -> None:
    *before, last = place
    for key in before:
        data = data[key]
    data[last] = value


def _scalar(path: str) -> str:
    if _PLAIN.fullmatch(path):
        try:
            if load_yaml(f"- {path}") == [path]:
                return path
        except (yaml.YAMLError, ValueError):
            pass
    return json.dumps(path, ensure_ascii=True)


def _wrong(place: Place) -> SpecValidationError:
    name = ".".join(map(str, place))
    return SpecValidationError(f"the path at {name} cannot be replaced as it is written: write it out there, in quotes")
