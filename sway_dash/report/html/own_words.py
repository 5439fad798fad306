"""The program's own words. Where prompts are hidden, text leaves only as far as it is made of them.

They are read from the constants of the code that writes messages, so that what is not there cannot leave, whoever has
put it into a message: a tokenizer's error, a probe of another package, a prompt cut in an unforeseen way.
"""

from __future__ import annotations

import ast
import builtins
import re
import string
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import SourceFileLoader
from itertools import pairwise
from pathlib import Path
from types import CodeType

HIDDEN = "▮"

SPEAKERS = ("core", "backends", "probes", "suite")
"""Packages whose words reach a run's records."""

FORMER = (
    " opted out",
    "the null",
    " does not vary: all",
    " draws are",
    "mean change",
    " nats on topic, ",
    " off topic",
    " of the spread lies between",
    " topics (ICC, 0 by chance), permutation p=",
    "permutation p=",
    "partial: ",
    " answers had come; they are not kept, resuming the run asks anew",
    "as many set wrong as right, for all that can be told (McNemar p=",
    " nats; 95 % Wilson interval of each position by itself",
    "95 % interval of each position by itself; answers that have ended are left out",
)
"""What messages said before: the records of those runs are read as long as they are there."""

_WORD = re.compile(r"[^\W_]+(?:_+[^\W_]+)*_*")
_NUMBER = re.compile(r"\d{1,6}(?:e\d*|st|nd|rd|th|s|ms|x|k|σ|B|M|G|[KMGT]i?B)?|nan|inf|[⁰¹²³⁴-⁹]+", re.IGNORECASE)
_BREAK = re.compile(r"""\.\s|[:;()\[\]{}<>=|/"“”«»≥≤±]|(?<!\w)['‘]|['’](?!\w)""")
_BESIDE = re.compile(r"\s+|-")
_MANY = re.compile(rf"{HIDDEN}(?:[^\w{HIDDEN}]*{HIDDEN})+")

NOT_OWN, WITH_OTHERS, OWN = range(3)
"""How a word is known: not at all; as a word or number that might as well be somebody else's; or for sure."""

LONG = 6
"""Letters from which a word makes two of the program's, one after another, no accident; three need none."""

MOST_ALONE = 4
"""So many words with no sentence of the program's own around them are somebody else's."""

Phrases = Mapping[str, Sequence[tuple[str, ...]]]
"""First word → the sequences of words that begin with it, the longest first."""


def phrases(texts: Iterable[str]) -> Phrases:
    """The texts as sequences of words."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for text in texts:
        if sequence := tuple(match[0].casefold() for match in _WORD.finditer(text)):
            found.setdefault(sequence[0], set()).add(sequence)
    return {first: sorted(all_, key=len, reverse=True) for first, all_ in found.items()}


def only_own(text: str, names: Phrases, aliases: Collection[str] = ()) -> str:
    """The text with a mark in place of everything that is neither the program's own nor a name nor an alias.

    A constant of the program stays where all its words stand one after another. A short one, and a number, may belong
    to a sentence of somebody else: they go with what stands beside them. Long numbers, and several with nothing but
    blanks or a hyphen between them, are those of a telephone or an account. Marks in a row are one.
    """
    own, signs = _own()
    found = list(_WORD.finditer(text))
    plain = [match[0].casefold() for match in found]
    known = _known(plain, own, names, {a.casefold() for a in aliases})
    between = [text[a.end() : b.start()] for a, b in pairwise(found)]
    for i, gap in enumerate(between):
        if _BESIDE.fullmatch(gap) and plain[i].isdecimal() and plain[i + 1].isdecimal():
            known[i : i + 2] = [NOT_OWN if how == WITH_OTHERS else how for how in known[i : i + 2]]
    for part in _sentences(between, len(found)):
        strange = any(set(between[i]) - signs - {HIDDEN} for i in part[:-1])
        alone = sum(not _NUMBER.fullmatch(plain[i]) for i in part)
        if OWN not in known[part.start : part.stop] and (strange or alone >= MOST_ALONE):
            known[part.start : part.stop] = [NOT_OWN] * len(part)
        for here, there in (*pairwise(part), *pairwise(reversed(part))):
            if known[here] == NOT_OWN and known[there] == WITH_OTHERS:
                known[there] = NOT_OWN
    out: list[str] = []
    at = 0
    for match, how in zip(found, known, strict=True):
        out += [_signs(text[at : match.start()], signs), match[0] if how else HIDDEN]
        at = match.end()
    out.append(_signs(text[at:], signs))
    return _MANY.sub(HIDDEN, "".join(out))


def _sentences(between: Sequence[str], words: int) -> Iterator[range]:
    """Places of words with nothing but blanks and the like between them."""
    start = 0
    for end in range(1, words + 1):
        if end == words or _BREAK.search(between[end - 1]):
            yield range(start, end)
            start = end


def own_name(text: str) -> bool:
    """Whether the program has made a name: one of its constants, with a number behind it or not."""
    stem = text.rstrip(string.digits + "._:+-")
    return bool(stem) and (text in _said() or stem in _said())


def own_field(text: str) -> bool:
    """Whether the program's probes write a key of that name."""
    return text in _fields()


def _known(plain: Sequence[str], own: Phrases, names: Phrases, aliases: Collection[str]) -> list[int]:
    known: list[int] = []
    while (place := len(known)) < len(plain):
        named, said = _length(plain, place, names) or (plain[place] in aliases), _length(plain, place, own)
        sure = named or said > 2 or (said == 2 and any(len(word) >= LONG for word in plain[place : place + 2]))
        if sure or said or _NUMBER.fullmatch(plain[place]):
            known += [OWN if sure else WITH_OTHERS] * max(named, said, 1)
        else:
            known.append(NOT_OWN)
    return known


def _length(plain: Sequence[str], place: int, table: Phrases) -> int:
    """How many words at a place are a whole phrase; the last may have the s of several."""
    for first in dict.fromkeys((plain[place], plain[place].removesuffix("s"))):
        for sequence in table.get(first, ()):
            there = tuple(plain[place : place + len(sequence)])
            if sequence in (there, (*there[:-1], there[-1].removesuffix("s"))):
                return len(sequence)
    return 0


def _signs(text: str, known: Collection[str]) -> str:
    return "".join(sign if sign in known or sign == HIDDEN else HIDDEN for sign in text)


@cache
def _own() -> tuple[Phrases, frozenset[str]]:
    """Everything the program says, and the signs between its words."""
    said = _said()
    failures = [name for name, kind in vars(builtins).items() if isinstance(kind, type)]
    used = {sign for text in said for sign in text if unicodedata.category(sign)[0] in "PS" and sign < "\u3000"}
    return phrases([*said, *failures]), frozenset(used | {" ", "\n"} | set(string.punctuation))


@cache
def _said() -> frozenset[str]:
    return frozenset((*_constants(), *FORMER))


@cache
def _fields() -> frozenset[str]:
    """Keys of the tables that functions of probes build: those of a module are its data."""
    root = Path(__file__).resolve().parents[2]
    trees = [ast.parse(path.read_bytes()) for folder in ("core", "probes") for path in (root / folder).glob("*.py")]
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    inside = [node for function in functions for node in ast.walk(function)]
    keys = [key for node in inside if isinstance(node, ast.Dict) for key in node.keys]
    keys += [node.slice for node in inside if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)]
    return frozenset(k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str))


def _constants() -> Iterator[str]:
    root = Path(__file__).resolve().parents[2]
    for folder in SPEAKERS:
        for path in sorted((root / folder).glob("*.py")):
            name = f"{root.name}.{folder}.{path.stem}"
            code = SourceFileLoader(name, str(path)).get_code(name)
            if code is not None:
                yield from _texts(code)


def _texts(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _texts(constant)
        else:
            # Tables and choices are kept as tuples of their texts.
            for text in constant if isinstance(constant, tuple | frozenset) else (constant,):
                if isinstance(text, str):
                    yield text
