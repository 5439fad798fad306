"""A number beside the range in which it passes."""

from __future__ import annotations

from bokeh.models import BoxAnnotation, HoverTool

from sway_dash.figures.derive_ablation import ShapeNumber
from sway_dash.figures.plots.base import Plot, frame, painted, source_of
from sway_dash.figures.theme import number


def pass_strip(label: str) -> Plot:
    """One number on its own axis; shaded the range in which it passes."""
    fig = frame(label, height=74, x="")
    plot = Plot(fig, {"value": source_of("x", "y", "marker", "text")})
    fig.toolbar_location = None
    fig.yaxis.visible = False
    fig.grid.grid_line_color = None
    fig.y_range.update(start=-1, end=1)
    inside = BoxAnnotation(left=0, right=0, fill_alpha=0.25, line_alpha=1, visible=False)
    fig.add_layout(inside)
    value = fig.scatter("x", "y", source=plot.sources["value"], marker="marker", size=14, line_width=1.5)
    fig.add_tools(HoverTool(renderers=[value], tooltips=[(label, "@text")]))
    painted(plot, inside, fill_color="good", line_color="good")
    painted(plot, value.glyph, fill_color="tuned", line_color="ink")
    plot.parts.update(inside=inside)
    return plot


def set_strip(plot: Plot, shape: ShapeNumber, *, least: float, most: float) -> None:
    """Draw a number; the axis reaches from ``least`` to ``most`` and further where the number or its range do."""
    value, lo, hi = shape.value, shape.lo, shape.hi
    known = [value] if value is not None else []
    right = max([most, *known, *([1.1 * hi] if hi < float("inf") else [])])
    left = min([least, *known])
    pad = 0.04 * (right - left)
    plot.figure.x_range.update(start=left - pad, end=right + pad, reset_start=left - pad, reset_end=right + pad)
    plot.parts["inside"].update(left=max(lo, left - pad), right=min(hi, right + pad), visible=True)
    plot.sources["value"].data = {
        "x": known,
        "y": [0.0] * len(known),
        "marker": ["diamond" if shape.passed else "x"] * len(known),
        "text": [number(v) for v in known],
    }
