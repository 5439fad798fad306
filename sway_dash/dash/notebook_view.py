"""A run in a notebook: at most 900 px wide, no rail, no fonts and icons from elsewhere, colours of the front end.

The parts are those of the dashboard's pages without their Material widgets: a front end gets the script of each such
widget again, a megabyte and a half, and a notebook keeps it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal, get_args

import panel as pn
import param
from panel.custom import JSComponent

from sway_dash.dash.components import column, grid, html, set_html
from sway_dash.dash.notebook_design import WIDGETS, colours
from sway_dash.dash.notebook_detail import NotebookDetail
from sway_dash.dash.notebook_plots import adapt
from sway_dash.dash.pages.controls import bind_select, sort_options
from sway_dash.dash.pages.probes import ProbesView
from sway_dash.dash.pages.prompt_chart import METRICS, PromptChart
from sway_dash.dash.pages.trend import AblationView, MeanView
from sway_dash.dash.pages.verdict import VerdictView
from sway_dash.dash.prompt_list import PromptList
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.markup import heading, toned
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import STATIC, count, duration, esc
from sway_dash.suite.store import RunFolder

View = Literal["overview", "prompts", "verdict"]
VIEWS: tuple[str, ...] = get_args(View)

WIDTH_PX = 900


TONES = {"finished": "good", "failed": "bad", "interrupted": "bad", "cancelled": "warn"}


class Attached(JSComponent):
    """Shows nothing. ``seen`` is set by a browser that is there, ``alive`` once Python has seen that."""

    seen = param.String(default="", doc="dark or light, and how often the browser has asked for an answer.")
    alive = param.Boolean(default=False, doc="A browser and a kernel talk to each other.")
    place = param.String(default="", doc="Name of the plain HTML that stands in for the live view.")
    tokens = param.String(default="")

    _esm = STATIC / "notebook.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(width=0, height=0, margin=0, sizing_mode="fixed", tokens=colours(), **params)


class _Chart(PromptChart):
    """Every prompt, with two lists instead of the page's controls."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        metric, sort = _select(METRICS, "Divergence", 170), _select(sort_options(""), "Order", 190)
        bind_select(metric, self.choice, "metric")
        bind_select(sort, self.choice, "sort")
        controls = pn.Row(metric, sort, margin=0)
        plots = column(self._dots_pane, self._ecdf_pane)
        self._root = column(html(heading("Every prompt")), controls, plots, self._marks, self._caption)


def _select(options: dict[str, Any], name: str, width: int) -> pn.widgets.Select:
    return pn.widgets.Select(name=name, options=options, width=width, margin=(0, 8, 4, 0), stylesheets=[WIDGETS])


class _Root(pn.Column):
    """Takes what the browser says on the kernel's own loop.

    JupyterLab has it answered on a thread of its own (a subshell), where Panel keeps back what an answer changes.
    """

    loop: Any = None
    """The kernel's loop; without one the browser is answered at once."""

    def _on_msg(self, ref: str, manager: Any, msg: Any) -> None:
        if self.loop is None or threading.current_thread() is threading.main_thread():
            super()._on_msg(ref, manager, msg)
        else:
            self.loop.add_callback(super()._on_msg, ref, manager, msg)


class NotebookView(pn.viewable.Viewer):
    """Follows a run folder; ``pull`` takes what is new. Built for one display of one cell."""

    def __init__(self, view: str = "overview", *, form: Any = None, **params: Any) -> None:
        super().__init__(**params)
        self.run, self.choice = RunState(), Selection()
        self.attached = Attached()
        self._head = html(css_classes=["sway-hook-head"])
        self._parts = self._made(view)
        self._body = column(*([form] if form is not None else []), self._head, *self._parts, gap=20, visible=False)
        self.root = _Root(
            self.attached,
            self._body,
            sizing_mode="stretch_width",
            margin=0,
            styles={"max-width": f"{WIDTH_PX}px", "padding": "2px 2px 12px"},
        )
        for plot in self.plots:
            adapt(plot)
        self.attached.param.watch(lambda *_: self._met(), "seen")
        # After those of the views: what they changed in a figure is sent when they are done.
        for state in (self.choice, self.run):
            state.param.watch(lambda *_: self.flush(), [n for n in state.param if n != "name"])
        self._describe()

    def __panel__(self) -> pn.viewable.Viewable:
        return self.root

    def _made(self, view: str) -> list[Any]:
        both: dict[str, Any] = {"run": self.run, "choice": self.choice}
        self._views: list[Any] = [VerdictView(**both)]
        self._detail: NotebookDetail | None = None
        if view == "verdict":
            return self._views
        shown = PromptList(**both)
        chart, detail = _Chart(shown=shown, **both), NotebookDetail(shown=shown, **both)
        self._detail = detail
        if view == "prompts":
            self._views = [chart, detail]
            return self._views
        mean, strength, probes = MeanView(**both), AblationView(run=self.run), ProbesView(run=self.run)
        self._views += [chart, mean, strength, detail]
        # In a column of its own: a grid cannot be hidden.
        return [self._views[0], chart, column(grid(mean, strength, even=True)), probes, detail]

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        found: list[Plot] = []
        for view in self._views:
            found += view.plots if hasattr(view, "plots") else [view.plot]
        return found

    # -- following ------------------------------------------------------------------------------

    def open(self, folder: RunFolder) -> None:
        """Look at a run from its beginning."""
        self.choice.clear()
        self.choice.param.update(item=None, token=None, probe="")
        self.run.open(folder)
        self._describe()
        self.flush()

    def pull(self) -> None:
        """Take what is new."""
        if self.run.pull():
            self._describe()
        if self._detail is not None:
            self._detail.poll()
        self.flush()

    def flush(self) -> None:
        """Send what was changed in figures; Panel sends only what was changed in its own objects."""
        pn.io.push_notebook(self.root)

    @property
    def alive(self) -> bool:
        """Whether a browser shows it."""
        return bool(self.attached.alive)

    @property
    def gone(self) -> bool:
        """It was shown and is no more: its cell was run again or its output taken away."""
        return self.alive and not self.root._models

    def on_met(self, told: Callable[[], None]) -> None:
        """Who is told when a browser has attached."""
        self.attached.param.watch(lambda e: told() if e.new else None, "alive", onlychanged=True)

    def _met(self) -> None:
        for plot in self.plots:
            plot.recolor(self.attached.seen.startswith("dark"))
        self._body.visible = True
        if self.attached.alive:
            # Once more, for a browser that did not hear it.
            self.attached.param.trigger("alive")
        self.attached.alive = True
        self.flush()

    def _describe(self) -> None:
        run = self.run
        # A figure takes part in the layout only when there is something to draw.
        measured = any(s.rows or s.nulls for s in run.data.series.values())
        for part in self._parts:
            part_root = part.__panel__() if hasattr(part, "__panel__") else part
            if not isinstance(part, VerdictView):
                part_root.visible = run.status != "none" and (measured or isinstance(part, ProbesView))
        set_html(self._head, _head(run))


def _head(run: RunState) -> str:
    if run.status == "none":
        return ""
    tone = TONES.get(run.status, "accent")
    words = [run.phase if run.live else "", f"{run.done:,} of {count(run.total, 'measurement')}" if run.total else ""]
    if run.seconds:
        words.append(duration(run.seconds))
    state = "stopping" if run.stopping and run.live else run.status
    chip = toned(tone, "sway-state", esc(state), tag="span")
    line = " · ".join(esc(w) for w in (*words, run.run_id) if w)
    return f'<h2 class="sway-h1">{esc(run.title)}</h2><p class="sway-kicker" role="status">{chip} {line}</p>'
