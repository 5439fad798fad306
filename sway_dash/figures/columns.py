"""From derived data to the columns of a plot or a table: pure functions, plain lists, no Bokeh, no Panel."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from sway_dash.core.bands import dkw
from sway_dash.core.events import Measurement
from sway_dash.core.stats import Samples, percentiles
from sway_dash.figures.ablation_columns import curve
from sway_dash.figures.derive import AblationSeries, MeanPoint, Metric, ProbeSeries, value_of
from sway_dash.figures.theme import DASH, canvas_text, number, percent, token_text, visible

Columns = dict[str, list[Any]]

MARKERS = {"above": "triangle", "inside": "circle", "no null": "diamond"}
MARKS = {"above": "▲", "inside": "○", "no null": "◇", "failed": "✕", "pending": "…"}
WORDS = {
    "above": "above all random adapters",
    "inside": "inside their range",
    "no null": "no random adapters",
    "failed": "could not be measured",
    "pending": "not measured yet",
}

MAX_LABELLED = 60
"""More rows than this have no room for their names; the table carries them."""


def dots(
    series: ProbeSeries,
    rows: Sequence[Measurement],
    metric: Metric,
    places: Sequence[int],
    *,
    to: Callable[[float], float] = float,
    faint: Container[int] = (),
) -> Columns:
    """One row a prompt for the dot plot; ``places`` are the rows' heights from the top, counted from 0.

    ``to`` turns a value into a position; prompts in ``faint`` stand back.
    """
    out: Columns = {name: [] for name in DOT_COLUMNS}
    for m, place in zip(rows, places, strict=True):
        null = series.null_range(m.item, metric)
        status = series.status(m, metric)
        value = value_of(m, metric)
        out["item"].append(m.item)
        out["x"].append(to(value))
        out["y"].append(-float(place))
        out["status"].append(status)
        out["marker"].append(MARKERS[status])
        out["alpha"].append(FAINT if m.item in faint else 1.0)
        out["prompt"].append(shortened(m.prompt, HOVER_CHARS))
        out["value_text"].append(number(value, "nats"))
        out["null_text"].append(f"{number(null.lo)} to {number(null.hi)}, n = {null.n}" if null else "none")
        out["top_text"].append(top_change(m))
        out["tags"].append(shortened(", ".join(visible(t) for t in m.tags), HOVER_CHARS))
    return out


DOT_COLUMNS = (
    "item",
    "x",
    "y",
    "status",
    "marker",
    "alpha",
    "prompt",
    "value_text",
    "null_text",
    "top_text",
    "tags",
)

FAINT, DARK = 0.22, 0.75
HOVER_CHARS = 300


def failed_dots(rows: Sequence[tuple[int, str, str]], places: Sequence[int]) -> Columns:
    """Prompts that could not be measured, as crosses at zero: item, prompt and what went wrong."""
    n = len(rows)
    return {
        "item": [item for item, _, _ in rows],
        "x": [0.0] * n,
        "y": [-float(place) for place in places],
        "status": ["failed"] * n,
        "marker": ["x"] * n,
        "alpha": [1.0] * n,
        "prompt": [shortened(prompt, HOVER_CHARS) for _, prompt, _ in rows],
        "value_text": [f"not measured: {shortened(error, HOVER_CHARS)}" for _, _, error in rows],
        "null_text": [DASH] * n,
        "top_text": [DASH] * n,
        "tags": [""] * n,
    }


def null_bars(
    series: ProbeSeries, metric: Metric, places: Sequence[tuple[int, int]], *, to: Callable[[float], float] = float
) -> Columns:
    """Range of the random adapters on every prompt that has draws, for (prompt index, height from the top)."""
    found = [(place, series.null_range(item, metric)) for item, place in places]
    known = [(place, null) for place, null in found if null is not None]
    return {
        "y": [-float(place) for place, _ in known],
        "lo": [to(null.lo) for _, null in known],
        "hi": [to(null.hi) for _, null in known],
    }


def labels(prompts: Sequence[str], limit: int) -> dict[float, str]:
    """Axis labels by height, from the top."""
    return {-float(place): canvas_text(prompt, limit) for place, prompt in enumerate(prompts)}


def ecdf(values: npt.ArrayLike, *, to: Callable[[float], float] = float, limit: int = 400) -> Columns:
    """Share of values up to each, at no more than ``limit`` of them, evenly over the ranks."""
    ranked = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ranked)
    at = sorted({round(k * (n - 1) / max(min(n, limit) - 1, 1)) for k in range(min(n, limit))})
    return {
        "x": [to(float(ranked[i])) for i in at],
        "share": [(i + 1) / n for i in at],
        "text": [f"{100 * (i + 1) / n:.3g} % of {n:,} up to {number(float(ranked[i]), 'nats')}" for i in at],
    }


def ecdf_marks(n: int) -> list[tuple[str, str, str]]:
    """Legend of the distributions over ``n`` prompts, with how sure the whole curve is."""
    sure = f"with 95 % the whole curve is within ± {percent(dkw(n))} of that of all such prompts"
    return [("line", "tuned", f"tuned model: {sure}"), ("dash", "null", "random adapters, every draw")]


def rug(positions: npt.ArrayLike, *, faint: npt.ArrayLike, y: float, limit: int = 400) -> Columns:
    """One tick for every place on the axis where there is a value; dark if one of its values does not stand back."""
    at, back = np.asarray(positions, dtype=np.float64), np.asarray(faint, dtype=bool)
    end = float(at.max(initial=0.0)) or 1.0
    cells = np.minimum((limit * at / end).astype(np.int64), limit - 1)
    dark = set(cells[~back].tolist())
    found = np.unique(cells).tolist()
    return {
        "x": [(cell + 0.5) * end / limit for cell in found],
        "y": [y] * len(found),
        "alpha": [DARK if cell in dark else FAINT for cell in found],
    }


def shortened(text: str, limit: int) -> str:
    """Untrusted text on one line, cut after ``limit`` characters."""
    # Cut first: a prompt may be very long. Every character is shown as at least one.
    shown = visible(text[: limit + 1])
    return f"{shown[:limit]}…" if len(shown) > limit else shown


def top_change(m: Measurement) -> str:
    """Likeliest next token, base → tuned."""
    if not (m.base_top and m.tuned_top):
        return "not recorded"
    base, tuned = token_text(m.base_top[0][0]), token_text(m.tuned_top[0][0])
    return f"{base} (unchanged)" if m.base_top[0][1] == m.tuned_top[0][1] else f"{base} → {tuned}"


def running(points: Sequence[MeanPoint]) -> tuple[Columns, Columns]:
    """Columns of the running mean, and of its band, which not every point has."""
    line: Columns = {"n": [p.n for p in points], "mean": [p.mean for p in points], "value": [p.value for p in points]}
    with_band = [(p.n, p.ci) for p in points if p.ci is not None]
    band: Columns = {
        "n": [n for n, _ in with_band],
        "lo": [ci[0] for _, ci in with_band],
        "hi": [ci[1] for _, ci in with_band],
    }
    return line, band


def strip(series: ProbeSeries, metric: Metric) -> tuple[Columns, Columns]:
    """Null draws and the tuned mean with its interval, on one axis."""
    draws = series.null_means(metric)
    points = series.running(metric)
    nulls: Columns = {"x": draws, "y": [0.0] * len(draws), "text": [number(v, "nats") for v in draws]}
    if not points:
        return nulls, {"x": [], "y": [], "lo": [], "hi": [], "text": []}
    last = points[-1]
    lo, hi = last.interval or (last.mean, last.mean)
    return nulls, {"x": [last.mean], "y": [1.0], "lo": [lo], "hi": [hi], "text": [number(last.mean, "nats")]}


def ablation(series: AblationSeries) -> tuple[Columns, Columns, Columns]:
    """Mean by strength, its band, and one thin line a prompt."""
    line, band = curve(series, relative=False)
    items = sorted({i for found in series.curves.values() for i in found})
    lams = sorted(series.curves)
    each: Columns = {"xs": [], "ys": []}
    for item in items:
        own = [(lam, series.curves[lam][item]) for lam in lams if item in series.curves[lam]]
        each["xs"].append([lam for lam, _ in own])
        each["ys"].append([v for _, v in own])
    return line, band, each


def next_tokens(m: Measurement, limit: int = 10) -> Columns:
    """Union of both sides' likely next tokens, largest change first; unknown probabilities are NaN, not 0."""
    base = {i: (text, p) for text, i, p in m.base_top}
    tuned = {i: (text, p) for text, i, p in m.tuned_top}
    nan = float("nan")
    rows = [
        (token_text((base.get(i) or tuned[i])[0]), i, base.get(i, ("", nan))[1], tuned.get(i, ("", nan))[1])
        for i in dict.fromkeys([*base, *tuned])
    ]
    rows.sort(key=lambda r: -_change(r[2], r[3]))
    rows = rows[:limit]
    places = [{i: f"{k}" for k, i in enumerate(side, 1)} for side in (base, tuned)]
    return {
        "label": [r[0] for r in rows],
        "id": [str(r[1]) for r in rows],
        "y": [-float(k) for k in range(len(rows))],
        "base": [r[2] for r in rows],
        "tuned": [r[3] for r in rows],
        "base_text": [number(r[2]) if r[2] == r[2] else "not among the likeliest" for r in rows],
        "tuned_text": [number(r[3]) if r[3] == r[3] else "not among the likeliest" for r in rows],
        "change": [signed(r[3] - r[2]) if r[2] == r[2] and r[3] == r[3] else "not known" for r in rows],
        "rank": [" → ".join(side.get(r[1], f"> {len(side)}") for side in places) for r in rows],
    }


def _change(base: float, tuned: float) -> float:
    return abs((base if base == base else 0.0) - (tuned if tuned == tuned else 0.0))


def signed(value: float, unit: str = "") -> str:
    """A number with its sign."""
    text = number(abs(value), unit)
    return f"−{text}" if value < 0 else f"+{text}" if value > 0 else text


def stats_line(values: Samples, rows: Sequence[Measurement]) -> str:
    """Median, p90, maximum and how often both sides rank the same token first."""
    if not len(values):
        return ""
    p = percentiles(values)
    same = sum(map(attrgetter("same_top"), rows)) / len(rows)
    return (
        f"median {number(p['median'])}, p90 {number(p['p90'])}, max {number(p['max'])} nats; "
        f"same top token on {100 * same:.0f} % of {len(rows)}"
    )
