"""The public style fingerprint: six numbers of a text, nine with spaCy and textstat. Kept as evidence.

Several of its dimensions depend on the length of the text and none is scaled; see ``style_features`` for what is
judged.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np

from sway_dash.probes.style_features import WORD, Array

FINGERPRINT_SCHEMA_VERSION = 2

CORE = 6
EXTENDED = 9

DIMENSIONS = (
    "words a sentence / 30",
    "spread of words a sentence / 30",
    "type-token ratio",
    "letters a word / 10",
    "punctuation a character x 10",
    "30 / words a paragraph",
    "passive sentences x 10",
    "entropy of part-of-speech 4-grams / 10",
    "syllables a token / 5",
)

_PUNCTUATION = set(".,:;!?-—()[]\"'/")
_MODEL = "en_core_web_sm"

Pipeline = Callable[[str], Any]


def fingerprint(text: str, *, extended: bool = False) -> Array:
    """Numbers of :data:`DIMENSIONS`, ``(6,)``, with ``extended`` ``(9,)``; zeros for a text without words.

    Where spaCy, its English model or textstat is missing a text has the first six, also with ``extended``; ask
    :func:`extended_available` first where texts are to be compared.
    """
    words = WORD.findall(text)
    if not words:
        return np.zeros(EXTENDED if extended else CORE)
    sentences = [len(WORD.findall(s)) for s in re.split(r"(?<=[.!?])\s+", text.strip()) if s.strip()]
    paragraphs = [len(WORD.findall(p)) for p in re.split(r"\n\s*\n", text.strip()) if p.strip()]
    core = (
        statistics.fmean(sentences) / 30.0,
        statistics.pstdev(sentences) / 30.0,
        len({w.casefold() for w in words}) / len(words),
        statistics.fmean(map(len, words)) / 10.0,
        sum(c in _PUNCTUATION for c in text) / len(text) * 10.0,
        30.0 / max(statistics.fmean(paragraphs), 1.0),
    )
    return np.array([*core, *((extended_dimensions(text) or ()) if extended else ())])


def has_style_extra() -> bool:
    """Whether spaCy and textstat are installed."""
    return all(find_spec(name) is not None for name in ("spacy", "textstat"))


def extended_available() -> bool:
    """Whether the extended dimensions can be computed here: packages and the language model."""
    return has_style_extra() and _pipeline() is not None


def extended_dimensions(text: str) -> tuple[float, float, float] | None:
    """The three extended dimensions; ``None`` where packages or the language model are missing."""
    tagger = _pipeline() if has_style_extra() else None
    if tagger is None:
        return None
    document = tagger(text)
    tokens = [t for t in document if not t.is_space]
    sentences = [list(s) for s in document.sents]
    passive = sum(_passive(s) for s in sentences) / max(1, len(sentences))
    return passive * 10.0, _entropy([t.pos_ for t in tokens]) / 10.0, _syllables(text) / max(1, len(tokens)) / 5.0


def _passive(sentence: Sequence[Any]) -> bool:
    """The public rule, a noun directly followed by a past participle; not a test of passive voice."""
    return any(a.pos_ in ("NOUN", "PROPN") and b.tag_ == "VBN" for a, b in pairwise(sentence))


def _entropy(tags: Sequence[str], n: int = 4) -> float:
    """Shannon entropy of the runs of ``n`` tags, bits."""
    counts = Counter(tuple(tags[i : i + n]) for i in range(len(tags) - n + 1))
    total = counts.total()
    return -sum(c / total * math.log2(c / total) for c in counts.values()) if total else 0.0


def _syllables(text: str) -> float:
    """Syllables as textstat counts them: by the CMU dictionary, and by hyphenation for words that are not in it.

    textstat would fetch a missing dictionary from the network and fail where there is none; all words are hyphenated
    then.
    """
    try:
        import_module("nltk.data").find("corpora/cmudict")
    except (ImportError, LookupError):
        positions = import_module("pyphen").Pyphen(lang="en_US").positions
        return float(sum(len(positions(word)) + 1 for word in WORD.findall(text.lower())))
    return float(import_module("textstat").syllable_count(text))


@cache
def _pipeline() -> Pipeline | None:
    """The English spaCy pipeline, loaded once; ``None`` when it is not there, or finds no sentences."""
    try:
        loaded: Pipeline = import_module("spacy").load(_MODEL)
        list(loaded("A sentence.").sents)
    except Exception:
        # Whatever a third party raises for a missing or unfit model: without it the core dimensions remain.
        return None
    return loaded
