"""A backend without a model: canned and programmable answers, for tests and for trying a probe's rules."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from sway_dash.backends.instrumentation import BackendInstrumentation, pair_name
from sway_dash.core.detail import Choice, Part, Prediction, PromptDetail, TokenDetail
from sway_dash.core.divergence import compare_dists
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import (
    BASE,
    FINETUNED,
    NULL_STYLES,
    FloatArray,
    NullStyle,
    RollingLogprob,
    TokenDist,
    View,
)

_WORD = re.compile(r"\s*\S+|\s+$")
_DEFAULT_K = 8
_VOCAB = 1000


@dataclass
class DummyResponses:
    """Canned answers of one side, looked up by exact match.

    Unknown prompts get defaults: a completion −10 nats; a text of n words n − 1 log-probabilities of −2.0 (base) or
    −1.5 (ft); the next token 8 ids of a vocabulary of 1000, peaked (−0.1, then −5) for base and nearly uniform for
    ft. An unknown generation is a ``KeyError``.
    """

    generations: dict[str, str] = field(default_factory=dict)
    logprobs: dict[tuple[str, str], float] = field(default_factory=dict)
    rolling: dict[str, RollingLogprob] = field(default_factory=dict)
    token_dists: dict[str, TokenDist] = field(default_factory=dict)


def _default_dist(side: str) -> TokenDist:
    if side == "base":
        logprobs = np.array([-0.1] + [-5.0] * (_DEFAULT_K - 1))
    else:
        # A slight tilt: an exactly uniform distribution is what a broken model gives.
        logprobs = -math.log(_DEFAULT_K) - np.linspace(-1e-4, 1e-4, _DEFAULT_K)
    return TokenDist(np.arange(_DEFAULT_K, dtype=np.int64), logprobs.astype(np.float32), _VOCAB, _tail(logprobs))


def _prediction(base: TokenDist, tuned: TokenDist, top: int) -> Prediction:
    c = compare_dists(base, tuned)
    p, q = (
        {int(i): math.exp(lp) for i, lp in zip(d.token_ids[:top], d.logprobs[:top], strict=True)} for d in (base, tuned)
    )
    likely = sorted(p | q, key=lambda i: (-max(p.get(i, 0.0), q.get(i, 0.0)), i))
    choices = tuple(Choice(f"<{i}>", i, p.get(i, 0.0), q.get(i, 0.0)) for i in likely)
    return Prediction(c.js, c.kl, c.kl_reverse, choices)


def _tail(logprobs: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> float | None:
    residual = 1.0 - float(np.exp(logprobs.astype(np.float64)).sum())
    return math.log(residual) if residual > 1e-12 else None


class DummyView:
    """One side of the dummy backend; its methods may be replaced on the instance."""

    def __init__(
        self, id: str, base: DummyResponses, ft: DummyResponses, view: View, inst: BackendInstrumentation | None = None
    ) -> None:
        self.id = id
        self._base, self._ft, self._view = base, ft, view
        self._inst = inst or BackendInstrumentation()
        self._weight = {"base": 0.0, "ft": 1.0, "scaled": view.lam, "null": 0.0}[view.kind]

    def close(self) -> None:
        """Nothing to give back."""

    def generate(
        self, prompt: str, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        """Return the canned text of the nearer side; ``KeyError`` when there is none."""
        side = self._ft if self._weight >= 0.5 else self._base
        if prompt not in side.generations:
            msg = f"no canned generation for {prompt!r} in view {self.id!r}"
            raise KeyError(msg)
        return side.generations[prompt]

    def logprob_of(self, prompt: str, completion: str) -> float:
        """Canned, −10 nats otherwise; between the sides a blend in log space."""

        def compute() -> float:
            base, ft = (side.logprobs.get((prompt, completion), -10.0) for side in (self._base, self._ft))
            return self._blend(base, ft)

        return self._inst.cached("logprob_of", self.id, pair_name(prompt, completion), 0, compute)

    def rolling_logprob(self, text: str) -> RollingLogprob:
        """Canned, constant log-probabilities per word otherwise."""

        def side(responses: DummyResponses, default: float) -> RollingLogprob:
            if text in responses.rolling:
                return responses.rolling[text]
            n = max(1, len(text.split()))
            logprobs = np.full(n - 1, default, dtype=np.float32)
            return RollingLogprob(np.arange(n, dtype=np.int64), logprobs, n, default * (n - 1))

        def compute() -> RollingLogprob:
            base, ft = side(self._base, -2.0), side(self._ft, -1.5)
            if self._weight in (0.0, 1.0) or len(base.logprobs) != len(ft.logprobs):
                return ft if self._weight >= 0.5 else base
            logprobs = (base.logprobs * (1 - self._weight) + ft.logprobs * self._weight).astype(np.float32)
            return replace(base, logprobs=logprobs, total_logprob=self._blend(base.total_logprob, ft.total_logprob))

        return self._inst.cached("rolling_logprob", self.id, text, 0, compute)

    def next_token_dist(self, prompt: str, *, top_k: int = 256) -> TokenDist:
        """Canned or default; blended for a scaled view, with seeded Gaussian noise for a null view."""

        def compute() -> TokenDist:
            base = self._base.token_dists.get(prompt) or _default_dist("base")
            ft = self._ft.token_dists.get(prompt) or _default_dist("ft")
            if self._view.kind == "null":
                return self._noisy(base, ft, prompt)
            if self._weight in (0.0, 1.0):
                return ft if self._weight else base
            return replace(base, logprobs=self._blend_arrays(base, ft))

        return self._inst.cached("next_token_dist", self.id, prompt, top_k, compute)

    def next_token_dist_batch(self, prompts: Sequence[str], *, top_k: int = 256) -> list[TokenDist]:
        """One by one: there is nothing to gain from a batch here."""
        return [self.next_token_dist(p, top_k=top_k) for p in prompts]

    def _blend(self, base: float, ft: float) -> float:
        return (1.0 - self._weight) * base + self._weight * ft

    def _blend_arrays(self, base: TokenDist, ft: TokenDist) -> FloatArray:
        k = min(len(base.logprobs), len(ft.logprobs))
        mixed = base.logprobs.copy()
        mixed[:k] = (1.0 - self._weight) * base.logprobs[:k] + self._weight * ft.logprobs[:k]
        return mixed.astype(np.float32)

    def _noisy(self, base: TokenDist, ft: TokenDist, prompt: str) -> TokenDist:
        # The hash must not depend on PYTHONHASHSEED: two processes have to agree.
        digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        rng = np.random.default_rng([self._view.seed, int.from_bytes(digest, "big")])
        old = base.logprobs.astype(np.float64)
        noise = rng.normal(0.0, self._view.init_scale * math.sqrt(self._view.rank_scale), len(old))
        if self._view.style != "gaussian":
            k = min(len(old), len(ft.logprobs))
            change = np.zeros(len(old))
            change[:k] = ft.logprobs[:k].astype(np.float64) - old[:k]
            if self._view.style == "norm_matched":
                noise *= float(np.linalg.norm(change)) / float(np.linalg.norm(noise))
            else:
                noise = rng.permutation(change) * rng.choice([-1.0, 1.0], len(old))
            noise *= math.sqrt(self._view.rank_scale)
        noisy = old + noise
        noisy += np.log(np.exp(old).sum()) - np.log(np.exp(noisy).sum())
        return replace(base, logprobs=noisy.astype(np.float32))


class DummyDifferentialBackend:
    """Implements every protocol of ``core.scoring`` on canned answers."""

    safe_for_concurrent_views = False
    null_styles = NULL_STYLES

    def __init__(self, *, base: DummyResponses | None = None, ft: DummyResponses | None = None) -> None:
        self._base_r = base or DummyResponses()
        self._ft_r = ft or DummyResponses()
        self.instrumentation = BackendInstrumentation()
        self._active: str | None = None
        # The same objects every time, so that a test can replace a method on a view.
        self._views = {v: DummyView(v.id, self._base_r, self._ft_r, v, self.instrumentation) for v in (BASE, FINETUNED)}

    @contextmanager
    def activate(self, view: View) -> Iterator[DummyView]:
        """Enter a view; ``RuntimeError`` while another is active."""
        if self._active is not None:
            msg = f"view already active: {self._active}; leave it before entering {view.id}"
            raise RuntimeError(msg)
        self._active = view.id
        try:
            yield self._views.get(view) or DummyView(view.id, self._base_r, self._ft_r, view, self.instrumentation)
        finally:
            self._active = None

    @contextmanager
    def as_base(self) -> Iterator[DummyView]:
        """The base side."""
        with self.activate(BASE) as view:
            yield view

    @contextmanager
    def as_finetuned(self) -> Iterator[DummyView]:
        """The tuned side."""
        with self.activate(FINETUNED) as view:
            yield view

    @contextmanager
    def as_scaled_adapter(self, lam: float) -> Iterator[DummyView]:
        """Log-linear blend of both sides."""
        with self.activate(View.scaled(lam)) as view:
            yield view

    @contextmanager
    def as_null_adapter(
        self, seed: int, *, init_scale: float = 0.02, rank_scale: float = 1.0, style: NullStyle = "gaussian"
    ) -> Iterator[DummyView]:
        """The base side with noise on the next-token log-probabilities.

        Its std is ``init_scale · √rank_scale``. ``norm_matched`` gives it the length of the difference between the
        sides; ``spectrum`` keeps the single differences, at other tokens and with random signs.
        """
        with self.activate(View.null(seed, init_scale=init_scale, rank_scale=rank_scale, style=style)) as view:
            yield view

    def details(
        self,
        prompts: Sequence[str],
        *,
        view: View = FINETUNED,
        reference: View = BASE,
        top: int = 10,
        new_tokens: int = 32,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, PromptDetail | ProbeError]]:
        """Prompts word by word: what the views answer after every word, and their canned generations if they have any.

        Divergences are as good as the distributions: those of the top k. A token that one side does not list has
        probability 0 there.
        """
        for index, prompt in enumerate(prompts):
            checkpoint()
            try:
                yield index, self._detail(prompt, view, reference, top, new_tokens)
            except ProbeError as error:
                yield index, error

    def _detail(self, prompt: str, view: View, reference: View, top: int, new_tokens: int) -> PromptDetail:
        base_says, says = (self._says(prompt, side, new_tokens) for side in (reference, view))
        asked = _WORD.findall(prompt)
        tokens: list[TokenDetail] = []
        before = ""
        for i, word in enumerate([*asked, *says]):
            part: Part = "prompt" if i < len(asked) else "continuation"
            number = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass")).digest()[:2], "big") % _VOCAB
            if not i:
                tokens.append(TokenDetail(word, number, part))
            else:
                dists, logprobs = [], []
                for side in (reference, view):
                    with self.activate(side) as scorer:
                        dists.append(scorer.next_token_dist(before, top_k=top))
                        logprobs.append(scorer.logprob_of(before, word))
                tokens.append(
                    TokenDetail(
                        word, number, part, False, _prediction(dists[0], dists[1], top), logprobs[0], logprobs[1]
                    )
                )
            before += word
        return PromptDetail(prompt, reference.id, view.id, tuple(tokens), tuple(base_says), tuple(says))

    def _says(self, prompt: str, view: View, new_tokens: int) -> list[str]:
        with self.activate(view) as scorer:
            try:
                return list(_WORD.findall(scorer.generate(prompt, max_new_tokens=new_tokens)))[:new_tokens]
            except KeyError:
                return [f"<{int(scorer.next_token_dist(prompt).token_ids[0])}>"]

    def preflight_finite_check(self) -> tuple[bool, str]:
        """Ask both sides for one distribution and look for NaN and infinity."""
        for name, view in (("base", BASE), ("ft", FINETUNED)):
            try:
                with self.activate(view) as scorer:
                    dist = scorer.next_token_dist("preflight", top_k=8)
            except Exception as error:
                return False, f"{name} view raised {type(error).__name__}: {error}"
            bad = int(np.count_nonzero(~np.isfinite(dist.logprobs)))
            if bad:
                return False, f"{name} view gives {bad} non-finite log-probabilities of {len(dist.logprobs)}"
        return True, ""
