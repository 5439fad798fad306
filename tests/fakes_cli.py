"""Backends without a model whose numbers have a closed form; ``kind: custom`` can load them in another process.

``Exact`` says JS = amplitude(prompt) · λ² for the adapter at strength λ and a small seeded value for a null adapter.
``Slow`` is the same and takes ``$FAKE_DELAY_S`` per measurement.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import Comparison, TopToken, View
from sway_dash.core.steps import step

BATCH = 2
UNMEASURABLE = "cannot be measured"


def amplitude(prompt: str) -> float:
    """JS of the adapter as trained: between 0.1 and 0.2 nats, from the prompt's text."""
    return 0.1 + 0.1 * _unit(prompt)


NULL_TIMES = {"gaussian": 1.0, "norm_matched": 20.0, "spectrum": 50.0}
"""How much farther than a Gaussian one a null adapter of each style moves a prompt."""


def null_js(prompt: str, seed: int, rank_scale: float = 1.0, style: str = "gaussian") -> float:
    """JS of a null adapter: between 0.001 and 0.002 nats at rank 1, times that of its style."""
    return (0.001 + 0.001 * _unit(f"{prompt}/{seed}")) * rank_scale * NULL_TIMES[style]


def _unit(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


class Exact(DummyDifferentialBackend):
    """Compares exactly, in batches of two prompts; counts what it was asked."""

    def __init__(self, *, base_spec: Any = None, adapter_path: Path | None = None, fingerprint: str = "f-1") -> None:
        super().__init__()
        self.fingerprint = fingerprint
        self.calls: list[tuple[str, str]] = []
        """(view id, prompt) of every measurement that was really taken."""
        self.closed = 0

    def describe(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "device": "none"}

    def close(self) -> None:
        self.closed += 1

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
    ) -> Iterator[tuple[int, View, Comparison | ProbeError]]:
        for view in views:
            for start in range(0, len(prompts), BATCH):
                checkpoint()
                for at, prompt in enumerate(prompts[start : start + BATCH], start=start):
                    self.pause()
                    yield at, view, self._one(view, prompt)

    def pause(self) -> None:
        """How long a measurement takes."""

    def _one(self, view: View, prompt: str) -> Comparison | ProbeError:
        self.calls.append((view.id, prompt))
        if prompt == UNMEASURABLE:
            return ProbeError("divergence", "non-finite logits")
        strength = {"base": 0.0, "ft": 1.0, "scaled": view.lam, "null": 0.0}[view.kind]
        js = amplitude(prompt) * strength**2
        if view.kind == "null":
            js = null_js(prompt, view.seed, view.rank_scale, view.style)
        return Comparison(
            js=js,
            kl=2.0 * js,
            kl_reverse=3.0 * js,
            same_top=1.0 if js < 0.15 else 0.0,
            base_top=(TopToken("a", 1, 0.6),),
            tuned_top=(TopToken("b", 2, 0.5),),
        )


class Slow(Exact):
    """Takes ``$FAKE_DELAY_S`` seconds per measurement."""

    def pause(self) -> None:
        time.sleep(float(os.environ.get("FAKE_DELAY_S", "0.02")))


class Heavy(Exact):
    """Takes ``$FAKE_LOAD_S`` seconds to load and does not look up meanwhile."""

    def __init__(self, **options: Any) -> None:
        step("packages")
        step("weights (2.5 GB)")
        time.sleep(float(os.environ.get("FAKE_LOAD_S", "600")))
        super().__init__(**options)


class Unfit(Exact):
    """Its tuned view gives NaN."""

    def preflight_finite_check(self) -> tuple[bool, str]:
        return False, "ft view gives 3 non-finite log-probabilities of 8"


class Looked(DummyDifferentialBackend):
    """The dummy, whose look-ups are traced, for ``kind: custom``."""

    def __init__(self, *, base_spec: Any = None, adapter_path: Path | None = None) -> None:
        super().__init__()
