"""How much the cache answers: look-ups in bins, and the share of hits."""

from __future__ import annotations

from bokeh.models import BasicTickFormatter, HoverTool, NumeralTickFormatter, Range1d

from sway_dash.figures.plots.base import Plot, frame, painted, source_of
from sway_dash.figures.trace_columns import RECENT, STEP_COLUMNS

EDGE_PX = 64
"""Both panels begin at the same place, however wide their numbers are."""

CACHE_MARKS = (
    ("■", "accent", "hits"),
    ("■", "muted", "misses"),
    ("line", "accent", "hit rate so far"),
    ("dash", "ink", f"of the last {RECENT}"),
)
"""Legend of both panels: sign, token, words."""

TITLES = {"time": "seconds since the start", "calls": "scoring calls"}


def lookups(span: Range1d, axis: str) -> Plot:
    """Hits and misses, stacked; one bar a bin of time or of call numbers."""
    fig = frame("Look-ups of the cache", height=130, x="", y="look-ups", grid="y")
    fig.x_range = span
    plot = Plot(fig, {"bars": source_of("left", "right", "hits", "all", "text"), "steps": _steps()})
    _backgrounds(plot)
    source = plot.sources["bars"]
    misses = fig.quad("left", "right", "hits", "all", source=source, line_width=0.5, fill_alpha=0.45)
    hits = fig.quad("left", "right", 0, "hits", source=source, line_width=0.5)
    fig.add_tools(HoverTool(renderers=[misses, hits], tooltips=[("answered by the cache", "@text")]))
    fig.xaxis.visible = False
    fig.yaxis.formatter = BasicTickFormatter(use_scientific=False)
    fig.min_border_left = EDGE_PX
    painted(plot, misses.glyph, fill_color="muted", line_color="surface")
    painted(plot, hits.glyph, fill_color="accent", line_color="surface")
    return plot


def hit_rate(span: Range1d, axis: str) -> Plot:
    """Share of hits since the start of the run as steps; dashed the share of the last look-ups."""
    fig = frame("Cache hit rate", height=170, x=TITLES[axis], y="hit rate", grid="y")
    fig.x_range = span
    plot = Plot(fig, {"rate": source_of("x", "so_far", "recent", "text"), "steps": _steps()})
    _backgrounds(plot)
    fig.min_border_left = EDGE_PX
    fig.y_range.update(start=-0.02, end=1.04)
    fig.yaxis.formatter = NumeralTickFormatter(format="0%")
    source = plot.sources["rate"]
    recent = fig.line("x", "recent", source=source, line_width=1.5, line_dash="dashed")
    names = fig.text("x", 1.02, "label", source=plot.sources["steps"], text_baseline="top", text_font_size="11.5px")
    so_far = fig.step("x", "so_far", source=source, line_width=2, mode="after")
    tips = [("so far", "@so_far{0.0%} (@text)"), ("last 50", "@recent{0.0%}")]
    fig.add_tools(HoverTool(renderers=[so_far], tooltips=tips, mode="vline"))
    painted(plot, names.glyph, text_color="muted")
    painted(plot, so_far.glyph, line_color="accent")
    painted(plot, recent.glyph, line_color="ink")
    return plot


def _steps() -> object:
    return source_of(*STEP_COLUMNS)


def _backgrounds(plot: Plot) -> None:
    """The steps of the run behind the data."""
    strips = plot.figure.vstrip("left", "right", source=plot.sources["steps"], fill_alpha="alpha", line_alpha=0)
    strips.level = "underlay"
    painted(plot, strips.glyph, fill_color="rule")
