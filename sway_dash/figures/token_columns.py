"""From a prompt token by token to what is drawn: heat over the text, distributions, shares of the KL. Plain Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from sway_dash.core.detail import Choice, Prediction, PromptDetail, TokenDetail
from sway_dash.figures.columns import Columns, signed
from sway_dash.figures.theme import number, token_text

Layer = Literal["js", "kl", "delta"]
By = Literal["change", "probability", "kl"]

CLIP = 0.99
"""Share of tokens below the end of the colour scale."""

WINDOW = 1500
"""Tokens that are in the browser at once."""

BINS = 240
"""Columns of the line above a long text."""

SHOWN = 10
"""Tokens of a distribution that have a row of their own."""

REST = "all other tokens"


@dataclass(frozen=True, slots=True)
class HeatScale:
    """Where the colours of each layer end, nats, and what that was read from."""

    js: float = 0.0
    kl: float = 0.0
    delta: float = 0.0
    tokens: int = 0
    prompts: int = 0

    def end(self, layer: Layer) -> float:
        """End of a layer's scale."""
        return float(getattr(self, layer))


def scale_of(details: Iterable[PromptDetail]) -> HeatScale:
    """One scale for all these prompts: the 99th percentile over their predicted tokens."""
    found: dict[str, list[float]] = {"js": [], "kl": [], "delta": []}
    prompts = 0
    for detail in details:
        prompts += 1
        for token in detail.tokens:
            for layer in ("js", "kl", "delta"):
                value = heat_of(token, layer)
                if value is not None and math.isfinite(value):
                    found[layer].append(abs(value))
    ends = {layer: float(np.quantile(values, CLIP)) if values else 0.0 for layer, values in found.items()}
    return HeatScale(**ends, tokens=len(found["js"]), prompts=prompts)


def heat_of(token: TokenDetail, layer: Layer) -> float | None:
    """A token's value in a layer, nats; ``None`` where nothing was predicted."""
    if layer == "delta":
        if token.base_logprob is None or token.tuned_logprob is None:
            return None
        return token.tuned_logprob - token.base_logprob
    if token.prediction is None:
        return None
    return token.prediction.js if layer == "js" else token.prediction.kl


def heat(detail: PromptDetail, layer: Layer, end: float, start: int, chosen: int) -> dict[str, Any]:
    """What the text component draws: a window of tokens from ``start``, and the line over the whole text.

    Shares run from 0 to 1 (−1 to 1 for the change of log-probability), clipped at ``end``.
    """
    window = detail.tokens[start : start + WINDOW]
    shares = [_share(heat_of(t, layer), end) for t in detail.tokens]
    return {
        "start": start,
        "total": len(detail.tokens),
        "chosen": chosen,
        "signed": layer == "delta",
        "tokens": [
            [sendable(t.text), int(t.part == "continuation"), int(t.special), shares[i], spoken(t, i, layer)]
            for i, t in enumerate(window, start)
        ],
        "line": _line(shares),
        "peaks": _peaks(shares),
    }


def _share(value: float | None, end: float) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return round(max(-1.0, min(value / end, 1.0)), 3) if end > 0 else 0.0


def _line(shares: Sequence[float | None]) -> list[float]:
    """Largest share by size in each of at most :data:`BINS` stretches."""
    n = len(shares)
    edges = [round(k * n / min(n, BINS)) for k in range(min(n, BINS) + 1)] if n else [0]
    parts = [shares[a:b] for a, b in pairwise(edges)]
    return [max((abs(s) for s in part if s is not None), default=0.0) for part in parts]


def _peaks(shares: Sequence[float | None], most: int = 3) -> list[int]:
    known = [(abs(s), -i) for i, s in enumerate(shares) if s]
    return sorted(-i for _, i in sorted(known, reverse=True)[:most])


def spoken(token: TokenDetail, index: int, layer: Layer = "js") -> str:
    """A token in words, for a screen reader and while the pointer is on it."""
    name = f"token {index + 1} '{token_text(sendable(token.text))}'"
    p = token.prediction
    if p is None:
        return f"{name}, {'a special token' if token.special else 'not predicted'}: nothing stands before it"
    value = {"js": f"JS {number(p.js, 'nats')}", "kl": f"KL {number(p.kl, 'nats')}"}.get(layer, "")
    if layer == "delta":
        change = heat_of(token, "delta")
        value = "change of its log-probability " + (signed(change, "nats") if change is not None else "unknown")
    if not p.choices:
        return f"{name}, {value}"
    base, tuned = (max(p.choices, key=lambda c: getattr(c, side)) for side in ("base", "tuned"))
    said = [f"{side} expected '{token_text(sendable(c.text))}'" for side, c in (("base", base), ("tuned", tuned))]
    return f"{name}, {value}, {', '.join(said)}"


def default_token(detail: PromptDetail) -> int:
    """The first token of the continuation: what was predicted after the prompt; else the last predicted one."""
    predicted = [i for i, t in enumerate(detail.tokens) if t.prediction is not None]
    first = next((i for i in predicted if detail.tokens[i].part == "continuation"), None)
    return first if first is not None else (predicted[-1] if predicted else 0)


# -- one position -------------------------------------------------------------------------------


def term(choice: Choice) -> float | None:
    """A token's part of KL(tuned ‖ base), nats; ``None`` where the base gives it no probability at all."""
    if choice.tuned <= 0.0:
        return 0.0
    return choice.tuned * math.log(choice.tuned / choice.base) if choice.base > 0.0 else None


def top_choices(prediction: Prediction, by: By, limit: int = SHOWN) -> list[Choice]:
    """The choices that have a row of their own, first the one with the largest change, probability or part of KL."""
    keys = {
        "change": lambda c: abs(c.tuned - c.base),
        "probability": lambda c: max(c.tuned, c.base),
        "kl": lambda c: abs(found) if (found := term(c)) is not None else math.inf,
    }
    return sorted(prediction.choices, key=keys[by], reverse=True)[:limit]


def distribution(prediction: Prediction, by: By) -> Columns:
    """Rows of the dumbbell: the top choices, and all other tokens together."""
    chosen = top_choices(prediction, by)
    rest = [max(0.0, 1.0 - math.fsum(getattr(c, side) for c in chosen)) for side in ("base", "tuned")]
    rows = [
        (token_text(sendable(c.text)), str(c.id), c.base, c.tuned, *_ranks(prediction, c), _in_words(term(c)))
        for c in chosen
    ]
    if prediction.choices:
        rows.append((REST, "", *rest, "", "", ""))  # type: ignore[arg-type]
    return {
        "label": [r[0] for r in rows],
        "id": [r[1] for r in rows],
        "y": [-float(k) for k in range(len(rows))],
        "base": [r[2] for r in rows],
        "tuned": [r[3] for r in rows],
        "base_text": [number(r[2]) for r in rows],
        "tuned_text": [number(r[3]) for r in rows],
        "change": [signed(r[3] - r[2]) for r in rows],
        "rank": [f"{r[4]} → {r[5]}" if r[4] else "" for r in rows],
        "term": [r[6] for r in rows],
    }


def _ranks(prediction: Prediction, choice: Choice) -> tuple[str, str]:
    """Place of a token under base and tuned.

    The choices hold the likeliest tokens of both sides, so the first half of either order is complete; a token further
    down has at least that place.
    """
    out = []
    sure = (len(prediction.choices) + 1) // 2
    for side in ("base", "tuned"):
        rank = 1 + sum(getattr(c, side) > getattr(choice, side) for c in prediction.choices)
        out.append(f"{rank}" if rank <= sure else f"≥ {rank}")
    return out[0], out[1]


def kl_terms(prediction: Prediction, limit: int = SHOWN - 1) -> Columns:
    """Bars that add up to the KL: tokens that tuned makes likelier push it up, others take from it, then the rest."""
    known = [(c, found) for c in prediction.choices if (found := term(c)) is not None]
    known = sorted(known, key=lambda pair: -abs(pair[1]))[:limit]
    rows = [(token_text(sendable(c.text)), found) for c, found in sorted(known, key=lambda pair: -pair[1])]
    rows.append((REST, prediction.kl - math.fsum(found for _, found in rows)))
    out: Columns = {name: [] for name in ("label", "y", "left", "right", "side", "text", "sum_text")}
    total = 0.0
    for k, (label, found) in enumerate(rows):
        start, total = total, total + found
        last = k == len(rows) - 1
        for name, value in (
            ("label", label),
            ("y", -float(k)),
            ("left", min(start, total)),
            ("right", max(start, total)),
            ("side", "rest" if last else "up" if found >= 0 else "down"),
            ("text", signed(found, "nats")),
            ("sum_text", number(prediction.kl if last else total, "nats")),
        ):
            out[name].append(value)
    return out


def _in_words(value: float | None) -> str:
    return "∞" if value is None else signed(value)


def sendable(text: str) -> str:
    """Text that can be sent: halves of surrogate pairs, which are no characters, as replacement characters."""
    return text.encode("utf-8", "replace").decode("utf-8") if any("\ud800" <= c <= "\udfff" for c in text) else text
