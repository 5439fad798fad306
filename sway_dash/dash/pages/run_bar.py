"""Which run, in what state, how far, how fast; Stop, Resume and New run from this."""

from __future__ import annotations

import time
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash import jobs, runs
from sway_dash.dash.components import beside, column, html, set_html
from sway_dash.dash.live import Feed
from sway_dash.dash.pages.banner import banner, preflight_failed
from sway_dash.dash.progress import Counter
from sway_dash.dash.state import RunState
from sway_dash.figures.markup import toned
from sway_dash.figures.theme import duration, esc, number, size
from sway_dash.suite.store import SPEC, TOKENS

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

STOP, GO_ON = "Stop", "Let it go on"
SURE, KEPT = "Stop this run?", "What it has measured is kept, and Resume goes on from there."
ASKED = f"<b>{SURE}</b> {KEPT} Enter or . stops it, Esc lets it go on."


class RunBar(pn.viewable.Viewer):
    """Head of every page about a run."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    demo = param.Boolean(default=False, doc="The open run is the recorded example.")
    asking = param.Boolean(default=False, doc="The reader is asked whether the run is to be stopped.")
    cancel = param.Event(doc="Stop the run.")
    resume = param.Event(doc="Measure what is missing.")
    hold = param.Event(doc="Hold what is shown, or follow the run again.")
    duplicate = param.Event(doc="Make a new run from this one's suite.")
    export = param.Event(doc="Take the report, numbers or figures along.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._head = html(css_classes=["sway-hook-head"], styles={"flex": "1 1 320px"})
        self._progress = pmui.LinearProgress(value=0, sizing_mode="stretch_width", margin=(6, 0, 2, 0), visible=False)
        self._strip = html(css_classes=["sway-hook-strip"], visible=False)
        self._banner = html(css_classes=["sway-hook-banner"])
        self._hold = self._button("hold", "Hold the view", variant="text")
        self._cancel = self._button("cancel", STOP, color="error")
        self._resume = self._button("resume", "Resume")
        self._duplicate = self._button("duplicate", "New run from this", variant="text")
        self._export = self._button("export", "Export", variant="text")
        buttons = (self._hold, self._cancel, self._resume, self._duplicate, self._export)
        self._buttons = pn.FlexBox(*buttons, margin=0, sizing_mode=None)
        top = beside(self._head, self._buttons, gap="6px 16px")
        self._root = column(top, self._progress, self._strip, self._banner, gap=6)
        self._refresh()

    def _button(self, event: str, label: str, **options: Any) -> pmui.Button:
        common = {"variant": "outlined", "size": "small", "margin": (0, 0, 0, 8), "description": "", **options}
        return pmui.Button.from_param(self.param[event], label=label, **common)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("run.version", "run.held", "run.behind", "demo", "asking", watch=True)
    def _refresh(self) -> None:
        run, feed = self.run, self.run.feed
        if self.asking and (not run.live or run.stopping):
            self.asking = False
            return
        meta = feed.folder.meta() if feed else {}
        set_html(self._head, self._title())
        counted = run.live and run.status != "queued"
        self._progress.visible = counted
        self._progress.value = min(100, int(100 * run.done / run.total)) if run.total else 0
        line = strip(feed, time.time()) if feed else ""
        if run.held:
            line = f"View held: {run.behind}. Follow (F), another page, order or filter shows what is new."
        set_html(self._strip, f'<p class="sway-kicker sway-num">{esc(line)}</p>' if line else "")
        self._strip.visible = bool(line)
        self._hold.visible = run.live and run.status != "queued"
        self._hold.label = "Follow" if run.held else "Hold the view"
        self._cancel.visible = run.live or bool(feed and feed.lingering)
        self._cancel.disabled = run.stopping
        # A run elsewhere (the shipped example) is not ours to continue, and one without a suite cannot be.
        suite = bool(feed) and (feed.folder.path / SPEC).is_file()
        self._resume.visible = suite and run.status in ("cancelled", "interrupted", "failed") and not self.demo
        self._resume.disabled = bool(feed and feed.alive)
        self._resume.label = "Resume" if run.data.fold.measurements else "Try again"
        self._duplicate.visible = suite
        self._export.visible = run.data.started is not None
        log = jobs.log_tail(feed.folder) if feed and run.status in ("failed", "interrupted") else ""
        skipped = feed.skipped if feed else 0
        text = banner(run, skipped=skipped, worker_log=log, imported=str(meta.get("imported") or ""))
        if self.asking:
            text = toned("warn", "sway-banner", ASKED, role="alert") + text
        set_html(self._banner, text)
        self._banner.visible = bool(text)

    def _title(self) -> str:
        """Name, state and the facts that do not change from one second to the next, but for the count."""
        run, feed = self.run, self.run.feed
        tone, word = STATES[run.status]
        if run.status == "finished" and preflight_failed(run.data):
            tone, word = "bad", "not measured"
        started = run.data.started
        what = esc(run.title) if run.run_id else "No run yet"
        if self.demo:
            what = "Recorded example"
        state = toned(tone, "sway-state", "stopping" if run.stopping else word, tag="span")
        if run.held:
            state += " " + toned("warn", "sway-state", "view held", tag="span")
        if feed and run.run_id and runs.baseline() == runs.address_of(feed.folder):
            state += " " + toned("accent", "sway-state", "★ baseline", tag="span")
        facts = []
        if started:
            held = run.data.fold.environment.get("adapter")  # a model in memory has no path to an adapter
            adapter = runs.short(started.adapter_id) or str(held or "no adapter")
            facts = [f"{runs.short(started.base_model_id)} ↔ {adapter}", f"seed {started.seed}"]
            if isinstance(started.determinism, dict) and started.determinism.get("class"):
                facts.append(f"determinism: {started.determinism['class']}")
        facts += [str(where) for key in ("device", "dtype") if (where := run.data.fold.environment.get(key))]
        if run.total:
            facts.append(f"{run.done:,} of {run.total:,} measurements")
        if run.seconds:
            facts.append(duration(run.seconds))
        if run.live and run.phase:
            facts.append(run.phase)
        line = f'<p class="sway-kicker sway-num">{state} {esc(" · ".join(facts))}</p>'
        return f'<h1 class="sway-h1">{what}</h1>{line}'

    @param.depends("cancel", watch=True)
    def _on_cancel(self) -> None:
        self.asking = False
        if (folder := self.run.folder) is not None:
            self.run.follow()  # who stops a run wants to see its end; it may have come while the view was held
            if self.run.live or folder.is_alive():
                jobs.cancel(folder)
                self.run.pull()

    @param.depends("resume", watch=True)
    def _on_resume(self) -> None:
        folder = self.run.folder
        if folder is None:
            return
        try:
            jobs.launch(folder, resume=True)
        except (OSError, SwayError) as error:
            if pn.state.notifications:
                pn.state.notifications.error(str(error))
            return
        self.run.open(folder)


def strip(feed: Feed, now: float) -> str:
    """How fast a run measures, how long it still takes, and what its process holds; empty when there is nothing."""
    facts: list[str] = []
    if feed.status == "running":
        progress = feed.progress
        if (probe := progress.current) is not None and probe.total:
            facts.append(f"{probe.name}: {probe.done:,} of {probe.total:,}{_left(probe, now)}")
        # Of a run that is one probe everything has been said.
        if progress.whole.rate(now) and (probe is None or probe.total < progress.whole.total):
            facts.append(f"whole run{_left(progress.whole, now)}")
        if passes := feed.passes_per_second(now):
            facts.append(f"{number(passes)} passes/s")
    elif feed.lingering:
        recording = (feed.folder.path / TOKENS).exists()
        facts.append("recording token details" if recording else "the worker is ending")
    if feed.memory is not None and feed.status != "queued":
        facts.append(f"worker holds {size(feed.memory)}{_on_gpu(feed)}")
    return " · ".join(facts)


def _on_gpu(feed: Feed) -> str:
    """What the model takes of its device, as it said when it was loaded."""
    taken, total = (feed.data.fold.environment.get(key) for key in ("gpu_bytes_model", "gpu_bytes_total"))
    if not isinstance(taken, int) or not isinstance(total, int):
        return ""
    return f" of main memory, the model {size(taken)} of the GPU's {size(total)}"


def _left(counter: Counter, now: float) -> str:
    rate, left = counter.rate(now), counter.left(now)
    speed = f", {number(rate)}/s" if rate else ""
    if left is None:
        return speed
    about = "at least" if counter.open_ended else "about"
    return f"{speed}, {about} {f'{max(1, round(left))} s' if left < 60 else duration(left)} left"
