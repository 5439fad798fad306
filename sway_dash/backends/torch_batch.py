"""What is asked of a batch of prompts, under which views, and what was looked up for it. Plain records; no model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from sway_dash.core.scoring import Positions, View

VIEWS_AT_ONCE = 8
"""Views that a batch is measured under between two looks at whether the run is to stop."""


@dataclass(frozen=True, slots=True)
class Todo:
    """A prompt of which some views are still to be measured."""

    prompt: str
    ids: list[int]
    dropped: int
    views: tuple[View, ...]


@dataclass(slots=True)
class Ledger:
    """Look-ups of one batch, recorded only once the batch has succeeded."""

    entries: list[tuple[View, str, bool, float]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def add(self, view: View, prompts: Sequence[str], *, hit: bool, since: float) -> None:
        """Note look-ups that took from ``since`` until now together."""
        share = (time.perf_counter() - since) / max(1, len(prompts))
        self.entries += [(view, prompt, hit, share) for prompt in prompts]
        if not hit and prompts:
            self.batches.append(len(prompts))


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every prompt."""

    reference: View
    positions: Positions
    continuation_tokens: int

    def key(self, view: View, prompt: str) -> tuple[object, ...]:
        """Under which the cache holds the answer for a view of a prompt."""
        length = self.continuation_tokens if self.positions == "continuation" else 0
        return ("compare", self.reference.id, view.id, self.positions, length, prompt)


def view_groups(batch: Sequence[Todo]) -> Iterator[list[Todo]]:
    """The batch again and again, each time with a few of its views: so that a run can be stopped, and is seen to
    move, between a hundred null adapters. The reference comes from the row cache after the first time."""
    views = list(dict.fromkeys(v for item in batch for v in item.views))
    for start in range(0, len(views), VIEWS_AT_ONCE):
        group = set(views[start : start + VIEWS_AT_ONCE])
        part = [replace(item, views=tuple(v for v in item.views if v in group)) for item in batch]
        yield [item for item in part if item.views]


def after(
    prompts: Sequence[list[int]], texts: Sequence[list[int]], first: Sequence[int] | None = None
) -> tuple[list[list[int]], list[list[int]]]:
    """Sequences whose last positions predict the tokens of ``texts`` from the ``first``-th on, and these positions."""
    first = [0] * len(texts) if first is None else first
    sequences = [[*p, *t[:-1]] for p, t in zip(prompts, texts, strict=True)]
    picks = [list(range(len(p) - 1 + k, len(p) - 1 + len(t))) for p, t, k in zip(prompts, texts, first, strict=True)]
    return sequences, picks


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts begin with together."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
