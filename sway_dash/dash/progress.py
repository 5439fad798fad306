"""How far an attempt at a run is: what loading took, how fast it measures, how long it still takes. Arithmetic only.

Fed with the events of a run and asked with a time, both Unix seconds. Another attempt starts counting anew: what it
takes over from an earlier one is done, but says nothing about speed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sway_dash.core.events import (
    TERMINAL,
    Answered,
    Event,
    ItemFailed,
    Measurement,
    ModelReady,
    Phase,
    ProbeFinished,
    RunStarted,
)
from sway_dash.suite.pace import Pace

MIN_ITEMS = 5
"""Below this many measurements neither a rate nor a time left is told."""


@dataclass
class Counter:
    """What is measured, out of how much; ``fresh`` was measured in this attempt."""

    name: str = ""
    total: int = 0
    done: int = 0
    fresh: int = 0
    answers: int = 0
    """Answers among the total, as far as they are known."""
    answered: int = 0
    over: bool = False
    open_ended: bool = False
    """It takes time beside its measurements: what is told to be left is the least."""
    pace: Pace = field(default_factory=Pace)

    def add(self, event: Measurement | ItemFailed | Answered) -> None:
        """Count one measurement, or the answers that have come."""
        if isinstance(event, Answered):
            self.done += event.new
            self.answered += event.new
            self.fresh += event.new
            if event.new:
                self.pace.add(event.ts, event.new)
            return
        self.done += 1
        if isinstance(event, ItemFailed) or not event.reused:
            self.fresh += 1
            self.pace.add(event.ts)

    def rate(self, now: float) -> float | None:
        """Measurements per second over the last seconds; ``None`` while too few are known, and at the end."""
        return self.pace.rate(now) if self.fresh >= MIN_ITEMS and not self.over else None

    def left(self, now: float) -> float | None:
        """Seconds until everything is measured, at the rate so far."""
        if self.over or self.done >= self.total:
            return None
        return None if self.rate(now) is None else self.pace.left(self.total - self.done, now)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A step before measuring and the seconds it took, or has taken so far."""

    name: str
    seconds: float
    over: bool


class Progress:
    """Counts of one attempt, fed event by event."""

    def __init__(self) -> None:
        self.whole = Counter()
        self.probes: dict[str, Counter] = {}
        self.current: Counter | None = None
        self._steps: list[tuple[str, float]] = []
        self._loaded_at: float | None = None

    def add(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, RunStarted):
            self.__init__()  # type: ignore[misc]
            self.probes = {
                p.name: Counter(p.name, p.measurements + p.answers, answers=p.answers, open_ended=p.open_ended)
                for p in event.probes
                if p.enabled
            }
            self.whole.total = sum(p.total for p in self.probes.values())
            self.whole.open_ended = any(p.open_ended for p in self.probes.values())
        elif isinstance(event, Phase):
            self._phase(event)
        elif isinstance(event, ModelReady):
            self._loaded_at = event.ts
        elif isinstance(event, Measurement | ItemFailed):
            self.whole.add(event)
            if self.current is not None:
                self.current.add(event)
                # Of what a probe could not say beforehand nothing is known but what has come.
                more = max(0, self.current.done - self.current.total)
                self.current.total += more
                self.whole.total += more
        elif isinstance(event, Answered):
            if self.current is not None:
                self._expect(self.current, event.total - self.current.answers)
                self.current.add(event)
            self.whole.add(event)
        elif isinstance(event, ProbeFinished):
            self._end_probe()
        elif isinstance(event, TERMINAL):
            self._end_probe()
            self._loaded_at = self._loaded_at or event.ts
            self.whole.over = True

    def steps(self, now: float) -> list[Loaded]:
        """The steps of loading with their seconds, in order; the last may still be going on."""
        ends = [began for _, began in self._steps[1:]]
        found = [
            Loaded(name, max(0.0, end - began), True)
            for (name, began), end in zip(self._steps, [*ends, self._loaded_at or now], strict=False)
        ]
        if found and self._loaded_at is None:
            found[-1] = Loaded(found[-1].name, found[-1].seconds, False)
        return found

    def _phase(self, event: Phase) -> None:
        if event.phase == "probe":
            self._loaded_at = self._loaded_at or event.ts
            self._end_probe()
            # A probe may be here that was not planned: the suite of a newer program.
            self.current = self.probes.setdefault(event.name, Counter(event.name))
            self.current.pace.start(event.ts)
            self.whole.pace.start(event.ts)
            return
        name = event.step or ("model" if event.phase == "loading" else event.phase)
        # The model ready and then checked: the check is the last step.
        self._loaded_at = None
        if len(self._steps) == 1 and self._steps[0][0] == "model" and event.step:
            self._steps.clear()
        self._steps.append((name, event.ts))

    def _expect(self, counter: Counter, more: int) -> None:
        """A probe asks more than was known of it."""
        if more > 0:
            counter.answers += more
            counter.total += more
            self.whole.total += more

    def _end_probe(self) -> None:
        if self.current is not None:
            # What it was thought to ask and did not is not to come any more.
            self.whole.total -= max(0, self.current.answers - self.current.answered)
            self.current.over = True
            self.whole.open_ended = any(p.open_ended and not p.over for p in self.probes.values())
            self.current = None
