"""Measuring until a mean is known to lie on one side of its gate, and no longer.

Prompts come in a random order that the seed decides (never by length, which may go with the divergence), a portion at a
time. After each portion the confidence sequence of the mean is asked whether it lies wholly on one side. It holds at
every look, so asking again and again costs no error: with 95 % the answer is right, whenever it comes. Assumed is that
the listed prompts are a sample of prompts like them; the mean that is meant is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sway_dash.core.divergence import LN2
from sway_dash.core.errors import ProbeError
from sway_dash.core.events import Measurement
from sway_dash.core.sequences import ConfidenceSequence
from sway_dash.probes.base import Prompt
from sway_dash.probes.measure import MAX_FAILED_SHARE, measuring_order

PORTION = 16
"""Prompts between two looks: enough for a batch, few enough to stop soon."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the mean stands against its gate. ``ci`` holds at every look, in nats."""

    side: Literal["above", "below"] | None
    ci: tuple[float, float]
    measured: int
    planned: int
    failed: int
    """Prompts that were tried and could not be measured."""

    @property
    def reason(self) -> str:
        """Why no more was measured."""
        band = f"[{self.ci[0]:.3g}, {self.ci[1]:.3g}] nats"
        if self.side is None:
            return f"not decided: the anytime-valid interval {band} holds the gate"
        return f"decided: the anytime-valid interval {band} lies {self.side} the gate"

    @property
    def evidence(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "side": self.side,
            "interval": list(self.ci),
            "measured": self.measured,
            "planned": self.planned,
            "reason": self.reason,
        }


def decide(prompts: Sequence[Prompt], measured: Sequence[Measurement], gate: float, seed: int) -> Decision:
    """What the JS divergences measured so far say of their mean; a text that is listed twice counts once.

    Of measurements and seed alone, so that a stored run gives the same answer again.
    """
    order = measuring_order(len(prompts), seed)
    by_item = {m.item: m for m in measured}
    values: dict[str, float] = {}
    last = -1
    for place, item in enumerate(order):
        if item in by_item:
            last = place
            values.setdefault(by_item[item].prompt, by_item[item].js)
    sequence = ConfidenceSequence((0.0, LN2))
    sequence.extend(list(values.values()))
    lo, hi = sequence.interval
    side: Literal["above", "below"] | None = "above" if lo > gate else "below" if hi < gate else None
    return Decision(side, (lo, hi), len(by_item), len(prompts), last + 1 - len(by_item))


def measure_until_decided(
    name: str,
    prompts: Sequence[Prompt],
    gate: float,
    seed: int,
    measure: Callable[[Sequence[int]], Sequence[Measurement]],
) -> list[Measurement]:
    """Measure portions of the prompts, given by their indices, until the mean is decided; in suite order."""
    order = measuring_order(len(prompts), seed)
    found: list[Measurement] = []
    for start in range(0, len(order), PORTION):
        found += measure(order[start : start + PORTION])
        tried = min(start + PORTION, len(order))
        if tried - len(found) > MAX_FAILED_SHARE * len(order):
            raise ProbeError(name, f"{tried - len(found)} of {tried} prompts could not be measured")
        if decide(prompts, found, gate, seed).side is not None:
            break
    return sorted(found, key=lambda m: m.item)
