"""A run's prompts and tokens in columns for the page's scripts. Numbers in full; texts once each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sway_dash.core.detail import PromptDetail
from sway_dash.core.events import Measurement
from sway_dash.figures import columns
from sway_dash.figures.derive import Metric, ProbeSeries, RunData, value_of
from sway_dash.figures.prompt_stats import Summary, by_tag, summary
from sway_dash.figures.token_columns import scale_of

METRICS: tuple[Metric, ...] = ("js", "kl")
Json = dict[str, Any]


class Places:
    """Gives every text, or every token, one place in a list."""

    def __init__(self) -> None:
        self.of: dict[Any, int] = {}

    def __call__(self, value: Any) -> int:
        return self.of.setdefault(value, len(self.of))


def contents(data: RunData, details: Sequence[PromptDetail]) -> Json:
    """Everything the prompts section reads."""
    texts, tags, words = Places(), Places(), Places()
    places = {detail.prompt: i for i, detail in enumerate(details)}
    series = [_series(data, s, texts, tags, words, places) for s in data.series.values()]
    scale = scale_of(details)
    return {
        "series": series,
        "details": [_detail(d, texts, words) for d in details],
        "scale": {"js": scale.js, "kl": scale.kl, "delta": scale.delta, "tokens": scale.tokens, "n": scale.prompts},
        "texts": list(texts.of),
        "tags": list(tags.of),
        "words": [text for text, _ in words.of],
        "ids": [number for _, number in words.of],
    }


def metric_of(data: RunData, name: str) -> Metric:
    """The divergence a probe is judged by."""
    return "kl" if data.entries().get(name, {}).get("divergence") == "kl" else "js"


def gate_of(data: RunData, name: str, metric: str) -> float | None:
    """The gate of a probe, if it is one for this divergence."""
    entry = data.entries().get(name, {})
    if entry.get("divergence", "js") != metric:
        return None
    gate = entry.get("assert_mean_gte", 0.02)
    return float(gate) if isinstance(gate, int | float) else None


def _series(
    data: RunData, series: ProbeSeries, texts: Places, tags: Places, words: Places, details: Mapping[str, int]
) -> Json:
    rows = sorted(series.rows, key=lambda m: m.item)
    noise = data.noise
    out: Json = {
        "name": series.name,
        "metric": metric_of(data, series.name),
        "planned": series.planned,
        "noise": {metric: getattr(noise, metric) if noise else None for metric in METRICS},
        "item": [m.item for m in rows],
        "text": [texts(m.prompt) for m in rows],
        "tags": [[tags(t) for t in dict.fromkeys(m.tags)] for m in rows],
        "klr": [m.kl_reverse for m in rows],
        "same": [m.same_top for m in rows],
        "n": [m.n_positions for m in rows],
        "ci": [m.ci for m in rows],
        "bound": [0.0 if m.exact else m.error_bound for m in rows],
        "exact": [int(m.exact) for m in rows],
        "cut": [m.truncated_tokens for m in rows],
        "said": [m.continuation for m in rows],
        "base": [_top(m.base_top, words) for m in rows],
        "tuned": [_top(m.tuned_top, words) for m in rows],
        "detail": [details.get(m.prompt, -1) for m in rows],
        "failed": [
            [f.item, texts(f.prompt), f.message]
            for f in data.fold.failed_items
            if f.probe == series.name and not f.view.startswith("null")
        ],
    }
    out |= {metric: _measured(series, rows, metric) for metric in METRICS}
    return out


def _measured(series: ProbeSeries, rows: Sequence[Measurement], metric: Metric) -> Json:
    values = [value_of(m, metric) for m in rows]
    ranges = [series.null_range(m.item, metric) for m in rows]
    draws = [
        [value_of(d, metric) for d in series.nulls.get(m.item, {}).values()] if found else []
        for m, found in zip(rows, ranges, strict=True)
    ]
    known = [m for m, v in zip(rows, values, strict=True) if math.isfinite(v)]
    whole = summary(known, metric, series.seed)
    tagged = by_tag(known, metric, series.seed)
    pooled = np.array([v for own in draws for v in own], dtype=np.float64)
    return {
        "value": values,
        "lo": [r.lo if r else None for r in ranges],
        "hi": [r.hi if r else None for r in ranges],
        "draws": [r.n if r else 0 for r in ranges],
        "below": [sum(d < v for d in own) for own, v in zip(draws, values, strict=True)],
        "all": _summary(whole) if whole else None,
        "tagged": [[tag, _summary(found)] for tag, found in tagged.items()],
        "nulls": columns.ecdf(pooled) if len(pooled) else {"x": [], "share": [], "text": []},
    }


def _summary(found: Summary) -> Json:
    return {"n": found.n, "mean": found.mean, "median": found.median, "ci": found.ci, "method": found.method}


def _top(top: Sequence[tuple[str, int, float]], words: Places) -> list[Any]:
    """Places and probabilities of likely tokens in turn; ten digits, which is more than a ten-thousand-millionth."""
    return [v for text, number, p in top for v in (words((text, number)), float(f"{p:.10g}"))]


def _decimals(values: Sequence[float]) -> list[list[int]]:
    """Digits and exponents of numbers, exactly: 0.00327 is 327 and −5. Apart they compress to half their size."""
    digits, exponents = [], []
    for value in values:
        mantissa, _, exponent = f"{value!r}".partition("e")
        whole, _, part = mantissa.partition(".")
        part = part.rstrip("0")
        digits.append(int(whole + part))
        exponents.append(int(exponent or 0) - len(part))
    return [digits, exponents]


def _detail(detail: PromptDetail, texts: Places, words: Places) -> Json:
    tokens = detail.tokens
    said = next((i for i, t in enumerate(tokens) if t.part == "continuation"), len(tokens))
    known = [t.prediction for t in tokens]
    return {
        "text": texts(detail.prompt),
        "cut": detail.truncated_tokens,
        "said": said,
        "w": [words((t.text, t.id)) for t in tokens],
        "special": [i for i, t in enumerate(tokens) if t.special],
        "js": [p.js if p else None for p in known],
        "kl": [p.kl if p else None for p in known],
        "klr": [p.kl_reverse if p else None for p in known],
        "bl": [t.base_logprob for t in tokens],
        "tl": [t.tuned_logprob for t in tokens],
        "k": [len(p.choices) if p else 0 for p in known],
        "c": [words((c.text, c.id)) for p in known if p for c in p.choices],
        "b": _decimals([c.base for p in known if p for c in p.choices]),
        "t": _decimals([c.tuned for p in known if p for c in p.choices]),
        "says": [list(detail.base_says), list(detail.tuned_says)],
    }
