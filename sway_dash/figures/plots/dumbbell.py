"""Single items under base and tuned: a row an item, a line from one to the other."""

from __future__ import annotations

from collections.abc import Sequence

from bokeh.models import BoxAnnotation, FixedTicker, HoverTool, Span, TapTool

from sway_dash.core.panels import Items
from sway_dash.figures import panel_columns as pc
from sway_dash.figures.plots.base import Plot, frame, painted, source_of
from sway_dash.figures.theme import ROW_PX


def dumbbell() -> Plot:
    """Base as a dot, tuned as a diamond, the change as the line between; the gate dashed."""
    fig = frame("Items under base and tuned", height=200, x="")
    plot = Plot(fig, {"rows": source_of(*pc.ITEM_COLUMNS), "joins": source_of(*pc.JOIN_COLUMNS)})
    rows = plot.sources["rows"]
    add_gate(plot, "height")
    add_mark(plot)
    join = fig.segment("base", "y", "tuned", "y", source=plot.sources["joins"], line_width=2, line_alpha=0.55)
    base = fig.scatter("base", "y", source=rows, size=9, line_width=1.5)
    tuned = fig.scatter("tuned", "y", source=rows, size=12, marker="diamond", line_width=1)
    keep(base, tuned)
    tips = [
        ("item", "@label"),
        ("base", "@base_text"),
        ("tuned", "@tuned_text"),
        ("change", "@change_text"),
        ("judged", "@flag"),
        ("note", "@note"),
    ]
    fig.add_tools(HoverTool(renderers=[base, tuned], tooltips=tips), TapTool(renderers=[base, tuned]))
    painted(plot, join.glyph, line_color="muted")
    painted(plot, base.glyph, fill_color="base", line_color="base")
    painted(plot, tuned.glyph, fill_color="tuned", line_color="tuned")
    return plot


def set_items(plot: Plot, panel: Items, places: Sequence[int]) -> None:
    """Show these rows of a panel; the axis holds all of them, so that another part has the same."""
    rows, joins, names = pc.item_columns(panel, places)
    plot.sources["rows"].data, plot.sources["joins"].data = rows, joins
    set_gate(plot, pc.known(panel.gate))
    name_rows(plot, names)
    set_span(plot, "x", pc.span(panel))
    plot.figure.xaxis[0].axis_label = pc.axis_label(panel) or None
    plot.describe(pc.words(panel))


# -- shared with the other panels ---------------------------------------------------------------


def keep(*renderers: object) -> None:
    """A tapped row is not to make the others fade: the choice is shown elsewhere."""
    for renderer in renderers:
        renderer.nonselection_glyph = renderer.selection_glyph = renderer.glyph  # type: ignore[attr-defined]


def add_gate(plot: Plot, dimension: str) -> None:
    """Part ``gate``: a dashed line."""
    gate = Span(location=0, dimension=dimension, line_dash="dashed", line_width=1.5, visible=False)
    plot.figure.add_layout(gate)
    painted(plot, gate, line_color="threshold")
    plot.parts["gate"] = gate


def set_gate(plot: Plot, gate: float | None) -> None:
    """Move the gate; ``None`` hides it."""
    plot.parts["gate"].update(location=gate or 0.0, visible=gate is not None)


def add_mark(plot: Plot) -> None:
    """Part ``mark``: a stripe behind the row that is open."""
    mark = BoxAnnotation(bottom=0, top=0, fill_alpha=0.14, line_alpha=0, visible=False, level="underlay")
    plot.figure.add_layout(mark)
    painted(plot, mark, fill_color="accent")
    plot.parts["mark"] = mark


def set_mark(plot: Plot, place: int) -> None:
    """Show which row of the panel is open, if it is among those shown."""
    shown = plot.sources["rows"].data
    y = next((y for y, p in zip(shown["y"], shown["place"], strict=True) if p == place), None)
    at = 0.0 if y is None else y
    plot.parts["mark"].update(bottom=at - 0.5, top=at + 0.5, visible=y is not None)


def name_rows(plot: Plot, names: dict[float, str]) -> None:
    """Rows from the top with these names."""
    axis = plot.figure.yaxis[0]
    if not isinstance(axis.ticker, FixedTicker):
        axis.ticker = FixedTicker()
    # Not a new ticker every time: a new model makes Bokeh walk the whole document.
    axis.ticker.ticks = sorted(names)
    axis.major_label_overrides = names
    n = max(len(names), 1)
    plot.figure.height = ROW_PX * max(n, 2) + 76
    plot.figure.y_range.update(start=-(n - 0.3), end=0.7, reset_start=-(n - 0.3), reset_end=0.7)


def set_span(plot: Plot, axis: str, ends: tuple[float, float]) -> None:
    """Set the ends of an axis, also those that a reset goes back to."""
    span = plot.figure.x_range if axis == "x" else plot.figure.y_range
    span.update(start=ends[0], end=ends[1], reset_start=ends[0], reset_end=ends[1])
