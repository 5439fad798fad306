"""Where the time went and what the cache saved: figures over the whole run, and their tables."""

from __future__ import annotations

from collections.abc import Sequence

from bokeh.models import Range1d

from sway_dash.figures import trace_columns as tc
from sway_dash.figures import trace_sums as ts
from sway_dash.figures.calls import CallTable, Cut
from sway_dash.figures.derive import RunData
from sway_dash.figures.markup import legend, table
from sway_dash.figures.plots.cache import CACHE_MARKS, hit_rate, lookups
from sway_dash.figures.plots.icicle import icicle
from sway_dash.figures.plots.timeline import PASS_MARKS, set_lanes, timeline
from sway_dash.figures.theme import DASH, count, duration, esc, number, percent, visible
from sway_dash.report.html.drawn import Drawn
from sway_dash.report.html.parts import caption, choices, figure, folded, heading

ROOM = 110.0
"""Letters that fit on the width of a figure."""

ROWS = 12
LOADING = "loading"


def trace(data: RunData, out: Drawn) -> str:
    """Draw the trace and return the section's HTML; empty for a run without one."""
    origin = data.started.ts if data.started else 0.0
    known = data.calls.table(origin)
    if not len(known):
        return ""
    first = float(known.pass_start[0]) if len(known.pass_start) else 0.0
    span = (min(0.0, first), max(float(known.at[-1]), data.fold.last_ts - origin, 1e-3))
    steps = [(s.name, s.start - origin, s.end - origin if s.end is not None else span[1]) for s in data.steps]
    gaps = _timeline(known, span, steps, out)
    hits = _cache(known, span, steps, out)
    boxes = _boxes(known, out)
    passes = legend(*PASS_MARKS)
    marks = legend(*CACHE_MARKS)
    axis = choices("axis", "Horizontal axis", (("time", "wall time"), ("calls", "call number")))
    over = "".join(
        f'<div data-axis="{name}"{" hidden" if name == "calls" else ""}>'
        f"{figure(f'lookups-{name}')}{figure(f'rate-{name}')}</div>"
        for name in ("time", "calls")
    )
    return (
        _summary(data, known)
        + f"<div>{heading('Timeline')}{figure('timeline')}{passes}{caption(gaps)}</div>"
        + f"<div>{heading('Cache')}<div class='controls'>{axis}</div>{over}{marks}{caption(hits)}</div>"
        + f"<div>{heading('Where the time went')}{figure('icicle')}{caption(boxes)}</div>"
        + '<div class="two">'
        + f"<div>{heading('By probe')}{_sums(known, 'probe')}</div>"
        + f"<div>{heading('By view')}{_sums(known, 'view')}</div>"
        + f"</div><div>{heading('Slowest passes', 'A pass is one batch of prompts in one view.')}"
        + f"{_slowest(known, data)}</div>"
    )


def _timeline(known: CallTable, span: tuple[float, float], steps: Sequence[tc.Band], out: Drawn) -> str:
    plot = timeline(Range1d(*span, reset_start=span[0], reset_end=span[1]))
    names, lane_of = tc.lanes(known.used(known.view))
    set_lanes(plot, names)
    drawn = tc.timeline(known, Cut(), span, lane_of)
    for name, columns in (("bars", drawn.bars), ("gaps", drawn.gaps), ("hits", drawn.hits)):
        plot.sources[name].data = columns
    plot.sources["steps"].data = tc.step_columns(steps, known, "time", span, ROOM)
    gap = max(drawn.span_s - drawn.traced_s, 0.0)
    loading = sum(max(0.0, min(b, span[1]) - max(a, span[0])) for step, a, b in steps if step == LOADING)
    told = f"{percent(gap / drawn.span_s)} of wall time is not in a traced call ({number(gap, 's')}"
    told += f", {number(loading, 's')} of it {LOADING})." if loading > 0 else ")."
    plot.describe(f"Timeline of {count(drawn.passes, 'pass', 'passes')}. {told}")
    out.figures["timeline"] = plot
    return told


def _cache(known: CallTable, span: tuple[float, float], steps: Sequence[tc.Band], out: Drawn) -> str:
    every = known.calls(Cut())
    n, hits = len(every), int(known.hit[every].sum())
    told = f"{hits:,} of {n:,} look-ups were answered by the cache"
    told += f" ({percent(hits / n)})." if n >= tc.MIN_LOOKUPS else f"; a rate needs {tc.MIN_LOOKUPS}."
    axes: tuple[tuple[tc.Axis, tuple[float, float]], ...] = (("time", span), ("calls", (0.5, len(known) + 0.5)))
    for axis, ends in axes:
        shared = Range1d(*ends, reset_start=ends[0], reset_end=ends[1])
        bars, rate = lookups(shared, axis), hit_rate(shared, axis)
        bars.sources["bars"].data, rate.sources["rate"].data = tc.lookups(known, Cut(), axis)
        named = tc.step_columns(steps, known, axis, ends, ROOM)
        top = 1.06 * max(bars.sources["bars"].data["all"], default=1)
        bars.figure.y_range.update(start=0, end=top, reset_start=0, reset_end=top)
        for name, plot in (("lookups", bars), ("rate", rate)):
            plot.sources["steps"].data = named
            plot.describe(f"Cache over {'wall time' if axis == 'time' else 'call number'}. {told}")
            out.figures[f"{name}-{axis}"] = plot
    return told


def _boxes(known: CallTable, out: Drawn) -> str:
    plot = icicle()
    data = ts.icicle(known, Cut(), ROOM)
    plot.sources["boxes"].data = data
    end = max(data["right"], default=1.0) or 1.0
    plot.figure.x_range.update(start=0, end=end, reset_start=0, reset_end=end)
    probes = [(p, t) for p, v, t in zip(data["probe"], data["view"], data["time_text"], strict=True) if not v]
    told = "; ".join(f"{tc.owner_name(p)} {t}" for p, t in probes[:6])
    plot.describe(f"Time in passes by probe, view and operation. {told}")
    out.figures["icicle"] = plot
    return f"Time in passes: {told}." if told else "No pass."


def _summary(data: RunData, known: CallTable) -> str:
    calls = data.calls
    saved_s, unpriced = ts.saved(known, Cut())
    rate = percent(calls.hit_rate) if calls.n >= tc.MIN_LOOKUPS else f"no rate below {tc.MIN_LOOKUPS}"
    text = (
        f"{count(calls.n, 'scoring call')} in {count(len(known.pass_start), 'pass', 'passes')}:"
        f" {calls.hits:,} of {calls.n:,} answered by the cache ({rate}), which saved about {duration(saved_s)}."
    )
    notes = "Saved is hits times the median time of a miss of the same operation in the same view."
    if unpriced:
        notes += f" {count(unpriced, 'hit')} left out: nothing like them missed."
    return f'<p class="sway-sentence sway-num">{esc(text)}</p>{caption(notes)}'


def _sums(known: CallTable, by: str) -> str:
    found = ts.sums(known, Cut(), "probe" if by == "probe" else "view")
    name = tc.owner_name if by == "probe" else tc.view_name
    total = sum(s.seconds for s in found)
    rows = [
        (
            esc(name(s.name)),
            f"{s.hits:,}/{s.lookups:,}",
            percent(s.rate) if s.rate is not None else f"{DASH} (n &lt; {tc.MIN_LOOKUPS})",
            number(s.seconds, "s"),
            percent(s.seconds / total) if total else DASH,
            number(s.saved_s, "s") if s.hits else DASH,
        )
        for s in found
    ]
    head = ("Probe" if by == "probe" else "View", "Hits", "Rate", "Time", "Share", "Saved")
    right = (1, 2, 3, 4, 5)
    more = folded(f"{len(rows) - ROWS:,} more with less time", table(head, rows[ROWS:], right=right))
    return table(head, rows[:ROWS], right=right) + (more if len(rows) > ROWS else "")


def _slowest(known: CallTable, data: RunData) -> str:
    rows = []
    for p in ts.slowest(known, Cut(), ROWS):
        places = [place for digest in p.prompts if (place := data.place_of(digest)) is not None]
        longest = max(places, key=lambda place: len(place.text), default=None)
        text = visible(longest.text)[:120] if longest else DASH
        note = " (first of its view)" if p.first_of_view else ""
        rows.append((number(p.ms), f"{len(p.prompts):,}", esc(tc.view_name(p.view) + note), esc(p.op), esc(text)))
    return table(("Time, ms", "Prompts", "View", "Operation", "Longest prompt"), rows, right=(0, 1))
