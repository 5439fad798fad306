"""What the run of a draft is going to cost: passes, hits, time, memory. Param only; no widgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import param

from sway_dash.backends.model_files import AdapterFacts, BaseFacts
from sway_dash.dash.draft import Draft
from sway_dash.dash.latest import Background, Latest, at_once
from sway_dash.dash.model_facts import ModelFacts
from sway_dash.probes.base import Probe, ProbeSpec
from sway_dash.suite.estimate import Memory, Pace, measured_pace, memory
from sway_dash.suite.forecast import Forecast, forecast
from sway_dash.suite.idle import warnings
from sway_dash.suite.spec import SwaySpec


@dataclass(frozen=True, slots=True)
class Cost:
    """What is known of a run before it starts."""

    forecast: Forecast
    pace: Pace | None
    memory: Memory | None
    warnings: tuple[str, ...] = ()
    """Entries that have nothing to measure, a sentence each."""

    @property
    def seconds(self) -> float | None:
        """How long it may take; ``None`` when nothing of this model was measured here."""
        return self.pace.of(self.forecast) if self.pace is not None else None


class Costs(param.Parameterized):
    """Follows a draft; ``cost`` is ``None`` while the draft is wrong or has not been looked at."""

    cost: Cost | None = param.ClassSelector(class_=Cost, default=None)  # type: ignore[assignment]
    failure = param.String(default="", doc="Why the cost of the draft cannot be told.")

    def __init__(self, draft: Draft, models: ModelFacts, background: Background = at_once, **params: Any) -> None:
        super().__init__(**params)
        self.draft, self.models = draft, models
        self._latest = Latest(background)
        draft.param.watch(lambda *_: self.refresh(), ["text", "problems"])
        models.param.watch(lambda *_: self.refresh(), "version")
        self.refresh()

    def refresh(self) -> None:
        """Follow the suite through cache, earlier runs and headers."""
        spec, built = self.draft.spec, list(self.draft.built)
        if spec is None or self.draft.problems:
            self._latest.ask(lambda: None, self._take)
            return
        base, adapter = self.models.base, self.models.adapter
        self._latest.ask(lambda: price(spec, built, base, adapter), self._take, self._fail)

    def _take(self, cost: Cost | None) -> None:
        self.param.update(cost=None if self.draft.problems else cost, failure="")

    def _fail(self, error: Exception) -> None:
        """A cost that was worked out for an earlier draft must not stand for this one."""
        why = f"{type(error).__name__}: {error}"
        self.param.update(
            cost=None, failure=f"What this run costs cannot be told ({why}). It can be started all the same."
        )


def price(
    spec: SwaySpec, built: list[tuple[Probe, ProbeSpec]], base: BaseFacts | None, adapter: AdapterFacts | None
) -> Cost:
    """The cost of a suite; reads files, so it runs in a thread."""
    pace = measured_pace(spec)
    cost = forecast(spec, built, fingerprint=pace.fingerprint if pace else "")
    need = memory(spec, base, adapter, cost) if base is not None else None
    return Cost(cost, pace, need, tuple(warnings(spec, built)))
