"""Text to token ids and back, as one tokenizer and one context length see it. No torch.

What every caller would otherwise get wrong in its own way lives here: start tokens once, boundaries between prompt and
completion, prompts that are too long, the text of a single token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sway_dash.core.errors import ProbeError

_NO_LIMIT = 8192
_LONGEST_CHARACTER = 8
"""Tokens after which a character counts as broken: four bytes at most, and a token may end one and begin the next."""


class Tokens:
    """A ``transformers`` tokenizer, the most tokens its model takes at once, and how many tokens the model knows."""

    def __init__(self, tokenizer: Any, max_context: int, known: int) -> None:
        self.tokenizer = tokenizer
        self._known = known
        self.max_context = max_context
        self._texts: dict[int, str] = {}
        self._anchor: int | None = None
        self._eos_appended: bool | None = None
        self._special: frozenset[int] | None = None

    @property
    def bos(self) -> int | None:
        """The start token, if there is one."""
        found = self.tokenizer.bos_token_id
        return None if found is None else int(found)

    def encode(self, text: str) -> list[int]:
        """Token ids as the tokenizer makes them: with its start token, once, and without an end token."""
        return self._trim([int(i) for i in self.tokenizer(text, verbose=False)["input_ids"]])[0]

    def _trim(self, ids: list[int]) -> tuple[list[int], int]:
        """Drop a second start token and an appended end token; also return how many were dropped in front."""
        if ids and max(ids) >= self._known:
            token = self.tokenizer.convert_ids_to_tokens(max(ids))
            raise ProbeError("scoring", f"the model has no embedding for token {token!r} of this tokenizer")
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        front = 0
        # A chat template often writes the start token into the text, and the tokenizer puts one more before it.
        if bos is not None and ids[:2] == [bos, bos]:
            ids, front = ids[1:], 1
        if eos is not None and self._appends_eos and len(ids) > 1 and ids[-1] == eos:
            ids = ids[:-1]
        return ids, front

    @property
    def _appends_eos(self) -> bool:
        if self._eos_appended is None:
            ids = self.tokenizer("a", verbose=False)["input_ids"]
            self._eos_appended = len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id
        return self._eos_appended

    def encode_prompt(self, text: str, *, room: int = 0) -> tuple[list[int], int]:
        """Token ids of a prompt that leaves ``room`` for more, and how many were left out from its beginning."""
        ids = self.encode(text)
        if not ids:
            raise ProbeError("scoring", "the prompt has no tokens and this tokenizer adds no start token")
        return self.fit(ids, room=room)

    def fit(self, ids: list[int], *, room: int = 0) -> tuple[list[int], int]:
        """Keep the last tokens that fit into the context (and the start token, which models lean on)."""
        limit = max(1, self.max_context - room)
        dropped = len(ids) - limit
        if dropped <= 0:
            return ids, 0
        keeps_start = limit > 1 and ids[0] == self.tokenizer.bos_token_id
        return ([ids[0], *ids[dropped + 1 :]] if keeps_start else ids[dropped:]), dropped

    def encode_pair(self, prompt: str, completion: str) -> tuple[list[int], int]:
        """Tokenise ``prompt + completion`` in one go and return the ids and the index of the first scored one.

        Every token that reaches beyond the prompt's last character counts to the completion, so a token that
        straddles the boundary is scored: its probability includes the prompt's last characters. When nothing stands
        before the first scored token (an empty prompt, no start token), the end-of-text token serves as context.
        """
        ids, start = self._boundary(prompt, completion)
        if start >= len(ids):
            raise ProbeError("scoring", f"completion tokenized to zero tokens: {completion[:60]!r}")
        if start > 0:
            return ids, start
        lead = self.tokenizer.bos_token_id
        lead = self.tokenizer.eos_token_id if lead is None else lead
        if lead is not None:
            return [int(lead), *ids], 1
        if len(ids) < 2:
            raise ProbeError("scoring", "the first token of a text has no context, and this tokenizer no start token")
        return ids, 1

    def _boundary(self, prompt: str, completion: str) -> tuple[list[int], int]:
        text = prompt + completion
        if getattr(self.tokenizer, "is_fast", False):
            found = self.tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
            ids, front = self._trim([int(i) for i in found["input_ids"]])
            ends = [end for _, end in found["offset_mapping"]][front : front + len(ids)]
            special = found["special_tokens_mask"][front : front + len(ids)]
            for i, (end, is_special) in enumerate(zip(ends, special, strict=True)):
                if not is_special and end > len(prompt):
                    return ids, i
        else:
            ids = self.encode(text)
        # No offsets, or a last token that claims no characters (lone spaces do in some tokenizers): what the prompt's
        # own tokens do not cover is the completion.
        alone = self.encode(prompt)
        if not completion:
            return ids, len(ids)
        common = 0
        while common < min(len(ids), len(alone)) and ids[common] == alone[common]:
            common += 1
        return ids, common

    def decode(self, ids: Sequence[int]) -> str:
        """Text of newly generated tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def is_special(self, token: int) -> bool:
        """Whether a token stands for no text: start, end, turns of a chat, padding of the vocabulary."""
        if self._special is None:
            added = getattr(self.tokenizer, "added_tokens_decoder", {})
            named = {int(i) for i, token in added.items() if token.special}
            self._special = frozenset({int(i) for i in self.tokenizer.all_special_ids} | named)
        return token in self._special or token >= len(self.tokenizer)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Text of every token in its place; joined they are the text, special tokens by their names.

        Decoded alone a token may read otherwise: a sentencepiece decoder drops the space before a first word, and a
        byte-level token may hold part of a character. So each token gets what it adds to the text before it, as the
        tokenizer decodes both. Of a character spread over several tokens the last one gets it whole and those before
        it are empty; a text that ends within a character ends with a replacement character.
        """
        out = [""] * len(ids)
        # The text of ``ids[start:read]`` has been given out; it stays as context for what follows.
        start = read = 0
        before = text = ""
        for i, token in enumerate(ids):
            if self.is_special(token):
                if read < i:
                    out[i - 1] = text[len(before) :]
                out[i] = f"<{token}>" if token >= len(self.tokenizer) else self._name(token)
                start = read = i + 1
                before = text = ""
                continue
            text = self._decoded(ids[start : i + 1])
            if text.endswith("\ufffd") and i + 1 - read < _LONGEST_CHARACTER:
                continue
            out[i] = text[len(before) :]
            start, read = read, i + 1
            before = text = self._decoded(ids[start:read])
        if read < len(ids):
            out[-1] = text[len(before) :]
        return out

    def _decoded(self, ids: Sequence[int]) -> str:
        found = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(found)

    def _name(self, token: int) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(token))

    def token_text(self, token: int) -> str:
        """Text of one token as it stands inside a sentence, its leading space included."""
        if token not in self._texts:
            self._texts[token] = self._token_text(token)
        return self._texts[token]

    def _token_text(self, token: int) -> str:
        if token >= len(self.tokenizer):
            return f"<{token}>"
        if self._anchor is None:
            self._anchor = (self.encode("a") or [0])[-1]
        # Alone, sentencepiece decoders swallow the space; after another token they do not.
        lead, both = self._decoded([self._anchor]), self._decoded([self._anchor, token])
        text = both[len(lead) :] if both.startswith(lead) else self.tokenizer.decode([token])
        # Part of a multi-byte character has no text of its own.
        return self._name(token) if "\ufffd" in text or not text else str(text)


def max_context(model: Any, tokenizer: Any) -> int:
    """The most tokens ``model`` takes at once, from its configuration, else from the tokenizer."""
    config = model.config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length", "max_sequence_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 1:
            return value
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if isinstance(limit, int) and 1 < limit < 10_000_000 else _NO_LIMIT
