"""Two runs prompt by prompt, and every run's mean difference from the baseline."""

from __future__ import annotations

import math
from typing import Any

from bokeh.models import (
    BasicTicker,
    BoxAnnotation,
    CategoricalColorMapper,
    FixedTicker,
    HoverTool,
    Slope,
    Span,
    TapTool,
)

from sway_dash.figures.columns import Columns
from sway_dash.figures.compare_columns import CLOUD_COLUMNS, DELTA_COLUMNS, PAIR_COLUMNS, WAYS
from sway_dash.figures.plots.base import Plot, frame, painted, source_of
from sway_dash.figures.theme import ROW_PX, Tokens

SLOPE_PX = 360
SLOPE_WIDE_PX, BESIDE_PX, LETTER_PX = 680, 90, 6.2
"""Width of a figure until the browser has told it, what of it the axis takes, and a letter of a name."""

CLOUD_PX = 380
DENSE_PX = 560
"""Height of rows that have no names."""

RUN_PX = 34
"""Height of a run's row."""

TIPS = [
    ("prompt", "@prompt"),
    ("baseline", "@a_text"),
    ("run", "@b_text"),
    ("difference", "@delta_text, @way"),
    ("same within", "@floor_text"),
]


def mean_differences() -> Plot:
    """One row a run: its mean difference with the interval; grey what noise alone would make of a mean."""
    fig = frame("Mean difference from the baseline", height=120, x="mean difference, nats")
    plot = Plot(fig, {"rows": source_of(*DELTA_COLUMNS), "noise": source_of("y", "lo", "hi")})
    rows = plot.sources["rows"]
    noise = fig.segment("lo", "y", "hi", "y", source=plot.sources["noise"], line_width=16, line_alpha=0.35)
    zero = Span(location=0, dimension="height", line_width=1.5)
    fig.add_layout(zero)
    ci = fig.segment("lo", "y", "hi", "y", source=rows, line_width=3)
    dot = fig.scatter("mean", "y", source=rows, size=11, marker="diamond")
    tips = [("mean", "@mean_text"), ("95 % CI", "@ci_text"), ("prompts", "@counts"), ("test", "@test")]
    fig.add_tools(HoverTool(renderers=[dot], tooltips=tips), TapTool(renderers=[dot]))
    painted(plot, noise.glyph, line_color="null")
    painted(plot, zero, line_color="threshold")
    painted(plot, ci.glyph, line_color="accent")
    painted(plot, dot.glyph, fill_color="accent", line_color="accent")
    plot.parts.update(dot=dot)
    return plot


def slopes() -> Plot:
    """A line a prompt from the baseline (left) to the run (right); the largest differences by name."""
    fig = frame("Every prompt in both runs", height=SLOPE_PX, x="", y="divergence, nats", grid="y")
    plot = Plot(fig, {"rows": source_of(*PAIR_COLUMNS), "names": source_of("x", "y", "text")})
    rows, colour = plot.sources["rows"], _by_way(plot)
    line = fig.segment(0, "a", 1, "b", source=rows, line_width=1.6, line_alpha=0.75)
    left = fig.scatter(0, "a", source=rows, size=6)
    right = fig.scatter(1, "b", source=rows, size=9, marker="marker")
    for glyph in (line, left, right):
        _coloured(glyph, colour)
    names = fig.text("x", "y", text="text", source=plot.sources["names"], text_baseline="middle")
    # One colour: BokehJS lays texts out before it has the new rows' own colours.
    names.glyph.text_font_size = "11px"
    painted(plot, names.glyph, text_color="ink")
    set_room(plot, SLOPE_WIDE_PX)
    fig.xaxis.ticker = FixedTicker(ticks=[0, 1])
    fig.add_tools(HoverTool(renderers=[right, left], tooltips=TIPS), TapTool(renderers=[right, left]))
    return plot


def rows() -> Plot:
    """A row a prompt, by difference: a ring the baseline, a sign the run, grey where both would be the same."""
    fig = frame("Every prompt in both runs", height=300, x="divergence, nats")
    plot = Plot(fig, {"rows": source_of(*PAIR_COLUMNS), "noise": source_of("y", "lo", "hi")})
    source, colour = plot.sources["rows"], _by_way(plot)
    noise = fig.segment("lo", "y", "hi", "y", source=plot.sources["noise"], line_width=8, line_alpha=0.35)
    join = fig.segment("a", "y", "b", "y", source=source, line_width=2)
    base = fig.scatter("a", "y", source=source, size=7, fill_alpha=0.0, line_width=1.5)
    run = fig.scatter("b", "y", source=source, size=9, marker="marker")
    _coloured(join, colour)
    _coloured(run, colour)
    base.nonselection_glyph = base.glyph
    fig.add_tools(HoverTool(renderers=[run, base], tooltips=TIPS), TapTool(renderers=[run, base]))
    painted(plot, noise.glyph, line_color="null")
    painted(plot, base.glyph, line_color="muted")
    plot.parts.update(noise=noise, run=run, base=base)
    return plot


def cloud() -> Plot:
    """A point a prompt, baseline across and run up; on the line both are the same, in the corridor within noise."""
    fig = frame("Every prompt in both runs", height=CLOUD_PX, x="baseline, nats", y="run, nats", grid="y")
    plot = Plot(fig, {"rows": source_of(*CLOUD_COLUMNS), "noise": source_of("x", "lo", "hi")})
    source, colour = plot.sources["rows"], _by_way(plot)
    noise = fig.varea("x", "lo", "hi", source=plot.sources["noise"], fill_alpha=0.3)
    same = Slope(gradient=1, y_intercept=0, line_width=1.5)
    fig.add_layout(same)
    dots = fig.scatter("a", "b", source=source, size=6, marker="marker", fill_alpha=0.55, line_alpha=0.55)
    _coloured(dots, colour)
    tips = [
        ("prompt", "@prompt"),
        ("baseline", "@a{0.0000} nats"),
        ("run", "@b{0.0000} nats"),
        ("difference", "@delta{+0.0000} nats, @way"),
        ("same within", "± @floor{0.0000}"),
    ]
    fig.add_tools(HoverTool(renderers=[dots], tooltips=tips), TapTool(renderers=[dots]))
    painted(plot, noise.glyph, fill_color="null")
    painted(plot, same, line_color="threshold")
    return plot


def difference_histogram() -> Plot:
    """How often a difference of what size occurs; shaded where most prompts' differences are within noise."""
    fig = frame("Differences", height=150, x="difference, nats", y="prompts", grid="y")
    plot = Plot(fig, {"bins": source_of("left", "right", "count", "text")})
    noise = BoxAnnotation(left=0, right=0, fill_alpha=0.3, line_alpha=0, level="underlay")
    zero = Span(location=0, dimension="height", line_width=1.5)
    bars = fig.quad("left", "right", "count", 0, source=plot.sources["bins"], line_width=0.5, fill_alpha=0.8)
    for part in (noise, zero):
        fig.add_layout(part)
    fig.yaxis.ticker = BasicTicker(desired_num_ticks=3, min_interval=1, num_minor_ticks=0)
    fig.add_tools(HoverTool(renderers=[bars], tooltips=[("difference", "@text nats"), ("prompts", "@count")]))
    painted(plot, noise, fill_color="null")
    painted(plot, zero, line_color="threshold")
    painted(plot, bars.glyph, fill_color="accent", line_color="surface")
    plot.parts.update(noise=noise)
    return plot


# -- filling them -------------------------------------------------------------------------------


def reach(plot: Plot, axis: str, lo: float, hi: float, *, anew: bool) -> None:
    """Make an axis hold ``lo`` to ``hi`` and 0; it grows while runs go on. A zoomed axis is left alone."""
    span = plot.figure.x_range if axis == "x" else plot.figure.y_range
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    margin = 0.06 * (hi - lo) or 1.0
    lo, hi = lo - margin, hi + margin
    shown = plot.parts.get(f"shown {axis}")
    if shown is not None and not anew:
        if not (math.isclose(span.start, shown[0]) and math.isclose(span.end, shown[1])):
            return
        lo, hi = min(lo, shown[0]), max(hi, shown[1])
        if (lo, hi) == shown:
            return
    plot.parts[f"shown {axis}"] = (lo, hi)
    span.update(start=lo, end=hi, reset_start=lo, reset_end=hi)


def set_runs(plot: Plot, names: dict[float, str]) -> None:
    """Give :func:`mean_differences` a row for each of these names, by height."""
    _name_rows(plot, names)
    n = max(len(names), 1)
    plot.figure.height = RUN_PX * n + 76
    plot.figure.y_range.update(start=-(n - 0.4), end=0.6)


def set_pair(plot: Plot, baseline: str, run: str) -> None:
    """Name the two ends of :func:`slopes`."""
    plot.figure.xaxis.major_label_overrides = {0: baseline, 1: run}


def set_room(plot: Plot, width: int) -> None:
    """Leave :func:`slopes` as much room for its names as they need in a figure of so many pixels.

    An axis the reader has zoomed is left alone.
    """
    span = plot.figure.x_range
    if not math.isclose(span.end, plot.parts.get("room", span.end)):
        return
    longest = max(map(len, plot.sources["names"].data["text"]), default=0)
    names = LETTER_PX * longest + 24
    unit = max((width - BESIDE_PX - names) / 1.15, 80)
    end = plot.parts["room"] = 1.04 + names / unit
    span.update(start=-0.11, end=end, reset_start=-0.11, reset_end=end)


def set_rows(plot: Plot, names: dict[float, str], n: int) -> None:
    """Give :func:`rows` room for ``n`` rows with these names; without names they share a fixed height."""
    _name_rows(plot, names)
    plot.figure.height = ROW_PX * max(n, 3) + 76 if names else DENSE_PX
    thick = 8 if names else max(1, min(8, DENSE_PX // max(n, 1) - 1))
    plot.parts["noise"].glyph.line_width = thick
    plot.figure.y_range.update(start=-(max(n, 1) - 0.3), end=0.7)


def set_cloud(plot: Plot, largest: float, floor: float) -> None:
    """Draw the corridor of :func:`cloud` as far as ``largest``."""
    plot.sources["noise"].data = {
        "x": [0.0, largest],
        "lo": [-floor, largest - floor],
        "hi": [floor, largest + floor],
    }


def mark(plot: Plot, place: int | None) -> None:
    """Show which prompt is open, if it is among the rows."""
    source = plot.sources["rows"]
    places: Columns = source.data
    found = [i for i, p in enumerate(places["place"]) if p == place] if place is not None else []
    if list(source.selected.indices) != found:
        source.selected.indices = found


def _name_rows(plot: Plot, names: dict[float, str]) -> None:
    axis = plot.figure.yaxis[0]
    if not isinstance(axis.ticker, FixedTicker):
        axis.ticker = FixedTicker()
    # Not a new ticker every time: a new model makes Bokeh walk the whole document.
    axis.ticker.ticks = sorted(names)
    axis.update(major_label_overrides=names, visible=bool(names))


def _by_way(plot: Plot) -> dict[str, Any]:
    """Colour by direction: further from the base like the tuned model, nearer like the base, grey within noise."""
    mapper = CategoricalColorMapper(factors=[WAYS[1], WAYS[0], WAYS[-1]], palette=["#000000"] * 3)

    def palette(t: Tokens) -> None:
        mapper.palette = [t.tuned, t.null, t.base]

    plot.paints.append(palette)
    return {"field": "way", "transform": mapper}


def _coloured(renderer: Any, colour: dict[str, Any]) -> None:
    """Colour a glyph by direction; what is not chosen fades, what is keeps its colour and gets stronger."""
    glyph = renderer.glyph
    glyph.line_color = colour
    if hasattr(glyph, "fill_color"):
        glyph.fill_color = colour
    renderer.nonselection_glyph = glyph.clone()
    renderer.selection_glyph = glyph.clone()
    if hasattr(glyph, "size"):
        renderer.selection_glyph.update(size=14, line_width=2.5, line_alpha=1.0, fill_alpha=1.0)
    else:
        renderer.selection_glyph.update(line_width=4, line_alpha=1.0)
