"""What base and tuned would say next."""

from __future__ import annotations

from bokeh.models import HoverTool

from sway_dash.figures.columns import Columns
from sway_dash.figures.plots.base import Plot, frame, name_rows, painted, source_of

LABEL_CHARS = 20


def next_tokens() -> Plot:
    """Probability of the likely next tokens, base and tuned joined by a line."""
    names = ("label", "id", "y", "base", "tuned", "base_text", "tuned_text", "change", "rank")
    fig = frame("Next-token probabilities of base and tuned", height=280, x="probability of the next token")
    plot = Plot(fig, {"tokens": source_of(*names)})
    source = plot.sources["tokens"]
    fig.x_range.update(start=-0.02, end=1.02)
    join = fig.segment("base", "y", "tuned", "y", source=source, line_width=2, line_alpha=0.6)
    base = fig.scatter("base", "y", source=source, size=10, marker="circle")
    tuned = fig.scatter("tuned", "y", source=source, size=12, marker="diamond")
    tips = [
        ("token", "@label"),
        ("id", "@id"),
        ("base", "@base_text"),
        ("tuned", "@tuned_text"),
        ("change", "@change"),
        ("rank", "@rank"),
    ]
    fig.add_tools(HoverTool(renderers=[base, tuned], tooltips=tips))
    painted(plot, join.glyph, line_color="muted")
    painted(plot, base.glyph, fill_color="base", line_color="base")
    painted(plot, tuned.glyph, fill_color="tuned", line_color="tuned")
    return plot


def set_tokens(plot: Plot, columns: Columns) -> None:
    """Show another position's tokens."""
    plot.sources["tokens"].data = columns
    name_rows(plot, columns, LABEL_CHARS)
    known = [v for v in (*columns["base"], *columns["tuned"]) if v == v]
    end = min(1.02, 1.1 * max(known, default=1.0))
    plot.figure.x_range.update(start=-0.02 * end, end=end, reset_start=-0.02 * end, reset_end=end)
