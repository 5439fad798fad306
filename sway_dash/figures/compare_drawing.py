"""Filling the figures of a comparison: what a page and a report draw of the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

from sway_dash.core.divergence import LN2
from sway_dash.figures import compare_columns as columns
from sway_dash.figures.columns import Columns
from sway_dash.figures.compare_columns import Mode
from sway_dash.figures.plots import Plot
from sway_dash.figures.plots import checkpoints as course_plot
from sway_dash.figures.plots import paired as plots
from sway_dash.figures.theme import canvas_text, count, number
from sway_dash.report.paired import NAMES
from sway_dash.suite.checkpoints import Course
from sway_dash.suite.comparison import Comparison, Contrast

NAME_LIMIT = 22


def short(comparison: Comparison, labels: Sequence[str], run: int) -> str:
    """``B late adapter``, as an axis has room for."""
    return f"{labels[run]} {canvas_text(comparison.sides[run].name, NAME_LIMIT)}"


def draw_differences(plot: Plot, comparison: Comparison, labels: Sequence[str], *, anew: bool = True) -> None:
    """Fill :func:`plots.paired.mean_differences`."""
    rows, noise = columns.deltas(comparison)
    plot.sources["rows"].data = rows
    plot.sources["noise"].data = noise
    names = {-float(k): short(comparison, labels, c.run) for k, c in enumerate(comparison.contrasts)}
    plots.set_runs(plot, names)
    ends = [*rows["lo"], *rows["hi"], *noise["lo"], *noise["hi"]]
    plots.reach(plot, "x", min(ends, default=0.0), max(ends, default=0.0), anew=anew)
    name = NAMES[comparison.metric]
    plot.figure.xaxis[0].axis_label = f"mean Δ{name} from {labels[comparison.baseline]}, nats"
    runs = zip(rows["run"], rows["mean_text"], rows["ci_text"], strict=True)
    told = "; ".join(f"{labels[run]} {mean} ({ci})" for run, mean, ci in runs)
    plot.describe(f"Mean difference of {name} from the baseline. {told}. The table below has every number.")


def pair_rows(mode: Mode, comparison: Comparison, contrast: Contrast, *, by_size: bool = True) -> Columns:
    """Rows of one run against the baseline, for the plot of this mode."""
    if mode == "cloud":
        return columns.points(comparison, contrast)
    return columns.pairs(comparison, contrast, by_size=by_size)


def draw_pair(
    plot: Plot,
    mode: Mode,
    rows: Columns,
    comparison: Comparison,
    contrast: Contrast,
    labels: Sequence[str],
    *,
    limit: int,
    width: int = plots.SLOPE_WIDE_PX,
    anew: bool = True,
) -> None:
    """Fill the plot of a mode with one run against the baseline; ``limit`` is how long names may be."""
    largest = max([*rows["a"], *rows["b"]], default=0.0)
    bound = LN2 if comparison.metric == "js" else None
    name = NAMES[comparison.metric]
    base, run = (short(comparison, labels, i) for i in (comparison.baseline, contrast.run))
    plot.sources["rows"].data = rows
    if mode == "slope":
        plot.reach("y", largest, bound=bound, anew=anew)
        plots.set_pair(plot, base, run)
        top = plot.figure.y_range.end
        plot.sources["names"].data = columns.slope_labels(rows, top=top, height=plots.SLOPE_PX - 80, limit=limit)
        plots.set_room(plot, width)
        plot.figure.yaxis[0].axis_label = f"{name} from the base model, nats"
    elif mode == "rows":
        bars = columns.floor_bars(comparison, contrast, rows)
        plot.sources["noise"].data = bars
        plot.reach("x", max([largest, *bars["hi"]], default=0.0), bound=bound, anew=anew)
        plots.set_rows(plot, columns.row_labels(rows, limit), len(rows["y"]))
        plot.figure.xaxis[0].axis_label = f"{name} from the base model, nats"
    else:
        for axis in ("x", "y"):
            plot.reach(axis, largest, bound=bound, anew=anew)
        plots.set_cloud(plot, max(largest, plot.figure.x_range.end), columns.typical_floor(contrast))
        plot.figure.xaxis[0].axis_label = f"{name} in {base}, nats"
        plot.figure.yaxis[0].axis_label = f"{name} in {run}, nats"
    what = {"slope": "Slopes", "rows": "Rows", "cloud": "Scatter plot"}[mode]
    text = counts(comparison, contrast, labels)
    plot.describe(f"{what} of {text}. The table below has every number.")


def draw_histogram(plot: Plot, comparison: Comparison, contrast: Contrast, *, anew: bool = True) -> None:
    """Fill :func:`plots.paired.difference_histogram`."""
    bins = columns.histogram(contrast)
    plot.sources["bins"].data = bins
    floor = columns.typical_floor(contrast)
    plot.parts["noise"].update(left=-floor, right=floor)
    plots.reach(plot, "x", min(bins["left"], default=0.0), max(bins["right"], default=0.0), anew=anew)
    plot.reach("y", float(max(bins["count"], default=0)), anew=anew)
    plot.figure.xaxis[0].axis_label = f"Δ{NAMES[comparison.metric]}, nats"
    plot.describe(f"Histogram of {contrast.stats.n:,} differences; most prompts' noise is ± {number(floor)} nats.")


def draw_course(plot: Plot, found: Course, comparison: Comparison, labels: Sequence[str], *, anew: bool = True) -> str:
    """Fill :func:`plots.checkpoints.checkpoint_course`; returns what it shows, in a sentence."""
    course_plot.set_course(plot, columns.course_columns(found, labels), anew=anew)
    text = columns.course_text(found, comparison, labels)
    plot.figure.yaxis[0].axis_label = f"{NAMES[comparison.metric]}, nats"
    plot.describe(f"Divergence by training step. {text}")
    return text


def counts(comparison: Comparison, contrast: Contrast, labels: Sequence[str]) -> str:
    """How many prompts moved more, the same and less, in words."""
    stats, base, run = contrast.stats, labels[comparison.baseline], labels[contrast.run]
    return (
        f"{count(stats.n, 'prompt')} in both: {stats.up:,} more changed, {stats.same:,} same,"
        f" {stats.down:,} less changed in {run} than in {base}"
    )


def noise_rule(comparison: Comparison, mode: Mode) -> str:
    """What counts as the same, in words."""
    rule = "Same: the difference is no larger than that of two random adapters on the same prompt (95 % of pairs)"
    if not any(t.shape[1] for s in comparison.series if s is not None for t in s.nulls.values()):
        rule = "Same: equal to a millionth of a nat; without random adapters there is no better measure of noise"
    extra = {"slope": "", "rows": " Grey bars show it.", "cloud": " The corridor shows the median prompt's."}[mode]
    return f"{rule}.{extra}"
