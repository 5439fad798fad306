"""Figures: empty frames with named sources, made once; a run only streams into them or replaces their columns.

Pure functions of their arguments; no Panel, no state. Colours come from ``theme`` by meaning and are set again by
:meth:`Plot.recolor` when a session changes its theme.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bokeh.models import (
    BasicTicker,
    BoxAnnotation,
    CategoricalColorMapper,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
    Span,
    TapTool,
)
from bokeh.plotting import figure

from sway_dash.core.divergence import LN2
from sway_dash.dash.columns import DOT_COLUMNS, Columns
from sway_dash.dash.theme import ROW_PX, Tokens, tokens

Paint = Callable[[Tokens], None]


@dataclass
class Plot:
    """A figure with its sources, and how to paint it."""

    figure: Any
    sources: dict[str, ColumnDataSource] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    paints: list[Paint] = field(default_factory=list)
    _end: dict[str, float] = field(default_factory=dict)

    def recolor(self, dark: bool) -> None:
        """Give every glyph its colour of the theme."""
        for paint in self.paints:
            paint(tokens(dark))

    def describe(self, text: str) -> None:
        """What a screen reader says of the picture."""
        if self.figure.html_attributes.get("aria-label") != text:
            self.figure.html_attributes = {"role": "img", "aria-label": text}

    def reach(self, axis: str, largest: float, *, bound: float | None = None, anew: bool = False) -> None:
        """Make an axis that starts at 0 hold ``largest``; it grows and never shrinks while a run goes on.

        An axis the reader has zoomed is left alone.
        """
        span: Range1d = self.figure.x_range if axis == "x" else self.figure.y_range
        shown = self._end.get(axis)
        if anew:
            shown = None
        elif shown is not None and not math.isclose(span.end, shown):
            return
        wanted = 1.08 * largest
        if bound is not None and wanted > 0.8 * bound:
            wanted = 1.04 * bound
        if wanted > 0 and (shown is None or wanted > shown):
            self._end[axis] = wanted
            span.update(start=-0.02 * wanted, end=wanted)


def _frame(label: str, *, height: int, x: str, y: str = "", grid: str = "x") -> Any:
    fig = figure(
        height=height,
        sizing_mode="stretch_width",
        min_width=200,
        tools="xbox_zoom,reset,save",
        toolbar_location="above",
        x_axis_label=x,
        y_axis_label=y or None,
        x_range=Range1d(0, 1),
        y_range=Range1d(0, 1),
        html_attributes={"role": "img", "aria-label": label},
        output_backend="canvas",
        min_border_left=8,
        min_border_right=12,
    )
    fig.toolbar.autohide = True
    fig.toolbar_inner = True
    fig.toolbar.logo = None
    fig.outline_line_color = None
    if grid == "x":
        fig.ygrid.grid_line_color = None
    else:
        fig.xgrid.grid_line_color = None
    for axis in fig.axis:
        axis.axis_label_text_font_style = "normal"
        axis.minor_tick_line_color = None
    return fig


def _painted(plot: Plot, model: Any, **properties: str) -> None:
    """Paint properties of a model with tokens: ``_painted(plot, glyph, line_color="tuned")``."""

    def paint(t: Tokens) -> None:
        model.update(**{name: getattr(t, token) for name, token in properties.items()})

    plot.paints.append(paint)


def _source(*names: str) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in names})


def prompt_dots() -> Plot:
    """One row a prompt: grey the range of the random adapters on that prompt, the dot the tuned model."""
    fig = _frame("Divergence of every prompt", height=300, x="divergence, nats")
    plot = Plot(fig, {"rows": _source(*DOT_COLUMNS), "nulls": _source("y", "lo", "hi")})
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
    _painted(plot, null.glyph, line_color="null")
    _painted(plot, dot.selection_glyph, line_color="ink")
    _painted(plot, bound, line_color="threshold")

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


def running_mean() -> Plot:
    """Mean over the prompts measured so far, with its pointwise interval."""
    fig = _frame("Running mean of the divergence", height=250, x="prompts measured", y="mean, nats", grid="y")
    plot = Plot(fig, {"line": _source("n", "mean", "value"), "band": _source("n", "lo", "hi")})
    line, band = plot.sources["line"], plot.sources["band"]
    null = BoxAnnotation(bottom=0, top=0, fill_alpha=0.35, line_alpha=0, visible=False)
    gate = Span(location=0, dimension="width", line_dash="dashed", line_width=1, visible=False)
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
    _painted(plot, null, fill_color="null")
    _painted(plot, gate, line_color="threshold")
    _painted(plot, area.glyph, fill_color="tuned")
    _painted(plot, each.glyph, fill_color="tuned")
    _painted(plot, mean.glyph, line_color="tuned")
    plot.parts.update(null=null, gate=gate)
    return plot


def null_strip() -> Plot:
    """The tuned mean and the means of the random adapters on one axis."""
    fig = _frame("Tuned model against random adapters", height=128, x="mean divergence, nats")
    plot = Plot(fig, {"nulls": _source("x", "y", "text"), "tuned": _source("x", "y", "lo", "hi", "text")})
    fig.y_range.update(start=-0.7, end=1.7)
    fig.yaxis.ticker = FixedTicker(ticks=[0, 1])
    fig.yaxis.major_label_overrides = {0: "random", 1: "tuned"}
    gate = Span(location=0, dimension="height", line_dash="dashed", line_width=1, visible=False)
    fig.add_layout(gate)
    nulls = fig.scatter("x", "y", source=plot.sources["nulls"], size=9, fill_alpha=0.5, line_alpha=0.9)
    ci = fig.segment("lo", "y", "hi", "y", source=plot.sources["tuned"], line_width=3)
    tuned = fig.scatter("x", "y", source=plot.sources["tuned"], size=13, marker="diamond", line_width=1)
    fig.add_tools(HoverTool(renderers=[nulls, tuned], tooltips=[("mean", "@text")]))
    _painted(plot, gate, line_color="threshold")
    _painted(plot, nulls.glyph, fill_color="null", line_color="null")
    _painted(plot, ci.glyph, line_color="tuned")
    _painted(plot, tuned.glyph, fill_color="tuned", line_color="tuned")
    plot.parts.update(gate=gate)
    return plot


def ablation() -> Plot:
    """Divergence by adapter strength: thin lines the prompts, thick the mean, the band its pointwise interval."""
    fig = _frame("Divergence by adapter strength", height=250, x="adapter strength λ", y="divergence, nats", grid="y")
    plot = Plot(
        fig, {"line": _source("lam", "mean", "n"), "band": _source("lam", "lo", "hi"), "each": _source("xs", "ys")}
    )
    trained = Span(location=1, dimension="height", line_width=1)
    fig.add_layout(trained)
    each = fig.multi_line("xs", "ys", source=plot.sources["each"], line_alpha=0.22, line_width=1)
    area = fig.varea("lam", "lo", "hi", source=plot.sources["band"], fill_alpha=0.22)
    mean = fig.line("lam", "mean", source=plot.sources["line"], line_width=2.5)
    dots = fig.scatter("lam", "mean", source=plot.sources["line"], size=7)
    fig.add_tools(HoverTool(renderers=[dots], tooltips=[("λ", "@lam"), ("mean", "@mean{0.0000}"), ("prompts", "@n")]))
    _painted(plot, trained, line_color="threshold")
    _painted(plot, each.glyph, line_color="tuned")
    _painted(plot, area.glyph, fill_color="tuned")
    _painted(plot, mean.glyph, line_color="tuned")
    _painted(plot, dots.glyph, fill_color="tuned", line_color="tuned")
    return plot


def hit_rate() -> Plot:
    """Share of scoring calls the cache answered, over calls."""
    fig = _frame("Cache hit rate", height=220, x="scoring calls", y="hit rate", grid="y")
    plot = Plot(fig, {"rate": _source("n", "rate")})
    fig.y_range.update(start=0, end=1.02)
    fig.yaxis.formatter = NumeralTickFormatter(format="0%")
    step = fig.step("n", "rate", source=plot.sources["rate"], line_width=2, mode="after")
    fig.add_tools(HoverTool(renderers=[step], tooltips=[("calls", "@n"), ("hit rate", "@rate{0.0%}")]))
    _painted(plot, step.glyph, line_color="accent")
    return plot


def next_tokens() -> Plot:
    """Probability of the likely next tokens, base and tuned joined by a line."""
    names = ("label", "id", "y", "base", "tuned", "base_text", "tuned_text")
    fig = _frame("Next-token probabilities of base and tuned", height=280, x="probability of the next token")
    plot = Plot(fig, {"tokens": _source(*names)})
    source = plot.sources["tokens"]
    fig.x_range.update(start=-0.02, end=1.02)
    join = fig.segment("base", "y", "tuned", "y", source=source, line_width=2, line_alpha=0.6)
    base = fig.scatter("base", "y", source=source, size=10, marker="circle")
    tuned = fig.scatter("tuned", "y", source=source, size=12, marker="diamond")
    tips = [("token", "@label"), ("id", "@id"), ("base", "@base_text"), ("tuned", "@tuned_text")]
    fig.add_tools(HoverTool(renderers=[base, tuned], tooltips=tips))
    _painted(plot, join.glyph, line_color="muted")
    _painted(plot, base.glyph, fill_color="base", line_color="base")
    _painted(plot, tuned.glyph, fill_color="tuned", line_color="tuned")
    return plot


def set_tokens(plot: Plot, columns: Columns, labels: dict[float, str]) -> None:
    """Show another prompt's tokens."""
    plot.sources["tokens"].data = columns
    axis = plot.figure.yaxis[0]
    axis.ticker = FixedTicker(ticks=sorted(labels))
    axis.major_label_overrides = labels
    n = max(len(labels), 1)
    plot.figure.height = ROW_PX * n + 76
    plot.figure.y_range.update(start=-(n - 0.3), end=0.7)
    known = [v for v in (*columns["base"], *columns["tuned"]) if v == v]
    end = min(1.02, 1.1 * max(known, default=1.0))
    plot.figure.x_range.update(start=-0.02 * end, end=end)
