"""A backend for workers in tests: exact comparisons on a vocabulary of twelve words, as slow as asked for.

Named in a suite as ``{kind: custom, entry_point: "tests.fakes:FakeBackend", base: <how>}``; ``base`` says how it
behaves, in words separated by ``-``: ``slow`` waits a little before every prompt, ``identical`` ignores the adapter,
``nan`` fails the preflight, ``noload`` cannot be loaded, ``deaf`` never looks whether it is to stop.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.divergence import js, kl
from sway_dash.core.errors import ModelLoadError
from sway_dash.core.scoring import Comparison, TopToken, View

WORDS = (" keeper", " light", " sea", " hill", " the", "\n", " <b>bold</b>", " Anna", " blue", " nine", " tea", " end")

Probs = np.ndarray[tuple[int], np.dtype[np.float64]]


def noise(*parts: object) -> Probs:
    """Reproducible standard normal numbers, one a word."""
    digest = hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big")).normal(size=len(WORDS))


def probs(prompt: str, view: View) -> Probs:
    """Next-word probabilities of a prompt in a view; prompts that speak of the light are moved most."""
    logits = 1.5 * noise("base", prompt)
    strength = 1.6 if "light" in prompt.lower() else 0.15
    if view.kind in ("ft", "scaled"):
        logits = logits + (1.0 if view.kind == "ft" else view.lam) * strength * noise("tuned", prompt)
    elif view.kind == "null":
        logits = logits + 0.2 * noise("null", view.seed, prompt)
    p = np.exp(logits - logits.max())
    return np.asarray(p / p.sum())


def comparison(prompt: str, reference: View, view: View) -> Comparison:
    """What the fake measures; tests compute their expected numbers with it."""
    base, tuned = probs(prompt, reference), probs(prompt, view)

    def top(p: Probs) -> tuple[TopToken, ...]:
        return tuple(TopToken(WORDS[i], int(i), float(p[i])) for i in np.argsort(-p)[:10])

    same = float(int(base.argmax()) == int(tuned.argmax()))
    return Comparison(js(tuned, base), kl(tuned, base), kl(base, tuned), same, base_top=top(base), tuned_top=top(tuned))


class FakeBackend(DummyDifferentialBackend):
    """Exact, deterministic, slow on request."""

    def __init__(self, *, base_spec: Any = None, adapter_path: Any = None) -> None:
        super().__init__()
        self.how = set(str(getattr(base_spec, "base", "plain")).split("/")[-1].split("-"))
        if "noload" in self.how:
            msg = "the weights <img src=x onerror=alert(1)> cannot be read"
            raise ModelLoadError(msg)
        self.delay = float(os.environ.get("FAKE_DELAY_S", "0.02")) if "slow" in self.how or "deaf" in self.how else 0.0

    def describe(self) -> dict[str, Any]:
        return {"fingerprint": "", "device": "cpu", "dtype": "fp32"}

    def preflight_finite_check(self) -> tuple[bool, str]:
        return (False, "ft view gives 8 non-finite log-probabilities of 12") if "nan" in self.how else (True, "")

    def identical_views(self) -> Sequence[str]:
        return ("the adapter's B matrices are all zero",) if "identical" in self.how else ()

    @contextmanager
    def as_null_adapter(self, seed: int, *, init_scale: float = 0.02, rank_scale: float = 1.0) -> Iterator[Any]:
        with super().as_null_adapter(seed, init_scale=init_scale, rank_scale=rank_scale) as view:
            yield view

    def compare(
        self,
        reference: View,
        views: Sequence[View],
        prompts: Sequence[str],
        *,
        positions: str = "next",
        continuation_tokens: int = 32,
        seed: int = 0,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, View, Comparison]]:
        order = np.random.default_rng(seed).permutation(len(prompts))
        for view in views:
            for index in (int(i) for i in order):
                if "deaf" not in self.how:
                    checkpoint()
                own = reference if "identical" in self.how and view.kind != "null" else view
                for side in (reference, own):
                    self.instrumentation.cached(
                        "next_token_dist", side.id, prompts[index], 0, lambda: time.sleep(self.delay) or math.e
                    )
                yield index, view, comparison(prompts[index], reference, own)
