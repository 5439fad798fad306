"""Sums over a cut of a trace: by probe and view, what the cache saved, the slowest passes, where the time went.

Pure functions, plain lists. No Bokeh, no Panel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sway_dash.figures.calls import CallTable, Cut
from sway_dash.figures.theme import number
from sway_dash.figures.trace_columns import MIN_LOOKUPS, Columns, fitted, owner_name, view_kind, view_name


@dataclass(frozen=True, slots=True)
class Sum:
    """Look-ups of one probe or view."""

    name: str
    lookups: int
    hits: int
    seconds: float
    """Time of all its look-ups."""
    saved_s: float
    """Hits times the median time of a miss of the same operation in the same view."""

    @property
    def rate(self) -> float | None:
        """Share of hits; ``None`` below :data:`MIN_LOOKUPS`."""
        return self.hits / self.lookups if self.lookups >= MIN_LOOKUPS else None


def sums(table: CallTable, cut: Cut, by: Literal["probe", "view"]) -> list[Sum]:
    """Look-ups of a cut by probe or view, most time first."""
    calls = table.calls(cut)
    codes = (table.probe if by == "probe" else table.view)[calls]
    size = len(table.names)
    n = np.bincount(codes, minlength=size)
    hit = table.hit[calls]
    hits = np.bincount(codes[hit], minlength=size)
    ms = np.bincount(codes, table.ms[calls], minlength=size)
    worth = np.bincount(codes[hit], np.nan_to_num(table.price[calls[hit]]), minlength=size)
    found = [
        Sum(table.names[c], int(n[c]), int(hits[c]), float(ms[c]) / 1000, float(worth[c]) / 1000)
        for c in np.flatnonzero(n).tolist()
    ]
    return sorted(found, key=lambda s: -s.seconds)


def saved(table: CallTable, cut: Cut) -> tuple[float, int]:
    """Seconds the cache has saved in a cut, and the hits that have no price because nothing like them missed."""
    calls = table.calls(cut)
    price = table.price[calls[table.hit[calls]]]
    return float(np.nansum(price)) / 1000, int(np.isnan(price).sum())


@dataclass(frozen=True, slots=True)
class SlowPass:
    """One of the slowest passes of a cut."""

    ms: float
    view: str
    op: str
    probe: str
    prompts: tuple[str, ...]
    """Digests of its prompts."""
    first_of_view: bool
    """A view's first pass also pays for set-up."""


def slowest(table: CallTable, cut: Cut, k: int = 20) -> list[SlowPass]:
    """The ``k`` slowest passes of a cut, slowest first."""
    chosen = table.passes(cut)
    seconds = table.pass_end[chosen] - table.pass_start[chosen]
    order = np.argsort(-seconds, kind="stable")[:k]
    _, opening = np.unique(table.view[table.pass_first], return_index=True)
    openings = set(opening.tolist())
    found = []
    for place in chosen[order].tolist():
        first, n = int(table.pass_first[place]), int(table.pass_n[place])
        found.append(
            SlowPass(
                ms=float(table.ms[first : first + n].sum()),
                view=table.names[table.view[first]],
                op=table.names[table.op[first]],
                probe=table.names[table.probe[first]],
                prompts=tuple(table.names[c] for c in table.prompt[first : first + n].tolist()),
                first_of_view=place in openings,
            )
        )
    return found


ICICLE_COLUMNS = ("left", "right", "bottom", "top", "kind", "probe", "view", "op", "label", "what", "time_text", "x")


def icicle(table: CallTable, cut: Cut, room: float = 150.0) -> Columns:
    """Time in passes by probe, then view, then operation: boxes as wide as their seconds, largest first.

    ``room`` is how many characters fit on the whole width: names are cut to their box.
    """
    chosen = table.passes(cut)
    lo, hi = np.clip(table.pass_start[chosen], cut.start, cut.end), np.clip(table.pass_end[chosen], cut.start, cut.end)
    first = table.pass_first[chosen]
    tree: dict[str, dict[str, dict[str, float]]] = {}
    keys = np.stack([table.probe[first], table.view[first], table.op[first]])
    groups, of = np.unique(keys, axis=1, return_inverse=True)
    seconds = np.bincount(of.ravel(), hi - lo, minlength=groups.shape[1])
    for (probe, view, op), s in zip(groups.T.tolist(), seconds.tolist(), strict=True):
        tree.setdefault(table.names[probe], {}).setdefault(table.names[view], {})[table.names[op]] = s
    total = float(seconds.sum())
    out: Columns = {name: [] for name in ICICLE_COLUMNS}
    x = 0.0
    for probe, views in _by_size(tree):
        at_view = x
        for view, ops in _by_size(views):
            at_op = at_view
            for op, s in _by_size(ops):
                _box(out, 0, at_op, s, total, room, op, probe, view, op, op)
                at_op += s
            _box(out, 1, at_view, at_op - at_view, total, room, view_kind(view), probe, view, "", view_name(view))
            at_view = at_op
        _box(out, 2, x, at_view - x, total, room, "probe", probe, "", "", owner_name(probe))
        x = at_view
    return out


def _by_size(tree: Any) -> list[tuple[str, Any]]:
    return sorted(tree.items(), key=lambda item: -_size(item[1]))


def _size(node: Any) -> float:
    return node if isinstance(node, float) else sum(_size(v) for v in node.values())


def _box(
    out: Columns,
    row: int,
    x: float,
    width: float,
    total: float,
    room: float,
    kind: str,
    probe: str,
    view: str,
    op: str,
    name: str,
) -> None:
    share = width / total if total else 0.0
    if share < 0.0005:
        return
    fits = int(share * room) - 1
    values = {
        "left": x,
        "right": x + width,
        "bottom": float(row),
        "top": row + 1.0,
        "kind": kind,
        "probe": probe,
        "view": view,
        "op": op,
        "label": fitted(name, fits),
        "what": f"{name}, {100 * share:.3g} %",
        "time_text": number(width, "s"),
        "x": x + total / (2 * room),
    }
    for column, value in values.items():
        out[column].append(value)
