"""The probes of the compared runs side by side, and the settings in which the runs differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import panel as pn
import param

from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import column, html, set_html
from sway_dash.figures.evidence import SIGNS
from sway_dash.figures.markup import heading, table
from sway_dash.figures.theme import DASH, count, esc, number, var
from sway_dash.suite.comparable import ABSENT, differing_settings
from sway_dash.suite.compare import change_of
from sway_dash.suite.status import LIVE

CHANGES = {
    "improved": ("▲", "good"),
    "same": ("=", "muted"),
    "regressed": ("▼", "bad"),
    "lost": ("✕", "bad"),
    "new": ("+", "accent"),
    "not judged": ("", "muted"),
}

MOST_SETTINGS = 80
"""Places that are listed; runs that differ in more have little in common."""

LONGEST = 160
"""Characters of a setting."""


class ProbeMatrix(pn.viewable.Viewer):
    """One row a probe, one column a run: verdict, value, score, and what became of it since the baseline."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._table = html(css_classes=["sway-hook-probe-matrix"])
        caption = (
            "Better or worse than the baseline by verdict, and where that is the same by score, from a difference of"
            " 0.10 on. A higher score is better."
        )
        self._root = column(html(heading("Probes", caption)), self._table)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("state.version", watch=True)
    def _refresh(self) -> None:
        state = self.state
        if state.comparison is None:
            return
        names = list(dict.fromkeys(name for side in state.sides for name in (*side.entries, *side.results)))
        head = ("Probe", *(f"{label} ★" if i == state.base else label for i, label in enumerate(state.labels)))
        rows = [(self._name(name), *(self._cell(name, i) for i in range(len(state.sides)))) for name in names]
        set_html(self._table, table(head, rows) + f'<p class="sway-caption">{self._counts(names)}</p>')

    def _counts(self, names: Sequence[str]) -> str:
        """How many probes are better, the same, worse, lost or new in every run."""
        state, parts = self.state, []
        base = state.sides[state.base].results
        for i, (side, label) in enumerate(zip(state.sides, state.labels, strict=True)):
            if i == state.base:
                continue
            pending = {n for n in names if self._pending(n, i) or self._pending(n, state.base)}
            known = [n for n in names if n not in pending]
            found = Counter(str(change_of(n, base.get(n), side.results.get(n)).change) for n in known)
            told = [f"{n} {change}" for change in CHANGES if (n := found[change]) and change != "not judged"]
            parts.append(
                f"{label}: {', '.join([*told, *([f'{len(pending)} to come'] if pending else [])]) or 'nothing'}"
            )
        return esc(" · ".join(parts))

    def _name(self, name: str) -> str:
        kind = next((str(s.entries[name].get("kind", "")) for s in self.state.sides if name in s.entries), "")
        return f'{esc(name)}<br><span class="sway-caption">{esc(kind)}</span>'

    def _cell(self, name: str, run: int) -> str:
        side, base = self.state.sides[run], self.state.sides[self.state.base]
        found = side.results.get(name)
        change = ""
        if run != self.state.base and not (found is None and self._pending(name, run)):
            of = change_of(name, base.results.get(name), found)
            sign, tone = CHANGES[of.change]
            if of.change != "not judged" and not self._pending(name, self.state.base):
                step = f" {number(of.before)} → {number(of.after)}" if of.delta else ""
                change = f'<br><span style="color: {var(tone)}">{sign} {of.change}{step}</span>'
        if found is None:
            word = "not finished yet" if self._pending(name, run) else "not in this run"
            return _roomy(f'<span class="sway-caption">{word}</span>{change}')
        sign, tone, word = SIGNS[found.verdict]
        value = f" {number(found.raw)}" if found.raw is not None else ""
        score = f", score {number(found.score)}" if found.score is not None else ""
        partial = " (partial)" if found.evidence.get("partial") else ""
        text = f'<span style="color: {var(tone)}">{sign} {word}</span>{partial}{value}{score}{change}'
        return _roomy(text)

    def _pending(self, name: str, run: int) -> bool:
        """The run may still come to this probe."""
        side = self.state.sides[run]
        return side.status in LIVE and name in side.entries and name not in side.results


class SettingsDiff(pn.viewable.Viewer):
    """Places of suites and environments in which the runs differ; nothing else."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._table = html(css_classes=["sway-hook-settings"])
        self._root = column(
            html(heading("What differs in the settings", "Suites and environments, differences only.")), self._table
        )
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("state.version", watch=True)
    def _refresh(self) -> None:
        state = self.state
        if state.comparison is None:
            return
        found = differing_settings(state.sides)
        if not found:
            set_html(self._table, '<p class="sway-caption">Nothing: the same suite in the same environment.</p>')
            return
        head = ("Place", *(f"{label} ★" if i == state.base else label for i, label in enumerate(state.labels)))
        rows = [(f"<code>{esc(s.place)}</code>", *map(_shown, s.values)) for s in found[:MOST_SETTINGS]]
        more = len(found) - MOST_SETTINGS
        note = f'<p class="sway-caption">{count(more, "more place")} not shown.</p>' if more > 0 else ""
        set_html(self._table, table(head, rows) + note)


def _shown(value: str) -> str:
    if value == ABSENT:
        return f'<span class="sway-caption">{DASH}</span>'
    return _roomy(esc(value if len(value) <= LONGEST else f"{value[:LONGEST]}…"))


def _roomy(inner: str) -> str:
    """A cell that a narrow screen scrolls to rather than squeezes."""
    return f'<div style="min-width: 110px; overflow-wrap: anywhere">{inner}</div>'
