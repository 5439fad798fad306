"""Tables of the comparison report: probes side by side, and the settings in which the runs differ."""

from __future__ import annotations

from collections.abc import Sequence

from sway_dash.figures import compare_tables as tables
from sway_dash.figures.markup import table
from sway_dash.figures.theme import DASH, esc, number
from sway_dash.report.html.parts import exact
from sway_dash.report.paired import signed as with_sign
from sway_dash.suite.compare import change_of
from sway_dash.suite.comparison import Comparison, Side

MOST_UNPAIRED = 500

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
    sides, baseline = comparison.sides, comparison.baseline

    def cell(name: str, run: int) -> str:
        found = sides[run].results.get(name)
        of = None if run == baseline else change_of(name, sides[baseline].results.get(name), found)
        return tables.probe_cell(found, of, written=precise)

    rows = [
        (tables.probe_name(name, sides), *(cell(name, i) for i in range(len(sides))))
        for name in tables.probe_names(sides)
    ]
    return table(tables.head("Probe", labels, baseline), rows)


def settings(comparison: Comparison, labels: Sequence[str]) -> str:
    """Places in which the runs differ; nothing else."""
    return tables.settings(comparison.sides, labels, comparison.baseline)
