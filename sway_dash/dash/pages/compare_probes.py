"""The probes of the compared runs side by side, and the settings in which the runs differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import panel as pn
import param

from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import column, html, set_html
from sway_dash.figures import compare_tables as tables
from sway_dash.figures.markup import heading, table
from sway_dash.figures.theme import esc
from sway_dash.suite.compare import change_of
from sway_dash.suite.status import LIVE


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
        names = tables.probe_names(state.sides)
        rows = [
            (tables.probe_name(name, state.sides), *(self._cell(name, i) for i in range(len(state.sides))))
            for name in names
        ]
        found = table(tables.head("Probe", state.labels, state.base), rows)
        set_html(self._table, f'{found}<p class="sway-caption">{self._counts(names)}</p>')

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
            told = [f"{n} {change}" for change in tables.CHANGES if (n := found[change]) and change != "not judged"]
            parts.append(
                f"{label}: {', '.join([*told, *([f'{len(pending)} to come'] if pending else [])]) or 'nothing'}"
            )
        return esc(" · ".join(parts))

    def _cell(self, name: str, run: int) -> str:
        base, found = self.state.sides[self.state.base].results.get(name), self.state.sides[run].results.get(name)
        told = run != self.state.base and not self._pending(name, run) and not self._pending(name, self.state.base)
        absent = "not finished yet" if self._pending(name, run) else "not in this run"
        return tables.probe_cell(found, change_of(name, base, found) if told else None, absent=absent)

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
        set_html(self._table, tables.settings(state.sides, state.labels, state.base))
