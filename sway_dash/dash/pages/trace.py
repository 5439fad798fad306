"""Where the time went and what the cache saved: timeline, hit rates, sums and slow passes, all of one cut of the trace.

Drag in a panel to look at a stretch of time, choose a box or a name to look at one probe, view or operation: every
panel and table follows.
"""

from __future__ import annotations

import asyncio
import io
import math
import time
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param
from bokeh.events import RangesUpdate
from bokeh.models import Range1d

from sway_dash.dash.components import HIDDEN_LABEL, body, column, figure, grid, html, set_data, set_html, tabular
from sway_dash.dash.looks import Look
from sway_dash.dash.pages import trace_words as words
from sway_dash.dash.pages.opening import ask, open_prompt
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import trace_columns as tc
from sway_dash.figures import trace_sums as ts
from sway_dash.figures.calls import CallTable, Cut
from sway_dash.figures.derive import Place
from sway_dash.figures.markup import heading
from sway_dash.figures.plots import Plot
from sway_dash.figures.plots.cache import CACHE_MARKS, hit_rate, lookups
from sway_dash.figures.plots.icicle import icicle
from sway_dash.figures.plots.timeline import PASS_MARKS, set_lanes, timeline
from sway_dash.figures.theme import count, esc, percent, visible
from sway_dash.suite.chrome_trace import convert
from sway_dash.suite.store import TRACE

LETTER_PX = 7.0
PERIOD_S = 1.0
"""While a run goes on the page is drawn at most so often."""

ALL = {"probe": "All probes", "view": "All views", "op": "All operations"}
SMALL: dict[str, Any] = {"size": "small", "margin": (0, 8, 4, 0)}
AXES = {"Wall time": "time", "Call number": "calls"}


class TraceView(pn.viewable.Viewer):
    """Follows the trace of the open run. A click on a slow pass opens its longest prompt and asks for ``goto``."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown = param.Boolean(default=True, doc="The page is on the screen; otherwise nothing is drawn.")
    axis: Any = param.Selector(default="time", objects=["time", "calls"], doc="What the cache is shown over.")
    window = param.Range(default=None, allow_None=True, doc="Stretch of time that is looked at, s; None: all of it.")
    probe = param.String(default="", doc="Only calls of this probe.")
    view = param.String(default="", doc="Only calls in this view.")
    op = param.String(default="", doc="Only calls of this operation.")
    goto = param.String(default="", doc="Page that is asked for.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"choice": Selection(), **params})
        self._time, self._number = Range1d(0, 1), Range1d(0.5, 1.5)
        self._timeline = timeline(self._time)
        self._cache = {
            axis: (lookups(span, axis), hit_rate(span, axis))
            for axis, span in (("time", self._time), ("calls", self._number))
        }
        self._icicle = icicle()
        self._summary = html(css_classes=["sway-hook-trace"])
        self._cut_text = html(css_classes=["sway-hook-cut"])
        self._caption, self._cache_caption, self._icicle_caption = html(), html(), html()
        self._probes, self._views = html(css_classes=["sway-hook-by-probe"]), html(css_classes=["sway-hook-by-view"])
        self._selects = {name: self._select(name) for name in ALL}
        self._axis = pmui.RadioButtonGroup.from_param(
            self.param.axis,
            options=AXES,
            size="small",
            label="Horizontal axis",
            description="",
            width=240,
            margin=(4, 0),
            stylesheets=[HIDDEN_LABEL],
        )
        self._whole = pmui.Button(label="Whole run", variant="outlined", **SMALL)
        self._whole.on_click(lambda _: self.param.update(window=None, probe="", view="", op=""))
        self._slider = pmui.RangeSlider(
            label="Seconds since the start",
            start=0.0,
            end=1.0,
            value=(0.0, 1.0),
            size="small",
            margin=(0, 12, 0, 12),
            sizing_mode="stretch_width",
            step=0.001,
            format="0.00",
        )
        self._slider.param.watch(self._slid, "value_throttled")
        self._download = pmui.FileDownload(
            callback=self._chrome, filename="trace.json", label="Trace for Perfetto", variant="text", **SMALL
        )
        self._slow = pn.widgets.Tabulator(
            words.slow_passes([], self.run.data.place_of)[0],
            disabled=True,
            show_index=False,
            layout="fit_data_stretch",
            sizing_mode="stretch_width",
            margin=0,
            selectable=False,
            titles=words.SLOW,
            text_align={"ms": "right", "n": "right", "each": "right"},
            **tabular("ms", "each"),
            widths={"prompt": 380},
            css_classes=["sway-rows", "sway-hook-slowest"],
        )
        self._slow.on_click(self._clicked)
        self._places: list[Place | None] = []
        self._drawn: tuple[Any, ...] = ()
        self._drawn_at = 0.0
        self._room = 90.0
        self._listen()
        self._root = self._layout()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Figures of the page."""
        return [self._timeline, *self._cache["time"], *self._cache["calls"], self._icicle]

    @property
    def look(self) -> Look:
        """What the address says of the page."""
        keys = {"over": "axis", "within": "window", "of": "probe", "view": "view", "op": "op"}
        return {key: (self, name) for key, name in keys.items()}

    # -- layout ---------------------------------------------------------------------------------

    def _select(self, name: str) -> pmui.Select:
        label = {"probe": "Probe", "view": "View", "op": "Operation"}[name]
        select = pmui.Select(
            options={ALL[name]: ""}, value="", size="small", width=170, label=label, margin=(6, 8, 4, 0)
        )
        select.param.watch(lambda event: self.param.update(**{name: event.new or ""}), "value")
        return select

    def _layout(self) -> pn.Column:
        controls = pn.FlexBox(
            *self._selects.values(), self._whole, self._download, margin=0, sizing_mode="stretch_width"
        )
        marks = self._timeline.legend(*PASS_MARKS)
        cache_marks, *_ = (plot.legend(*CACHE_MARKS) for plots in self._cache.values() for plot in plots)
        self._panels = {
            axis: column(*(figure(plot) for plot in plots), gap=0, visible=axis == "time")
            for axis, plots in self._cache.items()
        }
        charts = self._panels.values()
        cache = column(html(heading("Cache")), self._axis, *charts, html(cache_marks), self._cache_caption)
        boxes = column(html(heading("Where the time went")), figure(self._icicle), self._icicle_caption, gap=2)
        self._everything = column(
            column(controls, self._cut_text, gap=0),
            column(html(heading("Timeline")), figure(self._timeline), html(marks), self._caption, self._slider),
            boxes,
            grid(
                column(cache, column(html(heading("By probe")), self._probes), gap=22),
                column(html(heading("By view")), self._views),
                even=True,
            ),
            column(html(heading("Slowest passes", words.SLOW_CAPTION)), self._slow),
            gap=22,
        )
        return body(self._summary, self._everything)

    # -- drawing --------------------------------------------------------------------------------

    @param.depends("run.version", "shown", watch=True)
    def _refresh(self) -> None:
        """Draw what is new; while a run goes on, once a second: this page is for reading."""
        if not self.shown:
            return
        data = self.run.data
        state = (self.run.epoch, id(data.calls), data.calls.epoch, data.calls.n, self.run.live, len(data.steps))
        if state == self._drawn:
            return
        another = state[:3] != self._drawn[:3]
        if not another and self.run.live and time.monotonic() - self._drawn_at < PERIOD_S:
            return
        self._drawn, self._drawn_at = state, time.monotonic()
        if another and (self.window, self.probe, self.view, self.op) != (None, "", "", ""):
            with param.parameterized.discard_events(self):
                self.param.update(window=None, probe="", view="", op="")
        self._draw()

    @param.depends("window", "probe", "view", "op", "axis", watch=True)
    def _draw(self) -> None:
        known = self._table()
        self._everything.visible = bool(len(known))
        if not len(known):
            text = "No scoring call has been recorded yet." if self.run.live else "This run has no trace of its calls."
            set_html(self._summary, f'<p class="sway-empty">{text}</p>')
            return
        span = self._span(known)
        if not self.run.live and (absent := tc.absent(known, self._cut(), span)):
            self.param.update(**absent)  # which draws
            return
        cut = self._cut()
        with pn.io.hold():
            self._options(known)
            self._place(known, span)
            drawn = self._draw_timeline(known, cut, span)
            self._draw_cache(known, cut)
            self._draw_boxes(known, cut)
            self._tables(known, cut)
            self._words(known, cut, drawn, span)

    def _table(self) -> CallTable:
        return self.run.data.calls.table(self._origin())

    def _cut(self) -> Cut:
        return Cut(*(self.window or (-float("inf"), float("inf"))), self.probe, self.view, self.op)

    def _origin(self) -> float:
        """Unix seconds of the start of the run."""
        started = self.run.data.started
        return started.ts if started else 0.0

    def _span(self, known: CallTable) -> tuple[float, float]:
        """All of the run so far, seconds."""
        last = max(float(known.at[-1]), self.run.data.fold.last_ts - self._origin())
        return (min(0.0, float(known.pass_start[0])) if len(known.pass_start) else 0.0, max(last, 1e-3))

    def _steps(self, span: tuple[float, float]) -> list[tc.Band]:
        origin = self._origin()
        return [
            (s.name, s.start - origin, s.end - origin if s.end is not None else span[1]) for s in self.run.data.steps
        ]

    def _place(self, known: CallTable, span: tuple[float, float]) -> None:
        """Both axes show the same stretch; the one under the reader's hand has it already."""
        start, end = self.window or span
        inside = known.calls(Cut(start, end) if self.window else Cut())
        numbers = (float(inside[0]) + 0.5, float(inside[-1]) + 1.5) if len(inside) else (0.5, len(known) + 0.5)
        for axis, ends, all_of_it in (
            (self._time, (start, end), span),
            (self._number, numbers, (0.5, len(known) + 0.5)),
        ):
            wanted = {"start": ends[0], "end": ends[1], "reset_start": all_of_it[0], "reset_end": all_of_it[1]}
            axis.update(**{k: float(v) for k, v in wanted.items() if getattr(axis, k) != v})
        # By hand or by key, for those who cannot drag.
        self._slider.param.update(
            start=span[0], end=span[1], value=(start, end), step=max((span[1] - span[0]) / 1000, 1e-6)
        )

    def _draw_timeline(self, known: CallTable, cut: Cut, span: tuple[float, float]) -> tc.Timeline:
        names, lane_of = tc.lanes(known.used(known.view))
        set_lanes(self._timeline, names)
        window = self.window or span
        drawn = tc.timeline(known, cut, window, lane_of)
        for name, data in (("bars", drawn.bars), ("gaps", drawn.gaps), ("hits", drawn.hits)):
            set_data(self._timeline.sources[name], data)
        steps = tc.step_columns(self._steps(span), known, "time", window, self._room)
        set_data(self._timeline.sources["steps"], steps)
        return drawn

    def _draw_cache(self, known: CallTable, cut: Cut) -> None:
        for axis, panel in self._panels.items():
            panel.visible = axis == self.axis
        bars, rate = self._cache[self.axis]
        columns, rates = tc.lookups(known, cut, self.axis)
        set_data(bars.sources["bars"], columns)
        set_data(rate.sources["rate"], rates)
        axis = self._time if self.axis == "time" else self._number
        steps = self._steps(self._span(known))
        named = tc.step_columns(steps, known, self.axis, (axis.start, axis.end), 0.5 * self._room)
        for plot in (bars, rate):
            set_data(plot.sources["steps"], named)
        top = 1.06 * max(columns["all"], default=1)
        bars.figure.y_range.update(start=0, end=top, reset_start=0, reset_end=top)

    def _draw_boxes(self, known: CallTable, cut: Cut) -> None:
        data = ts.icicle(known, cut, self._room)
        set_data(self._icicle.sources["boxes"], data)
        end = max(data["right"], default=1.0) or 1.0
        self._icicle.figure.x_range.update(start=0, end=end, reset_start=0, reset_end=end)
        probes = [(p, t) for p, v, t in zip(data["probe"], data["view"], data["time_text"], strict=True) if not v]
        text = "; ".join(f"{tc.owner_name(p)} {t}" for p, t in probes[:6])
        self._icicle.describe(f"Time in passes by probe, view and operation. {text}")
        told = f"Time in passes: {text}. A box that is chosen narrows the whole page." if text else "No pass."
        set_html(self._icicle_caption, f'<p class="sway-caption">{esc(told)}</p>')

    # -- words and tables -----------------------------------------------------------------------

    def _words(self, known: CallTable, cut: Cut, drawn: tc.Timeline, span: tuple[float, float]) -> None:
        data = self.run.data
        set_html(self._summary, words.summary(data.calls, known, data.fold.backend_stats.get("evictions")))
        names = (tc.owner_name(self.probe), tc.view_name(self.view), visible(self.op))
        told = words.cut(self.window, names, len(known.calls(cut)), drawn.passes)
        self._whole.disabled = not told
        hint = "Drag in a panel to look at a stretch of time."
        set_html(self._cut_text, f'<p class="sway-caption sway-num">{esc(told or hint)}</p>')
        start, end = self.window or span
        loading = [max(0.0, min(b, end) - max(a, start)) for step, a, b in self._steps(span) if step == words.LOADING]
        gaps = words.gaps(drawn, sum(loading), whole=self.window is None)
        set_html(self._caption, f'<p class="sway-caption">{esc(gaps)}</p>')
        how = count(drawn.passes, "pass", "passes") + (", as shares of time" if drawn.binned else "")
        self._timeline.describe(f"Timeline of {how}. {gaps}")
        inside = known.calls(cut)
        told = words.hits(int(known.hit[inside].sum()), len(inside))
        for axis, panels in self._cache.items():
            for plot in panels:
                plot.describe(f"Cache over {'wall time' if axis == 'time' else 'call number'}. {told}")
        set_html(self._cache_caption, f'<p class="sway-caption">{esc(told)}</p>')

    def _tables(self, known: CallTable, cut: Cut) -> None:
        probes, views = ts.sums(known, cut, "probe"), ts.sums(known, cut, "view")
        total = sum(s.seconds for s in probes)
        shares = [percent(s.seconds / total) if total else "" for s in probes]
        rows = [(tc.owner_name(s.name), s, share) for s, share in zip(probes, shares, strict=True)]
        set_html(self._probes, words.sums(("Probe", "Share of the time"), rows))
        rows = [(tc.view_name(s.name), s, tc.expected(s.name)) for s in views]
        set_html(self._views, words.sums(("View", "Rate to be expected"), rows))
        frame, self._places = words.slow_passes(ts.slowest(known, cut), self.run.data.place_of)
        if not frame.equals(self._slow.value):
            self._slow.value = frame

    def _options(self, known: CallTable) -> None:
        names = tc.names(known)
        for name, select in self._selects.items():
            label = {"view": tc.view_name, "probe": tc.owner_name}.get(name, visible)
            options = {ALL[name]: "", **{label(n): n for n in names[name]}}
            value = getattr(self, name)
            if select.options != options:
                select.param.update(options=options, value=value if value in options.values() else "")
            elif select.value != value and value in options.values():
                select.value = value

    # -- the reader's hand ----------------------------------------------------------------------

    def _listen(self) -> None:
        self._timeline.figure.on_event(RangesUpdate, self._zoomed)
        for plot in self._cache["time"]:
            plot.figure.on_event(RangesUpdate, self._zoomed)
        for plot in self._cache["calls"]:
            plot.figure.on_event(RangesUpdate, self._zoomed_calls)
        self._icicle.sources["boxes"].selected.on_change("indices", self._box)
        self._icicle.figure.on_change("inner_width", self._widened)

    def _zoomed(self, event: Any) -> None:
        self._look_at(float(event.x0), float(event.x1))

    def _slid(self, event: Any) -> None:
        if event.new is not None:
            self._look_at(*event.new)

    def _look_at(self, start: float, end: float) -> None:
        if len(known := self._table()):
            self.window = tc.stretch((start, end), self._span(known))

    def _zoomed_calls(self, event: Any) -> None:
        if not len(known := self._table()):
            return
        first, last = max(math.ceil(event.x0), 1), min(math.floor(event.x1), len(known))
        if (first, last) == (1, len(known)) or last < first:
            self.window = None
        else:
            self.window = (float(known.begin[first - 1]), float(known.at[last - 1]))

    def _widened(self, _attr: str, old: int | None, new: int | None) -> None:
        """Longer names in wider boxes; the browser tells how wide the figure is."""
        room = max((new or 0) / LETTER_PX, 20.0)
        if abs(room - self._room) > 5:
            self._room = room
            # The first width comes before the browser has attached: what is held until then is lost.
            pn.state.onload(self._draw)

    def _box(self, _attr: str, _old: list[int], new: list[int]) -> None:
        boxes = self._icicle.sources["boxes"]
        if not new or new[0] >= len(boxes.data["probe"]):
            return
        chosen = {name: str(boxes.data[name][new[0]]) for name in ("probe", "view", "op")}
        boxes.selected.indices = []
        if chosen == {"probe": self.probe, "view": self.view, "op": self.op}:
            chosen = dict.fromkeys(chosen, "")
        self.param.update(**chosen)

    def _clicked(self, event: Any) -> None:
        if event.row < len(self._places) and open_prompt(self.choice, self._places[event.row]):
            ask(self, "goto", "prompts")

    async def _chrome(self) -> io.BytesIO:
        folder, origin = self.run.folder, self._origin()
        steps = [(name, start + origin, end + origin) for name, start, end in self._steps(self._span(self._table()))]
        path = folder.path / TRACE if folder is not None else None
        # Reading a long trace takes a second: not on the loop that serves everybody.
        return io.BytesIO(await asyncio.to_thread(convert, path, steps, name=f"sway-dash {self.run.title}"))
