"""All runs: filter, open, stop, mark, compare, name, archive, delete; runs from elsewhere come in here, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash import jobs, run_edits, runs
from sway_dash.dash.components import beside, body, column, html, set_html
from sway_dash.dash.looks import Look
from sway_dash.dash.pages.banner import ordinal
from sway_dash.dash.pages.marked import Marked
from sway_dash.dash.pages.run_bar import GO_ON, KEPT, STOP, SURE
from sway_dash.dash.run_list import RunList
from sway_dash.dash.runs import RunInfo
from sway_dash.figures.markup import heading, toned
from sway_dash.figures.theme import DASH, GLYPH, count, duration, esc, interval, number, visible
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
HEADS = [
    ["state", "State", False],
    ["run", "Run", False],
    ["answer", "Answer", False],
    ["models", "Base ↔ adapter", False],
    ["mean", "Mean JS, nats", True],
    ["ci", "95 % CI", False],
    ["prompts", "Prompts", True],
    ["started", "Started", False],
    ["took", "Took", True],
    ["tags", "Tags", False],
]
NEWEST = "-started"
MOST = 500
"""Rows shown at once; a filter reaches the others."""

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
    sort = param.String(default=NEWEST, doc="Key of the column the rows are sorted by, with a minus when it falls.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._shown: list[RunInfo] = []
        self._all: list[RunInfo] = []
        self._note = html(css_classes=["sway-hook-runs-note"])
        self._said = html(visible=False)
        self._list = RunList(
            heads=HEADS,
            words=[STOP, SURE, KEPT, GO_ON],
            on_open=self.open,
            on_mark=self.mark,
            on_sort=self._order,
            on_stop=self._stop,
            css_classes=["sway-hook-runs"],
        )
        self._table = column(self._list)  # a list cannot be hidden by itself
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

    @property
    def look(self) -> Look:
        """What the address says of the page."""
        return {"find": (self, "text"), "archived": (self, "archived"), "by": (self, "sort")}

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

    @param.depends("text", "states", "archived", "baseline", "sort", "compare", watch=True)
    def _show(self) -> None:
        found = runs.listed(self._all, text=self.text, states=self.states, archived=self.archived)
        self._shown = ordered(found, self.sort)[:MOST]
        self._table.visible = bool(self._all)
        self._list.sort = self.sort
        self._demo.visible = runs.demo_folder() is not None
        set_html(self._note, f'<p class="sway-caption">{esc(self._caption(len(found)))}</p>')
        rows = [(r.id, cells(r, self.baseline), r.live and not r.stopping) for r in self._shown]
        self._list.offer(rows, self.compare)
        self._marked.refresh()

    def _caption(self, found: int) -> str:
        if not self._all:
            example = "open the recorded example, " if self._demo.visible else ""
            how = f"Start one under New run, {example}or bring one in from elsewhere."
            return f"No runs yet in {runs_root()}. {how}"
        hidden = sum(r.archived for r in self._all) if not self.archived else 0
        waiting = sum(r.status == "queued" for r in self._all)
        parts = [f"{found:,} of {count(len(self._all), 'run')} in {runs_root()}"]
        if found > len(self._shown):
            parts.append(f"the first {len(self._shown):,} are shown")
        if hidden:
            parts.append(f"{hidden:,} archived")
        if waiting:
            parts.append(f"{waiting:,} waiting for a device")
        return f"{'; '.join(parts)}. A click opens a run, its box marks it."

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

    def mark(self, addresses: Sequence[str], on: bool) -> None:
        """Mark runs, or mark them no longer."""
        kept = [m for m in self.compare if on or m not in addresses]
        self.compare = [*kept, *(a for a in addresses if on and a not in kept)]

    def _order(self, key: str) -> None:
        """Sort by a column; by the same one again the other way round."""
        first = f"-{key}" if key in ("mean", "prompts", "started", "took") else key
        other = key if first.startswith("-") else f"-{key}"
        self.sort = other if self.sort == first else first

    def _stop(self, address: str) -> None:
        """Stop a run; what it has measured is kept."""
        folder = runs.find(address)
        if folder is not None and any(r.id == address and r.live for r in self._all):
            try:
                jobs.cancel(folder)
            except OSError as error:
                self.say(f"{folder.path} cannot be written: {error.strerror or error}")
            self.reread()

    def _bring(self, make: Callable[[], str]) -> None:
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


def cells(run: RunInfo, baseline: str = "") -> list[str]:
    """Texts of a row, one a head."""
    name = f"{'★ ' if run.id == baseline else ''}{visible(run.name)}{' (archived)' if run.archived else ''}"
    return [
        state(run),
        name,
        f"{GLYPH.get(run.word, '')} {run.word}".strip() or DASH,
        f"{visible(run.base)} ↔ {visible(run.adapter) or 'no adapter'}" if run.base else DASH,
        number(run.mean) if run.metric == "JS" else f"{run.metric} {number(run.mean)}",
        interval(run.ci),
        DASH if run.prompts is None else f"{run.prompts:,}",
        f"{datetime.fromtimestamp(run.created).astimezone():%Y-%m-%d %H:%M}" if run.created else DASH,
        DASH if run.live else duration(run.seconds),
        ", ".join(visible(t) for t in run.tags),
    ]


def state(run: RunInfo) -> str:
    """State of a run with its sign; for one that waits, its place."""
    if run.stopping:
        return f"{MARKS['running']} stopping"
    if run.standing is not None:
        return f"{MARKS['queued']} {ordinal(run.standing.position)} in line"
    return f"{MARKS[run.status]} {'imported' if run.imported else run.status}"


def ordered(found: Sequence[RunInfo], sort: str) -> list[RunInfo]:
    """Runs in the order of a column (with a minus in front: falling); what is not known comes last either way."""
    key = sort.removeprefix("-")
    of: Callable[[RunInfo], Any] = {
        "state": lambda r: list(MARKS).index(r.status),
        "run": lambda r: r.name.lower(),
        "answer": lambda r: r.word or None,
        "models": lambda r: (r.base.lower(), r.adapter.lower()) if r.base else None,
        # Another divergence has another scale: it is not sorted among the others.
        "mean": lambda r: r.mean if r.metric == "JS" else None,
        "ci": lambda r: r.ci,
        "prompts": lambda r: r.prompts,
        "started": lambda r: r.created,
        "took": lambda r: r.seconds,
        "tags": lambda r: r.tags or None,
    }.get(key, lambda r: r.created)
    known = sorted((r for r in found if of(r) is not None), key=of, reverse=sort.startswith("-"))
    return [*known, *(r for r in found if of(r) is None)]


def _row(*items: Any) -> pn.Column:
    return beside(*items, gap="8px 12px")
