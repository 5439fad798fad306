"""A comparison of results as JSON, as Markdown and on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sway_dash.core.result import jsonable
from sway_dash.report.formats import EM_DASH, format_score, one_line
from sway_dash.report.markdown import md_table, md_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from sway_dash.suite.compare import CompareMatrix, ProbeChange

NO_STEP = 5e-5
"""A smaller difference of two scores is written as none."""

SIGNS = {"improved": "▲", "same": "=", "regressed": "▼", "lost": "✕", "new": "+", "not judged": EM_DASH}


def render_json(
    matrix: CompareMatrix, *, regression_threshold: float = 0.10, changes: Sequence[ProbeChange] | None = None
) -> str:
    """Return the matrix as JSON text; with ``changes`` also what became of every probe."""
    document = matrix_dict(matrix, regression_threshold)
    if changes is not None:
        document["chronological"] = matrix.chronological
        document["changes"] = [change_dict(c) for c in changes]
    return json.dumps(jsonable(document), indent=2, allow_nan=False)


def matrix_dict(matrix: CompareMatrix, regression_threshold: float) -> dict[str, Any]:
    """The matrix under the keys of the public format, in their order."""
    return {
        "labels": matrix.labels,
        "timestamps": matrix.timestamps,
        "probe_names": matrix.probe_names,
        "scores": matrix.scores,
        "deltas": matrix.deltas,
        "composite_series": matrix.composite_series,
        "regression_threshold": regression_threshold,
        "latest_regressions": [
            {"probe": name, "delta": delta} for name, delta in matrix.latest_regressions(regression_threshold)
        ],
    }


def change_dict(change: ProbeChange) -> dict[str, Any]:
    """What became of a probe."""
    return {
        "probe": change.probe,
        "change": change.change,
        "before": change.before,
        "after": change.after,
        "verdict_before": change.verdict_before,
        "verdict_after": change.verdict_after,
    }


def render_markdown(
    matrix: CompareMatrix, *, regression_threshold: float = 0.10, changes: Sequence[ProbeChange] | None = None
) -> str:
    """Return the matrix as Markdown text, in the public layout; with ``changes`` a section about them follows."""
    lines = [f"# sway compare — {_runs(matrix)}", "", "## Runs", ""]
    runs = zip(matrix.labels, matrix.timestamps, strict=True)
    lines += md_table(("label", "finished_at"), ("---", "---"), ((md_text(a), md_text(b)) for a, b in runs))
    lines += ["", "## Scores", ""]
    head = _head(matrix)
    rows = [(md_text(name), *cells) for name, *cells in _rows(matrix)]
    rows.append(("**composite**", *_cells(matrix.composite_series)))
    lines += md_table([md_text(h) for h in head], ["---"] * len(head), rows)
    if found := matrix.latest_regressions(regression_threshold):
        lines += ["", f"## Regressions (≥{regression_threshold:.2f} drop vs previous run)", ""]
        lines += [f"- **{md_text(name)}** — `{delta:+.3f}`" for name, delta in found]
    if changes is not None:
        lines += ["", "## Changes", ""]
        if not matrix.chronological:
            lines += ["The runs are not in the order of time.", ""]
        lines += [f"- {SIGNS[c.change]} **{md_text(c.probe)}** — {md_text(change_words(c))}" for c in changes]
    return "\n".join(lines) + "\n"


def render_terminal(
    matrix: CompareMatrix,
    *,
    console: Console | None = None,
    regression_threshold: float = 0.10,
    changes: Sequence[ProbeChange] | None = None,
) -> None:
    """Print the matrix to ``console``, or to standard output.

    Only a step as large as the threshold is coloured: a difference nobody would act on is no alarm.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = console if console is not None else Console()
    out.print(Text(f"sway compare: {_runs(matrix)}", style="bold"))
    if not matrix.chronological:
        out.print(Text("the runs are not in the order of time", style="yellow"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for i, column in enumerate(_head(matrix)):
        table.add_column(Text(one_line(column)), justify="left" if i == 0 else "right", overflow="fold")
    for name in matrix.probe_names:
        table.add_row(Text(one_line(name)), *_coloured(matrix.scores[name], regression_threshold))
    table.add_row(Text("composite", style="bold"), *_coloured(matrix.composite_series, regression_threshold))
    out.print(table)
    if found := matrix.latest_regressions(regression_threshold):
        out.print()
        out.print(Text(f"regressions (≥{regression_threshold:.2f} drop vs previous run)", style="bold red"))
        for name, delta in found:
            out.print(Text(f"  {one_line(name)}  {delta:+.3f}"))
    if changes:
        out.print()
        out.print(Text("changes", style="bold"))
        for c in changes:
            style = "red" if c.worse else "dim" if c.change == "same" else ""
            out.print(Text(f"  {SIGNS[c.change]} {one_line(c.probe)}  {change_words(c)}", style=style))


def _runs(matrix: CompareMatrix) -> str:
    return f"{matrix.n_runs} run" if matrix.n_runs == 1 else f"{matrix.n_runs} runs"


def _head(matrix: CompareMatrix) -> list[str]:
    steps = pairwise(matrix.labels)
    return ["probe", *matrix.labels, *(f"Δ {a}→{b}" for a, b in steps)]


def _rows(matrix: CompareMatrix) -> Iterator[tuple[str, ...]]:
    for name in matrix.probe_names:
        yield (name, *_cells(matrix.scores[name]))


def _cells(series: Sequence[float | None]) -> list[str]:
    return [*map(format_score, series), *(step_text(delta) for delta in _deltas(series))]


def _deltas(series: Sequence[float | None]) -> list[float | None]:
    return [None if a is None or b is None else b - a for a, b in pairwise(series)]


def step_text(delta: float | None) -> str:
    """A difference of scores, signed, two decimals."""
    if delta is None:
        return EM_DASH
    return "0.00" if abs(delta) < NO_STEP else f"{delta:+.2f}"


def _coloured(series: Sequence[float | None], threshold: float) -> list[Text]:
    from rich.text import Text

    cells = [Text(format_score(v)) for v in series]
    for delta in _deltas(series):
        large = delta is not None and threshold > 0 and abs(delta) >= threshold - 1e-9
        cells.append(Text(step_text(delta), style=("red" if (delta or 0.0) < 0 else "green") if large else ""))
    return cells


def change_words(change: ProbeChange) -> str:
    """``regressed: 0.90 → 0.70, pass → fail``."""
    parts = [f"{format_score(change.before)} → {format_score(change.after)}"]
    if change.verdict_changed:
        before, after = (v.value if v else "not there" for v in (change.verdict_before, change.verdict_after))
        parts.append(f"{before} → {after}")
    return f"{change.change}: {', '.join(parts)}"
