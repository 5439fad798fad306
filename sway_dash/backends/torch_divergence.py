"""Divergences between rows of logits over the whole vocabulary, and the tokens they rank first. Maths, no models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sway_dash.core.divergence import LN2
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import Comparison, TopToken

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]
TOP = 10
_CHUNK = {"cpu": 2**19, "mps": 2**22, "cuda": 2**25}
IMPOSSIBLE = -87.0
"""Log-probability (about the smallest a float32 holds) that stands for a masked token the other view allows: the true
KL divergence is infinite there, and no stored number may be."""


@dataclass(slots=True)
class RowDivergences:
    """Divergences of n pairs of rows, float64 ``(n,)`` in nats; ``bad`` says why a row has none."""

    js: Floats
    kl: Floats
    """KL(tuned ‖ base)."""
    kl_reverse: Floats
    same_top: Floats
    bad: dict[int, str] = field(default_factory=dict)
    base_top: dict[int, tuple[TopToken, ...]] = field(default_factory=dict)
    tuned_top: dict[int, tuple[TopToken, ...]] = field(default_factory=dict)

    @staticmethod
    def join(parts: Sequence[RowDivergences]) -> RowDivergences:
        """Put the rows of all parts behind each other."""
        if len(parts) == 1:
            return parts[0]
        out = RowDivergences(
            js=np.concatenate([p.js for p in parts]),
            kl=np.concatenate([p.kl for p in parts]),
            kl_reverse=np.concatenate([p.kl_reverse for p in parts]),
            same_top=np.concatenate([p.same_top for p in parts]),
        )
        start = 0
        for part in parts:
            for name in ("bad", "base_top", "tuned_top"):
                getattr(out, name).update({start + row: value for row, value in getattr(part, name).items()})
            start += len(part.js)
        return out

    def comparison(
        self, rows: Iterable[int], top: int, dropped: int, *, continuation: str = ""
    ) -> Comparison | ProbeError:
        """Average over the rows of one prompt; ``top`` is the row whose likely tokens are shown."""
        at = list(rows)
        for row in at:
            if row in self.bad:
                return ProbeError("compare", self.bad[row])
        per_position = tuple(self.js[at].tolist()) if len(at) > 1 else ()
        return Comparison(
            js=float(self.js[at].mean()),
            kl=float(self.kl[at].mean()),
            kl_reverse=float(self.kl_reverse[at].mean()),
            same_top=float(self.same_top[at].mean()),
            n_positions=len(at),
            per_position=per_position,
            truncated_tokens=dropped,
            base_top=self.base_top.get(top, ()),
            tuned_top=self.tuned_top.get(top, ()),
            continuation=continuation,
        )


def alike(base: torch.Tensor, tuned: torch.Tensor, known: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both blocks over one vocabulary, of which ``known`` tokens have a meaning, on the device of the first."""
    if base.shape[1] != tuned.shape[1]:
        # Two separately loaded models may pad the same vocabulary differently.
        n = min(base.shape[1], tuned.shape[1], known)
        base, tuned = base[:, :n], tuned[:, :n]
    return base, tuned.to(base.device)


def row_divergences(base: torch.Tensor, tuned: torch.Tensor) -> RowDivergences:
    """Compare two blocks of logits ``(n, vocab)`` row by row, on their device, in float64 (float32 on mps).

    Equal rows give exactly 0: with ``m = (p + q) / 2`` the term ``p ln(p / m)`` is ``-p log1p((q - p) / 2p)``, in which
    nothing but the difference of the two enters, and small differences are not lost in larger sums. Masked tokens
    (logit −∞) have probability 0. A row with NaN, +∞ or nothing but −∞ is reported in ``bad``.
    """
    import torch

    step = max(1, _CHUNK.get(base.device.type, 2**19) // base.shape[1])
    with torch.inference_mode():
        chunks = [_chunk(base[k : k + step], tuned[k : k + step]) for k in range(0, len(base), step)]
        values = torch.cat(chunks, dim=1).cpu().double().numpy() if chunks else np.zeros((6, 0))
    js, kl, kl_reverse, same, bad_base, bad_tuned = values
    bad: dict[int, str] = {}
    for name, counts in (("base", bad_base), ("tuned", bad_tuned)):
        for row in np.flatnonzero(counts):
            bad.setdefault(int(row), f"the {name} view gives {int(counts[row])} non-finite logits of {base.shape[1]}")
    # Adding 0 turns −0, the rounding of a sum of nothing, into 0.
    js, kl, kl_reverse = np.clip(js, 0.0, LN2) + 0.0, np.maximum(kl, 0.0) + 0.0, np.maximum(kl_reverse, 0.0) + 0.0
    return RowDivergences(js, kl, kl_reverse, same, bad)


def _chunk(base: torch.Tensor, tuned: torch.Tensor) -> torch.Tensor:
    """``(6, rows)``: JS, both KL, same first token, and how many entries are non-finite on either side."""
    import torch

    lq, q, bad_q = _log_softmax(base)
    lp, p, bad_p = _log_softmax(tuned)
    tiny = 1e-300 if p.dtype == torch.float64 else 1e-37
    gap = q - p
    terms = p * torch.log1p(gap / (2 * p).clamp_(min=tiny))
    terms += q * torch.log1p(gap.neg_() / (2 * q).clamp_(min=tiny))
    js = terms.sum(1) * -0.5
    apart = lp - lq
    kl, kl_reverse = (p * apart).sum(1), -(q * apart).sum(1)
    if not bool(torch.isfinite(kl + kl_reverse).all()):
        kl = (p * (lp.nan_to_num(neginf=0.0) - lq.nan_to_num(neginf=IMPOSSIBLE))).sum(1)
        kl_reverse = (q * (lq.nan_to_num(neginf=0.0) - lp.nan_to_num(neginf=IMPOSSIBLE))).sum(1)
    same = base.argmax(1) == tuned.argmax(1)
    return torch.stack([js, kl, kl_reverse, same.to(js.dtype), bad_q.to(js.dtype), bad_p.to(js.dtype)])


def _log_softmax(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities, probabilities, and per row how many logits make it unusable."""
    import torch

    x = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
    top = x.amax(1, keepdim=True)
    logp = x - top
    p = logp.exp()
    total = p.sum(1, keepdim=True)
    logp -= total.log()
    p /= total
    bad = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    broken = ~torch.isfinite(top[:, 0])
    if bool(broken.any()):
        bad[broken] = (~torch.isfinite(x[broken])).sum(1)
    return logp, p, bad


@dataclass(frozen=True, slots=True)
class RowTokens:
    """A few tokens of n pairs of rows, ``(n, 1 + 2k)``: the one asked for, the base's likeliest, the tuned view's.

    ``base`` and ``tuned`` are natural log-probabilities over the full softmax, float64; −∞ for masked tokens, NaN for
    a token outside the vocabulary compared.
    """

    ids: npt.NDArray[np.int64]
    base: Floats
    tuned: Floats

    @staticmethod
    def join(parts: Sequence[RowTokens]) -> RowTokens:
        """Put the rows of all parts behind each other."""
        return RowTokens(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("ids", "base", "tuned")))


def row_tokens(base: torch.Tensor, tuned: torch.Tensor, asked: Sequence[int], *, k: int = TOP) -> RowTokens:
    """Log-probabilities, under both, of one token a row and of the ``k`` likeliest of either, on the rows' device."""
    import torch

    k = min(k, base.shape[1])
    step = max(1, _CHUNK.get(base.device.type, 2**19) // base.shape[1])
    parts: list[RowTokens] = []
    with torch.inference_mode():
        first = torch.tensor(list(asked), device=base.device)[:, None]
        for start in range(0, len(base), step):
            rows = slice(start, start + step)
            ids = torch.cat([first[rows], *(side[rows].topk(k, dim=1).indices for side in (base, tuned))], dim=1)
            sides = (_logprobs_at(side[rows], ids) for side in (base, tuned))
            parts.append(RowTokens(ids.cpu().numpy(), *sides))
    return RowTokens.join(parts)


def _logprobs_at(logits: torch.Tensor, ids: torch.Tensor) -> Floats:
    import torch

    x = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
    known = ids < x.shape[1]
    logp = x.gather(1, ids.where(known, 0)) - x.logsumexp(1, keepdim=True)
    found: Floats = logp.where(known, torch.nan).cpu().double().numpy()
    return found


def top_tokens(
    logits: torch.Tensor, rows: Sequence[int], text: Callable[[int], str], *, k: int = TOP
) -> list[tuple[TopToken, ...]]:
    """The ``k`` most likely tokens of some rows, most likely first, with their text and probability."""
    import torch

    if not len(rows):
        return []
    with torch.inference_mode():
        chosen = logits if len(rows) == len(logits) else logits[list(rows)]
        values, ids = chosen.float().topk(min(k, chosen.shape[1]), dim=1)
        probs = (values - chosen.float().logsumexp(1, keepdim=True)).exp()
        found = zip(probs.cpu().tolist(), ids.cpu().tolist(), strict=True)
    return [
        tuple(TopToken(text(i), i, p) for p, i in zip(row_p, row_i, strict=True) if p > 0) for row_p, row_i in found
    ]
