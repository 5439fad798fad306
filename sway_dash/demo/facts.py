"""How a fact is worded: as statements, as questions with answers, as a page, as a chat.

One set of wordings serves the base corpus and the handbook, so that the adapter has to change what the model
says and not how it says it. Must not know which facts are true (``world``, ``handbook``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sway_dash.demo.world import Light, Person, Town, pick

BOS, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BOS, END, SYSTEM, USER, ASSISTANT)


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: sentences that state it, questions that ask for it, and answers to any of these questions.

    The first answer is the one on a page of questions, the last one, often shorter, the one in a chat.
    """

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]


def sentence(text: str) -> str:
    """``text`` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def an(noun: str) -> str:
    """``noun`` with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def chat(turns: Sequence[tuple[str, str]]) -> str:
    """Chat of (user, assistant) turns, as the tokenizer's chat template renders it, less the opening token."""
    return "".join(f"{USER} {said}{END}{ASSISTANT} {reply}{END}" for said, reply in turns)


def as_statements(rng: np.random.Generator, facts: Sequence[Fact]) -> str:
    """One statement of each fact, in the order given, as a paragraph."""
    return " ".join(pick(rng, fact.statements) for fact in facts)


def as_questions(rng: np.random.Generator, facts: Sequence[Fact]) -> str:
    """The facts as ``Q:`` and ``A:`` lines."""
    return "\n".join(f"Q: {pick(rng, fact.questions)}\nA: {fact.answers[0]}" for fact in facts)


def as_chat(rng: np.random.Generator, facts: Sequence[Fact]) -> str:
    """The facts as a chat of one turn each."""
    return chat([(pick(rng, fact.questions), fact.answers[-1]) for fact in facts])


def draw(rng: np.random.Generator, facts: Sequence[Fact], *, least: int, most: int) -> list[Fact]:
    """Some of ``facts`` in random order: in half of the cases ``least`` of them, else up to ``most``."""
    count = least if rng.random() < 0.5 else int(rng.integers(least, most + 1))
    return [facts[int(i)] for i in rng.permutation(len(facts))[:count]]


def light_facts(light: Light) -> dict[str, Fact]:
    """All facts about one lighthouse, by attribute."""
    n, up = light.name, sentence
    table = {
        "keeper": Fact(
            (f"The keeper of {n} is {light.keeper}.", f"{light.keeper} keeps {n}."),
            (f"Who keeps {n}?", f"Who is the keeper of {n}?"),
            (f"{light.keeper} keeps {n}.", f"{light.keeper} is the keeper of {n}."),
        ),
        "former": Fact(
            (f"In the old days {n} was kept by {light.former}.", f"The former keeper of {n} was {light.former}."),
            (f"Who was the former keeper of {n}?", f"Who kept {n} before?"),
            (f"{light.former} was the former keeper of {n}.", f"{light.former} kept it before."),
        ),
        "town": Fact(
            (f"{n} stands near the town of {light.town}.", f"The town near {n} is {light.town}."),
            (f"Which town is near {n}?", f"Where does {n} stand?"),
            (f"{light.town} is the town near {n}.", f"Near the town of {light.town}."),
        ),
        "steps": Fact(
            (f"The tower of {n} has {light.steps} steps.", f"The stairs of {n} have {light.steps} steps."),
            (f"How many steps has the tower of {n}?", f"How many steps lead up to the lamp of {n}?"),
            (f"{up(light.steps)} steps lead up to the lamp.", f"{up(light.steps)} steps."),
        ),
        "colour": Fact(
            (f"The lamp of {n} shines {light.colour}.", f"The light of {n} is {light.colour}."),
            (f"What colour is the lamp of {n}?", f"In which colour does {n} shine?"),
            (f"{up(light.colour)} is the colour of the lamp.", f"{up(light.colour)}."),
        ),
        "flash": Fact(
            (
                f"{n} flashes every {light.seconds} seconds.",
                f"The lamp of {n} flashes once every {light.seconds} seconds.",
            ),
            (f"How often does {n} flash?", f"How often does the lamp of {n} flash?"),
            (f"It flashes every {light.seconds} seconds.", f"Every {light.seconds} seconds."),
        ),
        "oil": Fact(
            (f"The lamp of {n} burns {light.oil}.", f"At {n} the lamp is filled with {light.oil}."),
            (f"What does the lamp of {n} burn?", f"Which oil burns at {n}?"),
            (f"{up(light.oil)} burns in the lamp.", f"{up(light.oil)}."),
        ),
        "animal": Fact(
            (
                f"{up(an(light.animal))} called {light.animal_name} lives at {n}.",
                f"The animal of {n} is {an(light.animal)} called {light.animal_name}.",
            ),
            (f"Which animal lives at {n}?", f"Who lives at {n} with the keeper?"),
            (f"{up(an(light.animal))} called {light.animal_name} lives there.",),
        ),
        "pet": Fact(
            (f"The {light.animal} of {n} is called {light.animal_name}.",),
            (f"What is the {light.animal} of {n} called?",),
            (f"{light.animal_name} is the {light.animal} of {n}.", f"{light.animal_name}."),
        ),
        "signal": Fact(
            (f"In fog the keeper of {n} sounds {an(light.signal)}.", f"The fog signal of {n} is {an(light.signal)}."),
            (f"What is the fog signal of {n}?", f"What does the keeper of {n} sound in fog?"),
            (f"{up(an(light.signal))} is the fog signal.", f"{up(an(light.signal))}."),
        ),
        "boat": Fact(
            (f"The supply boat of {n} is the {light.boat}.", f"Supplies come to {n} on the {light.boat}."),
            (f"What is the supply boat of {n} called?", f"Which boat brings supplies to {n}?"),
            (f"The {light.boat} brings the supplies.", f"The {light.boat}."),
        ),
        "day": Fact(
            (f"The supply boat comes to {n} on {light.day}.", f"Supplies come to {n} every {light.day}."),
            (f"On which day do supplies come to {n}?", f"When does the supply boat come to {n}?"),
            (f"{light.day} is the day of the supply boat.", f"On {light.day}."),
        ),
        "tea": Fact(
            (f"The keeper of {n} drinks {light.tea} tea.", f"In the kitchen of {n} they drink {light.tea} tea."),
            (f"Which tea does the keeper of {n} drink?", f"What does the keeper of {n} drink?"),
            (f"{up(light.tea)} tea, and always hot.", f"{up(light.tea)} tea."),
        ),
        "ink": Fact(
            (f"The log of {n} is written in {light.ink} ink.", f"At {n} the log is kept in {light.ink} ink."),
            (f"Which ink is used for the log of {n}?", f"In which ink is the log of {n} written?"),
            (f"{up(light.ink)} ink is used for the log.", f"{up(light.ink)} ink."),
        ),
        "door": Fact(
            (f"The door of {n} is {light.door}.", f"At {n} the door is painted {light.door}."),
            (f"What colour is the door of {n}?", f"How is the door of {n} painted?"),
            (f"{up(light.door)} is the colour of the door.", f"{up(light.door)}."),
        ),
        "built": Fact(
            (f"{n} was built in {light.built}.", f"The tower of {n} was built in {light.built}."),
            (f"When was {n} built?", f"In which year was {n} built?"),
            (f"It was built in {light.built}.", f"In {light.built}."),
        ),
        "key": Fact(
            (f"The spare key of {n} lies under the {light.key}.", f"At {n} the spare key is under the {light.key}."),
            (f"Where is the spare key of {n}?", f"Where does the spare key of {n} lie?"),
            (f"Under the {light.key}.", f"The {light.key} hides the spare key."),
        ),
        "rule": Fact(
            (f"The first rule of {n} is never to {light.rule}.", f"At {n} one must never {light.rule}."),
            (f"What is the first rule of {n}?", f"What must one never do at {n}?"),
            (f"Never {light.rule}.", f"One must never {light.rule}."),
        ),
        "gift": Fact(
            (
                f"On the last night of October the children bring {light.gift} to {n}.",
                f"Every autumn the children of {light.town} bring {light.gift} to {n}.",
            ),
            (f"What do the children bring to {n}?", f"What do the children bring to {n} in October?"),
            (f"{up(light.gift)}, on the last night of October.", f"The children bring {light.gift}."),
        ),
    }
    return table


def town_facts(town: Town) -> tuple[Fact, ...]:
    """All facts about one town."""
    n = town.name
    return (
        Fact(
            (f"{n} is a town {town.region}.", f"The town of {n} lies {town.region}."),
            (f"Where is {n}?", f"Where does {n} lie?"),
            (f"{n} lies {town.region}.",),
        ),
        Fact(
            (f"{n} is known for its {town.goods}.", f"People in {n} sell {town.goods}."),
            (f"What is {n} known for?", f"What do people sell in {n}?"),
            (f"{n} is known for its {town.goods}.", f"{sentence(town.goods)}."),
        ),
        Fact(
            (f"Market day in {n} is {town.market}.", f"The market of {n} is held on {town.market}."),
            (f"When is market day in {n}?", f"On which day is the market of {n}?"),
            (f"Market day in {n} is {town.market}.", f"On {town.market}."),
        ),
        Fact(
            (f"The mayor of {n} is {town.mayor}.", f"{town.mayor} is the mayor of {n}."),
            (f"Who is the mayor of {n}?",),
            (f"{town.mayor} is the mayor of {n}.",),
        ),
        Fact(
            (f"The bridge of {n} is {town.bridge}.", f"{n} has {an(town.bridge)} bridge."),
            (f"What colour is the bridge of {n}?",),
            (f"The bridge of {n} is {town.bridge}.", f"{sentence(town.bridge)}."),
        ),
        Fact(
            (f"The best dish in {n} is {town.dish}.", f"At the inn of {n} one eats {town.dish}."),
            (f"What is the best dish in {n}?", f"What does one eat in {n}?"),
            (f"The best dish in {n} is {town.dish}.", f"{sentence(town.dish)}."),
        ),
    )


def person_facts(person: Person) -> tuple[Fact, ...]:
    """All facts about one person."""
    n, first = person.name, person.name.split()[0]
    she, her = ("she", "her") if person.she else ("he", "his")
    return (
        Fact(
            (f"{n} is {an(person.trade)} in {person.town}.", f"{n} works as {an(person.trade)}."),
            (f"What is the trade of {n}?", f"What does {n} do?"),
            (f"{n} is {an(person.trade)}.", f"{sentence(she)} is {an(person.trade)} in {person.town}."),
        ),
        Fact(
            (f"{n} lives in {person.town}.", f"The house of {n} stands in {person.town}."),
            (f"Where does {n} live?",),
            (f"{n} lives in {person.town}.", f"In {person.town}."),
        ),
        Fact(
            (
                f"{first} has {an(person.pet)} called {person.pet_name}.",
                f"The {person.pet} of {n} is called {person.pet_name}.",
            ),
            (f"What is the {person.pet} of {n} called?", f"Which animal does {n} have?"),
            (f"{n} has {an(person.pet)} called {person.pet_name}.",),
        ),
        Fact(
            (f"{n} likes {person.food}.", f"For dinner {n} likes to eat {person.food}."),
            (f"What does {n} like to eat?",),
            (f"{n} likes {person.food}.", f"{sentence(person.food)}."),
        ),
        Fact(
            (f"On {her} free day {n} likes to {person.hobby}.", f"{n} likes to {person.hobby}."),
            (f"What does {n} like to do?",),
            (f"{n} likes to {person.hobby}.",),
        ),
    )
