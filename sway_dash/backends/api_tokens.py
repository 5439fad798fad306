"""Tokens as completions servers write them: which is which, how likely, and where in the text they stand.

Two shapes are read: ``{"tokens", "token_logprobs", "top_logprobs"}`` of the completions API (vLLM, llama-cpp-python)
and ``{"content": [{"token", "id", "bytes", "logprob", "top_logprobs"}]}`` (llama.cpp's own server).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import TokenDist

BROKEN = "\ufffd"
"""What a server writes for bytes that are no whole character: many tokens look like this."""
IMPOSSIBLE = -9000.0
"""vLLM writes −9999 for a logarithm of 0."""
_ID = re.compile(r"token_id:(\d+)")
_SPELLED = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")
_POSITIVE = 1e-3
_EXCESS = 1e-5
"""How far probabilities may sum above 1 where they were added in 32 bits."""
_EIGHT_BITS = 2.0**-8
"""Relative error of a logarithm that was rounded to 8 bits (bfloat16)."""
_EMPTY_TAIL = 1e-12
_ROUNDED = 1e-3
"""Nats by which one number may differ from itself in two places of an answer."""
_ID_BITS = 52
"""Screens hold numbers as doubles: a longer id would lose its last digits there."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of an answer. ``id`` where the server says it; ``raw`` its bytes, None where they cannot be known."""

    text: str
    raw: bytes | None
    id: int | None
    logprob: float | None


@dataclass(frozen=True, slots=True)
class NextTokens:
    """The likely next tokens of one prompt, most likely first, and how many could not be told apart."""

    tokens: tuple[ApiToken, ...]
    ambiguous: int = 0
    likeliest_twin: float = 0.0
    """Probability of the likeliest of those whose text another one has, too: the other side may list that text."""


def read_next(choice: Any, *, top_k: int, by_id: bool) -> NextTokens:
    """The next token's candidates, at most ``top_k``; ``ProbeError`` for what is no distribution.

    Without ids, tokens whose text is no whole character, or the same as another's, are left out of the list: their
    probability counts as unlisted, and the divergence's error bound covers it.
    """
    found = listed(choice)
    for token in found:
        _check(token)
    found = [t for t in found if t.logprob is not None and t.logprob > IMPOSSIBLE]
    # A server adds the token it drew to the list: beyond what was asked for it is no part of the top.
    found = sorted(found, key=lambda t: (-(t.logprob or 0.0), t.id or 0, t.text))[:top_k]
    total, most = _sum(found)
    if total > most:
        raise ProbeError(
            "api",
            f"the server's probabilities of the next token sum to {total:.6g}, not to at most 1: they are no"
            " distribution, so nothing can be measured with them",
        )
    names = [t.id if by_id else t.raw for t in found]
    seen = Counter(names)
    known = tuple(t for t, name in zip(found, names, strict=True) if name is not None and seen[name] == 1)
    if not known:
        raise ProbeError("api", "the server names no next token that can be told from others")
    twins = (t for t, name in zip(found, names, strict=True) if name is not None and seen[name] > 1)
    return NextTokens(known, len(found) - len(known), max((math.exp(t.logprob or 0.0) for t in twins), default=0.0))


def _sum(tokens: Sequence[ApiToken]) -> tuple[float, float]:
    """What the probabilities sum to, and the most that rounding explains; what it explains is never called exact."""
    logprobs = [min(t.logprob or 0.0, _POSITIVE) for t in tokens]
    probs = [math.exp(lp) for lp in logprobs]
    rounding = math.fsum(p * abs(lp) for p, lp in zip(probs, logprobs, strict=True))
    return math.fsum(probs), 1.0 + _EXCESS + _EIGHT_BITS * rounding


def as_dist(found: NextTokens, *, by_id: bool, vocab_size: int | None, texts: Sequence[str] = ()) -> TokenDist:
    """The candidates as a distribution; equal tokens get equal numbers, whichever side and request they come from."""
    logprobs = np.array([t.logprob for t in found.tokens], dtype=np.float64)
    ids = np.array([number(t, by_id=by_id) for t in found.tokens], dtype=np.int64)
    if len(set(ids.tolist())) < len(ids):
        raise ProbeError("api", "two different tokens got one number; measure with kind: hf")
    complete = vocab_size is not None and len(ids) >= vocab_size
    rest = 1.0 - float(np.exp(logprobs).sum())
    tail = None if complete else (math.log(rest) if rest > _EMPTY_TAIL else 0.0)
    size = vocab_size or len(ids)
    return TokenDist(ids, logprobs.astype(np.float32), size, tail, tuple(texts), found.likeliest_twin)


def number(token: ApiToken, *, by_id: bool) -> int:
    """The server's own id, or a number made of the token's bytes."""
    if by_id:
        if token.id is None:
            raise ProbeError("api", "the server stopped naming tokens by their ids")
        return token.id
    digest = hashlib.blake2b(token.raw or b"", digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _ID_BITS)


def _check(token: ApiToken) -> None:
    lp = token.logprob
    if lp is None or math.isnan(lp) or lp == math.inf:
        raise ProbeError("api", f"the server gives a non-finite log-probability ({lp}) for token {token.text!r}")
    if lp > _POSITIVE:
        raise ProbeError("api", f"the server gives a positive log-probability ({lp:.4g}) for token {token.text!r}")


# --- reading both shapes --------------------------------------------------------------------------------------------


def _logprobs(choice: Any) -> Mapping[str, Any]:
    found = choice.get("logprobs") if isinstance(choice, Mapping) else None
    if not isinstance(found, Mapping):
        raise ProbeError(
            "api",
            "the server gives no log-probabilities: start it so that it does"
            " (llama_cpp.server: --logits_all true), or use another one",
        )
    return found


def listed(choice: Any) -> list[ApiToken]:
    """The candidates of the first generated token, as they come."""
    found = _logprobs(choice)
    content = found.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        top = content[0].get("top_logprobs") if content and isinstance(content[0], Mapping) else None
        return [_from_content(t) for t in _items(top)]
    tops = found.get("top_logprobs")
    first = tops[0] if isinstance(tops, Sequence) and tops else None
    if isinstance(first, Mapping) and first:
        return _with_overwritten([_token(str(text), lp) for text, lp in first.items()], found)
    return [_from_content(t) for t in _items(first)]


def _with_overwritten(top: list[ApiToken], found: Mapping[str, Any]) -> list[ApiToken]:
    """The list, and the drawn token where another one with the same text took its place: a mapping holds one a text.

    Both can be had only together: where the sum would exceed 1 the server means something else by the drawn one's.
    """
    tokens, logprobs = found.get("tokens"), found.get("token_logprobs")
    if not (isinstance(tokens, list) and isinstance(logprobs, list) and tokens and logprobs):
        return top
    drawn = _token(str(tokens[0]), logprobs[0])
    beside = next((t.logprob for t in top if (t.text, t.id) == (drawn.text, drawn.id)), None)
    if drawn.logprob is None or beside is None or not beside + _ROUNDED < drawn.logprob <= _POSITIVE:
        return top
    total, most = _sum([drawn, *top])
    return [drawn, *top] if total <= most else top


def _items(value: Any) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ProbeError("api", "the server lists no likely next tokens; some list none where the text may end here")
    return value


def _from_content(item: Any) -> ApiToken:
    if not isinstance(item, Mapping) or not isinstance(item.get("token"), str):
        raise ProbeError("api", "the server's list of likely tokens has an unknown shape")
    token = _token(item["token"], item.get("logprob"))
    raw, id = item.get("bytes"), item.get("id")
    known = bytes(raw) if isinstance(raw, Sequence) and raw and all(_is_byte(b) for b in raw) else token.raw
    return ApiToken(token.text, known, id if type(id) is int else token.id, token.logprob)


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value < 256


def _token(text: str, logprob: Any) -> ApiToken:
    lp = float(logprob) if isinstance(logprob, int | float) and not isinstance(logprob, bool) else None
    if named := _ID.fullmatch(text):
        return ApiToken(f"<{named[1]}>", None, int(named[1]), lp)
    return ApiToken(text, raw_of(text), None, lp)


def raw_of(text: str) -> bytes | None:
    """Bytes of a token's text: ``bytes:\\xe2\\x80`` spelled out, None where a replacement character hides them."""
    if spelled := _SPELLED.fullmatch(text):
        return bytes.fromhex(spelled[1].replace("\\x", ""))
    # A server that drops bytes which are no character writes nothing at all.
    return None if BROKEN in text or not text else text.encode("utf-8", "surrogatepass")


# --- echoed texts ---------------------------------------------------------------------------------------------------


def read_echo(choice: Any) -> list[ApiToken]:
    """Every token of an echoed text in order, the generated one included; the first may have no log-probability."""
    found = _logprobs(choice)
    content = found.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        return [_from_content(t) for t in content]
    tokens, logprobs = found.get("tokens"), found.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list) or len(tokens) != len(logprobs):
        raise ProbeError("api", "the server's log-probabilities of a text have an unknown shape")
    return [_token(str(text), lp) for text, lp in zip(tokens, logprobs, strict=True)]


@dataclass(frozen=True, slots=True)
class Span:
    """A token and the bytes ``start`` to ``end`` of the text it stands for; empty for a start token.

    Tokens that only together make a character share the character's bytes: ``whole`` is False then.
    """

    token: ApiToken
    start: int
    end: int
    whole: bool = True


def spans(tokens: Sequence[ApiToken], text: str, *, generated: int | None = None) -> list[Span]:
    """Lay the echoed tokens along ``text``; ``generated`` tokens are said to follow it, None where nobody said.

    ``ProbeError`` where they do not spell it: then nobody knows which token a log-probability belongs to.
    """
    body = text.encode("utf-8", "surrogatepass")
    try:
        return _laid(tokens, body, closed=False)
    except ProbeError:
        # Only where the text ends among the bytes of a character does it matter; some servers list no generated token.
        if generated is None:
            raise
    return _laid(tokens[: len(tokens) - generated], body, closed=True)


def _laid(tokens: Sequence[ApiToken], body: bytes, *, closed: bool) -> list[Span]:
    out: list[Span] = []
    at = i = 0
    while i < len(tokens) and at < len(body):
        end = _fits(tokens[i], body, at)
        if end is not None:
            out.append(Span(tokens[i], at, end))
            at, i = end, i + 1
        elif not at and not i and _is_start(tokens, body):
            out.append(Span(tokens[i], 0, 0))
            i += 1
        else:
            group, end = _pieces(tokens, i, body, at, closed=closed)
            if out and not tokens[i].text and not body[at:end].isascii() and tokens[i + group - 1].raw is None:
                # A server that leaves out broken bytes may have left some out of the token before, too.
                at = out[-1].start
                out[-1] = Span(out[-1].token, at, end, whole=False)
            out += [Span(t, at, end, whole=False) for t in tokens[i : i + group]]
            at, i = end, i + group
    if at < len(body):
        raise _not_spelled(body)
    return out


def _is_start(tokens: Sequence[ApiToken], body: bytes) -> bool:
    """Whether the first token stands in front of the text, not in it."""
    return tokens[0].logprob is None and len(tokens) > 1 and _fits(tokens[1], body, 0) is not None


def _fits(token: ApiToken, body: bytes, at: int) -> int | None:
    """Where a token ends that is written at ``at``, with the space before it that some decoders swallow."""
    if token.raw is None:
        return None
    if body.startswith(token.raw, at):
        return at + len(token.raw)
    if body[at : at + 1] == b" " and body.startswith(token.raw, at + 1):
        return at + 1 + len(token.raw)
    return None


def _pieces(tokens: Sequence[ApiToken], i: int, body: bytes, at: int, *, closed: bool) -> tuple[int, int]:
    """How many tokens from ``i`` on share the bytes of characters that none of them shows whole, and where those end.

    ``closed``: the last token is known to be the text's, not a generated one.
    """
    group = 1
    while i + group < len(tokens) and tokens[i + group].raw is None:
        group += 1
    after = tokens[i + group] if i + group < len(tokens) else None
    hidden = tokens[i : i + group]
    reach = sum(5 + len(t.text.replace(BROKEN, "").encode()) + 4 * t.text.count(BROKEN) for t in hidden)
    if any(t.raw is not None for t in hidden):
        raise _not_spelled(body)
    if after is None:
        if closed and len(body) - at <= reach:
            return group, len(body)
        raise _not_spelled(body)
    for end in range(at, min(len(body), at + reach) + 1):
        if at < end and body[at:end].isascii():
            # Nothing that would have to be hidden.
            continue
        if end == len(body):
            # What follows was generated.
            return group, end
        if (body[end] & 0xC0) != 0x80 and (stop := _fits(after, body, end)) is not None:
            # Some decoders write nothing for the first bytes of a character and all of it with its last.
            return (group + 1, stop) if end == at else (group, end)
    raise _not_spelled(body)


def _not_spelled(body: bytes) -> ProbeError:
    text = body.decode("utf-8", "replace")
    return ProbeError("api", f"the tokens that the server echoes do not spell the text {text[:60]!r}")


def completion_start(found: Sequence[Span], prompt: str, completion: str) -> int:
    """Index of the first span that counts to the completion: the first that reaches beyond the prompt.

    A token over the boundary counts to the completion, as with local models. ``ProbeError`` where the boundary lies
    among tokens that only together make characters, so that nobody can say which of them reaches over it.
    """
    edge = len(prompt.encode("utf-8", "surrogatepass"))
    for i, span in enumerate(found):
        if span.end > edge:
            if not span.whole and span.start < edge:
                raise ProbeError(
                    "api", f"the boundary before {completion[:40]!r} lies within a character's tokens; move it"
                )
            return i
    return len(found)


def total(found: Sequence[Span], text: str) -> float:
    """Sum of the log-probabilities, nats; ``ProbeError`` where one is missing or no number."""
    for span in found:
        if span.token.logprob is None:
            raise ProbeError("api", f"the first token of a text has no context: put something before {text[:40]!r}")
        _check(span.token)
    return math.fsum(s.token.logprob or 0.0 for s in found)
