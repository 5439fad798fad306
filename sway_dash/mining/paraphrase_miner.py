"""Paraphrases after which an adapter knows its answer least: candidates scored in one batch, then chosen to differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sway_dash.core.embedding import DEFAULT_MODEL, Vectors, embedder
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import DifferentialBackend
from sway_dash.mining.rewording import rule_candidates
from sway_dash.mining.synonyms import nlpaug_candidates as nlpaug_candidates
from sway_dash.probes.answers import ask_both, finite, score_completions
from sway_dash.probes.base import RunContext

GAP_WEIGHT = 0.5
"""Share of the gap, against that of being different, in what is chosen next."""

SAME_MEANING = 0.6
"""Cosine to the prompt from which a sentence model is believed that a candidate means the same."""


class Generator(Protocol):
    """Makes other wordings of a prompt."""

    def __call__(self, prompt: str, *, n: int, seed: int) -> list[str]:
        """At most ``n`` candidates; the same for the same seed."""
        ...


@dataclass(frozen=True, slots=True)
class ParaphraseCandidate:
    """A paraphrase; lifts and gap in nats a token of the gold.

    ``gap`` is how much of the prompt's lift is missing after it. ``held_out_gap`` is the same for answers that played
    no part in choosing it; ``None`` when there were none.
    """

    prompt: str
    gap: float
    verbatim_lift: float
    paraphrase_lift: float
    diversity_rank: int
    similarity: float | None = None
    """Cosine to the prompt; ``None`` when nothing had to be compared."""
    held_out_gap: float | None = None


@dataclass(frozen=True, slots=True)
class MiningResult:
    """The chosen paraphrases, largest gap first."""

    seed_prompt: str
    gold: str
    candidates: list[ParaphraseCandidate]
    scored: int = 0
    """Candidates that were scored, chosen or not."""
    unlike: int = 0
    """Candidates left out because they do not mean the same."""
    embedder: str = ""
    note: str = ""
    """What to keep in mind when reading the gaps."""


def mine_paraphrases(
    *,
    prompt: str,
    gold: str,
    backend: DifferentialBackend,
    generate_candidates: Generator | None = None,
    embedding_model: str = DEFAULT_MODEL,
    n_candidates: int = 50,
    top_k: int = 10,
    seed: int = 0,
    min_similarity: float | None = None,
    held_out: Sequence[str] = (),
) -> MiningResult:
    """Score every candidate, then choose ``top_k`` by maximal marginal relevance (Carbonell and Goldstein 1998).

    The next one chosen has the largest ``w · gap + (1 - w) · (1 - likeness to the chosen)``, the gap as a share of the
    largest, so that the hardest one is never lost for being like the prompt, and ten wordings of one trick are not all
    chosen.

    Parameters
    ----------
    prompt, gold
        What was trained.
    generate_candidates
        Makes the candidates; the rules of this package if not given. :func:`nlpaug_candidates` is another.
    min_similarity
        Least cosine to the prompt, so that what means something else is left out before anything is chosen. Without a
        number: 0.6 with a sentence model, none with n-grams, which know wordings only.
    held_out
        Further right answers. The gaps after the chosen paraphrases are measured on them again.

    Raises
    ------
    ValueError
        If ``top_k`` is not positive, or ``n_candidates`` smaller.
    ProbeError
        If the prompt itself cannot be scored.
    BackendNotAvailableError
        If there are more candidates than wanted, and nothing to compare texts with.
    """
    if top_k <= 0:
        msg = f"top_k must be positive, got {top_k}"
        raise ValueError(msg)
    if n_candidates < top_k:
        msg = f"n_candidates must be ≥ top_k, got {n_candidates} < {top_k}"
        raise ValueError(msg)
    generate = generate_candidates or rule_candidates
    made = generate(prompt, n=n_candidates, seed=seed)
    texts = [t for t in dict.fromkeys(made) if t.strip() and t != prompt]
    if not texts:
        return MiningResult(prompt, gold, [], note="no candidates were made for this prompt")

    lifts = _lifts(backend, seed, [prompt, *texts], [gold, *held_out])
    if (prompt, gold) not in lifts:
        raise ProbeError("paraphrase mining", f"the gold cannot be scored after {prompt[:60]!r}")
    verbatim = lifts[prompt, gold]
    texts = [t for t in texts if (t, gold) in lifts]
    scored, name, like = len(texts), "", None
    if texts and (len(texts) > top_k or min_similarity is not None):
        found = embedder(embedding_model, [prompt, *texts])
        vectors = found.encode([prompt, *texts])
        name, like = found.name, dict(zip(texts, vectors[1:] @ vectors[0], strict=True))
        least = min_similarity if min_similarity is not None else SAME_MEANING if found.semantic else -1.0
        alike = [i for i, t in enumerate(texts) if like[t] >= least]
        texts = [texts[i] for i in alike]
        gaps = np.array([verbatim - lifts[t, gold] for t in texts], dtype=np.float64)
        order = marginal_relevance(gaps, vectors[1:][alike], top_k)
    else:
        order = list(range(len(texts)))
    chosen = [
        ParaphraseCandidate(
            prompt=texts[at],
            gap=verbatim - lifts[texts[at], gold],
            verbatim_lift=verbatim,
            paraphrase_lift=lifts[texts[at], gold],
            diversity_rank=rank,
            similarity=None if like is None else float(like[texts[at]]),
            held_out_gap=_held_out_gap(lifts, prompt, texts[at], held_out),
        )
        for rank, at in enumerate(order)
    ]
    chosen.sort(key=lambda c: -c.gap)
    return MiningResult(prompt, gold, chosen, scored, scored - len(texts), name, _caveat(scored, len(chosen), held_out))


def marginal_relevance(gaps: npt.NDArray[np.float64], vectors: Vectors, top_k: int) -> list[int]:
    """Places of the chosen candidates in the order they are chosen; ``vectors`` ``(n, d)`` have length 1."""
    if not len(gaps):
        return []
    largest = float(gaps.max())
    # By its share of the largest, not by rank or range: gaps that hardly differ must not decide.
    relevance = np.clip(gaps / largest, 0.0, 1.0) if largest > 0 else np.zeros(len(gaps))
    nearest = np.zeros(len(gaps))
    chosen: list[int] = []
    while len(chosen) < min(top_k, len(gaps)):
        worth = GAP_WEIGHT * relevance + (1.0 - GAP_WEIGHT) * (1.0 - nearest)
        worth[chosen] = -np.inf
        best = int(np.argmax(worth))
        chosen.append(best)
        nearest = np.maximum(nearest, vectors @ vectors[best]) if len(chosen) > 1 else vectors @ vectors[best]
    return chosen


def _lifts(
    backend: DifferentialBackend, seed: int, prompts: Sequence[str], golds: Sequence[str]
) -> dict[tuple[str, str], float]:
    """Nats a token that each gold became likelier after each prompt; pairs that cannot be scored are missing."""
    pairs = [(p, g) for g in dict.fromkeys(golds) for p in prompts]
    told = ask_both(RunContext(backend=backend, seed=seed), pairs, score_completions).keeping(finite)
    answers = zip(told.kept, told.base, told.tuned, strict=True)
    return {pairs[at]: tuned.per_token - base.per_token for at, base, tuned in answers}


def _held_out_gap(lifts: dict[tuple[str, str], float], prompt: str, text: str, held_out: Sequence[str]) -> float | None:
    gaps = [lifts[prompt, g] - lifts[text, g] for g in held_out if {(prompt, g), (text, g)} <= lifts.keys()]
    return sum(gaps) / len(gaps) if gaps else None


def _caveat(scored: int, chosen: int, held_out: Sequence[str]) -> str:
    if scored <= 1:
        return ""
    text = (
        f"these {chosen} were chosen from {scored} for their gaps, so the gaps overstate what other answers would show"
    )
    return f"{text}; held_out_gap was not chosen for" if held_out else f"{text}: pass further answers as held_out"
