"""From events to a result: one function for live, finished, stopped, crashed and replayed runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from sway_dash.core.errors import SwayError
from sway_dash.core.events import (
    Answered,
    Event,
    ItemFailed,
    Measurement,
    ModelReady,
    NoiseMeasured,
    Phase,
    PlannedProbe,
    ProbeFinished,
    RunCancelledEvent,
    RunFailed,
    RunFinished,
    RunStarted,
    Warned,
)
from sway_dash.core.foreign import mapping
from sway_dash.core.result import DeterminismReport, ProbeResult, SuiteResult, Verdict, jsonable
from sway_dash.core.scoring import noise_floor
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext

PREFLIGHT = "__preflight__"
"""Name of the row that stands alone when the model is not fit to be measured."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What an earlier attempt left."""

    measurements: dict[str, list[Measurement]]
    failed_items: list[ItemFailed]
    answered: dict[str, Answered]
    finished: dict[str, ProbeResult]
    environment: dict[str, Any]


def _silent(planned: PlannedProbe) -> bool:
    """Whether a probe measures and cannot say how much."""
    return planned.enabled and planned.open_ended and not (planned.measurements or planned.answers)


def _place(m: Measurement) -> tuple[Any, ...]:
    return (m.item, m.view, m.role, m.lam)


class Fold:
    """Takes events in order; gives the result so far at any time.

    Another ``RunStarted`` begins another attempt at the same run: what is measured from there on counts. Where it
    resumes an earlier attempt and ends too soon, what that one had and this one lacks still stands (:meth:`settle`).
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.started: RunStarted | None = None
        self.environment: dict[str, Any] = {}
        self.ready = False
        """Whether a model of this attempt was there to be measured."""
        self.determinism: dict[str, Any] | None = None
        self.phase: Phase | None = None
        self.status = "running"
        self.reason = ""
        self.last_ts = 0.0
        self.backend_stats: dict[str, Any] = {}
        self.warnings: list[Warned] = []
        self.measurements: dict[str, list[Measurement]] = {}
        self.failed_items: list[ItemFailed] = []
        self.answered: dict[str, Answered] = {}
        """By probe, how many of the answers it asks for have come."""
        self.done = 0
        self.restored: list[Measurement] = []
        """What the last :meth:`settle` took over from the attempt before."""
        self._finished: dict[str, ProbeResult] = {}
        self._before: _Attempt | None = None

    @property
    def planned(self) -> tuple[PlannedProbe, ...]:
        """The probes of the run, in order."""
        return self.started.probes if self.started else ()

    @property
    def total(self) -> int:
        """Measurements and answers planned over all probes; what a probe could not say counts as it comes."""
        planned = sum(p.measurements + self._answers(p) for p in self.planned if p.enabled)
        return max(self.done, planned + sum(len(self.own(p.name)) for p in self.planned if _silent(p)))

    @property
    def least(self) -> bool:
        """Whether more is to come than :attr:`total`: a probe that is not over says nothing of what it asks."""
        return any(_silent(p) and p.name not in self._finished for p in self.planned)

    def _answers(self, planned: PlannedProbe) -> int:
        told = self.answered.get(planned.name)
        if planned.name in self._finished:
            return told.done if told else 0
        return max(planned.answers, told.total if told else 0)

    @property
    def open_ended(self) -> bool:
        """Whether a probe that is not over takes time its measurements do not tell: what is left is a lower bound."""
        return any(p.open_ended and p.enabled and p.name not in self._finished for p in self.planned)

    def add(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, RunStarted):
            self.settle()
            before = _Attempt(self.measurements, self.failed_items, self.answered, self._finished, self.environment)
            self._clear()
            self.started, self.determinism, self.environment = event, event.determinism, event.environment
            if event.resumed:
                self._before = before
        elif isinstance(event, Measurement):
            self.measurements.setdefault(event.probe, []).append(event)
            self.done += 1
        elif isinstance(event, ItemFailed):
            self.failed_items.append(event)
            self.done += 1
        elif isinstance(event, Answered):
            self.answered[event.probe] = event
            self.done += event.new
        elif isinstance(event, ProbeFinished):
            result = probe_from_dict(event.result)
            self._finished[result.name] = result
        elif isinstance(event, Phase):
            self.phase = event
        elif isinstance(event, ModelReady):
            self.environment, self.ready = event.environment, True
            self.determinism = event.determinism or self.determinism
        elif isinstance(event, NoiseMeasured):
            self.environment = {
                **self.environment,
                "noise_floor": {"prompts": event.prompts, "js": event.js, "kl": event.kl},
            }
        elif isinstance(event, Warned):
            self.warnings.append(event)
        elif isinstance(event, RunFinished | RunCancelledEvent | RunFailed):
            self.backend_stats = event.backend_stats
            self._end(event)
        self.last_ts = max(self.last_ts, event.ts)

    def extend(self, events: Iterable[Event]) -> Fold:
        """Take many events; returns itself."""
        for event in events:
            self.add(event)
        return self

    def finished(self) -> list[ProbeResult]:
        """Results of the probes that are done."""
        return list(self._finished.values())

    def own(self, probe: str) -> list[Measurement]:
        """Measurements behind a probe's own value, without its null draws."""
        return [m for m in self.measurements.get(probe, []) if m.role != "null"]

    def _held(self) -> str:
        """The adapter of a model that is measured where somebody holds it: it has a name and no folder."""
        return str(self.environment.get("adapter") or "") if self.environment.get("held") else ""

    def result(self) -> SuiteResult:
        """The result so far. A probe that was interrupted is judged over what was measured and marked partial."""
        start = self.started or RunStarted()
        determinism, known = self.determinism, self._context()
        return SuiteResult(
            spec_path=start.spec_path,
            started_at=_moment(start.ts),
            finished_at=_moment(max(self.last_ts, start.ts)),
            base_model_id=start.base_model_id,
            adapter_id=start.adapter_id or self._held(),
            sway_version=start.sway_version,
            probes=tuple(self._probes()),
            null_stats=dict(known.null_stats),
            determinism=None
            if determinism is None
            else DeterminismReport(determinism["class"], determinism["seed"], tuple(determinism["notes"])),
            backend_stats=self.backend_stats,
            run_id=start.run_id,
            status=self.status,
            warnings=tuple(w.text for w in self.warnings),
            environment=self.environment,
            null_stats_by_rank={rank: dict(kinds) for rank, kinds in known.null_stats_by_rank.items()},
        )

    @property
    def unsettled(self) -> bool:
        """This attempt resumes another and has not ended."""
        return self._before is not None

    def settle(self) -> None:
        """Nothing more is to come of this attempt: complete it with what the one it resumes had measured.

        Readers of a run whose process is gone call it; an end that is told calls it by itself.
        """
        before, self._before, self.restored = self._before, None, []
        if before is None or self._of_another_model(before):
            return
        for probe, rows in before.measurements.items():
            here = Counter(_place(m) for m in self.measurements.get(probe, []))
            for m in rows:
                if here[_place(m)]:
                    here[_place(m)] -= 1
                else:
                    self.restored.append(m)
        for m in self.restored:
            self.measurements.setdefault(m.probe, []).append(m)
        known = {(m.probe, m.item, m.view) for rows in self.measurements.values() for m in rows}
        known |= {(f.probe, f.item, f.view) for f in self.failed_items}
        self.failed_items += [f for f in before.failed_items if (f.probe, f.item, f.view) not in known]
        self.answered = {**before.answered, **self.answered}
        self.done = sum(map(len, self.measurements.values())) + len(self.failed_items)
        self.done += sum(told.done for told in self.answered.values())
        self._finished = {**before.finished, **self._finished}
        if self._finished.keys() - {PREFLIGHT}:
            self._finished.pop(PREFLIGHT, None)
        # An attempt that had no model has measured nothing: where it was made says nothing of the numbers.
        own = self.environment if self.ready else {}
        self.environment = {**self.environment, **before.environment, **own}

    def _of_another_model(self, before: _Attempt) -> bool:
        """Whether something both attempts measured was not the same: a file has changed between them."""
        keys = {(m.probe, *_place(m)): m.key for rows in before.measurements.values() for m in rows}
        own = (m for rows in self.measurements.values() for m in rows)
        return any(keys.get((m.probe, *_place(m)), m.key) != m.key for m in own)

    def _end(self, event: RunFinished | RunCancelledEvent | RunFailed) -> None:
        if isinstance(event, RunFinished):
            self._before = None
        self.settle()
        if isinstance(event, RunFinished):
            self.status = "finished"
        elif isinstance(event, RunCancelledEvent):
            self.status, self.reason = "cancelled", event.reason
        else:
            self.status, self.reason = "failed", event.message

    def _probes(self) -> Iterable[ProbeResult]:
        if PREFLIGHT in self._finished:
            yield self._finished[PREFLIGHT]
            return
        for planned in self.planned:
            if planned.name in self._finished:
                yield self._finished[planned.name]
            elif own := self.own(planned.name):
                yield self._partial(planned, own)
            elif (told := self.answered.get(planned.name)) and told.done:
                yield self._answered(planned, told)
            elif self.status != "running":
                why = f"not run: the run was {self.status}" + (f" ({self.reason})" if self.reason else "")
                yield ProbeResult(planned.name, planned.kind, Verdict.SKIP, None, message=why)

    def _answered(self, planned: PlannedProbe, told: Answered) -> ProbeResult:
        """A probe whose answers were still coming: events tell how many had come, and not what they said."""
        # True of a run that still goes on, too: it is looked at as it goes.
        text = f"partial: {told.done} of {told.total} answers so far; a stopped run asks them anew"
        evidence = {"partial": {"done": told.done, "planned": told.total}}
        return ProbeResult(planned.name, planned.kind, Verdict.SKIP, None, evidence=evidence, message=text)

    def _partial(self, planned: PlannedProbe, own: list[Measurement]) -> ProbeResult:
        done = {"done": len(own), "planned": planned.measurements}
        text = f"partial: {len(own)} of {planned.measurements} measurements"
        try:
            probe, spec = build_probe(planned.entry)
            # In the order of the suite, as a run that has come to its end: else the interval would be another one.
            judged = probe.judge(spec, self._context(), sorted(own, key=attrgetter("item")))
        except SwayError as error:
            judged, text = None, f"{text}; {error}"
        except Exception as error:  # a probe's defect must not take the other results with it
            judged, text = None, f"{text}; {type(error).__name__}: {error}"
        if judged is None:
            evidence = {"partial": done}
            return ProbeResult(planned.name, planned.kind, Verdict.SKIP, None, evidence=evidence, message=text)
        return as_part(probe_from_dict(probe_to_dict(judged)), len(own), planned.measurements, "measurements")

    def _context(self) -> RunContext:
        ctx = RunContext(seed=self.started.seed if self.started else 0, noise=noise_floor(self.environment))
        for result in self._finished.values():
            if result.kind == "null_adapter":
                ctx = with_null(ctx, result)
        return ctx


def as_part(result: ProbeResult, done: int, planned: int, what: str) -> ProbeResult:
    """A result over part of what was to be measured: nothing can be asserted then, however the numbers look."""
    return replace(
        result,
        verdict=Verdict.ERROR if result.verdict is Verdict.ERROR else Verdict.WARN,
        evidence={**result.evidence, "partial": {"done": done, "planned": planned}},
        message=f"partial: {done} of {planned} {what}; {result.message}",
    )


def fold(events: Iterable[Event]) -> SuiteResult:
    """Result of a stream of events."""
    return Fold().extend(events).result()


def with_null(ctx: RunContext, result: ProbeResult) -> RunContext:
    """Hand a ``null_adapter`` result to the probes after it, read-only.

    Draws of different distributions stand beside each other. Of the same distribution the later entry takes the place
    of the earlier one. The public format has one null per kind: the Gaussian one where there is one.
    """
    from types import MappingProxyType

    evidence = result.evidence
    if not evidence.get("null_stats"):
        return ctx
    distribution = str(evidence.get("distribution") or "gaussian")
    drawn = _with(ctx.null_distributions, distribution, mapping(evidence.get("null_draws")))
    ranks = {"": evidence["null_stats"], **mapping(evidence.get("null_stats_by_rank"))}
    known = ctx.null_summaries.get(distribution, {})
    by_rank = {rank: {**known.get(rank, {}), **mapping(kinds)} for rank, kinds in ranks.items()}
    summaries = _with(ctx.null_summaries, distribution, by_rank)
    public = {rank: dict(kinds) for rank, kinds in ctx.null_stats_by_rank.items()}
    for rank in dict.fromkeys(r for own in summaries.values() for r in own if r):
        public[rank] = _public(public.get(rank, {}), {d: own.get(rank, {}) for d, own in summaries.items()})
    stats = {d: own.get("", {}) for d, own in summaries.items()}
    return replace(
        ctx,
        null_stats=MappingProxyType(_public(ctx.null_stats, stats)),
        null_stats_by_rank=MappingProxyType(public),
        null_draws=MappingProxyType(_public(ctx.null_draws, drawn)),
        null_distributions=MappingProxyType(drawn),
        null_summaries=MappingProxyType(summaries),
    )


def _with(known: Mapping[str, Mapping[str, Any]], distribution: str, new: Mapping[str, Any]) -> dict[str, Any]:
    """What is known by distribution after one more entry: of the same distribution the later one counts."""
    return {**known, distribution: {**known.get(distribution, {}), **new}}


def _public(before: Mapping[str, Any], by_distribution: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One null a key, as in the public format: the Gaussian one, else that of the distribution drawn first."""
    found: dict[str, Any] = {}
    for name in sorted(by_distribution, key=lambda d: d != "gaussian"):
        found = {**by_distribution[name], **found}
    return {**before, **found}


def probe_to_dict(result: ProbeResult) -> dict[str, Any]:
    """All fields of a probe result, JSON-ready."""
    return {f.name: jsonable(getattr(result, f.name)) for f in fields(result)}


def probe_from_dict(data: dict[str, Any]) -> ProbeResult:
    """Inverse of :func:`probe_to_dict`; unknown keys of a newer version are ignored."""
    known = {f.name for f in fields(ProbeResult)}
    values = {k: v for k, v in data.items() if k in known}
    ci = values.get("ci_95")
    values["ci_95"] = (float(ci[0]), float(ci[1])) if isinstance(ci, list | tuple) and len(ci) == 2 else None
    values["verdict"] = Verdict(values["verdict"])
    return ProbeResult(**values)


def _moment(ts: float) -> datetime:
    return datetime.fromtimestamp(ts, UTC)
