"""All runs: filter, open, mark, compare, name, archive, delete; runs from elsewhere come in here, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param
from bokeh.models.widgets.tables import NumberFormatter

from sway_dash.core.errors import SwayError
from sway_dash.dash import run_edits, runs
from sway_dash.dash.components import body, column, heading, html, set_html, toned
from sway_dash.dash.pages.banner import ordinal
from sway_dash.dash.pages.marked import Marked
from sway_dash.dash.runs import RunInfo
from sway_dash.dash.theme import DASH, GLYPH, count, duration, esc, interval, visible
from sway_dash.suite.store import runs_root

MARKS = {
    "queued": "…",
    "starting": "…",
    "running": "…",
    "finished": "✓",
    "cancelled": "◇",
    "interrupted": "◇",
    "failed": "✕",
}
COLUMNS = ("State", "Run", "Answer", "Base ↔ adapter", "Mean JS", "95 % CI", "Prompts", "Started", "Took", "Tags")
"""Columns a person sees, the ones that matter least last: on a narrow screen those give way."""

# State and name fit beside each other on a telephone; the tags take what the others leave.
_WIDTHS = {
    "State": 108,
    "Run": 210,
    "Answer": 152,
    "Base ↔ adapter": 128,
    "Mean JS": 90,
    "95 % CI": 118,
    "Prompts": 90,
    "Started": 124,
    "Took": 72,
}
_TABLE = """
.tabulator .tabulator-cell, .tabulator .tabulator-col-title { font-size: 13px !important; }
.tabulator .tabulator-row { cursor: pointer; }
.tabulator .tabulator-row.tabulator-selected {
  background: color-mix(in srgb, var(--mui-palette-sway_accent-main) 16%, transparent) !important;
  color: inherit !important; }
"""
_ROW = "display: flex !important; flex-flow: row wrap; gap: 8px 12px; align-items: center;"
ANY = "any"


class RunsView(pn.viewable.Viewer):
    """Table of all runs.

    ``opened`` and ``duplicate`` are set to a run's address for a moment when that is asked for, ``comparing`` is an
    event; ``compare`` holds the marked runs in the order of marking, ``baseline`` the run the others are compared with.
    """

    opened = param.String(default="", doc="Address of the run to open.")
    duplicate = param.String(default="", doc="Address of the run whose suite a new run is to begin with.")
    compare = param.List(default=[], item_type=str, doc="Addresses of the marked runs.")
    comparing = param.Event(doc="Compare the marked runs.")
    baseline = param.String(default="", doc="Address of the baseline; empty without one.")
    refresh = param.Event(doc="Read the folder again.")

    text = param.String(default="", doc="Show only runs that hold these words.")
    states = param.List(default=[], item_type=str, doc="Show only runs in one of these states; all when empty.")
    archived = param.Boolean(default=False, doc="Show archived runs, too.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._shown: list[RunInfo] = []
        self._all: list[RunInfo] = []
        self._busy = False
        self._note = html(css_classes=["sway-hook-runs-note"])
        self._said = html(visible=False)
        self._table = self._make_table()
        self._marked = Marked(host=self)
        demo = pmui.Button(label="Open the recorded example", variant="outlined", size="small", margin=0)
        demo.on_click(lambda _: self.open(runs.DEMO))
        again = self._from("refresh", pmui.Button, label="Refresh", variant="text", size="small", margin=0)
        self._demo = demo
        self._root = body(
            html(heading("Runs")),
            _row(demo, again),
            self._filters(),
            self._note,
            self._said,
            self._table,
            self._marked,
            self._elsewhere(),
        )
        self.reread()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def _from(self, name: str, kind: Any, **options: Any) -> Any:
        return kind.from_param(self.param[name], **{"description": "", "margin": 0, **options})

    def _filters(self) -> pn.viewable.Viewable:
        search = self._from(
            "text", pmui.TextInput, label="Search", placeholder="name, tag, note, model", width=260, size="small"
        )
        search.param.watch(lambda e: setattr(self, "text", e.new), "value_input")
        states = pmui.Select(label="State", options=[ANY, *MARKS], value=ANY, width=150, margin=0, size="small")
        states.param.watch(lambda e: setattr(self, "states", [] if e.new == ANY else [e.new]), "value")
        archived = self._from("archived", pmui.Switch, label="Archived, too")
        return _row(search, states, archived)

    def _elsewhere(self) -> pn.viewable.Viewable:
        """What brings in a run that was made somewhere else."""
        self._path = pmui.TextInput(label="Path of a run folder", width=360, margin=0, size="small")
        go = pmui.Button(label="Open folder", variant="outlined", size="small", margin=0)
        go.on_click(lambda _: self._bring(lambda: run_edits.open_folder(self._path.value_input or self._path.value)))
        self._file = pmui.FileInput(
            label="Import report.json", accept=".json", multiple=False, variant="outlined", size="small", margin=0
        )
        self._file.param.watch(self._import, "value")
        words = "A run folder stays where it is and is linked here; a report (the result as JSON) is copied."
        return column(html(heading("From elsewhere", words)), _row(self._path, go, self._file))

    def _make_table(self) -> pn.widgets.Tabulator:
        table = pn.widgets.Tabulator(
            frame([], ""),
            disabled=True,
            show_index=False,
            selectable="checkbox",
            layout="fit_columns",
            pagination="local",
            page_size=25,
            sizing_mode="stretch_width",
            widths=_WIDTHS,
            hidden_columns=["id"],
            text_align={"Mean JS": "right", "Prompts": "right", "Took": "right"},
            formatters={
                "Mean JS": NumberFormatter(format="0.0[00000]", nan_format=DASH),
                "Prompts": NumberFormatter(format="0,0", nan_format=DASH),
            },
            stylesheets=[_TABLE],
            configuration={
                "responsiveLayout": "hide",
                "columnDefaults": {"headerSortTristate": True},
                "placeholder": "No run matches.",
            },
            margin=0,
            css_classes=["sway-hook-runs"],
        )
        table.on_click(self._clicked)
        table.param.watch(self._selected, "selection")
        return table

    # -- reading --------------------------------------------------------------------------------

    @param.depends("refresh", watch=True)
    def reread(self) -> None:
        """Read the folder of runs; what has not changed is not read again."""
        found, chosen = runs.everything(), runs.baseline()
        if found == self._all and found and chosen == self.baseline:
            return
        self._all = found
        if chosen != self.baseline:
            self.baseline = chosen
        here = {r.id for r in self._all}
        if any(m not in here for m in self.compare):
            self.compare = [m for m in self.compare if m in here]
        self._show()

    def pull(self) -> None:
        """Look whether something has changed; for a tick, as long as the page is seen."""
        self.reread()

    @param.depends("text", "states", "archived", "baseline", watch=True)
    def _show(self) -> None:
        self._shown = runs.listed(self._all, text=self.text, states=self.states, archived=self.archived)
        self._table.visible = bool(self._all)
        self._demo.visible = runs.demo_folder() is not None
        set_html(self._note, f'<p class="sway-caption">{esc(self._caption())}</p>')
        self._fill(frame(self._shown, self.baseline))
        self._marked.refresh()

    def _caption(self) -> str:
        if not self._all:
            how = "Start one under New run, open the recorded example, or bring one in from elsewhere."
            return f"No runs yet in {runs_root()}. {how}"
        hidden = sum(r.archived for r in self._all) if not self.archived else 0
        waiting = sum(r.status == "queued" for r in self._all)
        parts = [f"{len(self._shown):,} of {count(len(self._all), 'run')} in {runs_root()}, newest first"]
        if hidden:
            parts.append(f"{hidden:,} archived")
        if waiting:
            parts.append(f"{waiting:,} waiting for a device")
        return f"{'; '.join(parts)}. A click opens a run, its box marks it."

    def _fill(self, new: pd.DataFrame) -> None:
        """Patch what has changed; only another set of runs replaces the table's rows."""
        old = self._table.value
        self._busy = True
        try:
            if list(old["id"]) != list(new["id"]):
                self._table.value = new
            else:
                changed = {
                    name: [(i, b) for i, (a, b) in enumerate(zip(old[name], new[name], strict=True)) if not _same(a, b)]
                    for name in new.columns
                }
                if changed := {name: cells for name, cells in changed.items() if cells}:
                    self._table.patch(changed, as_index=False)
            rows = [i for i, r in enumerate(self._shown) if r.id in self.compare]
            if sorted(self._table.selection) != rows:
                self._table.selection = rows
        finally:
            self._busy = False

    # -- what people do -------------------------------------------------------------------------

    @property
    def marked(self) -> list[RunInfo]:
        """The marked runs in the order of marking, also those the filter hides."""
        known = {r.id: r for r in self._all}
        return [known[m] for m in self.compare if m in known]

    def open(self, address: str) -> None:
        """Ask for a run to be opened."""
        self.opened = address
        self.opened = ""

    def say(self, text: str) -> None:
        """One sentence above the table; nothing when empty."""
        set_html(self._said, toned("bad", "sway-banner", esc(text), role="alert") if text else "")
        self._said.visible = bool(text)

    def _clicked(self, event: Any) -> None:
        if event.column in COLUMNS:
            self.open(str(self._table.value["id"].iloc[event.row]))

    def _selected(self, event: Any) -> None:
        if self._busy:
            return
        now = [str(i) for i in self._table.value["id"].iloc[list(event.new)]]
        here = {r.id for r in self._shown}
        kept = [m for m in self.compare if m in now or m not in here]
        self.compare = [*kept, *(m for m in now if m not in kept)]

    @param.depends("compare", watch=True)
    def _compared(self) -> None:
        if not self._busy:
            self._fill(self._table.value)
        self._marked.refresh()

    def _bring(self, make: Any) -> None:
        try:
            address = make()
        except (SwayError, ValueError, OSError) as error:
            self.say(str(error))
            return
        self.say("")
        self.reread()
        self.open(address)

    def _import(self, event: Any) -> None:
        if not event.new:
            return
        data, name = bytes(event.new), str(self._file.filename or "report.json")
        self._bring(lambda: run_edits.import_report(data, name))


# -- what is in a row ---------------------------------------------------------------------------


def frame(found: Sequence[RunInfo], baseline: str) -> pd.DataFrame:
    """Rows of the table."""
    rows = [
        {
            "id": r.id,
            "State": state(r),
            "Run": f"{'★ ' if r.id == baseline else ''}{visible(r.name)}{' (archived)' if r.archived else ''}",
            "Answer": f"{GLYPH.get(r.word, '')} {r.word}".strip() or DASH,
            "Base ↔ adapter": f"{visible(r.base)} ↔ {visible(r.adapter) or 'no adapter'}" if r.base else DASH,
            "Mean JS": float(f"{r.mean:.3g}") if r.mean is not None and r.metric == "JS" else math.nan,
            "95 % CI": _interval(r),
            "Prompts": math.nan if r.prompts is None else float(r.prompts),
            "Started": f"{datetime.fromtimestamp(r.created).astimezone():%Y-%m-%d %H:%M}" if r.created else DASH,
            "Took": DASH if r.live else duration(r.seconds),
            "Tags": ", ".join(visible(t) for t in r.tags),
        }
        for r in found
    ]
    made = pd.DataFrame(rows, columns=["id", *COLUMNS], dtype="object")
    return made.astype({"Mean JS": "float64", "Prompts": "float64"})


def state(run: RunInfo) -> str:
    """State of a run with its sign; for one that waits, its place."""
    if run.standing is not None:
        return f"{MARKS['queued']} {ordinal(run.standing.position)} in line"
    return f"{MARKS[run.status]} {'imported' if run.imported else run.status}"


def _interval(run: RunInfo) -> str:
    # Another divergence has another scale: it stands by itself and is not sorted among the others.
    if run.metric != "JS" and run.mean is not None:
        return f"{run.metric} {float(f'{run.mean:.3g}'):g} ({interval(run.ci)})"
    return interval(run.ci)


def _same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def _row(*items: Any) -> pn.Column:
    return pn.Column(*items, sizing_mode="stretch_width", margin=0, stylesheets=[f":host {{ {_ROW} }}"])
