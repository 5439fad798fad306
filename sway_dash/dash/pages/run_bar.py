"""Which run, in what state, how far; Cancel, Resume and Duplicate."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash import jobs
from sway_dash.dash.components import column, html, set_html, toned
from sway_dash.dash.pages.banner import banner
from sway_dash.dash.state import RunState
from sway_dash.dash.theme import duration, esc

STATES = {
    "none": ("muted", "no run"),
    "queued": ("accent", "queued"),
    "starting": ("accent", "starting"),
    "running": ("accent", "running"),
    "finished": ("good", "finished"),
    "cancelled": ("warn", "cancelled"),
    "interrupted": ("warn", "interrupted"),
    "failed": ("bad", "failed"),
}


_TOP = ":host { display: flex !important; flex-flow: row wrap; gap: 6px 16px; align-items: center; }"


class RunBar(pn.viewable.Viewer):
    """Head of every page about a run."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    demo = param.Boolean(default=False, doc="The open run is the recorded example.")
    cancel = param.Event(doc="Stop the run.")
    resume = param.Event(doc="Measure what is missing.")
    duplicate = param.Event(doc="Make a new run from this one's suite.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._head = html(css_classes=["sway-hook-head"], styles={"flex": "1 1 320px"})
        self._progress = pmui.LinearProgress(value=0, sizing_mode="stretch_width", margin=(6, 0), visible=False)
        self._banner = html(css_classes=["sway-hook-banner"])
        self._cancel = pmui.Button.from_param(
            self.param.cancel,
            description="",
            label="Cancel",
            color="error",
            variant="outlined",
            size="small",
            margin=(0, 8, 0, 0),
        )
        self._resume = pmui.Button.from_param(
            self.param.resume, description="", label="Resume", variant="outlined", size="small", margin=(0, 8, 0, 0)
        )
        self._duplicate = pmui.Button.from_param(
            self.param.duplicate, description="", label="New run from this", variant="text", size="small", margin=0
        )
        self._buttons = pn.Row(self._cancel, self._resume, self._duplicate, margin=0)
        top = pn.Column(self._head, self._buttons, sizing_mode="stretch_width", margin=0, stylesheets=[_TOP])
        self._root = column(top, self._progress, self._banner, gap=6)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("run.version", "demo", watch=True)
    def _refresh(self) -> None:
        run = self.run
        tone, word = STATES[run.status]
        started = run.data.started
        what = esc(run.title) if run.run_id else "No run yet"
        if self.demo:
            what = "Recorded example"
        state = toned(tone, "sway-state", "stopping" if run.stopping else word, tag="span")
        facts = []
        if started:
            adapter = started.adapter_id.rstrip("/").rsplit("/", 1)[-1] or "no adapter"
            facts = [f"{started.base_model_id.rstrip('/').rsplit('/', 1)[-1]} ↔ {adapter}", f"seed {started.seed}"]
            if isinstance(started.determinism, dict) and started.determinism.get("class"):
                facts.append(f"determinism: {started.determinism['class']}")
        if run.total:
            facts.append(f"{run.done:,} of {run.total:,} measurements")
        if run.seconds:
            facts.append(duration(run.seconds))
        if run.live and run.phase:
            facts.append(run.phase)
        line = f'<p class="sway-kicker sway-num">{state} {esc(" · ".join(facts))}</p>'
        set_html(self._head, f'<h1 class="sway-h1">{what}</h1>{line}')
        self._progress.visible = run.live
        self._progress.value = min(100, int(100 * run.done / run.total)) if run.total else 0
        self._cancel.visible = run.live
        self._cancel.disabled = run.stopping
        # A run elsewhere (the shipped example, another user's folder) is not ours to continue.
        self._resume.visible = run.status in ("cancelled", "interrupted", "failed") and not self.demo
        self._duplicate.visible = bool(run.run_id)
        feed = run.feed
        log = jobs.log_tail(feed.folder) if feed and run.status in ("failed", "interrupted") else ""
        text = banner(run, skipped=feed.skipped if feed else 0, worker_log=log)
        set_html(self._banner, text)
        self._banner.visible = bool(text)

    @param.depends("cancel", watch=True)
    def _on_cancel(self) -> None:
        if self.run.folder is not None:
            jobs.cancel(self.run.folder)

    @param.depends("resume", watch=True)
    def _on_resume(self) -> None:
        folder = self.run.folder
        if folder is None or folder.is_alive():
            return
        try:
            jobs.launch(folder, resume=True)
        except (OSError, SwayError) as error:
            if pn.state.notifications:
                pn.state.notifications.error(esc(error))
            return
        self.run.open(folder)
