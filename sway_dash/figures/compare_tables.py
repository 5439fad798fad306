"""What the tables of a comparison say, on the page and in the report: probes side by side, and differing settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sway_dash.core.result import ProbeResult
from sway_dash.figures.evidence import SIGNS
from sway_dash.figures.markup import table
from sway_dash.figures.theme import DASH, count, esc, number, var
from sway_dash.suite.comparable import ABSENT, differing_settings
from sway_dash.suite.compare import ProbeChange
from sway_dash.suite.comparison import Side

CHANGES = {
    "improved": ("▲", "good"),
    "same": ("=", "muted"),
    "regressed": ("▼", "bad"),
    "lost": ("✕", "bad"),
    "new": ("+", "accent"),
    "not judged": ("", "muted"),
}
"""What became of a probe: sign and colour."""

MOST_SETTINGS = 80
"""Places that are listed; runs that differ in more have little in common."""

LONGEST = 160
"""Characters of a setting."""


def probe_names(sides: Sequence[Side]) -> list[str]:
    """All probes of the runs, those of the first run first."""
    return list(dict.fromkeys(name for side in sides for name in (*side.entries, *side.results)))


def head(first: str, labels: Sequence[str], baseline: int) -> tuple[str, ...]:
    """Heads of a table with one column a run; the baseline has a star."""
    return (first, *(f"{label} ★" if i == baseline else label for i, label in enumerate(labels)))


def probe_name(name: str, sides: Sequence[Side]) -> str:
    """A probe and its kind."""
    kind = next((str(s.entries[name].get("kind", "")) for s in sides if name in s.entries), "")
    return f'{esc(name)}<br><span class="sway-caption">{esc(kind)}</span>'


def probe_cell(
    found: ProbeResult | None,
    of: ProbeChange | None,
    *,
    absent: str = "not in this run",
    written: Callable[[float], str] = number,
) -> str:
    """Verdict, value and score of a probe in a run, and what became of it where that can be told."""
    change = ""
    if of is not None and of.change != "not judged":
        sign, tone = CHANGES[of.change]
        step = f" {number(of.before)} → {number(of.after)}" if of.delta else ""
        change = f"<br>{_toned(tone, f'{sign} {of.change}{step}')}"
    if found is None:
        return _roomy(f'<span class="sway-caption">{absent}</span>{change}')
    sign, tone, word = SIGNS[found.verdict]
    value = f" {written(found.raw)}" if found.raw is not None else ""
    score = f", score {written(found.score)}" if found.score is not None else ""
    partial = " (partial)" if found.evidence.get("partial") else ""
    return _roomy(f"{_toned(tone, f'{sign} {word}')}{partial}{value}{score}{change}")


def settings(sides: Sequence[Side], labels: Sequence[str], baseline: int) -> str:
    """Places of suites and environments in which the runs differ; nothing else."""
    found = differing_settings(sides)
    if not found:
        return '<p class="sway-caption">Nothing: the same suite in the same environment.</p>'
    rows = [(f"<code>{esc(s.place)}</code>", *map(_setting, s.values)) for s in found[:MOST_SETTINGS]]
    more = len(found) - MOST_SETTINGS
    note = f'<p class="sway-caption">{count(more, "more place")} not shown.</p>' if more > 0 else ""
    return table(head("Place", labels, baseline), rows) + note


def _setting(value: str) -> str:
    if value == ABSENT:
        return f'<span class="sway-caption">{DASH}</span>'
    return _roomy(f"<bdi>{esc(value if len(value) <= LONGEST else f'{value[:LONGEST]}…')}</bdi>")


def _toned(tone: str, text: str) -> str:
    return f'<span style="color: {var(tone)}">{esc(text)}</span>'


def _roomy(inner: str) -> str:
    """A cell that a narrow screen scrolls to rather than squeezes."""
    return f'<div style="min-width: 110px; overflow-wrap: anywhere">{inner}</div>'
