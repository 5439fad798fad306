"""The answer of a run: a word, a sentence, the reasons, and the tuned mean beside the random adapters."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

from sway_dash.core.stats import MIN_ITEMS
from sway_dash.dash.components import column, figure, grid, html, set_data, set_html
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import columns, plots
from sway_dash.figures.derive import bounds_of
from sway_dash.figures.markup import headed, toned
from sway_dash.figures.theme import GLYPH, TONE, count, esc, interval, number


class VerdictView(pn.viewable.Viewer):
    """Word, sentence and reasons on the left, the null strip on the right."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.plot = plots.null_strip()
        self._text = html(css_classes=["sway-hook-verdict"])
        self._caption = html()
        marks = self.plot.legend(
            ("●", "null", "one random adapter"), ("◆", "tuned", "tuned, 95 % interval"), ("dash", "threshold", "gate")
        )
        self._strip = column(html(headed("Against noise", marks)), figure(self.plot), self._caption, gap=2)
        self._root = grid(self._text, self._strip)
        self._key: tuple[Any, ...] = ()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("run.version", "choice.metric", "choice.probe", watch=True)
    def _refresh(self) -> None:
        set_html(self._text, self._verdict())
        series = self.choice.series(self.run.data)
        if series is None:
            self._strip.visible = False
            return
        metric = self.choice.metric_of(self.run.data)
        nulls, tuned = columns.strip(series, metric)
        # Beside a sentence an empty picture leaves a hole below it.
        self._strip.visible = bool(nulls["x"] or tuned["x"])
        set_data(self.plot.sources["nulls"], nulls)
        set_data(self.plot.sources["tuned"], tuned)
        gate = gate_of(self.run, series.name, metric)
        self.plot.parts["gate"].update(location=gate or 0.0, visible=gate is not None)
        key = (self.run.epoch, metric, series.name, self.run.live)
        anew, self._key = self._key != key, key
        # The first intervals are wide; the axis is not made for them.
        ends = tuned["hi"] if len(series.rows) >= 2 * MIN_ITEMS or not self.run.live else tuned["x"]
        largest = max([*nulls["x"], *ends, 1.2 * (gate or 0.0)], default=0.0)
        self.plot.reach("x", largest, bound=bounds_of(metric)[1], anew=anew)
        noise = _noise_text(nulls["x"], metric, live=self.run.live and bool(series.nulls or not series.rows))
        self.plot.describe(f"{noise} {_tuned_text(tuned)}".strip())
        # The tuned mean is in the sentence beside the picture.
        set_html(self._caption, f'<p class="sway-caption">{esc(noise)}</p>')

    def _verdict(self) -> str:
        run = self.run
        phase = run.data.fold.phase
        loading = run.live and phase is not None and phase.phase in ("loading", "preflight")
        if run.status in ("none", "queued", "starting") or loading:  # the banner says all there is to say
            return ""
        head = f'<p class="sway-word">{GLYPH.get(run.word, "")} {esc(run.word[:1].upper() + run.word[1:])}</p>'
        body = f'<p class="sway-sentence">{esc(run.sentence)}</p>'
        reasons = "".join(f"<li>{esc(r)}</li>" for r in run.reasons)
        if reasons:
            body += f'<ul class="sway-reasons">{reasons}</ul>'
        if run.settle:
            body += f'<p class="sway-settle"><b>What would settle it:</b> {esc(run.settle)}</p>'
        return toned(TONE.get(run.word, "muted"), "sway-verdict", head + body, role="status")


def gate_of(run: RunState, probe: str, metric: str) -> float | None:
    """The gate of a probe, if it is one for this divergence."""
    entry = run.data.entries().get(probe, {})
    if entry.get("divergence", "js") != metric:
        return None
    gate = entry.get("assert_mean_gte", 0.02)
    return float(gate) if isinstance(gate, int | float) else None


def _noise_text(draws: list[float], metric: str, *, live: bool) -> str:
    if not draws and live:
        return "No random adapter is complete yet."
    if not draws:
        return "No random adapters: nothing to compare with."
    least, most = number(min(draws)), number(max(draws))
    means = f"mean {metric.upper()} {least if least == most else f'{least} to {most}'} nats"
    return f"{count(len(draws), 'random adapter')}: {means}."


def _tuned_text(tuned: dict[str, list[Any]]) -> str:
    if not tuned["x"]:
        return ""
    ci = (tuned["lo"][0], tuned["hi"][0])
    band = f" (95 % CI {interval(ci)})" if ci[0] != ci[1] else ""
    return f"Tuned: {number(tuned['x'][0])} nats{band}."
