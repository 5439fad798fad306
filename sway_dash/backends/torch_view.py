"""A view as a probe sees it: one fixed set of weights that scores and generates, in batches, through the cache."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sway_dash.backends.batching import halving
from sway_dash.backends.instrumentation import BackendInstrumentation, pair_name
from sway_dash.backends.torch_lm import TorchLM
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import CompletionScore, RollingLogprob, TokenDist

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
_EMPTY_TAIL = 1e-12


class TorchView:
    """Answers of a :class:`TorchLM` under the weights that are active while the view is open.

    Used after its context manager was left it raises ``RuntimeError``: other weights would answer in its name.
    """

    def __init__(self, id: str, lm: TorchLM, inst: BackendInstrumentation) -> None:
        self.id = id
        self._lm = lm
        self._inst = inst
        self._open = True

    def close(self) -> None:
        """End the view; the backend keeps the model."""
        self._open = False

    # --- scoring ----------------------------------------------------------------------------------------------------

    def next_token_dist(self, prompt: str, *, top_k: int = 256) -> TokenDist:
        """The ``top_k`` most likely tokens after ``prompt``."""
        return self.next_token_dist_batch([prompt], top_k=top_k)[0]

    def next_token_dist_batch(self, prompts: Sequence[str], *, top_k: int = 256) -> list[TokenDist]:
        """Like :meth:`next_token_dist` for many prompts, in the same order."""
        if top_k < 1:
            raise ProbeError("next_token_dist", f"top_k must be at least 1, got {top_k}")
        ids: dict[int, list[int]] = {}

        def plan(missing: list[int]) -> list[list[int]]:
            ids.update((i, self._lm.tokens.encode_prompt(prompts[i])[0]) for i in missing)
            return self._lm.plan([len(ids[i]) for i in missing])

        def compute(batch: Sequence[int]) -> list[TokenDist]:
            sequences = [ids[i] for i in batch]
            return _top(self._lm.logits(sequences, [[len(s) - 1] for s in sequences]), top_k)

        return self._cached("next_token_dist", prompts, top_k, plan, compute)

    def logprob_of(self, prompt: str, completion: str) -> float:
        """Summed log-probability (nats) of the completion's tokens; see :meth:`Tokens.encode_pair` for boundaries."""
        return self.completion_scores([(prompt, completion)])[0].logprob

    def logprob_of_batch(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Like :meth:`logprob_of` for many pairs, in the same order."""
        return [score.logprob for score in self.completion_scores(pairs)]

    def completion_scores(self, pairs: Sequence[tuple[str, str]]) -> list[CompletionScore]:
        """Log-probability and token count of each ``(prompt, completion)``, in the same order."""
        encoded: dict[int, tuple[list[int], int]] = {}

        def plan(missing: list[int]) -> list[list[int]]:
            encoded.update((i, self._lm.tokens.encode_pair(*pairs[i])) for i in missing)
            return self._plan_texts([encoded[i] for i in missing])

        def compute(batch: Sequence[int]) -> list[CompletionScore]:
            found = self._lm.token_logprobs([encoded[i] for i in batch])
            return [CompletionScore(_total(f), len(f)) for f in found]

        return self._cached("logprob_of", [pair_name(p, c) for p, c in pairs], 0, plan, compute)

    def rolling_logprob(self, text: str) -> RollingLogprob:
        """Log-probability of every token of ``text`` after its first."""
        return self.rolling_logprob_batch([text])[0]

    def rolling_logprob_batch(self, texts: Sequence[str]) -> list[RollingLogprob]:
        """Like :meth:`rolling_logprob` for many texts, in the same order."""
        encoded: dict[int, tuple[list[int], int]] = {}

        def plan(missing: list[int]) -> list[list[int]]:
            encoded.update((i, (self._lm.tokens.encode(texts[i]), 1)) for i in missing)
            return self._plan_texts([encoded[i] for i in missing])

        def compute(batch: Sequence[int]) -> list[RollingLogprob]:
            found = self._lm.token_logprobs([encoded[i] for i in batch])
            ids = [np.array(encoded[i][0], dtype=np.int64) for i in batch]
            return [RollingLogprob(t, f, len(t), _total(f)) for t, f in zip(ids, found, strict=True)]

        return self._cached("rolling_logprob", texts, 0, plan, compute)

    def _plan_texts(self, texts: Sequence[tuple[list[int], int]]) -> list[list[int]]:
        return self._lm.plan([min(len(ids), self._lm.tokens.max_context) for ids, _ in texts])

    # --- generating -------------------------------------------------------------------------------------------------

    def generate(
        self, prompt: str, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        """Only the new text; greedy when ``temperature`` is 0, otherwise repeatable for one seed."""
        if temperature <= 0.0:
            return self.generate_batch([prompt], max_new_tokens=max_new_tokens)[0]
        self._require_open()
        start = time.perf_counter()
        ids = self._lm.tokens.encode_prompt(prompt)[0]
        new = self._lm.generate([ids], max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)[
            0
        ]
        wall = time.perf_counter() - start
        self._inst.record(op="generate", view_id=self.id, prompt=prompt, top_k=max_new_tokens, hit=False, wall_s=wall)
        return self._lm.tokens.decode(new)

    def generate_batch(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[str]:
        """Greedy continuations of many prompts, in the same order."""
        ids: dict[int, list[int]] = {}

        def plan(missing: list[int]) -> list[list[int]]:
            ids.update((i, self._lm.tokens.encode_prompt(prompts[i])[0]) for i in missing)
            return self._lm.plan([len(ids[i]) + max_new_tokens for i in missing])

        def compute(batch: Sequence[int]) -> list[str]:
            new = self._lm.generate([ids[i] for i in batch], max_new_tokens=max_new_tokens)
            return [self._lm.tokens.decode(n) for n in new]

        return self._cached("generate", prompts, max_new_tokens, plan, compute)

    # --- the way through the cache ----------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if not self._open:
            msg = f"the view {self.id!r} was left; enter it again to use it"
            raise RuntimeError(msg)

    def _cached(
        self,
        op: str,
        keys: Sequence[str],
        top_k: int,
        plan: Callable[[list[int]], list[list[int]]],
        compute: Callable[[Sequence[int]], list[T]],
    ) -> list[T]:
        """Answer every key, each distinct one once: from the cache, or in the batches ``plan`` makes of the rest.

        ``plan`` returns positions in the list it was given.
        """
        self._require_open()
        first: dict[str, int] = {}
        for i, key in enumerate(keys):
            first.setdefault(key, i)
        cache = self._inst.cache
        missing = [i for key, i in first.items() if (op, self.id, key, top_k) not in cache]
        found: dict[str, T] = {}
        for positions in plan(missing) if missing else []:
            batch = [missing[p] for p in positions]
            found.update(zip((keys[i] for i in batch), self._one_batch(op, keys, top_k, batch, compute), strict=True))
        for i, key in enumerate(keys):
            if key not in found:
                found[key] = self._one_batch(op, keys, top_k, [i], compute)[0]
            elif first[key] != i:
                self._inst.record(op=op, view_id=self.id, prompt=key, top_k=top_k, hit=True, wall_s=0.0)
        return [found[key] for key in keys]

    def _one_batch(
        self, op: str, keys: Sequence[str], top_k: int, batch: list[int], compute: Callable[[Sequence[int]], list[T]]
    ) -> list[T]:
        def misses(positions: list[int]) -> list[T]:
            return halving([batch[p] for p in positions], compute, release=self._lm.shrink)

        return self._inst.cached_batch(op, self.id, [keys[i] for i in batch], top_k, misses)


def _total(logprobs: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    total = float(logprobs.sum(dtype=np.float64))
    if math.isnan(total) or total == math.inf:
        raise ProbeError("scoring", "the model gives non-finite log-probabilities")
    return total


def _top(logits: torch.Tensor, top_k: int) -> list[TokenDist]:
    """The ``top_k`` largest entries of each row as distributions; ``ProbeError`` for NaN or infinite rows."""
    import torch

    with torch.inference_mode():
        vocab = logits.shape[1]
        k = min(top_k, vocab)
        values, ids = logits.float().topk(k, dim=1)
        exact = torch.float32 if logits.device.type == "mps" else torch.float64
        logprobs = values.to(exact) - torch.stack([row.to(exact).logsumexp(0) for row in logits])[:, None]
        inside = logprobs.exp().sum(1)
        lp, token, mass = logprobs.cpu().numpy(), ids.cpu().numpy(), inside.cpu().numpy()
    out: list[TokenDist] = []
    for row, tokens, known in zip(lp, token, mass, strict=True):
        if np.isnan(row).any() or not np.isfinite(row).any():
            raise ProbeError("next_token_dist", "the model gives non-finite logits for this prompt")
        # A masked vocabulary: what cannot come next is neither known nor tail.
        possible = row > -np.inf
        tokens, row = tokens[possible], row[possible]
        rest = 1.0 - float(known)
        tail = None if k == vocab else (math.log(rest) if rest > _EMPTY_TAIL else 0.0)
        out.append(TokenDist(tokens.astype(np.int64), row.astype(np.float32), vocab, tail))
    return out
