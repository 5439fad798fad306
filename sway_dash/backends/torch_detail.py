"""Prompts token by token on torch models: what two views expected in the place of every token of a text.

The text is the prompt and the view's own greedy continuation. After both continuations are known, one forward pass of
each view over the whole text gives every position; divergences, probabilities and log-probabilities are taken over the
full vocabulary where the logits live, and only what is shown crosses to the host.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sway_dash.backends.batching import halving, plan_batches
from sway_dash.backends.torch_compare import TorchDifferential
from sway_dash.backends.torch_divergence import (
    IMPOSSIBLE,
    RowDivergences,
    RowTokens,
    alike,
    row_divergences,
    row_tokens,
)
from sway_dash.core.detail import Choice, Part, Prediction, PromptDetail, TokenDetail
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import BASE, FINETUNED, View

Answer = PromptDetail | ProbeError


@dataclass(frozen=True, slots=True)
class _Look:
    """What is asked of every prompt."""

    reference: View
    view: View
    top: int
    new_tokens: int


@dataclass(frozen=True, slots=True)
class _Item:
    """A prompt; ``dropped`` tokens did not fit before ``ids``."""

    prompt: str
    ids: list[int]
    dropped: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """How two views predict n positions; the token asked for in ``tokens`` is the one that really stands there."""

    divergences: RowDivergences
    tokens: RowTokens

    @staticmethod
    def join(parts: Sequence[_Rows]) -> _Rows:
        """Put the rows of all parts behind each other."""
        return _Rows(RowDivergences.join([p.divergences for p in parts]), RowTokens.join([p.tokens for p in parts]))


class TorchInspectable(TorchDifferential):
    """Implements :class:`~sway_dash.core.detail.Inspectable` for backends whose views are torch models."""

    def details(
        self,
        prompts: Sequence[str],
        *,
        view: View = FINETUNED,
        reference: View = BASE,
        top: int = 10,
        new_tokens: int = 32,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, Answer]]:
        """Show prompts token by token; see :class:`~sway_dash.core.detail.Inspectable`.

        A prompt that does not fit into the context together with ``new_tokens`` loses its beginning (as for
        ``compare(positions='continuation')``). A text of too many positions is run again and again, each time up to
        the next stretch of them. Continuations are remembered, what is shown is not: it is large.
        """
        if top < 1 or new_tokens < 1:
            raise ProbeError("details", f"top and new_tokens must be at least 1, got {top} and {new_tokens}")
        look = _Look(reference, view, top, new_tokens)
        where: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            where.setdefault(prompt, []).append(i)
        with self.prepared((reference, view)):
            for prompt, answer in self._answers(look, list(where), checkpoint):
                for index in where[prompt]:
                    yield index, answer

    def _answers(
        self, look: _Look, prompts: Sequence[str], checkpoint: Callable[[], None]
    ) -> Iterator[tuple[str, Answer]]:
        tokens, todo = self.lm.tokens, []
        for prompt in prompts:
            try:
                todo.append(_Item(prompt, *tokens.encode_prompt(prompt, room=self._room(look))))
            except ProbeError as error:
                yield prompt, error
        lengths = [len(item.ids) + look.new_tokens for item in todo]
        batches = plan_batches(
            lengths,
            [2 * n for n in lengths],  # rows of both views are held at a time
            max_tokens=self.lm.token_budget,
            max_rows=self.lm.max_rows,
            overhead=self.lm.overhead,
        )
        for batch in batches:
            checkpoint()
            for item, answer in self._look_at(look, [todo[i] for i in batch]):
                yield item.prompt, answer

    def _room(self, look: _Look) -> int:
        return min(look.new_tokens, self.lm.tokens.max_context // 2)

    def _count(self, look: _Look, prompts: Sequence[str], wall_s: float) -> None:
        views = {look.reference, look.view}
        share = wall_s / len(views) / len(prompts)
        for view in sorted(views, key=lambda v: v.id):
            for prompt in prompts:
                self._record(view, prompt, hit=False, wall_s=share, batch=len(prompts))
            self.instrumentation.record_batch(len(prompts))

    def _look_at(self, look: _Look, batch: Sequence[_Item]) -> list[tuple[_Item, Answer]]:
        """One batch; in halves when memory runs out; a prompt that does not fit alone is an error of its own."""

        def run(part: Sequence[_Item]) -> list[tuple[_Item, Answer]]:
            since = time.perf_counter()
            out = self._batch(look, part)
            self._count(look, [item.prompt for item in part], time.perf_counter() - since)
            return out

        try:
            return halving(batch, run, release=self._release)
        except ProbeError as error:
            if len(batch) == 1:
                return [(batch[0], error)]
        return [answer for item in batch for answer in self._look_at(look, [item])]

    def _batch(self, look: _Look, batch: Sequence[_Item]) -> list[tuple[_Item, Answer]]:
        prompted = [(item.prompt, item.ids) for item in batch]
        with self.activate(look.reference) as lm:
            base_says = self._say(lm, look.reference, prompted, look.new_tokens)
        with self.activate(look.view) as lm:
            says = self._say(lm, look.view, prompted, look.new_tokens)
        texts = [[*item.ids, *new] for item, new in zip(batch, says, strict=True)]
        limit = max(1, self.lm.max_rows // 2)
        if len(batch) == 1 and len(texts[0]) - 1 > limit:
            ends = [*range(limit, len(texts[0]) - 1, limit), len(texts[0]) - 1]
            parts = [self._rows_of(look, [texts[0][: end + 1]], [range(k * limit, end)]) for k, end in enumerate(ends)]
            found = [_Rows.join([part[0] for part in parts])]
        else:
            found = self._rows_of(look, texts, [range(len(t) - 1) for t in texts])
        return [
            (item, self._detail(look, item, text, rows, other))
            for item, text, rows, other in zip(batch, texts, found, base_says, strict=True)
        ]

    def _rows_of(self, look: _Look, texts: Sequence[list[int]], at: Sequence[range]) -> list[_Rows]:
        """How both views predict the token after each of the positions ``at``, text by text."""
        sequences, picks = [t[:-1] for t in texts], [list(positions) for positions in at]
        with self.activate(look.view) as lm:
            tuned = lm.rows(sequences, picks)
        if look.view == look.reference:
            base = tuned
        else:
            with self.activate(look.reference) as lm:
                base = lm.rows(sequences, picks)
        base, tuned = alike(base, tuned, len(self.lm.tokens.tokenizer))
        actual = [text[p + 1] for text, positions in zip(texts, picks, strict=True) for p in positions]
        found, start = [], 0
        for positions in picks:
            rows = slice(start, start + len(positions))
            found.append(
                _Rows(
                    row_divergences(base[rows], tuned[rows]),
                    row_tokens(base[rows], tuned[rows], actual[rows], k=look.top),
                )
            )
            start += len(positions)
        return found

    def _detail(self, look: _Look, item: _Item, text: list[int], rows: _Rows, base_says: list[int]) -> Answer:
        if rows.divergences.bad:
            return ProbeError("details", next(iter(rows.divergences.bad.values())))
        tokens, length = self.lm.tokens, len(item.ids)
        pieces = tokens.pieces(text)
        shown = []
        for i, (piece, token) in enumerate(zip(pieces, text, strict=True)):
            part: Part = "prompt" if i < length else "continuation"
            predicted = self._prediction(rows, i - 1) if i else {}
            shown.append(TokenDetail(piece, token, part, tokens.is_special(token), **predicted))
        return PromptDetail(
            prompt=item.prompt,
            reference=look.reference.id,
            view=look.view.id,
            tokens=tuple(shown),
            base_says=tuple(tokens.pieces([*item.ids, *base_says])[length:]),
            tuned_says=tuple(pieces[length:]),
            truncated_tokens=item.dropped,
        )

    def _prediction(self, rows: _Rows, at: int) -> dict[str, Any]:
        """Fields of the token that row ``at`` predicts."""
        d, t = rows.divergences, rows.tokens
        base, tuned = (np.exp(side[at]).tolist() for side in (t.base, t.tuned))
        # A token likely under both stands twice.
        likely = {i: (p, q) for i, p, q in zip(t.ids[at].tolist()[1:], base[1:], tuned[1:], strict=True) if p or q}
        order = sorted(likely, key=lambda i: (-max(likely[i]), i))
        choices = tuple(Choice(self.lm.tokens.token_text(i), i, *likely[i]) for i in order)
        return {
            "prediction": Prediction(float(d.js[at]), float(d.kl[at]), float(d.kl_reverse[at]), choices),
            "base_logprob": _finite(t.base[at, 0]),
            "tuned_logprob": _finite(t.tuned[at, 0]),
        }


def _finite(logprob: float) -> float | None:
    """A masked token is written down as all but impossible; one outside the compared vocabulary has no number."""
    if np.isnan(logprob):
        return None
    return IMPOSSIBLE if np.isneginf(logprob) else float(logprob)
