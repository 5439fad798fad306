"""A quantity along an axis with its band."""

from __future__ import annotations

from bokeh.models import HoverTool

from sway_dash.core.panels import Curve
from sway_dash.figures import panel_columns as pc
from sway_dash.figures.plots.base import Plot, frame, painted, source_of
from sway_dash.figures.plots.dumbbell import add_gate, set_gate, set_span
from sway_dash.figures.theme import canvas_text

CURVE_PX = 260
MANY = 80
"""More points than this are a line without dots."""


def curve() -> Plot:
    """A line through dots, shaded its interval, the gate dashed."""
    fig = frame("Curve", height=CURVE_PX, x="", y="", grid="y")
    plot = Plot(fig, {"line": source_of("x", "y", "text", "ci_text"), "band": source_of("x", "lo", "hi")})
    add_gate(plot, "width")
    band = fig.varea("x", "lo", "hi", source=plot.sources["band"], fill_alpha=0.18)
    line = fig.line("x", "y", source=plot.sources["line"], line_width=2)
    dots = fig.scatter("x", "y", source=plot.sources["line"], size=7)
    tips = [("value", "@text"), ("interval", "@ci_text")]
    fig.add_tools(HoverTool(renderers=[dots], tooltips=tips, mode="vline"))
    painted(plot, band.glyph, fill_color="tuned")
    painted(plot, line.glyph, line_color="tuned")
    painted(plot, dots.glyph, fill_color="tuned", line_color="tuned")
    plot.parts.update(dots=dots)
    return plot


def set_curve(plot: Plot, panel: Curve) -> None:
    """Show a panel."""
    line, band = pc.curve_columns(panel)
    plot.sources["line"].data, plot.sources["band"].data = line, band
    set_gate(plot, pc.known(panel.gate))
    set_span(plot, "y", pc.span(panel))
    xs = line["x"]
    margin = (0.03 * (xs[-1] - xs[0]) or 0.5) if xs else 0.5
    set_span(plot, "x", (xs[0] - margin, xs[-1] + margin) if xs else (0.0, 1.0))
    plot.parts["dots"].glyph.size = 7 if len(xs) <= MANY else 3
    plot.figure.xaxis[0].axis_label = canvas_text(panel.x_label, 60) or None
    plot.figure.yaxis[0].axis_label = canvas_text(panel.y_label, 40) or None
    plot.describe(pc.words(panel))
