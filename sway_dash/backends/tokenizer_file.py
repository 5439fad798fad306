"""A model's ``tokenizer.json`` by itself: how a prompt is cut into tokens, without the model and without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sway_dash.core.errors import BackendNotAvailableError, ModelLoadError

FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text; ``special`` when it is no part of the text itself, such as a start token."""

    text: str
    id: int
    special: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """A text cut into tokens as it is going to be scored."""

    tokens: tuple[Token, ...]
    second_start: bool = False
    """The text began with a start token of its own, so the tokenizer's was one too many and is left out."""


class TokenizerFile:
    """A tokenizer read from a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = _config(folder)
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise BackendNotAvailableError("hf", extra="hf", hint=f"tokenizers cannot be imported: {error}") from error
        try:
            self._inner: Any = Tokenizer.from_file(str(folder / FILE))
        except Exception as error:  # the library raises bare exceptions
            raise ModelLoadError(f"{folder / FILE} cannot be read: {error}") from error
        self._inner.no_truncation()
        self._inner.no_padding()

    @property
    def start(self) -> str:
        """The start token, empty if there is none."""
        return _token(self.config.get("bos_token"))

    @property
    def end(self) -> str:
        """The end token, empty if there is none."""
        return _token(self.config.get("eos_token"))

    @property
    def has_template(self) -> bool:
        """Whether the model comes with a chat template."""
        return bool(self.config.get("chat_template")) or (self.folder / "chat_template.jinja").is_file()

    def specials(self, text: str) -> list[str]:
        """Special tokens that are written out in a text."""
        added = self._inner.get_added_tokens_decoder().values()
        return [str(t.content) for t in added if t.special and str(t.content) in text]

    def cut(self, text: str) -> Cut:
        """Tokens of a text: with the start token, once, and without an end token the tokenizer puts behind it."""
        found = self._inner.encode(text, add_special_tokens=True)
        ids, special = list(found.ids), list(found.special_tokens_mask)
        spans, names = list(found.offsets), list(found.tokens)
        start, end = self._id(self.start), self._id(self.end)
        first = 1 if start is not None and ids[:2] == [start, start] else 0
        last = len(ids)
        if end is not None and last - first > 1 and ids[-1] == end and special[-1]:
            last -= 1
        tokens = []
        for i in range(first, last):
            a, b = spans[i]
            name = names[i]
            # A part of a character has no text of its own; a start token stands nowhere in the text.
            shared = (i + 1 < len(spans) and spans[i + 1][0] < b) or (i > 0 and spans[i - 1][1] > a)
            own = text[a:b] if b > a and not shared else name
            tokens.append(Token(own, ids[i], special=bool(special[i]) or own in (self.start, self.end)))
        return Cut(tuple(tokens), second_start=bool(first))

    def _id(self, token: str) -> int | None:
        found = self._inner.token_to_id(token) if token else None
        return None if found is None else int(found)


def tokenizer_folder(base: Path | None, adapter: Path | None) -> Path | None:
    """Where the run will take its tokenizer from: the adapter's folder if it has one, else the base's."""
    if adapter is not None and (adapter / "tokenizer_config.json").is_file():
        return adapter if (adapter / FILE).is_file() else None
    return base if base is not None and (base / FILE).is_file() else None


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _token(value: Any) -> str:
    """A special token of the configuration: plain text or a record with its content."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""
