"""The pictures of a comparison: mean differences, the pair prompt by prompt, the course over checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import panel as pn
import param

from sway_dash.core.divergence import LN2
from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import column, figure, heading, html, legend, set_data, set_html, table
from sway_dash.figures import compare_columns as columns
from sway_dash.figures.columns import Columns
from sway_dash.figures.plots import Plot
from sway_dash.figures.plots import checkpoints as course_plot
from sway_dash.figures.plots import paired as plots
from sway_dash.figures.theme import canvas_text, count, esc, number
from sway_dash.report.paired import NAMES, significance
from sway_dash.suite.checkpoints import course, ordered
from sway_dash.suite.comparison import Comparison, Contrast

NARROW_PX, NARROW_LABEL, WIDE_LABEL = 520, 16, 34
NAME_LIMIT = 22


class DifferenceChart(pn.viewable.Viewer):
    """Mean difference of every run from the baseline; a click shows that run's single prompts."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.plot = plots.mean_differences()
        self.plot.sources["rows"].selected.on_change("indices", self._picked)
        self._caption = html()
        self._tests = html(css_classes=["sway-hook-tests"])
        marks = legend(
            ("◆", "accent", "mean difference, 95 % interval"),
            ("bar", "null", "as far as random adapters' means lie apart"),
        )
        self._root = column(
            html(heading("Against the baseline")), figure(self.plot), html(marks), self._caption, self._tests, gap=2
        )
        self._epoch = -1
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("state.version", watch=True)
    def _refresh(self) -> None:
        state, comparison = self.state, self.state.comparison
        if comparison is None:
            return
        rows, noise = columns.deltas(comparison)
        set_data(self.plot.sources["rows"], rows)
        set_data(self.plot.sources["noise"], noise)
        names = {-float(k): _short(state, c.run) for k, c in enumerate(comparison.contrasts)}
        plots.set_runs(self.plot, names)
        anew, self._epoch = self._epoch != state.epoch, state.epoch
        ends = [*rows["lo"], *rows["hi"], *noise["lo"], *noise["hi"]]
        plots.reach(self.plot, "x", min(ends, default=0.0), max(ends, default=0.0), anew=anew)
        name = NAMES[comparison.metric]
        self.plot.figure.xaxis[0].axis_label = f"mean Δ{name} from {state.labels[comparison.baseline]}, nats"
        runs = zip(rows["run"], rows["mean_text"], rows["ci_text"], strict=True)
        told = "; ".join(f"{state.labels[run]} {mean} ({ci})" for run, mean, ci in runs)
        self.plot.describe(f"Mean difference of {name} from the baseline. {told}. The table below has every number.")
        caption = "Interval of the mean over these prompts; right of 0 the run moved them further from the base model."
        set_html(self._caption, f'<p class="sway-caption">{caption}</p>')
        set_html(self._tests, self._table(comparison, state.labels))

    def _table(self, comparison: Comparison, labels: Sequence[str]) -> str:
        rows = [
            (
                labels[c.run],
                columns.delta(c.stats.mean),
                f"{columns.delta(c.stats.ci[0])} to {columns.delta(c.stats.ci[1])}" if c.stats.ci else c.stats.ci_note,
                f"± {number(c.mean_floor)}",
                esc(significance(c.stats, number)),
            )
            for c in comparison.contrasts
        ]
        head = ("Run", "Mean Δ, nats", "95 % interval", "Noise of a mean", "Test and effect size")
        return f"<details><summary>Numbers and tests</summary>{table(head, rows, right=(1, 2, 3))}</details>"

    def _picked(self, _attr: str, _old: Sequence[int], new: Sequence[int]) -> None:
        runs = self.plot.sources["rows"].data["run"]
        if new and new[0] < len(runs):
            self.state.focus = self.state.addresses[int(runs[new[0]])]


class PairChart(pn.viewable.Viewer):
    """The focused run and the baseline prompt by prompt: slopes, rows or a cloud, by how many prompts there are."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._plots: dict[str, Plot] = {"slope": plots.slopes(), "rows": plots.rows(), "cloud": plots.cloud()}
        self._bins = plots.difference_histogram()
        for plot in self._plots.values():
            plot.sources["rows"].selected.on_change("indices", self._picker(plot))
            plot.figure.on_change("outer_width", self._resized)
        self._head = html(css_classes=["sway-hook-pair"])
        # In columns of their own: a Bokeh pane that is hidden itself leaves its figure in sight.
        self._panes = {name: column(figure(plot), visible=name == "slope") for name, plot in self._plots.items()}
        self._bins_pane = column(figure(self._bins), visible=False)
        self._caption = html()
        marks = legend(
            ("▲", "tuned", "more changed than in the baseline"),
            ("▼", "base", "less changed"),
            ("●", "null", "same: within noise"),
        )
        self._root = column(self._head, *self._panes.values(), html(marks), self._bins_pane, self._caption, gap=2)
        self._key: tuple[Any, ...] = ()
        self._narrow = False
        self._mode = "slope"
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        return [*self._plots.values(), self._bins]

    @param.depends("state.version", "state.focus", watch=True)
    def _refresh(self) -> None:
        state, comparison, contrast = self.state, self.state.comparison, self.state.contrast
        if comparison is None or contrast is None:
            return
        mode = columns.mode(comparison, contrast)
        key = (state.epoch, contrast.run, comparison.metric, mode)
        anew, self._key = key != self._key, key
        self._mode = mode
        for name, pane in self._panes.items():
            pane.visible = name == mode
        self._bins_pane.visible = mode == "cloud"
        if mode == "cloud":
            rows = columns.points(comparison, contrast)
        else:
            rows = columns.pairs(comparison, contrast, by_size=not state.live)
        self._draw(mode, rows, comparison, contrast, anew)
        self._describe(mode, comparison, contrast)
        self._mark()

    def _draw(self, mode: str, rows: Columns, comparison: Comparison, contrast: Contrast, anew: bool) -> None:
        plot, state = self._plots[mode], self.state
        largest = max([*rows["a"], *rows["b"]], default=0.0)
        bound = LN2 if comparison.metric == "js" else None
        name = NAMES[comparison.metric]
        base, run = _short(state, comparison.baseline), _short(state, contrast.run)
        if anew:
            plot.sources["rows"].selected.indices = []
        set_data(plot.sources["rows"], rows)
        if mode == "slope":
            plot.reach("y", largest, bound=bound, anew=anew)
            plots.set_pair(plot, base, run)
            limit = NARROW_LABEL if self._narrow else WIDE_LABEL
            top = plot.figure.y_range.end
            set_data(
                plot.sources["names"], columns.slope_labels(rows, top=top, height=plots.SLOPE_PX - 80, limit=limit)
            )
            plot.figure.yaxis[0].axis_label = f"{name} from the base model, nats"
        elif mode == "rows":
            bars = columns.floor_bars(comparison, contrast, rows)
            set_data(plot.sources["noise"], bars)
            plot.reach("x", max([largest, *bars["hi"]], default=0.0), bound=bound, anew=anew)
            limit = NARROW_LABEL if self._narrow else WIDE_LABEL
            plots.set_rows(plot, columns.row_labels(rows, limit), len(rows["y"]))
            plot.figure.xaxis[0].axis_label = f"{name} from the base model, nats"
        else:
            for axis in ("x", "y"):
                plot.reach(axis, largest, bound=bound, anew=anew)
            plots.set_cloud(plot, max(largest, plot.figure.x_range.end), columns.typical_floor(contrast))
            plot.figure.xaxis[0].axis_label = f"{name} in {base}, nats"
            plot.figure.yaxis[0].axis_label = f"{name} in {run}, nats"
            self._histogram(contrast, name, anew)

    def _histogram(self, contrast: Contrast, name: str, anew: bool) -> None:
        bins, plot = columns.histogram(contrast), self._bins
        set_data(plot.sources["bins"], bins)
        floor = columns.typical_floor(contrast)
        plot.parts["noise"].update(left=-floor, right=floor)
        plots.reach(plot, "x", min(bins["left"], default=0.0), max(bins["right"], default=0.0), anew=anew)
        plot.reach("y", float(max(bins["count"], default=0)), anew=anew)
        plot.figure.xaxis[0].axis_label = f"Δ{name}, nats"
        plot.describe(f"Histogram of {contrast.stats.n:,} differences; most prompts' noise is ± {number(floor)} nats.")

    def _describe(self, mode: str, comparison: Comparison, contrast: Contrast) -> None:
        state, stats = self.state, contrast.stats
        base, run = state.labels[comparison.baseline], state.labels[contrast.run]
        set_html(
            self._head,
            heading(
                f"{run} against {base}, prompt by prompt",
                f"{esc(state.sides[contrast.run].name)} against {esc(state.sides[comparison.baseline].name)}",
            ),
        )
        what = {"slope": "Slopes", "rows": "Rows", "cloud": "Scatter plot"}[mode]
        text = (
            f"{count(stats.n, 'prompt')} in both: {stats.up:,} more changed, {stats.same:,} same,"
            f" {stats.down:,} less changed in {run} than in {base}"
        )
        self._plots[mode].describe(f"{what} of {text}. The table below has every number.")
        rule = "Same: the difference is no larger than that of two random adapters on the same prompt (95 % of pairs)"
        if not any(t.shape[1] for s in comparison.series if s is not None for t in s.nulls.values()):
            rule = "Same: equal to a millionth of a nat; without random adapters there is no better measure of noise"
        extra = {"slope": "", "rows": " Grey bars show it.", "cloud": " The corridor shows the median prompt's."}[mode]
        set_html(self._caption, f'<p class="sway-caption">{esc(text)}. {rule}.{extra}</p>')

    @param.depends("state.item", watch=True)
    def _mark(self) -> None:
        plots.mark(self._plots[self._mode], self.state.item)

    def _picker(self, plot: Plot) -> Any:
        def picked(_attr: str, _old: Sequence[int], new: Sequence[int]) -> None:
            places = plot.sources["rows"].data["place"]
            if new and new[0] < len(places):
                self.state.item = int(places[new[0]])

        return picked

    def _resized(self, _attr: str, _old: int | None, new: int | None) -> None:
        """Shorter names where there is little room for them."""
        narrow = 0 < (new or 0) < NARROW_PX
        if new and narrow != self._narrow:
            self._narrow = narrow
            self._refresh()


class CourseChart(pn.viewable.Viewer):
    """The divergence over training steps; not there unless three runs are checkpoints of one training run."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.plot = course_plot.checkpoint_course()
        self.plot.sources["line"].selected.on_change("indices", self._run_picked)
        self.plot.sources["each"].selected.on_change("indices", self._prompt_picked)
        self._caption = html(css_classes=["sway-hook-course"])
        marks = legend(
            ("line", "tuned", "mean"), ("bar", "tuned", "95 % interval, pointwise"), ("bar", "null", "random adapters")
        )
        head = html(heading("Over training", "Every run is a checkpoint of one training run."))
        self._root = column(head, figure(self.plot), html(marks), self._caption, gap=2, visible=False)
        self._epoch = -1
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("state.version", watch=True)
    def _refresh(self) -> None:
        state, comparison = self.state, self.state.comparison
        checkpoints = ordered(state.sides) if comparison is not None else None
        found = course(comparison, checkpoints) if comparison is not None and checkpoints is not None else None
        self._root.visible = found is not None
        if found is None or comparison is None:
            return
        anew, self._epoch = self._epoch != state.epoch, state.epoch
        course_plot.set_course(self.plot, columns.course_columns(found, state.labels), anew=anew)
        text = columns.course_text(found, comparison, state.labels)
        self.plot.figure.yaxis[0].axis_label = f"{NAMES[comparison.metric]}, nats"
        self.plot.describe(f"Divergence by training step. {text}")
        set_html(self._caption, f'<p class="sway-caption">{esc(text)}</p>')

    def _run_picked(self, _attr: str, _old: Sequence[int], new: Sequence[int]) -> None:
        runs = self.plot.sources["line"].data["run"]
        if new and new[0] < len(runs):
            self.state.focus = self.state.addresses[int(runs[new[0]])]

    def _prompt_picked(self, _attr: str, _old: Sequence[int], new: Sequence[int]) -> None:
        places = self.plot.sources["each"].data["place"]
        if new and new[0] < len(places):
            self.state.item = int(places[new[0]])


def _short(state: CompareState, run: int) -> str:
    """``B late adapter``, as an axis has room for."""
    return f"{state.labels[run]} {canvas_text(state.sides[run].name, NAME_LIMIT)}"
