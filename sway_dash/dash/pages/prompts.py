"""Prompt by prompt: dot plot, filter, table, and what both models would say next after the open prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.events import Measurement
from sway_dash.core.stats import interval as mean_interval
from sway_dash.core.stats import mean
from sway_dash.dash import columns, plots
from sway_dash.dash.components import column, figure, heading, html, legend, set_html
from sway_dash.dash.derive import ProbeSeries, bounds_of, value_of
from sway_dash.dash.state import RunState, Selection
from sway_dash.dash.theme import canvas_text, count, esc, interval, number, visible

SORTS = {"Sort: automatic": "auto", "Sort: as in the suite": "suite", "Sort: largest first": "value"}
NARROW_PX, NARROW_LABEL, WIDE_LABEL = 520, 18, 36
METRICS = {"JS divergence": "js", "KL(tuned‖base)": "kl"}


class PromptsView(pn.viewable.Viewer):
    """The dot plot and the table; a click on either opens a prompt."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.plot = plots.prompt_dots()
        self._source = self.plot.sources["rows"]
        self._source.selected.on_change("indices", self._picked)
        self._chips = pmui.CheckButtonGroup(
            options=[], size="small", margin=(0, 8, 4, 0), sx={"& .MuiToggleButton-root": {"whiteSpace": "nowrap"}}
        )
        self._metric = pmui.Select(options=METRICS, size="small", width=170, margin=(0, 8, 4, 0), label="")
        self._sort = pmui.Select(options=SORTS, size="small", width=190, margin=(0, 8, 4, 0), label="")
        self._probe = pmui.Select(options=[""], size="small", width=190, margin=(0, 8, 4, 0), label="", visible=False)
        for widget, name in (
            (self._chips, "tags"),
            (self._metric, "metric"),
            (self._sort, "sort"),
            (self._probe, "probe"),
        ):
            widget.param.watch(lambda event, name=name: self.choice.param.update(**{name: event.new}), "value")
        self._caption = html()
        self._note = html(visible=False)
        self.table = pn.widgets.Tabulator(
            self._frame([]),
            disabled=True,
            show_index=False,
            pagination="remote",
            page_size=15,
            layout="fit_columns",
            sizing_mode="stretch_width",
            margin=0,
            selectable=False,
            widths={"#": 56, " ": 44, "JS": 92, "KL": 92, "largest random": 128, "tags": 170, "top token": 190},
            text_align={"JS": "right", "KL": "right", "largest random": "right", "#": "right"},
            formatters={
                name: {"type": "money", "precision": 4, "thousand": ""} for name in ("JS", "KL", "largest random")
            },
            titles={
                " ": "",
                "prompt": "Prompt",
                "tags": "Tags",
                "largest random": "Largest random",
                "top token": "Top token",
            },
            css_classes=["sway-hook-prompts"],
        )
        self.table.on_click(self._clicked)
        marks = legend(
            ("▲", "tuned", "above every random adapter on the same prompt"),
            ("●", "null", "inside their range"),
            ("bar", "null", "range of the random adapters"),
        )
        controls = pn.FlexBox(self._probe, self._metric, self._sort, self._chips, margin=0, sizing_mode="stretch_width")
        self.chart = column(
            html(heading("Every prompt")),
            controls,
            figure(self.plot),
            html(marks),
            self._caption,
        )
        self._root = column(html(heading("All prompts, as a table")), self._note, self.table)
        self._key: tuple[Any, ...] = ()
        self._cursor = self._draws = 0
        self._narrow = False
        self.plot.figure.on_change("outer_width", self._resized)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    # -- reading state --------------------------------------------------------------------------

    @param.depends("run.version", "choice.metric", "choice.sort", "choice.tags", "choice.probe", watch=True)
    def _refresh(self) -> None:
        """Stream new rows; draw all anew only when order, filter, metric or run are others."""
        series = self.choice.series(self.run.data)
        self._options(series)
        if series is None:
            series = ProbeSeries("")
        metric, sort = self.choice.metric_of(self.run.data), self.choice.order(self.run)
        key = (self.run.epoch, series.name, metric, sort, tuple(self.choice.tags))
        fresh = series.rows[self._cursor :] if key == self._key else None
        draws = len(series.null_means(metric))
        if fresh is None:
            self._rebuild(series, metric, sort)
        elif fresh:
            self._append(series, metric, sort, fresh)
        if fresh is None or draws != self._draws or (fresh and sort != "suite"):
            self._bars(series, metric, sort)
        elif not fresh:
            return
        self._key, self._cursor, self._draws = key, len(series.rows), draws
        self._describe(series, metric)

    def _rebuild(self, series: ProbeSeries, metric: Any, sort: Any) -> None:
        rows = columns.ordered(series.rows, metric, sort, self.choice.tags)
        planned = self._planned(series)
        places = self._places(rows, sort, planned)
        self._source.selected.indices = []
        self._source.data = columns.dots(series, rows, metric, places)
        self._label(rows, sort, planned)
        self._reach(series, rows, metric, anew=True)
        self.table.value = self._frame(rows, series)
        self._mark()

    def _append(self, series: ProbeSeries, metric: Any, sort: Any, fresh: Sequence[Measurement]) -> None:
        rows = [m for m in fresh if not self.choice.tags or set(self.choice.tags) & set(m.tags)]
        if not rows:
            return
        planned = self._planned(series)
        shown = len(self._source.data["item"])
        # Sorted by value: rows that jump while one reads are worse than an order that is not up to date.
        places = self._places(rows, sort, planned) if sort == "suite" else list(range(shown, shown + len(rows)))
        self._source.stream(columns.dots(series, rows, metric, places))
        if sort != "suite" or not planned:
            every = {m.item: m for m in series.rows}
            self._label([every[i] for i in self._source.data["item"] if i in every], sort, planned)
        self._reach(series, rows, metric)
        self.table.stream(self._frame(rows, series), follow=False)

    def _bars(self, series: ProbeSeries, metric: Any, sort: str) -> None:
        """Grey ranges behind the dots; in suite order also of prompts that are still to be measured."""
        planned = self._planned(series)
        if sort == "suite" and planned:
            places = [(item, place) for place, (item, _) in enumerate(planned)]
        else:
            shown = zip(self._source.data["item"], self._source.data["y"], strict=True)
            places = [(int(item), round(-y)) for item, y in shown]
        bars = columns.null_bars(series, metric, places)
        self.plot.sources["nulls"].data = bars
        self.plot.reach("x", max(bars["hi"], default=0.0), bound=bounds_of(metric)[1])

    def _planned(self, series: ProbeSeries) -> list[tuple[int, str]]:
        """Index and text of the prompts the suite entry names, through the filter."""
        found = []
        for item, prompt in enumerate(self.run.data.entries().get(series.name, {}).get("prompts") or ()):
            text, tags = (
                (prompt.get("text", ""), prompt.get("tags") or ()) if isinstance(prompt, Mapping) else (prompt, ())
            )
            if not self.choice.tags or set(self.choice.tags) & set(tags):
                found.append((item, str(text)))
        return found

    def _places(self, rows: Sequence[Measurement], sort: str, planned: Sequence[tuple[int, str]]) -> list[int]:
        if sort == "suite" and planned:
            at = {item: place for place, (item, _) in enumerate(planned)}
            return [at.get(m.item, len(at)) for m in rows]
        return list(range(len(rows)))

    def _label(self, rows: Sequence[Measurement], sort: str, planned: Sequence[tuple[int, str]]) -> None:
        limit = NARROW_LABEL if self._narrow else WIDE_LABEL
        if sort == "suite" and planned:
            names = {-float(k): canvas_text(text, limit) for k, (_, text) in enumerate(planned)}
            plots.set_rows(self.plot, names if len(names) <= columns.MAX_LABELLED else {}, len(planned))
            return
        plots.set_rows(self.plot, columns.labels(rows, range(len(rows)), limit), len(rows))

    def _reach(self, series: ProbeSeries, rows: Sequence[Measurement], metric: Any, *, anew: bool = False) -> None:
        nulls = [null.hi for i in series.nulls if (null := series.null_range(i, metric))] if anew else []
        largest = max([value_of(m, metric) for m in rows] + nulls, default=0.0)
        self.plot.reach("x", largest, bound=bounds_of(metric)[1], anew=anew)
        self.plot.parts["bound"].visible = metric == "js"
        name = "JS divergence" if metric == "js" else "KL(tuned‖base)"
        self.plot.figure.xaxis[0].axis_label = f"{name}, nats"

    def _describe(self, series: ProbeSeries, metric: Any) -> None:
        rows = columns.ordered(series.rows, metric, "suite", self.choice.tags)
        values = [value_of(m, metric) for m in rows]
        above = sum(series.status(m, metric) == "above" for m in rows)
        nulls = next((r for i in series.nulls if (r := series.null_range(i, metric))), None)
        parts = [columns.stats_line(values, rows)]
        if nulls and rows:
            chance = 100 / (nulls.n + 1)
            parts.append(
                f"{above} of {len(rows)} prompts lie above all {nulls.n} random adapters"
                f" (a prompt that is not moved would with a chance of {chance:.0f} %)"
            )
        if self.choice.tags and values:
            ci, _ = mean_interval(values, seed=series.seed, bounds=bounds_of(metric))
            band = f", 95 % CI {interval(ci)}" if ci else ""
            names = ", ".join(map(visible, self.choice.tags))
            parts.insert(0, f"mean of {names}: {number(mean(values))} nats{band}, n = {len(rows)}")
        text = ". ".join(p for p in parts if p)
        self.plot.describe(f"Dot plot of {count(len(rows), 'prompt')}. {text}. The table below has every number.")
        set_html(self._caption, f'<p class="sway-caption">{esc(text[:1].upper() + text[1:])}.</p>' if text else "")
        empty = not rows
        self._note.visible = empty
        if empty:
            set_html(self._note, '<p class="sway-empty">No prompt has been measured yet.</p>')

    def _options(self, series: ProbeSeries | None) -> None:
        tags = {visible(t): t for t in self.run.tags}
        if self._chips.options != tags:
            self._chips.options = tags
            self._chips.visible = bool(tags)
        if self._probe.options != self.run.probes and self.run.probes:
            self._probe.options = list(self.run.probes)
            self._probe.visible = len(self.run.probes) > 1
        if series is not None and self._probe.value != series.name and series.name in self._probe.options:
            self._probe.value = series.name

    def _frame(self, rows: Sequence[Measurement], series: ProbeSeries | None = None) -> pd.DataFrame:
        data = columns.table(series or ProbeSeries(""), rows)
        kinds = {"#": "int64", "JS": "float64", "KL": "float64", "largest random": "float64"}
        return pd.DataFrame(
            {name: pd.Series(data[name], dtype=kinds.get(name, "object")) for name in columns.TABLE_COLUMNS}
        )

    # -- writing state --------------------------------------------------------------------------

    def _picked(self, _attr: str, _old: Sequence[int], new: Sequence[int]) -> None:
        if new and new[0] < len(self._source.data["item"]):
            self.choice.item = int(self._source.data["item"][new[0]])

    def _clicked(self, event: Any) -> None:
        self.choice.item = int(self.table.value["#"].iloc[event.row]) - 1

    def _resized(self, _attr: str, _old: int | None, new: int | None) -> None:
        """Shorter names where there is little room for them; the browser tells how wide the figure is."""
        narrow = 0 < (new or 0) < NARROW_PX
        if narrow != self._narrow:
            self._narrow = narrow
            self._key = ()
            self._refresh()

    @param.depends("choice.item", watch=True)
    def _mark(self) -> None:
        items = [int(i) for i in self._source.data["item"]]
        wanted = [items.index(self.choice.item)] if self.choice.item in items else []
        if list(self._source.selected.indices) != wanted:
            self._source.selected.indices = wanted
