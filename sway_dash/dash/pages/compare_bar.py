"""Which runs are compared: tokens to order, drop and star, a list to add from; what to do when there are too few."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash import runs
from sway_dash.dash.buttons import Buttons
from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import beside, column, html, set_html
from sway_dash.dash.run_tokens import RunTokens
from sway_dash.figures.markup import heading
from sway_dash.figures.theme import count, esc, visible
from sway_dash.suite.comparison import MAX_RUNS, Side
from sway_dash.suite.status import LIVE

OFFERED = 50
"""Recent runs in the list."""

CHOOSE = "choose…"

AT_HAND = 12
"""Recent runs offered as buttons as long as there is nothing to compare."""


class CompareBar(pn.viewable.Viewer):
    """Reads and writes the runs of ``state``."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._tokens = RunTokens(self._act, css_classes=["sway-hook-tokens"], styles={"flex": "1 1 420px"})
        self._picker = pmui.Select(
            label="Add a run", options={CHOOSE: ""}, value="", searchable=True, size="small", width=280, margin=(4, 0)
        )
        self._picker.param.watch(self._picked, "value")
        self._said = html(css_classes=["sway-hook-compare-said"])
        self._hint = html()
        self._recent = Buttons(self.state.add, label="Recent runs", css_classes=["sway-hook-recent"])
        top = beside(self._tokens, self._picker, gap="6px 14px")
        self._empty = column(self._hint, self._recent, gap=10)
        self._root = column(html(heading("Compare runs")), top, self._said, self._empty, gap=8)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def reread(self) -> None:
        """Read the list of runs again."""
        self._offer()

    @param.depends("state.version", "state.focus", "state.stored", "state.missing", "state.opening", watch=True)
    def _refresh(self) -> None:
        state = self.state
        base, shown = state.base, state.focused
        self._tokens.offer(
            [
                (side.id, label, visible(side.name), _standing(side), i == base, i == shown)
                for i, (side, label) in enumerate(zip(state.sides, state.labels, strict=True))
            ]
        )
        self._tokens.visible = bool(state.sides)
        gone = ", ".join(f"<code>{esc(a)}</code>" for a in state.missing)
        are = "There are no runs" if len(state.missing) > 1 else "There is no run"
        text = f"{are} {gone} here; what is left is compared." if gone else ""
        if len(set(state.runs)) > MAX_RUNS:
            text += f" {MAX_RUNS} runs can be compared at a time; the others are left out."
        if state.opening:
            text += f" Reading {count(len(state.opening), 'run')}…"
        set_html(self._said, f'<p class="sway-caption" role="status">{text.strip()}</p>' if text else "")
        self._offer()

    def _offer(self) -> None:
        """The picker's options and, as long as there are too few runs, the buttons."""
        state = self.state
        few = len(state.sides) < 2 and not state.opening
        self._empty.visible = few
        found = [r for r in runs.recent(OFFERED) if r.id not in state.runs]
        demo = runs.demo_folder()
        offered = [(r.id, r.name, f"{r.status}{_when(r.created)}") for r in found]
        if demo is not None and runs.DEMO not in state.runs:
            offered.append((runs.DEMO, "Recorded example", "comes with the program"))
        options = {CHOOSE: ""}
        for address, name, more in offered:
            label = f"{visible(name)} · {more}"
            options[label if label not in options else f"{label} · {address}"] = address
        full = len(state.sides) >= MAX_RUNS
        if self._picker.options != options:
            self._picker.param.update(options=options, value="")
        self._picker.disabled = full or len(options) == 1
        if few:
            set_html(self._hint, f'<p class="sway-empty">{_hint(len(state.sides), len(offered))}</p>')
            self._recent.offer(offered[:AT_HAND])

    def _picked(self, event: Any) -> None:
        if event.new:
            self.state.add(event.new)
            self._picker.value = ""

    def _act(self, what: str, run: str) -> None:
        state = self.state
        if what == "baseline":
            problem = state.set_baseline(run)
            if problem and pn.state.notifications:
                pn.state.notifications.warning(f"This baseline holds here only: {problem}", duration=8000)
        elif what == "show":
            state.focus = run
        elif what == "open":
            state.open_run(run)
        elif what == "remove":
            state.remove(run)
        else:
            state.move(run, -1 if what == "left" else 1)


def _standing(side: Side) -> str:
    if side.status in LIVE and side.fold is not None and side.fold.total:
        return f"{side.status} {side.fold.done:,}/{side.fold.total:,}"
    return side.status


def _when(created: float) -> str:
    return f", {datetime.fromtimestamp(created).astimezone():%Y-%m-%d %H:%M}" if created else ""


def _hint(n: int, offered: int) -> str:
    if not offered:
        return (
            "There is no further run to compare with. Make one on the page <b>New run</b>: the same suite with another"
            " adapter."
        )
    if n:
        return "One more run is needed. Choose it below, or from <b>Add a run</b>:"
    return (
        f"Choose two to {MAX_RUNS} runs. Each is compared with one of them, the baseline (★), prompt by prompt: which"
        " prompts moved more, the same, or less. Recent runs:"
    )
