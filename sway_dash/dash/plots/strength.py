"""Divergence by adapter strength."""

from __future__ import annotations

from bokeh.models import HoverTool, Span

from sway_dash.dash.plots.base import Plot, frame, painted, source_of


def ablation() -> Plot:
    """Divergence by adapter strength: thin lines the prompts, thick the mean, the band its pointwise interval."""
    fig = frame("Divergence by adapter strength", height=250, x="adapter strength λ", y="divergence, nats", grid="y")
    plot = Plot(
        fig,
        {"line": source_of("lam", "mean", "n"), "band": source_of("lam", "lo", "hi"), "each": source_of("xs", "ys")},
    )
    trained = Span(location=1, dimension="height", line_width=1)
    fig.add_layout(trained)
    each = fig.multi_line("xs", "ys", source=plot.sources["each"], line_alpha=0.22, line_width=1)
    area = fig.varea("lam", "lo", "hi", source=plot.sources["band"], fill_alpha=0.22)
    mean = fig.line("lam", "mean", source=plot.sources["line"], line_width=2.5)
    dots = fig.scatter("lam", "mean", source=plot.sources["line"], size=7)
    fig.add_tools(HoverTool(renderers=[dots], tooltips=[("λ", "@lam"), ("mean", "@mean{0.0000}"), ("prompts", "@n")]))
    painted(plot, trained, line_color="threshold")
    painted(plot, each.glyph, line_color="tuned")
    painted(plot, area.glyph, fill_color="tuned")
    painted(plot, mean.glyph, line_color="tuned")
    painted(plot, dots.glyph, fill_color="tuned", line_color="tuned")
    return plot
