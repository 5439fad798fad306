"""What is compared, and which prompts count: probe, divergence, tags, search, only what is outside noise."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.chips import Chips
from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.pages.controls import bind_search, bind_select
from sway_dash.figures.theme import count

PAUSE_MS = 200
"""A search waits until typing has paused for so long."""

CONTROL: dict[str, Any] = {"size": "small", "margin": (4, 8, 4, 0)}
METRICS = {"as judged": "", "JS divergence": "js", "KL(tuned‖base)": "kl"}


class CompareFilters(pn.viewable.Viewer):
    """Reads and writes the choices of ``state``."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        state = self.state
        self._probe = pmui.Select(label="Probe", options=[""], width=190, visible=False, **CONTROL)
        self._probe.param.watch(self._probe_chosen, "value")
        self._metric = pmui.Select(label="Divergence", options=METRICS, width=170, **CONTROL)
        self._search = pmui.TextInput(label="Search prompts, tags", width=230, value=state.query, **CONTROL)
        bind_search(self._search, state, PAUSE_MS)
        self._regex = pmui.Checkbox(label="regex", value=state.regex, margin=(4, 8, 4, 0), size="small")
        self._outside = pmui.Checkbox(
            label="only outside noise", value=state.outside, margin=(4, 8, 4, 0), size="small"
        )
        bind_select(self._metric, state, "metric")
        bind_select(self._regex, state, "regex")
        bind_select(self._outside, state, "outside")
        self._tags = Chips(self._tag, label="Tags", visible=False)
        self._count = html(css_classes=["sway-hook-compare-count"])
        controls = pn.FlexBox(
            self._probe,
            self._metric,
            self._search,
            self._regex,
            self._outside,
            self._tags,
            margin=0,
            sizing_mode="stretch_width",
            align_items="center",
        )
        self._root = column(controls, self._count, gap=2)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def focus(self) -> None:
        """Put the cursor into the search box."""
        self._search.focus()

    @param.depends("state.version", "state.focus", "state.outside", watch=True)
    def _refresh(self) -> None:
        state, comparison = self.state, self.state.comparison
        self._root.visible = comparison is not None
        if comparison is None:
            return
        if self._search.helper_text != state.problem:
            self._search.param.update(error_state=bool(state.problem), helper_text=state.problem)
        probes = state.probes
        if probes and list(self._probe.options) != probes:
            self._probe.param.update(options=probes, value=comparison.probe)
        elif self._probe.value != comparison.probe and comparison.probe in probes:
            self._probe.value = comparison.probe
        self._probe.visible = len(probes) > 1
        self._tags.offer((t, t, f"{n:,}", "on" if t in state.tags else "off") for t, n in state.tag_counts.items())
        listed, whole = len(state.places()), len(comparison.alignment.keys)
        text = f"{listed:,} of {count(whole, 'prompt')} listed"
        if state.outside:
            text += "; the numbers still count those inside noise"
        set_html(self._count, f'<span class="sway-caption sway-num" role="status">{text}</span>')

    def _probe_chosen(self, event: Any) -> None:
        if event.new and self.state.comparison is not None and event.new != self.state.comparison.probe:
            self.state.probe = event.new

    def _tag(self, tag: str) -> None:
        others = [t for t in self.state.tags if t != tag]
        self.state.tags = others if tag in self.state.tags else [*others, tag]
