"""From a comparison to the columns of its plots: pure functions, plain lists, no Bokeh, no Panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from sway_dash.figures.columns import MAX_LABELLED, Columns
from sway_dash.figures.theme import canvas_text, count, number, visible
from sway_dash.report.paired import NAMES, signed, significance
from sway_dash.suite.checkpoints import Course
from sway_dash.suite.comparison import Comparison, Contrast
from sway_dash.suite.pairing import Index

Mode = Literal["slope", "rows", "cloud"]

MOST_SLOPES = 30
MOST_ROWS = 200
"""Prompts up to which every one has its own slope, its own row; more are a cloud of points."""

MOST_LINES = 200
"""Prompts up to which every one has its own line over the checkpoints."""

NAMED_SLOPES = 10
BINS = 40

WAYS = {1: "more changed", 0: "same", -1: "less changed"}
SIGNS = {1: "▲", 0: "○", -1: "▼"}
MARKERS = {1: "triangle", 0: "circle", -1: "inverted_triangle"}


def delta(value: float | None) -> str:
    """A difference with its sign, as everywhere on the screen."""
    return signed(value, number)


# -- every run against the baseline -------------------------------------------------------------

DELTA_COLUMNS = ("run", "y", "mean", "lo", "hi", "mean_text", "ci_text", "counts", "test")


def deltas(comparison: Comparison) -> tuple[Columns, Columns]:
    """Mean difference of every run with its interval, and how far noise alone moves a mean."""
    rows: Columns = {name: [] for name in DELTA_COLUMNS}
    noise: Columns = {"y": [], "lo": [], "hi": []}
    for place, contrast in enumerate(comparison.contrasts):
        stats = contrast.stats
        if stats.mean is None:
            continue
        lo, hi = stats.ci or (stats.mean, stats.mean)
        rows["run"].append(contrast.run)
        rows["y"].append(-float(place))
        rows["mean"].append(stats.mean)
        rows["lo"].append(lo)
        rows["hi"].append(hi)
        rows["mean_text"].append(f"{delta(stats.mean)} nats, n = {stats.n:,}")
        rows["ci_text"].append(f"{delta(lo)} to {delta(hi)}" if stats.ci else stats.ci_note)
        rows["counts"].append(f"{stats.up:,} more changed, {stats.same:,} same, {stats.down:,} less changed")
        rows["test"].append(significance(stats, number))
        noise["y"].append(-float(place))
        noise["lo"].append(-contrast.mean_floor)
        noise["hi"].append(contrast.mean_floor)
    return rows, noise


# -- prompt by prompt ---------------------------------------------------------------------------

PROMPT_CHARS = 300
POINT_CHARS = 60
"""Characters of a prompt that the browser is given."""

CLOUD_COLUMNS = ("place", "a", "b", "way", "marker", "prompt", "delta", "floor")
PAIR_COLUMNS = ("place", "y", "a", "b", "way", "marker", "prompt", "a_text", "b_text", "delta_text", "floor_text")


def mode(comparison: Comparison, contrast: Contrast) -> Mode:
    """How single prompts are drawn, by how many the two runs can have in common; does not change while a run grows."""
    rows = comparison.alignment.rows
    either = (rows[:, contrast.run] >= 0) | (rows[:, comparison.baseline] >= 0)
    n = int((either & comparison.admitted).sum())
    return "slope" if n <= MOST_SLOPES else "rows" if n <= MOST_ROWS else "cloud"


def pairs(comparison: Comparison, contrast: Contrast, *, by_size: bool) -> Columns:
    """One row a paired prompt: rising from the least to the most by Δ, or in suite order."""
    places = np.flatnonzero(contrast.counted)
    if by_size:
        places = places[np.argsort(-contrast.deltas[places], kind="stable")]
    found = _pairs(comparison, contrast, places, PROMPT_CHARS)
    return {
        **found,
        "y": [-float(k) for k in range(len(places))],
        "a_text": [number(v, "nats") for v in found["a"]],
        "b_text": [number(v, "nats") for v in found["b"]],
        "delta_text": [f"{delta(v)} nats" for v in contrast.deltas[places].tolist()],
        "floor_text": [f"± {number(v)}" for v in contrast.floors[places].tolist()],
    }


def points(comparison: Comparison, contrast: Contrast) -> Columns:
    """One point a paired prompt. There may be many: numbers instead of texts, and short prompts."""
    places = np.flatnonzero(contrast.counted)
    return {
        **_pairs(comparison, contrast, places, POINT_CHARS),
        "delta": contrast.deltas[places].tolist(),
        "floor": contrast.floors[places].tolist(),
    }


def _pairs(comparison: Comparison, contrast: Contrast, places: Index, chars: int) -> Columns:
    ways = contrast.direction[places].tolist()
    keys = comparison.alignment.keys
    return {
        "place": places.tolist(),
        "a": comparison.values[places, comparison.baseline].tolist(),
        "b": comparison.values[places, contrast.run].tolist(),
        "way": [WAYS[w] for w in ways],
        "marker": [MARKERS[w] for w in ways],
        "prompt": [visible(keys[i][0][:chars]) for i in places],
    }


def floor_bars(comparison: Comparison, contrast: Contrast, rows: Columns) -> Columns:
    """Around the baseline's value of every row: where the run's value would be the same."""
    places = rows["place"]
    a, floor = np.array(rows["a"]), contrast.floors[places] if places else np.zeros(0)
    return {"y": list(rows["y"]), "lo": np.maximum(a - floor, 0.0).tolist(), "hi": (a + floor).tolist()}


def row_labels(rows: Columns, limit: int) -> dict[float, str]:
    """Names of the rows by height; none when there are too many to read."""
    if len(rows["y"]) > MAX_LABELLED:
        return {}
    return {y: canvas_text(text, limit) for y, text in zip(rows["y"], rows["prompt"], strict=True)}


def slope_labels(rows: Columns, *, top: float, height: int, limit: int) -> Columns:
    """Names of the slopes that move most, beside their right ends and far enough apart to be read.

    ``top`` is the end of the axis in nats, ``height`` what it measures in pixels.
    """
    moved = [i for i, way in enumerate(rows["way"]) if way != WAYS[0]]
    moved = sorted(moved, key=lambda i: -abs(rows["b"][i] - rows["a"][i]))[:NAMED_SLOPES]
    moved.sort(key=lambda i: rows["b"][i])
    apart = 14 * top / max(height, 1)
    # As near to their ends as they can be: names that would overlap become a pile around their common middle.
    piles: list[list[float]] = []
    for k, i in enumerate(moved):
        piles.append([rows["b"][i] - k * apart, 1])
        while len(piles) > 1 and piles[-2][0] > piles[-1][0]:
            (above, n), (below, m) = piles.pop(), piles.pop()
            piles.append([(above * n + below * m) / (n + m), n + m])
    pushed = [middle for middle, n in piles for _ in range(int(n))]
    heights = [max(at, 0.0) + k * apart for k, at in enumerate(pushed)]
    # Pushed over the upper end: the whole pile moves down as far as it must.
    limit_y = top
    for k in range(len(heights) - 1, -1, -1):
        heights[k] = min(heights[k], limit_y)
        limit_y = heights[k] - apart
    return {
        "x": [1.04] * len(moved),
        "y": heights,
        "text": [canvas_text(rows["prompt"][i], limit) for i in moved],
    }


def histogram(contrast: Contrast) -> Columns:
    """How often a difference of what size occurs; 0 lies on the border of two bins."""
    found = contrast.deltas[contrast.counted]
    if not found.size:
        return {"left": [], "right": [], "count": [], "text": []}
    width = max(float(np.ptp(np.append(found, 0.0))) / BINS, 1e-9)
    first, last = np.floor(found.min() / width), np.floor(found.max() / width) + 1
    edges = np.arange(first, last + 1) * width
    counts, _ = np.histogram(found, edges)
    left, right = edges[:-1].tolist(), edges[1:].tolist()
    text = [f"{delta(lo)} to {delta(hi)}" for lo, hi in zip(left, right, strict=True)]
    return {"left": left, "right": right, "count": counts.tolist(), "text": text}


def typical_floor(contrast: Contrast) -> float:
    """Median of the counted prompts' floors, nats; 0 without any."""
    return float(np.median(contrast.floors[contrast.counted])) if contrast.counted.any() else 0.0


# -- checkpoints --------------------------------------------------------------------------------


def course_columns(course: Course, labels: Sequence[str]) -> dict[str, Columns]:
    """Columns of the curve over training steps: mean, its band, random adapters, and the single prompts.

    Up to :data:`MOST_LINES` prompts are lines of their own; of more there is the middle 80 %.
    """
    steps = [float(step) for step, _ in course.checkpoints.steps]
    runs = [run for _, run in course.checkpoints.steps]
    with_ci = [(s, ci) for s, ci in zip(steps, course.intervals, strict=True) if ci is not None]
    nulls = [(s, lo_hi) for s, lo_hi in zip(steps, course.nulls, strict=True) if lo_hi is not None]
    few = len(course.places) <= MOST_LINES
    middle = np.quantile(course.values, [0.1, 0.9], axis=0) if not few else np.empty((2, 0))
    return {
        "line": {
            "step": steps,
            "mean": list(course.means),
            "run": runs,
            "text": [
                f"{labels[r]}, step {s:,.0f}: {number(m, 'nats')}"
                for r, s, m in zip(runs, steps, course.means, strict=True)
            ],
        },
        "band": {
            "step": [s for s, _ in with_ci],
            "lo": [ci[0] for _, ci in with_ci],
            "hi": [ci[1] for _, ci in with_ci],
        },
        "nulls": {
            "step": [s for s, _ in nulls],
            "lo": [lo for _, (lo, _) in nulls],
            "hi": [hi for _, (_, hi) in nulls],
        },
        "each": {
            "xs": [steps] * len(course.places) if few else [],
            "ys": course.values.tolist() if few else [],
            "place": course.places.tolist() if few else [],
        },
        "middle": {
            "step": steps if not few else [],
            "lo": middle[0].tolist(),
            "hi": middle[1].tolist(),
        },
    }


def course_text(course: Course, comparison: Comparison, labels: Sequence[str]) -> str:
    """What the curve shows, in a sentence."""
    name = NAMES[comparison.metric]
    steps = "; ".join(
        f"step {step:,} ({labels[run]}): {number(mean)}"
        for (step, run), mean in zip(course.checkpoints.steps, course.means, strict=True)
    )
    left_out = len(comparison.sides) - len(course.checkpoints.steps)
    rest = f" {count(left_out, 'run')} of another training run or the same step not drawn." if left_out else ""
    n = count(len(course.places), "prompt")
    return f"Mean {name}, nats, over the {n} that every checkpoint has: {steps}.{rest}"
