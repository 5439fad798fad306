"""Every prompt in one picture: dots with their null ranges, a caterpillar, or distributions when there are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import param
from bokeh.events import SelectionGeometry, Tap

from sway_dash.core.divergence import LN2
from sway_dash.dash.components import beside, column, figure, html, set_html
from sway_dash.dash.pages.controls import bind_select, sort_options
from sway_dash.dash.prompt_list import PromptList, Row
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import columns, plots
from sway_dash.figures.columns import MAX_LABELLED
from sway_dash.figures.derive import bounds_of, value_of
from sway_dash.figures.markup import heading
from sway_dash.figures.plots import Plot
from sway_dash.figures.plots.ecdf import RUG_Y
from sway_dash.figures.plots.prompts import MARKS, NO_MARKS
from sway_dash.figures.plots.scale import LINEAR, ROOT, Scale, set_ticks
from sway_dash.figures.prompt_stats import Summary, summary
from sway_dash.figures.theme import count, esc, interval, number

NARROW_PX, NARROW_LABEL, WIDE_LABEL = 520, 18, 36

MAX_DOTS = 500
"""More prompts than this are drawn as distributions."""

_AWAY = """
:host(.sway-away) {
  position: absolute !important; left: 0; right: 0; height: 0 !important; overflow: hidden; visibility: hidden;
}
"""

METRICS = {"JS divergence": "js", "KL(tuned‖base)": "kl"}
SCALES = {"Square-root axis": False, "Linear axis": True}
NAMES = {"js": "JS divergence", "kl": "KL(tuned‖base)"}


class PromptChart(pn.viewable.Viewer):
    """A click opens a prompt, dragging a box chooses some; both go to ``choice``."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown: PromptList = param.ClassSelector(class_=PromptList, doc="The prompts to draw.")  # type: ignore[assignment]
    linear = param.Boolean(default=False, doc="Draw KL on a linear axis, not on one of square roots.")
    fit = param.String(default="", doc="Height of the pictures as CSS, instead of that of their rows.")
    labelled = param.Integer(default=MAX_LABELLED, doc="More prompts than this are drawn without their names.")

    def __init__(self, **params: Any) -> None:
        if "shown" not in params:
            params["shown"] = PromptList(run=params["run"], choice=params["choice"])
        super().__init__(**params)
        self.dots, self.ecdf = plots.prompt_dots(), plots.prompt_ecdf()
        self._source = self.dots.sources["rows"]
        self._source.selected.on_change("indices", lambda attr, old, new: self._mark())
        for plot, tapped, brushed in (
            (self.dots, self._dot_tapped, self._dots_brushed),
            (self.ecdf, self._ecdf_tapped, self._ecdf_brushed),
        ):
            plot.figure.on_event(Tap, tapped)
            plot.figure.on_event(SelectionGeometry, brushed)
            plot.figure.x_range.on_change("start", lambda attr, old, new: self._ticks())
            plot.figure.x_range.on_change("end", lambda attr, old, new: self._ticks())
        for size in ("outer_width", "outer_height") if self.fit else ("outer_width",):
            self.dots.figure.on_change(size, self._resized)
        self._metric = pmui.Select(label="Divergence", options=METRICS, width=165, **CONTROL)
        self._scale = pmui.Select(label="Axis", options=SCALES, width=170, **CONTROL)
        self._sort = pmui.Select(label="Order", options=sort_options(""), width=205, **CONTROL)
        self._probe = pmui.Select(label="Probe", options=[""], width=190, visible=False, **CONTROL)
        self._resort = pmui.Button(
            label="New order available", size="small", variant="outlined", visible=False, margin=(0, 8, 4, 0)
        )
        bind_select(self._metric, self.choice, "metric")
        bind_select(self._sort, self.choice, "sort")
        bind_select(self._probe, self.choice, "probe")
        bind_select(self._scale, self, "linear")
        self._resort.on_click(lambda _: self.shown.resort())
        # A pane is as visible as its figure: the column around it has its own.
        self._dots_pane, self._ecdf_pane = (
            column(figure(plot, fit=self.fit), visible=False, stylesheets=[_AWAY]) for plot in (self.dots, self.ecdf)
        )
        self._caption, self._marks = html(), html()
        controls = pn.FlexBox(self._probe, self._metric, self._scale, self._sort, self._resort, margin=0)
        head = beside(html(heading("Every prompt"), sizing_mode=None), controls)
        self._root = column(head, self._dots_pane, self._ecdf_pane, self._marks, self._caption)
        self._key: tuple[Any, ...] = ()
        self._axes: tuple[Any, ...] = ()
        self._cursor = self._spanned = self._n_rows = self._draws = 0
        self._summary: tuple[int, Summary | None] = (-1, None)
        self._noise: float | None = None
        self._drawn: tuple[int, str] = (-1, "")
        self._described: tuple[Any, ...] = ()
        self._narrow, self._high = False, 0  # pixels, where the height is not that of the rows
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        return [self.dots, self.ecdf]

    @property
    def scale(self) -> Scale:
        """JS is bounded and drawn as it is; KL is skewed."""
        return LINEAR if self.shown.metric == "js" or self.linear else ROOT

    @property
    def many(self) -> bool:
        """Too many prompts for a dot each."""
        expected = self.shown.series.planned if self.run.live and not self.choice.filtered else 0
        return max(len(self.shown.candidates), expected) > MAX_DOTS

    # -- reading state --------------------------------------------------------------------------

    @param.depends("shown.version", "linear", watch=True)
    def _refresh(self) -> None:
        """Stream new rows; draw all anew only when they have other places or the axis is another."""
        shown, many = self.shown, self.many
        self._options()
        failed = sum(bool(r.error) for r in shown.candidates)
        key = (shown.layout, self.scale.name, self._narrow, many, failed)
        draws = shown.draws
        fresh = len(shown.arrived) > self._cursor
        if key == self._key and not fresh and draws == self._draws:
            return
        if many and key == self._key and not self._grown(draws):
            return
        self._span()
        if many:
            if (shown.content, self.scale.name) != self._drawn:
                self._drawn = (shown.content, self.scale.name)
                self._draw_ecdf()
        elif key != self._key:
            self._draw_dots()
        else:
            if fresh:
                self._append()
            if draws != self._draws or fresh:
                self._bars()
        self._key, self._cursor, self._draws = key, len(shown.arrived), draws
        self._put_forward(many)
        if (shown.content, many, self.scale.name, failed) != self._described:
            self._described = (shown.content, many, self.scale.name, failed)
            self._describe()
        self._mark()

    def _put_forward(self, many: bool) -> None:
        """Show one of the two pictures; the other keeps its layout, which takes Bokeh longest here."""
        for pane, shown in ((self._dots_pane, not many), (self._ecdf_pane, many)):
            if shown:
                pane.visible = True
            classes = [] if shown else ["sway-away"]
            if pane.css_classes != classes:
                pane.css_classes = classes

    def _grown(self, draws: int) -> bool:
        """Whether there is notably more than was drawn last: thousands of values are not sorted for every tick."""
        return len(self.shown.arrived) > 1.01 * self._cursor or draws > 1.1 * self._draws

    def _span(self) -> None:
        """Let the axis hold every prompt of the probe, filtered or not, so that a filter does not move it."""
        series, metric, scale = self.shown.series, self.shown.metric, self.scale
        axes = (self.run.epoch, series.name, metric, scale.name)
        anew = axes != self._axes
        fresh = series.rows[0 if anew else self._spanned :]
        self._spanned = len(series.rows)
        largest = max(map(attrgetter(metric), fresh), default=0.0)
        if anew or self.many:
            largest = max(largest, self.shown.largest_draw())
        bound = bounds_of(metric)[1] if metric == "js" else None
        for plot in self.plots:
            plot.reach("x", scale.to(largest), bound=bound, anew=anew)
            plot.parts["bound"].visible = metric == "js"
            if anew:
                root = ", square-root axis" if scale is ROOT else ""
                plot.figure.xaxis[0].axis_label = f"{NAMES[metric]}, nats{root}"
        self._axes = axes
        # A figure's own callbacks do not run for changes that are held back until the end of a tick.
        self._ticks()

    def _ticks(self) -> None:
        for plot in self.plots:
            set_ticks(plot.figure.xaxis[0], plot.figure.x_range, self.scale)

    def _row(self, item: int) -> Row | None:
        return self.shown.row(item)

    def _faint(self) -> set[int]:
        if not self.choice.picked:
            return set()
        return {r.item for r in self.shown.candidates} - {r.item for r in self.shown.rows}

    def _dots_of(self, items: Sequence[int]) -> columns.Columns:
        rows = [r.m for i in items if (r := self._row(i)) is not None and r.m is not None]
        places = [self.shown.candidate_place(m.item) or 0 for m in rows]
        faint = self._faint()
        return columns.dots(self.shown.series, rows, self.shown.metric, places, to=self.scale.to, faint=faint)

    def _draw_dots(self) -> None:
        found = self._dots_of(self.shown.arrived)
        failed = [r for r in self.shown.candidates if r.error]
        if failed:
            places = [self.shown.candidate_place(r.item) or 0 for r in failed]
            crosses = columns.failed_dots([(r.item, r.prompt, r.error) for r in failed], places)
            found = {name: found[name] + crosses[name] for name in found}
        self._source.data = found
        self._label()
        self._bars()

    def _append(self) -> None:
        self._source.stream(self._dots_of(self.shown.arrived[self._cursor :]))
        if len(self.shown.candidates) != self._n_rows:
            self._label()

    def _label(self) -> None:
        rows = self.shown.candidates
        limit = NARROW_LABEL if self._narrow else WIDE_LABEL
        names = columns.labels([r.prompt for r in rows], limit) if len(rows) <= self.labelled else {}
        self._n_rows = len(rows)
        plots.set_rows(self.dots, names, len(rows), high=self._high)

    def _bars(self) -> None:
        """Grey ranges behind the dots; in suite order also of prompts that are still to be measured."""
        shown, series, metric = self.shown, self.shown.series, self.shown.metric
        places = [(r.item, place) for place, r in enumerate(shown.candidates)]
        bars = columns.null_bars(series, metric, places, to=self.scale.to)
        self.dots.sources["nulls"].data = bars
        self.dots.reach("x", max(bars["hi"], default=0.0), bound=bounds_of(metric)[1] if metric == "js" else None)

    def _draw_ecdf(self) -> None:
        shown, metric, to = self.shown, self.shown.metric, self.scale.to
        sources = self.ecdf.sources
        sources["tuned"].data = columns.ecdf(shown.values(), to=to)
        faint = self._faint()
        rows = [r.m for r in shown.candidates if r.m is not None] if faint else []
        values = np.fromiter(map(attrgetter(metric), rows), dtype=np.float64) if faint else shown.values()
        back = [m.item in faint for m in rows] if faint else np.zeros(len(values), dtype=bool)
        sources["rug"].data = columns.rug([to(v) for v in values.tolist()], faint=back, y=RUG_Y)
        sources["nulls"].data = columns.ecdf(shown.null_values(), to=to)

    def _describe(self) -> None:
        shown, metric = self.shown, self.shown.metric
        rows = shown.measured()
        if self._summary[0] != shown.content:
            self._summary = (shown.content, summary(rows, metric, shown.series.seed, repeats=shown.repeats))
        of = self._summary[1]
        to = self.scale.to
        noise = self.run.data.noise
        self._noise = getattr(noise, metric) if noise else None
        for plot in self.plots:
            plots.set_noise(plot, "x", None if self._noise is None else to(self._noise))
            ci = (to(of.ci[0]), to(of.ci[1])) if of and of.ci else None
            plots.set_mean(plot, to(of.mean) if of else None, ci, to(of.median) if of else None)
        text = self._words(of)
        kind = "Cumulative distributions" if self.many else "Dot plot"
        picture = f"{kind} of {count(len(rows), 'prompt')}. {text}. The table of prompts has every number."
        for plot in self.plots:
            plot.describe(picture)
        set_html(self._caption, f'<p class="sway-caption">{esc(text)}.</p>' if text else "")
        set_html(self._marks, self._legend(of))

    def _words(self, of: Summary | None) -> str:
        shown = self.shown
        rows = shown.measured()
        if of is None:
            none = "has been measured yet" if self.run.live else "was measured"
            return f"No prompt {'passes the filter' if self.choice.filtered else none}"
        ci = f", 95 % CI {interval(of.ci)}" if of.ci else ""
        parts = [
            f"mean {number(of.mean, 'nats')}{ci}, n = {of.n:,}"
            + (" (a text that is listed twice counts once)" if of.n < len(rows) else ""),
            columns.stats_line(shown.values(), rows),
        ]
        if nulls := shown.draws_each:
            above = shown.places(shown.rows)["above"]
            chance = 100 / (nulls + 1)
            lie = "lies" if above == 1 else "lie"
            parts.append(
                f"{above:,} of {count(len(rows), 'prompt')} {lie} above all {nulls} random adapters"
                f" (a prompt that is not moved would with a chance of {chance:.0f} %)"
            )
        if self._noise is not None:
            parts.append(f"rounding alone makes up to {number(self._noise, 'nats')}")
        if failed := sum(bool(r.error) for r in shown.rows):
            parts.append(f"{count(failed, 'prompt')} could not be measured")
        return ". ".join(f"{part[:1].upper()}{part[1:]}" for part in parts if part)

    def _legend(self, of: Summary | None) -> str:
        if self.many:
            entries = columns.ecdf_marks(len(self.shown.values()))
        else:
            entries = list(MARKS if self.shown.draws_each else NO_MARKS if self.shown.arrived else ())
            if any(r.error for r in self.shown.candidates):
                entries.append(("✕", "bad", "could not be measured"))
        if of:
            entries += [("line", "tuned", "mean, 95 % CI" if of.ci else "mean"), ("dash", "muted", "median")]
        shown = self.ecdf if self.many else self.dots
        if shown.parts["noise"].visible:
            entries.append(("hatch", "muted", "rounding"))
        if self.shown.metric == "js" and shown.figure.x_range.end >= LN2:
            entries.append(("dot", "threshold", "ln 2, the most"))
        return shown.legend(*entries)

    def _options(self) -> None:
        names = list(self.run.probes)
        if names and self._probe.options != names:
            self._probe.param.update(options=names, visible=len(names) > 1)
        if self.shown.series.name in names and self._probe.value != self.shown.series.name:
            self._probe.value = self.shown.series.name
        options = sort_options(self.choice.sort)
        if self._sort.options != options:
            self._sort.param.update(options=options, value=self.choice.sort)
        self._scale.visible = self.shown.metric == "kl"
        self._resort.visible = self.shown.stale

    # -- writing state --------------------------------------------------------------------------

    def _dot_tapped(self, event: Any) -> None:
        if event.x is None or event.y is None:
            return
        rows = self.shown.candidates
        if self.dots.figure.yaxis[0].visible:
            place = round(-event.y)
            wanted = rows[place].item if 0 <= place < len(rows) else None
        else:
            wanted = self._nearest(event.x, event.y)
        row = self.shown.row(wanted)
        if row is not None and (row.m is not None or row.error):
            self.shown.open(row.item)

    def _nearest(self, x: float, y: float) -> int | None:
        """The dot next to a point, both axes counted as shares of what is in sight."""
        xs, ys = self.dots.figure.x_range, self.dots.figure.y_range
        wide, high = (xs.end - xs.start) or 1.0, (ys.end - ys.start) or 1.0
        data = self._source.data
        dots = zip(data["item"], data["x"], data["y"], strict=True)
        found = min(dots, key=lambda d: ((d[1] - x) / wide) ** 2 + ((d[2] - y) / high) ** 2, default=None)
        return None if found is None else int(found[0])

    def _ecdf_tapped(self, event: Any) -> None:
        if event.x is not None:
            to, metric = self.scale.to, self.shown.metric
            rows = [r.m for r in self.shown.rows if r.m is not None]
            found = min(rows, key=lambda m: abs(to(value_of(m, metric)) - event.x), default=None)
            if found is not None:
                self.shown.open(found.item)

    def _dots_brushed(self, event: Any) -> None:
        data = self._source.data
        self._brushed(event, list(zip(data["item"], data["x"], data["y"], strict=True)))

    def _ecdf_brushed(self, event: Any) -> None:
        to, metric = self.scale.to, self.shown.metric
        self._brushed(event, [(r.item, to(value_of(r.m, metric)), None) for r in self.shown.candidates if r.m])

    def _brushed(self, event: Any, dots: Sequence[tuple[Any, float, float | None]]) -> None:
        box: Mapping[str, Any] = event.geometry or {}
        if not event.final or box.get("type") != "rect":
            return
        x0, x1 = sorted((box["x0"], box["x1"]))
        y0, y1 = sorted((box["y0"], box["y1"]))
        inside = [int(i) for i, x, y in dots if x0 <= x <= x1 and (y is None or y0 <= y <= y1)]
        self.choice.picked = sorted(inside)

    def _resized(self, attr: str, _old: int | None, new: int | None) -> None:
        """Shorter and fewer names where there is little room; the browser tells how large the figure is."""
        if attr == "outer_height":
            self._high = new or 0
            self._label()
            return
        narrow = 0 < (new or 0) < NARROW_PX
        if narrow != self._narrow:
            self._narrow = narrow
            self._refresh()

    @param.depends("choice.item", watch=True)
    def _mark(self) -> None:
        items = [int(i) for i in self._source.data["item"]]
        wanted = [items.index(self.choice.item)] if self.choice.item in items else []
        if list(self._source.selected.indices) != wanted:
            self._source.selected.indices = wanted
        row = self._row(self.choice.item) if self.choice.item is not None else None
        spot: columns.Columns = {"x": [], "share": []}
        if row is not None and row.m is not None and self.many:
            spot = {"x": [self.scale.to(value_of(row.m, self.shown.metric))], "share": [RUG_Y]}
        if self.ecdf.sources["open"].data != spot:
            self.ecdf.sources["open"].data = spot


CONTROL: dict[str, Any] = {"size": "small", "margin": (6, 8, 4, 0)}
