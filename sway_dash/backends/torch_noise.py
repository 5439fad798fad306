"""What the same model differs from itself by: rounding, as it changes with the batch a prompt is computed in."""

from __future__ import annotations

from collections.abc import Sequence

from sway_dash.backends.torch_compare import TorchDifferential
from sway_dash.backends.torch_divergence import row_divergences
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import BASE, FINETUNED, NoiseFloor, View

PROMPTS = 8
"""Each of them is one pass of its own under either view."""
TOKENS = 256
"""The end of a long prompt is enough: rounding is asked for, not the prompt."""


class TorchNoise(TorchDifferential):
    """Implements :class:`~sway_dash.core.scoring.NoiseMeasurable` for backends whose views are ``TorchLM``."""

    def noise_floor(self, prompts: Sequence[str]) -> NoiseFloor | None:
        """Compare the last rows of a few prompts, computed in one batch, with those of each computed alone."""
        tokens = self.lm.tokens
        known = []
        for prompt in _spread(prompts, PROMPTS):
            try:
                known.append(tokens.encode_prompt(prompt)[0][-TOKENS:])
            except ProbeError:
                continue
        if not known:
            return None
        js = kl = 0.0
        for view in (BASE, FINETUNED):
            found = self._rounding(view, known)
            if found is None:
                return None
            js, kl = max(js, found[0]), max(kl, found[1])
        return NoiseFloor(prompts=len(known), js=js, kl=kl)

    def _rounding(self, view: View, texts: Sequence[list[int]]) -> tuple[float, float] | None:
        """Largest JS and KL between texts (as ids) in one batch and each alone; None where a logit is not finite."""
        import torch

        with self.activate(view) as lm:
            together = lm.logits(texts, [[len(ids) - 1] for ids in texts])
            alone = torch.cat([lm.logits([ids], [[len(ids) - 1]]) for ids in texts])
        found = row_divergences(together, alone)
        return None if found.bad else (float(found.js.max()), float(found.kl.max()))


def _spread(prompts: Sequence[str], n: int) -> list[str]:
    """Up to ``n`` different prompts, from the shortest to the longest: padding is where batches differ."""
    found = sorted(dict.fromkeys(prompts), key=len)
    if len(found) <= n:
        return found
    return [found[round(i * (len(found) - 1) / (n - 1))] for i in range(n)]
