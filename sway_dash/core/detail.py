"""One prompt token by token: how base and another view predict every token of a text. Data only.

The text is the prompt followed by what the other view says next (greedy). A token's prediction is what both views
expected in its place, from the text before it; the first token has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import BASE, FINETUNED, View

Part = Literal["prompt", "continuation"]

DETAIL_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """A token one of the views finds likely, with its probability under both."""

    text: str
    id: int
    base: float
    tuned: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """How two views predict one position. Divergences in nats over the whole vocabulary.

    ``choices`` is the union of both views' likeliest tokens, likeliest (under either) first; probabilities are those
    of the full softmax, so what they leave to 1 is the mass of all other tokens.
    """

    js: float
    kl: float
    """KL(tuned ‖ base)."""
    kl_reverse: float
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenDetail:
    """One token of the text and how it was predicted."""

    text: str
    id: int
    part: Part = "prompt"
    special: bool = False
    prediction: Prediction | None = None
    base_logprob: float | None = None
    """Natural log-probability of this very token under the base."""
    tuned_logprob: float | None = None


@dataclass(frozen=True, slots=True)
class PromptDetail:
    """A prompt under two views: every token, and what each view says next (greedy)."""

    prompt: str
    reference: str = "base"
    view: str = "ft"
    tokens: tuple[TokenDetail, ...] = ()
    base_says: tuple[str, ...] = ()
    """Tokens of the reference's greedy continuation, as text."""
    tuned_says: tuple[str, ...] = ()
    truncated_tokens: int = 0
    """Tokens of a too long prompt that were left out, from its beginning."""

    @property
    def first_difference(self) -> int | None:
        """Index of the first continuation token in which the two differ; ``None`` when they say the same."""
        for i, (a, b) in enumerate(zip(self.base_says, self.tuned_says, strict=False)):
            if a != b:
                return i
        shorter = min(len(self.base_says), len(self.tuned_says))
        return None if len(self.base_says) == len(self.tuned_says) else shorter

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, lists instead of names where there are many; numbers to six significant digits, the many
        probabilities to four."""
        return {
            "schema": DETAIL_SCHEMA,
            "prompt": self.prompt,
            "reference": self.reference,
            "view": self.view,
            "truncated_tokens": self.truncated_tokens,
            "base_says": list(self.base_says),
            "tuned_says": list(self.tuned_says),
            "tokens": [_token_to_list(t) for t in self.tokens],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> PromptDetail:
        """Read what :meth:`to_dict` wrote. ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        if data.get("schema") != DETAIL_SCHEMA:
            msg = f"token details of schema {data.get('schema')!r} cannot be read: this program reads {DETAIL_SCHEMA}"
            raise ValueError(msg)
        return PromptDetail(
            prompt=str(data["prompt"]),
            reference=str(data["reference"]),
            view=str(data["view"]),
            tokens=tuple(_token_from_list(t) for t in data["tokens"]),
            base_says=tuple(str(t) for t in data["base_says"]),
            tuned_says=tuple(str(t) for t in data["tuned_says"]),
            truncated_tokens=int(data["truncated_tokens"]),
        )


@runtime_checkable
class Inspectable(Protocol):
    """Can show a prompt token by token."""

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
        """Yield ``(prompt index, detail)`` as they are finished, in no promised order.

        A prompt that cannot be measured yields its error. ``checkpoint`` is called between batches; whatever it
        raises ends the generator with all views restored.
        """
        ...


def _token_to_list(t: TokenDetail) -> list[Any]:
    p = t.prediction
    prediction = None
    if p is not None:
        choices = [[c.text, c.id, _short(c.base, 4), _short(c.tuned, 4)] for c in p.choices]
        prediction = [_short(p.js), _short(p.kl), _short(p.kl_reverse), choices]
    return [t.text, t.id, t.part, t.special, _short(t.base_logprob), _short(t.tuned_logprob), prediction]


def _token_from_list(data: Sequence[Any]) -> TokenDetail:
    text, token_id, part, special, base, tuned, found = data
    prediction = None
    if found is not None:
        js, kl, kl_reverse, choices = found
        named = tuple(Choice(str(c[0]), int(c[1]), float(c[2]), float(c[3])) for c in choices)
        prediction = Prediction(float(js), float(kl), float(kl_reverse), named)
    if part not in ("prompt", "continuation"):
        msg = f"a token belongs to the prompt or the continuation, not to {part!r}"
        raise ValueError(msg)
    return TokenDetail(
        str(text),
        int(token_id),
        part,
        bool(special),
        prediction,
        None if base is None else float(base),
        None if tuned is None else float(tuned),
    )


def _short(value: float | None, digits: int = 6) -> float | None:
    """Few significant digits: a screen shows three of thousands of numbers per prompt."""
    return None if value is None else float(f"{value:.{digits}g}")
