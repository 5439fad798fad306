"""One causal language model in torch: token ids to logits, to log-probabilities, to further tokens.

Knows nothing of adapters or views: whatever weights are active are the ones it uses. Torch is imported inside
functions only.

Rows of a batch are padded on the right and get no attention mask. A causal model cannot look to the right, so what
stands before the padding is the same with and without it, the fast causal kernels stay in use, and models that derive
positions or recurrent state from the left need no special case. The head (the largest matrix of a small model) sees
only the positions somebody asked for, gathered into one dense matrix product. Both are checked once per model against
a plain forward pass; a model that disagrees gets the slow, plain way.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sway_dash.backends.batching import Window, halving, plan_batches, windows
from sway_dash.backends.tokens import Tokens, max_context
from sway_dash.core.scoring import FloatArray

if TYPE_CHECKING:
    import torch

_TOKENS = {"cpu": 1024, "mps": 2048, "cuda": 16384}
_OVERHEAD = {"cpu": 48, "mps": 256, "cuda": 512}
ROW_BYTES = {"cpu": 256 * 2**20, "mps": 256 * 2**20, "cuda": 2 * 2**30}
"""Memory for the logits of one batch, by kind of device."""


class TorchLM:
    """A model in evaluation mode and its tokenizer.

    ``token_budget`` and ``row_bytes`` bound one batch: its padded tokens, and the memory of its logits.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        known = int(model.get_input_embeddings().weight.shape[0])
        self.tokens = Tokens(tokenizer, max_context(model, tokenizer), known)
        self.device: torch.device = next(model.parameters()).device
        self.token_budget = _TOKENS.get(self.device.type, 1024)
        self.row_bytes = ROW_BYTES.get(self.device.type, 256 * 2**20)
        self.overhead = _OVERHEAD.get(self.device.type, 48)
        self._accepts = set(inspect.signature(model.forward).parameters)
        self._checked = False
        self._picks = self._pads = self._plain_head = False

    # --- tokens to logits -----------------------------------------------------------------------------------------

    def plan(self, lengths: Sequence[int], rows: Sequence[int] | None = None) -> list[list[int]]:
        """Batches of indices under this model's budgets; see :func:`plan_batches`."""
        self._check()
        if not self._picks:
            rows = lengths
        return plan_batches(
            lengths,
            rows,
            max_tokens=self.token_budget,
            max_rows=self.max_rows,
            overhead=self.overhead,
            padding=self._pads,
        )

    @property
    def max_rows(self) -> int:
        """How many rows of logits a batch may ask for."""
        head = self.model.get_output_embeddings()
        vocab = self.model.config.get_text_config().vocab_size if head is None else head.weight.shape[0]
        return max(1, self.row_bytes // (4 * int(vocab)))

    def shrink(self) -> None:
        """Halve the budget after memory ran out, and give back what torch still holds."""
        import torch

        self.token_budget = max(64, self.token_budget // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def finish(self) -> None:
        """Wait until the device has done all it was given: until then a clock tells of launching alone."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def rows(self, sequences: Sequence[Sequence[int]], picks: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits ``(sum of len(picks), vocab)`` after the picked positions of each sequence, in order."""
        import torch

        batches = self.plan([len(s) for s in sequences], [len(p) for p in picks])
        if len(batches) == 1 and batches[0] == list(range(len(sequences))):
            return self.logits(sequences, picks)
        parts: dict[int, torch.Tensor] = {}
        for batch in batches:
            out = self.logits([sequences[i] for i in batch], [picks[i] for i in batch])
            parts.update(zip(batch, torch.split(out, [len(picks[i]) for i in batch]), strict=True))
        return torch.cat([parts[i] for i in range(len(sequences))])

    def logits(self, sequences: Sequence[Sequence[int]], picks: Sequence[Sequence[int]]) -> torch.Tensor:
        """Like :meth:`rows`, in exactly one forward pass."""
        import torch

        self._check()
        with torch.inference_mode():
            ids, row, at = self._tensors(sequences, picks)
            if not self._picks:
                return self._forward(ids)[row, at]
            with self._gathering(row, at):
                return self._forward(ids)[0]

    def _tensors(
        self, sequences: Sequence[Sequence[int]], picks: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        import torch

        width = max(len(s) for s in sequences)
        # Padded with the row's own last token: any token will do, and no model takes it for padding.
        ids = torch.tensor([[*s, *[s[-1]] * (width - len(s))] for s in sequences], device=self.device)
        row = torch.tensor([i for i, p in enumerate(picks) for _ in p], device=self.device)
        at = torch.tensor([j for p in picks for j in p], device=self.device)
        return ids, row, at

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        extra = {"use_cache": False} if "use_cache" in self._accepts else {}
        logits: torch.Tensor = self.model(input_ids=ids, **extra).logits
        return logits

    @contextmanager
    def _gathering(self, row: torch.Tensor, at: torch.Tensor, keep: list[torch.Tensor] | None = None) -> Iterator[None]:
        """Let the head see only the picked positions; with ``keep``, hand those over and let it see one of them."""

        def hook(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden = args[0]
            picked = hidden[row.to(hidden.device), at.to(hidden.device)].unsqueeze(0)
            if keep is not None:
                keep.append(picked)
                picked = picked[:, :1]
            return (picked, *args[1:])

        handle = self.model.get_output_embeddings().register_forward_pre_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def _check(self) -> None:
        """Find out, once, which short cuts this model allows: each must agree with one plain pass per sequence."""
        if self._checked:
            return
        import torch

        self._checked = True
        ids = (self.tokens.encode("The cat sat on the mat, and so on.") or [0])[: self.tokens.max_context]
        ids = ids if len(ids) > 1 else [ids[0]] * 2
        pair = [ids, ids[: max(1, len(ids) // 2)]]
        last = [[len(s) - 1] for s in pair]
        with torch.inference_mode():
            want = torch.cat([self._forward(self._tensors([s], [[0]])[0])[0, -1:] for s in pair])
            for self._picks, self._pads in ((True, True), (False, True), (True, False), (False, False)):
                if not (self._picks or self._pads) or self._agrees(want, pair, last):
                    break
            self._plain_head = self._picks and self._head_is_plain(ids)

    def _agrees(self, want: torch.Tensor, pair: list[list[int]], last: list[list[int]]) -> bool:
        import torch

        try:
            if self._pads:
                got = self.logits(pair, last)
            else:
                got = torch.cat([self.logits([s], [p]) for s, p in zip(pair, last, strict=True)])
        except (RuntimeError, IndexError, TypeError, AttributeError, ValueError):
            return False
        if got.shape != want.shape:
            return False
        # A broken model gives NaN either way; that is for the preflight check to say.
        ok = torch.isfinite(want) & torch.isfinite(got)
        if not bool(ok.any()):
            return True
        tolerance = 1e-3 if want.dtype == torch.float32 else 5e-2
        scale = float(want[ok].abs().max()) + 1e-6
        return float((got[ok] - want[ok]).abs().max()) <= tolerance * scale

    def _head_is_plain(self, ids: list[int]) -> bool:
        """Whether the logits are the head's output as it stands (no soft cap, no scale), so it may run in pieces."""
        import torch

        picks = [list(range(len(ids)))]
        row_ids, row, at = self._tensors([ids], picks)
        keep: list[torch.Tensor] = []
        with self._gathering(row, at, keep):
            self._forward(row_ids)
        return torch.allclose(
            self.model.get_output_embeddings()(keep[0])[0], self.logits([ids], picks), rtol=1e-4, equal_nan=True
        )

    # --- log-probabilities of given tokens ------------------------------------------------------------------------

    def token_logprobs(self, texts: Sequence[tuple[Sequence[int], int]]) -> list[FloatArray]:
        """Log-probability of every token from index ``first`` on, for pairs ``(ids, first)``.

        A text longer than the context is scored in overlapping windows: each token once, from at least half a
        context (the start token, if there is one, stays in front of every window).
        """
        jobs: list[tuple[int, list[int], Window]] = []
        for i, (ids, first) in enumerate(texts):
            sink = [ids[0]] if len(ids) > self.tokens.max_context > 3 and ids[0] == self.tokens.bos else []
            for w in windows(len(ids), first, self.tokens.max_context - len(sink)):
                lead = sink if w.begin > 0 else []
                jobs.append((i, [*lead, *ids[w.begin : w.end]], w))
        found: dict[int, FloatArray] = {}
        rows = None if self._plain_ready else [w.end + 1 - w.first for *_, w in jobs]
        for batch in self.plan([len(inputs) for _, inputs, _ in jobs], rows):

            def run(part: Sequence[int]) -> list[tuple[int, FloatArray]]:
                return list(zip(part, self._score([(*jobs[j][1:], texts[jobs[j][0]][0]) for j in part]), strict=True))

            found.update(halving(batch, run, release=self.shrink))
        empty = np.zeros(0, dtype=np.float32)
        per_text: list[list[FloatArray]] = [[empty] for _ in texts]
        for j, (i, _, _) in enumerate(jobs):
            per_text[i].append(found[j])
        return [np.concatenate(parts) for parts in per_text]

    @property
    def _plain_ready(self) -> bool:
        self._check()
        return self._plain_head

    def _score(self, jobs: Sequence[tuple[list[int], Window, Sequence[int]]]) -> list[FloatArray]:
        """One batch of windows: inputs, the window, the whole text."""
        import torch

        sequences = [inputs for inputs, _, _ in jobs]
        targets = [list(ids[w.first : w.end + 1]) for _, w, ids in jobs]
        picks = [list(range(len(s) - len(t), len(s))) for s, t in zip(sequences, targets, strict=True)]
        wanted = torch.tensor([t for row in targets for t in row], device=self.device)
        parts: list[torch.Tensor] = []
        done = 0
        with torch.inference_mode():
            for logits in self._pieces(sequences, picks):
                values = logits.float()
                token = wanted[done : done + len(values), None].to(values.device)
                parts.append(values.gather(1, token)[:, 0] - values.logsumexp(1))
                done += len(values)
        flat = torch.cat(parts).cpu().numpy()
        return list(np.split(flat, np.cumsum([len(t) for t in targets])[:-1]))

    def _pieces(self, sequences: list[list[int]], picks: list[list[int]]) -> Iterator[torch.Tensor]:
        """Logits of all picks, in pieces small enough to be turned into float32 copies."""
        import torch

        if not self._plain_head:
            for s, p in zip(sequences, picks, strict=True):
                for k in range(0, len(p), self.max_rows):
                    part = p[k : k + self.max_rows]
                    yield self.logits([s[: part[-1] + 1]], [part])
            return
        keep: list[torch.Tensor] = []
        ids, row, at = self._tensors(sequences, picks)
        with self._gathering(row, at, keep):
            self._forward(ids)
        head = self.model.get_output_embeddings()
        for hidden in torch.split(keep[0], max(1, self.max_rows // 4), dim=1):
            yield head(hidden)[0]

    # --- text on from text ----------------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[list[int]]:
        """New token ids for each prompt, up to and including the end-of-text token; greedy at temperature 0.

        The model's own generation settings (repetition penalties, sampling) are ignored: they are not its weights.
        """
        room = min(max_new_tokens, self.tokens.max_context - 1)
        fitted = [self.tokens.fit(list(p), room=room)[0] for p in prompts]
        out: dict[int, list[int]] = {}
        for batch in self.plan([len(p) + room for p in fitted], [1] * len(fitted)):

            def run(part: Sequence[int]) -> list[tuple[int, list[int]]]:
                new = self._generate([fitted[i] for i in part], room, temperature, top_p, seed)
                return list(zip(part, new, strict=True))

            out.update(halving(batch, run, release=self.shrink))
        return [out[i] for i in range(len(prompts))]

    def _generate(
        self, prompts: list[list[int]], new: int, temperature: float, top_p: float, seed: int
    ) -> list[list[int]]:
        import torch
        from transformers import GenerationConfig

        own = getattr(self.model, "generation_config", None)
        eos = getattr(own, "eos_token_id", None)
        eos = self.tokens.tokenizer.eos_token_id if eos is None else eos
        ends = [] if eos is None else [int(e) for e in (eos if isinstance(eos, list | tuple) else [eos])]
        pad = self.tokens.tokenizer.pad_token_id
        pad = (ends or [0])[0] if pad is None else pad
        width = max(len(p) for p in prompts)
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=self.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.device)
        how: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            how = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        config = GenerationConfig(max_new_tokens=new, eos_token_id=ends or None, pad_token_id=pad, **how)
        devices = [self.device] if self.device.type == "cuda" else []
        with _only_these_settings(self.model, config), torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(seed)
            found = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        return [_until(row, ends) for row in found[:, width:].tolist()]


@contextmanager
def _only_these_settings(model: Any, config: Any) -> Iterator[None]:
    """Transformers fills unset fields of a given config from the model's own; leave it nothing to fill from."""
    own = getattr(model, "generation_config", None)
    if own is None:
        yield
        return
    model.generation_config = type(config)()
    try:
        yield
    finally:
        model.generation_config = own


def _until(ids: list[int], ends: list[int]) -> list[int]:
    for i, token in enumerate(ids):
        if token in ends:
            return ids[: i + 1]
    return ids
