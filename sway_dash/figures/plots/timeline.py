"""What ran when: passes through the model in lanes, one a view, with the steps of the run above."""

from __future__ import annotations

from collections.abc import Sequence

from bokeh.models import CategoricalColorMapper, FixedTicker, HoverTool, Range1d

from sway_dash.figures.plots.base import Plot, frame, painted, source_of
from sway_dash.figures.theme import Tokens, canvas_text
from sway_dash.figures.trace_columns import BAR_COLUMNS, STEP_COLUMNS

LANE_PX = 24
OPS = {"next_token_dist": "forward", "rolling_logprob": "score", "logprob_of": "score", "generate": "generate"}
"""Operation → token of its colour."""

WORDS = {"forward": "next-token distributions", "score": "log-probabilities", "generate": "text"}

PASS_MARKS = (
    *(("■", tone, meaning) for tone, meaning in WORDS.items()),
    ("╱", "muted", "no traced call"),
    ("╵", "ink", "answered by the cache"),
)
"""Legend of the timeline: sign, token, words."""


def op_mapper(plot: Plot, extra: dict[str, str] | None = None) -> CategoricalColorMapper:
    """Colours of the operations, and of ``extra`` factors by token; of what is not known, grey."""
    names = {**OPS, **(extra or {})}
    mapper = CategoricalColorMapper(factors=list(names), palette=["#000000"] * len(names))

    def palette(t: Tokens) -> None:
        mapper.update(palette=[getattr(t, token) for token in names.values()], nan_color=t.muted)

    plot.paints.append(palette)
    return mapper


def timeline(span: Range1d) -> Plot:
    """Passes as bars, coloured by operation; ticks below a lane are answers of the cache; hatched is neither."""
    fig = frame("Timeline of the scoring calls", height=200, x="seconds since the start")
    fig.x_range = span
    plot = Plot(
        fig,
        {
            "steps": source_of(*STEP_COLUMNS),
            "bars": source_of(*BAR_COLUMNS),
            "gaps": source_of("left", "right", "bottom", "top", "time_text"),
            "hits": source_of("x", "y", "what"),
        },
    )
    steps = fig.quad("left", "right", 0.62, 1.38, source=plot.sources["steps"], fill_alpha="alpha", line_width=1)
    names = fig.text("x", 1.0, "label", source=plot.sources["steps"], text_baseline="middle")
    names.glyph.update(text_font_size="11.5px")
    gaps = fig.quad(
        "left",
        "right",
        "bottom",
        "top",
        source=plot.sources["gaps"],
        fill_alpha=0,
        line_alpha=0,
        hatch_pattern="right_diagonal_line",
        hatch_scale=6,
        hatch_weight=1,
        hatch_alpha=0.7,
    )
    mapper = op_mapper(plot)
    colour = {"field": "op", "transform": mapper}
    # The line keeps a bar visible that is narrower than a pixel.
    bars = fig.quad("left", "right", "bottom", "top", source=plot.sources["bars"], line_width=1)
    bars.glyph.update(fill_color=colour, line_color=colour)
    hits = fig.scatter("x", "y", source=plot.sources["hits"], marker="dash", angle=1.5708, size=6, line_width=1)
    fig.add_tools(
        HoverTool(renderers=[steps], tooltips=[("step", "@name"), ("time", "@time_text")]),
        HoverTool(
            renderers=[bars],
            tooltips=[("", "@what"), ("time", "@time_text"), ("view", "@view"), ("probe", "@probe"), ("call", "@op")],
        ),
        HoverTool(renderers=[gaps], tooltips=[("no traced call", "@time_text")]),
        HoverTool(renderers=[hits], tooltips=[("", "@what")]),
    )
    fig.ygrid.grid_line_color = None
    painted(plot, steps.glyph, fill_color="raised", line_color="rule")
    painted(plot, names.glyph, text_color="muted")
    painted(plot, gaps.glyph, hatch_color="muted")
    painted(plot, hits.glyph, line_color="ink")
    return plot


def set_lanes(plot: Plot, names: Sequence[str]) -> None:
    """Give every view its lane, below the steps and above what was not traced."""
    labels = {1.0: "step", **{-float(k): canvas_text(name, 20) for k, name in enumerate(names)}}
    labels[-float(len(names))] = "no call"
    axis = plot.figure.yaxis[0]
    if axis.major_label_overrides == labels:
        return
    axis.update(ticker=FixedTicker(ticks=sorted(labels)), major_label_overrides=labels)
    plot.figure.height = LANE_PX * (len(names) + 2) + 70
    plot.figure.y_range.update(start=-len(names) - 0.6, end=1.6)
