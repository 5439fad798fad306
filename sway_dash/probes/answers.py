"""What two views answer to the same questions: completions scored, texts scored, prompts continued.

Questions go in portions, each to the reference and then to the tuned view, in batches where the view can batch. More
than one portion of them is asked in an order that the seed decides, so that what is answered at any moment is a fair
sample of the whole. A question that cannot be answered does not take the others with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Generic, TypeVar

from sway_dash.core.errors import ProbeError, RunCancelled
from sway_dash.core.scoring import CompletionScore, RollingLogprob, ScoringModel
from sway_dash.probes.base import RunContext
from sway_dash.probes.chat import tokenizer_of
from sway_dash.probes.measure import MAX_FAILED_SHARE, measuring_order

Q = TypeVar("Q")
A = TypeVar("A")
E = TypeVar("E", bound=Exception)
F = TypeVar("F")

NEARLY = 0.9
"""Share of the tokens allowed from which an answer may have been cut off."""

SCORED = 64
"""Questions a portion: enough to fill batches of like length, few enough to stop soon."""

CONTINUED = 16
"""Prompts a portion where answers are written, which takes many times as long."""

NOT_FINITE = "a log-probability that is not finite under one of the views"

Asking = Callable[[ScoringModel, Sequence[Q]], list[A]]


@dataclass(frozen=True)
class Answers(Generic[A]):
    """Answers of both views to the questions that both could answer; ``kept`` are their places among the questions."""

    kept: tuple[int, ...]
    base: tuple[A, ...]
    tuned: tuple[A, ...]
    dropped: tuple[tuple[int, str], ...] = ()
    """Place and reason of every question that has no answer."""

    @property
    def asked(self) -> int:
        """How many questions were put to both views: fewer than there were where a run was stopped."""
        return len(self.kept) + len(self.dropped)

    @property
    def reasons(self) -> list[str]:
        """The first few reasons, for the evidence."""
        return [reason for _, reason in self.dropped[:5]]

    def keeping(self, sound: Callable[[A], bool]) -> Answers[A]:
        """These answers without the questions of which an answer is not ``sound``: they have none that can be used."""
        whole = [sound(b) and sound(t) for b, t in zip(self.base, self.tuned, strict=True)]
        broken = [(place, NOT_FINITE) for place, ok in zip(self.kept, whole, strict=True) if not ok]
        return Answers(
            tuple(compress(self.kept, whole)),
            tuple(compress(self.base, whole)),
            tuple(compress(self.tuned, whole)),
            tuple(sorted([*self.dropped, *broken])),
        )

    def required(self, name: str) -> Answers[A]:
        """These answers; ``ProbeError`` if more than a tenth of the questions have none, or all."""
        if self.dropped and (not self.kept or len(self.dropped) > MAX_FAILED_SHARE * self.asked):
            raise ProbeError(name, f"{self.dropped[0][1]} ({len(self.dropped)} of {self.asked} items failed)")
        return self


def ask_both(ctx: RunContext, questions: Sequence[Q], ask: Asking[Q, A], *, portion: int = SCORED) -> Answers[A]:
    """Put the questions to the reference view and to the tuned one, ``portion`` at a time.

    Where the context keeps a part, a run that is stopped has the answers to the portions that both views have answered;
    ``ctx.tally.short`` says so then, and whatever is asked after that has no answers. Of a probe that asks twice the
    first step stands whole when the second is stopped, and its items are those that count. Elsewhere one view answers
    all of its portions before the weights change, and ``RunCancelled`` goes on.
    """
    backend = ctx.require_backend
    order: Sequence[int] = range(len(questions))
    if len(questions) > portion:
        order = measuring_order(len(questions), ctx.seed)
    portions = [sorted(order[at : at + portion]) for at in range(0, len(order), portion)]
    found: dict[int, tuple[A | ProbeError, A | ProbeError]] = {}
    try:
        ctx.checkpoint()
        ctx.tally.expect(2 * len(questions))
        for block in [[p] for p in portions] if ctx.keeps_part else [portions] if portions else []:
            with backend.as_base() as view:
                base = _fenced(ctx, view, questions, block, ask)
            with backend.as_finetuned() as view:
                tuned = _fenced(ctx, view, questions, block, ask)
            found |= {place: (base[place], tuned[place]) for place in base}
        if ctx.keeps_part and found:
            ctx.tally.whole = ctx.tally.whole or (len(found), len(questions))
    except RunCancelled:
        if not ctx.keeps_part or not (found or ctx.tally.short or ctx.tally.whole):
            raise
        ctx.tally.short = ctx.tally.short or ctx.tally.whole or (len(found), len(questions))
    kept, dropped = [], []
    for place in sorted(found):
        error = next((a for a in found[place] if isinstance(a, ProbeError)), None)
        if error is None:
            kept.append(place)
        else:
            dropped.append((place, str(error)))
    return Answers(
        tuple(kept),
        tuple(a for i in kept if not isinstance(a := found[i][0], ProbeError)),
        tuple(a for i in kept if not isinstance(a := found[i][1], ProbeError)),
        tuple(dropped),
    )


def _fenced(
    ctx: RunContext, view: ScoringModel, questions: Sequence[Q], portions: Sequence[Sequence[int]], ask: Asking[Q, A]
) -> dict[int, A | ProbeError]:
    """Answers of one view by place, and the error in the place of each that has none."""
    found: dict[int, A | ProbeError] = {}

    def checked(view: ScoringModel, asked: Sequence[Q]) -> list[A]:
        ctx.checkpoint()
        return ask(view, asked)

    for places in portions:
        told = by_halves(checked, view, [questions[i] for i in places], (ProbeError,), lambda error: error)
        found.update(zip(places, told, strict=True))
        ctx.tally.took(len(places))
    return found


def by_halves(
    ask: Asking[Q, A],
    view: ScoringModel,
    questions: Sequence[Q],
    errors: tuple[type[E], ...],
    failed: Callable[[E], F],
) -> list[A | F]:
    """Ask all at once; where that raises, each half by itself, so that only what fails is lost.

    One bad question of n costs about 2·log2(n) calls more. ``failed`` makes its answer of its error.
    """
    if not questions:
        return []
    try:
        return [*ask(view, questions)]
    except errors as error:
        if len(questions) == 1:
            return [failed(error)]
    half = len(questions) // 2
    parts = questions[:half], questions[half:]
    return [answer for part in parts for answer in by_halves(ask, view, part, errors, failed)]


def reached_limit(backend: object, answer: str, max_new_tokens: int) -> bool:
    """Whether an answer has as many tokens as it may, or nearly: its text may take fewer than were generated.

    A backend without a tokenizer is taken to have one token in four characters.
    """
    encode = getattr(tokenizer_of(backend), "encode", None)
    n = len(answer) // 4 if encode is None else len(encode(answer, add_special_tokens=False))
    return n >= NEARLY * max_new_tokens


def score_completions(view: ScoringModel, pairs: Sequence[tuple[str, str]]) -> list[CompletionScore]:
    """Log-probability of each completion given its prompt, with its number of tokens.

    A view that cannot count tokens is taken to have one in four characters.
    """
    batch = getattr(view, "completion_scores", None)
    if batch is not None:
        return list(batch(list(pairs)))
    return [CompletionScore(view.logprob_of(p, c), max(1, len(c) // 4)) for p, c in pairs]


def finite(score: CompletionScore) -> bool:
    """Whether a completion has a log-probability that can be reckoned with."""
    return math.isfinite(score.logprob)


def score_texts(view: ScoringModel, texts: Sequence[str]) -> list[RollingLogprob]:
    """Log-probability of every token of each text after its first."""
    batch = getattr(view, "rolling_logprob_batch", None)
    return list(batch(list(texts))) if batch is not None else [view.rolling_logprob(t) for t in texts]


def continuations(max_new_tokens: int, seed: int = 0) -> Asking[str, str]:
    """A question for :func:`ask_both`: the greedy continuation of each prompt."""

    def ask(view: ScoringModel, prompts: Sequence[str]) -> list[str]:
        batch = getattr(view, "generate_batch", None)
        if batch is not None:
            return list(batch(list(prompts), max_new_tokens=max_new_tokens))
        return [view.generate(p, max_new_tokens=max_new_tokens, temperature=0.0, seed=seed) for p in prompts]

    return ask
