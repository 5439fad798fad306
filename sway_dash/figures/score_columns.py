"""What a composite score is made of: how much every category and every probe adds, and what does not count.

The score itself is :func:`sway_dash.suite.score.compute`'s; here it is only taken apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sway_dash.core.events import PlannedProbe
from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore, Verdict
from sway_dash.figures.columns import Columns
from sway_dash.figures.theme import number, percent, visible
from sway_dash.report.formats import BANDS as BANDS
from sway_dash.suite.score import category_of, counts, probe_weight

EDGES = (0.3, 0.6, 0.85)
"""Where a band ends and the next one begins."""

HATCH = {"adherence": " ", "attribution": "/", "calibration": "o", "ablation": "-", "baseline": "x"}
"""How the segments of a category are hatched."""

BAR_COLUMNS = ("y", "left", "right", "category", "hatch", "mark", "middle", "probe", "text")
BAR_PX, BARS_PX = 130, 172
"""Height of a figure with one bar, and with two."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one probe adds to the composite score."""

    category: str
    probe: str
    score: float
    share: float
    """Its part of all that counts, 0 to 1: what it would add with a score of 1."""
    weight: float
    """Weight within its category."""
    of: float
    """Sum of the weights in its category."""

    @property
    def adds(self) -> float:
        """What it adds."""
        return self.share * self.score


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A probe that does not count, and why."""

    probe: str
    kind: str
    reason: str


def parts(suite: SuiteResult, score: SwayScore) -> list[Part]:
    """Probes that count, by category in the order of the score; what they add sums to ``score.overall``."""
    total = math.fsum(score.weights.get(c, 0.0) for c in score.components)
    found: list[Part] = []
    for category in score.components:
        own = [p for p in suite.probes if counts(p) and probe_weight(p) > 0 and category_of(p.kind) == category]
        of = math.fsum(map(probe_weight, own))
        weight = score.weights.get(category, 0.0)
        if weight <= 0 or total <= 0:
            continue
        for p in own:
            share = weight / total * probe_weight(p) / of
            found.append(Part(category, p.name, float(p.score or 0.0), share, probe_weight(p), of))
    return found


def left_out(suite: SuiteResult, score: SwayScore, planned: Sequence[PlannedProbe] = ()) -> list[LeftOut]:
    """Probes that do not count, in the order of the suite, with the reason of each."""
    results = {p.name: p for p in suite.probes}
    names = [(p.name, p.kind) for p in planned]
    names += [(p.name, p.kind) for p in suite.probes if (p.name, p.kind) not in names]
    off = {p.name for p in planned if not p.enabled}
    found = []
    for name, kind in names:
        reason = "disabled in the suite" if name in off else _why_not(results.get(name), score)
        if reason:
            found.append(LeftOut(name, kind, reason))
    return found


def partial(suite: SuiteResult) -> list[str]:
    """Probes that count although only part of their measurements were made."""
    return [p.name for p in suite.probes if "partial" in p.evidence and counts(p)]


def _why_not(result: ProbeResult | None, score: SwayScore) -> str:
    if result is None:
        return "not run"
    if result.verdict is Verdict.ERROR:
        return "ended in an error"
    if result.verdict is Verdict.SKIP:
        return "partial: not enough to judge" if "partial" in result.evidence else "skipped"
    if not counts(result):
        return "has no score"
    if probe_weight(result) <= 0:
        return "its weight is 0"
    category = category_of(result.kind)
    return "" if score.weights.get(category, 0.0) > 0 else f"the category {category} weighs 0"


def bar(found: Sequence[Part], row: float) -> Columns:
    """Segments of one bar, end to end; ``row`` is its place on the y axis."""
    columns: Columns = {name: [] for name in BAR_COLUMNS}
    order = list(dict.fromkeys(p.category for p in found))
    at = 0.0
    for p in found:
        end = at + p.adds
        columns["y"].append(row)
        columns["left"].append(at)
        columns["right"].append(end)
        columns["category"].append(visible(p.category))
        columns["hatch"].append(HATCH.get(p.category, "."))
        # A number a category, as in the table; where there is no room for it the colour and the order must do.
        columns["mark"].append(str(order.index(p.category) + 1) if p.adds >= 0.03 else "")
        columns["middle"].append((at + end) / 2)
        columns["probe"].append(visible(p.probe))
        columns["text"].append(f"{percent(p.share)} × {number(p.score)} = {number(p.adds)}")
        at = end
    return columns
