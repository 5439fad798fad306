"""A comparison of runs as a table: one row a prompt and run, with its difference from the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sway_dash.report.frames import PAIRED, made

if TYPE_CHECKING:
    import pandas as pd

    from sway_dash.report.html.compare_elsewhere import Asked
    from sway_dash.report.html.redact import Redaction
    from sway_dash.suite.comparison import Comparison, Contrast

CHANGES: Final = {1: "more", 0: "same", -1: "less"}


def differences(comparison: Comparison, ids: Sequence[str]) -> pd.DataFrame:
    """Every prompt of every run but the baseline, in the order of its suite: see :data:`frames.PAIRED`."""
    return made([row for c in comparison.contrasts for row in _rows(comparison, c, ids)], PAIRED)


def of_runs(asked: Asked, level: Redaction = "full") -> pd.DataFrame:
    """The same of runs as far as a level lets them leave. ``SwayError`` for what cannot be compared."""
    from sway_dash.report.html.sides import called, sides_of
    from sway_dash.report.html.source import source_of
    from sway_dash.suite.comparison import compare

    sources = [source_of(run) for run in asked.runs]
    sides = sides_of(sources, level, paths=asked.paths)
    ids = [side.name if level == "numbers" else source.id for side, source in zip(sides, sources, strict=True)]
    probe = called(sources, asked.probe, level)
    return differences(compare(sides, baseline=asked.baseline, probe=probe, metric=asked.metric), ids)


def _rows(comparison: Comparison, contrast: Contrast, ids: Sequence[str]) -> list[dict[str, Any]]:
    pair = run, base = contrast.run, comparison.baseline
    sides, values = comparison.sides, comparison.values
    rows = []
    for place, (text, occurrence) in enumerate(comparison.alignment.keys):
        delta = float(contrast.deltas[place])
        known = delta == delta
        why = [f"{sides[i].name}: {comparison.missing(i, place)}" for i in pair if values[place, i] != values[place, i]]
        rows.append(
            {
                "run": ids[run],
                "run_name": sides[run].name,
                "baseline": ids[base],
                "baseline_name": sides[base].name,
                "probe": comparison.probe,
                "divergence": comparison.metric,
                "prompt": text,
                "occurrence": occurrence + 1,
                "tags": list(comparison.alignment.tags[place]),
                "value": float(values[place, run]),
                "baseline_value": float(values[place, base]),
                "delta": delta,
                "noise": float(contrast.floors[place]) if known else float("nan"),
                "change": CHANGES[int(contrast.direction[place])] if known else "",
                "not_paired": "; ".join(why),
            }
        )
    return rows
