"""How fast a divergence fades from turn to turn of a conversation. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sway_dash.core.result import Verdict

STABLE_SPREAD = 1e-3
BARS = "▁▂▃▄▅▆▇█"


def fit_half_life_turns(turns: Sequence[float], kls: Sequence[float], *, max_turns: int) -> tuple[float | None, str]:
    """Half-life in turns of an exponential decay, ``ln 2 / −slope`` of ``ln kl`` on the turn, and how it was found.

    ``degenerate`` (0.0): fewer than two positive values where some are not. ``stable`` (``10 · max_turns``): a relative
    spread below 0.1 %, or a half-life beyond that. ``non_monotonic`` (``None``): it grows. ``ok``: otherwise. Values
    that are not positive are left out of the fit.
    """
    longest = 10.0 * max_turns
    pairs = [(t, v) for t, v in zip(turns, kls, strict=True) if math.isfinite(v) and v > 0]
    if len(pairs) < len(kls) and len(pairs) < 2:
        return 0.0, "degenerate"
    if not pairs:
        return 0.0, "degenerate"
    x, y = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    if len(pairs) < 2 or float(np.ptp(y)) / float(y.mean()) < STABLE_SPREAD:
        return longest, "stable"
    x = x - x.mean()
    slope = float(x @ np.log(y)) / float(x @ x)
    if slope > 0:
        return None, "non_monotonic"
    half_life = math.log(2.0) / -slope if slope < 0 else math.inf
    if not math.isfinite(half_life) or half_life >= longest:
        return longest, "stable"
    return half_life, "ok"


def verdict_from_half_life(
    *, half_life: float | None, fit_status: str, target: float, mean_kls: Sequence[float], turns_axis: Sequence[float]
) -> tuple[Verdict, float, str]:
    """Judgement of the fit alone, as the public format has it; the probe weighs histories and intervals as well."""
    last = f"{mean_kls[0]:.3g} at turn {turns_axis[0]:g} → {mean_kls[-1]:.3g} at {turns_axis[-1]:g}" if mean_kls else ""
    if fit_status == "non_monotonic":
        return Verdict.WARN, 0.5, f"the divergence does not fade: {last}"
    if fit_status == "degenerate":
        return Verdict.FAIL, 0.0, f"the divergence is zero at most turns: {last}"
    if half_life is None:
        return Verdict.ERROR, 0.0, "no half-life could be fitted"
    if fit_status == "stable":
        return Verdict.PASS, 1.0, f"held coherence over all turns: {last}"
    passed = half_life >= target
    text = f"half-life={half_life:.2f} turns {'≥' if passed else '<'} {target:.2f}: {last}"
    score = min(1.0, half_life / target) if target > 0 else 1.0
    return (Verdict.PASS if passed else Verdict.FAIL), score, text


def relative_slopes(curves: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Each conversation's least-squares slope a turn, and its mean: their ratio is the relative change a turn."""
    slopes, means = [], []
    for curve in curves:
        y = np.asarray(curve, dtype=np.float64)
        x = np.arange(len(y)) - (len(y) - 1) / 2
        slopes.append(float(x @ y) / float(x @ x) if len(y) > 1 else 0.0)
        means.append(float(y.mean()))
    return slopes, means


def sparkline(values: Sequence[float]) -> str:
    """One bar a value, lowest to highest; ``?`` for what is negative or not finite; empty when nothing is left."""
    good = [v for v in values if math.isfinite(v) and v >= 0]
    if not good:
        return ""
    lo, hi = min(good), max(good)

    def bar(v: float) -> str:
        if not math.isfinite(v) or v < 0:
            return "?"
        return BARS[len(BARS) // 2] if hi == lo else BARS[round((v - lo) / (hi - lo) * (len(BARS) - 1))]

    return "".join(bar(v) for v in values)
