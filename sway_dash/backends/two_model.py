"""Two separately loaded models as the two sides of a comparison, for full fine-tunes that have no adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from sway_dash.backends.api import ApiScoringBackend
from sway_dash.backends.instrumentation import BackendInstrumentation, pair_name
from sway_dash.backends.torch_compare import TorchDifferential
from sway_dash.backends.torch_detail import TorchInspectable
from sway_dash.backends.torch_lm import TorchLM
from sway_dash.backends.torch_noise import TorchNoise
from sway_dash.core.errors import ModelLoadError, ProbeError
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import (
    BASE,
    FINETUNED,
    Describable,
    DifferentialBackend,
    PreflightCheckable,
    RollingLogprob,
    ScoringModel,
    TokenDist,
    View,
)

MIXED = (
    "one side is behind a server (kind: api), the other is not: nothing shows that both number and cut tokens alike;"
    " serve both, or load both with kind: hf"
)


class BothSpecs(Protocol):
    """The ``models`` section of a suite."""

    @property
    def base(self) -> ModelSpec:
        """The side to compare with."""
        ...

    @property
    def ft(self) -> ModelSpec:
        """The tuned side."""
        ...


class _Counted:
    """A view of a backend that does not count: the same answers, through the pair's cache and trace."""

    def __init__(self, view: ScoringModel, id: str, inst: BackendInstrumentation) -> None:
        self._view, self.id, self._inst = view, id, inst

    def __getattr__(self, name: str) -> Any:
        if name == "next_token_dist_batch":
            raise AttributeError(name)
        return getattr(self._view, name)

    def generate(self, prompt: str, **options: Any) -> str:
        return self._view.generate(prompt, **options)

    def close(self) -> None:
        """The view belongs to its backend."""

    def logprob_of(self, prompt: str, completion: str) -> float:
        key = pair_name(prompt, completion)
        return self._inst.cached("logprob_of", self.id, key, 0, lambda: self._view.logprob_of(prompt, completion))

    def rolling_logprob(self, text: str) -> RollingLogprob:
        return self._inst.cached("rolling_logprob", self.id, text, 0, lambda: self._view.rolling_logprob(text))

    def next_token_dist(self, prompt: str, *, top_k: int = 256) -> TokenDist:
        def compute() -> TokenDist:
            return self._view.next_token_dist(prompt, top_k=top_k)

        return self._inst.cached("next_token_dist", self.id, prompt, top_k, compute)


class TwoModelDifferential:
    """``base``'s base view against ``ft``'s tuned view.

    Counters and trace of both sides are the pair's own. Two torch backends are compared over the whole vocabulary
    (``compare``); other backends only give the views. ``ModelLoadError`` when two tokenizers differ: divergences
    between distributions over different tokens mean nothing.
    """

    def __new__(cls, base: DifferentialBackend, ft: DifferentialBackend) -> TwoModelDifferential:
        """Give two torch backends the exact comparison and the token details too, and two servers their checks."""
        made: type[TwoModelDifferential] = cls
        if cls is TwoModelDifferential and isinstance(base, TorchDifferential) and isinstance(ft, TorchDifferential):
            made = _TorchPair
        elif cls is TwoModelDifferential and isinstance(base, ApiScoringBackend) and isinstance(ft, ApiScoringBackend):
            from sway_dash.backends.api_pair import ApiPair

            made = ApiPair
        return super().__new__(made)

    def __init__(self, base: DifferentialBackend, ft: DifferentialBackend) -> None:
        _check_tokenizers(getattr(base, "tokenizer", None), getattr(ft, "tokenizer", None))
        if isinstance(base, ApiScoringBackend) != isinstance(ft, ApiScoringBackend):
            raise ModelLoadError(MIXED)
        self.base, self.ft = base, ft
        self.instrumentation = BackendInstrumentation()
        self.safe_for_concurrent_views = all(bool(getattr(s, "safe_for_concurrent_views", False)) for s in (base, ft))
        self._active: View | None = None
        for side in (base, ft):
            if isinstance(side, TorchDifferential):
                side.instrumentation = self.instrumentation

    @contextmanager
    def _entered(self, view: View) -> Iterator[None]:
        if self._active is not None and not self.safe_for_concurrent_views:
            msg = f"view already active: {self._active.id}; leave it before entering {view.id}"
            raise RuntimeError(msg)
        before, self._active = self._active, view
        try:
            yield
        finally:
            self._active = before

    @contextmanager
    def _side(self, view: View, enter: Callable[[], AbstractContextManager[ScoringModel]]) -> Iterator[ScoringModel]:
        side = self.base if view == BASE else self.ft
        with self._entered(view), enter() as scorer:
            counts = getattr(side, "instrumentation", None) is self.instrumentation
            yield scorer if counts else _Counted(scorer, view.id, self.instrumentation)

    @contextmanager
    def as_base(self) -> Iterator[ScoringModel]:
        """The base side's base view."""
        with self._side(BASE, self.base.as_base) as view:
            yield view

    @contextmanager
    def as_finetuned(self) -> Iterator[ScoringModel]:
        """The tuned side's tuned view."""
        with self._side(FINETUNED, self.ft.as_finetuned) as view:
            yield view

    def preflight_finite_check(self) -> tuple[bool, str]:
        """Check both sides, as far as they can be checked."""
        for name, side in (("base", self.base), ("ft", self.ft)):
            if isinstance(side, PreflightCheckable):
                ok, reason = side.preflight_finite_check()
                if not ok:
                    return False, f"{name} model: {reason}"
        return True, ""

    def describe(self) -> dict[str, Any]:
        """The tuned side's facts, the base side's under ``base_model``, and a fingerprint of both."""
        ft, base = (s.describe() if isinstance(s, Describable) else {} for s in (self.ft, self.base))
        both = f"{base.get('fingerprint', '')}\0{ft.get('fingerprint', '')}"
        known = bool(base.get("fingerprint") and ft.get("fingerprint"))
        return {
            **ft,
            "backend": "two_model",
            "base": base.get("base"),
            "base_revision": base.get("base_revision"),
            "base_identity": base.get("base_identity"),
            "tuned": ft.get("base"),
            "tuned_revision": ft.get("base_revision"),
            "tuned_identity": ft.get("base_identity"),
            "base_model": base,
            "update_norm": None,
            "fingerprint": hashlib.sha256(both.encode()).hexdigest() if known else "",
        }

    def cache_identity(self) -> str:
        """Key for what is kept between runs."""
        return f"two_model:{self.describe()['fingerprint']}"

    def close(self) -> None:
        """Close both sides, the second also when the first fails."""
        with ExitStack() as stack:
            for side in (self.base, self.ft):
                if (close := getattr(side, "close", None)) is not None:
                    stack.callback(close)


class _TorchPair(TwoModelDifferential, TorchInspectable, TorchNoise):
    """A pair whose sides are torch models, compared over the whole vocabulary and shown token by token."""

    base: TorchDifferential  # type: ignore[assignment]
    ft: TorchDifferential  # type: ignore[assignment]

    @property
    def lm(self) -> TorchLM:
        """The base side's model."""
        return self.base.lm

    @contextmanager
    def activate(self, view: View) -> Iterator[TorchLM]:
        """Enter the base or the tuned side; two separate models have no other views."""
        if view not in (BASE, FINETUNED):
            raise ProbeError(f"{view.kind} view", "two separately loaded models have no adapter to change")
        side = self.base if view == BASE else self.ft
        with self._entered(view), side.activate(view) as lm:
            yield lm

    @contextmanager
    def prepared(self, views: Sequence[View]) -> Iterator[None]:
        """Refuse impossible views at once."""
        for view in views:
            if view not in (BASE, FINETUNED):
                raise ProbeError(f"{view.kind} view", "two separately loaded models have no adapter to change")
        yield

    def identical_views(self) -> tuple[str, ...]:
        """Nothing if the two models differ in some logit; else the likely causes."""
        import torch

        rows = []
        for view in (BASE, FINETUNED):
            with self.activate(view) as lm:
                ids = lm.tokens.encode_prompt("The quick brown fox jumps over the lazy dog")[0]
                rows.append(lm.rows([ids], [list(range(len(ids)))]).float().cpu())
        if rows[0].shape != rows[1].shape or not torch.equal(*rows):
            return ()
        same = "base and ft are the same checkpoint"
        return (same, "the fine-tuned weights were saved before training")

    def close(self) -> None:
        """Forget cached rows and close both sides."""
        if self._rows is not None:
            self._rows.clear()
        super().close()


def _check_tokenizers(base: Any, ft: Any) -> None:
    """``ModelLoadError`` naming the first token that two tokenizers number differently."""
    if base is None or ft is None:
        return
    one, other = base.get_vocab(), ft.get_vocab()
    if one == other:
        return
    for token, number in sorted(one.items(), key=lambda item: item[1]):
        if other.get(token) != number:
            there = f"number {other[token]}" if token in other else "missing"
            raise ModelLoadError(
                f"the two models have different tokenizers: token {token!r} is number {number} in base, {there} in ft"
            )
    extra = min((n, t) for t, n in other.items() if t not in one)
    raise ModelLoadError(
        f"the two models have different tokenizers: token {extra[1]!r} (number {extra[0]}) is missing in base"
    )
