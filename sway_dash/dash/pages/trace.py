"""Where the time went: hit rate over calls, totals by view, the slowest calls."""

from __future__ import annotations

import time
from typing import Any

import panel as pn
import param

from sway_dash.backends.instrumentation import prompt_digest
from sway_dash.dash import plots
from sway_dash.dash.columns import Columns
from sway_dash.dash.components import body, column, figure, grid, heading, html, set_data, set_html, table
from sway_dash.dash.state import RunState
from sway_dash.dash.theme import count, esc, number, percent, visible

MIN_CALLS = 20
VIEWS_SHOWN = 30


class TraceView(pn.viewable.Viewer):
    """Follows the trace of the open run."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.plot = plots.hit_rate()
        self._summary = html(css_classes=["sway-hook-trace"])
        self._caption = html()
        self._views = html()
        self._slow = html(css_classes=["sway-hook-slowest"])
        left = column(html(heading("Cache hit rate")), figure(self.plot), self._caption)
        right = column(html(heading("By view")), self._views)
        slow = column(
            html(heading("Slowest calls", "A call's share of the batch it ran in; the first of a view is a warm-up.")),
            self._slow,
        )
        self._root = body(self._summary, grid(left, right, even=True), slow)
        self._key: tuple[Any, ...] = ()
        self._cursor = 0
        self._drawn = 0.0
        self._prompts: dict[str, str] = {}
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("run.version", watch=True)
    def _refresh(self) -> None:
        calls = self.run.data.calls
        key = (self.run.epoch, id(calls), calls.epoch)
        anew = key != self._key
        points = calls.points if anew else calls.points[self._cursor :]
        data: Columns = {"n": [n for n, _ in points], "rate": [rate for _, rate in points]}
        if anew:
            set_data(self.plot.sources["rate"], data)
        elif points:
            self.plot.sources["rate"].stream(data)
        self._key, self._cursor = key, len(calls.points)
        if points or anew:
            self.plot.reach("x", float(max(calls.n, 1)), anew=anew)
        # Tables are for reading: once a second is enough while a run goes on.
        if not anew and self.run.live and time.monotonic() - self._drawn < 1.0:
            return
        self._drawn = time.monotonic()
        self._tables()

    def _tables(self) -> None:
        calls = self.run.data.calls
        if not calls.n:
            set_html(self._summary, '<p class="sway-empty">No scoring call has been recorded yet.</p>')
            for pane in (self._views, self._slow, self._caption):
                set_html(pane, "")
            return
        rate = percent(calls.hit_rate) if calls.n >= MIN_CALLS else f"too few calls for a rate (below {MIN_CALLS})"
        total = f"{count(calls.n, 'scoring call')}: {calls.hits:,} answered by the cache"
        text = f"{total}, {rate}; {number(calls.ms / 1000, 's')} in all."
        set_html(self._summary, f'<p class="sway-sentence sway-num">{esc(text)}</p>')
        self.plot.describe(f"Cache hit rate over calls. {text}")
        set_html(
            self._caption, f'<p class="sway-caption">Share of all calls so far, {calls.hits:,} of {calls.n:,}.</p>'
        )
        views = sorted(calls.views.values(), key=lambda v: -v.ms)
        rows = [
            (esc(v.view), f"{v.calls:,}", percent(v.hits / v.calls), number(v.ms, "ms")) for v in views[:VIEWS_SHOWN]
        ]
        more = len(views) - VIEWS_SHOWN
        note = f'<p class="sway-caption">{count(more, "more view")} with less time.</p>' if more > 0 else ""
        set_html(self._views, table(("View", "Calls", "Hit rate", "Time"), rows, right=(1, 2, 3)) + note)
        names = self._names()
        slowest = [
            (
                number(c.wall_ms, "ms"),
                esc(c.view_id),
                esc(c.op),
                esc(c.owner),
                esc(names.get(c.prompt_hash, c.prompt_hash)),
            )
            for c in calls.slowest()
        ]
        set_html(self._slow, table(("Time", "View", "Operation", "Probe", "Prompt"), slowest, right=(0,)))

    def _names(self) -> dict[str, str]:
        """Prompt hash → prompt, for the prompts the run has named."""
        for series in self.run.data.series.values():
            if len(series.rows) and prompt_digest(series.rows[-1].prompt) not in self._prompts:
                self._prompts.update({prompt_digest(m.prompt): visible(m.prompt)[:120] for m in series.rows})
        return self._prompts
