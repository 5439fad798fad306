"""What two views answer to the same questions: completions scored, texts scored, prompts continued.

All questions go to the reference first and then to the tuned view, in batches where the view can batch, so that
weights change once. A question that cannot be answered does not take the others with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import CompletionScore, RollingLogprob, ScoringModel
from sway_dash.probes.base import RunContext
from sway_dash.probes.chat import tokenizer_of
from sway_dash.probes.measure import MAX_FAILED_SHARE

Q = TypeVar("Q")
A = TypeVar("A")
E = TypeVar("E", bound=Exception)
F = TypeVar("F")

NEARLY = 0.9
"""Share of the tokens allowed from which an answer may have been cut off."""

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
    def reasons(self) -> list[str]:
        """The first few reasons, for the evidence."""
        return [reason for _, reason in self.dropped[:5]]

    def required(self, name: str) -> Answers[A]:
        """These answers; ``ProbeError`` if more than a tenth of the questions have none, or all."""
        total = len(self.kept) + len(self.dropped)
        if self.dropped and (not self.kept or len(self.dropped) > MAX_FAILED_SHARE * total):
            raise ProbeError(name, f"{self.dropped[0][1]} ({len(self.dropped)} of {total} items failed)")
        return self


def ask_both(ctx: RunContext, questions: Sequence[Q], ask: Asking[Q, A]) -> Answers[A]:
    """Put the questions to the reference view, then to the tuned one."""
    backend = ctx.require_backend
    with backend.as_base() as view:
        base = _fenced(ctx, view, questions, ask)
    with backend.as_finetuned() as view:
        tuned = _fenced(ctx, view, questions, ask)
    kept, dropped = [], []
    for place, pair in enumerate(zip(base, tuned, strict=True)):
        error = next((a for a in pair if isinstance(a, ProbeError)), None)
        if error is None:
            kept.append(place)
        else:
            dropped.append((place, str(error)))
    return Answers(
        tuple(kept),
        tuple(a for i in kept if not isinstance(a := base[i], ProbeError)),
        tuple(a for i in kept if not isinstance(a := tuned[i], ProbeError)),
        tuple(dropped),
    )


def _fenced(ctx: RunContext, view: ScoringModel, questions: Sequence[Q], ask: Asking[Q, A]) -> list[A | ProbeError]:
    """Answers of one view, and the error in the place of each that has none."""

    def checked(view: ScoringModel, asked: Sequence[Q]) -> list[A]:
        ctx.checkpoint()
        return ask(view, asked)

    return by_halves(checked, view, questions, (ProbeError,), lambda error: error)


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
