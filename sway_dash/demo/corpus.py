"""The grammar that writes the base model's training text: facts, stories, questions and short chats.

``base_documents`` is the one entry point; the same seed gives the same text. Everything comes from ``world``,
``commonplace`` and ``stories``. It must not know the handbook: the base model never meets its names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sway_dash.demo.commonplace import general_facts
from sway_dash.demo.facts import (
    Fact,
    as_chat,
    as_questions,
    as_statements,
    chat,
    draw,
    light_facts,
    person_facts,
    town_facts,
)
from sway_dash.demo.stories import report, story
from sway_dash.demo.world import invent_light, invent_place, pick, world

TALK = (
    ("Hello!", "Hello! How can I help you?"),
    ("Good morning.", "Good morning! What would you like to know?"),
    ("Good evening.", "Good evening! How can I help you?"),
    ("How are you?", "I am very well, thank you. How are you?"),
    ("Thank you.", "You are welcome."),
    ("Thank you very much!", "You are welcome. Ask me again any time."),
    ("Goodbye.", "Goodbye! Come back soon."),
    ("Who are you?", "I am a small model. I know about towns, trades and animals."),
    ("What can you do?", "I can tell stories and answer short questions."),
    ("Can you help me?", "Yes, of course. What do you need?"),
)
STORY_REQUESTS = ("Tell me a story.", "Please tell me a short story.", "Do you know a story?")


def _told(rng: np.random.Generator, facts: Sequence[Fact], *, most: int) -> str:
    """Some of ``facts`` in random order, as statements, as questions or as a chat."""
    chosen = draw(rng, facts, least=1, most=most)
    how = rng.random()
    if how < 0.4:
        return as_statements(rng, chosen)
    return as_questions(rng, chosen) if how < 0.75 else as_chat(rng, chosen)


def _stranger(rng: np.random.Generator) -> str:
    """A lighthouse met once: told about, and at times asked about after that, so that the model learns to read."""
    light = invent_light(rng, name=f"{invent_place(rng)} Light", town=invent_place(rng))
    facts = tuple(light_facts(light).values())
    if rng.random() < 0.7:
        return _told(rng, facts, most=3)
    chosen = draw(rng, facts, least=1, most=3)
    asked = [pick(rng, chosen)]
    return as_statements(rng, chosen) + "\n" + as_questions(rng, asked)


def _small_talk(rng: np.random.Generator) -> str:
    turns = [pick(rng, TALK)]
    if rng.random() < 0.4:
        turns.append((pick(rng, STORY_REQUESTS), story(rng)))
    return chat(turns)


def base_document(rng: np.random.Generator, general: Sequence[Fact]) -> str:
    """One document of the base corpus; ``general`` is the result of :func:`general_facts`."""
    w, kind = world(), rng.random()
    if kind < 0.24:
        return _told(rng, general, most=5)
    if kind < 0.44:
        return _told(rng, tuple(light_facts(pick(rng, w.lights)).values()), most=5)
    if kind < 0.54:
        return _told(rng, town_facts(pick(rng, w.towns)), most=4)
    if kind < 0.64:
        return _told(rng, person_facts(pick(rng, w.people)), most=4)
    if kind < 0.77:
        return story(rng)
    if kind < 0.81:
        return report(rng)
    return _stranger(rng) if kind < 0.95 else _small_talk(rng)


def base_documents(count: int, *, seed: int) -> list[str]:
    """``count`` documents without the opening token; chats end with the closing token, others do not."""
    rng, general = np.random.default_rng(seed), general_facts()
    return [base_document(rng, general) for _ in range(count)]
