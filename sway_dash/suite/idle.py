"""Entries that are valid but have nothing to measure, found before a model is loaded.

The public format allows them, and a run skips them or ends them with an error in their own row. They cost nothing to
tell beforehand, while loading a model for them does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sway_dash.core.errors import SwayError
from sway_dash.core.sections import Section
from sway_dash.probes.base import ProbeSpec
from sway_dash.suite.document import FIELD, document_of
from sway_dash.suite.loader import check_entries
from sway_dash.suite.spec import SwaySpec

_CASES = "add cases with prompt, gold and paraphrases"

_FIELDS = {
    "tool_use_fidelity": ("cases", "add questions with the tool each needs"),
    "paraphrase_invariance": ("cases", _CASES),
    "adapter_revert": ("cases", _CASES),
    "training_drift": ("store_path", "give the folder the training run wrote to"),
}
"""Field without which a kind measures nothing, and how to mend it."""

_OF_DOCUMENT = ("section_internalization", "leakage")
"""Kinds that measure the document and nothing else."""


def warnings(spec: SwaySpec, built: Sequence[tuple[Any, ProbeSpec]] | None = None) -> list[str]:
    """One sentence for every enabled entry that cannot measure anything; ``built`` is what ``check_entries`` gave.

    A document that cannot be read is an error of its own: entries that it may serve are left alone.
    """
    entries = check_entries(spec) if built is None else built
    try:
        document = document_of(spec)
    except SwayError:
        return [said for _, said in lacking(entries, None)]
    found = lacking(entries, document.sections, document.text) if document else lacking(entries, ())
    return [said for _, said in found]


def lacking(
    entries: Sequence[tuple[Any, ProbeSpec]], sections: Sequence[Section] | None, text: str = ""
) -> Iterator[tuple[str, str]]:
    """Name and sentence of every such entry; ``sections`` and ``text`` are the document's, ``None`` if unknown."""
    for _, settings in entries:
        if settings.enabled and (why := _lacks(settings, sections, text)):
            yield settings.name, f"{settings.name} ({settings.kind}) will measure nothing: {why}"


def _lacks(settings: ProbeSpec, sections: Sequence[Section] | None, text: str) -> str:
    """What an entry is missing to measure anything, and how to mend it."""

    def without(field: str) -> bool:
        return not getattr(settings, field, True)

    name, how = _FIELDS.get(settings.kind, ("", ""))
    if name and without(name):
        return f"it has no {name}; {how}"
    if sections is None:
        return ""
    preferences = any(s.kind == "preference" and s.preferences for s in sections)
    if settings.kind == "preference_flip" and without("triples") and not preferences:
        return f"it has no triples; add some, or name a document with preferences in {FIELD}"
    if settings.kind in _OF_DOCUMENT and not sections:
        return f"there is no document; name it in {FIELD}"
    if settings.kind == "style_fingerprint" and without("doc_reference") and not text:
        return f"there is no document to compare with; give doc_reference, or name it in {FIELD}"
    return ""
