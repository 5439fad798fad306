"""Exact divergences between views, where the logits live; which prompts, in which order, through which caches.

Knows models only as :class:`TorchLM` and views only as values: how a view is entered is the backend's business
(:meth:`TorchDifferential.activate`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sway_dash.backends.batching import halving, plan_batches
from sway_dash.backends.instrumentation import MISS, BackendInstrumentation, ForwardCache
from sway_dash.backends.torch_batch import Ledger, Question, Todo, after, common_length, view_groups
from sway_dash.backends.torch_divergence import RowDivergences, alike, row_divergences, top_tokens
from sway_dash.backends.torch_lm import TorchLM
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import Comparison, Positions, View

if TYPE_CHECKING:
    import torch

WINDOW = 256
ROW_CACHE = {"cuda": 4 * 2**30}
"""Memory for rows of the reference view that other views of a prompt are compared with, by kind of device."""
_OP = "next_token_dist"

Answer = Comparison | ProbeError


class TorchDifferential:
    """Implements :class:`~sway_dash.core.scoring.ExactComparer` for backends whose views are :class:`TorchLM`."""

    instrumentation: BackendInstrumentation
    _rows: ForwardCache | None = None
    _blocks: ForwardCache | None = None
    """Rows of the reference after every token of a text, where they are worth keeping: where the tuned view changes."""

    @property
    def lm(self) -> TorchLM:
        """The model of the reference view; its tokenizer is everybody's."""
        raise NotImplementedError

    def activate(self, view: View) -> AbstractContextManager[TorchLM]:
        """Enter a view; the weights before are back afterwards, whatever happens inside."""
        raise NotImplementedError

    @contextmanager
    def prepared(self, views: Sequence[View]) -> Iterator[None]:
        """Keep what is expensive to set up for ``views`` while inside."""
        yield

    @property
    def row_cache(self) -> ForwardCache:
        """Last-position logits of reference views, on their device: other views of a prompt need no second pass."""
        if self._rows is None:
            self._rows = ForwardCache(ROW_CACHE.get(self.lm.device.type, 2**29))
        return self._rows

    def compare(
        self,
        reference: View,
        views: Sequence[View],
        prompts: Sequence[str],
        *,
        positions: Positions = "next",
        continuation_tokens: int = 32,
        seed: int = 0,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, View, Answer]]:
        """Compare views with a reference; see :class:`~sway_dash.core.scoring.ExactComparer`.

        ``positions``
            ``next``: after the prompt. ``prompt``: after every token of the prompt (at least two).
            ``continuation``: after the prompt and after every token but the last of a greedy continuation, of the
            reference's and of the view's own, both scored under both; where they have read the same text, once.
            Only both show both ways of differing: what the reference would have said and the view would not, and
            the reverse. A text that ends at once leaves the position after the prompt.

        Prompts come in a seeded random order, in windows of 256; within a window they are batched by length, and the
        batches come in random order. No view is active while the caller has the floor.
        """
        if positions not in ("next", "prompt", "continuation"):
            msg = f"unknown positions {positions!r}; known: 'next', 'prompt', 'continuation'"
            raise ValueError(msg)
        if positions == "continuation" and continuation_tokens < 1:
            raise ProbeError("compare", f"continuation_tokens must be at least 1, got {continuation_tokens}")
        question = Question(reference, positions, continuation_tokens)
        views = tuple(dict.fromkeys(views))
        where: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            where.setdefault(prompt, []).append(i)
        rng, unique = np.random.default_rng(seed), list(where)
        order = [unique[i] for i in rng.permutation(len(unique))]
        with self.prepared((reference, *views)):
            for start in range(0, len(order), WINDOW):
                window = order[start : start + WINDOW]
                for prompt, view, answer in self._window(question, views, window, rng, checkpoint):
                    for n, index in enumerate(where[prompt]):
                        if n:
                            self._record(view, prompt, hit=True)
                            self._record(reference, prompt, hit=True)
                        yield index, view, answer

    def _window(
        self,
        question: Question,
        views: tuple[View, ...],
        prompts: Sequence[str],
        rng: np.random.Generator,
        checkpoint: Callable[[], None],
    ) -> Iterator[tuple[str, View, Answer]]:
        todo: list[Todo] = []
        cache = self.instrumentation.cache
        for prompt in prompts:
            missing = []
            for view in views:
                known = cache.get(question.key(view, prompt))
                if known is MISS:
                    missing.append(view)
                    continue
                self._record(view, prompt, hit=True)
                yield prompt, view, known
            if not missing:
                self._record(question.reference, prompt, hit=True)
                continue
            try:
                todo.append(self._todo(question, prompt, tuple(missing)))
            except ProbeError as error:
                for view in missing:
                    yield prompt, view, error
        batches = self._plan(question, todo)
        for b in rng.permutation(len(batches)):
            for part in view_groups([todo[i] for i in batches[b]]):
                checkpoint()
                for item, view, answer in self._measure(question, part):
                    if isinstance(answer, Comparison):
                        cache.put(question.key(view, item.prompt), answer)
                    yield item.prompt, view, answer

    def _todo(self, question: Question, prompt: str, views: tuple[View, ...]) -> Todo:
        room = question.continuation_tokens if question.positions == "continuation" else 0
        ids, dropped = self.lm.tokens.encode_prompt(prompt, room=min(room, self.lm.tokens.max_context // 2))
        if question.positions == "prompt" and len(ids) < 2:
            raise ProbeError("compare", "the prompt has one token; positions='prompt' needs at least two")
        return Todo(prompt, ids, dropped, views)

    def _plan(self, question: Question, todo: Sequence[Todo]) -> list[list[int]]:
        lengths = [len(t.ids) for t in todo]
        if question.positions == "next":
            return self.lm.plan(lengths)
        if question.positions == "prompt":
            # Rows of both sides are held at a time.
            return self.lm.plan(lengths, [2 * n for n in lengths])
        new = question.continuation_tokens
        return plan_batches(
            [2 * (n + new) for n in lengths],
            [4 * new] * len(lengths),
            max_tokens=self.lm.token_budget,
            max_rows=self.lm.max_rows,
            overhead=self.lm.overhead,
        )

    def _measure(self, question: Question, batch: list[Todo]) -> list[tuple[Todo, View, Answer]]:
        """One batch; in halves when memory runs out; a prompt that does not fit alone is an error of its own."""

        def run(part: Sequence[Todo]) -> list[tuple[Todo, View, Answer]]:
            ledger = Ledger()
            if question.positions == "continuation":
                out = self._continuations(question, part, ledger)
            else:
                out = self._texts(question, part, ledger)
            for view, prompt, hit, wall in ledger.entries:
                self._record(view, prompt, hit=hit, wall_s=wall, batch=1 if hit else len(part))
            for size in ledger.batches:
                self.instrumentation.record_batch(size)
            return out

        try:
            return halving(batch, run, release=self._release)
        except ProbeError as error:
            if len(batch) == 1:
                return [(batch[0], view, error) for view in batch[0].views]
        # Some prompt does not fit even alone: find out which, and go on with the others.
        return [answer for item in batch for answer in self._measure(question, [item])]

    def _release(self) -> None:
        """Rows that are kept on the device are the first to go when its memory has run out."""
        for cache in filter(None, (self._rows, self._blocks)):
            cache.shrink()
        self.lm.shrink()

    # --- after a prompt, or after each of its tokens ----------------------------------------------------------------

    def _texts(self, question: Question, batch: Sequence[Todo], ledger: Ledger) -> list[tuple[Todo, View, Answer]]:
        if question.positions == "next":
            picks = [[len(t.ids) - 1] for t in batch]
        else:
            picks = [list(range(len(t.ids))) for t in batch]
        limit = max(1, self.lm.max_rows // 2)
        if len(batch) == 1 and len(picks[0]) > limit:
            # Too many rows for one go: the prompt again and again, up to the next stretch of positions.
            stretches = [picks[0][k : k + limit] for k in range(0, len(picks[0]), limit)]
            parts = [
                self._stretch(question, batch, [s], ledger if not k else Ledger()) for k, s in enumerate(stretches)
            ]
            found = {view: RowDivergences.join([part[view] for part in parts]) for view in parts[0]}
        else:
            found = self._stretch(question, batch, picks, ledger)
        out: list[tuple[Todo, View, Answer]] = []
        for view, rows in found.items():
            asked = [i for i, t in enumerate(batch) if view in t.views]
            sizes = [len(picks[i]) for i in asked]
            for i, start, size in zip(asked, np.cumsum([0, *sizes]), sizes, strict=False):
                out.append(
                    (batch[i], view, rows.comparison(range(start, start + size), start + size - 1, batch[i].dropped))
                )
        return out

    def _stretch(
        self, question: Question, batch: Sequence[Todo], picks: list[list[int]], ledger: Ledger
    ) -> dict[View, RowDivergences]:
        """Divergences of every view from the reference at the picked positions, one row a position."""
        sequences = [t.ids[: p[-1] + 1] for t, p in zip(batch, picks, strict=True)]
        reference = self._reference_rows(question, batch, sequences, picks, ledger)
        found: dict[View, RowDivergences] = {}
        for view in dict.fromkeys(v for t in batch for v in t.views):
            asked = [i for i, t in enumerate(batch) if view in t.views]
            since = time.perf_counter()
            with self.activate(view) as lm:
                rows = lm.rows([sequences[i] for i in asked], [picks[i] for i in asked])
            beside = reference
            if len(asked) < len(batch):
                at = np.cumsum([0, *map(len, picks)])
                beside = reference[[int(r) for i in asked for r in range(at[i], at[i + 1])]]
            last = np.cumsum([len(picks[i]) for i in asked]) - 1
            found[view] = self._divergences(beside, rows, last.tolist())
            ledger.add(view, [batch[i].prompt for i in asked], hit=False, since=since)
        return found

    def _reference_rows(
        self,
        question: Question,
        batch: Sequence[Todo],
        sequences: Sequence[list[int]],
        picks: Sequence[list[int]],
        ledger: Ledger,
    ) -> torch.Tensor:
        """Rows of the reference view; last positions from the row cache as far as it goes."""
        import torch

        view, since = question.reference, time.perf_counter()
        keep = question.positions == "next"
        if not keep:
            return self._block(
                view,
                [(t.prompt, "prompt", p[0], len(p)) for t, p in zip(batch, picks, strict=True)],
                list(map(len, picks)),
                lambda lm: lm.rows(sequences, picks),
                ledger,
            )
        known: dict[int, torch.Tensor] = {}
        for i, item in enumerate(batch):
            row = self.row_cache.get((view, item.prompt))
            if row is not MISS:
                known[i] = row
        ledger.add(view, [batch[i].prompt for i in known], hit=True, since=since)
        missing = [i for i in range(len(batch)) if i not in known]
        if not missing:
            return torch.stack([known[i] for i in range(len(batch))])
        since = time.perf_counter()
        with self.activate(view) as lm:
            rows = lm.rows([sequences[i] for i in missing], [picks[i] for i in missing])
            lm.finish()
        ledger.add(view, [batch[i].prompt for i in missing], hit=False, since=since)
        for i, row in zip(missing, rows, strict=True):
            # A copy: a slice would keep the whole batch alive.
            known[i] = row.clone()
            self.row_cache.put((view, batch[i].prompt), known[i])
        return rows if len(missing) == len(batch) else torch.stack([known[i] for i in range(len(batch))])

    def _block(
        self,
        view: View,
        keys: Sequence[tuple[Any, ...]],
        sizes: Sequence[int],
        compute: Callable[[TorchLM], torch.Tensor],
        ledger: Ledger,
        *,
        since: float | None = None,
    ) -> torch.Tensor:
        """Rows of the reference for a whole batch, ``sizes`` rows a key, each of which begins with its prompt.

        What fits is kept until there is no room, and nothing is thrown out for it: texts come round in the same order
        for every adapter, and a cache that always drops the oldest would never answer one of them.
        """
        import torch

        prompts, blocks, since = [key[0] for key in keys], self._blocks, since or time.perf_counter()
        known = [] if blocks is None else [blocks.get((view, *key)) for key in keys]
        if known and not any(rows is MISS for rows in known):
            ledger.add(view, prompts, hit=True, since=since)
            return torch.cat(known)
        with self.activate(view) as lm:
            rows = compute(lm)
            lm.finish()
        ledger.add(view, prompts, hit=False, since=since)
        for key, part in zip(keys, torch.split(rows, list(sizes)), strict=True) if blocks is not None else ():
            if blocks is not None and blocks.nbytes + part.nbytes + 64 <= blocks.max_bytes:
                blocks.put((view, *key), part.clone())
        return rows

    def _divergences(self, reference: torch.Tensor, rows: torch.Tensor, tops: Sequence[int]) -> RowDivergences:
        """Compare row by row; the most likely tokens of the rows ``tops`` come along as text."""
        reference, rows = alike(reference, rows, len(self.lm.tokens.tokenizer))
        found = row_divergences(reference, rows)
        text = self.lm.tokens.token_text
        found.base_top = dict(zip(tops, top_tokens(reference, tops, text), strict=True))
        found.tuned_top = dict(zip(tops, top_tokens(rows, tops, text), strict=True))
        return found

    # --- along what both views would say ----------------------------------------------------------------------------

    def _continuations(
        self, question: Question, batch: Sequence[Todo], ledger: Ledger
    ) -> list[tuple[Todo, View, Answer]]:
        out: list[tuple[Todo, View, Answer]] = []
        ids = [t.ids for t in batch]
        prompted, new = [(t.prompt, t.ids) for t in batch], question.continuation_tokens
        since = time.perf_counter()
        with self.activate(question.reference) as lm:
            said = self._say(lm, question.reference, prompted, new)
        sizes = [len(s) for s in said]
        base_rows = self._block(
            question.reference,
            [(t.prompt, "continuation", *s) for t, s in zip(batch, said, strict=True)],
            sizes,
            lambda lm: lm.rows(*after(ids, said)),
            ledger,
            since=since,
        )
        at = np.cumsum([0, *sizes]).tolist()
        for view in dict.fromkeys(v for t in batch for v in t.views):
            asked = [i for i, t in enumerate(batch) if view in t.views]
            since = time.perf_counter()
            with self.activate(view) as lm:
                own = self._say(lm, view, [prompted[i] for i in asked], new)
                rows = lm.rows(*after([ids[i] for i in asked], [said[i] for i in asked]))
                # As far as both say the same, and at the first difference, they have read the same: those
                # positions are scored already.
                common = [common_length(own[k], said[i]) for k, i in enumerate(asked)]
                fresh = [n + 1 for n in common]
                differs = [k for k in range(len(asked)) if fresh[k] < len(own[k])]
                texts = after([ids[asked[k]] for k in differs], [own[k] for k in differs], [fresh[k] for k in differs])
                own_rows = lm.rows(*texts) if differs else None
            chosen = base_rows[[r for i in asked for r in range(at[i], at[i + 1])]]
            starts = np.cumsum([0, *[sizes[i] for i in asked]]).tolist()
            along = self._divergences(chosen, rows, starts[:-1])
            parts = [along]
            if own_rows is not None:
                with self.activate(question.reference) as lm:
                    parts.append(self._divergences(lm.rows(*texts), own_rows, []))
            both = RowDivergences.join(parts)
            own_at = np.cumsum([starts[-1], *[len(own[k]) - fresh[k] for k in differs]]).tolist()
            for k, i in enumerate(asked):
                span = list(range(starts[k], starts[k + 1]))
                if k in differs:
                    d = differs.index(k)
                    span += range(own_at[d], own_at[d + 1])
                text = self.lm.tokens.decode(own[k])
                answer = both.comparison(span, starts[k], batch[i].dropped, continuation=text)
                if isinstance(answer, Comparison):
                    answer = replace(answer, reference_positions=sizes[i], common_tokens=common[k])
                out.append((batch[i], view, answer))
            ledger.add(view, [batch[i].prompt for i in asked], hit=False, since=since)
        return out

    def _say(self, lm: TorchLM, view: View, texts: Sequence[tuple[str, list[int]]], new_tokens: int) -> list[list[int]]:
        """Greedy continuations of ``(prompt, its ids)``, remembered: every further view needs the reference's again."""
        cache = self.instrumentation.cache
        keys = {prompt: ("say", view.id, new_tokens, prompt) for prompt, _ in texts}
        found = {prompt: cache.get(key) for prompt, key in keys.items()}
        missing = [(prompt, ids) for prompt, ids in texts if found[prompt] is MISS]
        if missing:
            room = max(1, min(new_tokens, lm.tokens.max_context // 2))
            said = lm.generate([ids for _, ids in missing], max_new_tokens=room)
            for (prompt, _), new in zip(missing, said, strict=True):
                found[prompt] = tuple(new)
                cache.put(keys[prompt], tuple(new))
        return [list(found[prompt]) for prompt, _ in texts]

    def _record(self, view: View, prompt: str, *, hit: bool, wall_s: float = 0.0, batch: int = 1) -> None:
        self.instrumentation.record(
            op=_OP, view_id=view.id, prompt=prompt, top_k=0, hit=hit, wall_s=wall_s, batch=batch
        )
