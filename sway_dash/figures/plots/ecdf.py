"""Many prompts at once: which share of them lies below a divergence, for the tuned model and for random adapters."""

from __future__ import annotations

from bokeh.models import HoverTool, NumeralTickFormatter

from sway_dash.figures.plots.base import Plot, add_noise, frame, painted, source_of
from sway_dash.figures.plots.prompts import add_brush, add_mean

RUG_Y = -0.045


def prompt_ecdf() -> Plot:
    """Two cumulative distributions over prompts, with a rug of single prompts below."""
    fig = frame("Divergence of all prompts", height=420, x="divergence, nats", y="share of prompts below", grid="y")
    names = ("x", "share", "text")
    sources = {
        "tuned": source_of(*names),
        "nulls": source_of(*names),
        "rug": source_of("x", "y", "alpha"),
        "open": source_of("x", "share"),
    }
    plot = Plot(fig, sources)
    add_noise(plot, "x")
    add_mean(plot)
    fig.y_range.update(start=-0.09, end=1.02)
    fig.yaxis.formatter = NumeralTickFormatter(format="0%")
    nulls = fig.step("x", "share", source=sources["nulls"], line_width=2, mode="after", line_dash="dashed")
    tuned = fig.step("x", "share", source=sources["tuned"], line_width=2.5, mode="after")
    rug = fig.scatter("x", "y", source=sources["rug"], marker="dash", angle=1.5708, size=12, line_alpha="alpha")
    opened = fig.scatter("x", "share", source=sources["open"], marker="triangle", size=13, line_width=2)
    fig.add_tools(
        HoverTool(renderers=[tuned], tooltips=[("tuned", "@text")], mode="vline", attachment="above"),
        HoverTool(renderers=[nulls], tooltips=[("random adapters", "@text")], mode="vline", attachment="below"),
    )
    add_brush(fig, "width")
    painted(plot, nulls.glyph, line_color="null")
    painted(plot, tuned.glyph, line_color="tuned")
    painted(plot, rug.glyph, line_color="tuned")
    painted(plot, opened.glyph, fill_color="tuned", line_color="ink")
    return plot
