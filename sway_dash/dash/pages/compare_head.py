"""The answer of a comparison: may the runs be compared, and one sentence a run."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import column, html, set_html
from sway_dash.figures.markup import toned
from sway_dash.figures.theme import count, esc, number
from sway_dash.report.paired import mismatch_line, remarks, summary
from sway_dash.suite.comparable import mismatches


class CompareHead(pn.viewable.Viewer):
    """Warnings, remarks and summary sentences."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._warnings = html(css_classes=["sway-hook-mismatches"])
        self._summary = html(css_classes=["sway-hook-summary"])
        self._root = column(self._warnings, self._summary, gap=10)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("state.version", watch=True)
    def _refresh(self) -> None:
        state, comparison = self.state, self.state.comparison
        if comparison is None:
            set_html(self._warnings, "")
            set_html(self._summary, "")
            return
        labels = state.labels
        wrong = [mismatch_line(m, labels) for m in mismatches(state.sides, comparison.probe)]
        items = "".join(f"<li>{esc(line[:1].upper() + line[1:])}.</li>" for line in wrong)
        # One line that can be opened: the numbers below come first.
        what = ", ".join(line.partition(",")[0].removeprefix("different ") for line in wrong)
        told = (
            f"<b>Not quite comparable:</b> different {esc(what)}."
            f"<details><summary>{count(len(wrong), 'difference')} in detail</summary><ul>{items}</ul></details>"
        )
        set_html(self._warnings, toned("warn", "sway-banner", told, role="status") if wrong else "")
        self._warnings.visible = bool(wrong)
        lines = [
            f'<p class="sway-sentence sway-num" style="max-width: 110ch"><b>{labels[c.run]}</b>'
            f" {esc(state.sides[c.run].name)}: {esc(summary(comparison, c, labels, number))}</p>"
            for c in comparison.contrasts
        ]
        base = f"against {labels[comparison.baseline]}, {state.sides[comparison.baseline].name}"
        notes = remarks(state.sides, labels)
        if state.filtered:
            notes.insert(
                0, f"Over {int(comparison.admitted.sum()):,} of {len(comparison.admitted):,} prompts (filter)."
            )
        kicker = f'<p class="sway-kicker">{esc(f"{comparison.probe}, {base}" if comparison.probe else base)}</p>'
        more = f'<p class="sway-caption">{esc(" ".join(notes))}</p>' if notes else ""
        set_html(self._summary, kicker + "".join(lines) + more)
