"""Measuring prompts under pairs of views: the one way from a probe to a backend and to the event stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from sway_dash.core.divergence import LN2, Divergence, compare_dists, require_covered
from sway_dash.core.errors import ProbeError
from sway_dash.core.events import ItemFailed, Measurement
from sway_dash.core.scoring import (
    BASE,
    Comparison,
    ExactComparer,
    Positions,
    ScoringBackend,
    TokenDist,
    View,
    next_token_dists,
)
from sway_dash.core.stats import block_interval
from sway_dash.probes.base import Prompt, RunContext, ViewPair, enter

Role = Literal["probe", "null", "ablation"]

FLAT = 1e-9
"""Divergences up to this, nats, are rounding on any device."""

MEASURE_VERSION = 1
"""Part of every key: raise it when the same inputs would give other numbers."""

PROMPTS_BETWEEN_STOPS = 32
"""Where distributions are asked for one by one or from a server: so many before a stop is looked for."""

FIRST_PORTION, LARGEST_PORTION = 16, 256
"""Prompts of the first portion where a prompt has many positions, and of the largest."""

MAX_FAILED_SHARE = 0.1
"""Above this share of unmeasurable prompts a probe is an ERROR, not a result over the rest."""


def measure_prompts(
    name: str,
    prompts: Sequence[Prompt],
    ctx: RunContext,
    *,
    views: Sequence[View] | None = None,
    positions: Positions = "next",
    continuation_tokens: int = 32,
    top_k: int | None = None,
    role: Role = "probe",
    items: Sequence[int] | None = None,
    failures: list[ProbeError] | None = None,
) -> list[Measurement]:
    """Compare every view with the reference on every prompt and emit each measurement as it is finished.

    ``items`` are the indices of the prompts to measure, all by default. Equal prompts are measured once. What
    ``ctx.recall`` knows is not measured again. Prompts that cannot be measured are emitted as :class:`ItemFailed`; when
    more than a tenth of them fail, or all, ``ProbeError`` carries the first reason. Where these are a part of what a
    probe measures, it gives a list for the ``failures`` and judges their share itself (:func:`few_failures`).

    Returns measurements in the order view, prompt.
    """
    reference, tuned = ctx.pair
    wanted = list(views) if views is not None else [tuned]
    k = top_k or ctx.top_k
    found: dict[tuple[int, View], Measurement] = {}
    failed: list[ProbeError] = []
    missing: dict[View, dict[str, list[int]]] = {}

    def accept(index: int, view: View, measurement: Measurement) -> None:
        found[index, view] = measurement
        ctx.emit(measurement)

    for view in wanted:
        for index in range(len(prompts)) if items is None else items:
            prompt = prompts[index]
            key = measurement_key(ctx, reference, view, prompt.text, positions, continuation_tokens, k)
            known = ctx.recall(key)
            # A null draw or a λ was recorded without what a probe's own measurement shows.
            if known is None or (role == "probe" and known.role != "probe"):
                missing.setdefault(view, {}).setdefault(prompt.text, []).append(index)
                continue
            labels = {"probe": name, "item": index, "tags": prompt.tags, "role": role, "reused": True}
            accept(index, view, known.model_copy(update=labels))

    # Views that lack the same prompts share the reference pass; on a resumed run the groups may differ.
    groups: dict[tuple[str, ...], list[View]] = {}
    for view, texts in missing.items():
        groups.setdefault(tuple(texts), []).append(view)
    for texts_of_group, group in groups.items():
        wording = texts_of_group if items is not None else _taken_by_rank(texts_of_group, prompts, ctx.seed)
        for at, view, outcome in _compare(ctx, reference, group, wording, positions, continuation_tokens, k):
            text = wording[at]
            for index in missing[view][text]:
                if isinstance(outcome, ProbeError):
                    failed.append(outcome)
                    ctx.emit(ItemFailed(probe=name, item=index, prompt=text, view=view.id, message=str(outcome)))
                    continue
                key = measurement_key(ctx, reference, view, text, positions, continuation_tokens, k)
                accept(index, view, _measurement(name, index, prompts[index], reference, view, role, key, outcome))
    if failures is None:
        few_failures(name, failed, len(prompts) * len(wanted))
    else:
        failures += failed
    return [found[i, v] for v in wanted for i in range(len(prompts)) if (i, v) in found]


def few_failures(name: str, failed: Sequence[ProbeError], total: int) -> None:
    """Raise ``ProbeError`` with the first reason when more than a tenth of all measurements failed."""
    if failed and len(failed) > MAX_FAILED_SHARE * total:
        raise ProbeError(name, f"{failed[0]} ({len(failed)} of {total} measurements failed)")


def measuring_order(n: int, seed: int) -> list[int]:
    """Indices of ``n`` prompts in the random order in which they are taken; those of a batch are measured together."""
    return [int(i) for i in np.random.default_rng(seed).permutation(n)]


def _taken_by_rank(texts: Sequence[str], prompts: Sequence[Prompt], seed: int) -> list[str]:
    """Texts arranged so that they are taken in the order of all prompts, whatever is missing or listed twice.

    Whoever measures them takes them in the :func:`measuring_order` of as many. So those measured are at any time a
    random part of all prompts, on a resumed run, too. A text has the place of the first prompt that has it: by the
    earliest of its places what is listed often would come early.
    """
    first: dict[str, int] = {}
    for index, prompt in enumerate(prompts):
        first.setdefault(prompt.text, index)
    ranks = {index: rank for rank, index in enumerate(measuring_order(len(prompts), seed))}
    arranged = list(texts)
    ranked = sorted(texts, key=lambda text: ranks[first[text]])
    for place, text in zip(measuring_order(len(texts), seed), ranked, strict=True):
        arranged[place] = text
    return arranged


def distinct(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The first measurement of every text: a prompt that is listed twice is not twice the evidence."""
    return list({m.prompt: m for m in reversed(measurements)}.values())[::-1]


def divergence_values(measurements: Sequence[Measurement], kind: Divergence) -> list[float]:
    """The divergence of each measurement, nats; ``kl`` means KL(tuned ‖ base).

    ``ProbeError`` for KL where too little of a distribution is known for one.
    """
    if kind == "kl":
        for m in measurements:
            require_covered(m.covered)
    return [m.js if kind == "js" else m.kl for m in measurements]


def rounding_of(ctx: RunContext, kind: Divergence = "js") -> float:
    """Mean divergence, nats, up to which two views are the same.

    The noise floor of the run, of the same model on this device in this dtype, and :data:`FLAT` where that is more.
    """
    return max(FLAT, getattr(ctx.noise, kind, 0.0))


def divergence_bounds(kind: Divergence) -> tuple[float, float]:
    """Range of a divergence, nats."""
    return (0.0, LN2) if kind == "js" else (0.0, float("inf"))


def measurement_key(
    ctx: RunContext,
    reference: View,
    view: View,
    prompt: str,
    positions: Positions,
    continuation_tokens: int,
    top_k: int,
) -> str:
    """Content key of a measurement: equal keys mean equal numbers. Empty when the backend has no fingerprint."""
    if not ctx.fingerprint:
        return ""
    exact = isinstance(ctx.backend, ExactComparer)
    parts = [
        MEASURE_VERSION,
        ctx.fingerprint,
        reference.content,
        view.content,
        positions,
        continuation_tokens if positions == "continuation" else 0,
        0 if exact else top_k,
        prompt,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _compare(
    ctx: RunContext,
    reference: View,
    views: Sequence[View],
    texts: Sequence[str],
    positions: Positions,
    continuation_tokens: int,
    top_k: int,
) -> Iterator[tuple[int, View, Comparison | ProbeError]]:
    backend = ctx.require_backend
    order = measuring_order(len(texts), ctx.seed)
    if isinstance(backend, ExactComparer):
        # One position a prompt is measured in no time, and many views are set up for all prompts at once.
        whole = positions == "next" or len(views) > 1
        for places in [range(len(texts))] if whole else _portions(order):
            for at, view, outcome in backend.compare(
                reference,
                views,
                [texts[i] for i in places],
                positions=positions,
                continuation_tokens=continuation_tokens,
                seed=ctx.seed,
                checkpoint=ctx.checkpoint,
            ):
                yield places[at], view, outcome
        return
    if positions != "next":
        raise ProbeError("divergence", f"positions: {positions} needs a backend with logits; use positions: next")
    # One block of prompts per view: all of the reference, then all of each other view.
    plain = isinstance(backend, ViewPair)
    for first in range(0, len(texts), PROMPTS_BETWEEN_STOPS):
        ctx.checkpoint()
        places = order[first : first + PROMPTS_BETWEEN_STOPS]
        block = [texts[i] for i in places]
        with backend.as_base() if plain or reference == BASE else enter(backend, reference) as scorer:
            base = _distributions(scorer, block, top_k)
        for view in views:
            ctx.checkpoint()
            with backend.as_finetuned() if plain else enter(backend, view) as scorer:
                tuned = _distributions(scorer, block, top_k)
            for at, p, q in zip(places, base, tuned, strict=True):
                try:
                    yield at, view, compare_dists(_known(p), _known(q))
                except ProbeError as error:
                    yield at, view, error


def _portions(order: Sequence[int]) -> Iterator[Sequence[int]]:
    """Prompts that are measured before any of the others: few at first, since after each portion those that have been
    measured are a random part of all, of which an interval can be given; many later, which are measured faster."""
    first, size = 0, FIRST_PORTION
    while first < len(order):
        yield order[first : first + size]
        first += size
        size = min(first, LARGEST_PORTION)


def _distributions(view: ScoringBackend, texts: Sequence[str], top_k: int) -> list[TokenDist | ProbeError]:
    """Next-token distributions; a prompt that has none does not take the others with it."""
    try:
        return list(next_token_dists(view, texts, top_k=top_k))
    except ProbeError as error:
        if len(texts) == 1:
            return [error]
    return [one for text in texts for one in _distributions(view, [text], top_k)]


def _known(dist: TokenDist | ProbeError) -> TokenDist:
    if isinstance(dist, ProbeError):
        raise dist
    return dist


def _measurement(
    name: str, index: int, prompt: Prompt, reference: View, view: View, role: Role, key: str, c: Comparison
) -> Measurement:
    heavy = role == "probe"
    return Measurement(
        probe=name,
        item=index,
        prompt=prompt.text,
        tags=prompt.tags,
        reference=reference.id,
        view=view.id,
        role=role,
        lam={"scaled": view.lam, "base": 0.0, "ft": 1.0}.get(view.kind),
        key=key,
        js=c.js,
        kl=c.kl,
        kl_reverse=c.kl_reverse,
        same_top=c.same_top,
        n_positions=c.n_positions,
        per_position=c.per_position if heavy else (),
        ci=block_interval(c.per_position, bounds=(0.0, LN2)) if heavy else None,
        exact=c.exact,
        error_bound=c.error_bound,
        truncated_tokens=c.truncated_tokens,
        # What the two sides would say next is shown for the trained adapter, not for every null and λ.
        base_top=tuple((t.text, t.id, t.prob) for t in c.base_top) if heavy else (),
        tuned_top=tuple((t.text, t.id, t.prob) for t in c.tuned_top) if heavy else (),
        continuation=c.continuation if heavy else "",
        reference_positions=c.reference_positions if heavy else 0,
        common_tokens=c.common_tokens if heavy else 0,
        top_k=c.top_k,
        covered=c.covered,
    )
