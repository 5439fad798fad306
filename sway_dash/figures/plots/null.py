"""Random adapters beside the tuned one: every draw, their cumulative distribution, every rank, how large they are."""

from __future__ import annotations

from collections.abc import Sequence

from bokeh.models import BoxAnnotation, FixedTicker, HoverTool, NumeralTickFormatter, Span

from sway_dash.figures.plots.base import Plot, add_noise, frame, painted, source_of
from sway_dash.figures.theme import ROW_PX, canvas_text

EDGE_PX = 64
"""Dots and their distribution begin at the same place."""

LABEL = 48
"""Characters of a row's name."""


def null_draws() -> Plot:
    """Draws as stacked dots, the tuned mean as a diamond, the range of the next draw shaded."""
    fig = frame("Random adapters and the tuned one", height=190, x="mean divergence, nats")
    plot = Plot(
        fig,
        {"draws": source_of("x", "y", "text"), "tuned": source_of("x", "y", "text"), "beyond": source_of("x", "text")},
    )
    fig.yaxis.visible = False
    fig.min_border_left = EDGE_PX
    fig.ygrid.grid_line_color = None
    add_noise(plot, "x")
    expected = BoxAnnotation(left=0, right=0, fill_alpha=0.22, line_alpha=0, visible=False)
    gate = Span(location=0, dimension="height", line_dash="dashed", line_width=1, visible=False)
    fig.add_layout(expected)
    fig.add_layout(gate)
    dots = fig.scatter("x", "y", source=plot.sources["draws"], size=9, fill_alpha=0.55, line_width=1)
    tuned = fig.scatter("x", "y", source=plot.sources["tuned"], size=16, marker="diamond", line_width=1.5)
    beyond = fig.text("x", 0.5, "text", source=plot.sources["beyond"], text_align="right", text_baseline="middle")
    fig.add_tools(
        HoverTool(renderers=[dots], tooltips=[("random adapter", "@text")]),
        HoverTool(renderers=[tuned], tooltips=[("tuned", "@text")]),
    )
    painted(plot, expected, fill_color="null")
    painted(plot, gate, line_color="threshold")
    painted(plot, dots.glyph, fill_color="null", line_color="null")
    painted(plot, tuned.glyph, fill_color="tuned", line_color="ink")
    painted(plot, beyond.glyph, text_color="tuned")
    plot.parts.update(expected=expected, gate=gate, dots=dots)
    return plot


def null_ecdf(draws: Plot) -> Plot:
    """Share of the draws below a value, on the axis of the dots."""
    fig = frame("Cumulative distribution of the random adapters", height=170, x="", y="share below", grid="y")
    fig.x_range = draws.figure.x_range
    fig.min_border_left = EDGE_PX
    fig.y_range.update(start=-0.04, end=1.06)
    fig.yaxis.formatter = NumeralTickFormatter(format="0%")
    plot = Plot(fig, {"steps": source_of("x", "share"), "tuned": source_of("x", "share", "text")})
    steps = fig.step("x", "share", source=plot.sources["steps"], line_width=2, mode="after")
    tuned = fig.scatter("x", "share", source=plot.sources["tuned"], size=16, marker="diamond", line_width=1.5)
    tips = [("below", "@share{0 %}"), ("draw", "@x{0.0000[0000]}")]
    fig.add_tools(
        HoverTool(renderers=[steps], tooltips=tips, mode="vline"),
        HoverTool(renderers=[tuned], tooltips=[("tuned", "@text")]),
    )
    painted(plot, steps.glyph, line_color="null")
    painted(plot, tuned.glyph, fill_color="tuned", line_color="ink")
    return plot


def rank_rows(title: str = "Random adapters by rank") -> Plot:
    """The same comparison for random adapters of other ranks or distributions, one row each."""
    fig = frame(title, height=140, x="mean divergence, nats")
    plot = Plot(fig, {"draws": source_of("x", "y", "text"), "tuned": source_of("x", "y", "text")})
    dots = fig.scatter("x", "y", source=plot.sources["draws"], size=8, fill_alpha=0.5)
    tuned = fig.scatter("x", "y", source=plot.sources["tuned"], size=13, marker="diamond", line_width=1.5)
    fig.add_tools(HoverTool(renderers=[dots, tuned], tooltips=[("mean", "@text")]))
    painted(plot, dots.glyph, fill_color="null", line_color="null")
    painted(plot, tuned.glyph, fill_color="tuned", line_color="ink")
    return plot


def norm_bars() -> Plot:
    """Size of the change of the weights: bars from zero."""
    fig = frame("Size of the change of the weights", height=130, x="‖ΔW‖, Frobenius norm over all changed weights")
    plot = Plot(fig, {"tuned": source_of("y", "x", "text"), "nulls": source_of("y", "x", "text")})
    bars = {name: fig.hbar("y", 0.62, "x", 0, source=plot.sources[name], line_alpha=0) for name in ("tuned", "nulls")}
    fig.add_tools(HoverTool(renderers=list(bars.values()), tooltips=[("‖ΔW‖", "@text")]))
    painted(plot, bars["tuned"].glyph, fill_color="tuned")
    painted(plot, bars["nulls"].glyph, fill_color="null")
    return plot


def name_rows(plot: Plot, names: Sequence[str]) -> None:
    """Rows from the top with these names."""
    labels = {-float(k): canvas_text(name, LABEL) for k, name in enumerate(names)}
    axis = plot.figure.yaxis[0]
    if axis.major_label_overrides != labels:
        axis.update(ticker=FixedTicker(ticks=sorted(labels)), major_label_overrides=labels)
        plot.figure.height = (ROW_PX + 6) * max(len(names), 1) + 70
        plot.figure.y_range.update(start=-max(len(names), 1) + 0.4, end=0.6)
