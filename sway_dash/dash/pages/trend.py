"""How sure is the mean, and does the effect follow the adapter's strength: running mean and λ curve."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

from sway_dash.dash.components import column, figure, html, set_data, set_html
from sway_dash.dash.pages.verdict import gate_of
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import columns, plots
from sway_dash.figures.derive import ProbeSeries, bounds_of
from sway_dash.figures.derive_mean import SETTLED
from sway_dash.figures.markup import headed, heading
from sway_dash.figures.theme import esc, interval, number


class MeanView(pn.viewable.Viewer):
    """Running mean over prompts with its band; streamed while a run goes on."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]

    fit = param.String(default="", doc="Height of the picture as CSS, instead of its own.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.plot = plots.running_mean()
        self._caption, self._note = html(), html()
        # As high as the head of the picture beside it, so that both stand on one line.
        self._head = html(headed("Running mean", ""), styles={"min-height": "40px"})
        self._root = column(self._head, figure(self.plot, fit=self.fit), self._caption, self._note, gap=2)
        self._key: tuple[Any, ...] = ()
        self._cursor = 0
        self._whole = False
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("run.version", "choice.metric", "choice.probe", watch=True)
    def _refresh(self) -> None:
        series = self.choice.series(self.run.data) or ProbeSeries("")
        metric = self.choice.metric_of(self.run.data)
        points = series.running(metric)
        key = (self.run.epoch, series.name, metric)
        # A probe that is whole has its prompts in another order: the same picture of other numbers, zoomed as it was.
        other = key != self._key
        anew = other or series.whole != self._whole
        self._whole = series.whole
        fresh = points if anew else points[self._cursor :]
        line, band = columns.running(fresh)
        for name, data in (("line", line), ("band", band)):
            if anew:
                set_data(self.plot.sources[name], data)
            elif data["n"]:
                self.plot.sources[name].stream(data)
        self._key, self._cursor = key, len(points)
        draws = series.null_means(metric)
        null, gate = self.plot.parts["null"], gate_of(self.run, series.name, metric)
        null.update(bottom=min(draws, default=0.0), top=max(draws, default=0.0), visible=bool(draws))
        self.plot.parts["gate"].update(location=gate or 0.0, visible=gate is not None)
        # The first bands are wide; the axis is not made for them but for the values.
        wide = [hi for n, hi in zip(band["n"], band["hi"], strict=True) if n >= SETTLED]
        largest = max([*line["value"], *line["mean"], *wide, 1.2 * (gate or 0.0)], default=0.0)
        self.plot.reach("y", largest, bound=bounds_of(metric)[1], anew=other)
        noise = self.run.data.noise
        plots.set_noise(self.plot, "y", getattr(noise, metric) if noise else None)
        if other:
            end = max(series.planned, len(points), 2) + 0.5
            self.plot.figure.x_range.update(start=0.5, end=end, reset_start=0.5, reset_end=end)
        self._legend()
        self._describe(points, metric, over=not self.run.live or series.name in self.run.data.finished)

    def _legend(self) -> None:
        """What the marks mean, of those that are high enough to be seen."""
        null, gate, noise = (self.plot.parts[name] for name in ("null", "gate", "noise"))
        least = self.plot.figure.y_range.end / 100
        marks = [("line", "tuned", "mean so far"), ("bar", "tuned", "95 % band")]
        if null.visible and null.top - null.bottom > least:
            marks.append(("bar", "null", "random adapters"))
        if noise.visible:
            marks.append(("hatch", "muted", "rounding"))
        if gate.visible:
            marks.append(("dash", "threshold", "gate"))
        set_html(self._head, headed("Running mean", self.plot.legend(*marks)))

    def _describe(self, points: list[Any], metric: str, *, over: bool) -> None:
        if not points:
            text = "No prompt measured yet." if self.run.live else "No prompt was measured."
        else:
            last = points[-1]
            ci = last.unsure(over=over) or f"95 % CI {interval(last.interval)}"
            text = f"Mean {metric.upper()} {number(last.mean)} nats, {ci}, n = {last.distinct}."
            final, band = last.final, last.ci
            if final and band and not last.pointwise and band[1] - band[0] > final[1] - final[0]:
                text += " The band is wider than this interval: it holds at every look at once."
        self.plot.describe(f"Running mean over the prompts. {text}")
        set_html(self._caption, f'<p class="sway-caption">{esc(text)}</p>')
        note = points[-1].note if points else ""
        why = (
            f"<details><summary>What the band says</summary>{esc(note)} {esc(points[-1].order)}</details>"
            if note
            else ""
        )
        set_html(self._note, f'<div class="sway-caption">{why}</div>' if why else "")


class AblationView(pn.viewable.Viewer):
    """Divergence by adapter strength; not there without such a probe."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.plot = plots.ablation()
        self._caption = html()
        marks = self.plot.legend(
            ("line", "tuned", "mean"), ("bar", "tuned", "95 % interval, pointwise"), ("line", "threshold", "as trained")
        )
        head = html(heading("Adapter strength"))
        self._root = column(head, figure(self.plot), html(marks), self._caption, gap=2, visible=False)
        self._shown: tuple[Any, ...] = ()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("run.version", watch=True)
    def _refresh(self) -> None:
        own = next(iter(self.run.data.ablations.values()), None)
        self._root.visible = own is not None
        if own is None:
            self._shown = ()
            return
        size = sum(map(len, own.curves.values()))
        finished = self.run.data.finished.get(own.name)
        shown = (self.run.epoch, size, finished is None)
        if shown == self._shown:
            return
        anew = self._shown[:1] != shown[:1]
        self._shown = shown
        line, band, each = columns.ablation(own)
        for name, data in (("line", line), ("band", band), ("each", each)):
            set_data(self.plot.sources[name], data)
        self.plot.reach("y", max([*line["mean"], *(v for ys in each["ys"] for v in ys)], default=0.0), anew=anew)
        lams = line["lam"]
        self.plot.figure.x_range.update(start=min(lams) - 0.04, end=max(*lams, 1.0) + 0.04)
        self.plot.figure.xaxis.ticker = lams
        text = "; ".join(f"λ = {lam:g}: {number(m)}" for lam, m in zip(lams, line["mean"], strict=True))
        self.plot.describe(f"Mean {own.metric.upper()} by adapter strength, nats. {text}")
        verdict = f" {finished.message}." if finished is not None and finished.message else ""
        set_html(self._caption, f'<p class="sway-caption">Mean {own.metric.upper()}: {esc(text)}.{esc(verdict)}</p>')
