"""A run as a small PNG for notebooks that are only read: no browser, no scripts, the colours of the light theme.

Sanitizers of notebook viewers take out scripts, styles and inline SVG; a PNG in an ``img`` and a plain table remain.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from sway_dash.core.events import Measurement
from sway_dash.figures import columns
from sway_dash.figures.derive import Metric, ProbeSeries, value_of
from sway_dash.figures.plots.scale import LINEAR, ticks
from sway_dash.figures.theme import LIGHT, canvas_text, count, number

WIDTH, SCALE = 860, 2
"""Width in CSS pixels, and device pixels for each."""

MOST_ROWS = 40
LABEL, RIGHT, ROW = 250, 24, 17
_LATIN = 0x24F


def picture(series: ProbeSeries, metric: Metric, rows: Sequence[Measurement]) -> bytes:
    """PNG of one probe: the mean beside the random adapters, then the given prompts with their null ranges.

    ``rows`` beyond :data:`MOST_ROWS` are left out and counted in the last line.
    """
    shown = rows[:MOST_ROWS]
    height = 92 + ROW * len(shown) + 46
    image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), LIGHT.surface)
    pen = _Pen(image)
    nulls, tuned = columns.strip(series, metric)
    bars = {m.item: found for m in shown if (found := series.null_range(m.item, metric)) is not None}
    largest = max(
        [*nulls["x"], *tuned["hi"], *(value_of(m, metric) for m in shown), *(b.hi for b in bars.values())], default=0.0
    )
    end = 1.06 * largest or 1.0

    def at(value: float) -> float:
        return LABEL + (WIDTH - LABEL - RIGHT) * value / end

    bottom = height - 46
    for value, text in ticks(LINEAR, 0.0, end).items():
        pen.line(at(value), 14, at(value), bottom, LIGHT.rule)
        pen.text(at(value), bottom + 5, text, LIGHT.muted, anchor="ma")
    pen.text((LABEL + WIDTH - RIGHT) / 2, bottom + 22, _axis(metric, len(shown), len(rows)), LIGHT.muted, anchor="ma")
    _strip(pen, at, nulls, tuned)
    pen.line(10, 76, WIDTH - RIGHT, 76, LIGHT.rule)
    for k, m in enumerate(shown):
        y = 92 + ROW * k
        pen.text(LABEL - 12, y, _label(m), LIGHT.ink, anchor="rm")
        if (null := bars.get(m.item)) is not None:
            pen.line(at(null.lo), y, max(at(null.hi), at(null.lo) + 2), y, "#C9C9C9", width=8)
        pen.mark(at(value_of(m, metric)), y, series.status(m, metric))
    return _png(image)


class _Pen:
    """Draws in CSS pixels."""

    def __init__(self, image: Any) -> None:
        self._draw = ImageDraw.Draw(image)
        self._font = ImageFont.load_default(size=12 * SCALE)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: str, width: float = 1) -> None:
        self._draw.line([x0 * SCALE, y0 * SCALE, x1 * SCALE, y1 * SCALE], fill=colour, width=round(width * SCALE))

    def text(self, x: float, y: float, text: str, colour: str, *, anchor: str) -> None:
        self._draw.text((x * SCALE, y * SCALE), text, fill=colour, font=self._font, anchor=anchor)

    def dot(self, x: float, y: float, colour: str, radius: float = 4) -> None:
        x, y, r = x * SCALE, y * SCALE, radius * SCALE
        self._draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def shape(self, x: float, y: float, corners: Sequence[tuple[float, float]], colour: str) -> None:
        self._draw.polygon([((x + dx) * SCALE, (y + dy) * SCALE) for dx, dy in corners], fill=colour)

    def mark(self, x: float, y: float, status: str) -> None:
        """The sign of a prompt: a triangle above its null range, a dot inside it, a diamond without one."""
        if status == "above":
            self.shape(x, y, [(0, -5.5), (5.5, 4.5), (-5.5, 4.5)], LIGHT.tuned)
        elif status == "inside":
            self.dot(x, y, LIGHT.null)
        else:
            self.shape(x, y, _DIAMOND, LIGHT.base)


_DIAMOND = [(0, -6), (6, 0), (0, 6), (-6, 0)]


def _strip(pen: _Pen, at: Any, nulls: columns.Columns, tuned: columns.Columns) -> None:
    """The mean with its interval above the means of the random adapters."""
    pen.text(LABEL - 12, 28, "mean, tuned", LIGHT.ink, anchor="rm")
    for x, lo, hi in zip(tuned["x"], tuned["lo"], tuned["hi"], strict=True):
        pen.line(at(lo), 28, at(hi), 28, LIGHT.tuned, width=3)
        pen.shape(at(x), 28, _DIAMOND, LIGHT.tuned)
    words = count(len(nulls["x"]), "random adapter") if nulls["x"] else "no random adapters"
    pen.text(LABEL - 12, 54, words, LIGHT.ink, anchor="rm")
    for x in nulls["x"]:
        pen.dot(at(x), 54, LIGHT.null)


def _axis(metric: Metric, shown: int, n: int) -> str:
    name = "JS divergence" if metric == "js" else "KL(tuned || base)"
    which = f"the {shown} largest of {count(n, 'prompt')}" if shown < n else count(n, "prompt")
    return f"{name}, nats; {which}; grey bars: random adapters on the same prompt"


def _label(m: Measurement) -> str:
    """Number of the prompt, and its text where the font can write it."""
    text = canvas_text(m.prompt, 32).replace("\u200b", "").replace("⏎", "/").replace("…", "...")
    known = all(ord(c) <= _LATIN for c in text)
    return f"{text}  {m.item + 1}" if known else str(m.item + 1)


def _png(image: Any) -> bytes:
    out = io.BytesIO()
    # Few colours: a third of the bytes.
    image.quantize(64).save(out, "PNG", optimize=True)
    return out.getvalue()


def described(series: ProbeSeries, metric: Metric) -> str:
    """What the picture shows, in words."""
    nulls, tuned = columns.strip(series, metric)
    draws = nulls["x"]
    noise = "no random adapters"
    if draws:
        noise = f"{count(len(draws), 'random adapter')} between {number(min(draws))} and {number(max(draws))} nats"
    mean = f"mean {number(tuned['x'][0], 'nats')}" if tuned["x"] else "no prompt measured yet"
    return f"{metric.upper()} of {count(len(series.rows), 'prompt')}: {mean}; {noise}."
