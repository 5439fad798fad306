"""Divergences between next-token distributions, in nats.

Backends that hold logits compare whole vocabularies themselves. These functions are for distributions of which
only the top k are known; :func:`coarse_divergence` then gives an estimate and how far off it can be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import Comparison, TokenDist, TopToken

Divergence = Literal["kl", "js"]
Probs = npt.NDArray[np.float64]

LN2 = math.log(2.0)
KL_COVERED = 0.9
"""Least probability of the tokens known from both sides for a KL divergence: what is not known may hold most of it."""
_FLOOR = 1e-12
_TOLERANCE = 1e-9
_ROUNDING = 1e-5
"""By how much probabilities that were rounded to float32 may sum above 1."""


def js_ln2() -> float:
    """The largest value a Jensen-Shannon divergence can take, ln 2."""
    return LN2


def kl(p: Probs, q: Probs) -> float:
    """KL(p ‖ q) of two probability vectors; where ``q`` is 0 it counts as 1e-12. ``ProbeError`` on NaN or infinity."""
    _require_finite(p, q)
    held = p > 0
    # Only zeros are replaced: a floor under small masses would make KL(p ‖ p) of a large vocabulary negative.
    beside = np.where(q[held] > 0, q[held], _FLOOR)
    with np.errstate(over="ignore"):
        value = float(np.sum(p[held] * (np.log(p[held]) - np.log(beside))))
    if not math.isfinite(value):
        raise ProbeError("divergence", "the KL divergence is non-finite")
    return value


def js(p: Probs, q: Probs) -> float:
    """Jensen-Shannon divergence of two probability vectors, in ``[0, ln 2]``; symmetric, 0 iff equal."""
    _require_finite(p, q)
    middle = 0.5 * (p + q)
    value = 0.5 * kl(p, middle) + 0.5 * kl(q, middle)
    if not -_TOLERANCE <= value <= LN2 + _TOLERANCE:
        raise ProbeError("divergence", f"JS = {value:.6g} lies outside [0, ln 2]: the inputs are no distributions")
    return min(max(value, 0.0), LN2)


def aligned_probs(base: TokenDist, ft: TokenDist) -> tuple[Probs, Probs]:
    """Two probability vectors over the sorted union of both top-k id sets, each summing to 1.

    Mass outside the top k is shared equally among the union's ids this side lacks. That guess is crude: use
    :func:`coarse_divergence` for numbers, this for pictures.

    Raises ``ProbeError`` for NaN or infinite entries and for a distribution that is uniform to 1e-9, which no real
    model gives and a broken one does.
    """
    _check_dists(base, ft)
    ids = np.union1d(base.token_ids, ft.token_ids)
    return _spread(base, ids), _spread(ft, ids)


def divergence(base: TokenDist, ft: TokenDist, kind: Divergence = "js") -> float:
    """JS, or KL(ft ‖ base), of two top-k distributions, estimated where mass is missing."""
    if kind not in ("js", "kl"):
        msg = f"unknown divergence {kind!r}; known: 'js', 'kl'"
        raise ValueError(msg)
    result = coarse_divergence(base, ft)
    if kind == "js":
        return result.js
    require_covered(result.covered)
    return result.kl


def require_covered(covered: float) -> None:
    """``ProbeError`` for a KL divergence of distributions of which too little is known."""
    if covered < KL_COVERED:
        raise ProbeError(
            "divergence",
            f"no KL divergence from lists of likely tokens that share {covered:.1%} of the probability"
            f" ({KL_COVERED:.0%} at least): use divergence: js, or raise the number of log-probabilities"
            " the server gives (vLLM: --max-logprobs)",
        )


@dataclass(frozen=True, slots=True)
class CoarseDivergence:
    """Divergences of two distributions of which only the top k are known, in nats.

    The true JS lies within ``js ± error_bound``; KL has no such bound. Lists that sum to more than 1 are no
    distributions: the bound is then wider by what as large an error of one side can do, and never 0.
    """

    js: float
    kl: float
    kl_reverse: float
    error_bound: float
    covered: float = 1.0
    """Probability of the tokens known from both sides, on the side where it is less."""


def coarse_divergence(base: TokenDist, ft: TokenDist) -> CoarseDivergence:
    """Compare on the union of the known ids plus one bucket for all other tokens.

    An id known to one side only gets, on the other side, at most what a token outside that side's list may have (the
    last one's probability, or that of one left out) and at most its missing mass, and not more than it has on the side
    that knows it: the estimate claims no difference that the data do not show.

    The bound is rigorous. Ids known to both sides contribute exactly what they contribute; all others at most
    ``½ (t_p + t_q) ln 2``, ``t`` being their mass on either side, and at least what three groups of them do: known to
    one side, known to the other, known to neither. (Merging outcomes never raises a divergence.) What a side gives to
    the ids that only the other lists is not known; the lower bound takes the division that makes it smallest.
    """
    _check_dists(base, ft)
    doubt = _doubt(base) + _doubt(ft)
    p, q = _masses(ft), _masses(base)
    _, in_ft, in_base = np.intersect1d(ft.token_ids, base.token_ids, return_indices=True)
    rest_p, rest_q = max(0.0, 1.0 - float(p[in_ft].sum())), max(0.0, 1.0 - float(q[in_base].sum()))
    if max(rest_p, rest_q) < _TOLERANCE:
        p, q = _normalised(p[in_ft]), _normalised(q[in_base])
        return CoarseDivergence(js(p, q), kl(p, q), kl(q, p), doubt)
    shared = _js_terms(p[in_ft], q[in_base])
    most_p, most_q = _most_outside(ft, p), _most_outside(base, q)
    lower = min(LN2, shared + _least_outside(np.delete(p, in_ft), np.delete(q, in_base), p, q, most_p, most_q))
    upper = min(LN2, shared + 0.5 * (rest_p + rest_q) * LN2)

    only_p, only_q = np.delete(p, in_ft), np.delete(q, in_base)
    guess_q, guess_p = _unseen(only_p, q, most_q), _unseen(only_q, p, most_p)
    full_p = np.concatenate([p[in_ft], only_p, guess_p])
    full_q = np.concatenate([q[in_base], guess_q, only_q])
    full_p = _normalised(np.append(full_p, max(0.0, 1.0 - float(full_p.sum()))))
    full_q = _normalised(np.append(full_q, max(0.0, 1.0 - float(full_q.sum()))))
    value = min(max(js(full_p, full_q), lower), upper)
    bound = max(value - lower, upper - value) + doubt
    covered = 1.0 - max(rest_p, rest_q)
    return CoarseDivergence(value, kl(full_p, full_q), kl(full_q, full_p), bound, covered)


def _js_terms(p: Probs, q: Probs) -> float:
    """What some outcomes contribute to a JS divergence; their masses need not sum to 1."""
    middle = 0.5 * (p + q)
    return 0.5 * sum(float(np.sum(m[m > 0] * np.log(m[m > 0] / middle[m > 0]))) for m in (p, q))


def _most_outside(dist: TokenDist, mass: Probs) -> float:
    """The largest probability that a token outside a list can have."""
    return max(float(mass.min()), dist.unlisted) if len(mass) else 1.0


def _least_outside(only_p: Probs, only_q: Probs, p: Probs, q: Probs, most_p: float, most_q: float) -> float:
    """The least that everything outside the common ids can contribute, in three groups.

    ``a`` of q's missing mass lies on the ids that only p lists, ``b`` of p's on those that only q lists; no unlisted id
    is likelier than ``most_p`` and ``most_q``. The contribution is convex in both, so its minimum is one of four
    points: each of them free, or at its largest.
    """
    mass_p, mass_q = float(only_p.sum()), float(only_q.sum())
    tail_p, tail_q = max(0.0, 1.0 - float(p.sum())), max(0.0, 1.0 - float(q.sum()))
    most_a, most_b = min(tail_q, len(only_p) * most_q), min(tail_p, len(only_q) * most_p)

    def best_a(b: float) -> float:
        return min(most_a, mass_p * tail_q / max(mass_p + tail_p - b, 1e-300))

    def best_b(a: float) -> float:
        return min(most_b, mass_q * tail_p / max(mass_q + tail_q - a, 1e-300))

    ratio = (tail_q + mass_q) / max(tail_p + mass_p, 1e-300)
    free = (min(most_a, ratio * mass_p), min(most_b, mass_q / ratio if ratio > 0 else most_b))
    points = (free, (most_a, best_b(most_a)), (best_a(most_b), most_b), (most_a, most_b))
    return min(_js_terms(np.array([mass_p, b, tail_p - b]), np.array([a, mass_q, tail_q - a])) for a, b in points)


def _unseen(other: Probs, known: Probs, most: float) -> Probs:
    """What a side with masses ``known`` can give to ids that only the other knows, ``most`` to each."""
    missing = max(0.0, 1.0 - float(known.sum()))
    guess = np.minimum(other, min(missing, most))
    total = float(guess.sum())
    return guess * (missing / total) if total > missing else guess


def _normalised(mass: Probs) -> Probs:
    total = float(mass.sum())
    if not (math.isfinite(total) and total > 0):
        raise ProbeError("divergence", f"the distribution sums to {total}")
    return mass / total


def compare_dists(base: TokenDist, ft: TokenDist) -> Comparison:
    """Compare two top-k distributions; ``exact`` only if nothing was left out."""
    d = coarse_divergence(base, ft)
    same = float(len(base.token_ids) > 0 and int(base.token_ids[0]) == int(ft.token_ids[0]))
    exact = d.error_bound == 0.0
    return Comparison(
        js=d.js,
        kl=d.kl,
        kl_reverse=d.kl_reverse,
        same_top=same,
        exact=exact,
        error_bound=d.error_bound,
        base_top=_top_tokens(base),
        tuned_top=_top_tokens(ft),
        top_k=0 if exact else min(len(base.token_ids), len(ft.token_ids)),
        covered=d.covered,
    )


def _top_tokens(dist: TokenDist) -> tuple[TopToken, ...]:
    """The first tokens, as far as their texts are known."""
    found = zip(dist.texts, dist.token_ids, dist.logprobs, strict=False)
    return tuple(TopToken(text, int(i), math.exp(float(lp))) for text, i, lp in found)


def _masses(dist: TokenDist) -> Probs:
    """Probabilities of the known ids; scaled down only if they sum to more than 1."""
    mass = np.exp(dist.logprobs.astype(np.float64))
    total = float(mass.sum())
    return mass / total if total > 1.0 or dist.tail_logprob is None else mass


def _doubt(dist: TokenDist) -> float:
    """By how much a JS divergence is uncertain for a list that sums to ``1 + e``, nats.

    Moving a share ``e`` of one side's probability changes a JS divergence by at most the entropy of an event of
    probability ``e / 2``: that the outcome of a fair choice between the sides is among what was moved.
    """
    excess = float(np.exp(dist.logprobs.astype(np.float64)).sum()) - 1.0
    if excess <= _ROUNDING:
        return 0.0
    share = min(0.5 * excess, 0.5)
    return -share * math.log(share) - (1.0 - share) * math.log1p(-share)


def _spread(dist: TokenDist, ids: npt.NDArray[np.int64]) -> Probs:
    out = np.zeros(len(ids), dtype=np.float64)
    at = np.searchsorted(ids, dist.token_ids)
    out[at] = np.exp(dist.logprobs.astype(np.float64))
    missing = np.ones(len(ids), dtype=bool)
    missing[at] = False
    if missing.any():
        out[missing] = max(0.0, 1.0 - float(out.sum())) / int(missing.sum())
    return _normalised(out)


def _check_dists(base: TokenDist, ft: TokenDist) -> None:
    for name, dist in (("base", base), ("ft", ft)):
        bad = int(np.count_nonzero(~np.isfinite(dist.logprobs)))
        if bad:
            raise ProbeError("divergence", f"{name} TokenDist contains {bad} non-finite log-probabilities")
    for name, dist in (("base", base), ("ft", ft)):
        if len(dist.logprobs) >= 2 and float(np.ptp(dist.logprobs)) < _TOLERANCE:
            raise ProbeError("divergence", f"{name} TokenDist is effectively-uniform, which no working model gives")


def _require_finite(*vectors: Probs) -> None:
    if not all(np.isfinite(v).all() for v in vectors):
        raise ProbeError("divergence", "a probability vector has non-finite entries")
