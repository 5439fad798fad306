"""Divergence by adapter strength."""

from __future__ import annotations

from typing import Any

from bokeh.models import BoxAnnotation, FixedTicker, HoverTool, Span, TapTool

from sway_dash.core.divergence import LN2
from sway_dash.figures.plots.base import Plot, frame, painted, source_of


def ablation() -> Plot:
    """Divergence by adapter strength, small: the mean, its pointwise interval, one thin line a prompt."""
    fig = frame("Divergence by adapter strength", height=250, x="adapter strength λ", y="divergence, nats", grid="y")
    plot = Plot(
        fig,
        {"line": source_of("lam", "mean", "n"), "band": source_of("lam", "lo", "hi"), "each": source_of("xs", "ys")},
    )
    _trained(plot)
    each = fig.multi_line("xs", "ys", source=plot.sources["each"], line_alpha=0.22, line_width=1)
    painted(plot, each.glyph, line_color="tuned")
    _mean(plot)
    return plot


def strength_curve() -> Plot:
    """The same, large, with what a curve is judged by: the straight line, the fit, where 90 % and overshoot may lie."""
    fig = frame("Divergence by adapter strength", height=380, x="adapter strength λ", y="divergence, nats", grid="y")
    plot = Plot(
        fig,
        {
            "line": source_of("lam", "mean", "n"),
            "band": source_of("lam", "lo", "hi"),
            "whole": source_of("lam", "lo", "hi"),
            "each": source_of("xs", "ys", "item", "prompt"),
            "open": source_of("xs", "ys"),
            "straight": source_of("x", "y"),
            "fit": source_of("x", "y"),
            "pass": source_of("x0", "y0", "x1", "y1", "text"),
            "found": source_of("x", "y", "marker", "text"),
        },
    )
    beyond = BoxAnnotation(left=1, fill_alpha=0.35, line_alpha=0, level="underlay")
    fig.add_layout(beyond)
    _trained(plot)
    source = plot.sources
    each = fig.multi_line("xs", "ys", source=source["each"], line_alpha=0.25, line_width=1.2)
    each.hover_glyph = each.glyph.clone(line_alpha=1.0, line_width=2.5)
    each.nonselection_glyph = each.selection_glyph = None
    opened = fig.multi_line("xs", "ys", source=source["open"], line_width=2.5)
    straight = fig.line("x", "y", source=source["straight"], line_width=1.5, line_dash="dashed")
    fit = fig.line("x", "y", source=source["fit"], line_width=1.5, line_dash="dashdot")
    passed = fig.segment("x0", "y0", "x1", "y1", source=source["pass"], line_width=7, line_alpha=0.45, line_cap="round")
    found = fig.scatter("x", "y", source=source["found"], marker="marker", size=12, line_width=1.5)
    for end in ("lo", "hi"):
        outer = fig.line("lam", end, source=source["whole"], line_width=1, line_alpha=0.8, line_dash=[2, 4])
        painted(plot, outer.glyph, line_color="tuned")
    _mean(plot)
    fig.add_tools(
        HoverTool(renderers=[each], tooltips=[("prompt", "@prompt")], line_policy="nearest"),
        HoverTool(renderers=[passed, found], tooltips=[("", "@text")]),
        TapTool(renderers=[each]),
    )
    painted(plot, beyond, fill_color="raised")
    painted(plot, each.glyph, line_color="tuned")
    painted(plot, each.hover_glyph, line_color="ink")
    painted(plot, opened.glyph, line_color="ink")
    painted(plot, straight.glyph, line_color="threshold")
    painted(plot, fit.glyph, line_color="accent")
    painted(plot, passed.glyph, line_color="good")
    painted(plot, found.glyph, fill_color="surface", line_color="ink")
    bound = Span(location=LN2, dimension="width", line_dash="dotted", line_width=1)
    fig.add_layout(bound)
    painted(plot, bound, line_color="threshold")
    plot.parts.update(bound=bound)
    return plot


def set_lambdas(plot: Plot, lams: list[float]) -> None:
    """Ticks at the measured strengths only."""
    ends = (min([0.0, *lams]) - 0.04, max([1.0, *lams]) + 0.06)
    if list(getattr(plot.figure.xaxis[0].ticker, "ticks", [])) != lams:
        plot.figure.xaxis.ticker = FixedTicker(ticks=lams)
        plot.figure.x_range.update(start=ends[0], end=ends[1], reset_start=ends[0], reset_end=ends[1])


def _trained(plot: Plot) -> None:
    trained = Span(location=1, dimension="height", line_width=1)
    plot.figure.add_layout(trained)
    painted(plot, trained, line_color="threshold")


def _mean(plot: Plot) -> None:
    fig, source = plot.figure, plot.sources
    area = fig.varea("lam", "lo", "hi", source=source["band"], fill_alpha=0.22)
    mean = fig.line("lam", "mean", source=source["line"], line_width=2.5)
    dots: Any = fig.scatter("lam", "mean", source=source["line"], size=7)
    fig.add_tools(HoverTool(renderers=[dots], tooltips=[("λ", "@lam"), ("mean", "@mean{0.0000}"), ("prompts", "@n")]))
    painted(plot, area.glyph, fill_color="tuned")
    painted(plot, mean.glyph, line_color="tuned")
    painted(plot, dots.glyph, fill_color="tuned", line_color="tuned")
