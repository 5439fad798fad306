"""Axes of divergences: linear, or the square root, which spreads small values and has a place for zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bokeh.models import BasicTicker, FixedTicker

from sway_dash.figures.theme import number


@dataclass(frozen=True, slots=True)
class Scale:
    """How a value, nats, becomes a position on an axis, and back."""

    name: str
    to: Callable[[float], float]
    back: Callable[[float], float]


LINEAR = Scale("linear", float, float)
ROOT = Scale("square root", lambda v: math.sqrt(max(v, 0.0)), lambda p: max(p, 0.0) ** 2)

MOST_TICKS = 7


def ticks(scale: Scale, lo: float, hi: float) -> dict[float, str]:
    """Positions between ``lo`` and ``hi`` (positions as well) of round values that keep their distance, with labels."""
    lo, hi = max(lo, 0.0), max(hi, 0.0)
    if hi <= lo:
        return {}
    chosen: dict[float, str] = {}
    apart = (hi - lo) / MOST_TICKS
    # Large values first: near zero a square root leaves room for few.
    for value in sorted(_round_values(scale.back(lo), scale.back(hi)), key=lambda v: (v != 0, -v)):
        place = scale.to(value)
        if all(abs(place - other) >= apart for other in chosen):
            chosen[place] = number(value)
    return dict(sorted(chosen.items()))


def _round_values(lo: float, hi: float) -> list[float]:
    """Multiples of 1, 2 and 5 in every decade from a thousandth of the range up; finer ones for a narrow range."""
    found = {0.0} if lo <= 0 else set()
    top = math.floor(math.log10(hi))
    for exponent in range(top - 3, top + 1):
        found |= {m * 10.0**exponent for m in (1, 2, 5)}
    step = 10.0 ** math.floor(math.log10((hi - lo) / 4))
    step = next(step * m for m in (1, 2, 5, 10) if step * m >= (hi - lo) / 5)
    found |= {k * step for k in range(math.ceil(lo / step), math.floor(hi / step) + 1)}
    return [v for v in found if lo <= v <= hi]


def set_ticks(axis: Any, span: Any, scale: Scale) -> None:
    """Give an axis the ticks of a scale for what is in sight."""
    if scale is LINEAR:
        if isinstance(axis.ticker, FixedTicker):
            axis.update(ticker=BasicTicker(), major_label_overrides={})
        return
    wanted = ticks(scale, span.start, span.end)
    if isinstance(axis.ticker, FixedTicker) and list(axis.ticker.ticks) == list(wanted):
        return
    axis.update(ticker=FixedTicker(ticks=list(wanted)), major_label_overrides=wanted)
