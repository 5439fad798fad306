"""Style as numbers: windows of equal length, and the rates in them that say how a text is written, not what about.

Three kinds of features, each counted alike: rhythm (sentence length, commas, other marks, word length, variety of
words), function words (Burrows 2002), and character trigrams at word edges and around punctuation, the ones that carry
style rather than topic (Sapkota et al. 2015).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sway_dash.core.packs import pack

Array = npt.NDArray[np.float64]

WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’-])*")
_SENTENCE_END = re.compile(r"[.!?…]+(?=[\s\"'»”’)\]]|$)")
_MARK = re.compile(r"[.:;!?—–()\[\]\"/»«“”-]")
_HEADING = re.compile(r"^#+ .*$", re.MULTILINE)
_MARKUP = re.compile(r"[*_`]")

LEAST_COVERED = 0.25
"""Share of a text's words that the list of its language covers at least."""

MOST_FEATURES = 60
"""Features of one kind at most; rarer ones are mostly noise in short texts."""

RHYTHM = ("words a sentence", "commas a word", "other marks a word", "letters a word", "variety of words")

RHYTHM_SPREAD = (8.0, 0.025, 0.035, 0.24, 0.04)
"""Usual spread of these between windows of 50 words of one text, as measured on the shipped English prose."""

PRIOR_WINDOWS = 8.0
"""How many windows' worth of weight the usual spread has against the observed one."""

MATTR_WORDS = 20
"""Words of the moving window of the type-token ratio."""


def clean(text: str) -> str:
    """Prose without the marks of Markdown: headings go, emphasis stays as plain words."""
    return _MARKUP.sub("", _HEADING.sub("", text)).strip()


def count_words(text: str) -> int:
    """Words of a text: runs of letters, with apostrophes and hyphens inside."""
    return sum(1 for _ in WORD.finditer(text))


def windows(text: str, n: int) -> list[str]:
    """Consecutive pieces of exactly ``n`` words with what stands between them; what is left over is dropped.

    Rates of texts of unequal length are comparable only over pieces of equal length: variety, above all, falls with
    every word more.
    """
    starts = [m.start() for m in WORD.finditer(text)]
    edges = [*starts[::n], len(text)]
    # The last piece may be short; it is kept only when it is whole.
    whole = len(starts) // n
    if whole < len(edges) - 1:
        edges = edges[: whole + 1]
    return [text[a:b] for a, b in pairwise(edges)]


def mattr(words: Sequence[str], n: int = MATTR_WORDS) -> float:
    """Moving-average type-token ratio (Covington and McFall 2010): mean share of different words in ``n`` neighbours.

    Unlike the plain ratio it does not fall with the length of the text. A text of fewer words is one window.
    """
    if not words:
        return 0.0
    n = min(n, len(words))
    return sum(len(set(words[i : i + n])) for i in range(len(words) - n + 1)) / (n * (len(words) - n + 1))


def rhythm(window: str) -> Array:
    """The features of :data:`RHYTHM` in one window."""
    words = [m.group().lower() for m in WORD.finditer(window)]
    n = max(1, len(words))
    sentences = max(1, len(_SENTENCE_END.findall(window)))
    return np.array(
        [
            len(words) / sentences,
            window.count(",") / n,
            len(_MARK.findall(window)) / n,
            sum(map(len, words)) / n,
            mattr(words),
        ]
    )


def trigrams(window: str) -> Counter[str]:
    """Character trigrams at the edges of words and around punctuation."""
    text = f" {' '.join(window.lower().split())} "
    found = (text[i : i + 3] for i in range(len(text) - 2))
    return Counter(g for g in found if not g.isalpha() and not any(c.isdigit() for c in g))


@cache
def function_words() -> dict[str, frozenset[str]]:
    """Closed-class words by language."""
    found = json.loads(pack("function_words.json").read_text(encoding="utf-8"))["languages"]
    return {language: frozenset(words.split()) for language, words in found.items()}


def language_of(words: Sequence[str]) -> str:
    """Language whose function words cover most of a text, empty when none covers a quarter."""
    covered = {name: sum(w in known for w in words) / max(1, len(words)) for name, known in function_words().items()}
    best = max(covered, key=lambda name: covered[name])
    return best if covered[best] >= LEAST_COVERED else ""


def function_share(text: str, language: str) -> float | None:
    """Share of a text's words that are function words of a language; about a half in prose, ``None`` if unknown."""
    known = function_words().get(language)
    words = [m.group().lower() for m in WORD.finditer(text)]
    return sum(w in known for w in words) / len(words) if known and words else None


@dataclass(frozen=True)
class Space:
    """Features and their scale, fixed by a document and the base's text, so that what is tested does not shape them.

    ``scale`` is the spread of a feature between windows of one text: its pooled estimate, drawn towards what counting
    alone would give (Poisson) where there are few windows.
    """

    n: int
    language: str
    words: tuple[str, ...]
    grams: tuple[str, ...]
    scale: Array
    weight: Array
    """``1/√k`` for each of the ``k`` features of a kind: the kinds count alike."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every feature, in order."""
        return (*RHYTHM, *self.words, *(repr(g) for g in self.grams))

    @property
    def kinds(self) -> tuple[tuple[str, slice], ...]:
        """The kinds that have features, and where they stand."""
        a, b = len(RHYTHM), len(RHYTHM) + len(self.words)
        found = (("rhythm", slice(0, a)), ("function words", slice(a, b)), ("trigrams", slice(b, b + len(self.grams))))
        return tuple((name, at) for name, at in found if at.stop > at.start)

    def of(self, text: str) -> Array:
        """Mean of a text's windows in units of the scale, weighted: ``(features,)``."""
        return np.asarray(self.matrix(text).mean(axis=0) / self.scale * self.weight)

    def matrix(self, text: str) -> Array:
        """Plain rates of every window: ``(windows, features)``."""
        return np.array([_rates(w, self.words, self.grams) for w in windows(text, self.n)])


def _rates(window: str, words: Sequence[str], grams: Sequence[str]) -> Array:
    own = Counter(m.group().lower() for m in WORD.finditer(window))
    edges = trigrams(window)
    n, total = max(1, own.total()), max(1, edges.total())
    return np.concatenate([rhythm(window), [own[w] / n for w in words], [edges[g] / total for g in grams]])


def space_of(document: str, base: str, n: int) -> Space:
    """Choose and scale the features of windows of ``n`` words for a document and the base's text."""
    sides = [windows(document, n), windows(base, n)]
    counted = [Counter(m.group().lower() for w in side for m in WORD.finditer(w)) for side in sides]
    language = language_of(list((counted[0] + counted[1]).elements()))
    edges = [sum((trigrams(w) for w in side), Counter[str]()) for side in sides]
    pooled = counted[0] + counted[1]
    known = function_words().get(language)
    listed = _shared(counted) if known is None else [w for w, _ in pooled.most_common() if w in known]
    words, grams = tuple(listed[:MOST_FEATURES]), tuple(_shared(edges)[:MOST_FEATURES])
    tables = [np.array([_rates(w, words, grams) for w in side]) for side in sides]
    # Every window counts once; the spread is around each text's own mean.
    within = sum(((t - t.mean(axis=0)) ** 2).sum(axis=0) for t in tables)
    free = sum(len(t) - 1 for t in tables)
    rates = np.vstack(tables).mean(axis=0)
    per_window = np.concatenate([np.full(len(words), n), np.full(len(grams), _mean_total(sides))])
    counting = np.sqrt(np.maximum(rates[len(RHYTHM) :], 0.5 / per_window) / per_window)
    usual = np.concatenate([np.array(RHYTHM_SPREAD) * math.sqrt(50.0 / n), counting])
    scale = np.sqrt((within + PRIOR_WINDOWS * usual**2) / (free + PRIOR_WINDOWS))
    sizes = [k for k in (len(RHYTHM), len(words), len(grams)) if k]
    weight = np.concatenate([np.full(k, 1.0 / math.sqrt(k)) for k in sizes])
    return Space(n, language, words, grams, scale, weight)


def _mean_total(sides: Sequence[Sequence[str]]) -> float:
    return float(np.mean([max(1, trigrams(w).total()) for side in sides for w in side]))


def _shared(counted: Sequence[Counter[str]]) -> list[str]:
    """What both texts use, most common first by the text that uses it less: topic words are rare in one of them."""
    first, second = counted
    totals = max(1, first.total()), max(1, second.total())
    least = {k: min(first[k] / totals[0], second[k] / totals[1]) for k in first.keys() & second.keys()}
    return sorted(least, key=lambda k: (-least[k], k))
