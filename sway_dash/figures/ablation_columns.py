"""From a λ curve to the columns of the Ablation page: pure functions, plain lists. No Bokeh, no Panel."""

from __future__ import annotations

import math
from typing import Any

from sway_dash.figures.derive_ablation import TINY, AblationSeries, ShapeNumber, fitted
from sway_dash.figures.theme import number, visible

Columns = dict[str, list[Any]]

MAX_LETTERS = 160
"""Longer prompts are cut in the table; they are whole where they are opened."""


def curve(series: AblationSeries, *, relative: bool) -> tuple[Columns, Columns]:
    """Mean by strength and its band; ``relative``: over the mean at λ = 1."""
    points = series.relative() if relative else series.points()
    line: Columns = {"lam": [p[0] for p in points], "mean": [p[1] for p in points], "n": [p[3] for p in points]}
    banded = [(lam, ci) for lam, _, ci, _ in points if ci is not None]
    band: Columns = {
        "lam": [lam for lam, _ in banded],
        "lo": [ci[0] for _, ci in banded],
        "hi": [ci[1] for _, ci in banded],
    }
    return line, band


def whole(series: AblationSeries, *, relative: bool) -> Columns:
    """Ends of the band that holds the mean at every strength at once; of divergences in nats alone."""
    ends = [] if relative else series.whole()
    return {"lam": [e[0] for e in ends], "lo": [e[1] for e in ends], "hi": [e[2] for e in ends]}


def whole_words(columns: Columns) -> str:
    """What that band asserts; empty without one."""
    return "Dotted: with 95 % the means at all λ lie between these lines at once (sup-t)." if columns["lam"] else ""


def each(series: AblationSeries, *, relative: bool) -> tuple[Columns, int]:
    """One line a prompt, and how many have no shape of their own because λ = 1 hardly moves them."""
    out: Columns = {"xs": [], "ys": [], "item": [], "prompt": []}
    left_out = 0
    mean = series.at_one() or 0.0
    for item in sorted(series.prompts):
        points = series.curve(item)
        unit = 1.0
        if relative:
            unit = next((v for lam, v in points if math.isclose(lam, 1.0, abs_tol=1e-6)), 0.0)
            if unit <= TINY * mean or not unit:
                left_out += 1
                continue
        out["xs"].append([lam for lam, _ in points])
        out["ys"].append([v / unit for _, v in points])
        out["item"].append(item)
        out["prompt"].append(visible(series.prompts[item]))
    return out, left_out


def references(series: AblationSeries, *, relative: bool) -> tuple[Columns, Columns]:
    """The straight line from nothing to λ = 1, and the curve that linearity is measured against."""
    points, one = series.points(), series.at_one()
    unit = one if relative and one else 1.0
    straight: Columns = {"x": [], "y": []}
    if one is not None:
        straight = {"x": [0.0, 1.0], "y": [0.0, one / unit]}
    fit = fitted(points)
    return straight, {"x": [x for x, _ in fit], "y": [y / unit for _, y in fit]}


def judged(series: AblationSeries, numbers: list[ShapeNumber], *, relative: bool) -> tuple[Columns, Columns]:
    """Where the curve must have 90 % of its effect, and what the largest λ must reach; and where it does."""
    passed: Columns = {name: [] for name in ("x0", "y0", "x1", "y1", "text")}
    found: Columns = {name: [] for name in ("x", "y", "marker", "text")}
    one = series.at_one()
    if not one:
        return passed, found
    unit = 1.0 if relative else one
    _, saturation, over = numbers
    _stretch(
        passed, saturation.lo, 0.9 * unit, saturation.hi, 0.9 * unit, f"90 % of the effect at λ = 1: {ends(saturation)}"
    )
    if saturation.value is not None:
        _mark(found, saturation.value, 0.9 * unit, saturation, f"90 % of the effect at λ = {saturation.value:g}")
    top = max(series.lambdas())
    if over.value is not None and top > 1:
        if math.isfinite(over.lo):
            reach = max(over.lo, over.value) + 0.06
            _stretch(passed, top, over.lo * unit, top, reach * unit, f"overshoot {ends(over)}")
        _mark(found, top, over.value * unit, over, f"overshoot {number(over.value)}")
    return passed, found


def ends(shape: ShapeNumber) -> str:
    """The range in which a number passes, in words."""
    if math.isinf(shape.lo):
        return "at any value"
    if math.isinf(shape.hi):
        return f"at least {shape.lo:g}"
    return f"{shape.lo:g} to {shape.hi:g}"


def _stretch(out: Columns, x0: float, y0: float, x1: float, y1: float, text: str) -> None:
    for name, value in zip(("x0", "y0", "x1", "y1", "text"), (x0, y0, x1, y1, text), strict=True):
        out[name].append(value)


def _mark(out: Columns, x: float, y: float, shape: ShapeNumber, text: str) -> None:
    marker = "circle" if shape.passed else "x"
    for name, value in zip(("x", "y", "marker", "text"), (x, y, marker, text), strict=True):
        out[name].append(value)


TABLE = {"prompt": "Prompt", "at_one": "at λ = 1, nats", "saturation": "90 % at λ"}


def prompts(series: AblationSeries) -> tuple[Columns, list[int]]:
    """One row a prompt, largest effect first: text, divergence at λ = 1, where it has 90 % of it; and their indices."""
    rows = []
    for item, text in series.prompts.items():
        at_one = next((v for lam, v in series.curve(item) if math.isclose(lam, 1.0, abs_tol=1e-6)), None)
        saturation = series.saturation_of(item) if at_one is not None else None
        rows.append((item, visible(text)[:MAX_LETTERS], at_one, saturation))
    rows.sort(key=lambda row: (-(row[2] if row[2] is not None else -1.0), row[0]))
    columns: Columns = {
        "prompt": [row[1] for row in rows],
        "at_one": [row[2] for row in rows],
        "saturation": [row[3] for row in rows],
    }
    return columns, [row[0] for row in rows]
