"""Where the time went: boxes as wide as their seconds, by probe, view and operation."""

from __future__ import annotations

from bokeh.models import FixedTicker, HoverTool, TapTool

from sway_dash.figures.plots.base import Plot, frame, painted, source_of
from sway_dash.figures.plots.timeline import op_mapper
from sway_dash.figures.trace_sums import ICICLE_COLUMNS

KINDS = {"probe": "muted", "base": "base", "ft": "tuned", "scaled": "tuned", "null": "null", "other": "muted"}


def icicle() -> Plot:
    """Seconds in passes; a tap on a box chooses what it stands for."""
    fig = frame("Time by probe, view and operation", height=210, x="seconds in passes")
    plot = Plot(fig, {"boxes": source_of(*ICICLE_COLUMNS)})
    source = plot.sources["boxes"]
    fig.y_range.update(start=-0.02, end=3.02)
    fig.yaxis.ticker = FixedTicker(ticks=[0.5, 1.5, 2.5])
    fig.yaxis.major_label_overrides = {2.5: "probe", 1.5: "view", 0.5: "operation"}
    fig.grid.grid_line_color = None
    mapper = op_mapper(plot, KINDS)
    boxes = fig.quad("left", "right", "bottom", "top", source=source, fill_alpha=0.4, line_width=1)
    boxes.glyph.fill_color = {"field": "kind", "transform": mapper}
    boxes.nonselection_glyph = boxes.selection_glyph = None
    words = fig.text("x", "bottom", "label", source=source, y_offset=-18, text_font_size="11.5px")
    words.nonselection_glyph = words.selection_glyph = None
    fig.add_tools(
        HoverTool(renderers=[boxes], tooltips=[("", "@what"), ("time", "@time_text"), ("probe", "@probe")]),
        TapTool(renderers=[boxes]),
    )
    painted(plot, boxes.glyph, line_color="surface")
    painted(plot, words.glyph, text_color="ink")
    return plot
