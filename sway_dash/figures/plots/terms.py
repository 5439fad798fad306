"""Which tokens a KL is made of."""

from __future__ import annotations

from bokeh.models import CategoricalColorMapper, HoverTool, Span

from sway_dash.figures.columns import Columns
from sway_dash.figures.plots.base import Plot, frame, name_rows, painted, source_of
from sway_dash.figures.theme import Tokens

LABEL_CHARS = 20


def kl_bars() -> Plot:
    """Signed parts of the KL one below the other, each beginning where the sum so far ends."""
    fig = frame("Parts of the KL divergence", height=280, x="running total of KL(tuned‖base), nats")
    plot = Plot(fig, {"terms": source_of("label", "y", "left", "right", "side", "text", "sum_text")})
    zero = Span(location=0, dimension="height", line_width=1)
    total = Span(location=0, dimension="height", line_width=1.5, line_dash="dashed")
    for part in (zero, total):
        fig.add_layout(part)
    mapper = CategoricalColorMapper(factors=["up", "down", "rest"], palette=["#000000"] * 3)
    colour = {"field": "side", "transform": mapper}
    bar = fig.hbar("y", left="left", right="right", height=0.62, source=plot.sources["terms"])
    bar.glyph.update(fill_color=colour, line_color=colour)
    tips = [("token", "@label"), ("its part", "@text"), ("sum so far", "@sum_text")]
    fig.add_tools(HoverTool(renderers=[bar], tooltips=tips))
    painted(plot, zero, line_color="rule")
    painted(plot, total, line_color="threshold")

    def palette(t: Tokens) -> None:
        mapper.palette = [t.tuned, t.base, t.null]

    plot.paints.append(palette)
    plot.parts.update(total=total)
    return plot


def set_terms(plot: Plot, columns: Columns, kl: float) -> None:
    """Show another position's parts; ``kl`` is what they add up to, nats."""
    plot.sources["terms"].data = columns
    plot.parts["total"].location = kl
    name_rows(plot, columns, LABEL_CHARS)
    lo, hi = min([0.0, *columns["left"]]), max([kl, *columns["right"]])
    room = 0.06 * ((hi - lo) or 1.0)
    start, end = lo - room, hi + room
    plot.figure.x_range.update(start=start, end=end, reset_start=start, reset_end=end)
