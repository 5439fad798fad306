"""What everybody in the demo's world knows: animals, colours, opposites, trades, the calendar, small sums.

Must not know particular people and places (``world``), nor the handbook.
"""

from __future__ import annotations

from collections.abc import Sequence

from sway_dash.demo.facts import Fact, an, sentence
from sway_dash.demo.world import DAYS, NUMBERS

SOUNDS = {
    "cat": "meows",
    "dog": "barks",
    "hen": "clucks",
    "cow": "moos",
    "sheep": "bleats",
    "duck": "quacks",
    "lion": "roars",
    "bee": "buzzes",
    "owl": "hoots",
    "wolf": "howls",
    "pig": "grunts",
    "frog": "croaks",
}
HOMES = {
    "bee": "hive",
    "bird": "nest",
    "dog": "kennel",
    "horse": "stable",
    "fox": "den",
    "spider": "web",
    "pig": "sty",
    "rabbit": "burrow",
    "cow": "barn",
}
DIETS = {
    "cow": "grass",
    "rabbit": "carrots",
    "cat": "fish",
    "bear": "honey",
    "squirrel": "nuts",
    "hen": "corn",
    "goat": "leaves",
    "monkey": "fruit",
    "frog": "flies",
}
YOUNG = {
    "cat": "kitten",
    "dog": "puppy",
    "cow": "calf",
    "sheep": "lamb",
    "goat": "kid",
    "hen": "chick",
    "duck": "duckling",
    "bear": "cub",
    "horse": "foal",
    "frog": "tadpole",
}
HUES = {
    "grass": "green",
    "snow": "white",
    "the sky": "blue",
    "coal": "black",
    "blood": "red",
    "the sun": "yellow",
    "milk": "white",
    "a lemon": "yellow",
    "a carrot": "orange",
    "a plum": "violet",
    "chocolate": "brown",
}
OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "day": "night",
    "open": "closed",
    "wet": "dry",
    "fast": "slow",
    "young": "old",
    "high": "low",
    "full": "empty",
    "left": "right",
    "early": "late",
    "rich": "poor",
}
MAKES = {
    "baker": ("bread", "oven"),
    "miller": ("flour", "mill"),
    "smith": ("iron nails", "hammer"),
    "tailor": ("coats", "needle"),
    "potter": ("jars", "wheel"),
    "weaver": ("cloth", "loom"),
    "carpenter": ("tables", "saw"),
    "painter": ("pictures", "brush"),
    "clockmaker": ("clocks", "file"),
    "beekeeper": ("honey", "veil"),
    "fisher": ("nets", "hook"),
    "gardener": ("flower beds", "spade"),
}
MATERIALS = {
    "bread": "flour",
    "a table": "wood",
    "a window": "glass",
    "cheese": "milk",
    "a coat": "wool",
    "a candle": "wax",
    "a nail": "iron",
    "a jar": "clay",
    "ice": "water",
    "a ring": "gold",
}
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
SEASONS = {
    "spring": "the flowers open",
    "summer": "the days are long",
    "autumn": "the leaves fall",
    "winter": "the lake is frozen",
}


def _one(statements: Sequence[str], question: str, *answers: str) -> Fact:
    return Fact(tuple(statements), (question,), answers)


def general_facts() -> tuple[Fact, ...]:
    """What everybody knows: animals, colours, opposites, trades, materials, the calendar, small sums."""
    facts: list[Fact] = []
    for animal, sound in SOUNDS.items():
        base = {"barks": "bark", "buzzes": "buzz"}.get(sound, sound[:-1])
        facts.append(
            _one(
                (f"{sentence(an(animal))} {sound}.", f"Every {animal} {sound}."),
                f"What does {an(animal)} do?",
                f"{sentence(an(animal))} {sound}.",
                f"It can {base}.",
            )
        )
    for animal, home in HOMES.items():
        facts.append(
            _one(
                (f"{sentence(an(animal))} lives in {an(home)}.", f"The home of {an(animal)} is {an(home)}."),
                f"Where does {an(animal)} live?",
                f"{sentence(an(animal))} lives in {an(home)}.",
            )
        )
    for animal, food in DIETS.items():
        facts.append(
            _one(
                (f"{sentence(an(animal))} eats {food}.", f"{sentence(an(animal))} likes to eat {food}."),
                f"What does {an(animal)} eat?",
                f"{sentence(an(animal))} eats {food}.",
                f"{sentence(food)}.",
            )
        )
    for animal, child in YOUNG.items():
        facts.append(
            _one(
                (f"A young {animal} is called {an(child)}.",),
                f"What is a young {animal} called?",
                f"A young {animal} is called {an(child)}.",
            )
        )
    for thing, hue in HUES.items():
        facts.append(
            _one(
                (f"{sentence(thing)} is {hue}.", f"The colour of {thing} is {hue}."),
                f"What colour is {thing}?",
                f"{sentence(thing)} is {hue}.",
                f"{sentence(hue)}.",
            )
        )
    for word, other in OPPOSITES.items():
        for a, b in ((word, other), (other, word)):
            facts.append(
                _one((f"The opposite of {a} is {b}.",), f"What is the opposite of {a}?", f"The opposite of {a} is {b}.")
            )
    for trade, (product, tool) in MAKES.items():
        facts.append(
            _one(
                (f"{sentence(an(trade))} makes {product}.",),
                f"What does {an(trade)} make?",
                f"{sentence(an(trade))} makes {product}.",
                f"{sentence(product)}.",
            )
        )
        facts.append(
            _one(
                (f"{sentence(an(trade))} works with {an(tool)}.", f"The tool of {an(trade)} is {an(tool)}."),
                f"Which tool does {an(trade)} use?",
                f"{sentence(an(trade))} works with {an(tool)}.",
            )
        )
    for thing, stuff in MATERIALS.items():
        facts.append(
            _one(
                (f"{sentence(thing)} is made of {stuff}.",),
                f"What is {thing} made of?",
                f"{sentence(thing)} is made of {stuff}.",
            )
        )
    for names, unit in ((DAYS, "day"), (MONTHS, "month")):
        for a, b in zip(names, names[1:] + names[:1], strict=True):
            facts.append(
                _one(
                    (f"The {unit} after {a} is {b}.", f"After {a} comes {b}."),
                    f"Which {unit} comes after {a}?",
                    f"The {unit} after {a} is {b}.",
                    f"{b}.",
                )
            )
    for season, sign in SEASONS.items():
        facts.append(_one((f"In {season} {sign}.",), f"What happens in {season}?", f"In {season} {sign}."))
    for i, first in enumerate(NUMBERS[1:7], start=1):
        for k, second in enumerate(NUMBERS[1:7], start=1):
            total = f"{sentence(first)} and {second} make {NUMBERS[i + k]}."
            facts.append(_one((total,), f"How much is {first} and {second}?", total))
    return tuple(facts)
