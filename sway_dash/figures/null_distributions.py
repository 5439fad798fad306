"""One entry of a suite against random adapters of several distributions: columns and words. No Bokeh, no Panel.

The draws of a distribution are shown in a row of their own and never mixed with those of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sway_dash.core.numbers import p_text, said
from sway_dash.figures.derive_null import norms
from sway_dash.figures.null_columns import Calibrated, Columns, norms_text, rank_name
from sway_dash.figures.theme import number, visible
from sway_dash.probes.null_adapter import null_name

Evidence = Mapping[str, Any]


def of_entry(known: Sequence[Calibrated], entry: str) -> list[Calibrated]:
    """Every set of draws of one entry."""
    return [f for f in known if f.entry == entry]


def noise_name(found: Calibrated, among: Sequence[Calibrated]) -> str:
    """What its random adapters are; with the name of their entry where several entries have such."""
    name = null_name(found.draws.distribution)
    same = sum(1 for f in among if f.draws.distribution == found.draws.distribution)
    return visible(name) if same < 2 else f"{visible(name)}, {visible(found.null)}"


def sizes(among: Sequence[Calibrated], made: Mapping[str, Evidence]) -> tuple[Columns, Columns, list[str]]:
    """Bars of ‖ΔW‖: the tuned adapter, then a random one of every distribution and rank.

    ``made`` holds the evidence of every ``null_adapter`` entry by its name.
    """
    tuned: Columns = {"y": [], "x": [], "text": []}
    nulls: Columns = {"y": [], "x": [], "text": []}
    names: list[str] = []
    trained = next((t for f in among if (t := norms(made.get(f.null, {}))[0]) is not None), None)
    if trained is not None:
        names.append("tuned")
        tuned = {"y": [0.0], "x": [trained], "text": [number(trained)]}
    for f in among:
        null = norms(made.get(f.null, {}))[1]
        for rank, value in null.items():
            nulls["y"].append(-float(len(names)))
            nulls["x"].append(value)
            nulls["text"].append(number(value))
            name = noise_name(f, among)
            names.append(name if len(null) == 1 else f"{name}, {rank_name(rank)}")
    return tuned, nulls, names


def sizes_text(among: Sequence[Calibrated], made: Mapping[str, Evidence]) -> str:
    """How large the random adapters are beside the tuned one, distribution by distribution."""
    if len(among) == 1:
        trained, null = norms(made.get(among[0].null, {}))
        text = norms_text(trained, null, among[0].draws.primary)
    else:
        parts = []
        for f in among:
            trained, null = norms(made.get(f.null, {}))
            name = noise_name(f, among)
            parts.append(f"{name[0].upper()}{name[1:]}: {norms_text(trained, null, f.draws.primary)}")
        text = " ".join(parts)
    listed = [made.get(f.null, {}).get("left_out") for f in among]
    left_out = {str(part) for parts in listed if isinstance(parts, list | tuple) for part in parts}
    if left_out:
        text += f" Random adapters leave out what else was trained: {visible(', '.join(sorted(left_out)))}."
    return text


def judged_by(among: Sequence[Calibrated]) -> str:
    """Which distribution counts, and why."""
    counts = next((f for f in among if f.counts), None)
    if counts is None or counts.standing.p is None:
        return ""
    return (
        f"The result is judged by the random adapters that come closest to it: {noise_name(counts, among)},"
        f" {said('p', p_text(counts.standing.p))} as the next draw."
    )


def table_rows(among: Sequence[Calibrated]) -> list[tuple[str, ...]]:
    """One row a distribution: name, draws, their range, how many lie below the tuned value, p as the next draw."""
    found: list[tuple[str, ...]] = []
    for f in among:
        s = f.standing
        span = f"{number(min(s.draws))} to {number(max(s.draws))}" if s.draws else "—"
        name = noise_name(f, among) + (", judged" if f.counts else "")
        below = f"{s.above} of {s.n}" if s.draws else "—"
        found.append((name, str(s.n), span, below, p_text(s.p)))
    return found
