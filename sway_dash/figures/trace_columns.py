"""From a table of scoring calls to the columns of the Trace page: pure functions, plain lists, never more than a plot
can draw. Times in seconds since the start of the run. No Bokeh, no Panel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sway_dash.figures.calls import CallTable, Cut, Floats, Ints
from sway_dash.figures.theme import count, number, visible

Columns = dict[str, list[Any]]
Axis = Literal["time", "calls"]
Band = tuple[str, float, float]

MAX_BARS = 2000
"""More passes than this are drawn as shares of time; so are pauses shorter than this part of the window."""

TIME_BINS = 240
HIT_BINS = 500
COUNT_BINS = 80
RATE_POINTS = 300
MAX_LANES = 18
MIN_LOOKUPS = 20
"""Below this many look-ups a rate says nothing."""

RECENT = 50
"""Look-ups the recent rate is over."""

BAR_COLUMNS = ("left", "right", "bottom", "top", "op", "view", "probe", "what", "time_text")


# -- lanes --------------------------------------------------------------------------------------


_PARTS = {
    "_norm_matched": ", of the trained size",
    "_spectrum": ", of the trained spectrum",
    "_scale": ", scale ",
    "_rank": ", rank ×",
}


def stretch(wanted: tuple[float, float], span: tuple[float, float]) -> tuple[float, float] | None:
    """What lies within a run of a stretch of time, s; ``None`` for nothing and for all of it."""
    start, end = max(wanted[0], span[0]), min(wanted[1], span[1])
    slack = 1e-6 * (span[1] - span[0])
    whole = start <= span[0] + slack and end >= span[1] - slack
    return None if whole or end <= start else (start, end)


def names(known: CallTable) -> dict[str, list[str]]:
    """What calls can be chosen by, in order of appearance."""
    return {"probe": known.used(known.probe), "view": known.used(known.view), "op": known.used(known.op)}


def absent(known: CallTable, cut: Cut, span: tuple[float, float]) -> dict[str, Any]:
    """What is chosen and a run does not have, as it is to be instead."""
    changed: dict[str, Any] = {n: "" for n, used in names(known).items() if getattr(cut, n) not in ("", *used)}
    if np.isfinite(cut.start) and not span[0] <= cut.start <= cut.end <= span[1]:
        changed["window"] = stretch((cut.start, cut.end), span)
    return changed


def view_name(view: str) -> str:
    """A view in words: ``null_1000_rank0.5`` → ``random 1000, rank ×0.5``."""
    kind, _, rest = view.partition("_")
    if kind == "scaled":
        return f"λ {rest}"
    if kind == "null":
        for part, word in _PARTS.items():
            rest = rest.replace(part, word)
        seed, *more = rest.split(",")
        return ",".join([f"random {seed}", *more])
    return {"base": "base", "ft": "tuned"}.get(view, visible(view))


def owner_name(owner: str) -> str:
    """What a call was made for, in words: a probe's name, or a step of the run outside any probe."""
    return {"<preflight>": "checking", "<unassigned>": "no probe"}.get(owner, visible(owner))


def expected(view: str) -> str:
    """What hit rate is to be expected of a view, and why."""
    return {
        "base": "climbs: every probe asks it again",
        "ft": "hits where probes share prompts",
        "scaled": "near 0 %: a strength is new",
        "null": "near 0 %: every random adapter is new",
    }.get(view_kind(view), "")


def view_kind(view: str) -> str:
    """``base``, ``ft``, ``scaled``, ``null`` or ``other``."""
    kind = view.partition("_")[0]
    return kind if kind in ("base", "ft", "scaled", "null") else "other"


def lanes(views: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """Names of the lanes from the top, and the lane of every view; many views of a kind share one."""
    order = {kind: k for k, kind in enumerate(("base", "ft", "scaled", "null", "other"))}
    known = sorted(dict.fromkeys(views), key=lambda v: (order[view_kind(v)], _number_in(v), v))
    names: list[str] = []
    of: dict[str, int] = {}
    crowded = {kind for kind in ("null", "other", "scaled") if sum(view_kind(v) == kind for v in known) > 1}
    if len(known) <= MAX_LANES:
        crowded = set()
    for view in known:
        kind = view_kind(view)
        if kind in crowded:
            n = sum(view_kind(v) == kind for v in known)
            name = {"null": f"{n} random", "scaled": f"{n} strengths"}.get(kind, f"{n} others")
        else:
            name = view_name(view)
        if name not in names or kind not in crowded:
            names.append(name)
        of[view] = len(names) - 1
    return names, of


def _number_in(view: str) -> float:
    digits = view.partition("_")[2].partition("_")[0]
    try:
        return float(digits)
    except ValueError:
        return 0.0


# -- the timeline -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the timeline draws of a cut: passes as bars, pauses, answers of the cache; sums in seconds."""

    bars: Columns
    gaps: Columns
    hits: Columns
    binned: bool
    passes: int
    traced_s: float
    """Time in passes of any probe or view within the window."""
    span_s: float


def timeline(table: CallTable, cut: Cut, span: tuple[float, float], lane_of: dict[str, int]) -> Timeline:
    """Bars of a cut between the two ends of ``span``; pauses are those of all calls, whatever the cut."""
    start, end = span
    chosen = table.passes(cut)
    row = np.array([-lane_of.get(name, 0) for name in table.names], dtype=np.float64)
    binned = len(chosen) > MAX_BARS
    bars = _shares(table, chosen, span, row) if binned else _bars(table, chosen, row)
    everything = table.passes(Cut(start, end))
    lo = np.clip(table.pass_start[everything], start, end)
    hi = np.clip(table.pass_end[everything], start, end)
    return Timeline(
        bars=bars,
        gaps=_gaps(lo, hi, span, -float(max(lane_of.values(), default=-1) + 1)),
        hits=_hits(table, cut, span, row),
        binned=binned,
        passes=len(chosen),
        traced_s=float((hi - lo).sum()),
        span_s=max(end - start, 0.0),
    )


def _bars(table: CallTable, chosen: Ints, row: Floats) -> Columns:
    first = table.pass_first[chosen]
    y = row[table.view[first]]
    n = table.pass_n[chosen].tolist()
    seconds = table.pass_end[chosen] - table.pass_start[chosen]
    return {
        "left": table.pass_start[chosen].tolist(),
        "right": table.pass_end[chosen].tolist(),
        "bottom": (y - 0.36).tolist(),
        "top": (y + 0.36).tolist(),
        "op": [table.names[c] for c in table.op[first].tolist()],
        "view": [view_name(table.names[c]) for c in table.view[first].tolist()],
        "probe": [owner_name(table.names[c]) for c in table.probe[first].tolist()],
        "what": [f"one pass, {count(k, 'prompt')}" for k in n],
        "time_text": [number(1000 * s, "ms") for s in seconds.tolist()],
    }


def _shares(table: CallTable, chosen: Ints, span: tuple[float, float], row: Floats) -> Columns:
    """Share of every bin's time that went into a lane's passes, by operation; the height is the share."""
    edges = np.linspace(*span, TIME_BINS + 1)
    width = float(edges[1] - edges[0])
    first = table.pass_first[chosen]
    lane, op = row[table.view[first]], table.op[first]
    out: Columns = {name: [] for name in BAR_COLUMNS}
    for y in np.unique(lane).tolist():
        for code in np.unique(op[lane == y]).tolist():
            own = chosen[(lane == y) & (op == code)]
            start, end = table.pass_start[own], table.pass_end[own]
            busy = np.diff(_busy_until(edges, start, end))
            counted = np.histogram(0.5 * (start + end), edges)[0]
            longest = np.zeros(TIME_BINS)
            at = np.clip(((0.5 * (start + end) - span[0]) / width).astype(int), 0, TIME_BINS - 1)
            np.maximum.at(longest, at, end - start)
            for k in np.flatnonzero(busy > 0).tolist():
                share = min(float(busy[k]) / width, 1.0)
                out["left"].append(float(edges[k]))
                out["right"].append(float(edges[k + 1]))
                out["bottom"].append(y - 0.4)
                out["top"].append(y - 0.4 + 0.8 * max(share, 0.06))
                out["op"].append(table.names[code])
                out["what"].append(f"{count(int(counted[k]), 'pass', 'passes')}, {100 * share:.0f} % of the time")
                most = number(1000 * float(longest[k]), "ms")
                out["time_text"].append(f"{number(1000 * float(busy[k]), 'ms')}, longest {most}")
                out["view"].append("")
                out["probe"].append("zoom in for single passes")
    return out


def _busy_until(edges: Floats, start: Floats, end: Floats) -> Floats:
    """Seconds of passes before every edge; passes are in order and do not overlap."""
    total = np.concatenate([[0.0], np.cumsum(end - start)])
    k = np.searchsorted(start, edges, side="right")
    over = np.zeros(len(edges))
    inside = k > 0
    over[inside] = np.maximum(end[k[inside] - 1] - edges[inside], 0.0)
    return np.asarray(total[k] - over, dtype=np.float64)


def _gaps(lo: Floats, hi: Floats, span: tuple[float, float], y: float) -> Columns:
    start, end = span
    left, right = np.concatenate([[start], hi]), np.concatenate([lo, [end]])
    wide = right - left > max(end - start, 0.0) / MAX_BARS
    left, right = left[wide], right[wide]
    n = len(left)
    return {
        "left": left.tolist(),
        "right": right.tolist(),
        "bottom": [y - 0.36] * n,
        "top": [y + 0.36] * n,
        "time_text": [number(1000 * s, "ms") for s in (right - left).tolist()],
    }


def _hits(table: CallTable, cut: Cut, span: tuple[float, float], row: Floats) -> Columns:
    """A tick for every place and lane where the cache has answered."""
    calls = table.calls(cut)
    calls = calls[table.hit[calls]]
    width = max(span[1] - span[0], 1e-9) / HIT_BINS
    bins = np.clip(((table.at[calls] - span[0]) / width).astype(np.int64), 0, HIT_BINS - 1)
    lane = row[table.view[calls]]
    keys = np.stack([lane, bins.astype(np.float64)])
    pairs, first, n = np.unique(keys, axis=1, return_index=True, return_counts=True)
    return {
        "x": table.at[calls[first]].tolist(),
        "y": (pairs[0] - 0.44).tolist(),
        "what": [count(k, "answer") + " of the cache" for k in n.tolist()],
    }


# -- the cache ----------------------------------------------------------------------------------


def lookups(table: CallTable, cut: Cut, axis: Axis) -> tuple[Columns, Columns]:
    """Hits and misses in bins over time or call number; and the rates so far and of the last :data:`RECENT`."""
    inside = table.calls(cut)
    bars: Columns = {name: [] for name in ("left", "right", "hits", "all", "text")}
    rate: Columns = {name: [] for name in ("x", "so_far", "recent", "text")}
    if not len(inside):
        return bars, rate
    where = _places(table, axis)
    if axis == "time":
        lo = cut.start if np.isfinite(cut.start) else float(where[inside[0]])
        hi = cut.end if np.isfinite(cut.end) else float(where[inside[-1]])
    else:
        lo, hi = float(where[inside[0]]) - 0.5, float(where[inside[-1]]) + 0.5
    bins = COUNT_BINS if axis == "time" else max(1, min(COUNT_BINS, round(hi - lo)))
    edges = np.linspace(lo, max(hi, lo + 1e-6), bins + 1)
    # A pass that ends after the window counts where it leaves it.
    every = np.histogram(np.clip(where[inside], edges[0], edges[-1]), edges)[0]
    hits = np.histogram(np.clip(where[inside[table.hit[inside]]], edges[0], edges[-1]), edges)[0]
    some = np.flatnonzero(every)
    bars["left"], bars["right"] = edges[some].tolist(), edges[some + 1].tolist()
    bars["hits"], bars["all"] = hits[some].tolist(), every[some].tolist()
    bars["text"] = [f"{h:,} of {n:,}" for h, n in zip(bars["hits"], bars["all"], strict=True)]
    return bars, _rates(table, cut, inside, where)


def _rates(table: CallTable, cut: Cut, inside: Ints, where: Floats) -> Columns:
    """A rate so far counts from the start of the run, wherever the window begins."""
    since_start = table.calls(cut.always)
    hits = np.concatenate([[0], np.cumsum(table.hit[since_start])])
    done = np.searchsorted(since_start, inside) + 1
    picks = np.unique(np.linspace(0, len(inside) - 1, min(RATE_POINTS, len(inside))).round().astype(int))
    picks = picks[done[picks] >= MIN_LOOKUPS]
    n = done[picks]
    recent = np.where(n >= RECENT, (hits[n] - hits[np.maximum(n - RECENT, 0)]) / RECENT, np.nan)
    return {
        "x": where[inside[picks]].tolist(),
        "so_far": (hits[n] / n).tolist(),
        "recent": recent.tolist(),
        "text": [f"{h:,} of {k:,}" for h, k in zip(hits[n].tolist(), n.tolist(), strict=True)],
    }


def _places(table: CallTable, axis: Axis) -> Floats:
    return table.at if axis == "time" else np.arange(1, len(table) + 1, dtype=np.float64)


STEP_COLUMNS = ("left", "right", "alpha", "name", "time_text", "x", "label")


def step_columns(
    steps: Sequence[Band], table: CallTable, axis: Axis, window: tuple[float, float], room: float
) -> Columns:
    """The steps of a run, with their names where they begin within a window of ``room`` letters."""
    ends = [(start, end) for _, start, end in steps]
    if axis == "calls":
        ends = [(float(a) + 0.5, float(b) + 0.5) for a, b in (np.searchsorted(table.at, pair) for pair in ends)]
    out: Columns = {name: [] for name in STEP_COLUMNS}
    width = max(window[1] - window[0], 1e-9)
    for k, ((name, start, end), (left, right)) in enumerate(zip(steps, ends, strict=True)):
        begin = max(left, window[0])
        fits = int((min(right, window[1]) - begin) / width * room) - 1
        shown = visible(name)
        out["left"].append(left)
        out["right"].append(right)
        out["alpha"].append(0.0 if k % 2 else 0.35)
        out["name"].append(shown)
        out["time_text"].append(number(end - start, "s"))
        out["x"].append(begin + 0.5 * width / room)
        out["label"].append(fitted(shown, fits))
    return out


def fitted(name: str, letters: int) -> str:
    """A name, or its beginning, or nothing."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…" if letters >= 4 else ""
