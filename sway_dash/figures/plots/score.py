"""What a composite score is made of, as one bar; a second bar for other settings."""

from __future__ import annotations

from collections.abc import Sequence

from bokeh.models import FixedTicker, HoverTool, Span

from sway_dash.figures.plots.base import Plot, frame, painted, source_of
from sway_dash.figures.score_columns import BAR_COLUMNS, BAR_PX, BARS_PX, EDGES, Part, bar

RUN, SET = 1.0, 0.0
"""Places of the two bars on the y axis."""


def score_bar() -> Plot:
    """Segments end to end, one a probe, hatched and numbered by category; outlined what is missing to 1."""
    fig = frame("Composite score", height=BAR_PX, x="composite score")
    plot = Plot(fig, {"parts": source_of(*BAR_COLUMNS), "rest": source_of("y", "left", "right")})
    fig.x_range.update(start=-0.005, end=1.02, reset_start=-0.005, reset_end=1.02)
    fig.xaxis.ticker = FixedTicker(ticks=[0.0, *EDGES, 1.0])
    fig.yaxis.ticker = FixedTicker(ticks=[SET, RUN])
    fig.yaxis.major_label_overrides = {SET: "you set", RUN: "the run"}
    fig.grid.grid_line_color = None
    for edge in EDGES:
        line = Span(location=edge, dimension="height", line_width=1, line_dash="dashed")
        fig.add_layout(line)
        painted(plot, line, line_color="threshold")
    rest = fig.hbar("y", left="left", right="right", height=0.56, source=plot.sources["rest"], fill_alpha=0)
    segment = fig.hbar(
        "y",
        left="left",
        right="right",
        height=0.56,
        source=plot.sources["parts"],
        fill_alpha=0.3,
        line_width=1.5,
        hatch_pattern="hatch",
        hatch_scale=7,
        hatch_weight=1,
        hatch_alpha=0.55,
    )
    marks = fig.text("middle", "y", "mark", source=plot.sources["parts"], text_align="center", text_baseline="middle")
    marks.glyph.update(text_font_size="12px", text_font_style="bold")
    # The last band is too narrow for its name where the screen is: it ends at 1.
    names = fig.text(
        [0.15, 0.45, 0.725, 1.0],
        [RUN + 0.42] * 4,
        ["noise", "partial", "healthy", "suspicious"],
        text_baseline="bottom",
        text_align={"field": "align"},
    )
    names.data_source.data["align"] = ["center", "center", "center", "right"]
    names.glyph.text_font_size = "11px"
    tips = [("probe", "@probe"), ("category", "@category"), ("its part × score", "@text")]
    fig.add_tools(HoverTool(renderers=[segment], tooltips=tips))
    painted(plot, rest.glyph, line_color="rule")
    painted(plot, segment.glyph, fill_color="accent", line_color="surface", hatch_color="accent")
    painted(plot, marks.glyph, text_color="ink")
    painted(plot, names.glyph, text_color="muted")
    set_score(plot, [], None)
    return plot


def set_score(plot: Plot, run: Sequence[Part], other: Sequence[Part] | None) -> None:
    """Show what the run's score is made of and, below it, that of other settings if there are any."""
    rows = [(RUN, run)] if other is None else [(RUN, run), (SET, other)]
    columns = {name: [] for name in BAR_COLUMNS}  # type: ignore[var-annotated]
    rest = {"y": [], "left": [], "right": []}  # type: ignore[var-annotated]
    for place, found in rows:
        for name, values in bar(found, place).items():
            columns[name] += values
        rest["y"].append(place)
        rest["left"].append(sum(p.adds for p in found))
        rest["right"].append(1.0)
    plot.sources["parts"].data = columns
    plot.sources["rest"].data = rest
    bottom = RUN - 0.42 if other is None else SET - 0.42
    plot.figure.y_range.update(start=bottom, end=RUN + 0.95)
    plot.figure.height = BAR_PX if other is None else BARS_PX
