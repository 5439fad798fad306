"""A backend for workers in tests: exact comparisons on a vocabulary of twelve words, as slow as asked for.

Named in a suite as ``{kind: custom, entry_point: "tests.fakes:FakeBackend", base: <how>}``; ``base`` says how it
behaves, in words separated by ``-``: ``slow`` waits a little before every prompt, ``identical`` ignores the adapter,
``nan`` fails the preflight, ``noload`` cannot be loaded, ``deaf`` never looks whether it is to stop, ``strong3`` has an
adapter that moves every prompt three times as far.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.detail import Choice, Prediction, PromptDetail, TokenDetail
from sway_dash.core.divergence import js, kl
from sway_dash.core.errors import ModelLoadError
from sway_dash.core.scoring import BASE, FINETUNED, Comparison, TopToken, View

WORDS = (" keeper", " light", " sea", " hill", " the", "\n", " <b>bold</b>", " Anna", " blue", " nine", " tea", " end")
END = len(WORDS) - 1

NULL_STRENGTH = {"gaussian": 0.2, "norm_matched": 0.5, "spectrum": 0.6}
"""How far random adapters of each style move a prompt's logits."""

Probs = np.ndarray[tuple[int], np.dtype[np.float64]]


def noise(*parts: object) -> Probs:
    """Reproducible standard normal numbers, one a word."""
    digest = hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big")).normal(size=len(WORDS))


def probs(prompt: str, view: View, strong: float = 1.0) -> Probs:
    """Next-word probabilities of a prompt in a view; prompts that speak of the light are moved most."""
    logits = 1.5 * noise("base", prompt)
    strength = 1.6 if "light" in prompt.lower() else 0.15
    if view.kind in ("ft", "scaled"):
        logits = logits + strong * (1.0 if view.kind == "ft" else view.lam) * strength * noise("tuned", prompt)
    elif view.kind == "null":
        style = () if view.style == "gaussian" else (view.style,)
        logits = logits + NULL_STRENGTH[view.style] * noise("null", view.seed, prompt, *style)
    p = np.exp(logits - logits.max())
    return np.asarray(p / p.sum())


def comparison(prompt: str, reference: View, view: View, strong: float = 1.0) -> Comparison:
    """What the fake measures; tests compute their expected numbers with it."""
    base, tuned = probs(prompt, reference, strong), probs(prompt, view, strong)

    def top(p: Probs) -> tuple[TopToken, ...]:
        return tuple(TopToken(WORDS[i], int(i), float(p[i])) for i in np.argsort(-p)[:10])

    same = float(int(base.argmax()) == int(tuned.argmax()))
    return Comparison(js(tuned, base), kl(tuned, base), kl(base, tuned), same, base_top=top(base), tuned_top=top(tuned))


def words(prompt: str) -> list[str]:
    """A prompt's tokens: words with the white space before them."""
    return re.findall(r"\s*\S+|\s+$", prompt)


def word_id(word: str) -> int:
    """Number of a word in the vocabulary of twelve; words outside it take the number of one that is in it."""
    return (
        WORDS.index(word) if word in WORDS else hashlib.blake2b(word.encode("utf-8", "surrogatepass")).digest()[0] % 12
    )


def says(prompt: str, view: View, new: int, strong: float = 1.0) -> list[int]:
    """Greedy continuation; `` end`` ends it and belongs to it."""
    found: list[int] = []
    while len(found) < new and END not in found:
        found.append(int(probs(prompt + "".join(WORDS[i] for i in found), view, strong).argmax()))
    return found


def detail(
    prompt: str, reference: View, view: View, *, top: int = 10, new_tokens: int = 32, strong: float = 1.0
) -> PromptDetail:
    """What the fake shows of a prompt; the position after the prompt is that of :func:`comparison`."""
    said = says(prompt, view, new_tokens, strong)
    # The start token is numbered after the words: it is never predicted.
    tokens = [TokenDetail("<s>", len(WORDS), special=True)]
    before = ""
    for n, word in enumerate([*words(prompt), *(WORDS[i] for i in said)]):
        later = n >= len(words(prompt))
        number = said[n - len(words(prompt))] if later else word_id(word)
        p, q = probs(before, view, strong), probs(before, reference, strong)
        likely = {int(i) for side in (p, q) for i in np.argsort(-side)[:top]}
        order = sorted(likely, key=lambda i: -max(p[i], q[i]))
        tokens.append(
            TokenDetail(
                word,
                number,
                "continuation" if later else "prompt",
                later and number == END,
                Prediction(
                    js(p, q), kl(p, q), kl(q, p), tuple(Choice(WORDS[i], i, float(q[i]), float(p[i])) for i in order)
                ),
                math.log(q[number]),
                math.log(p[number]),
            )
        )
        before += word
    base_says = tuple(WORDS[i] for i in says(prompt, reference, new_tokens))
    return PromptDetail(prompt, reference.id, view.id, tuple(tokens), base_says, tuple(WORDS[i] for i in said))


class FakeBackend(DummyDifferentialBackend):
    """Exact, deterministic, slow on request."""

    def __init__(self, *, base_spec: Any = None, adapter_path: Any = None) -> None:
        super().__init__()
        self.how = set(str(getattr(base_spec, "base", "plain")).split("/")[-1].split("-"))
        if "noload" in self.how:
            msg = "the weights <img src=x onerror=alert(1)> cannot be read"
            raise ModelLoadError(msg)
        self.strong = next((float(word[6:]) for word in self.how if word.startswith("strong")), 1.0)
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
                yield index, view, comparison(prompts[index], reference, own, self.strong)

    def details(
        self,
        prompts: Sequence[str],
        *,
        view: View = FINETUNED,
        reference: View = BASE,
        top: int = 10,
        new_tokens: int = 32,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, PromptDetail]]:
        own = reference if "identical" in self.how and view.kind != "null" else view
        for index, prompt in enumerate(prompts):
            if "deaf" not in self.how:
                checkpoint()
            time.sleep(self.delay)
            found = detail(prompt, reference, own, top=top, new_tokens=new_tokens, strong=self.strong)
            yield index, replace(found, view=view.id)
