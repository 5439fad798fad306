"""Finding out what a completions server can do, by asking it: no list of servers and versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sway_dash.backends.api_client import Refused, Unreachable
from sway_dash.backends.api_known import Answers
from sway_dash.backends.api_tokens import ApiToken, listed, read_echo, read_next, spans
from sway_dash.core.errors import ProbeError

TOP_K = 256
"""Asked for at first; what a server refuses or leaves out is learnt from its answer."""
CANARY_TOP = 20
"""Tokens of a canary's answer; more of them say no more of the weights."""
LIMITS = (100, 20, 5)
"""Numbers of log-probabilities that servers are known to allow, tried when one names none."""
ONE: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "top_p": 1.0, "seed": 0, "echo": False}
"""A request for the next token."""
ECHO: dict[str, Any] = {**ONE, "echo": True, "logprobs": 1}
"""A request for the tokens of a text, and one token more than needed: some servers take 0 for no limit."""
SAMPLE = "The quick brown fox jumps over the lazy dog. The harbour lies by the"
SECOND = "1 + 1 = 2, and 2 + 2 ="
MIXED = "def naïve(x): return x ** 2  # 東京 😀 1234567 Ünïcode"
_AGREE = 0.2
"""Nats by which two answers to one question may differ: rounding to 16 bits, batches of other sizes."""
_ABOUT = re.compile("logprob|n_probs", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


class Request(Protocol):
    """Sends prompts, returns one choice for each and the number of generated tokens of each, where known."""

    def __call__(
        self, prompts: Sequence[str], options: dict[str, Any], *, once: bool = False
    ) -> tuple[list[Any], int | None]:
        """Raise ``ProbeError`` when there is no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server turned out to be able to do."""

    top_k: int
    """Candidates of a next token it lists."""
    ids: str
    """``asked``: it names tokens by ids when asked to; ``given``: always, beside the text; empty: never."""
    lists: bool
    """Several prompts in one request."""
    echo: str
    """Empty when it gives the log-probabilities of a text; else why not."""
    cut: tuple[str, ...]
    """Sample texts as its tokenizer cuts them; empty if it does not tell."""
    answers: Answers
    """What :func:`canary` was told: part of what identifies the model."""
    names: frozenset[str]
    """Every token listed after it, as the server writes tokens."""


def meet(request: Request) -> Abilities:
    """Ask a handful of small questions; ``ProbeError`` when the server cannot do the least."""
    choice, k = _first_answer(request)
    given = _has_ids(choice)
    found = read_next(choice, top_k=k, by_id=given)
    _require_several(found.tokens)
    # It may list fewer than it was asked for. The token it drew is the likeliest of them at temperature 0.
    k = min(k, len(found.tokens) + found.ambiguous)
    ids = "given" if given else "asked" if _ids_on_request(request, k) else ""
    echo, cut = _echo(request, found.tokens)
    names = frozenset(t.text for t in found.tokens)
    return Abilities(k, ids, _takes_lists(request, found.tokens[0], k), echo, cut, canary(request, k), names)


def canary(request: Request, k: int) -> Answers:
    """Likeliest tokens after two prompts, to three decimals: other weights under the same name answer otherwise.

    Each is asked alone, so that a batch of another size does not look like another model: that of the prompts asked
    here. What others ask a server at the same time still moves its answers a little.
    """
    said = []
    for prompt in (SAMPLE, SECOND):
        choices, _ = request([prompt], {**ONE, "logprobs": min(k, CANARY_TOP)})
        said.append(tuple(sorted((t.text, round(t.logprob or 0.0, 3) + 0.0) for t in listed(choices[0]))))
    return tuple(said)


def _first_answer(request: Request) -> tuple[Any, int]:
    """The answer to a sample prompt with as many candidates as the server allows."""
    tried = [TOP_K]
    while True:
        k = tried[-1]
        try:
            return request([SAMPLE], {**ONE, "logprobs": k})[0][0], k
        except Refused as error:
            if error.status not in (400, 422) or not _ABOUT.search(error.said):
                raise
            named = sorted((int(n) for n in _NUMBER.findall(error.said) if 0 < int(n) < k), reverse=True)
            fewer = [n for n in (*named, *LIMITS) if n < k and n not in tried]
            if not fewer:
                raise
            tried.append(fewer[0])


def _has_ids(choice: Any) -> bool:
    found = listed(choice)
    return bool(found) and all(t.id is not None for t in found)


def _ids_on_request(request: Request, k: int) -> bool:
    options = {**ONE, "logprobs": k, "return_tokens_as_token_ids": True}
    try:
        (choice,), _ = request([SAMPLE], options, once=True)
        return _has_ids(choice)
    except Refused:
        return False


def _takes_lists(request: Request, top: ApiToken, k: int) -> bool:
    try:
        choices, _ = request([SECOND, SAMPLE], {**ONE, "logprobs": k}, once=True)
        there = {t.text: t.logprob for t in listed(choices[1])}
    except Unreachable:
        raise
    except ProbeError:
        return False
    # Not enough that it answers: the answer to the second prompt has to be the second.
    return _agree(there.get(top.text), top.logprob)


def _echo(request: Request, after: Sequence[ApiToken]) -> tuple[str, tuple[str, ...]]:
    """Why texts cannot be scored, empty if they can; and sample texts as the tokenizer cuts them."""
    known, tail = _continuation(after)
    try:
        choices, new = request([SAMPLE + tail], ECHO, once=True)
        found = spans(read_echo(choices[0]), SAMPLE + tail, generated=new)
    except Unreachable:
        raise
    except ProbeError as error:
        return str(error).removeprefix("api: "), ()
    cut = tuple(s.token.text for s in found[:-1])
    last = found[-1]
    if known and last.start == len(SAMPLE.encode()) and not _agree(last.token.logprob, known.logprob):
        # Off by one: some servers pair every token with what follows it when the text has no start token.
        return "what it says of a text's tokens contradicts what it says of the next token", cut
    try:
        choices, new = request([MIXED], ECHO, once=True)
        cut += tuple(s.token.text for s in spans(read_echo(choices[0]), MIXED, generated=new))
    except Unreachable:
        raise
    except ProbeError:
        # A tokenizer may lose some of these characters; the other text still tells tokenizers apart.
        pass
    return "", cut


def _continuation(after: Sequence[ApiToken]) -> tuple[ApiToken | None, str]:
    """A likely word after the sample, and its text with the space before it."""
    words = [t for t in after if t.raw is not None and t.text.strip().isalpha()]
    spaced = [t for t in words if t.text.startswith(" ")]
    if spaced:
        return spaced[0], spaced[0].text
    # Decoded alone, a word of some tokenizers has lost its space.
    return (words[0], f" {words[0].text}") if words else (None, " river")


def _agree(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) < _AGREE


def _require_several(tokens: Sequence[ApiToken]) -> None:
    """``ProbeError`` for one certain token and nothing else: probabilities after a temperature of 0."""
    if len(tokens) == 1 and (tokens[0].logprob or 0.0) > -1e-6:
        raise ProbeError(
            "api",
            "the server gives the drawn token probability 1 and lists no other: its log-probabilities are those after"
            " sampling; have it give the model's own (vLLM: --logprobs-mode raw_logprobs)",
        )
