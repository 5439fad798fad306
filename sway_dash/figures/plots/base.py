"""What every figure shares: a frame, named sources, and colours that are set by meaning.

Colours come from ``theme`` and are set again by :meth:`Plot.recolor` when a session changes its theme.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bokeh.models import BasicTickFormatter, BoxAnnotation, ColumnDataSource, FixedTicker, Range1d
from bokeh.plotting import figure

from sway_dash.figures.columns import Columns
from sway_dash.figures.markup import legend
from sway_dash.figures.theme import FONT, ROW_PX, Tokens, canvas_text, tokens

Paint = Callable[[Tokens], None]


@dataclass
class Plot:
    """A figure with its sources, and how to paint it."""

    figure: Any
    sources: dict[str, ColumnDataSource] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    paints: list[Paint] = field(default_factory=list)
    marks: tuple[tuple[str, str, str], ...] = ()
    """Its legend: sign, token, words. A picture that is saved takes it along."""
    _end: dict[str, float] = field(default_factory=dict)

    def recolor(self, dark: bool) -> None:
        """Give the frame and every glyph its colour of the theme."""
        t = tokens(dark)
        for axis in self.figure.axis:
            axis.update(
                axis_line_color=t.rule,
                major_tick_line_color=t.rule,
                major_label_text_color=t.muted,
                axis_label_text_color=t.muted,
            )
        for grid in self.figure.grid:
            if grid.grid_line_color is not None:
                grid.grid_line_color = t.rule
        for paint in self.paints:
            paint(t)

    def describe(self, text: str) -> None:
        """What a screen reader says of the picture."""
        if self.figure.html_attributes.get("aria-label") != text:
            self.figure.html_attributes = {"role": "img", "aria-label": text}

    def legend(self, *marks: tuple[str, str, str]) -> str:
        """Say what the marks mean; returns the legend as HTML."""
        self.marks = marks
        return legend(*marks)

    @property
    def zoomed(self) -> bool:
        """Whether the reader has moved an axis away from where it is put."""
        return any(not (math.isclose(s.start, lo) and math.isclose(s.end, hi)) for s, lo, hi in self._ends())

    def unzoom(self) -> None:
        """Put the axes back; from here on they grow again."""
        for span, lo, hi in self._ends():
            span.update(start=lo, end=hi)

    def _ends(self) -> list[tuple[Range1d, float, float]]:
        """Axes that know where they are put."""
        spans = (self.figure.x_range, self.figure.y_range)
        found = [s for s in spans if isinstance(s, Range1d) and None not in (s.reset_start, s.reset_end)]
        return [(s, s.reset_start, s.reset_end) for s in found]

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
            span.update(start=-0.02 * wanted, end=wanted, reset_start=-0.02 * wanted, reset_end=wanted)


TOOLS = """
:host(.bk-inner) { background: none; opacity: 1; pointer-events: none; --bokeh-icon-color: var(--sway-muted, #747679); }
:host(.bk-inner) > :not(.bk-divider) {
  pointer-events: auto; background: color-mix(in srgb, var(--sway-surface, white) 60%, transparent);
}
"""
"""Tools over a figure let it shine through: Bokeh's own bar is white, in the dark too, and takes the pointer from all
that lies below it."""


def frame(label: str, *, height: int, x: str, y: str = "", grid: str = "x") -> Any:
    """An empty figure; ``label`` is its text alternative until :meth:`Plot.describe` gives a better one."""
    fig = figure(
        name=label,
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
        background_fill_color=None,
        border_fill_color=None,
    )
    fig.toolbar.autohide = True
    fig.toolbar_inner = True
    fig.toolbar.logo = None
    fig.toolbar.stylesheets = [TOOLS]
    fig.outline_line_color = None
    if grid == "x":
        fig.ygrid.grid_line_color = None
    else:
        fig.xgrid.grid_line_color = None
    for axis in fig.axis:
        # Divergences are often some thousandths of a nat: without this a tick reads 0.000e+0.
        axis.formatter = BasicTickFormatter(power_limit_low=-6)
        axis.update(
            axis_label_text_font=FONT,
            axis_label_text_font_size="12px",
            axis_label_text_font_style="normal",
            major_label_text_font=FONT,
            minor_tick_line_color=None,
        )
    return fig


def painted(plot: Plot, model: Any, **properties: str) -> None:
    """Paint properties of a model with tokens: ``painted(plot, glyph, line_color="tuned")``."""

    def paint(t: Tokens) -> None:
        model.update(**{name: getattr(t, token) for name, token in properties.items()})

    plot.paints.append(paint)


def add_noise(plot: Plot, axis: str) -> None:
    """Part ``noise``: a hatched strip from zero to what a model lies from itself, along ``x`` or ``y``."""
    noise = BoxAnnotation(
        fill_alpha=0,
        line_alpha=0,
        hatch_pattern="right_diagonal_line",
        hatch_scale=6,
        hatch_weight=1,
        hatch_alpha=0.8,
        visible=False,
        level="underlay",
    )
    noise.update(**dict.fromkeys(("left", "right") if axis == "x" else ("bottom", "top"), 0.0))
    plot.figure.add_layout(noise)
    painted(plot, noise, hatch_color="muted")
    plot.parts["noise"] = noise


MOST_PX = 600
"""About as long as an axis is."""


def set_noise(plot: Plot, axis: str, end: float | None) -> None:
    """Move the end of the strip along ``axis``, given as a position; ``None`` hides it.

    Where the axis, which has to be set before, makes less than a pixel of it, its edge would look like a dotted line.
    """
    span = plot.figure.x_range if axis == "x" else plot.figure.y_range
    seen = bool(end) and (end or 0.0) > (span.end - span.start) / MOST_PX
    plot.parts["noise"].update(**{"right" if axis == "x" else "top": end or 0.0}, visible=seen)


def name_rows(plot: Plot, columns: Columns, most: int) -> None:
    """One row a label, the first on top, each as high as a row of a table; labels are cut to ``most`` characters."""
    labels = {y: canvas_text(text, most) for y, text in zip(columns["y"], columns["label"], strict=True)}
    plot.figure.yaxis[0].update(ticker=FixedTicker(ticks=sorted(labels)), major_label_overrides=labels)
    n = max(len(labels), 1)
    plot.figure.height = ROW_PX * n + 76
    plot.figure.y_range.update(start=-(n - 0.3), end=0.7)


def source_of(*names: str) -> ColumnDataSource:
    """An empty source with these columns."""
    return ColumnDataSource({name: [] for name in names})
