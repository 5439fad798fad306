"""Conversations whose answers come from one side, or from nobody: what both models are then made to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sway_dash.probes.chat import render

Say = Callable[[list[str]], list[str]]
"""Continues many prompts at once."""

NEUTRAL = (
    "That is a good question, and there are several ways to look at it.",
    "Some of it depends on the circumstances, as is often the case.",
    "Most people find one answer or another that works for them in the end.",
    "There is a little more to be said, but that is the general idea.",
    "Much of this has been written about before, in one form or another.",
    "It may help to think it over for a while and to come back to it later.",
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation up to each turn, and the answer given there.

    ``asked[k]`` is the rendered text before the answer of turn ``k + 1``; ``replies[k]`` that answer (one fewer than
    turns asked: the last turn is only looked at).
    """

    asked: tuple[str, ...]
    replies: tuple[str, ...]


def follow_up(follow_ups: Sequence[str], turn: int) -> str:
    """What the user says at a turn, counted from 2."""
    return follow_ups[(turn - 2) % len(follow_ups)]


def hold(
    tokenizer: Any, prompts: Sequence[str], follow_ups: Sequence[str], turns: int, answer: Callable[[int], Say]
) -> list[Conversation]:
    """Hold all conversations at once, turn by turn; ``answer(turn)`` gives who answers it."""
    messages = [[{"role": "user", "content": p}] for p in prompts]
    asked: list[list[str]] = [[] for _ in prompts]
    replies: list[list[str]] = [[] for _ in prompts]
    for turn in range(1, turns + 1):
        if turn > 1:
            for m in messages:
                m.append({"role": "user", "content": follow_up(follow_ups, turn)})
        texts = [render(tokenizer, m) for m in messages]
        for own, text in zip(asked, texts, strict=True):
            own.append(text)
        if turn == turns:
            break
        for m, own, reply in zip(messages, replies, answer(turn)(texts), strict=True):
            own.append(reply)
            m.append({"role": "assistant", "content": reply})
    return [Conversation(tuple(a), tuple(r)) for a, r in zip(asked, replies, strict=True)]


def neutral_replies(tokenizer: Any, reply: str) -> str:
    """Words about nothing, as long in tokens as ``reply``; as long in words where the tokenizer cannot be asked."""
    filler = " ".join(NEUTRAL)
    try:
        wanted = len(_ids(tokenizer, reply))
        ids: list[int] = []
        while len(ids) < wanted:
            more = _ids(tokenizer, filler if not ids else f" {filler}")
            if not more:
                raise ValueError("a tokenizer that makes nothing of words")
            ids += more
        text = str(tokenizer.decode(ids[:wanted], skip_special_tokens=True))
        if text.strip() or not reply.strip():
            return text
    except (AttributeError, TypeError, ValueError, NotImplementedError):  # any object may be called a tokenizer
        pass
    words = filler.split()
    return " ".join(words[i % len(words)] for i in range(len(reply.split())))


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(i) for i in tokenizer.encode(text, add_special_tokens=False)]
