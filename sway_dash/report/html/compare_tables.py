"""Tables of the comparison report: probes side by side, and the settings in which the runs differ."""

from __future__ import annotations

from collections.abc import Sequence

from sway_dash.figures.evidence import SIGNS
from sway_dash.figures.markup import table
from sway_dash.figures.theme import DASH, count, esc, number
from sway_dash.report.html.parts import caption, exact
from sway_dash.report.paired import signed as with_sign
from sway_dash.suite.comparable import ABSENT, differing_settings
from sway_dash.suite.compare import change_of
from sway_dash.suite.comparison import Comparison, Side

MOST_UNPAIRED = 500
MOST_SETTINGS = 80
"""Places that are listed; runs that differ in more have little in common."""

LONGEST = 160
"""Characters of a setting."""

CHANGES = {
    "improved": ("▲", "good"),
    "same": ("=", "muted"),
    "regressed": ("▼", "bad"),
    "lost": ("✕", "bad"),
    "new": ("+", "accent"),
    "not judged": ("", "muted"),
}

METHOD = (
    "Prompts are paired by their text under the same probe and settings; a text that is listed twice counts once.",
    "Mean differences have a paired bootstrap-t interval of 95 %, for many prompts a skewness-corrected t interval.",
    "A prompt is the same in two runs when its difference is no larger than what two random adapters differ by on it"
    " (95 % of pairs), than what rounding makes of it, and than a millionth of a nat.",
    "p is that of the two-sided Wilcoxon signed-rank test, adjusted by Holm's method over all runs; d_z is Cohen's.",
    "JS is bounded by ln 2 = 0.693 nats; KL is KL(tuned‖base) and has no upper bound.",
)


def about(side: Side) -> tuple[str, ...]:
    """Cells that say what a run is."""
    seed = DASH if side.seed is None else str(side.seed)
    return (esc(side.name), esc(side.status), esc(side.base) or DASH, esc(side.adapter) or DASH, seed)


def precise(value: float | None, *, signed: bool = False) -> str:
    """A number with all its digits behind it."""
    return exact(with_sign(value, number) if signed else number(value), value)


def interval_cell(ci: tuple[float, float] | None, note: str) -> str:
    """An interval of a difference, or why there is none."""
    if ci is None:
        return esc(note)
    return f"{precise(ci[0], signed=True)} to {precise(ci[1], signed=True)}"


def probes(comparison: Comparison, labels: Sequence[str]) -> str:
    """One row a probe, one column a run: verdict, value, score, and what became of it since the baseline."""
    sides = comparison.sides
    names = list(dict.fromkeys(name for side in sides for name in (*side.entries, *side.results)))
    rows = [(_name(name, sides), *(_cell(comparison, name, i) for i in range(len(sides)))) for name in names]
    return table(_head("Probe", comparison, labels), rows)


def settings(comparison: Comparison, labels: Sequence[str]) -> str:
    """Places in which the runs differ; nothing else."""
    found = differing_settings(comparison.sides)
    if not found:
        return caption("Nothing: the same suite in the same environment.")
    rows = [(f"<code>{esc(s.place)}</code>", *map(_shown, s.values)) for s in found[:MOST_SETTINGS]]
    more = len(found) - MOST_SETTINGS
    note = caption(f"{count(more, 'more place')} not shown.") if more > 0 else ""
    return table(_head("Place", comparison, labels), rows) + note


def _head(first: str, comparison: Comparison, labels: Sequence[str]) -> tuple[str, ...]:
    return (first, *(f"{label} ★" if i == comparison.baseline else label for i, label in enumerate(labels)))


def _name(name: str, sides: Sequence[Side]) -> str:
    kind = next((str(s.entries[name].get("kind", "")) for s in sides if name in s.entries), "")
    return f'{esc(name)}<br><span class="sway-caption">{esc(kind)}</span>'


def _cell(comparison: Comparison, name: str, run: int) -> str:
    base, found = comparison.sides[comparison.baseline].results.get(name), comparison.sides[run].results.get(name)
    change = ""
    if run != comparison.baseline:
        of = change_of(name, base, found)
        sign, tone = CHANGES[of.change]
        if of.change != "not judged":
            step = f" {number(of.before)} → {number(of.after)}" if of.delta else ""
            change = f"<br>{_toned(tone, f'{sign} {of.change}{step}')}"
    if found is None:
        return f'<span class="sway-caption">not in this run</span>{change}'
    sign, tone, word = SIGNS[found.verdict]
    value = f" {precise(found.raw)}" if found.raw is not None else ""
    score = f", score {precise(found.score)}" if found.score is not None else ""
    partial = " (partial)" if found.evidence.get("partial") else ""
    return f"{_toned(tone, f'{sign} {word}')}{partial}{value}{score}{change}"


def _toned(tone: str, text: str) -> str:
    return f'<span style="color: var(--sway-{tone})">{esc(text)}</span>'


def _shown(value: str) -> str:
    if value == ABSENT:
        return f'<span class="sway-caption">{DASH}</span>'
    return f"<bdi>{esc(value if len(value) <= LONGEST else f'{value[:LONGEST]}…')}</bdi>"
