"""YAML text as a tree of nodes that know where they stand, aliases included. Text and positions only; no suite here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import yaml

from sway_dash.core.yaml_text import LOADER, load_yaml
from sway_dash.core.yaml_text import plain as plain

Place = tuple[str | int, ...]

MAX_VALUES = 500_000
"""Nested aliases multiply: a text of a few lines may stand for more than fits into memory."""


@dataclass(eq=False, slots=True)
class Node:
    """One value of the text: ``text[start:end]``, anchor and tag included, comments and blank lines around it not."""

    kind: Literal["scalar", "map", "seq", "alias"]
    start: int
    end: int
    flow: bool = False
    """Written with brackets."""
    style: str = ""
    """Of a scalar: empty when plain, else ``'``, ``"``, ``|`` or ``>``."""
    value: str = ""
    """Of a scalar: its text; of an alias: the anchor's name."""
    anchor: str = ""
    body: int = 0
    """Where it begins after anchor and tag."""
    entries: list[tuple[Node, Node]] = field(default_factory=list)
    """Of a mapping: keys and values."""
    items: list[Node] = field(default_factory=list)
    """Of a sequence."""
    target: Node | None = None
    """Of an alias: what it stands for."""
    tag: str = ""
    """Of a scalar: the tag it is given."""
    implicit: tuple[bool, bool] = (True, False)
    """Of a scalar without a tag: what its own is found by."""

    @property
    def children(self) -> list[Node]:
        """Everything directly below."""
        return [n for pair in self.entries for n in pair] if self.kind == "map" else self.items

    @property
    def block(self) -> bool:
        """A collection written by indentation."""
        return self.kind in ("map", "seq") and not self.flow

    def find(self, key: str) -> Node | None:
        """Value of a key of a mapping; of a key that is there twice the last, as in reading."""
        found = [value for k, value in self.entries if k.kind == "scalar" and k.value == key]
        return found[-1] if found else None

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in the order of the text."""
        yield self
        for child in self.children:
            yield from child.walk()


def compose(text: str) -> Node | None:
    """The tree of a text with one document; ``None`` when it holds nothing. Raises ``yaml.YAMLError``."""
    events = yaml.parse(text, Loader=LOADER)
    return _Composer(text, events).document()


def at(root: Node, place: Place) -> Node | None:
    """The node at a place, looking through no alias; ``None`` if there is none."""
    node: Node | None = root
    for key in place:
        if node is None:
            return None
        if node.kind == "map":
            node = node.find(str(key))
        elif node.kind == "seq" and isinstance(key, int):
            node = node.items[key] if 0 <= key < len(node.items) else None
        else:
            return None
    return node


def parse(text: str) -> Any:
    """The data of a text, with nothing shared. Raises ``yaml.YAMLError`` or ``ValueError``."""
    return plain(_loaded(text))


@lru_cache(maxsize=4)
def _loaded(text: str) -> Any:
    """A text is asked for several times while it is edited; whoever asks gets a copy."""
    data = load_yaml(text)
    if _size(data, {}) > MAX_VALUES:
        msg = f"it has more than {MAX_VALUES:,} values once its aliases are written out"
        raise ValueError(msg)
    return data


def _size(data: Any, known: dict[int, int]) -> int:
    """How many values there are once nothing is shared, found without writing it out."""
    if not isinstance(data, dict | list):
        return 1
    if id(data) not in known:
        known[id(data)] = MAX_VALUES + 1  # while it is being counted: what holds itself has no end
        inner = data.values() if isinstance(data, dict) else data
        known[id(data)] = 1 + sum(_size(value, known) for value in inner)
    return known[id(data)]


def same(a: Any, b: Any) -> bool:
    """Whether two plain values are the same in YAML: 1, 1.0 and true are three values, NaN is one."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b) or (isinstance(a, float) and a != a and b != b)


def value_of(node: Node) -> Any:
    """The data a node stands for, through aliases."""
    if node.kind == "alias":
        assert node.target is not None
        return value_of(node.target)
    if node.kind == "seq":
        return [value_of(item) for item in node.items]
    if node.kind == "map":
        found: dict[Any, Any] = {}
        for key, value in node.entries:
            if key.value == "<<" and tag_of(key) == _MERGE:
                inner = value_of(value)
                for part in reversed(inner if isinstance(inner, list) else [inner]):
                    found = {**part, **found}
            else:
                found[value_of(key)] = value_of(value)
        return found
    tag = tag_of(node)
    # A reader of its own: one that is kept would keep every value.
    return node.value if tag == _MERGE else yaml.SafeLoader("").construct_object(yaml.ScalarNode(tag, node.value))


def tag_of(node: Node) -> str:
    """The tag a scalar has or gets."""
    return node.tag or str(_RESOLVER.resolve(yaml.ScalarNode, node.value, node.implicit))


_RESOLVER = yaml.SafeLoader("")
_MERGE = "tag:yaml.org,2002:merge"


class _Composer:
    def __init__(self, text: str, events: Iterator[Any]) -> None:
        self._text, self._events = text, events
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        """The first document's node; a second document is an error, as it is when the data are read."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise yaml.YAMLError("there is more than one document")
                root = self._node(next(self._events))
        return root

    def _node(self, event: Any) -> Node:
        start, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise yaml.YAMLError(f"found undefined alias {event.anchor!r}")
            return Node("alias", start, end, value=event.anchor, body=start, target=self._anchors[event.anchor])
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, start, end)
        else:
            kind: Any = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
            node = Node(kind, start, end, flow=bool(event.flow_style))
        node.anchor = event.anchor or ""
        node.body = start if node.anchor == "" and not event.tag else self._after_properties(start)
        if node.anchor:
            self._anchors[node.anchor] = node
        if node.kind in ("map", "seq"):
            self._fill(node)
        return node

    def _scalar(self, event: Any, start: int, end: int) -> Node:
        style = event.style or ""
        if style in ("|", ">"):
            # The mark stands behind the line breaks that follow.
            end = start + len(self._text[start:end].rstrip("\r\n"))
        tag = event.tag or ""
        return Node("scalar", start, end, style=style, value=event.value, tag=tag, implicit=event.implicit)

    def _fill(self, node: Node) -> None:
        below: list[Node] = []
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                break
            below.append(self._node(event))
        if node.kind == "map":
            node.entries = list(zip(below[::2], below[1::2], strict=True))
        else:
            node.items = below
        last = max(below[-1].end, below[-2].end if node.kind == "map" else 0) if below else node.body
        # The mark of a block's end stands before whatever follows it; a lone pair in brackets has no end of its own.
        close = event.end_mark.index
        node.end = close if node.flow and self._text[close - 1 : close] in ("}", "]") and close > last else last

    def _after_properties(self, index: int) -> int:
        """Where a node begins after its anchor and tag."""
        text, end = self._text, len(self._text)
        while index < end and text[index] in "&!":
            while index < end and text[index] not in " \t\r\n,[]{}":
                index += 1
            index = skip_blank(text, index)
        return index


def skip_blank(text: str, index: int) -> int:
    """First character from ``index`` on that is neither white space nor in a comment."""
    while index < len(text):
        if text[index] in " \t\r\n":
            index += 1
        elif text[index] == "#" and (index == 0 or text[index - 1] in " \t\r\n"):
            index = line_end(text, index)
        else:
            break
    return index


def line_start(text: str, index: int) -> int:
    """Where the line of a character begins."""
    return text.rfind("\n", 0, index) + 1


def line_end(text: str, index: int) -> int:
    """Where the line of a character ends, before its line break."""
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if end > index and text[end - 1] == "\r" else end
