"""Scores of several results side by side, and what became better, worse, lost or new from one to another.

:class:`CompareMatrix` is the public form: runs in the order given, every delta against the run before. What changed
against any run, :meth:`CompareMatrix.changes`, also counts probes that vanish or change their verdict. Prompt by prompt
runs are compared in :mod:`sway_dash.suite.comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Literal

from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore, Verdict
from sway_dash.report.compare import render_json, render_markdown, render_terminal

__all__ = [
    "COMPOSITE",
    "DEFAULT_REGRESSION_THRESHOLD",
    "Baseline",
    "Change",
    "CompareMatrix",
    "ProbeChange",
    "build_matrix",
    "change_of",
    "regressions",
    "render_json",
    "render_markdown",
    "render_terminal",
]

DEFAULT_REGRESSION_THRESHOLD = 0.10
"""A score that falls by this much is a regression."""

COMPOSITE = "composite"

_TOLERANCE = 1e-9
"""0.9 - 0.8 is 0.0999…: a fall by the threshold counts."""

_RANK = {Verdict.PASS: 2, Verdict.WARN: 1, Verdict.FAIL: 0}

Change = Literal["improved", "same", "regressed", "lost", "new", "not judged"]

Baseline = int | Literal["previous", "best"]
"""A run by its place, the run before, or the other run with the best composite."""


@dataclass(frozen=True, slots=True)
class ProbeChange:
    """What became of a probe from one run to another.

    ``lost``: it was judged and is not any more (gone, skipped, ended in an error), or had a score and has none; ``new``
    the reverse; ``not judged``: in neither. Otherwise a better or worse verdict decides, and where that is the same the
    score, by the threshold.
    """

    probe: str
    change: Change
    before: float | None = None
    after: float | None = None
    verdict_before: Verdict | None = None
    verdict_after: Verdict | None = None

    @property
    def delta(self) -> float | None:
        """Score after minus score before."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def verdict_changed(self) -> bool:
        """The verdicts are not the same."""
        return self.verdict_before != self.verdict_after

    @property
    def worse(self) -> bool:
        """What a gate stops at."""
        return self.change in ("regressed", "lost")

    @property
    def verdict_fell(self) -> bool:
        """Judged in both, and worse in the second."""
        return _step(self.verdict_before, self.verdict_after) < 0

    def fell(self, by: float) -> bool:
        """The score fell by as much or more, whatever became of the verdict."""
        return self.delta is not None and self.delta <= _TOLERANCE - by


@dataclass(frozen=True)
class CompareMatrix:
    """Scores by probe and run. A list has one place a run (``deltas`` one a step), ``None`` where there is no score."""

    labels: tuple[str, ...]
    timestamps: tuple[str, ...]
    probe_names: tuple[str, ...]
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    deltas: dict[str, list[float | None]] = field(default_factory=dict)
    composite_series: list[float | None] = field(default_factory=list)
    # Beyond the public format:
    verdicts: dict[str, list[Verdict | None]] = field(default_factory=dict)

    @property
    def n_runs(self) -> int:
        """How many runs there are."""
        return len(self.labels)

    @property
    def chronological(self) -> bool:
        """No run ended before the one to its left; unreadable times are not held against it."""
        try:
            times = [datetime.fromisoformat(t) for t in self.timestamps]
            return all(a <= b for a, b in pairwise(times))
        except (TypeError, ValueError):
            return True

    def latest_regressions(self, threshold: float) -> list[tuple[str, float]]:
        """Probes whose score fell by ``threshold`` or more in the last step, largest fall first."""
        if self.n_runs < 2 or threshold <= 0:
            return []
        last = ((name, (self.deltas.get(name) or [None])[-1]) for name in self.probe_names)
        found = [(name, delta) for name, delta in last if delta is not None and delta <= _TOLERANCE - threshold]
        return sorted(found, key=lambda pair: pair[1])

    def changes(
        self,
        *,
        baseline: Baseline = "previous",
        run: int = -1,
        threshold: float = DEFAULT_REGRESSION_THRESHOLD,
    ) -> list[ProbeChange]:
        """What became of every probe, and last of the composite, from the baseline to a run.

        ``baseline`` is a run by its place, the run before, or the other run with the best composite. ``IndexError`` for
        a place where there is no run.
        """
        after = range(self.n_runs)[run]
        before = self.baseline_of(baseline, after)
        found = [
            _change(
                name,
                self.scores[name][before],
                self.scores[name][after],
                self._verdict(name, before),
                self._verdict(name, after),
                threshold,
            )
            for name in self.probe_names
        ]
        series = self.composite_series
        return [*found, _change(COMPOSITE, series[before], series[after], None, None, threshold)] if series else found

    def baseline_of(self, baseline: Baseline, run: int) -> int:
        """Place of the run that another one is compared with. ``IndexError`` where there is none."""
        if baseline == "previous":
            if run == 0:
                raise IndexError("the first run has none before it")
            return run - 1
        if baseline == "best":
            others = [i for i in range(self.n_runs) if i != run]
            if not others:
                raise IndexError("there is no other run")
            return max(others, key=lambda i: -math.inf if (v := self.composite_series[i]) is None else v)
        return range(self.n_runs)[baseline]

    def _verdict(self, probe: str, run: int) -> Verdict | None:
        return (self.verdicts.get(probe) or [None] * self.n_runs)[run]


def build_matrix(
    results: Sequence[tuple[SuiteResult, SwayScore]], *, labels: Sequence[str] | None = None
) -> CompareMatrix:
    """Put results side by side, columns in the order given, rows sorted by probe name.

    A label that comes twice, or a probe name that one result has twice, gets a number from the second one on: nothing
    is dropped. ``ValueError`` without a run, or for as many labels as there are not runs.
    """
    if not results:
        raise ValueError("at least one run is needed")
    if labels is not None and len(labels) != len(results):
        raise ValueError(f"labels length {len(labels)} does not match {len(results)} runs")
    times = tuple(suite.finished_at.isoformat() for suite, _ in results)
    named = [dict(zip(_unique(p.name for p in suite.probes), suite.probes, strict=True)) for suite, _ in results]
    names = tuple(sorted({name for probes in named for name in probes}))
    scores = {name: [_score(probes.get(name)) for probes in named] for name in names}
    return CompareMatrix(
        labels=tuple(_unique(times if labels is None else labels)),
        timestamps=times,
        probe_names=names,
        scores=scores,
        deltas={name: _steps(row) for name, row in scores.items()},
        composite_series=[score.overall if math.isfinite(score.overall) else None for _, score in results],
        verdicts={name: [p.verdict if (p := probes.get(name)) else None for probes in named] for name in names},
    )


def change_of(
    name: str,
    before: ProbeResult | None,
    after: ProbeResult | None,
    *,
    threshold: float = DEFAULT_REGRESSION_THRESHOLD,
) -> ProbeChange:
    """What became of a probe from one result to another; ``None`` where a result has no such probe."""
    was, is_ = (None if p is None else p.verdict for p in (before, after))
    return _change(name, _score(before), _score(after), was, is_, threshold)


def regressions(
    changes: Iterable[ProbeChange], threshold: float = DEFAULT_REGRESSION_THRESHOLD
) -> list[tuple[ProbeChange, str]]:
    """What a gate stops at, and why: what was lost, a verdict that got worse, a score that fell by ``threshold``."""
    found = []
    for c in changes:
        verdicts = f"{_told(c.verdict_before)} → {_told(c.verdict_after)}"
        reasons = []
        if c.change == "lost":
            reasons.append(f"lost, {verdicts}" if c.verdict_changed else "its score is lost")
        elif c.verdict_fell:
            reasons.append(verdicts)
        if c.fell(threshold):
            reasons.append(f"{c.before:.3f} → {c.after:.3f}, a fall of {threshold:g} or more")
        if reasons:
            found.append((c, "; ".join(reasons)))
    return found


def _told(verdict: Verdict | None) -> str:
    return "not there" if verdict is None else verdict.value


def _change(
    name: str,
    before: float | None,
    after: float | None,
    verdict_before: Verdict | None,
    verdict_after: Verdict | None,
    threshold: float,
) -> ProbeChange:
    def make(change: Change) -> ProbeChange:
        return ProbeChange(name, change, before, after, verdict_before, verdict_after)

    was, is_ = _held(before, verdict_before), _held(after, verdict_after)
    # A probe may judge without a score; one that had a score and judges without it has lost it.
    if was and is_ and (before is None) != (after is None):
        was, is_ = before is not None, after is not None
    if not (was and is_):
        return make("lost" if was else "new" if is_ else "not judged")
    if step := _step(verdict_before, verdict_after):
        return make("improved" if step > 0 else "regressed")
    delta = (after or 0.0) - (before or 0.0)
    limit = max(threshold, 0.0) - _TOLERANCE
    if abs(delta) <= _TOLERANCE or abs(delta) < limit:
        return make("same")
    return make("improved" if delta > 0 else "regressed")


def _step(before: Verdict | None, after: Verdict | None) -> int:
    """How many verdicts better, of two that judge."""
    return _RANK[after] - _RANK[before] if before in _RANK and after in _RANK else 0


def _held(score: float | None, verdict: Verdict | None) -> bool:
    """A probe that came to a judgement; the composite, which has no verdict, by its number."""
    return score is not None if verdict is None else verdict in _RANK


def _score(probe: ProbeResult | None) -> float | None:
    return None if probe is None or probe.score is None or not math.isfinite(probe.score) else probe.score


def _steps(row: Sequence[float | None]) -> list[float | None]:
    return [None if a is None or b is None else b - a for a, b in pairwise(row)]


def _unique(names: Iterable[str]) -> list[str]:
    """The names, numbered from the second of the same on: ``run``, ``run (2)``."""
    taken: set[str] = set()
    out = []
    for name in names:
        n, own = 1, name
        while own in taken:
            n += 1
            own = f"{name} ({n})"
        taken.add(own)
        out.append(own)
    return out
