"""Several runs against one of them, prompt by prompt: what is higher, the same, lower, and what cannot be paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sway_dash.core.divergence import LN2, Divergence
from sway_dash.core.errors import SwayError
from sway_dash.core.events import Measurement
from sway_dash.core.paired import NUMERIC_FLOOR, Paired, adjusted, null_spread, paired, rounding
from sway_dash.core.result import ProbeResult, SuiteResult
from sway_dash.core.scoring import noise_floor
from sway_dash.report.json_io import load_result
from sway_dash.suite.columns import read_columns
from sway_dash.suite.draws import Columns, read_fold
from sway_dash.suite.fold import Fold
from sway_dash.suite.pairing import Alignment, Array, Index, Series, SeriesReader, align, series_of_result
from sway_dash.suite.status import LIVE, settled
from sway_dash.suite.store import RunFolder

Mask = npt.NDArray[np.bool_]

MAX_RUNS = 8
"""More runs than this are no comparison a reader can follow."""


class CompareError(SwayError):
    """Runs that cannot be compared."""


@dataclass
class Side:
    """One run that takes part: a run folder's fold, or a result file. The owner keeps ``status`` and ``results`` fresh.

    ``results`` holds what is known of the probes: while a run goes on, those that are finished.
    """

    id: str
    name: str
    status: str = "finished"
    results: Mapping[str, ProbeResult] = field(default_factory=dict)
    fold: Fold | None = None
    result: SuiteResult | None = None
    folder: RunFolder | None = None
    suite: Mapping[str, Any] | None = None
    """The suite it was given, where that is not what the folder holds."""
    draws: Columns = field(default_factory=dict)
    """Null draws that the fold does not hold."""
    read: Mapping[str, Series] = field(default_factory=dict)
    """Series that are read already, by probe; of these the fold holds no measurements."""
    _readers: dict[str, SeriesReader] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """What the run called its base model."""
        start = self._start
        return start.base_model_id if start else ""

    @property
    def adapter(self) -> str:
        """What the run called its adapter."""
        start = self._start
        return start.adapter_id if start else ""

    @property
    def version(self) -> str:
        """Version of the engine that measured."""
        start = self._start
        return start.sway_version if start else ""

    @property
    def seed(self) -> int | None:
        """Seed of the run."""
        if self.fold is not None:
            return self.fold.started.seed if self.fold.started else None
        return self.result.determinism.seed if self.result and self.result.determinism else None

    @property
    def environment(self) -> Mapping[str, Any]:
        """On what it was measured: dtype, device, identities, package versions."""
        if self.fold is not None:
            return self.fold.environment
        return self.result.environment if self.result else {}

    def noise(self, metric: Divergence) -> float:
        """What the run's model lies from itself, nats; 0 where the run did not measure it."""
        found = noise_floor(self.environment)
        return getattr(found, metric) if found is not None else 0.0

    @property
    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """Suite entries by probe name; of a result file what its evidence tells of them."""
        if self.fold is not None:
            return {p.name: {**p.entry, "kind": p.kind} for p in self.fold.planned}
        return {name: {"kind": r.kind} for name, r in self.results.items()}

    @property
    def probes(self) -> list[str]:
        """Probes that have a value of every prompt."""
        if self.fold is None:
            return [name for name, r in self.results.items() if series_of_result(r) is not None]
        kinds = {p.name for p in self.fold.planned if p.enabled and p.kind == "delta_kl"}
        measured = {name for name, found in self.fold.measurements.items() if found and found[-1].role == "probe"}
        return [p.name for p in self.fold.planned if p.name in kinds | measured | set(self.read)]

    def series(self, probe: str) -> Series | None:
        """What was measured of a probe's prompts; ``None`` when the run has no such probe."""
        if probe not in self.probes:
            return None
        if self.fold is None:
            return series_of_result(self.results[probe])
        return self.read[probe] if probe in self.read else self._reader(self.fold, probe).read()

    def measurement(self, probe: str, item: int) -> Measurement | None:
        """What was measured of a prompt, by its index in the suite entry; a result file does not keep it."""
        return None if self.fold is None else self._reader(self.fold, probe).measurement(item)

    def _reader(self, fold: Fold, probe: str) -> SeriesReader:
        if probe not in self._readers:
            self._readers[probe] = SeriesReader(fold, probe, self.draws.get(probe))
        return self._readers[probe]

    @property
    def _start(self) -> Any:
        return self.fold.started if self.fold is not None else self.result


def open_side(path: Path | str, *, whole: bool = True) -> Side:
    """A run folder or a result file as a side of a comparison. ``SwayError`` when it is neither.

    Without ``whole`` only what is compared is read: of a finished run its columns, and no single measurements.
    """
    path = Path(path)
    if path.is_dir():
        folder = RunFolder.open(path)
        columns = None if whole else read_columns(folder)
        drawn: Columns = {}
        if columns is None:
            fold, drawn = read_fold(folder)
        else:
            fold = columns[0]
        alive = folder.is_alive()
        if not alive:
            fold.settle()
        result = settled(fold.result(), alive=alive)
        name = str(folder.meta().get("name") or folder.id)
        read = columns[1] if columns else {}
        return Side(folder.id, name, result.status, _by_name(result), fold, result, folder, draws=drawn, read=read)
    result, _ = load_result(path)
    return Side(path.stem, path.stem, result.status, _by_name(result), result=result)


def _by_name(result: SuiteResult) -> dict[str, ProbeResult]:
    return {p.name: p for p in result.probes}


@dataclass(frozen=True)
class Contrast:
    """One run against the baseline; every array has one place an item of the alignment.

    ``deltas`` is run minus baseline in nats, NaN where an item is not paired. ``direction`` is 1 where the run moved
    the prompt more than the baseline did, -1 where less, 0 inside ``floors``.
    """

    run: int
    deltas: Array
    floors: Array
    direction: npt.NDArray[np.int8]
    counted: Mask
    """Items in ``stats``: paired, let through, and the first of a repeated prompt, which is not twice the evidence."""
    stats: Paired
    mean_floor: float
    """How far two null draws' means over the counted items lie apart: the mean difference noise alone would make."""
    only_run: Index
    only_baseline: Index

    @property
    def repeats(self) -> int:
        """Paired items that do not count because their prompt already does."""
        return int((~np.isnan(self.deltas)).sum() - self.counted.sum())


@dataclass(frozen=True)
class Comparison:
    """Runs side by side for one probe and one divergence."""

    sides: tuple[Side, ...]
    baseline: int
    probe: str
    metric: Divergence
    series: tuple[Series | None, ...]
    alignment: Alignment
    admitted: Mask
    contrasts: tuple[Contrast, ...]
    """One a run, that of the baseline left out; p adjusted over all of them."""

    def contrast(self, run: int) -> Contrast | None:
        """A run against the baseline; ``None`` for the baseline itself."""
        return next((c for c in self.contrasts if c.run == run), None)

    @cached_property
    def values(self) -> Array:
        """``(n, k)`` values by item and run, NaN where a run has none."""
        columns = [self.alignment.column(i, values_of(s, self.metric)) for i, s in enumerate(self.series)]
        return np.stack(columns, axis=1) if columns else np.empty((0, 0))

    def item_of(self, run: int, place: int) -> int | None:
        """Index in a run's suite entry of the item at a place; ``None`` where the run has none."""
        row, series = int(self.alignment.rows[place, run]), self.series[run]
        return None if row < 0 or series is None else series.items[row]

    def missing(self, run: int, place: int) -> str:
        """Why a run has no value of an item."""
        series, text = self.series[run], self.alignment.keys[place][0]
        if series is None:
            return f"no probe {self.probe}"
        if self.alignment.rows[place, run] >= 0:
            return f"its {'KL' if self.metric == 'js' else 'JS'} only is known"
        if text in series.failed:
            return "could not be measured"
        if text in series.texts:
            return "measured with other settings, or repeated less often"
        if text in series.planned:
            return "not measured yet" if self.sides[run].status in LIVE else "not measured"
        return "not in its suite"


def compare(
    sides: Sequence[Side],
    *,
    baseline: int = 0,
    probe: str = "",
    metric: Divergence | None = None,
    alignment: Alignment | None = None,
    admitted: Mask | None = None,
) -> Comparison:
    """Compare runs with one of them.

    Parameters
    ----------
    probe
        Probe whose prompts are compared; the first one that most runs share when empty.
    metric
        Divergence; the one the baseline's suite judges when ``None``.
    alignment
        That of the same runs and probe, if it is known already: it depends on neither baseline nor metric.
    admitted
        ``(n,)`` which items of the alignment count; all when ``None``.

    Raises
    ------
    CompareError
        For fewer than 2 runs, more than :data:`MAX_RUNS`, or a baseline that is none of them.
    """
    if not 2 <= len(sides) <= MAX_RUNS:
        raise CompareError(f"2 to {MAX_RUNS} runs can be compared, not {len(sides)}")
    if not 0 <= baseline < len(sides):
        raise CompareError(f"the baseline must be one of the {len(sides)} runs, not number {baseline}")
    chosen = probe or next(iter(shared_probes(sides)), "")
    kind = metric or metric_of(sides[baseline], chosen)
    series = tuple(side.series(chosen) for side in sides)
    lined = alignment or align(series)
    let = np.ones(len(lined.keys), dtype=np.bool_) if admitted is None else admitted
    noise = [side.noise(kind) for side in sides]
    others = [run for run in range(len(sides)) if run != baseline]
    found = [_contrast(lined, series, noise, run, baseline, kind, let) for run in others]
    stats = adjusted([c.stats for c in found])
    contrasts = tuple(replace(c, stats=s) for c, s in zip(found, stats, strict=True))
    return Comparison(tuple(sides), baseline, chosen, kind, series, lined, let, contrasts)


def shared_probes(sides: Sequence[Side]) -> list[str]:
    """Probes with a value of every prompt, those that most runs have first, else in suite order."""
    names = list(dict.fromkeys(name for side in sides for name in side.probes))
    return sorted(names, key=lambda name: -sum(name in side.probes for side in sides))


def metric_of(side: Side, probe: str) -> Divergence:
    """The divergence a suite judges a probe by."""
    if side.fold is None:
        result = side.results.get(probe)
        series = series_of_result(result) if result is not None else None
        return next(iter(series.values), "js") if series else "js"
    return "kl" if side.entries.get(probe, {}).get("divergence") == "kl" else "js"


def values_of(series: Series | None, metric: Divergence) -> Array:
    """``(n,)`` values of a series; empty when it has none of this divergence."""
    return np.zeros(0) if series is None else series.values.get(metric, np.zeros(0))


def floors(
    alignment: Alignment, runs: Sequence[int], series: Sequence[Series | None], noise: Sequence[float], m: Divergence
) -> Array:
    """``(n,)`` largest difference of each item between two runs that still counts as the same, nats.

    The larger of what two random adapters differ by on that prompt (:func:`null_spread`, in either run), what is not
    known of the two values (a backend that sees only the top tokens; :func:`rounding`, from the runs' ``noise``), and
    :data:`NUMERIC_FLOOR`.
    """
    measured = [(run, own) for run in runs if (own := series[run]) is not None and m in own.values]
    spreads = [np.nan_to_num(alignment.column(run, own.spread[m])) for run, own in measured]
    least = np.full(len(alignment.keys), NUMERIC_FLOOR)
    return np.asarray(np.maximum.reduce([least, unknown(alignment, runs, series, noise, m), *spreads]))


def unknown(
    alignment: Alignment, runs: Sequence[int], series: Sequence[Series | None], noise: Sequence[float], m: Divergence
) -> Array:
    """``(n,)`` how far off each difference may be: both values' error bounds and their rounding, nats."""
    found = np.zeros(len(alignment.keys))
    for run in runs:
        if (own := series[run]) is not None and m in own.values:
            found += np.nan_to_num(alignment.column(run, own.bound))
            found += np.nan_to_num(alignment.column(run, rounding(own.values[m], noise[run])))
    return found


def _contrast(
    lined: Alignment,
    series: Sequence[Series | None],
    noise: Sequence[float],
    run: int,
    baseline: int,
    metric: Divergence,
    let: Mask,
) -> Contrast:
    own, base = series[run], series[baseline]
    mine = lined.column(run, values_of(own, metric))
    theirs = lined.column(baseline, values_of(base, metric))
    deltas = np.where(let, mine - theirs, np.nan)
    floor = floors(lined, (baseline, run), series, noise, metric)
    open_ = unknown(lined, (baseline, run), series, noise, metric)
    counted = ~np.isnan(deltas) & lined.first
    with np.errstate(invalid="ignore"):
        direction = np.where(deltas > floor, 1, np.where(deltas < -floor, -1, 0)).astype(np.int8)
    bounds = (-LN2, LN2) if metric == "js" else None
    return Contrast(
        run=run,
        deltas=deltas,
        floors=floor,
        direction=direction,
        counted=counted,
        stats=paired(deltas[counted], floor=floor[counted], bounds=bounds),
        mean_floor=max(
            *(_mean_spread(lined, s, i, metric, counted) for i, s in ((baseline, base), (run, own))),
            float(open_[counted].mean()) if counted.any() else 0.0,
        ),
        only_run=np.flatnonzero(let & ~np.isnan(mine) & np.isnan(theirs)),
        only_baseline=np.flatnonzero(let & np.isnan(mine) & ~np.isnan(theirs)),
    )


def _mean_spread(lined: Alignment, series: Series | None, run: int, metric: Divergence, counted: Mask) -> float:
    """:func:`null_spread` of the draws' means over the counted items; an item that no draw has takes none away."""
    draws = series.nulls.get(metric) if series is not None else None
    if draws is None or not draws.size or not counted.any():
        return NUMERIC_FLOOR
    drawn = draws[lined.rows[counted, run]]
    drawn = drawn[~np.isnan(drawn).all(axis=1)]
    if not len(drawn):
        return NUMERIC_FLOOR
    means = drawn.mean(axis=0)
    known = means[~np.isnan(means)]
    return max(NUMERIC_FLOOR, float(null_spread(known[None, :])[0]))
