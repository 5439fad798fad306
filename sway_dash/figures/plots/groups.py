"""Groups side by side: a row a group, its value as a point on its interval."""

from __future__ import annotations

from collections.abc import Sequence

from bokeh.models import HoverTool, TapTool

from sway_dash.core.panels import Groups
from sway_dash.figures import panel_columns as pc
from sway_dash.figures.plots.base import Plot, frame, painted, source_of
from sway_dash.figures.plots.dumbbell import add_gate, add_mark, keep, name_rows, set_gate, set_span


def group_points() -> Plot:
    """Layers, clusters, tags: points with intervals, the gate dashed."""
    fig = frame("Groups", height=200, x="")
    plot = Plot(fig, {"rows": source_of(*pc.GROUP_COLUMNS)})
    rows = plot.sources["rows"]
    add_gate(plot, "height")
    add_mark(plot)
    ci = fig.segment("lo", "y", "hi", "y", source=rows, line_width=3, line_alpha=0.5)
    point = fig.scatter("value", "y", source=rows, size=12, marker="diamond", line_width=1)
    keep(ci, point)
    tips = [
        ("group", "@label"),
        ("value", "@value_text"),
        ("interval", "@ci_text"),
        ("items", "@n_text"),
        ("judged", "@flag"),
    ]
    fig.add_tools(HoverTool(renderers=[point], tooltips=tips), TapTool(renderers=[point]))
    painted(plot, ci.glyph, line_color="tuned")
    painted(plot, point.glyph, fill_color="tuned", line_color="tuned")
    return plot


def set_groups(plot: Plot, panel: Groups, places: Sequence[int]) -> None:
    """Show these groups of a panel; the axis holds all of them."""
    rows, names = pc.group_columns(panel, places)
    plot.sources["rows"].data = rows
    set_gate(plot, pc.known(panel.gate))
    name_rows(plot, names)
    set_span(plot, "x", pc.span(panel))
    plot.figure.xaxis[0].axis_label = pc.axis_label(panel) or None
    plot.describe(pc.words(panel))
