"""What a probe wants shown (``core.panels``) as columns, table cells and sentences. Plain lists, no Bokeh.

Labels and notes are untrusted; what goes onto a canvas or into a table is made harmless here or by its table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sway_dash.core.panels import Curve, Group, Groups, Items, Row
from sway_dash.figures.columns import Columns
from sway_dash.figures.theme import DASH, canvas_text, count, interval, number, visible

Panel = Items | Curve | Groups
Listed = Items | Groups
"""Panels with a row an item."""

AT_ONCE = 30
"""Rows of a figure; a panel with more is shown in parts, and whole in its table."""

LABEL_CHARS = 30
HOVER_CHARS = 160

SIGNS = {"good": "✓", "bad": "✕", "": ""}
"""How the probe judged an item, beside its label."""

FLAG_WORDS = {"good": "✓ good", "bad": "✕ bad", "": ""}

ORDERS = {
    "place": "as the probe lists them",
    "-change": "largest change first",
    "change": "smallest change first",
    "label": "by label",
    "-label": "by label, from the end",
    "flag": "bad ones first",
    "-flag": "good ones first",
    "-base": "base, highest first",
    "base": "base, lowest first",
    "-tuned": "tuned, highest first",
    "tuned": "tuned, lowest first",
    "-value": "highest first",
    "value": "lowest first",
    "-n": "most items first",
    "n": "fewest items first",
}
"""Orders of rows; rows that do not know what they are ordered by come last in all of them."""

ITEM_COLUMNS = ("y", "base", "tuned", "place", "label", "base_text", "tuned_text", "change_text", "flag", "note")
JOIN_COLUMNS = ("y", "base", "tuned")
GROUP_COLUMNS = ("y", "value", "lo", "hi", "place", "label", "value_text", "ci_text", "n_text", "flag")


def known(value: float | None) -> float | None:
    """The value, if it is a finite number."""
    return value if value is not None and math.isfinite(value) else None


def change(row: Row) -> float | None:
    """Tuned minus base, where both are known."""
    base, tuned = known(row.base), known(row.tuned)
    return None if base is None or tuned is None else tuned - base


def signed(value: float | None, unit: str = "") -> str:
    """A difference with its sign."""
    text = number(None if value is None else abs(value), unit)
    return text if value is None or value == 0 else f"{'+' if value > 0 else '−'}{text}"


def unit_of(panel: Listed) -> str:
    """Unit of its numbers, safe to be shown."""
    return visible(panel.unit)


# -- rows ---------------------------------------------------------------------------------------


def size(panel: Listed) -> int:
    """How many rows it has."""
    return len(panel.rows if isinstance(panel, Items) else panel.groups)


def orders(panel: Listed) -> list[str]:
    """Orders that make a difference for this panel."""
    found = ["place", "label", "-label"]
    lines: Sequence[Row | Group] = panel.rows if isinstance(panel, Items) else panel.groups
    if any(line.flag for line in lines):
        found += ["flag", "-flag"]
    if isinstance(panel, Items):
        found += ["-change", "change"] if any(change(r) is not None for r in panel.rows) else []
        for side in ("base", "tuned"):
            found += [f"-{side}", side] if any(known(getattr(r, side)) is not None for r in panel.rows) else []
    else:
        found += ["-value", "value"]
        found += ["-n", "n"] if any(g.n is not None for g in panel.groups) else []
    return [name for name in ORDERS if name in found]


def usual_order(panel: Listed) -> str:
    """How rows are ordered at first: what changed most, where that can be said; groups as the probe lists them."""
    return "-change" if isinstance(panel, Items) and "-change" in orders(panel) else "place"


_RANK = {"bad": 0.0, "": 1.0, "good": 2.0}


def ordered(panel: Listed, order: str) -> list[int]:
    """Places of the rows in an order; equal ones stay in the order of the probe."""
    lines: Sequence[Row | Group] = panel.rows if isinstance(panel, Items) else panel.groups
    name, falling = order.lstrip("-"), order.startswith("-")
    places = list(range(len(lines)))
    if name == "label":
        return sorted(places, key=lambda i: visible(lines[i].label).casefold(), reverse=falling)
    if name == "flag":
        return sorted(places, key=lambda i: _RANK[lines[i].flag] * (-1.0 if falling else 1.0))
    if name == "place" or order not in orders(panel):
        return places
    value: Callable[[Row | Group], float | None] = (
        (lambda line: abs(c) if isinstance(line, Row) and (c := change(line)) is not None else None)
        if name == "change"
        else (lambda line: known(getattr(line, name)))
    )
    there = [i for i in places if value(lines[i]) is not None]
    there.sort(key=lambda i: (value(lines[i]) or 0.0) * (-1.0 if falling else 1.0))
    return [*there, *(i for i in places if value(lines[i]) is None)]


def row_label(label: str, flag: str, place: int, n: int | None = None) -> str:
    """Name of a row on a canvas: its sign, its label, how many items it stands for."""
    sign = f"{SIGNS[flag]} " if flag else ""
    tail = f" (n = {n:,})" if n is not None else ""
    return f"{sign}{canvas_text(label or f'row {place + 1}', LABEL_CHARS - len(tail))}{tail}"


def item_columns(panel: Items, places: Sequence[int]) -> tuple[Columns, Columns, dict[float, str]]:
    """Rows of a dumbbell plot from the top, the lines between their sides, and their names by height."""
    rows: Columns = {name: [] for name in ITEM_COLUMNS}
    joins: Columns = {name: [] for name in JOIN_COLUMNS}
    names: dict[float, str] = {}
    unit = unit_of(panel)
    for k, place in enumerate(places):
        row = panel.rows[place]
        base, tuned = known(row.base), known(row.tuned)
        rows["y"].append(-float(k))
        # What is not known has no place on the axis.
        rows["base"].append(math.nan if base is None else base)
        rows["tuned"].append(math.nan if tuned is None else tuned)
        rows["place"].append(place)
        rows["label"].append(_short(row.label))
        rows["base_text"].append(number(base, unit))
        rows["tuned_text"].append(number(tuned, unit))
        rows["change_text"].append(signed(change(row), unit))
        rows["flag"].append(FLAG_WORDS[row.flag] or DASH)
        rows["note"].append(_short(row.note) or DASH)
        names[-float(k)] = row_label(row.label, row.flag, place)
        if base is not None and tuned is not None:
            for name, value in zip(JOIN_COLUMNS, (-float(k), base, tuned), strict=True):
                joins[name].append(value)
    return rows, joins, names


def group_columns(panel: Groups, places: Sequence[int]) -> tuple[Columns, dict[float, str]]:
    """Rows of points with intervals from the top, and their names by height."""
    rows: Columns = {name: [] for name in GROUP_COLUMNS}
    names: dict[float, str] = {}
    unit = unit_of(panel)
    for k, place in enumerate(places):
        group = panel.groups[place]
        value, ci = known(group.value), _ci(group)
        rows["y"].append(-float(k))
        rows["value"].append(math.nan if value is None else value)
        rows["lo"].append(math.nan if ci is None else ci[0])
        rows["hi"].append(math.nan if ci is None else ci[1])
        rows["place"].append(place)
        rows["label"].append(_short(group.label))
        rows["value_text"].append(number(value, unit))
        rows["ci_text"].append(interval(ci))
        rows["n_text"].append(DASH if group.n is None else f"{group.n:,}")
        rows["flag"].append(FLAG_WORDS[group.flag] or DASH)
        names[-float(k)] = row_label(group.label, group.flag, place, group.n)
    return rows, names


def _short(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= HOVER_CHARS else f"{shown[: HOVER_CHARS - 1]}…"


def _ci(group: Group) -> tuple[float, float] | None:
    lo, hi = known(group.lo), known(group.hi)
    return None if lo is None or hi is None else (lo, hi)


# -- curves -------------------------------------------------------------------------------------


def curve_columns(panel: Curve) -> tuple[Columns, Columns]:
    """Points of the line, with gaps where a value is not known, and the band where both of its ends are."""
    line: Columns = {name: [] for name in ("x", "y", "text", "ci_text")}
    band: Columns = {name: [] for name in ("x", "lo", "hi")}
    unit = ""
    for x, y, ci in curve_points(panel):
        line["x"].append(x)
        line["y"].append(math.nan if y is None else y)
        line["text"].append(f"{number(x)}: {number(y, unit)}")
        line["ci_text"].append(interval(ci))
        if ci is not None:
            for name, value in (("x", x), ("lo", ci[0]), ("hi", ci[1])):
                band[name].append(value)
    return line, band


def curve_points(panel: Curve) -> list[tuple[float, float | None, tuple[float, float] | None]]:
    """Position, value and interval of every point along the axis."""
    found = []
    for k, (x, y) in enumerate(zip(panel.x, panel.y, strict=False)):
        if known(x) is None:
            continue
        lo = known(panel.lo[k]) if k < len(panel.lo) else None
        hi = known(panel.hi[k]) if k < len(panel.hi) else None
        found.append((x, known(y), None if lo is None or hi is None else (lo, hi)))
    return sorted(found, key=lambda point: point[0])


# -- axes ---------------------------------------------------------------------------------------


def span(panel: Panel) -> tuple[float, float]:
    """Ends of the axis of values: from 0 where nothing is below it, so that lengths can be compared."""
    return ends([v for v in _values(panel) if v is not None])


def ends(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis that holds these values: from 0 where none is below it."""
    if not values:
        return 0.0, 1.0
    lo, hi = min(values), max(values)
    if lo >= 0:
        lo = 0.0
    margin = 0.05 * (hi - lo) or 0.1 * abs(hi) or 1.0
    return lo - margin * (0.4 if lo == 0 else 1.0), hi + margin


def _values(panel: Panel) -> list[float | None]:
    gate = known(panel.gate)
    if isinstance(panel, Items):
        return [gate, *(known(v) for r in panel.rows for v in (r.base, r.tuned))]
    if isinstance(panel, Groups):
        return [gate, *(known(v) for g in panel.groups for v in (g.value, g.lo, g.hi))]
    return [gate, *(known(v) for v in (*panel.y, *panel.lo, *panel.hi))]


def axis_label(panel: Listed) -> str:
    """What the numbers are."""
    better = {"higher": "higher is better", "lower": "lower is better", "": ""}
    told = better[panel.better] if isinstance(panel, Items) else ""
    return ", ".join(part for part in (canvas_text(panel.unit, 60), told) if part)


# -- tables -------------------------------------------------------------------------------------

Head = tuple[str, str, str, bool, str]
"""Key, title, width (CSS), whether it holds numbers, and its order."""


def heads(panel: Listed) -> list[Head]:
    """Columns of the table; those that would be empty are left out."""
    lines: Sequence[Row | Group] = panel.rows if isinstance(panel, Items) else panel.groups
    flag: list[Head] = [("flag", "Judged", "60px", False, "flag")] if any(line.flag for line in lines) else []
    label: Head = ("label", "Label", "minmax(120px, 3fr)", False, "label")
    if isinstance(panel, Groups):
        own: list[Head] = [("value", "Value", "minmax(70px, 1fr)", True, "value")]
        own += [("ci", "Interval", "minmax(120px, 2fr)", True, "")] if any(_ci(g) for g in panel.groups) else []
        own += [("n", "n", "64px", True, "n")] if any(g.n is not None for g in panel.groups) else []
        return [*flag, label, *own]
    there = orders(panel)
    sides: list[Head] = [
        (name, title, "minmax(62px, 1fr)", True, name)
        for name, title in (("base", "Base"), ("tuned", "Tuned"), ("change", "Change"))
        if name in there
    ]
    note: list[Head] = [("note", "Note", "minmax(100px, 3fr)", False, "")] if any(r.note for r in panel.rows) else []
    return [*flag, label, *sides, *note]


def cells(panel: Listed, place: int) -> list[str]:
    """Texts of a row, one a column of :func:`heads`."""
    if isinstance(panel, Groups):
        group = panel.groups[place]
        texts = {
            "flag": FLAG_WORDS[group.flag],
            "label": visible(group.label),
            "value": number(known(group.value)),
            "ci": interval(_ci(group)),
            "n": DASH if group.n is None else f"{group.n:,}",
        }
    else:
        row = panel.rows[place]
        texts = {
            "flag": FLAG_WORDS[row.flag],
            "label": visible(row.label),
            "base": number(known(row.base)),
            "tuned": number(known(row.tuned)),
            "change": signed(change(row)),
            "note": visible(row.note),
        }
    return [texts[key] for key, *_ in heads(panel)]


def curve_table(panel: Curve) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a curve's table."""
    found = curve_points(panel)
    banded = any(ci for *_, ci in found)
    head = [visible(panel.x_label) or "x", visible(panel.y_label) or "y", *(["Interval"] if banded else [])]
    return head, [[number(x), number(y), *([interval(ci)] if banded else [])] for x, y, ci in found]


# -- words --------------------------------------------------------------------------------------


def caption(panel: Panel) -> str:
    """What is to be known to read it, and the probe's own note."""
    gate = known(panel.gate)
    parts = [f"Numbers: {unit_of(panel)}."] if not isinstance(panel, Curve) and panel.unit else []
    if gate is not None:
        unit = unit_of(panel) if not isinstance(panel, Curve) else ""
        parts.append(f"Gate: {number(gate, unit)}.")
    if isinstance(panel, Curve):
        missing = sum(y is None for _, y, _ in curve_points(panel))
        parts += [f"{count(missing, 'point')} without a value."] if missing else []
    if note := visible(panel.note).strip():
        note = f"{note[0].upper()}{note[1:]}"
        parts.append(note if note[-1] in ".!?…" else f"{note}.")
    return " ".join(parts)


def words(panel: Panel) -> str:
    """What a screen reader says of the picture."""
    head = f"{visible(panel.title)}."
    if isinstance(panel, Curve):
        found = [(x, y) for x, y, _ in curve_points(panel) if y is not None]
        if not found:
            return f"{head} No point has a value."
        (first, at_first), (last, at_last) = found[0], found[-1]
        axis = visible(panel.x_label) or "x"
        return (
            f"{head} {visible(panel.y_label)} over {count(len(found), 'point')}: {number(at_first)} at {axis}"
            f" {number(first)}, {number(at_last)} at {number(last)}. {caption(panel)}".strip()
        )
    n = size(panel)
    if not n:
        return f"{head} There is nothing in it."
    flags = [line.flag for line in (panel.rows if isinstance(panel, Items) else panel.groups)]
    told = [f"{flags.count(flag)} judged {flag}" for flag in ("bad", "good") if flag in flags]
    if isinstance(panel, Groups):
        values = [(v, g.label) for g in panel.groups if (v := known(g.value)) is not None]
        if values:
            (least, below), (most, above) = min(values), max(values)
            ends = f"from {number(least)} ({_short(below)}) to {number(most, unit_of(panel))} ({_short(above)})"
            told.insert(0, ends)
        return f"{head} {count(n, 'group')}: {'; '.join(told) or 'no value is known'}. {caption(panel)}".strip()
    if panel.better:
        told.append(f"{panel.better} is better")
    moved = [c for row in panel.rows if (c := change(row)) is not None]
    if moved:
        up, down = sum(c > 0 for c in moved), sum(c < 0 for c in moved)
        told.insert(0, f"from base to tuned {up} went up, {down} went down, {len(moved) - up - down} stayed")
    return f"{head} {count(n, 'item')}: {'; '.join(told) or 'one side only'}. {caption(panel)}".strip()


def part_words(shown: int, total: int, first: int = 0) -> str:
    """Which rows a figure holds; empty when it holds all."""
    return "" if shown >= total else f"Rows {first + 1:,} to {first + shown:,} of {total:,}."


def signs(panel: Listed) -> tuple[tuple[str, str, str], ...]:
    """Entries of the legend: sign, token, words."""
    lines: Sequence[Row | Group] = panel.rows if isinstance(panel, Items) else panel.groups
    flags = {line.flag for line in lines}
    found: list[tuple[str, str, str]] = []
    if isinstance(panel, Items):
        found += [("●", "base", "base")] if any(known(r.base) is not None for r in panel.rows) else []
        found += [("◆", "tuned", "tuned")] if any(known(r.tuned) is not None for r in panel.rows) else []
    else:
        found.append(("◆", "tuned", "value"))
        found += [("line", "tuned", "interval")] if any(_ci(g) for g in panel.groups) else []
    found += [("✓", "good", "judged good")] if "good" in flags else []
    found += [("✕", "bad", "judged bad")] if "bad" in flags else []
    return (*found, *([("dash", "threshold", "gate")] if known(panel.gate) is not None else []))


def curve_signs(panel: Curve) -> tuple[tuple[str, str, str], ...]:
    """Entries of a curve's legend."""
    found: list[tuple[str, str, str]] = [("line", "tuned", visible(panel.y_label) or "value")]
    found += [("bar", "tuned", "interval")] if any(ci for *_, ci in curve_points(panel)) else []
    return (*found, *([("dash", "threshold", "gate")] if known(panel.gate) is not None else []))
