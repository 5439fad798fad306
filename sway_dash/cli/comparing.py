"""What ``compare`` and ``diff`` do with runs that are there: find them, compare them, show it, decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sway_dash.cli.boundary import NOTHING, OK, UsageError, complain, note, out_console
from sway_dash.cli.finding import find_run
from sway_dash.cli.outputs import STDOUT, check_writable, read_files, tell_written, write_text

if TYPE_CHECKING:
    from sway_dash.suite.compare import Baseline
    from sway_dash.suite.run_comparison import Entrant, RunComparison

LABELS = {"md": "Markdown", "markdown": "Markdown", "json": "JSON", "html": "comparison"}


@dataclass(frozen=True, slots=True)
class Shown:
    """How a comparison is shown and judged: ``fail_on`` is the fall of a score that fails it, 0 for none."""

    form: str = "terminal"
    out: Path | None = None
    threshold: float = 0.10
    fail_on: float = 0.0
    top: int = 5

    def check(self, *, inputs: Sequence[Path] = ()) -> None:
        """``UsageError`` for an output that cannot be written, before anything is read or measured."""
        if self.form == "terminal" and self.out is not None:
            raise UsageError("--format terminal does not support --out: choose md, json or html")
        if self.form == "html" and self.out is None:
            raise UsageError("--format html requires --out: add --out comparison.html")
        if self.out is not None:
            check_writable(self.out, inputs=inputs)


def compare_sources(sources: Sequence[str], *, baseline: str, shown: Shown) -> int:
    """Compare runs by their names; return the exit code."""
    from sway_dash.suite.run_comparison import open_runs

    shown.check(inputs=read_files(sources))
    paths = [find_path(source) for source in sources]
    at, paths = _baseline(baseline, sources, paths)
    if len(paths) < 2:
        raise UsageError("at least two runs are needed: sway-dash compare BEFORE AFTER (a run and --baseline will do)")
    return show(open_runs(paths), baseline=at, shown=shown)


def show(entrants: Sequence[Entrant], *, baseline: Baseline | None, shown: Shown) -> int:
    """Compare opened runs and show it; ``None`` is the usual baseline of a format. Returns the exit code."""
    from sway_dash.report.run_comparison import because
    from sway_dash.suite.run_comparison import compare_runs

    if baseline is None:
        baseline = 0 if shown.form == "html" else "previous"
    found = compare_runs(entrants, baseline=baseline, threshold=shown.threshold)
    reasons = [f"{c.probe}: {why}{because(found, found.judged, c)}" for c, why in found.regressions(shown.fail_on)]
    if shown.form == "terminal":
        from sway_dash.report.run_comparison_terminal import to_terminal

        to_terminal(
            found,
            console=out_console(),
            regression_threshold=shown.fail_on or shown.threshold,
            display_threshold=shown.threshold,
            top=shown.top,
        )
    else:
        _deliver(_text(found, reasons, shown), shown)
    return _gate(found, reasons) if shown.fail_on > 0 else OK


def find_path(name: str) -> Path:
    """A result file, a run folder, or a run by its id. ``UsageError`` for what is none of them."""
    from sway_dash.suite.store import RESULT

    path = Path(name).expanduser()
    if path.is_file() or (path / RESULT).is_file():
        return path
    if path.suffix == ".json" and not path.exists():
        raise UsageError(f"{name}: there is no such file")
    return find_run(name).path


def _baseline(name: str, sources: Sequence[str], paths: list[Path]) -> tuple[Baseline | None, list[Path]]:
    """Place of the baseline; a run that was not named among the others becomes the first of them."""
    from sway_dash.suite.run_comparison import place_of

    if name in ("", "previous", "best", "first"):
        return {"": None, "previous": "previous", "best": "best", "first": 0}[name], paths
    if name in sources:
        return sources.index(name), paths
    try:
        path = find_path(name)
    except UsageError as error:
        text = f"--baseline {name}: neither previous, best or first nor a run ({error})"
        raise UsageError(text) from None
    places = [place_of(p) for p in paths]
    if place_of(path) in places:
        return places.index(place_of(path)), paths
    return 0, [path, *paths]


def _text(found: RunComparison, reasons: Sequence[str], shown: Shown) -> str:
    from sway_dash.report.run_comparison import to_json, to_markdown

    gate = reasons if shown.fail_on > 0 else None
    if shown.form == "json":
        return to_json(found, regression_threshold=shown.fail_on or shown.threshold, gate=gate)
    if shown.form != "html":
        return to_markdown(found, regression_threshold=shown.fail_on or shown.threshold, gate=gate, top=shown.top)
    from sway_dash.report.html.compare import compare_html

    runs = [r.side.folder or r.result for r in found.runs]
    # Of "previous" the run before the last: this report has one baseline for all.
    return compare_html(runs, baseline=found.judged.baseline)


def _gate(found: RunComparison, reasons: Sequence[str]) -> int:
    labels = found.matrix.labels
    run, base = labels[found.judged.run], labels[found.judged.baseline]
    if not reasons:
        note(f"no regression: {run} against {base}")
        return OK
    complain(f"regression: {run} is worse than {base}")
    for reason in reasons:
        note(f"  {reason}")
    return NOTHING


def _deliver(text: str, shown: Shown) -> None:
    target = STDOUT if shown.out is None else shown.out
    write_text(target, text)
    tell_written(LABELS[shown.form], target)
