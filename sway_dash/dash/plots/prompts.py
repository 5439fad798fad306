"""Every prompt as a dot with the range of the random adapters behind it."""

from __future__ import annotations

from bokeh.models import CategoricalColorMapper, FixedTicker, HoverTool, Span, TapTool

from sway_dash.core.divergence import LN2
from sway_dash.dash.columns import DOT_COLUMNS
from sway_dash.dash.plots.base import Plot, frame, painted, source_of
from sway_dash.dash.theme import ROW_PX, Tokens


def prompt_dots() -> Plot:
    """One row a prompt: grey the range of the random adapters on that prompt, the dot the tuned model."""
    fig = frame("Divergence of every prompt", height=300, x="divergence, nats")
    plot = Plot(fig, {"rows": source_of(*DOT_COLUMNS), "nulls": source_of("y", "lo", "hi")})
    source = plot.sources["rows"]
    null = fig.segment(
        "lo", "y", "hi", "y", source=plot.sources["nulls"], line_width=9, line_cap="round", line_alpha=0.45
    )
    mapper = CategoricalColorMapper(factors=["above", "inside", "no null"], palette=["#000000"] * 3)
    dot = fig.scatter(
        "x",
        "y",
        source=source,
        marker="marker",
        size=10,
        line_width=1.5,
        fill_color={"field": "status"},
        fill_alpha=1.0,
    )
    dot.glyph.fill_color = dot.glyph.line_color = {"field": "status", "transform": mapper}
    dot.nonselection_glyph = dot.glyph.clone()
    dot.selection_glyph = dot.glyph.clone(size=15, line_width=2.5)
    for glyph in (dot.nonselection_glyph, dot.selection_glyph):
        glyph.fill_color = {"field": "status", "transform": mapper}
        glyph.line_color = {"field": "status", "transform": mapper}
    bound = Span(location=LN2, dimension="height", line_dash="dotted", line_width=1)
    fig.add_layout(bound)
    painted(plot, null.glyph, line_color="null")
    painted(plot, dot.selection_glyph, line_color="ink")
    painted(plot, bound, line_color="threshold")

    def palette(t: Tokens) -> None:
        mapper.palette = [t.tuned, t.null, t.base]

    plot.paints.append(palette)
    hover = HoverTool(
        renderers=[dot],
        tooltips=[
            ("prompt", "@prompt"),
            ("divergence", "@value_text"),
            ("random adapters", "@null_text"),
            ("likeliest token", "@top_text"),
            ("tags", "@tags"),
        ],
    )
    fig.add_tools(hover, TapTool(renderers=[dot]))
    plot.parts.update(bound=bound, dot=dot)
    fig.ygrid.grid_line_color = None
    return plot


def set_rows(plot: Plot, labels: dict[float, str], n: int) -> None:
    """Give the dot plot room for ``n`` rows with these names."""
    axis = plot.figure.yaxis[0]
    ticks = sorted(labels)
    axis.ticker = FixedTicker(ticks=ticks)
    axis.major_label_overrides = labels
    axis.visible = bool(labels)
    height = max(200, ROW_PX * min(n, 60) + 76)
    plot.figure.height = height
    plot.figure.y_range.update(start=-(max(n, 1) - 0.3), end=0.7)
