"""What the screen shows of a run, derived from its events one at a time. Plain Python: no param, no Panel.

:class:`RunData` has one writer, the feed of its run folder; every browser session only reads it. Rows are appended and
never changed, so a reader keeps a cursor. ``epoch`` tells readers that everything was thrown away (another attempt
at the run) and cursors start again.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sway_dash.core.divergence import LN2
from sway_dash.core.events import (
    Event,
    ItemFailed,
    Measurement,
    ModelReady,
    Phase,
    ProbeFinished,
    RunCancelledEvent,
    RunFailed,
    RunFinished,
    RunStarted,
    Warned,
)
from sway_dash.core.result import ProbeResult, SuiteResult
from sway_dash.core.stats import MIN_ITEMS, bootstrap_ci, interval, mean
from sway_dash.dash.calls import Calls
from sway_dash.suite.fold import Fold, probe_from_dict

Metric = Literal["js", "kl"]
Status = Literal["above", "inside", "no null"]

EVERY_BAND = 64
"""Up to this many prompts every point of the running mean has a band, then one in about twenty."""

SMALL = 500
"""Up to this many prompts the newest point has a band, too: a bootstrap over more takes too long for every tick."""


def bounds_of(metric: Metric) -> tuple[float, float]:
    """Range of a divergence, nats."""
    return (0.0, LN2) if metric == "js" else (0.0, float("inf"))


def value_of(m: Measurement, metric: Metric) -> float:
    """The divergence of a measurement, nats; ``kl`` is KL(tuned ‖ base)."""
    return m.js if metric == "js" else m.kl


@dataclass(frozen=True, slots=True)
class NullRange:
    """What random adapters do to one prompt, nats."""

    lo: float
    hi: float
    n: int


@dataclass(frozen=True, slots=True)
class MeanPoint:
    """Mean over the first ``n`` prompts that were measured, with the interval over them if there is one."""

    n: int
    value: float
    mean: float
    ci: tuple[float, float] | None


@dataclass
class _Running:
    """Running mean of one metric: its points, and the values so far in suite order."""

    points: list[MeanPoint] = field(default_factory=list)
    ordered: list[tuple[int, float]] = field(default_factory=list)
    total: float = 0.0


@dataclass
class ProbeSeries:
    """One probe's prompts in the order they were measured, and its null draws."""

    name: str
    seed: int = 0
    planned: int = 0
    rows: list[Measurement] = field(default_factory=list)
    nulls: dict[int, dict[str, Measurement]] = field(default_factory=dict)
    """Prompt index → null view → its draw on that prompt; draws at the trained rank."""
    _running: dict[Metric, _Running] = field(default_factory=dict)

    def null_range(self, item: int, metric: Metric) -> NullRange | None:
        """Smallest and largest draw on a prompt."""
        draws = [value_of(m, metric) for m in self.nulls.get(item, {}).values()]
        return NullRange(min(draws), max(draws), len(draws)) if draws else None

    def status(self, row: Measurement, metric: Metric) -> Status:
        """Where a prompt stands: above every draw on the same prompt, inside their range, or without draws."""
        null = self.null_range(row.item, metric)
        if null is None:
            return "no null"
        return "above" if value_of(row, metric) > null.hi else "inside"

    def null_means(self, metric: Metric) -> list[float]:
        """Mean of every complete null draw over the prompts, in seed order."""
        by_view: dict[str, list[float]] = {}
        for draws in self.nulls.values():
            for view, m in draws.items():
                by_view.setdefault(view, []).append(value_of(m, metric))
        want = self.planned or max((len(v) for v in by_view.values()), default=0)
        return [mean(values) for values in by_view.values() if len(values) >= want]

    def running(self, metric: Metric) -> list[MeanPoint]:
        """Mean after every prompt; extends what is there, so each prompt is looked at once per metric.

        The interval is the one of the final result: the same values in the same order give the same bootstrap.
        """
        state = self._running.setdefault(metric, _Running())
        for n in range(len(state.points) + 1, len(self.rows) + 1):
            row = self.rows[n - 1]
            value = value_of(row, metric)
            state.total += value
            insort(state.ordered, (row.item, value))
            last = n == len(self.rows) and (n <= SMALL or n == self.planned)
            average, ci = state.total / n, None
            if n <= EVERY_BAND or last or n % max(1, n // 20) == 0:
                values = [v for _, v in state.ordered]
                average, ci = mean(values), interval(values, seed=self.seed, bounds=bounds_of(metric))[0]
            state.points.append(MeanPoint(n, value, average, ci))
        return state.points

    def by_tag(self, metric: Metric) -> dict[str, list[float]]:
        """Divergences by tag, tags in the order they first appear in the suite."""
        found: dict[str, list[float]] = {}
        for row in sorted(self.rows, key=lambda m: m.item):
            for tag in row.tags:
                found.setdefault(tag, []).append(value_of(row, metric))
        return found


@dataclass
class AblationSeries:
    """Divergence by adapter strength, prompt by prompt."""

    name: str
    seed: int = 0
    metric: Metric = "js"
    curves: dict[float, dict[int, float]] = field(default_factory=dict)
    _points: dict[float, tuple[int, float, tuple[float, float] | None]] = field(default_factory=dict)

    def points(self) -> list[tuple[float, float, tuple[float, float] | None, int]]:
        """``(λ, mean, interval, prompts)`` sorted by λ; a strength is computed again only when it has new prompts."""
        for lam, found in self.curves.items():
            known = self._points.get(lam)
            if known is None or known[0] != len(found):
                values = [found[i] for i in sorted(found)]
                ci = (
                    bootstrap_ci(values, seed=self.seed, bounds=bounds_of(self.metric))
                    if len(values) >= MIN_ITEMS
                    else None
                )
                self._points[lam] = (len(values), mean(values), ci)
        return [(lam, m, ci, n) for lam, (n, m, ci) in sorted(self._points.items())]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the run's story."""

    ts: float
    level: Literal["info", "warning", "error"]
    text: str


class RunData:
    """A run as far as it is known."""

    def __init__(self) -> None:
        self.epoch = 0
        self.version = 0
        self.calls = Calls()
        self._clear()

    def _clear(self) -> None:
        self.fold = Fold()
        self.series: dict[str, ProbeSeries] = {}
        self.ablations: dict[str, AblationSeries] = {}
        self.finished: dict[str, ProbeResult] = {}
        self.log: list[LogLine] = []
        self.traceback = ""
        self._rank = ""
        self._result: SuiteResult | None = None

    @property
    def started(self) -> RunStarted | None:
        """The first event of the run."""
        return self.fold.started

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
            self._clear()
            self.epoch += 1
        self.fold.add(event)
        self.version += 1
        self._result = None
        if isinstance(event, Measurement):
            self._measured(event)
            return
        if line := _log_line(event):
            self.log.append(line)
        if isinstance(event, RunStarted):
            for planned in event.probes:
                if planned.kind == "null_adapter":
                    self._rank = _primary_rank(planned.entry)
                if planned.kind == "delta_kl" and planned.enabled:
                    self.series[planned.name] = ProbeSeries(planned.name, event.seed, planned.measurements)
        elif isinstance(event, ProbeFinished):
            result = probe_from_dict(event.result)
            self.finished[result.name] = result
        elif isinstance(event, RunFailed):
            self.traceback = event.traceback

    def _measured(self, m: Measurement) -> None:
        seed = self.started.seed if self.started else 0
        if m.role == "ablation":
            if m.probe not in self.ablations:
                metric: Metric = "kl" if self.entries().get(m.probe, {}).get("divergence") == "kl" else "js"
                self.ablations[m.probe] = AblationSeries(m.probe, seed, metric)
            own = self.ablations[m.probe]
            if m.lam is not None:
                own.curves.setdefault(m.lam, {})[m.item] = value_of(m, own.metric)
            return
        series = self.series.setdefault(m.probe, ProbeSeries(m.probe, seed))
        if m.role == "null":
            # Draws at another rank answer another question.
            if m.view.partition("_rank")[2] == self._rank:
                series.nulls.setdefault(m.item, {})[m.view] = m
        else:
            series.rows.append(m)


def _primary_rank(entry: Mapping[str, Any]) -> str:
    """End of the view names that count: those of the trained rank, else of the first multiplier."""
    ranks = entry.get("rank_multipliers") or [1.0]
    return "" if 1.0 in ranks else repr(float(ranks[0]))


def _text(prompt: Any) -> str:
    return str(prompt.get("text", "")) if isinstance(prompt, Mapping) else str(prompt)


def _log_line(event: Event) -> LogLine | None:
    if isinstance(event, RunStarted):
        again = " again" if event.resumed else ""
        return LogLine(event.ts, "info", f"run {event.run_id} started{again}, seed {event.seed}")
    if isinstance(event, Phase):
        if event.step:
            return LogLine(event.ts, "info", f"{event.phase}: {event.step}")
        detail = f" with adapter {event.detail}" if event.phase == "loading" and event.detail else ""
        return LogLine(event.ts, "info", f"{event.phase} {event.name}{detail}".strip())
    if isinstance(event, ModelReady):
        return LogLine(event.ts, "info", "model ready")
    if isinstance(event, Warned):
        causes = f" Possible causes: {'; '.join(event.causes)}" if event.causes else ""
        return LogLine(event.ts, "warning", f"{event.message}{causes}")
    if isinstance(event, ItemFailed):
        return LogLine(event.ts, "error", f"{event.probe}: prompt {event.item} in {event.view}: {event.message}")
    if isinstance(event, ProbeFinished):
        verdict = str(event.result.get("verdict"))
        level: Literal["info", "error"] = "error" if verdict == "error" else "info"
        return LogLine(event.ts, level, f"{event.result.get('name')}: {verdict}. {event.result.get('message')}")
    if isinstance(event, RunFinished):
        return LogLine(event.ts, "info", "run finished")
    if isinstance(event, RunCancelledEvent):
        return LogLine(event.ts, "warning", f"run cancelled: {event.reason}")
    if isinstance(event, RunFailed):
        return LogLine(event.ts, "error", event.message)
    return None
