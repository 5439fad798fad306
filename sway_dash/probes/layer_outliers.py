"""Which layers stand out from the others in a positive quantity: robust, on a log scale, along depth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

CUTOFF = 3.5
"""Modified z from which a value counts as an outlier (Iglewicz and Hoaglin 1993)."""

TREND_FROM = 6
"""With so many layers a straight line along depth is taken out first: gradients grow or shrink from layer to layer."""


def log_deviations(values: Mapping[int, float]) -> tuple[dict[int, float], float]:
    """``ln`` of each positive value over what is usual at its depth, and the robust spread of these deviations.

    Usual is the median, or with :data:`TREND_FROM` layers the Theil-Sen line on the layer's index. The spread is
    1.4826 · MAD. Values that are not positive and finite have no logarithm and are left out.
    """
    layers = [k for k, v in sorted(values.items()) if math.isfinite(v) and v > 0]
    if not layers:
        return {}, 0.0
    y = np.log([values[k] for k in layers])
    if len(layers) >= TREND_FROM:
        from scipy.stats import theilslopes

        x = np.asarray(layers, dtype=np.float64)
        y = y - float(theilslopes(y, x)[0]) * x
    deviation = y - np.median(y)
    spread = 1.4826 * float(np.median(np.abs(deviation)))
    return {k: float(d) for k, d in zip(layers, deviation, strict=True)}, spread


def standing_out(values: Mapping[int, float], *, ratio: float) -> dict[int, float]:
    """Layers whose value is more than ``ratio`` times off and a robust outlier as well, with their factor.

    The factor is above 1 for a layer with more than is usual and below 1 for one with less.
    """
    deviations, spread = log_deviations(values)
    bar = max(math.log(ratio), CUTOFF * spread)
    # Rounding must not decide whether a layer exactly at the ratio is flagged.
    return {k: math.exp(d) for k, d in deviations.items() if abs(d) > bar * (1 + 1e-9)}


def factors(values: Mapping[int, float]) -> dict[int, float]:
    """Each value over what is usual at its depth; 1 is usual."""
    return {k: math.exp(d) for k, d in log_deviations(values)[0].items()}
