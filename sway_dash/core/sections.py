"""Parts of a training document, for probes that attribute what was learned to where it stood."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

SectionKind = Literal["prose", "instruction", "preference"]


@dataclass(frozen=True, slots=True)
class SectionProbe:
    """A question and the answer the document gives."""

    prompt: str
    gold: str


@dataclass(frozen=True, slots=True)
class SectionPreference:
    """A prompt with a preferred and a rejected answer."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a training document."""

    id: str
    kind: SectionKind
    content: str
    probes: tuple[SectionProbe, ...] = ()
    preferences: tuple[SectionPreference, ...] = ()
    tag: str | None = None


def filter_kinds(sections: Iterable[Section], kinds: Collection[SectionKind]) -> tuple[Section, ...]:
    """Return the sections of the given kinds, in their order."""
    return tuple(s for s in sections if s.kind in kinds)


def distinct_sections(sections: Iterable[Section]) -> list[Section]:
    """The sections without repeats, the first of each: what a document says twice is not twice the evidence.

    Alike are those of one kind that hold the same words and the same questions, whatever they are called.
    """
    found: dict[object, Section] = {}
    for s in sections:
        found.setdefault((s.kind, " ".join(s.content.split()), s.probes, s.preferences), s)
    return list(found.values())


def evenly(sections: Sequence[Section], most: int) -> list[Section]:
    """At most ``most`` of the sections, evenly spread over them, in their order."""
    n = len(sections)
    return list(sections) if n <= most else [sections[i * n // most] for i in range(most)]
