"""What a backend is asked for and what it answers: views, distributions, protocols. No torch here.

A *view* is one fixed set of weights: the base, the tuned model, the adapter at another strength, the adapter
replaced by noise. Views are values: two equal views give equal numbers, so they are cache keys as they stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sway_dash.core.errors import ProbeError
from sway_dash.core.model import Model

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

ViewKind = Literal["base", "ft", "scaled", "null", "layers"]
Positions = Literal["next", "prompt", "continuation"]
OUTSIDE = -1
"""Index that stands for the modules outside the layers: embeddings and heads."""
NullStyle = Literal["gaussian", "norm_matched", "spectrum"]
"""What of the trained change a null keeps: nothing, the size of every module's, or its singular values, too."""

NULL_STYLES: tuple[NullStyle, ...] = ("gaussian", "norm_matched", "spectrum")


@dataclass(frozen=True, slots=True)
class View:
    """One fixed set of weights of a differential backend.

    ``lam`` belongs to ``scaled``; ``seed``, ``init_scale``, ``rank_scale`` and ``style`` to ``null``; ``layers`` and
    ``keep`` (these alone, or all but these) to ``layers``. Use the constructors: they fold λ = 0 and λ = 1 into
    ``BASE`` and ``FINETUNED``, which are the same weights, and a scale that a null does not depend on into the default.
    """

    kind: ViewKind
    lam: float = 1.0
    seed: int = 0
    init_scale: float = 0.02
    rank_scale: float = 1.0
    style: NullStyle = "gaussian"
    layers: tuple[int, ...] = ()
    keep: bool = False

    @staticmethod
    def scaled(lam: float) -> View:
        """The adapter multiplied by ``lam``."""
        if not math.isfinite(lam):
            msg = f"λ must be a finite number, got {lam}"
            raise ValueError(msg)
        if lam == 0.0:
            return BASE
        return FINETUNED if lam == 1.0 else View("scaled", lam=float(lam))

    @staticmethod
    def null(seed: int, *, init_scale: float = 0.02, rank_scale: float = 1.0, style: NullStyle = "gaussian") -> View:
        """Noise in the adapter's place.

        ``gaussian``
            A and B of every module with independent normal entries of standard deviation ``init_scale``: as large as
            that makes it, whatever was trained.
        ``norm_matched``
            The same draw, each module's ΔW scaled to the Frobenius norm of the trained one.
        ``spectrum``
            The trained ΔW of each module with its singular values, along random orthonormal directions.

        ``rank_scale`` multiplies the variance of ΔW in all three; ``init_scale`` matters to the first alone.
        """
        if not (math.isfinite(rank_scale) and rank_scale > 0):
            msg = f"rank_scale must be a positive finite number, got {rank_scale}"
            raise ValueError(msg)
        if not (math.isfinite(init_scale) and init_scale > 0):
            msg = f"init_scale must be a positive finite number, got {init_scale}"
            raise ValueError(msg)
        if style not in NULL_STYLES:
            msg = f"unknown style of a null {style!r}; known: {', '.join(NULL_STYLES)}"
            raise ValueError(msg)
        scale = float(init_scale) if style == "gaussian" else 0.02
        return View("null", seed=int(seed), init_scale=scale, rank_scale=float(rank_scale), style=style)

    @staticmethod
    def without_layers(layers: Sequence[int]) -> View:
        """The adapter without its change of these layers; :data:`OUTSIDE` for what is in no layer."""
        return View("layers", layers=tuple(sorted(set(layers)))) if layers else FINETUNED

    @staticmethod
    def only_layers(layers: Sequence[int]) -> View:
        """The adapter's change of these layers alone."""
        return View("layers", layers=tuple(sorted(set(layers))), keep=True) if layers else BASE

    @property
    def id(self) -> str:
        """Name in traces and results; parameters at full precision, so that equal names mean equal weights."""
        if self.kind == "scaled":
            return f"scaled_{self.lam!r}"
        if self.kind == "null":
            scale = "" if self.init_scale == 0.02 else f"_scale{self.init_scale!r}"
            rank = "" if self.rank_scale == 1.0 else f"_rank{self.rank_scale!r}"
            style = "" if self.style == "gaussian" else f"_{self.style}"
            return f"null_{self.seed}{style}{scale}{rank}"
        if self.kind == "layers":
            return f"{'only' if self.keep else 'without'}_layers_{'_'.join(map(str, self.layers))}"
        return self.kind

    @property
    def content(self) -> dict[str, Any]:
        """Everything that makes these weights, JSON-ready: part of the keys of what is kept between runs."""
        found = asdict(self)
        if self.style == "gaussian":
            # Keys of draws made before there were other styles stay what they were.
            del found["style"]
        if self.kind != "layers":
            del found["layers"], found["keep"]
        return found


def style_of(view_id: str) -> NullStyle:
    """The style of a null by the name of its view."""
    return next((s for s in NULL_STYLES if f"_{s}" in view_id), "gaussian")


BASE = View("base")
FINETUNED = View("ft")


@dataclass(frozen=True, slots=True)
class RollingLogprob:
    """Log-probabilities of every token of a text after its first.

    ``token_ids``: int64 ``(N,)``; ``logprobs``: float32 ``(N - 1,)``, natural log;
    ``total_logprob``: their sum in nats.
    """

    token_ids: IntArray
    logprobs: FloatArray
    num_tokens: int
    total_logprob: float

    @property
    def mean_logprob(self) -> float:
        """Nats per predicted token; 0.0 when nothing was predicted."""
        return self.total_logprob / len(self.logprobs) if len(self.logprobs) else 0.0

    @property
    def perplexity(self) -> float:
        """``exp(-mean_logprob)``; 1.0 when nothing was predicted."""
        return math.exp(-self.mean_logprob)


@dataclass(frozen=True, slots=True)
class CompletionScore:
    """Summed log-probability (nats) of a completion, over how many tokens of the model's tokenizer."""

    logprob: float
    n_tokens: int

    @property
    def per_token(self) -> float:
        """Mean log-probability, nats a token."""
        return self.logprob / max(1, self.n_tokens)


@dataclass(frozen=True, slots=True)
class TokenDist:
    """The ``k`` most likely next tokens, most likely first.

    ``token_ids``: int64 ``(k,)``; ``logprobs``: float32 ``(k,)``, natural log. ``tail_logprob`` is the log of the
    probability outside the ``k``: ``None`` when there is none, ``0.0`` (not log 1) when it underflowed. ``texts`` are
    those of the first tokens, where the backend knows them. ``unlisted`` is the largest probability of a token that was
    left out although it is likelier than the last of the ``k``; 0.0 where there is no such token.
    """

    token_ids: IntArray
    logprobs: FloatArray
    vocab_size: int
    tail_logprob: float | None = None
    texts: tuple[str, ...] = ()
    unlisted: float = 0.0


@dataclass(frozen=True, slots=True)
class TopToken:
    """A likely next token for the screen: its text, id and probability."""

    text: str
    id: int
    prob: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two views differ on one prompt.

    Every divergence is in nats and averaged over the positions looked at; ``per_position`` holds the
    Jensen-Shannon divergences ``(T,)`` where there is more than one. ``error_bound`` is 0 when the whole vocabulary
    was compared; otherwise the true JS lies within ``js ± error_bound``.
    """

    js: float
    kl: float
    """KL(tuned ‖ base)."""
    kl_reverse: float
    """KL(base ‖ tuned)."""
    same_top: float
    """Share of positions at which both views rank the same token first."""
    n_positions: int = 1
    per_position: tuple[float, ...] = ()
    exact: bool = True
    error_bound: float = 0.0
    truncated_tokens: int = 0
    """Tokens of a too long prompt that were left out, from its beginning."""
    base_top: tuple[TopToken, ...] = ()
    tuned_top: tuple[TopToken, ...] = ()
    continuation: str = ""
    reference_positions: int = 0
    """How many of ``per_position``, from the first, lie along the reference's continuation; the rest lie along the
    view's own, from where it reads another text. 0 where there is no continuation."""
    common_tokens: int = 0
    """How many tokens both continuations begin with together."""
    top_k: int = 0
    """How many tokens the shorter of both lists held; 0 where whole vocabularies were compared."""
    covered: float = 1.0
    """Probability of the tokens known from both sides, on the side where it is less."""


@runtime_checkable
class ScoringBackend(Protocol):
    """Log-probabilities under one view."""

    def logprob_of(self, prompt: str, completion: str) -> float:
        """Return the summed log-probability (nats) of the completion's tokens given the prompt."""
        ...

    def rolling_logprob(self, text: str) -> RollingLogprob:
        """Return the log-probability of every token of ``text`` after its first."""
        ...

    def next_token_dist(self, prompt: str, *, top_k: int = 256) -> TokenDist:
        """Return the ``top_k`` most likely tokens after ``prompt``."""
        ...


@runtime_checkable
class ScoringModel(Model, ScoringBackend, Protocol):
    """A view as a probe sees it: generates and scores."""


@runtime_checkable
class DifferentialBackend(Protocol):
    """Two views of one model; at most one may be active at a time."""

    def as_base(self) -> AbstractContextManager[ScoringModel]:
        """The model without its adapter."""
        ...

    def as_finetuned(self) -> AbstractContextManager[ScoringModel]:
        """The model with its adapter."""
        ...


@runtime_checkable
class ScalableDifferentialBackend(DifferentialBackend, Protocol):
    """Can also apply the adapter at another strength."""

    def as_scaled_adapter(self, lam: float) -> AbstractContextManager[ScoringModel]:
        """λ = 0 is the base, 1 the tuned model, more than 1 overshoots."""
        ...


@runtime_checkable
class NullCalibratedBackend(DifferentialBackend, Protocol):
    """Can also put noise in the adapter's place.

    A backend that has other nulls than Gaussian ones names them in ``null_styles`` and takes ``style`` as a further
    keyword of ``as_null_adapter``.
    """

    def as_null_adapter(
        self, seed: int, *, init_scale: float = 0.02, rank_scale: float = 1.0
    ) -> AbstractContextManager[ScoringModel]:
        """The real adapter is back on exit, also after an exception. ``ValueError`` for ``rank_scale`` ≤ 0."""
        ...


def null_styles(backend: object) -> tuple[NullStyle, ...]:
    """The nulls a backend has; without a word of its own only the Gaussian one of the public protocol."""
    if not isinstance(backend, NullCalibratedBackend):
        return ()
    return tuple(s for s in NULL_STYLES if s in getattr(backend, "null_styles", ("gaussian",)))


@runtime_checkable
class LayeredBackend(DifferentialBackend, Protocol):
    """Can also apply the adapter without some layers, or with some alone: views of kind ``layers`` in comparisons."""

    def adapter_layers(self) -> tuple[int, ...]:
        """Indices of the layers the adapter changes, ascending. ``ProbeError`` where they cannot be told apart."""
        ...


@runtime_checkable
class PreflightCheckable(Protocol):
    """Can say, before anything is measured, whether it is fit to be measured."""

    def preflight_finite_check(self) -> tuple[bool, str]:
        """Return ``(True, "")`` or ``(False, reason)``."""
        ...


@runtime_checkable
class IdentityCheckable(Protocol):
    """Can say whether the adapter changes anything at all."""

    def identical_views(self) -> Sequence[str]:
        """Return nothing if some logit differs, else the likely causes, most likely first."""
        ...


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Largest divergence of a model from itself over a few prompts: computed in one batch, and each alone. Nats."""

    prompts: int
    js: float
    kl: float


def noise_floor(environment: Mapping[str, Any]) -> NoiseFloor | None:
    """The noise floor in a run's environment; None where the run did not measure it."""
    found = environment.get("noise_floor")
    try:
        return NoiseFloor(int(found["prompts"]), float(found["js"]), float(found["kl"]))  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        return None


@runtime_checkable
class NoiseMeasurable(Protocol):
    """Can say how far rounding alone moves its numbers, on this device in this dtype."""

    def noise_floor(self, prompts: Sequence[str]) -> NoiseFloor | None:
        """Measure some of ``prompts`` twice, under the base and the tuned view; None if none can be measured."""
        ...


@runtime_checkable
class ExactComparer(Protocol):
    """Compares views over the whole vocabulary, where the logits live."""

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
    ) -> Iterator[tuple[int, View, Comparison | ProbeError]]:
        """Yield ``(prompt index, view, comparison with reference)`` as they are finished, in no promised order.

        A prompt that cannot be measured yields its error in the comparison's place; the others go on.

        ``checkpoint`` is called between batches; whatever it raises ends the generator with all views restored.
        """
        ...


@runtime_checkable
class Describable(Protocol):
    """Can say what exactly was measured: device, dtype, revisions, hashes (JSON-ready)."""

    def describe(self) -> dict[str, Any]:
        """Return facts about the loaded model; ``fingerprint`` identifies base, adapter and dtype."""
        ...


def next_token_dists(view: ScoringBackend, prompts: Sequence[str], *, top_k: int = 256) -> list[TokenDist]:
    """Ask a view for many prompts at once if it can batch, else one by one. Same order, empty for empty."""
    batch = getattr(view, "next_token_dist_batch", None)
    if batch is not None:
        return list(batch(list(prompts), top_k=top_k))
    return [view.next_token_dist(p, top_k=top_k) for p in prompts]
