"""From prompts to the cells of a table and the lines of a CSV file: pure functions, texts only."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from sway_dash.dash.expression import Expression
from sway_dash.dash.prompt_list import Row, Standing
from sway_dash.dash.virtual_table import Cell
from sway_dash.figures.columns import MARKS, WORDS, shortened, top_change
from sway_dash.figures.theme import DASH, interval, number, percent, visible
from sway_dash.report.frames import inert

CELL_CHARS = 160
LEAD = 40
"""Characters before a hit that are shown when the beginning of the text has to give way."""

SHORT, SHORT_LEAD = 24, 8
"""Characters of a prompt that was found by what a model says next, and of what that begins with."""

HEADS: tuple[tuple[str, str, str, bool, str], ...] = (
    ("#", "#", "44px", True, "suite"),
    ("mark", "", "18px", False, ""),
    ("prompt", "Prompt", "minmax(190px, 3fr)", False, "prompt"),
    ("js", "JS, nats", "76px", True, "js"),
    ("kl", "KL, nats", "76px", True, "kl"),
    ("rank", "Above random", "104px", True, "rank"),
    ("null", "Largest random", "112px", True, "null"),
    ("tags", "Tags", "minmax(84px, 1fr)", False, "tags"),
    ("top", "Top token", "minmax(150px, 1.6fr)", False, "top"),
    ("same", "Same top", "76px", True, "same"),
    ("positions", "Positions", "78px", True, "positions"),
    ("ci", "95 % interval of JS", "136px", True, ""),
)
"""Key, title, width, whether it is a number, and the order it stands for."""

ONE_POSITION = ("same", "positions", "ci")
"""Columns that say something only when a prompt is measured at several positions."""


def cells(row: Row, standing: Standing, sought: Expression | None = None, said: str = "") -> list[Cell]:
    """The cells of one prompt, in the order of :data:`HEADS`; hits of ``sought`` stand apart.

    ``said`` is what the base says next, and after a ``\\0`` what the tuned model says: shown where it alone was found.
    """
    m, null = row.m, standing.null
    return [
        str(row.item + 1),
        MARKS[standing.place],
        _found(row, sought, said),
        number(m.js) if m else DASH,
        number(m.kl) if m else DASH,
        f"{standing.below} of {null.n}" if null else DASH,
        number(null.hi) if null else DASH,
        pieces(", ".join(row.tags), sought),
        top_change(m) if m else (shortened(row.error, CELL_CHARS) if row.error else WORDS[standing.place]),
        percent(m.same_top) if m else DASH,
        f"{m.n_positions:,}" if m else DASH,
        interval(m.ci) if m else DASH,
    ]


def _found(row: Row, sought: Expression | None, said: str) -> Cell:
    """The prompt, with what was found in it; or, when the search found it by what a model says, with that."""
    own = pieces(row.prompt, sought)
    if sought is None or not said or isinstance(own, list):
        return own
    tops = [top[0][0] for top in (row.m.base_top, row.m.tuned_top) if top] if row.m else []
    if any(map(sought.search, [*row.tags, *tops, row.m.continuation if row.m else ""])):
        return own
    for who, text in zip(("base", "tuned"), said.split("\0"), strict=False):
        if (hit := sought.search(text)) is not None:
            start = max(0, hit.start() - SHORT_LEAD)
            begin, *rest = [found] if isinstance(found := pieces(text[start:], sought), str) else found
            return [f"{shortened(row.prompt, SHORT)} · {who} says: {'…' if start else ''}{begin}", *rest]
    return own


def pieces(text: str, sought: Expression | None, limit: int = CELL_CHARS) -> Cell:
    """A text cut to what fits, around its first hit; every other piece is a hit."""
    found = sought.search(text) if sought is not None else None
    if found is None or sought is None:
        return shortened(text, limit)
    start = found.start() - LEAD if found.end() > limit else 0
    start = max(0, min(start, len(text) - limit))
    window = text[start : start + limit]
    out, end = ["…" if start else ""], 0
    for hit in sought.hits(window):
        if hit.end() > hit.start():
            out[-1] += visible(window[end : hit.start()])
            out += [visible(hit.group()), ""]
            end = hit.end()
    out[-1] += visible(window[end:]) + ("…" if start + limit < len(text) else "")
    return out if len(out) > 1 else out[0]


def to_csv(rows: Iterable[tuple[Row, Standing]], keys: Sequence[str]) -> str:
    """The same rows and columns with numbers in full and texts as they are, but for what a spreadsheet would run."""
    titles = {"mark": "status", **{key: key for key, *_ in HEADS if key != "mark"}, "#": "prompt number"}
    spread = [name for key in keys for name in (("top base", "top tuned") if key == "top" else (titles[key],))]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(spread)
    for row, standing in rows:
        values = (value for key in keys for value in _values(key, row, standing))
        writer.writerow([inert(value) if isinstance(value, str) else value for value in values])
    return out.getvalue()


def _values(key: str, row: Row, standing: Standing) -> tuple[object, ...]:
    m, null = row.m, standing.null
    if key == "#":
        return (row.item + 1,)
    if key == "mark":
        return (WORDS[standing.place],)
    if key == "prompt":
        return (row.prompt,)
    if key == "tags":
        return ("; ".join(row.tags),)
    if key == "rank":
        return (f"{standing.below}/{null.n}" if null else "",)
    if key == "null":
        return (null.hi if null else "",)
    if key == "top":
        return ("", "") if m is None else tuple(top[0][0] if top else "" for top in (m.base_top, m.tuned_top))
    if m is None:
        return ("",)
    own = {"js": m.js, "kl": m.kl, "same": m.same_top, "positions": m.n_positions}
    if key == "ci":
        return (f"{m.ci[0]!r} to {m.ci[1]!r}" if m.ci else "",)
    return (own[key],)
