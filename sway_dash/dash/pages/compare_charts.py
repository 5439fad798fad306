"""The pictures of a comparison: mean differences, the pair prompt by prompt, the course over checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import panel as pn
import param

from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import column, figure, html, set_html
from sway_dash.figures import compare_columns as columns
from sway_dash.figures.compare_columns import Mode
from sway_dash.figures.compare_drawing import (
    counts,
    draw_course,
    draw_differences,
    draw_histogram,
    draw_pair,
    noise_rule,
    pair_rows,
)
from sway_dash.figures.markup import heading, table
from sway_dash.figures.plots import Plot
from sway_dash.figures.plots import checkpoints as course_plot
from sway_dash.figures.plots import paired as plots
from sway_dash.figures.theme import esc, number
from sway_dash.report.paired import significance
from sway_dash.suite.checkpoints import course, ordered
from sway_dash.suite.comparison import Comparison, Contrast

NARROW_PX, NARROW_LABEL, WIDE_LABEL = 520, 16, 34


class DifferenceChart(pn.viewable.Viewer):
    """Mean difference of every run from the baseline; a click shows that run's single prompts."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.plot = plots.mean_differences()
        self.plot.sources["rows"].selected.on_change("indices", self._picked)
        self._caption = html()
        self._tests = html(css_classes=["sway-hook-tests"])
        marks = self.plot.legend(
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
        anew, self._epoch = self._epoch != state.epoch, state.epoch
        draw_differences(self.plot, comparison, state.labels, anew=anew)
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
        ways = (
            ("▲", "tuned", "more changed than in the baseline"),
            ("▼", "base", "less changed"),
            ("●", "null", "same: within noise"),
        )
        marks, *_ = (plot.legend(*ways) for plot in self._plots.values())
        self._root = column(self._head, *self._panes.values(), html(marks), self._bins_pane, self._caption, gap=2)
        self._key: tuple[Any, ...] = ()
        self._narrow, self._width = False, plots.SLOPE_WIDE_PX
        self._mode: Mode = "slope"
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
        plot = self._plots[mode]
        if anew:
            plot.sources["rows"].selected.indices = []
        rows = pair_rows(mode, comparison, contrast, by_size=not state.live)
        limit = NARROW_LABEL if self._narrow else WIDE_LABEL
        draw_pair(plot, mode, rows, comparison, contrast, state.labels, limit=limit, width=self._width, anew=anew)
        if mode == "cloud":
            draw_histogram(self._bins, comparison, contrast, anew=anew)
        self._describe(mode, comparison, contrast)
        self._mark()

    def _describe(self, mode: Mode, comparison: Comparison, contrast: Contrast) -> None:
        state = self.state
        base, run = state.labels[comparison.baseline], state.labels[contrast.run]
        set_html(
            self._head,
            heading(
                f"{run} against {base}, prompt by prompt",
                f"{esc(state.sides[contrast.run].name)} against {esc(state.sides[comparison.baseline].name)}",
            ),
        )
        text = counts(comparison, contrast, state.labels)
        set_html(self._caption, f'<p class="sway-caption">{esc(text)}. {noise_rule(comparison, mode)}</p>')

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
        """Shorter names where there is little room for them, slopes as wide as there is."""
        if new and self._mode == "slope":
            self._width = new
            plots.set_room(self._plots["slope"], new)
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
        marks = self.plot.legend(
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
        text = draw_course(self.plot, found, comparison, state.labels, anew=anew)
        set_html(self._caption, f'<p class="sway-caption">{esc(text)}</p>')

    def _run_picked(self, _attr: str, _old: Sequence[int], new: Sequence[int]) -> None:
        runs = self.plot.sources["line"].data["run"]
        if new and new[0] < len(runs):
            self.state.focus = self.state.addresses[int(runs[new[0]])]

    def _prompt_picked(self, _attr: str, _old: Sequence[int], new: Sequence[int]) -> None:
        places = self.plot.sources["each"].data["place"]
        if new and new[0] < len(places):
            self.state.item = int(places[new[0]])
