"""Models behind an OpenAI-compatible completions server: vLLM, llama.cpp, llama-cpp-python and others.

Prompts are sent as plain text: no chat template is added here, and completions servers add none. Only the likeliest
next tokens come back, so divergences are estimates with a stated bound; nothing here is called exact that is not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from sway_dash.backends.api_client import KEY_NAME, ApiClient, Refused
from sway_dash.backends.api_known import fingerprint, same
from sway_dash.backends.api_meeting import ECHO, ONE, TOP_K, Abilities, canary, meet
from sway_dash.backends.api_tokens import as_dist, completion_start, read_echo, read_next, spans, total
from sway_dash.backends.instrumentation import BackendInstrumentation, pair_name
from sway_dash.core.errors import ProbeError, SpecValidationError, did_you_mean
from sway_dash.core.scoring import CompletionScore, RollingLogprob, TokenDist

T = TypeVar("T")

PROMPTS_PER_REQUEST = 16
CONCURRENCY = 4
"""Requests under way at once; ``SWAY_API_CONCURRENCY`` changes it."""
SECONDS_PER_TOKEN = 0.25
"""How much longer than one token every further one may take: a slow server on a processor."""
TOLD = ("root", "parent", "owned_by", "max_model_len", "meta")
"""What servers say of a model beside its name: where it lies, of which one it is an adapter, its sizes."""
SHOWN = 5
"""Likeliest tokens of which the text is asked for where the server names tokens by ids."""


class ApiScoringBackend:
    """One model of a completions server. Both of its views are the model itself; a pair of them is a comparison.

    Parameters
    ----------
    base_url
        Where the server is, with or without ``/v1``.
    model_name
        The model as the server calls it; for vLLM a LoRA module has a name of its own.
    api_key
        Default: ``SWAY_API_KEY``, else ``OPENAI_API_KEY`` of the environment. Kept in memory alone.
    key_name
        The variable to set where the server wants another key.
    vocab_size
        Size of the vocabulary, where it is known: a list as long as that leaves nothing out.
    timeout_s, max_retries
        Longest silence of the server, in seconds, and how often a failed request is sent again.
    """

    safe_for_concurrent_views = True

    def __init__(
        self,
        *,
        base_url: str,
        model_name: str,
        api_key: str | None = None,
        key_name: str = KEY_NAME,
        vocab_size: int | None = None,
        timeout_s: float = 30.0,
        max_retries: int = 3,
        concurrency: int | None = None,
    ) -> None:
        key = api_key or os.environ.get(KEY_NAME) or os.environ.get("OPENAI_API_KEY")
        self.client = ApiClient(base_url, api_key=key, key_name=key_name, timeout_s=timeout_s, max_retries=max_retries)
        self.base_url, self.model_name, self.vocab_size = self.client.url, model_name, vocab_size
        self.id = f"api:{model_name}"
        self.view_id = self.id
        self.instrumentation = BackendInstrumentation()
        self.ids_allowed = True
        """Whether ids of this server may name tokens: the other side has to mean the same by them."""
        self._concurrency = concurrency or _concurrency()
        self._abilities: Abilities | None = None
        self._served: dict[str, Any] = {}
        self._texts: dict[int, str] = {}
        self._silent = False
        self._pool: ThreadPoolExecutor | None = None

    # --- as a backend -----------------------------------------------------------------------------------------------

    @contextmanager
    def as_base(self) -> Iterator[ApiScoringBackend]:
        """The model."""
        yield self

    @contextmanager
    def as_finetuned(self) -> Iterator[ApiScoringBackend]:
        """The model."""
        yield self

    def cache_identity(self) -> str:
        """Key for what is kept between runs."""
        return f"api:{self.base_url}:{self.model_name}"

    def describe(self) -> dict[str, Any]:
        """Where the model is and what its server can do.

        The fingerprint holds what the server says of the model and some of the model's answers: a server may load
        other weights under the same name (:mod:`~sway_dash.backends.api_known`).
        """
        can = self.abilities
        ids = can.ids if self.ids_allowed else ""
        identity = [self.base_url, self.model_name, self._served, can.top_k, ids]
        return {
            "backend": "api",
            "base": self.model_name,
            "endpoint": self.base_url,
            "served": self._served,
            "device": "server",
            "effective_top_k": can.top_k,
            "token_identity": "token ids" if self.by_id else "token texts",
            "text_logprobs": not can.echo,
            "prompts_per_request": PROMPTS_PER_REQUEST if can.lists else 1,
            "requests_at_once": self._concurrency,
            "prompt_format": "plain text, without a chat template",
            "fingerprint": fingerprint(identity, can.answers),
        }

    def preflight_finite_check(self) -> tuple[bool, str]:
        """Ask for one distribution; whatever goes wrong is the reason."""
        try:
            self.next_token_dist("hello", top_k=8)
        except Exception as error:
            return False, str(error)
        return True, ""

    def close(self) -> None:
        """Close connections and forget answers; may be called twice."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self.client.close()
        self.instrumentation.close()

    def load(self) -> None:
        """Nothing can be loaded into this process: ``ProbeError``."""
        raise ProbeError("api", f"{self.model_name} lives on {self.base_url}; it cannot be loaded here")

    @property
    def abilities(self) -> Abilities:
        """What the server can do, asked on first use."""
        if self._abilities is None:
            self._abilities = meet(self.request)
            self._served = self._what_it_says()
        return self._abilities

    def renew(self) -> bool:
        """Ask again who answers; False, and nothing is remembered, when it is not the model of before."""
        known = self._abilities
        if known is None:
            return True
        if same(canary(self.request, known.top_k), known.answers) and self._what_it_says() == self._served:
            return True
        self._abilities, self._silent = None, False
        self._texts.clear()
        self.instrumentation.cache.clear()
        return False

    @property
    def by_id(self) -> bool:
        """Whether tokens are told apart by the server's ids rather than by their bytes."""
        return self.ids_allowed and bool(self.abilities.ids)

    # --- scoring ----------------------------------------------------------------------------------------------------

    def next_token_dist(self, prompt: str, *, top_k: int = TOP_K) -> TokenDist:
        """The likeliest tokens after ``prompt``: ``top_k``, or as many as the server lists."""
        return self.next_token_dist_batch([prompt], top_k=top_k)[0]

    def next_token_dist_batch(self, prompts: Sequence[str], *, top_k: int = TOP_K) -> list[TokenDist]:
        """Like :meth:`next_token_dist` for many prompts, in the same order."""
        if top_k < 1:
            raise ProbeError("next_token_dist", f"top_k must be at least 1, got {top_k}")
        k = min(top_k, self.abilities.top_k)
        return self._scored("next_token_dist", prompts, prompts, k, self._next_options(k), self._next_answer(k))

    def fresh_dists(self, prompts: Sequence[str], *, top_k: int = TOP_K) -> list[TokenDist]:
        """Like :meth:`next_token_dist_batch`, past the cache."""
        k = min(top_k, self.abilities.top_k)
        return self._ask(prompts, prompts, self._next_options(k), self._next_answer(k))

    def _next_options(self, k: int) -> dict[str, Any]:
        asked = {"return_tokens_as_token_ids": True} if self.by_id and self.abilities.ids == "asked" else {}
        return {**ONE, "logprobs": k, **asked}

    def _next_answer(self, k: int) -> Callable[[Any, str, int | None], TokenDist]:
        def answer(choice: Any, prompt: str, generated: int | None) -> TokenDist:
            found = read_next(choice, top_k=k, by_id=self.by_id)
            texts = [t.text if t.raw is not None or t.id is None else self._text(t.id) for t in found.tokens[:SHOWN]]
            return as_dist(found, by_id=self.by_id, vocab_size=self.vocab_size, texts=texts)

        return answer

    def logprob_of(self, prompt: str, completion: str) -> float:
        """Summed log-probability (nats) of the completion's tokens; one over the boundary counts to it."""
        return self.completion_scores([(prompt, completion)])[0].logprob

    def logprob_of_batch(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Like :meth:`logprob_of` for many pairs, in the same order."""
        return [score.logprob for score in self.completion_scores(pairs)]

    def completion_scores(self, pairs: Sequence[tuple[str, str]]) -> list[CompletionScore]:
        """Log-probability and token count of each ``(prompt, completion)``, in the same order."""
        for _, completion in pairs:
            if not completion:
                raise ProbeError("scoring", f"completion tokenized to zero tokens: {completion!r}")
        keys = [pair_name(p, c) for p, c in pairs]
        whole = dict(zip(keys, pairs, strict=True))

        def answer(choice: Any, key: str, generated: int | None) -> CompletionScore:
            prompt, completion = whole[key]
            found = spans(read_echo(choice), prompt + completion, generated=generated)
            scored = found[completion_start(found, prompt, completion) :]
            if not scored:
                raise ProbeError("scoring", f"completion tokenized to zero tokens: {completion[:60]!r}")
            return CompletionScore(total(scored, completion), len(scored))

        self._require_echo()
        return self._scored("logprob_of", keys, [p + c for p, c in pairs], 0, ECHO, answer)

    def rolling_logprob(self, text: str) -> RollingLogprob:
        """Log-probability of every token of ``text`` after its first."""
        return self.rolling_logprob_batch([text])[0]

    def rolling_logprob_batch(self, texts: Sequence[str]) -> list[RollingLogprob]:
        """Like :meth:`rolling_logprob` for many texts, in the same order. Ids count the tokens: 0, 1, 2 …"""

        def answer(choice: Any, text: str, generated: int | None) -> RollingLogprob:
            found = spans(read_echo(choice), text, generated=generated)
            summed = total(found[1:], text)
            logprobs = np.array([s.token.logprob for s in found[1:]], dtype=np.float32)
            return RollingLogprob(np.arange(len(found), dtype=np.int64), logprobs, len(found), summed)

        self._require_echo()
        return self._scored("rolling_logprob", texts, texts, 0, ECHO, answer)

    def generate(
        self, prompt: str, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        """Only the new text; greedy when ``temperature`` is 0, otherwise as repeatable as the server makes it."""
        if temperature <= 0.0:
            return self.generate_batch([prompt], max_new_tokens=max_new_tokens)[0]
        options = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
        start = time.perf_counter()
        text = _text_of(self.request([prompt], options)[0][0])
        wall = time.perf_counter() - start
        self.instrumentation.record(
            op="generate", view_id=self.view_id, prompt=prompt, top_k=max_new_tokens, hit=False, wall_s=wall
        )
        return text

    def generate_batch(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[str]:
        """Greedy continuations of many prompts, in the same order."""
        options = {"max_tokens": max_new_tokens, "temperature": 0.0, "top_p": 1.0, "seed": 0}
        return self._scored(
            "generate", prompts, prompts, max_new_tokens, options, lambda choice, _, __: _text_of(choice)
        )

    # --- requests ---------------------------------------------------------------------------------------------------

    def _scored(
        self,
        op: str,
        keys: Sequence[str],
        texts: Sequence[str],
        top_k: int,
        options: dict[str, Any],
        answer: Callable[[Any, str, int | None], T],
    ) -> list[T]:
        """Answer every key, each distinct one once, from the cache or in requests that run side by side."""
        first = list(dict.fromkeys(keys))
        sent = dict(zip(keys, texts, strict=True))

        def compute(missing: list[int]) -> list[T]:
            wanted = [first[i] for i in missing]
            return self._ask(wanted, [sent[key] for key in wanted], options, answer)

        values = self.instrumentation.cached_batch(op, self.view_id, first, top_k, compute)
        found = dict(zip(first, values, strict=True))
        return [found[key] for key in keys]

    def _ask(
        self,
        keys: Sequence[str],
        texts: Sequence[str],
        options: dict[str, Any],
        answer: Callable[[Any, str, int | None], T],
    ) -> list[T]:
        step = PROMPTS_PER_REQUEST if self.abilities.lists else 1
        chunks = [slice(i, i + step) for i in range(0, len(keys), step)]

        def one(chunk: slice) -> list[T]:
            choices, generated = self.request(texts[chunk], options)
            return [answer(c, key, generated) for c, key in zip(choices, keys[chunk], strict=True)]

        return [value for found in self._side_by_side(one, chunks) for value in found]

    def _side_by_side(self, one: Callable[[slice], list[T]], chunks: Sequence[slice]) -> list[list[T]]:
        if len(chunks) == 1 or self._concurrency == 1:
            return [one(c) for c in chunks]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="sway-api")
        futures = [self._pool.submit(one, c) for c in chunks]
        try:
            return [f.result() for f in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def request(
        self, prompts: Sequence[str], options: dict[str, Any], *, once: bool = False
    ) -> tuple[list[Any], int | None]:
        """One completion of each prompt, in order, and how many tokens each has beyond its prompt, where known."""
        payload = {"model": self.model_name, "prompt": list(prompts) if len(prompts) > 1 else prompts[0], **options}
        try:
            more_s = SECONDS_PER_TOKEN * (payload["max_tokens"] - 1) * len(prompts)
            found = self.client.post("completions", payload, once=once, more_s=more_s)
        except Refused as error:
            if error.status == 404 and (names := list(self._models())):
                hint = f"{did_you_mean(self.model_name, names)} Served there: {', '.join(names[:8])}"
                raise ProbeError("api", f"{self.base_url} serves no model {self.model_name!r}.{hint}") from None
            raise
        choices = found.get("choices") if isinstance(found, dict) else None
        if not isinstance(choices, list) or len(choices) != len(prompts) or not all(map(_is_dict, choices)):
            got = len(choices) if isinstance(choices, list) else "no"
            raise ProbeError("api", f"{self.base_url} answered {len(prompts)} prompts with {got} choices")
        if len(choices) > 1:
            if sorted(str(c.get("index")) for c in choices) != sorted(map(str, range(len(choices)))):
                raise ProbeError("api", f"{self.base_url} does not say which choice answers which prompt")
            choices.sort(key=lambda c: int(c["index"]))
        usage = found.get("usage")
        new = usage.get("completion_tokens") if isinstance(usage, dict) else None
        # The sum of all prompts; with one token asked of each it says how many each has, if it is none or all.
        return choices, (new // len(choices) if isinstance(new, int) and new in (0, len(choices)) else None)

    def _models(self) -> dict[str, dict[str, Any]]:
        """Every model of the server and what it says of it."""
        try:
            return {str(m["id"]): dict(m) for m in self.client.get("models")["data"]}
        except (ProbeError, TypeError, KeyError, ValueError):
            return {}

    def _what_it_says(self) -> dict[str, Any]:
        """What the server tells of this model, as far as that is the same every time it is asked."""
        own = self._models().get(self.model_name, {})
        return {key: own[key] for key in TOLD if own.get(key) not in (None, "")}

    def _text(self, id: int) -> str:
        """Text of a token that the server named by its id alone; vLLM can be asked for it."""
        if id not in self._texts:
            text = f"<{id}>"
            if not self._silent:
                try:
                    payload = {"model": self.model_name, "tokens": [id]}
                    found = self.client.post(f"{self.client.root}/detokenize", payload, once=True)
                    text = str(found["prompt"])
                except (Refused, TypeError, KeyError):
                    self._silent = True
            self._texts[id] = text
        return self._texts[id]

    def _require_echo(self) -> None:
        if self.abilities.echo:
            raise ProbeError(
                "api",
                f"{self.base_url} cannot score a given text ({self.abilities.echo}): this probe needs a server"
                " with echo and logprobs, such as vLLM; probes that compare next tokens work here",
            )


def _concurrency() -> int:
    text = os.environ.get("SWAY_API_CONCURRENCY", "").strip()
    if not text:
        return CONCURRENCY
    if text.isdecimal() and 1 <= int(text) <= 64:
        return int(text)
    msg = f"SWAY_API_CONCURRENCY is {text!r}: give the number of requests at once, 1 to 64"
    raise SpecValidationError(msg)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _text_of(choice: Any) -> str:
    text = choice.get("text")
    if not isinstance(text, str):
        raise ProbeError("api", "the server generated no text")
    return text
