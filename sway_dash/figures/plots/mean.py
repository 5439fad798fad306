"""The mean as the run goes on."""

from __future__ import annotations

from bokeh.models import BasicTicker, BoxAnnotation, HoverTool, Span

from sway_dash.figures.plots.base import Plot, add_noise, frame, painted, source_of


def running_mean() -> Plot:
    """Mean over the prompts measured so far, with its band."""
    fig = frame("Running mean of the divergence", height=250, x="prompts measured", y="mean, nats", grid="y")
    plot = Plot(fig, {"line": source_of("n", "mean", "value"), "band": source_of("n", "lo", "hi")})
    line, band = plot.sources["line"], plot.sources["band"]
    null = BoxAnnotation(bottom=0, top=0, fill_alpha=0.35, line_alpha=0, visible=False)
    gate = Span(location=0, dimension="width", line_dash="dashed", line_width=1, visible=False)
    add_noise(plot, "y")
    fig.add_layout(null)
    fig.add_layout(gate)
    area = fig.varea("n", "lo", "hi", source=band, fill_alpha=0.22)
    each = fig.scatter("n", "value", source=line, size=5, fill_alpha=0.45, line_alpha=0)
    mean = fig.line("n", "mean", source=line, line_width=2.5)
    fig.xaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    fig.add_tools(
        HoverTool(
            renderers=[each], tooltips=[("prompts", "@n"), ("this prompt", "@value{0.0000}"), ("mean", "@mean{0.0000}")]
        )
    )
    painted(plot, null, fill_color="null")
    painted(plot, gate, line_color="threshold")
    painted(plot, area.glyph, fill_color="tuned")
    painted(plot, each.glyph, fill_color="tuned")
    painted(plot, mean.glyph, line_color="tuned")
    plot.parts.update(null=null, gate=gate)
    return plot
