"""Finds the user's texts inside other text: prompts quoted whole, or cut to what a message has room for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import takewhile

from sway_dash.report.html.own_words import HIDDEN
from sway_dash.report.html.redact_evidence import CUT

BEGIN = 24
"""Characters from which the beginning of a text stands for it; messages and evidence cut texts after 40 and more."""

SHORT = 4
"""Characters from which a prompt is looked for without quotation marks."""

_QUOTED = re.compile(
    r"""(?<![\w\\])(['"`])((?:\\.|(?!\1)[^\\\n]){1,400})\1(?!\w)|([“‘«„])([^\n]{1,400}?)([”’»“])(?!\w)"""
)


class Quotes:
    """Puts names in the place of texts.

    ``names`` are the texts with what they are called, ``prompts`` those of them that are prompts: other ones, such as
    a short answer, may be any word of the program's own. Anything else in quotation marks is hidden, be it one word,
    save these names and what is in ``kept``: texts of a document are in no suite.
    """

    def __init__(self, names: Mapping[str, str], prompts: Collection[str], kept: Collection[str]) -> None:
        self._kept = frozenset([*kept, *names.values(), HIDDEN])
        self._starts: dict[str, list[tuple[str, str]]] = {}
        for text, name in names.items():
            if len(text) >= (SHORT if text in prompts else CUT):
                for form in _forms(text):
                    self._starts.setdefault(form[:BEGIN], []).append((form, name))
            elif text.strip():
                self._starts.setdefault(repr(text), []).append((repr(text), repr(name)))

    def __call__(self, text: str) -> str:
        """The text without what it quotes."""
        found = [start for start in self._starts if start in text]
        return _QUOTED.sub(self._unknown, self._named(text, found) if found else text)

    def _named(self, text: str, found: Collection[str]) -> str:
        out: list[str] = []
        at = 0
        while at < len(text):
            here = [form for start in found if text.startswith(start, at) for form in self._starts[start]]
            # Of several that begin alike the one of which most stands there, a whole one before a cut one.
            shared = [(n := _shared(text, at, form), n == len(form), name) for form, name in here]
            length, _, name = max(shared, key=lambda one: one[:2], default=(0, False, ""))
            out.append(name if length else text[at])
            at += length or 1
        return "".join(out)

    def _unknown(self, found: re.Match[str]) -> str:
        opened, inner, closed = (found[1], found[2], found[1]) if found[1] else (found[3], found[4], found[5])
        return found[0] if inner.rstrip("…") in self._kept else f"{opened}{HIDDEN}{closed}"


def _forms(text: str) -> list[str]:
    """The text as it is and as Python writes it, which escapes marks only where the cut text has both."""
    written = repr(text)[1:-1]
    return list(dict.fromkeys([text, written, written.replace("\\'", "'")]))


def _shared(text: str, at: int, form: str) -> int:
    """How many characters of a form stand at a place."""
    pairs = zip(form, text[at : at + len(form)], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
