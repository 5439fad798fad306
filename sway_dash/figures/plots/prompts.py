"""Every prompt as a dot with the range of the random adapters behind it."""

from __future__ import annotations

from typing import Any

from bokeh.models import BoxAnnotation, BoxSelectTool, CategoricalColorMapper, FixedTicker, HoverTool, Span

from sway_dash.core.divergence import LN2
from sway_dash.figures.columns import DOT_COLUMNS
from sway_dash.figures.plots.base import Plot, add_noise, frame, painted, source_of
from sway_dash.figures.theme import ROW_PX, Tokens

LABELLED_PX = 560
"""Rows with names get closer so that they keep to this height, but stay readable."""

CLOSEST_PX = 13
DENSE_PX = 420
"""Height of the rows that have no names."""


def prompt_dots() -> Plot:
    """One row a prompt: grey the range of the random adapters on that prompt, the dot the tuned model."""
    fig = frame("Divergence of every prompt", height=300, x="divergence, nats")
    plot = Plot(fig, {"rows": source_of(*DOT_COLUMNS), "nulls": source_of("y", "lo", "hi")})
    source = plot.sources["rows"]
    fig.x_range.update(start=-0.02 * LN2, end=1.04 * LN2)  # until something is measured
    add_noise(plot, "x")
    add_mean(plot)
    null = fig.segment(
        "lo", "y", "hi", "y", source=plot.sources["nulls"], line_width=9, line_cap="round", line_alpha=0.45
    )
    mapper = CategoricalColorMapper(factors=["above", "inside", "no null", "failed"], palette=["#000000"] * 4)
    colour = {"field": "status", "transform": mapper}
    dot = fig.scatter("x", "y", source=source, marker="marker", size=10, line_width=1.5, fill_alpha="alpha")
    dot.glyph.update(fill_color=colour, line_color=colour, line_alpha="alpha")
    dot.nonselection_glyph = dot.glyph.clone()
    dot.selection_glyph = dot.glyph.clone(size=15, line_width=2.5, line_alpha=1.0)
    for glyph in (dot.nonselection_glyph, dot.selection_glyph):
        glyph.update(fill_color=colour, line_color=colour)
    painted(plot, null.glyph, line_color="null")
    painted(plot, dot.selection_glyph, line_color="ink")

    def palette(t: Tokens) -> None:
        mapper.palette = [t.tuned, t.null, t.base, t.bad]

    plot.paints.append(palette)
    fig.add_tools(HoverTool(renderers=[dot], tooltips=TOOLTIPS))
    add_brush(fig, "both")
    plot.parts.update(dot=dot, null=null)
    fig.ygrid.grid_line_color = None
    return plot


MARKS = (
    ("bar", "null", "random adapters"),
    ("▲", "tuned", "above all of them"),
    ("●", "null", "inside their range"),
)
"""Legend of the dots: sign, token, words."""

NO_MARKS = (("◆", "base", "no random adapters to compare with"),)
"""Legend where nothing says what noise looks like."""

TOOLTIPS = [
    ("prompt", "@prompt"),
    ("divergence", "@value_text"),
    ("random adapters", "@null_text"),
    ("likeliest token", "@top_text"),
    ("tags", "@tags"),
]


def add_brush(fig: Any, dimensions: str) -> None:
    """Drag to choose prompts; what lies in the box is worked out where all prompts are known."""
    tool = BoxSelectTool(dimensions=dimensions, renderers=[], persistent=False, description="Choose prompts")
    fig.add_tools(tool)
    fig.toolbar.active_drag = tool


def add_mean(plot: Plot) -> None:
    """Mean with its interval, the median and the bound of JS, as parts ``mean``, ``band``, ``median``, ``bound``."""
    fig = plot.figure
    band = BoxAnnotation(left=0, right=0, fill_alpha=0.14, line_alpha=0, visible=False, level="underlay")
    mean = Span(location=0, dimension="height", line_width=1.5, visible=False)
    median = Span(location=0, dimension="height", line_width=1.5, line_dash="dashed", visible=False)
    bound = Span(location=LN2, dimension="height", line_dash="dotted", line_width=1, visible=False)
    for part in (band, mean, median, bound):
        fig.add_layout(part)
    painted(plot, band, fill_color="tuned")
    painted(plot, mean, line_color="tuned")
    painted(plot, median, line_color="muted")
    painted(plot, bound, line_color="threshold")
    plot.parts.update(band=band, mean=mean, median=median, bound=bound)


def set_mean(plot: Plot, mean: float | None, ci: tuple[float, float] | None, median: float | None) -> None:
    """Move the lines of the mean and the median, given as positions; ``None`` hides them."""
    parts: dict[str, Any] = plot.parts
    for name, at in (("mean", mean), ("median", median)):
        parts[name].update(location=at or 0.0, visible=at is not None)
    parts["band"].update(left=ci[0] if ci else 0.0, right=ci[1] if ci else 0.0, visible=ci is not None)


AXIS_PX = 62
"""What a figure needs besides its rows."""


def set_rows(plot: Plot, labels: dict[float, str], n: int, *, high: int = 0) -> None:
    """Give the dot plot room for ``n`` rows with these names; without names the rows share a fixed height.

    A figure that is ``high`` pixels for another reason has the names there is room for: every second, say.
    """
    axis = plot.figure.yaxis[0]
    row = max(CLOSEST_PX, min(ROW_PX, LABELLED_PX // max(n, 1)))
    dense = n > 0 and not labels
    plot.figure.height = DENSE_PX if dense else max(200, row * n + 76)
    if high and labels:
        row = max(1, (high - AXIS_PX) // n)
        every = -(-CLOSEST_PX // row)
        labels = {at: name for k, (at, name) in enumerate(sorted(labels.items(), reverse=True)) if not k % every}
    ticks = sorted(labels)
    # Another ticker, or other labels, make Bokeh look through all models of the document.
    if isinstance(axis.ticker, FixedTicker):
        axis.ticker.ticks = ticks
    else:
        axis.ticker = FixedTicker(ticks=ticks)
    if axis.major_label_overrides != labels:
        axis.major_label_overrides = labels
    axis.visible = bool(labels)
    axis.major_label_text_font_size = "11px" if row >= 16 else "9.5px"
    thick = 9 if row >= 16 and not dense else max(1, min(6, row if labels else (high or DENSE_PX) // max(n, 1)))
    plot.parts["null"].glyph.line_width = thick
    plot.parts["dot"].glyph.size = plot.parts["dot"].nonselection_glyph.size = 10 if thick >= 6 else 7
    plot.figure.y_range.update(start=-(max(n, 1) - 0.3), end=0.7)
