"""Prompts as rows: from a suite, a paste or a file, and back; what is odd about them; tags. Plain data only."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import yaml

from sway_dash.core.yaml_text import load_yaml

MOST = 20_000
"""Prompts taken from one paste or file."""

LARGEST = 20 * 2**20
"""Bytes of a file."""

LONG = 4000
"""Characters from which a prompt is called long while nobody knows its tokens."""

TEXT_KEYS = ("text", "prompt", "question", "input", "instruction")
TAG_KEYS = ("tags", "tag", "category", "label", "group")

Split = Literal["lines", "paragraphs"]

_NEW = object()
"""A row that no suite has yet."""


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt and its tags; ``raw`` is how the suite has it, kept as long as the row is not changed."""

    text: str
    tags: tuple[str, ...] = ()
    raw: Any = field(default=_NEW, compare=False)

    def changed(self, **changes: Any) -> PromptRow:
        """A row with other text or tags."""
        found = replace(self, **changes)
        return found if found == self else replace(found, raw=_NEW)


class PromptFileError(ValueError):
    """A file or paste that holds no prompts; the message is a sentence."""


# -- suite --------------------------------------------------------------------------------------


def rows_of(prompts: Any) -> list[PromptRow]:
    """Rows of a suite entry's prompts; what is no prompt is shown as it is written."""
    return [_row(p) for p in prompts] if isinstance(prompts, list | tuple) else []


def to_data(rows: Sequence[PromptRow]) -> list[Any]:
    """What is written into the suite: as it was, else plain text, or a mapping where there are tags."""
    out: list[Any] = []
    for row in rows:
        if row.raw is not _NEW:
            out.append(row.raw)
        else:
            out.append({"text": row.text, "tags": list(row.tags)} if row.tags else row.text)
    return out


def _row(prompt: Any) -> PromptRow:
    if isinstance(prompt, str):
        return PromptRow(prompt, (), prompt)
    if isinstance(prompt, Mapping):
        tags = prompt.get("tags") or ()
        known = tuple(str(t) for t in tags) if isinstance(tags, list | tuple) else (str(tags),)
        text = prompt.get("text")
        return PromptRow(text if isinstance(text, str) else "", known, prompt)
    return PromptRow("" if prompt is None else str(prompt), (), prompt)


# -- paste and files ----------------------------------------------------------------------------


def from_paste(text: str, *, split: Split = "lines") -> list[PromptRow]:
    """Prompts of pasted text: one a line or a paragraph, or a YAML or JSON list where it is one."""
    start = text.lstrip()
    if start.startswith(("- ", "[")) or (start.startswith("{") and _is_json_lines(start)):
        try:
            found = _jsonl(text) if start.startswith("{") else _list(_load_yaml(text))
        except PromptFileError:
            found = []
        if found:
            return _bounded(found)
    parts = re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")) if split == "paragraphs" else text.splitlines()
    return _bounded([PromptRow(p.strip()) for p in parts if p.strip()])


def from_file(name: str, content: bytes) -> list[PromptRow]:
    """Prompts of a txt, csv, tsv, jsonl, json or yaml file; ``PromptFileError`` says what is wrong with it."""
    if len(content) > LARGEST:
        raise PromptFileError(f"{name} is larger than {LARGEST >> 20} MB: split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    ending = name.rsplit(".", 1)[-1].lower()
    try:
        if ending in ("csv", "tsv"):
            found = _csv(text, "\t" if ending == "tsv" else "")
        elif ending in ("jsonl", "ndjson"):
            found = _jsonl(text)
        elif ending in ("json", "yaml", "yml"):
            found = _list(_load_yaml(text) if ending != "json" else _load_json(text))
        else:
            found = [PromptRow(line.strip()) for line in text.splitlines() if line.strip()]
    except PromptFileError as error:
        raise PromptFileError(f"{name}: {error}") from None
    if not found:
        raise PromptFileError(f"{name} holds no prompts")
    return _bounded(found)


def _bounded(rows: list[PromptRow]) -> list[PromptRow]:
    if len(rows) > MOST:
        raise PromptFileError(f"there are {len(rows):,} prompts; at most {MOST:,} are taken at once")
    return rows


def _csv(text: str, delimiter: str) -> list[PromptRow]:
    if not delimiter:
        head = text.partition("\n")[0]
        delimiter = max((",", ";", "\t"), key=head.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if line]
    except csv.Error as error:
        raise PromptFileError(f"it is no CSV: {error}") from None
    if not lines:
        return []
    names = [cell.strip().lower() for cell in lines[0]]
    column = next((names.index(key) for key in TEXT_KEYS if key in names), None)
    if column is None:
        if len(names) > 1:
            wanted = " or ".join(TEXT_KEYS[:2])
            raise PromptFileError(f"no column is called {wanted}; its columns are {', '.join(names[:8])}")
        return [PromptRow(line[0]) for line in lines if line[0].strip()]
    tagged = next((names.index(key) for key in TAG_KEYS if key in names), None)
    rows = []
    for line in lines[1:]:
        text_cell = line[column] if column < len(line) else ""
        tag_cell = line[tagged] if tagged is not None and tagged < len(line) else ""
        if text_cell.strip():
            rows.append(PromptRow(text_cell, split_tags(tag_cell)))
    return rows


def _jsonl(text: str) -> list[PromptRow]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(_item(json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise PromptFileError(f"line {number} is no JSON: {getattr(error, 'msg', error)}") from None
        except _NoPrompt as error:
            raise PromptFileError(f"line {number} {error}") from None
    return rows


def _list(data: Any) -> list[PromptRow]:
    if isinstance(data, Mapping):
        data = next((data[key] for key in ("prompts", "data", "items") if isinstance(data.get(key), list)), data)
    if not isinstance(data, list):
        raise PromptFileError("it is no list of prompts")
    rows = []
    for number, item in enumerate(data, start=1):
        try:
            rows.append(_item(item))
        except _NoPrompt as error:
            raise PromptFileError(f"item {number} {error}") from None
    return rows


class _NoPrompt(Exception):
    pass


def _item(item: Any) -> PromptRow:
    if isinstance(item, str):
        return PromptRow(item)
    if not isinstance(item, Mapping):
        raise _NoPrompt("is neither text nor a record with text")
    text = next((item[key] for key in TEXT_KEYS if isinstance(item.get(key), str)), None)
    if text is None:
        raise _NoPrompt(f"has no {' or '.join(TEXT_KEYS[:2])}")
    tags = next((item[key] for key in TAG_KEYS if item.get(key)), ())
    if isinstance(tags, list):
        return PromptRow(text, tuple(dict.fromkeys(str(t) for t in tags)))
    return PromptRow(text, split_tags(str(tags)) if tags else ())


def _is_json_lines(text: str) -> bool:
    try:
        return isinstance(json.loads(text.partition("\n")[0]), dict)
    except (ValueError, RecursionError):
        return False


def _load_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptFileError(f"it is no JSON: {error}") from None


def _load_yaml(text: str) -> Any:
    try:
        return load_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        raise PromptFileError(f"it is no YAML: {getattr(error, 'problem', None) or error}") from None


# -- tags ---------------------------------------------------------------------------------------


def split_tags(text: str) -> tuple[str, ...]:
    """Tags written in one cell, parted by commas, semicolons or bars."""
    return tuple(dict.fromkeys(t.strip() for t in re.split(r"[,;|]", text) if t.strip()))


def tag(rows: Sequence[PromptRow], chosen: Collection[int], name: str, *, on: bool = True) -> list[PromptRow]:
    """Rows of which the chosen have a tag, or have it no more."""
    return [
        row.changed(tags=tuple(dict.fromkeys((*row.tags, name))) if on else tuple(t for t in row.tags if t != name))
        if i in chosen
        else row
        for i, row in enumerate(rows)
    ]


def tag_counts(rows: Sequence[PromptRow]) -> Counter[str]:
    """How many prompts have each tag."""
    return Counter(t for row in rows for t in dict.fromkeys(row.tags))


# -- what is odd --------------------------------------------------------------------------------


def notes(rows: Sequence[PromptRow], lengths: Mapping[str, int] | None = None, context: int = 0) -> list[str]:
    """One remark a row, empty where there is nothing to say; ``lengths`` are tokens, ``context`` the most there may be.

    An empty prompt, a repeat, one that is too long, and white space at the end, which most models have not seen before
    an answer.
    """
    first: dict[str, int] = {}
    out = []
    for i, row in enumerate(rows):
        said = []
        tokens = (lengths or {}).get(row.text)
        if not row.text.strip():
            said.append("empty")
        elif row.text in first:
            said.append(f"repeats {first[row.text] + 1}")
        elif context and tokens is not None and tokens > context:
            said.append(f"{tokens:,} tokens of {context:,}")
        elif tokens is None and len(row.text) > LONG:
            said.append("long")
        elif row.text != row.text.rstrip():
            said.append("space at the end")
        first.setdefault(row.text, i)
        out.append(", ".join(said))
    return out


def repeats(rows: Sequence[PromptRow]) -> int:
    """How many rows repeat an earlier one."""
    return len(rows) - len({row.text for row in rows})


def without_repeats(rows: Sequence[PromptRow]) -> list[PromptRow]:
    """Every text once, in its first place, with the tags of its repeats."""
    found: dict[str, PromptRow] = {}
    for row in rows:
        known = found.get(row.text)
        found[row.text] = row if known is None else known.changed(tags=tuple(dict.fromkeys((*known.tags, *row.tags))))
    return list(found.values())
