"""The bridge to ``.dlm`` documents, read by the public ``dlm`` package, which is imported here only."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from sway_dash.core.errors import SpecValidationError, SwayError
from sway_dash.core.sections import Section, SectionKind, SectionPreference, SectionProbe

_KINDS: dict[str, SectionKind] = {"prose": "prose", "instruction": "instruction", "preference": "preference"}


def read_dlm(path: Path) -> list[tuple[str, Section]]:
    """Sections of a ``.dlm`` file, each with its place; ids may be empty. ``SwayError`` in one sentence."""
    try:
        parse = import_module("dlm.doc.parser").parse_file
    except ImportError:
        msg = (
            f"{path} cannot be read, dlm package not installed: install dlm, or give the document as Markdown, plain"
            " text, JSONL or YAML"
        )
        raise SpecValidationError(msg) from None
    try:
        parsed = parse(path)
    except Exception as error:
        # Whatever the package raises for a broken document, it is about this file.
        raise SwayError(f"the document {path} cannot be read by the dlm package: {error}") from error
    found = [(f"section {n}", _section(part)) for n, part in enumerate(getattr(parsed, "sections", ()), 1)]
    for place, section in found:
        if fault := _empty(section):
            msg = f"the document {path} has a section that cannot be read ({place}: {fault} is empty): mend it there"
            raise SpecValidationError(msg)
    return found


def _section(part: Any) -> Section:
    named = _first(part, ("type", "kind"))
    kind = _KINDS.get(str(getattr(named, "value", named)).lower(), "prose")
    content = str(_first(part, ("content", "text")) or "")
    own = str(_first(part, ("section_id", "id")) or "")
    probes: tuple[SectionProbe, ...] = ()
    preferences: tuple[SectionPreference, ...] = ()
    if kind == "instruction":
        found = _parsed("dlm.data.instruction_parser", "parse_instruction_body", content, own)
        probes = tuple(SectionProbe(str(p.question), str(p.answer)) for p in found)
    elif kind == "preference":
        found = _parsed("dlm.data.preference_parser", "parse_preference_body", content, own)
        preferences = tuple(SectionPreference(str(p.prompt), str(p.chosen), str(p.rejected)) for p in found)
    tag = _first(part, ("tag",))
    return Section(own, kind, content, probes, preferences, str(tag) if tag else None)


def _empty(section: Section) -> str:
    """What of a question or a preference no probe could ask or score; empty if all of them are whole."""
    asked = [(f"probes[{i}]", (("prompt", p.prompt), ("gold", p.gold))) for i, p in enumerate(section.probes)]
    chosen = [
        (f"preferences[{i}]", (("chosen", p.chosen), ("rejected", p.rejected)))
        for i, p in enumerate(section.preferences)
    ]
    return next((f"{where}.{name}" for where, held in (*asked, *chosen) for name, text in held if not text), "")


def _first(part: Any, names: Iterable[str]) -> Any:
    return next((found for name in names if (found := getattr(part, name, None)) is not None), None)


def _parsed(module: str, name: str, content: str, own: str) -> list[Any]:
    """Questions or preferences of a section; one that cannot be parsed counts as prose-like text without any."""
    try:
        return list(getattr(import_module(module), name)(content, section_id=own))
    except Exception:
        return []
