"""The document an adapter was trained on, as sections for the probes that ask what of it was learned.

``dlm_source`` in a suite names the file:

- ``.md``, ``.markdown``, ``.txt`` and anything else that is text: prose sections, by headings; text without headings,
  and what is long below one heading, by paragraphs.
- ``.jsonl``, ``.json``, ``.yaml``, ``.yml``: a list of sections of any kind, each
  ``{id, kind, content, probes: [{prompt, gold}], preferences: [{prompt, chosen, rejected}], tag}``.
- ``.dlm``: through the public ``dlm`` package.

Every error is one sentence that names the file and says how to mend it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.sections import Section, SectionKind, SectionPreference, SectionProbe
from sway_dash.core.yaml_text import load_yaml
from sway_dash.probes.base import dotted, field_problems
from sway_dash.suite.dlm import read_dlm
from sway_dash.suite.spec import SwaySpec

FIELD = "dlm_source"

MAX_BYTES = 20 * 2**20
"""A larger file is not a document one adapter learns by heart, and reading it would stall the form."""

LONGEST = 2000
"""Characters after which the text below one heading is cut at a paragraph: as far as probes read a section."""

PIECES = 8
"""Into about how many sections a text without headings is cut, each of 200 to 1200 characters."""

OTHER = f"give the text the adapter was trained on, or leave {FIELD} out"
MEND = "mend it there"
"""What to do about a file that is another one than meant, and about one that has a mistake in it."""

LISTS = (".jsonl", ".json", ".yaml", ".yml")

_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*)$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_FRONT = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*\n", re.DOTALL)
_BLANK = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])")


@dataclass(frozen=True, slots=True)
class Document:
    """A document in sections; ``text`` is what they hold, joined by blank lines."""

    path: str
    sections: tuple[Section, ...]

    @property
    def text(self) -> str:
        """The contents of all sections, joined by blank lines."""
        return "\n\n".join(s.content for s in self.sections if s.content.strip())


def document_of(spec: SwaySpec) -> Document | None:
    """The document a suite names, or ``None`` if it names none. ``SpecValidationError`` if it cannot be read."""
    return read_document(Path(spec.dlm_source)) if spec.dlm_source else None


def read_document(path: Path) -> Document:
    """Read a document; a file that has not changed is read once."""
    try:
        path = path.expanduser()
        stat = path.stat()
    except RuntimeError:
        raise _wrong(path, "lies in the home folder of a user who is not known here") from None
    except OSError as error:
        raise _wrong(path, "is not there" if isinstance(error, FileNotFoundError) else str(error.strerror)) from None
    if S_ISDIR(stat.st_mode):
        raise _wrong(path, "is a folder")
    if not S_ISREG(stat.st_mode):
        # A device or a pipe has a size of 0 and no end.
        raise _wrong(path, "is no regular file")
    return _read(path.absolute(), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int, size: int) -> Document:
    if size > MAX_BYTES:
        raise _wrong(path, f"has {size / 2**20:.0f} MiB, more than the {MAX_BYTES // 2**20} that are read")
    if path.suffix.lower() == ".dlm":
        return Document(str(path), _named(path, read_dlm(path)))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _wrong(path, f"has more than the {MAX_BYTES // 2**20} MiB that are read")
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise _wrong(path, f"is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise _wrong(path, f"cannot be read ({error.strerror or error})") from None
    if path.suffix.lower() in LISTS:
        return Document(str(path), _named(path, _listed(path, text)))
    if not text.strip():
        raise _wrong(path, "is empty")
    return Document(str(path), tuple(prose_sections(text)))


def _wrong(path: Path, what: str, how: str = OTHER) -> SpecValidationError:
    return SpecValidationError(f"the document {path} {what}: {how}")


# -- prose ----------------------------------------------------------------------------------------


def prose_sections(text: str) -> Iterator[Section]:
    """Cut a text into prose sections: at its headings, else into paragraphs of a sensible length together."""
    parts = [(title, body) for title, body in _by_heading(_FRONT.sub("", text)) if body]
    if len(parts) < 2:
        parts = [("", body) for _, body in parts] or [("", text.strip())]
    seen: dict[str, int] = {}
    for title, body in parts:
        whole = bool(title) and len(body) <= LONGEST
        size = LONGEST if title else min(1200, max(200, len(body) // PIECES))
        pieces = [body] if whole else _pieces(body, size)
        for n, piece in enumerate(pieces, 1):
            name = _slug(title) or ("beginning" if len(parts) > 1 else "part")
            if len(pieces) > 1:
                name = f"{name}-{n}"
            seen[name] = seen.get(name, 0) + 1
            yield Section(name if seen[name] == 1 else f"{name}~{seen[name]}", "prose", piece, tag=title or None)


def _by_heading(text: str) -> Iterator[tuple[str, str]]:
    """Headings of Markdown with the text below each; what stands before the first has no heading."""
    title, lines, fence = "", list[str](), ""
    for line in text.splitlines():
        if mark := _FENCE.match(line):
            fence = "" if fence == mark[1] else fence or mark[1]
        found = None if fence else _HEADING.match(line)
        if found is None:
            lines.append(line)
            continue
        yield title, "\n".join(lines).strip()
        # The marks that may close a heading; in the pattern they would be tried at every blank.
        title, lines = found[2].rstrip(" \t").rstrip("#").strip(" \t*_`"), []
    yield title, "\n".join(lines).strip()


def _pieces(text: str, size: int) -> list[str]:
    """Paragraphs, joined until they have ``size`` characters; one twice as long is cut between sentences."""
    found, held = list[str](), ""
    for paragraph in (p for p in _BLANK.split(text) if p.strip()):
        parts = [paragraph] if len(paragraph) <= 2 * size else list(_sentences(paragraph, size))
        for part in parts:
            held = f"{held}\n\n{part}" if held else part
            if len(held) >= size:
                found.append(held)
                held = ""
    if held and found and len(held) < size / 2:
        found[-1] += f"\n\n{held}"
    elif held:
        found.append(held)
    return found


def _sentences(text: str, size: int) -> Iterator[str]:
    held = ""
    for sentence in _SENTENCE.split(text):
        # A text without sentences, such as a table of numbers, is cut where it happens to be.
        for part in (sentence[i : i + 2 * size] for i in range(0, len(sentence), 2 * size)):
            held = f"{held} {part}" if held else part
            if len(held) >= size:
                yield held
                held = ""
    if held:
        yield held


def _slug(title: str) -> str:
    return re.sub(r"[^\w]+", "-", title.casefold()).strip("-")[:60]


# -- lists of sections ----------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Probe(_Strict):
    prompt: str = Field(min_length=1)
    gold: str = Field(min_length=1)


class _Preference(_Strict):
    prompt: str
    chosen: str = Field(min_length=1)
    rejected: str = Field(min_length=1)


class _Given(_Strict):
    """A section as it stands in a file."""

    id: str = ""
    kind: SectionKind | None = None
    content: str = ""
    probes: tuple[_Probe, ...] = ()
    preferences: tuple[_Preference, ...] = ()
    tag: str | None = None

    @field_validator("id", "tag", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("kind", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _holds_something(self) -> _Given:
        if not (self.content.strip() or self.probes or self.preferences):
            msg = "holds nothing: give content, probes or preferences"
            raise ValueError(msg)
        return self

    def section(self) -> Section:
        kind: SectionKind = self.kind or (
            "preference" if self.preferences else "instruction" if self.probes else "prose"
        )
        return Section(
            self.id,
            kind,
            self.content,
            tuple(SectionProbe(p.prompt, p.gold) for p in self.probes),
            tuple(SectionPreference(p.prompt, p.chosen, p.rejected) for p in self.preferences),
            self.tag,
        )


def _listed(path: Path, text: str) -> list[tuple[str, Section]]:
    """Sections of a file that lists them, each with its place in the file."""
    found: list[tuple[str, Section]] = []
    for place, data in _records(path, text):
        if not isinstance(data, Mapping):
            raise _wrong(path, f"has a section that is no mapping of id, kind and content ({place})", MEND)
        try:
            found.append((place, _Given.model_validate(dict(data)).section()))
        except ValidationError as error:
            told = [
                f"{dotted(loc)}: {said}" if loc else said
                for loc, said in field_problems(error, lambda loc: _model(loc))
            ]
            raise _wrong(path, f"has a section that cannot be read ({place}: {'; '.join(told)})") from None
    if not found:
        raise _wrong(path, "holds no sections")
    return found


def _model(loc: tuple[str | int, ...]) -> type[BaseModel]:
    inner: dict[str, type[BaseModel]] = {"probes": _Probe, "preferences": _Preference}
    return inner.get(str(loc[0]), _Given) if len(loc) > 1 else _Given


def _records(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line)
                except ValueError as error:
                    raise _wrong(path, f"has a line that is no JSON (line {number}: {error})", MEND) from None
        return
    try:
        data = json.loads(text) if path.suffix.lower() == ".json" else load_yaml(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        first = str(error).replace("\n", " ")
        raise _wrong(path, f"is no {path.suffix.lower()[1:].upper()} ({first})", MEND) from None
    if isinstance(data, Mapping) and isinstance(data.get("sections"), Sequence):
        data = data["sections"]
    if isinstance(data, str) or not isinstance(data, Sequence):
        raise _wrong(path, "is no list of sections, nor a mapping with the key sections", MEND)
    for number, item in enumerate(data, 1):
        yield f"section {number}", item


def _named(path: Path, sections: Sequence[tuple[str, Section]]) -> tuple[Section, ...]:
    """Give a name made of its content to a section without one; two may not have the same."""
    out: list[Section] = []
    first: dict[str, str] = {}
    for place, section in sections:
        own = section.id
        if not own:
            held = json.dumps([section.kind, section.content, _items(section)], ensure_ascii=False)
            own = hashlib.sha256(held.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            section = Section(own, section.kind, section.content, section.probes, section.preferences, section.tag)
        if own in first:
            raise _wrong(path, f"has two sections {own!r} ({first[own]} and {place})", "name one of them otherwise")
        first[own] = place
        out.append(section)
    return tuple(out)


def _items(section: Section) -> list[list[str]]:
    return [[p.prompt, p.gold] for p in section.probes] + [
        [p.prompt, p.chosen, p.rejected] for p in section.preferences
    ]
