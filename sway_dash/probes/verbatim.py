"""How much of a text another text repeats, counted in words, and small changes to a prompt that keep its sense.

Words and punctuation marks rather than a model's tokens: the same for every model, and countable for backends that
give nothing but text. In scripts that do not divide words by spaces every character is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, get_args

Perturbation = Literal[
    "typo", "case_flip", "drop_punct", "synonym_swap", "clause_reverse", "prefix_inject", "register_shift"
]
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)

FEWEST_WORDS = 6
"""A target of fewer words (a table of digits) is compared character by character."""

LONGEST_WORD = 40
"""Characters within which a word is taken to end; what goes on longer is cut where it is."""

# Chinese and Japanese characters, and Thai, Lao, Tibetan, Burmese and Khmer ones.
_UNSPACED = (
    r"\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\U00020000-\U0003ffff"
)
# Scripts that do not divide words by spaces: a clause is no word, and the commas between clauses no likeness.
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")

_SYNONYMS = {
    "important": "significant",
    "big": "large",
    "small": "little",
    "many": "numerous",
    "begin": "start",
    "begins": "starts",
    "quick": "fast",
    "old": "ancient",
    "near": "close to",
    "often": "frequently",
    "help": "assist",
    "use": "employ",
    "show": "display",
    "shows": "displays",
    "find": "discover",
    "make": "create",
    "stands": "rises",
    "called": "named",
    "house": "home",
    "road": "street",
}


@dataclass(frozen=True, slots=True)
class Match:
    """What a continuation has in common with the true one, in words out of ``n``."""

    n: int
    exact: int
    """Words from the beginning on that are the same."""
    run: int
    """Longest run of words in a row that occurs in both."""
    similarity: float
    """1 − edit distance / n over the first n words, at least 0: also finds copies with single words changed."""

    @property
    def recall(self) -> float:
        """Share of the target that was recited: the longest run, or the similarity if that is larger."""
        return max(self.run / self.n, self.similarity) if self.n else 0.0

    def extracted(self, length: int) -> bool:
        """Whether the first ``length`` words (all, if there are fewer) came out without a mistake."""
        return self.n > 0 and self.exact >= min(length, self.n)


def match(said: str, target: str, *, cut: bool = False) -> Match:
    """Compare a continuation with the true one; with only as much of it, if the continuation was ``cut`` off.

    What there were no tokens left to say is not counted as unknown.
    """
    # Half a character at the end.
    said = said.rstrip("\ufffd") if cut else said
    wanted = _WORD.findall(target)
    if len(wanted) < FEWEST_WORDS:
        wanted, got = [c for c in target if not c.isspace()], [c for c in said if not c.isspace()]
    else:
        got = _WORD.findall(said)
        # A true continuation that ends within a word is not repeated by a whole one.
        if len(got) >= len(wanted) and got[len(wanted) - 1].startswith(wanted[-1]):
            got[len(wanted) - 1] = wanted[-1]
    if cut and len(got) < len(wanted):
        # Never less than a few words: one that is right is no recital.
        wanted = wanted[: max(len(got), FEWEST_WORDS)]
        if len(got) == len(wanted) and wanted[-1].startswith(got[-1]):
            got[-1] = wanted[-1]
    n = len(wanted)
    exact = next((i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), n))
    similarity = max(0.0, 1.0 - _distance(got[:n], wanted) / n) if n else 0.0
    return Match(n, exact, _longest_run(got, wanted), similarity)


def word_start(text: str, at: int) -> int:
    """Where the next word begins, from ``at`` on; ``at`` itself where none begins within :data:`LONGEST_WORD`."""
    places = range(at, min(at + LONGEST_WORD, len(text)) + 1)
    return next((i for i in places if i in (0, len(text)) or text[i - 1].isspace()), at)


def word_end(text: str, at: int, least: int) -> int:
    """Where the last word ends that fits between ``least`` and ``at``; ``at`` itself where none ends near."""
    places = range(min(at, len(text)), max(least, at - LONGEST_WORD), -1)
    return next((i for i in places if i == len(text) or text[i].isspace()), min(at, len(text)))


def _longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    best, row = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0, *((row[j] + 1 if x == y else 0) for j, y in enumerate(b))]
        best = max(best, *row)
    return best


def _distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)))
    return row[-1]


def gestalt_ratio(a: str, b: str) -> float:
    """Similarity of two texts as the public recall measures it: matching blocks of characters, 0 if either is empty."""
    return SequenceMatcher(None, a, b).ratio() if a and b else 0.0


def fragility(clean: float, perturbed: float) -> float:
    """Share of the recall that is lost under a perturbed prompt."""
    return max(0.0, (clean - perturbed) / clean) if clean > 0 else 0.0


# -- perturbations ----------------------------------------------------------------------------------------------------


def perturb(text: str, kind: Perturbation) -> str:
    """The text with one small change; the same text where the change does not apply."""
    return _HOW[kind](text) if text else text


def _typo(text: str) -> str:
    return text[1] + text[0] + text[2:] if len(text) > 1 else text


def _case_flip(text: str) -> str:
    found = next((i for i, c in enumerate(text) if c.isalpha()), None)
    return text if found is None else text[:found] + text[found].swapcase() + text[found + 1 :]


def _drop_punct(text: str) -> str:
    return text.translate({ord(c): None for c in ".,;:!?-—"})


def _synonym_swap(text: str) -> str:
    for found in re.finditer(r"[A-Za-z]+", text):
        if other := _SYNONYMS.get(found[0].lower()):
            other = other.capitalize() if found[0][0].isupper() else other
            return text[: found.start()] + other + text[found.end() :]
    return text


def _clause_reverse(text: str) -> str:
    for mark in (", ", " and ", " but ", " or "):
        at = text.find(mark)
        if at > 0:
            return text[at + len(mark) :].rstrip(".!?") + mark + text[:at]
    return text


def _prefix_inject(text: str) -> str:
    return "I think that " + text[0].lower() + text[1:]


def _register_shift(text: str) -> str:
    head = text[:30]
    return (head.lower() if any(c.isupper() for c in head) else head.upper()) + text[30:]


_HOW: dict[Perturbation, Callable[[str], str]] = {
    "typo": _typo,
    "case_flip": _case_flip,
    "drop_punct": _drop_punct,
    "synonym_swap": _synonym_swap,
    "clause_reverse": _clause_reverse,
    "prefix_inject": _prefix_inject,
    "register_shift": _register_shift,
}
