"""The tuned mean beside the random adapters on one axis."""

from __future__ import annotations

from bokeh.models import FixedTicker, HoverTool, Span

from sway_dash.figures.plots.base import Plot, frame, painted, source_of


def null_strip() -> Plot:
    """The tuned mean and the means of the random adapters on one axis."""
    fig = frame("Tuned model against random adapters", height=108, x="mean divergence, nats")
    plot = Plot(fig, {"nulls": source_of("x", "y", "text"), "tuned": source_of("x", "y", "lo", "hi", "text")})
    fig.y_range.update(start=-0.7, end=1.7)
    fig.yaxis.ticker = FixedTicker(ticks=[0, 1])
    fig.yaxis.major_label_overrides = {0: "random", 1: "tuned"}
    gate = Span(location=0, dimension="height", line_dash="dashed", line_width=1, visible=False)
    fig.add_layout(gate)
    nulls = fig.scatter("x", "y", source=plot.sources["nulls"], size=9, fill_alpha=0.5, line_alpha=0.9)
    ci = fig.segment("lo", "y", "hi", "y", source=plot.sources["tuned"], line_width=3)
    tuned = fig.scatter("x", "y", source=plot.sources["tuned"], size=13, marker="diamond", line_width=1)
    fig.add_tools(HoverTool(renderers=[nulls, tuned], tooltips=[("mean", "@text")]))
    painted(plot, gate, line_color="threshold")
    painted(plot, nulls.glyph, fill_color="null", line_color="null")
    painted(plot, ci.glyph, line_color="tuned")
    painted(plot, tuned.glyph, fill_color="tuned", line_color="tuned")
    plot.parts.update(gate=gate)
    return plot
