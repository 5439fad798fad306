"""How numbers are written, everywhere: on the terminal, in reports, on the screen and in what probes say."""

from __future__ import annotations

import math
from typing import Final

DASH: Final = "—"
"""What is not known."""

MAX_Z: Final = 99.0
"""Larger z are cut: they say only that the null hardly varies, not how large the effect is."""

SMALL: Final = 1e-4
"""Below it a number is written with a power of ten, and a p-value is only said to be smaller."""

LEVEL: Final = 0.05
"""The usual level of a test."""

_SUPER = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits and a unit; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    # What rounds to a thousand is written as one.
    if size >= 999.5:
        text = f"{value:,.0f}"
    elif value == 0:
        text = "0"
    elif size < SMALL:
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{mantissa}×10{str(int(exponent)).translate(_SUPER)}"
    else:
        text = f"{value:.3g}"
    return f"{text} {unit}" if unit else text


def z_text(z: float | None) -> str:
    """``+4.20σ``, ``≥ +99σ`` where it is cut there, never a negative zero; a dash for what is not known."""
    if z is None or not math.isfinite(z):
        return DASH
    if abs(z) >= MAX_Z:
        return f"{'≥' if z > 0 else '≤'} {math.copysign(MAX_Z, z):+.0f}σ"
    # Rounded first: what is left of -0.001 is zero, and zero has no sign of its own.
    return f"{round(z, 2) + 0.0:+,.2f}σ"


def p_text(p: float | None) -> str:
    """``0.011``, ``< 0.0001``; a dash for what is not known."""
    if p is None or not math.isfinite(p):
        return DASH
    if p < SMALL:
        return f"< {SMALL:.4f}"
    text = f"{p:.2g}"
    # On which side of the usual level it lies is never rounded away.
    return f"{p:.3g}" if float(text) == LEVEL else text


def said(name: str, text: str) -> str:
    """A number with its name in a sentence: ``z=+4.20σ``, ``z ≥ +99σ``, ``p < 0.0001``."""
    return f"{name} {text}" if text[:1] in "<≥≤" else f"{name}={text}"
