"""The open prompt: its text, its numbers, and what base and tuned would say next."""

from __future__ import annotations

import html as _html
from typing import Any

import panel as pn
import param

from sway_dash.core.events import Measurement
from sway_dash.dash import columns, plots
from sway_dash.dash.components import column, figure, heading, html, legend, set_html
from sway_dash.dash.derive import ProbeSeries, value_of
from sway_dash.dash.state import RunState, Selection
from sway_dash.dash.theme import canvas_text, esc, number


class DetailView(pn.viewable.Viewer):
    """Follows ``choice.item``; without one it shows the prompt that moved most once the run is over."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.plot = plots.next_tokens()
        self._text = html(css_classes=["sway-hook-detail"])
        self._caption = html()
        marks = legend(("●", "base", "base"), ("◆", "tuned", "tuned"))
        self._chart = column(figure(self.plot), html(marks), self._caption, gap=2)
        self._root = column(self._text, self._chart)
        self._shown: tuple[Any, ...] = ()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("run.version", "choice.item", "choice.metric", "choice.probe", watch=True)
    def _refresh(self) -> None:
        series = self.choice.series(self.run.data)
        row = self._row(series)
        shown = (self.run.epoch, series.name if series else "", row.item if row else None, self.choice.metric)
        if shown == self._shown:
            return
        self._shown = shown
        if row is None or series is None:
            hint = "Choose a prompt in the chart or the table to see what both models would say next."
            set_html(self._text, heading("One prompt") + f'<p class="sway-empty">{hint}</p>')
            self._chart.visible = False
            return
        set_html(self._text, self._words(series, row))
        self._chart.visible = bool(row.base_top or row.tuned_top)
        if self._chart.visible:
            data = columns.next_tokens(row)
            labels = {y: canvas_text(text, 20) for y, text in zip(data["y"], data["label"], strict=True)}
            plots.set_tokens(self.plot, data, labels)
            text = f"Likeliest next token: {columns.top_change(row)}"
            self.plot.describe(f"{text}. Probabilities of {len(labels)} tokens under base and tuned.")
            set_html(self._caption, f'<p class="sway-caption">{esc(text)}.</p>')

    def _row(self, series: ProbeSeries | None) -> Measurement | None:
        if series is None or not series.rows:
            return None
        found = next((m for m in series.rows if m.item == self.choice.item), None)
        if found is None and not self.run.live:
            metric = self.choice.metric_of(self.run.data)
            found = max(series.rows, key=lambda m: value_of(m, metric))
        return found

    def _words(self, series: ProbeSeries, row: Measurement) -> str:
        metric = self.choice.metric_of(self.run.data)
        null = series.null_range(row.item, metric)
        facts = [f"JS {number(row.js, 'nats')}", f"KL {number(row.kl, 'nats')}"]
        if null:
            facts.append(f"random adapters {number(null.lo)} to {number(null.hi)} (n = {null.n})")
        if row.n_positions > 1:
            facts.append(f"mean over {row.n_positions} positions, same top token on {100 * row.same_top:.0f} %")
        if not row.exact:
            facts.append(f"from the likeliest tokens only, ± {number(row.error_bound)}")
        tags = f" · {esc(', '.join(row.tags))}" if row.tags else ""
        prompt = f'<div class="sway-prompt" dir="auto">{_html.escape(row.prompt)}</div>'
        if row.continuation:
            more = f'<div class="sway-prompt" dir="auto">{_html.escape(row.continuation)}</div>'
            prompt += f'<p class="sway-caption">Measured along this continuation:</p>{more}'
        line = f'<p class="sway-caption sway-num">{esc(" · ".join(facts))}{tags}</p>'
        return heading(f"Prompt {row.item + 1}") + prompt + line
