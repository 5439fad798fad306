"""From two versions of the data to replacements in the text: which characters go, and what comes in their place."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sway_dash.dash.alignment import differences
from sway_dash.dash.yaml_render import block, fits_inline, inline, literal
from sway_dash.dash.yaml_tree import Node, Place, at, line_end, line_start, same, skip_blank, value_of


class Unwritable(Exception):
    """This way of writing does not fit here."""


@dataclass(frozen=True, slots=True)
class _Splice:
    start: int
    end: int
    text: str
    owner: Node | None = None
    """The collection that grows, when something is put in."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a value stands: inside brackets or not, and what holds it."""

    flow: bool = False
    key: Node | None = None
    """Key of a mapping, or ``None`` for an item of a list or the root."""
    column: int = 0
    """Column of what lies deeper, when it is written over several lines."""


class Edits:
    """Collects replacements from one tree; they are applied together."""

    def __init__(self, text: str, root: Node) -> None:
        self.text, self.root, self.newline = text, root, newline_of(text)
        self.splices: list[_Splice] = []

    def applied(self) -> str:
        """The text with all replacements made."""
        self._hand_over()
        pieces: list[str] = []
        done = 0
        # At one place what is put in comes before what takes the place of something.
        for _, s in sorted(enumerate(self.splices), key=lambda p: (p[1].start, p[1].end > p[1].start, p[0])):
            if s.start < done or s.end > len(self.text):
                raise Unwritable
            pieces += [self.text[done : s.start], s.text]
            done = s.end
        return "".join([*pieces, self.text[done:]])

    def change(self, node: Node, old: Any, new: Any, spot: _Spot | None = None) -> Edits:
        """Turn the value of a node into another one."""
        spot = spot or _Spot(column=0)
        if same(old, new):
            return self
        if node.kind == "map" and isinstance(old, dict) and isinstance(new, dict) and self._keys(node, old, new, spot):
            return self
        if node.kind == "seq" and isinstance(old, list) and isinstance(new, list) and self._list(node, old, new, spot):
            return self
        self._replace(node, new, spot)
        return self

    def renew(self, place: Place, new: Any) -> Edits:
        """Write the value at a place anew as a whole."""
        node, spot = self.root, _Spot()
        for key in place:
            if node.kind == "map":
                own = next((k for k, v in reversed(node.entries) if k.kind == "scalar" and k.value == str(key)), None)
                if own is None:
                    raise Unwritable
                node, spot = self._find(node, key), self._inside(node, own, spot)
            else:
                node, spot = self._find(node, key), self._inside(node, None, spot)
            new = new[key]
        self._replace(node, new, spot)
        return self

    # -- values ---------------------------------------------------------------------------------

    def _replace(self, node: Node, new: Any, spot: _Spot) -> None:
        text, start, end = self.text, node.start, node.end
        if not (spot.flow or self._short(node, new)):
            if node.block:
                # It stays where it is, so comments before it stay, too.
                column = node.body - line_start(text, node.body)
                self._splice(node.body if not node.anchor else start, end, block(new, self.newline, column))
            elif spot.key is not None:
                start = self._colon(spot.key)
                lines = block(new, self.newline, spot.column)
                self._splice(start, end, f"{self.newline}{' ' * spot.column}{lines}")
            else:
                gap = " " if start > 0 and text[start - 1] == "-" else ""
                self._splice(start, end, gap + block(new, self.newline, spot.column))
            return
        written: str | None = None
        if isinstance(new, str) and node.kind == "scalar" and node.style == "|":
            written = literal(new, text[node.body :], self.newline, spot.column)
        if written is None:
            style = node.style if node.kind == "scalar" else ""
            written = inline(new, flow=spot.flow, style=style)
        if spot.key is not None and (node.block or start == end):
            self._splice(self._colon(spot.key), end, f" {written}")
        else:
            gap = " " if start == end and start > 0 and text[start - 1] in "-:" else ""
            self._splice(start, end, gap + written)

    def _short(self, node: Node, new: Any) -> bool:
        """Whether a value goes on one line outside brackets: it must, or that is how it was written."""
        if not isinstance(new, dict | list) or not new:
            return True
        flow = node.flow and bool(node.children)
        return fits_inline(new) and not node.block if not flow else not _outgrows(value_of(node), new)

    # -- mappings -------------------------------------------------------------------------------

    def _keys(self, node: Node, old: dict[Any, Any], new: dict[Any, Any], spot: _Spot) -> bool:
        """Change a mapping key by key; False where it has to be written as a whole."""
        own = {value_of(k): i for i, (k, _) in enumerate(node.entries) if k.kind == "scalar"}
        gone = [own[k] for k in old if k not in new and k in own]
        merged = any(k not in new and k not in own for k in old)
        if not new or merged or len(own) != len(node.entries) or len(gone) == len(own):
            return False
        if node.flow and not spot.flow and _outgrows(old, new):
            return False
        for key, value in new.items():
            if key in own and key in old:
                k, v = node.entries[own[key]]
                self.change(v, old[key], value, self._inside(node, k, spot))
        self._drop([(k.start, max(k.end, v.end)) for k, v in node.entries], set(gone), node.flow)
        fresh = {k: v for k, v in new.items() if k not in own and not (k in old and same(old[k], v))}
        if fresh:
            kept = [pair for i, pair in enumerate(node.entries) if i not in set(gone)]
            self._add_keys(node, kept, fresh)
        return True

    def _add_keys(self, node: Node, kept: Sequence[tuple[Node, Node]], fresh: dict[Any, Any]) -> None:
        if node.flow:
            key, value = kept[-1]
            parts = "".join(f", {inline(k, flow=True)}: {inline(v, flow=True)}" for k, v in fresh.items())
            self._insert(node, max(key.end, value.end), parts)
            return
        column = node.body - line_start(self.text, node.body)
        heads = [i for i, (_, v) in enumerate(kept) if not v.block]
        # Small things stay together at the top, above long lists.
        anchor = kept[heads[-1]] if heads else kept[-1]
        for key, value in fresh.items():
            short = fits_inline(value)
            k, v = anchor if short else kept[-1]
            inner = self.newline + " " * (column + 2)
            body = inline(value) if short else inner + block(value, self.newline, column + 2)
            line = f"{self.newline}{' ' * column}{inline(key)}:{' ' if short else ''}{body}"
            self._insert(node, line_end(self.text, max(k.end, v.end)), line)

    # -- lists ----------------------------------------------------------------------------------

    def _list(self, node: Node, old: list[Any], new: list[Any], spot: _Spot) -> bool:
        """Change a list item by item; False where it has to be written as a whole."""
        if not new or not node.items or (node.flow and not spot.flow and _outgrows(old, new)):
            return False
        gone: set[int] = set()
        for i, i_end, j, j_end in differences([_key(v) for v in old], [_key(v) for v in new]):
            both = min(i_end - i, j_end - j)
            for k in range(both):
                self.change(node.items[i + k], old[i + k], new[j + k], self._inside(node, None, spot))
            gone.update(range(i + both, i_end))
            if j + both < j_end:
                self._add_items(node, i + both, new[j + both : j_end])
        if len(gone) == len(node.items):
            return False
        if node.flow:
            self._drop([(n.start, n.end) for n in node.items], gone, flow=True)
        else:
            self._drop([(dash_of(self.text, node, i), n.end) for i, n in enumerate(node.items)], gone, flow=False)
        return True

    def _add_items(self, node: Node, index: int, values: Sequence[Any]) -> None:
        """Put items before the item that has an index now."""
        if node.flow:
            words = ", ".join(inline(v, flow=True) for v in values)
            if index:
                self._insert(node, node.items[index - 1].end, f", {words}")
            else:
                self._insert(node, node.items[0].start, f"{words}, ")
            return
        dash = dash_of(self.text, node, 0)
        column = dash - line_start(self.text, dash)
        pad = self.newline + " " * column
        lines = [f"- {inline(v) if fits_inline(v) else block(v, self.newline, column + 2)}" for v in values]
        if index:
            end = line_end(self.text, node.items[index - 1].end)
            self._insert(node, end, "".join(pad + line for line in lines))
        else:
            self._insert(node, dash, "".join(line + pad for line in lines))

    # -- replacements ---------------------------------------------------------------------------

    def _drop(self, spans: Sequence[tuple[int, int]], gone: set[int], flow: bool) -> None:
        """Take away entries or items with their separators, or with their lines."""
        last = max((i for i in range(len(spans)) if i not in gone), default=-1)
        for i in sorted(gone):
            start, end = spans[i]
            if flow:
                if i < last:
                    self._splice(start, spans[i + 1][0], "")
                elif i == 0 or i - 1 not in gone:
                    self._splice(spans[i - 1][1], spans[-1][1], "")
                continue
            first = line_start(self.text, start)
            if self.text[first:start].strip():
                # On the line of a dash or a key: the next one takes its place.
                if i + 1 == len(spans):
                    raise Unwritable
                self._splice(start, spans[i + 1][0], "")
                continue
            stop = line_end(self.text, end)
            stop += 2 if self.text[stop : stop + 2] == "\r\n" else 1
            self._splice(first, min(stop, len(self.text)), "")

    def _splice(self, start: int, end: int, text: str) -> None:
        self.splices.append(_Splice(start, end, text))

    def _insert(self, owner: Node, index: int, text: str) -> None:
        self.splices.append(_Splice(index, index, text, owner))

    def _colon(self, key: Node) -> int:
        """Index behind the colon of a key."""
        found = re.compile(r"[ \t]*:").match(self.text, key.end)
        if found is None:
            raise Unwritable
        return found.end()

    def _find(self, node: Node, key: str | int) -> Node:
        found = at(node, (key,))
        if found is None:
            raise Unwritable
        return found

    def _inside(self, node: Node, key: Node | None, spot: _Spot) -> _Spot:
        """The spot of what lies in a collection."""
        begin = node.body if key is not None or node.flow else dash_of(self.text, node, 0)
        column = begin - line_start(self.text, begin)
        return _Spot(flow=spot.flow or node.flow, key=key, column=column + 2)

    def _hand_over(self) -> None:
        """Let the first surviving alias of a changed value take over its old value and its name."""
        nodes = list(self.root.walk())
        aliases = [n for n in nodes if n.kind == "alias"]
        for node in nodes:
            used = [a for a in aliases if a.target is node and not self._covered(a)]
            if not node.anchor or not used or not any(self._touches(s, node) for s in self.splices):
                continue
            heir = used[0]
            self._splice(heir.start, heir.end, f"&{node.anchor} {inline(value_of(node), flow=True)}")
            if not any(s.start <= node.start and s.end >= node.body for s in self.splices):
                name = re.compile(rf"&{re.escape(node.anchor)}[ \t]*").match(self.text, node.start)
                if name is None:
                    raise Unwritable
                self._splice(node.start, name.end(), "")

    def _touches(self, splice: _Splice, node: Node) -> bool:
        if splice.owner is not None:
            return node.start <= splice.owner.start and splice.owner.end <= node.end
        if splice.start == splice.end:
            # An empty value has no length.
            return node.body <= splice.start <= node.end
        return splice.start < node.end and splice.end > node.start

    def _covered(self, node: Node) -> bool:
        return any(s.start <= node.start and s.end >= node.end and s.end > s.start for s in self.splices)


def _outgrows(old: Any, new: Any) -> bool:
    """Whether a collection on one line has got something that wants lines of its own, such as prompts."""
    if isinstance(new, dict):
        before = old if isinstance(old, dict) else {}
        return any(_outgrows(before.get(k), v) for k, v in new.items())
    return isinstance(new, list) and not fits_inline(new) and (not isinstance(old, list) or fits_inline(old))


def _key(value: Any) -> str:
    """What makes two items of a list the same."""
    return json.dumps(value, sort_keys=True, default=repr) + type(value).__name__


def newline_of(text: str) -> str:
    """The line break a text uses."""
    return "\r\n" if "\r\n" in text else "\n"


def dash_of(text: str, node: Node, index: int) -> int:
    """Where the dash of an item of a block list stands."""
    return skip_blank(text, node.items[index - 1].end if index else node.body)
