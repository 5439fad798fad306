"""Several runs, each against its baseline, and all that is said of them: scores, probes, prompts, whether they compare.

Scores come from :mod:`sway_dash.suite.compare`, prompts from :mod:`sway_dash.suite.comparison`; here they are put
together, with p-values adjusted over all runs and probes that are tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sway_dash.core.errors import SwayError
from sway_dash.core.paired import adjusted
from sway_dash.core.result import SuiteResult, SwayScore
from sway_dash.report.json_io import load_result
from sway_dash.suite.comparable import Mismatch, mismatches
from sway_dash.suite.compare import (
    DEFAULT_REGRESSION_THRESHOLD,
    Baseline,
    CompareMatrix,
    ProbeChange,
    build_matrix,
    regressions,
)
from sway_dash.suite.comparison import CompareError, Comparison, Side, compare, open_side, shared_probes
from sway_dash.suite.score import compute, counts
from sway_dash.suite.store import EVENTS, META, RESULT, RunFolder

UNKNOWN = float("nan")


@dataclass(frozen=True)
class Entrant:
    """A run that takes part: its measurements, its result and its score."""

    label: str
    side: Side
    result: SuiteResult
    score: SwayScore
    place: str = ""
    """Where its adapter is known to lie, if not by what the run says: the same may have been measured elsewhere."""

    @property
    def adapter(self) -> str:
        """Where its adapter lies, or what the run called it."""
        return self.place or self.side.adapter


@dataclass(frozen=True)
class Step:
    """One run against its baseline, both by their place among the runs."""

    run: int
    baseline: int
    changes: tuple[ProbeChange, ...]
    """What became of every probe, and last of the composite."""
    prompts: tuple[Comparison, ...]
    """One a probe that both have prompt by prompt; the baseline is the first of its two sides."""
    without: tuple[int, ...] = ()
    """Which of the two has no values of single prompts, where nothing could be paired for that."""


@dataclass(frozen=True)
class RunComparison:
    """Runs in the order given, and what each is like against its baseline."""

    runs: tuple[Entrant, ...]
    matrix: CompareMatrix
    steps: tuple[Step, ...]
    warnings: tuple[tuple[str, Mismatch], ...] = ()
    """What should be the same and is not, with the probe it is about (empty: all of them)."""
    copies: tuple[tuple[int, ...], ...] = ()
    """Runs that are one and the same, measured once."""

    @property
    def judged(self) -> Step:
        """The last run against its baseline: what a gate looks at."""
        return self.steps[-1]

    @property
    def tests(self) -> int:
        """How many tests over prompts the p-values are adjusted for."""
        return sum(c.contrasts[0].stats.p is not None for step in self.steps for c in step.prompts)

    def regressions(self, threshold: float) -> list[tuple[ProbeChange, str]]:
        """What a gate stops at, and why; nothing for a threshold of 0."""
        return regressions(self.judged.changes, threshold) if threshold > 0 else []


def compare_runs(
    runs: Sequence[Entrant], *, baseline: Baseline = "previous", threshold: float = DEFAULT_REGRESSION_THRESHOLD
) -> RunComparison:
    """Compare runs: with ``previous`` each with the one before it, else each of the others with one of them.

    ``best`` is the one with the best composite, the last run left out, which is the one to be judged. ``threshold`` is
    the difference of scores from which on a probe with the same verdict is called improved or regressed.
    ``CompareError`` for fewer than 2 runs or a baseline that is none of them.
    """
    if len(runs) < 2:
        raise CompareError("at least two runs are needed for a comparison")
    matrix = build_matrix([(r.result, r.score) for r in runs], labels=[r.label for r in runs])
    named = tuple(replace(run, label=label) for run, label in zip(runs, matrix.labels, strict=True))
    try:
        fixed = None if baseline == "previous" else matrix.baseline_of(baseline, len(runs) - 1)
    except IndexError:
        raise CompareError(f"the baseline must be one of the {len(runs)} runs, not number {baseline}") from None
    others = range(1, len(runs)) if fixed is None else (i for i in range(len(runs)) if i != fixed)
    steps = [_step(named, matrix, run, run - 1 if fixed is None else fixed, threshold) for run in others]
    return RunComparison(
        named,
        matrix,
        tuple(_jointly_tested(steps)),
        tuple(_warnings([r.side for r in named])),
        tuple(_copies(named)),
    )


def _step(runs: Sequence[Entrant], matrix: CompareMatrix, run: int, baseline: int, threshold: float) -> Step:
    changes = tuple(matrix.changes(baseline=baseline, run=run, threshold=threshold))
    pair = [runs[baseline].side, runs[run].side]
    if without := tuple(i for i, side in zip((baseline, run), pair, strict=True) if not side.probes):
        return Step(run, baseline, changes, (), without)
    both = [name for name in shared_probes(pair) if all(name in side.probes for side in pair)]
    # Without a common probe the comparison itself says so.
    return Step(run, baseline, changes, tuple(compare(pair, probe=name) for name in both or [""]))


def _jointly_tested(steps: Sequence[Step]) -> Iterator[Step]:
    """The same steps with p adjusted (Holm) over all runs and probes, for all of them are read."""
    found = iter(adjusted([c.contrasts[0].stats for step in steps for c in step.prompts]))
    for step in steps:
        told = [replace(c, contrasts=(replace(c.contrasts[0], stats=next(found)),)) for c in step.prompts]
        yield replace(step, prompts=tuple(told))


def _warnings(sides: Sequence[Side]) -> Iterator[tuple[str, Mismatch]]:
    shared = [name for name in shared_probes(sides) if sum(name in side.probes for side in sides) > 1]
    found: dict[Mismatch, list[str]] = {}
    for probe in shared or [""]:
        for mismatch in mismatches(sides, probe):
            found.setdefault(mismatch, []).append(probe)
    for mismatch, probes in found.items():
        if len(probes) == len(shared or [""]):
            yield "", mismatch
        else:
            yield from ((probe, mismatch) for probe in probes)


def _copies(runs: Sequence[Entrant]) -> Iterator[tuple[int, ...]]:
    ids = [r.result.run_id for r in runs]
    for run_id, times in Counter(ids).items():
        if run_id and times > 1:
            yield tuple(i for i, own in enumerate(ids) if own == run_id)


# -- opening ------------------------------------------------------------------------------------


def open_runs(paths: Sequence[Path]) -> list[Entrant]:
    """Run folders and result files as they take part. ``SwayError`` for what is neither, and for one given twice."""
    first: dict[Path, Path] = {}
    for path in paths:
        own = place_of(path)
        if own in first:
            same = f"{first[own]} and {path} are the same run" if first[own] != path else f"{path} is given twice"
            raise CompareError(f"{same}: name two runs that differ")
        first[own] = path
    found = [_open(path) for path in paths]
    names = [_label(path, side) for path, (side, _, _) in zip(paths, found, strict=True)]
    again = Counter(names)
    return [
        # Of two with one name the folders tell them apart.
        Entrant(name if again[name] == 1 else _longer(path, side), side, result, score)
        for path, name, (side, result, score) in zip(paths, names, found, strict=True)
    ]


def place_of(path: Path) -> Path:
    """Where a run lies: the same for a run folder and for the result in it."""
    path = path.expanduser().resolve()
    return path.parent if path.name == RESULT and _is_run(path.parent) else path


def _is_run(path: Path) -> bool:
    return (path / META).is_file() or (path / EVENTS).is_file()


def _open(path: Path) -> tuple[Side, SuiteResult, SwayScore]:
    path = path.expanduser()
    if path.is_dir() and not (path / EVENTS).is_file() and (path / RESULT).is_file():
        path = path / RESULT  # of a run only its result was kept
    side = open_side(path, whole=False)
    result = side.result
    if result is None:
        raise SwayError(f"{path} holds no result")
    return side, result, _score(side, result, path)


def _score(side: Side, result: SuiteResult, path: Path) -> SwayScore:
    """The composite as it was saved, for it may have been weighted in a way of its own; else made now."""
    found = load_result(path)[1] if side.folder is None else _saved_score(side.folder, side.status)
    found = found or compute(result, weights=_weights(side.folder))
    # A composite of nothing is no zero.
    return found if found.overall or any(map(counts, result.probes)) else replace(found, overall=UNKNOWN)


def _saved_score(folder: RunFolder, status: str) -> SwayScore | None:
    if status in ("running", "interrupted"):
        return None
    try:
        return load_result(folder.path / RESULT)[1]
    except SwayError:  # missing or cut short: the events have it all
        return None


def _weights(folder: RunFolder | None) -> dict[str, float] | None:
    from sway_dash.suite.execute import folder_spec

    try:
        return folder_spec(folder).defaults.score_weights if folder is not None else None
    except SwayError:
        return None


def _label(path: Path, side: Side) -> str:
    if side.folder is not None:
        return side.name
    own = path.expanduser()
    return own.resolve().parent.name if own.name == RESULT and _is_run(own.resolve().parent) else own.stem


def _longer(path: Path, side: Side) -> str:
    own = path.expanduser().resolve()
    return side.id if side.folder is not None else f"{own.parent.name}/{own.stem}"
