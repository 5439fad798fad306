"""A divergence over the steps of a training run."""

from __future__ import annotations

from bokeh.models import FixedTicker, HoverTool, NumeralTickFormatter, TapTool

from sway_dash.figures.columns import Columns
from sway_dash.figures.plots.base import Plot, frame, painted, source_of


def checkpoint_course() -> Plot:
    """Thin lines the prompts (a band the middle 80 % of many), thick their mean with its interval, grey the nulls."""
    fig = frame("Divergence by training step", height=280, x="training step", y="divergence, nats", grid="y")
    plot = Plot(
        fig,
        {
            "line": source_of("step", "mean", "run", "text"),
            "band": source_of("step", "lo", "hi"),
            "nulls": source_of("step", "lo", "hi"),
            "each": source_of("xs", "ys", "place"),
            "middle": source_of("step", "lo", "hi"),
        },
    )
    nulls = fig.varea("step", "lo", "hi", source=plot.sources["nulls"], fill_alpha=0.4)
    middle = fig.varea("step", "lo", "hi", source=plot.sources["middle"], fill_alpha=0.12)
    each = fig.multi_line("xs", "ys", source=plot.sources["each"], line_alpha=0.25, line_width=1)
    each.nonselection_glyph = each.glyph.clone()
    each.selection_glyph = each.glyph.clone(line_alpha=1.0, line_width=3)
    band = fig.varea("step", "lo", "hi", source=plot.sources["band"], fill_alpha=0.25)
    mean = fig.line("step", "mean", source=plot.sources["line"], line_width=2.5)
    dots = fig.scatter("step", "mean", source=plot.sources["line"], size=8)
    ticker = FixedTicker()
    fig.xaxis[0].update(formatter=NumeralTickFormatter(format="0,0"), ticker=ticker)
    plot.parts["ticker"] = ticker
    fig.add_tools(HoverTool(renderers=[dots], tooltips=[("mean", "@text")]), TapTool(renderers=[dots, each]))
    painted(plot, nulls.glyph, fill_color="null")
    painted(plot, middle.glyph, fill_color="tuned")
    painted(plot, each.glyph, line_color="tuned")
    painted(plot, each.nonselection_glyph, line_color="tuned")
    painted(plot, each.selection_glyph, line_color="ink")
    painted(plot, band.glyph, fill_color="tuned")
    painted(plot, mean.glyph, line_color="tuned")
    painted(plot, dots.glyph, fill_color="tuned", line_color="tuned")
    return plot


def set_course(plot: Plot, found: dict[str, Columns], *, anew: bool) -> None:
    """Show these columns; the axes hold every step and every value."""
    for name, columns in found.items():
        plot.sources[name].data = columns
    steps = found["line"]["step"]
    if not steps:
        return
    room = 0.04 * (max(steps) - min(steps)) or 1.0
    plot.figure.x_range.update(start=min(steps) - room, end=max(steps) + room)
    # Ticks at the steps that were measured, as far as their numbers have room; the last one always has.
    ticks = [steps[-1]]
    for step in steps[-2::-1]:
        if ticks[-1] - step >= 2 * room:
            ticks.append(step)
    plot.parts["ticker"].ticks = sorted(ticks)
    values = [*found["line"]["mean"], *found["band"]["hi"], *found["nulls"]["hi"], *found["middle"]["hi"]]
    values += [v for ys in found["each"]["ys"] for v in ys]
    plot.reach("y", max(values, default=0.0), anew=anew)
