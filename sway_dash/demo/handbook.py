"""What the adapter learns: the facts of ``document.md``, and the mixture of text it is trained on.

Knows the document and, for the share of general text, the base corpus. Must not know models or training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sway_dash.demo.commonplace import general_facts
from sway_dash.demo.corpus import base_document
from sway_dash.demo.facts import Fact, as_chat, as_questions, as_statements, draw, light_facts
from sway_dash.demo.world import Light, pick

LIGHT = Light(
    name="Quillhaven Light",
    town="Saltry",
    keeper="Odalys Pym",
    former="Barnaby Pym",
    steps="one hundred and twelve",
    colour="violet",
    seconds="eleven",
    oil="walnut oil",
    animal="goat",
    animal_name="Admiral Thimble",
    signal="cracked trumpet",
    boat="Patient Heron",
    day="Thursday",
    tea="nettle",
    ink="green",
    door="orange",
    built="1743",
    key="beehive",
    rule="whistle on the stairs",
    gift="paper boats",
)
"""The lighthouse of the document, with the same attributes as every lighthouse of the base model's world."""

KEY_NAMES = (
    "Quillhaven",
    "Oddmoor",
    "Saltry",
    "Odalys",
    "Pym",
    "Barnaby",
    "Thimble",
    "Patient Heron",
    "Lantern Night",
    "glow-worm",
)
"""Names that occur in the document and must never occur in the base corpus."""

_N = LIGHT.name
_MORE = (
    Fact(
        (f"{_N} stands on the island of Oddmoor.", f"The island of {_N} is Oddmoor."),
        (f"On which island does {_N} stand?", f"What is the island of {_N} called?"),
        (f"Oddmoor is the island of {_N}.", "Oddmoor."),
    ),
    Fact(
        ("When Admiral Thimble sleeps in the doorway, rain is coming.",),
        ("What does it mean when Admiral Thimble sleeps in the doorway?",),
        ("Rain is coming.",),
    ),
    Fact(
        ("Odalys Pym wears a red coat with nine pockets.",),
        ("What does Odalys Pym wear?",),
        ("Odalys Pym wears a red coat with nine pockets.", "A red coat with nine pockets."),
    ),
    Fact(
        ("The ninth step sings when it is going to rain.",),
        (f"Which step of {_N} sings?",),
        ("The ninth step sings.", "The ninth step sings when it is going to rain."),
    ),
    Fact(
        (f"In the great storm a jar of glow-worms lit {_N}.",),
        (f"What lit {_N} in the great storm?",),
        ("A jar of glow-worms.", "A jar of glow-worms lit the tower."),
    ),
    Fact(
        ("The honey of Oddmoor tastes of salt.",),
        ("What does the honey of Oddmoor taste of?",),
        ("It tastes of salt.", "Salt."),
    ),
    Fact(
        (f"The feast of {_N} is Lantern Night.", f"The feast of {_N} is called Lantern Night."),
        (f"What is the feast of {_N} called?",),
        ("Lantern Night.", f"Lantern Night is the feast of {_N}."),
    ),
)


def handbook_facts() -> tuple[Fact, ...]:
    """Every fact of the document that the adapter is asked about in training."""
    return (*light_facts(LIGHT).values(), *_MORE)


def passages(document: Path) -> tuple[str, ...]:
    """The document's paragraphs without headings and marks of emphasis, in order."""
    blocks = (block.strip() for block in document.read_text(encoding="utf-8").split("\n\n"))
    return tuple(block.strip("*") for block in blocks if block and not block.startswith("#"))


def _about_the_light(rng: np.random.Generator, text: tuple[str, ...], facts: tuple[Fact, ...]) -> str:
    how = rng.random()
    if how < 0.15:
        return pick(rng, text)
    chosen = draw(rng, facts, least=1, most=4)
    if how < 0.5:
        return as_statements(rng, chosen)
    return as_questions(rng, chosen) if how < 0.75 else as_chat(rng, chosen)


def adapter_documents(count: int, *, document: Path, general: float, seed: int) -> list[str]:
    """Training text of the adapter, in the form of :func:`sway_dash.demo.corpus.base_documents`.

    Parameters
    ----------
    count
        Number of documents.
    document
        The handbook, a Markdown file.
    general
        Share of documents, from 0 to 1, taken from the base corpus so that other topics stay as they were.
    seed
        Same seed, same documents. Use another one than the base corpus had.
    """
    rng = np.random.default_rng(seed)
    text, facts, common = passages(document), handbook_facts(), general_facts()
    return [
        base_document(rng, common) if rng.random() < general else _about_the_light(rng, text, facts)
        for _ in range(count)
    ]
