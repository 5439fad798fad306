"""Text that no adapter was trained on: what is scored beside a training document's sections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sway_dash.core.packs import pack

FILE = "controls.txt"


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage and what kind of prose it is."""

    kind: str
    text: str


@cache
def control_passages() -> tuple[Passage, ...]:
    """The packaged passages, one of each kind of prose."""
    found = []
    for block in pack(FILE).read_text(encoding="utf-8").split("\n## ")[1:]:
        kind, _, text = block.partition("\n")
        found.append(Passage(kind.strip(), " ".join(text.split())))
    return tuple(found)
