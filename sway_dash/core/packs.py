"""What ships for measuring harm: everyday facts, and texts of several domains. Reads ``assets/packs``.

A corpus is a text file. Lines that begin with ``#`` say where it comes from and under which licence; ``# part: title``
begins a new text, and only texts of different parts are taken to be independent of each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

from sway_dash.core.shipped import shipped

PART_BREAK = "\n\n\n"
"""Stands between the parts of a loaded corpus; paragraphs are one newline nearer."""

MIN_CHUNK = 64
"""Characters; a shorter piece says nothing about a model."""

_PART = "# part:"
_BOUNDARY = re.compile(r"""[.!?…]["'»”’)\]]*\s+|\n+""")


@dataclass(frozen=True, slots=True)
class FactItem:
    """The beginning of a statement, its one right continuation, and what it is about."""

    prompt: str
    gold: str
    topic: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a corpus; ``part`` counts the texts it is cut from, from 0."""

    text: str
    part: int


def packs_dir() -> Path:
    """Folder of the packs."""
    return shipped("assets/packs/calibration.json").parent


def pack(name: str) -> Path:
    """Path of a file of the packs; ``FileNotFoundError`` when it does not ship."""
    return shipped(f"assets/packs/{name}")


@cache
def calibration_items() -> tuple[FactItem, ...]:
    """200 everyday facts; the topics take turns, so that every prefix is as balanced as it can be."""
    found = json.loads(pack("calibration.json").read_text(encoding="utf-8"))
    return tuple(FactItem(i["prompt"], i["gold"], i["topic"]) for i in found["items"])


@cache
def available_corpora() -> tuple[str, ...]:
    """Names of the corpora that ship."""
    return tuple(sorted(path.stem for path in (packs_dir() / "corpora").glob("*.txt")))


def load_corpus(name: str) -> str:
    """Text of a corpus without its comment lines; ``KeyError`` when there is none of that name.

    Paragraphs are divided by one empty line, parts by :data:`PART_BREAK`.
    """
    return PART_BREAK.join(text for _, text in _parts(name))


def part_titles(name: str) -> tuple[str, ...]:
    """Titles of the parts of a corpus, in the order of :attr:`Chunk.part`."""
    return tuple(title for title, _ in _parts(name))


@cache
def _parts(name: str) -> tuple[tuple[str, str], ...]:
    if name not in available_corpora():
        raise KeyError(f"unknown corpus {name!r}; there are {', '.join(available_corpora())}")
    parts: list[tuple[str, list[str]]] = [("", [])]
    for line in pack(f"corpora/{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(_PART):
            parts.append((line.removeprefix(_PART).strip(), []))
        elif not line.startswith("#"):
            parts[-1][1].append(line.rstrip())
    texts = ((title, re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip("\n")) for title, lines in parts)
    return tuple((title, text) for title, text in texts if text)


def chunk_corpus(text: str, *, chunk_chars: int, max_chunks: int) -> list[str]:
    """Pieces of a text of at most ``chunk_chars`` characters; see :func:`chunks`."""
    return [chunk.text for chunk in chunks(text, chunk_chars=chunk_chars, max_chunks=max_chunks)]


def chunks(text: str, *, chunk_chars: int, max_chunks: int) -> list[Chunk]:
    """Cut a text into at most ``max_chunks`` pieces of at most ``chunk_chars`` characters.

    A piece ends at the end of a sentence or line, such that those of one part are about as long; where there is no
    such end, between words, else where it is full. It never reaches into the next part. Pieces below
    :data:`MIN_CHUNK` characters are dropped. Where there are more than ``max_chunks``, the parts take turns, so that
    as many as possible are represented. ``ValueError`` unless both numbers are positive.
    """
    if chunk_chars <= 0 or max_chunks <= 0:
        msg = f"chunk_chars and max_chunks must be positive, got {chunk_chars} and {max_chunks}"
        raise ValueError(msg)
    by_part = [
        [(part, at, piece) for at, piece in enumerate(_pieces(whole, chunk_chars)) if len(piece) >= MIN_CHUNK]
        for part, whole in enumerate(text.split(PART_BREAK))
    ]
    turns = [found for round_ in zip_longest(*by_part) for found in round_ if found is not None]
    return [Chunk(piece, part) for part, _, piece in sorted(turns[:max_chunks])]


def _pieces(text: str, size: int) -> Iterator[str]:
    rest = text.strip("\n")
    while len(rest) > size:
        cut = _even(rest, size) or _last_space(rest, size) or size
        yield rest[:cut].rstrip()
        rest = rest[cut:].lstrip("\n")
    yield rest.rstrip()


def _even(text: str, size: int) -> int:
    """End of a sentence or line within ``size`` characters, so that all pieces are about as long; 0 for none."""
    pieces = -(-len(text) // size)
    target, least = len(text) / pieces, len(text) - (pieces - 1) * size
    ends = [min(m.end(), size) for m in _BOUNDARY.finditer(text, MIN_CHUNK, size + 1) if m.start() < size]
    # The rest should not need one piece more than it must, where sentences allow that.
    ends = [end for end in ends if end >= least] or ends[-1:]
    return min(ends, key=lambda end: abs(end - target)) if ends else 0


def _last_space(text: str, size: int) -> int:
    return max(text.rfind(" ", size // 2, size) + 1, 0)
