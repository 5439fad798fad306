"""What the screen shows of a run, derived from its events one at a time. Plain Python: no param, no Panel.

:class:`RunData` has one writer, the feed of its run folder; every browser session only reads it. Rows are appended and
never changed, so a reader keeps a cursor. ``epoch`` tells readers that everything was thrown away (another attempt
at the run) and cursors start again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sway_dash.backends.instrumentation import prompt_digest
from sway_dash.core.events import TERMINAL as ENDS
from sway_dash.core.events import Event, ItemFailed, Measurement, Phase, ProbeFinished, RunFailed, RunStarted
from sway_dash.core.result import ProbeResult, SuiteResult
from sway_dash.core.scoring import FINETUNED, NoiseFloor, noise_floor
from sway_dash.figures.calls import Calls
from sway_dash.figures.derive_ablation import AblationSeries, from_evidence
from sway_dash.figures.derive_mean import EVERY_BAND, MeanPoint, RunningMean
from sway_dash.figures.derive_null import Metric, NullRange, NullSet, value_of
from sway_dash.figures.log_lines import LogLine, log_line
from sway_dash.probes.adapter_ablation import AdapterAblationSpec
from sway_dash.probes.measure import divergence_bounds as bounds_of
from sway_dash.probes.measure import measuring_order
from sway_dash.probes.null_adapter import primary_rank, rank_key
from sway_dash.suite.fold import Fold, probe_from_dict

__all__ = [
    "EVERY_BAND",
    "AblationSeries",
    "LogLine",
    "MeanPoint",
    "Metric",
    "NullRange",
    "NullSet",
    "Place",
    "ProbeSeries",
    "RunData",
    "Step",
    "bounds_of",
    "value_of",
]

Status = Literal["above", "inside", "no null"]


@dataclass
class ProbeSeries:
    """One probe's prompts in the order they were measured, and its null draws."""

    name: str
    seed: int = 0
    planned: int = 0
    rows: list[Measurement] = field(default_factory=list)
    null_sets: dict[str, NullSet] = field(default_factory=dict)
    """``null_adapter`` entry → what its random adapters did to the prompts of this probe."""
    judged: str = ""
    """Distribution of random adapters that the result was judged by; empty while there is no result."""
    stopping: bool = False
    """Prompts are measured in random order, and only until the mean is decided."""
    failed: set[int] = field(default_factory=set)
    """Prompts that could not be measured."""
    texts: dict[int, tuple[Measurement, str]] = field(default_factory=dict, repr=False)
    """Prompt index → the measurement and its texts in one, as a search has last looked through them."""
    said: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Key of a prompt (``detail_key``) → what both models say next, as far as a search has read it."""
    _running: dict[Metric, tuple[bool, RunningMean]] = field(default_factory=dict)

    @property
    def null(self) -> NullSet | None:
        """The draws that count: of the distribution the result was judged by, the last entry with a complete draw."""
        every = list(self.null_sets.values())
        sets = [s for s in every if s.distribution == self.judged] or every
        return next((s for s in reversed(sets) if s.complete(self.planned)), sets[-1] if sets else None)

    @property
    def nulls(self) -> Mapping[int, Mapping[str, Measurement]]:
        """Prompt index → null view → its draw on that prompt; of the draws that count, at the rank that counts."""
        null = self.null
        return null.by_item if null else {}

    def null_range(self, item: int, metric: Metric) -> NullRange | None:
        """Smallest and largest draw on a prompt."""
        null = self.null
        return null.range_of(item, metric) if null else None

    def status(self, row: Measurement, metric: Metric) -> Status:
        """Where a prompt stands: above every draw on the same prompt, inside their range, or without draws."""
        return self.statuses((row,), metric)[0]

    def statuses(self, rows: Sequence[Measurement], metric: Metric) -> list[Status]:
        """Where each of many prompts stands."""
        null = self.null
        found: list[Status] = []
        for row in rows:
            of = null.range_of(row.item, metric) if null else None
            found.append("no null" if of is None else "above" if value_of(row, metric) > of.hi else "inside")
        return found

    def null_means(self, metric: Metric) -> list[float]:
        """Mean of every complete null draw over the prompts, in seed order."""
        null = self.null
        return null.draws(metric, self.planned) if null else []

    @property
    def whole(self) -> bool:
        """Every prompt that was planned is measured or has failed."""
        return 0 < self.planned <= len(self.rows) + len(self.failed)

    def running(self, metric: Metric) -> list[MeanPoint]:
        """Mean after every prompt; extends what is there, so each prompt is looked at once per metric.

        Once the probe is :attr:`whole` the prompts stand in their random order and not in that of the batches, which
        hold prompts of like length: any first part of them is then a random part of all, and has its band.
        """
        known = self._running.get(metric)
        if known is None or known[0] != self.whole:
            known = self._running[metric] = (self.whole, RunningMean(metric, self.seed, stopping=self.stopping))
        state = known[1]
        if len(state.points) < len(self.rows):
            rows = self._shuffled() if self.whole else self.rows
            state.extend(rows[len(state.points) :], self.planned, self.failed)
        return state.points

    def _shuffled(self) -> list[Measurement]:
        ranks = {item: rank for rank, item in enumerate(measuring_order(self.planned, self.seed))}
        return sorted(self.rows, key=lambda m: ranks.get(m.item, self.planned))

    def by_tag(self, metric: Metric) -> dict[str, list[float]]:
        """Divergences by tag, tags in the order they first appear in the suite."""
        found: dict[str, list[float]] = {}
        for row in sorted(self.rows, key=lambda m: m.item):
            for tag in row.tags:
                found.setdefault(tag, []).append(value_of(row, metric))
        return found


@dataclass(frozen=True, slots=True)
class Step:
    """A named step of the run: loading, the check before measuring, or a probe. Unix seconds."""

    name: str
    phase: str
    start: float
    end: float | None = None
    """``None`` while it goes on."""


@dataclass(frozen=True, slots=True)
class Place:
    """A prompt and where it can be opened: its probe and index, if a probe that measures prompts has it."""

    text: str
    probe: str = ""
    item: int | None = None


class RunData:
    """A run as far as it is known."""

    def __init__(self) -> None:
        self.epoch = 0
        self.version = 0
        self.calls = Calls()
        self._before: dict[str, ProbeSeries] = {}
        self._clear()
        self.fold = Fold()

    def _clear(self) -> None:
        self.series: dict[str, ProbeSeries] = {}
        self.ablations: dict[str, AblationSeries] = {}
        self.finished: dict[str, ProbeResult] = {}
        self.log: list[LogLine] = []
        self.steps: list[Step] = []
        self.traceback = ""
        self._places: tuple[int, dict[str, Place]] = (-1, {})
        self._result: SuiteResult | None = None

    @property
    def started(self) -> RunStarted | None:
        """The first event of the run."""
        return self.fold.started

    @property
    def noise(self) -> NoiseFloor | None:
        """What the run's model lies from itself; None where that was not measured."""
        return noise_floor(self.fold.environment)

    def entries(self) -> dict[str, Mapping[str, Any]]:
        """Raw suite entries by probe name."""
        return {p.name: p.entry for p in self.fold.planned}

    def prompts(self, probe: str) -> Sequence[str]:
        """Prompt texts of a probe in suite order, as far as its entry holds them."""
        return [_text(p) for p in self.entries().get(probe, {}).get("prompts") or ()]

    def result(self) -> SuiteResult:
        """The result so far. Judging looks at everything: ask for it when the run is over, not on every tick."""
        if self._result is None:
            self._result = self.fold.result()
        return self._result

    def add(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, RunStarted):
            self.settle()
            self._before = self.series
            self._clear()
            self.epoch += 1
        self.fold.add(event)
        self.version += 1
        self._result = None
        if isinstance(event, Measurement):
            self._measured(event)
            return
        if line := log_line(event):
            self.log.append(line)
        if isinstance(event, RunStarted):
            for planned in event.probes:
                if planned.kind == "delta_kl" and planned.enabled:
                    stopping = planned.entry.get("stop_when_decided") is True
                    self.series[planned.name] = ProbeSeries(
                        planned.name, event.seed, planned.measurements, stopping=stopping
                    )
        elif isinstance(event, ItemFailed):
            self._failed(event)
        elif isinstance(event, Phase):
            self._step(event.ts, event)
        elif isinstance(event, ProbeFinished):
            result = probe_from_dict(event.result)
            self.finished[result.name] = result
            self._judged(result)
            self._step(event.ts)
            if result.kind == "adapter_ablation" and result.name not in self.ablations:
                kept = from_evidence(result.name, result.evidence, self.started.seed if self.started else 0)
                if kept is not None:
                    self.ablations[result.name] = kept
        elif isinstance(event, ENDS):
            self._step(event.ts)
            if isinstance(event, RunFailed):
                self.traceback = event.traceback
            self._restore()

    def settle(self) -> None:
        """The process is gone and nothing more is to come of this attempt; see :meth:`Fold.settle`."""
        if self.fold.unsettled:
            self.fold.settle()
            self._restore()
            self._result = None

    def place_of(self, digest: str) -> Place | None:
        """The prompt that goes by a digest (``prompt_digest``) in a trace, as far as the run has named it."""
        size = sum(len(s.rows) for s in self.series.values()) + sum(a.size for a in self.ablations.values())
        if self._places[0] != size:
            found: dict[str, Place] = {}
            for name, series in self.series.items():
                texts = list(enumerate(self.prompts(name))) or [(m.item, m.prompt) for m in series.rows]
                for item, text in texts:
                    found.setdefault(prompt_digest(text), Place(text, name, item))
            for ablation in self.ablations.values():
                for text in ablation.prompts.values():
                    found.setdefault(prompt_digest(text), Place(text))
            self._places = (size, found)
        return self._places[1].get(digest)

    def drawn(self, null_entry: str) -> int:
        """Measurements that a ``null_adapter`` entry has made so far, at every rank."""
        sets = [s.null_sets[null_entry] for s in self.series.values() if null_entry in s.null_sets]
        return sum(len(rows) for null in sets for views in null.by_rank.values() for rows in views.values())

    def _step(self, ts: float, phase: Phase | None = None) -> None:
        """End the step that goes on, and begin another."""
        going = self.steps[-1] if self.steps and self.steps[-1].end is None else None
        name = (phase.name if phase.phase == "probe" else _STEPS.get(phase.phase, phase.phase)) if phase else ""
        if going is not None:
            if phase is not None and (going.phase, going.name) == (phase.phase, name):
                return  # the next part of loading
            self.steps[-1] = Step(going.name, going.phase, going.start, ts)
        if phase is not None:
            self.steps.append(Step(name, phase.phase, ts))

    def _restore(self) -> None:
        """Show what an earlier attempt had measured, too."""
        restored, self.fold.restored = self.fold.restored, []
        for m in restored:
            self._measured(m, entry_name=_drawn_for(self._before, m) if m.role == "null" else "")
        for f in self.fold.failed_items:
            self._failed(f)
        self.finished = {p.name: p for p in self.fold.finished()}
        for result in self.finished.values():
            self._judged(result)
        if restored:
            self.epoch += 1
            self.version += 1

    def _failed(self, event: ItemFailed) -> None:
        if event.probe in self.series and event.view == FINETUNED.id:
            self.series[event.probe].failed.add(event.item)

    def _judged(self, result: ProbeResult) -> None:
        null = result.evidence.get("null")
        if result.name in self.series and isinstance(null, Mapping):
            self.series[result.name].judged = str(null.get("distribution") or "")

    def _measured(self, m: Measurement, *, entry_name: str = "") -> None:
        seed = self.started.seed if self.started else 0
        if m.role == "ablation" and m.lam is None:
            return  # single layers of the adapter: the probe's own panels show them
        if m.role == "ablation":
            if m.probe not in self.ablations:
                entry = self.entries().get(m.probe, {})
                metric: Metric = "kl" if entry.get("divergence") == "kl" else "js"
                planned = entry.get("lambdas", AdapterAblationSpec.model_fields["lambdas"].default)
                self.ablations[m.probe] = AblationSeries(m.probe, seed, metric, tuple(map(float, planned)))
            self.ablations[m.probe].add(m)
            return
        series = self.series.setdefault(m.probe, ProbeSeries(m.probe, seed))
        if m.role == "null":
            # A draw does not say for which entry it was made: it is the one that is going on.
            entry_name = entry_name or (self.fold.phase.name if self.fold.phase else "")
            if entry_name not in series.null_sets:
                entry = self.entries().get(entry_name, {})
                style = str(entry.get("distribution") or "gaussian")
                series.null_sets[entry_name] = NullSet(entry_name, style, _primary_rank(entry))
            series.null_sets[entry_name].add(m)
        else:
            series.rows.append(m)


def _drawn_for(series: Mapping[str, ProbeSeries], m: Measurement) -> str:
    """The ``null_adapter`` entry that an earlier attempt made a draw for."""
    known = series[m.probe].null_sets if m.probe in series else {}
    return next((name for name, null in known.items() if any(m.view in v for v in null.by_rank.values())), "")


_STEPS = {"loading": "loading", "preflight": "checking"}


def _primary_rank(entry: Mapping[str, Any]) -> str:
    """The rank of a ``null_adapter`` entry that counts."""
    return primary_rank({rank_key(float(m)): None for m in entry.get("rank_multipliers") or [1.0]})


def _text(prompt: Any) -> str:
    return str(prompt.get("text", "")) if isinstance(prompt, Mapping) else str(prompt)
