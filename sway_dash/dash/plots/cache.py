"""How much the cache saves."""

from __future__ import annotations

from bokeh.models import HoverTool, NumeralTickFormatter

from sway_dash.dash.plots.base import Plot, frame, painted, source_of


def hit_rate() -> Plot:
    """Share of scoring calls the cache answered, over calls."""
    fig = frame("Cache hit rate", height=220, x="scoring calls", y="hit rate", grid="y")
    plot = Plot(fig, {"rate": source_of("n", "rate")})
    fig.y_range.update(start=0, end=1.02)
    fig.yaxis.formatter = NumeralTickFormatter(format="0%")
    step = fig.step("n", "rate", source=plot.sources["rate"], line_width=2, mode="after")
    fig.add_tools(HoverTool(renderers=[step], tooltips=[("calls", "@n"), ("hit rate", "@rate{0.0%}")]))
    painted(plot, step.glyph, line_color="accent")
    return plot
