"""Short stories about the people of the demo's world. Must not know the handbook."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sway_dash.demo.commonplace import DIETS
from sway_dash.demo.facts import an, sentence
from sway_dash.demo.world import COLOURS, DAYS, FOODS, GOODS, NUMBERS, PETS, Person, in_words, pick, world

WEATHER = ("rainy", "sunny", "windy", "foggy", "snowy", "stormy", "cold", "warm", "quiet")
THINGS = (
    "key",
    "hat",
    "ring",
    "lamp",
    "book",
    "spoon",
    "basket",
    "kite",
    "map",
    "coin",
    "clock",
    "boot",
    "lantern",
    "whistle",
    "letter",
    "drum",
    "paper bag",
)
PLACES = (
    "under the table",
    "behind the stove",
    "in the garden",
    "on the roof",
    "in the old barn",
    "near the well",
    "on the stairs",
    "behind the beehive",
    "in the cellar",
    "by the window",
)
ANIMALS = tuple(sorted({*PETS, *DIETS}))
TIMES = ("morning", "afternoon", "evening", "night")
SIZES = ("small", "big", "old", "new", "round", "heavy", "pretty")


def _two(rng: np.random.Generator, items: Sequence[str]) -> tuple[str, str]:
    """Two different items."""
    a, b = rng.permutation(len(items))[:2]
    return items[int(a)], items[int(b)]


def _other(rng: np.random.Generator, who: Person) -> Person:
    """Somebody else."""
    return pick(rng, [person for person in world().people if person != who])


def _lost(rng: np.random.Generator, who: Person) -> str:
    first, (she, her) = who.name.split()[0], ("she", "her") if who.she else ("he", "his")
    thing, (here, there) = pick(rng, THINGS), _two(rng, PLACES)
    end = pick(
        rng,
        (
            f"{first} laughed and gave {who.pet_name} a piece of bread.",
            f"{sentence(she)} put the {thing} in {her} pocket and went home.",
            f"That {pick(rng, TIMES)} {first} ate {who.food} and was happy.",
        ),
    )
    return (
        f"On a {pick(rng, WEATHER)} {pick(rng, DAYS)}, {who.name} the {who.trade} lost {her} {thing}. "
        f"{sentence(she)} looked {here}, but it was not there. Then {her} {who.pet} {who.pet_name} ran off. "
        f"{who.pet_name} found the {thing} {there}. {end}"
    )


def _journey(rng: np.random.Generator, who: Person) -> str:
    first, (she, her) = who.name.split()[0], ("she", "her") if who.she else ("he", "his")
    w = world()
    town = pick(rng, [town for town in w.towns if town.name != who.town])
    friend = _other(rng, who)
    return (
        f"One {pick(rng, WEATHER)} {pick(rng, TIMES[:2])}, {who.name} walked from {who.town} to {town.name}. "
        f"{sentence(she)} wanted to buy {town.goods} at the market. On the {town.bridge} bridge {she} met "
        f"{friend.name} the {friend.trade}. They talked about the weather and ate {town.dish}. "
        f"In the evening {first} came home with a bag of {town.goods} and told {her} {who.pet} all about it."
    )


def _gift(rng: np.random.Generator, who: Person) -> str:
    first, she = who.name.split()[0], "she" if who.she else "he"
    friend = _other(rng, who)
    thing, colour = pick(rng, THINGS), pick(rng, COLOURS)
    reply = pick(
        rng,
        (
            f'"It is just what I need," said {friend.name.split()[0]}.',
            f'"Thank you, {first}," said {friend.name.split()[0]}.',
            f"{friend.name.split()[0]} put it {pick(rng, PLACES)}.",
        ),
    )
    return (
        f"Once upon a time {who.name} made {an(colour)} {thing} for {friend.name}. It took {first} "
        f"{in_words(int(rng.integers(2, 15)))} days. On {pick(rng, DAYS)} {she} brought the {colour} {thing} "
        f"to {friend.town}. {reply} Then they ate {friend.food} together."
    )


def _storm(rng: np.random.Generator, who: Person) -> str:
    first, her = who.name.split()[0], "her" if who.she else "his"
    light = pick(rng, world().lights)
    return (
        f"One stormy night {who.name} was out at sea in {an(pick(rng, SIZES))} boat. The waves were high and "
        f"the wind was cold. Then {first} saw the {light.colour} lamp of {light.name}. It flashed every "
        f"{light.seconds} seconds. {light.keeper} came down the {light.steps} steps and opened the "
        f"{light.door} door. The keeper made {light.tea} tea, and {first} told {her} story until dawn."
    )


def _fable(rng: np.random.Generator, who: Person) -> str:
    a, b = _two(rng, ANIMALS)
    food = pick(rng, FOODS)
    return (
        f"Once upon a time {an(a)} and {an(b)} lived {pick(rng, PLACES)}. One {pick(rng, WEATHER)} day they "
        f'found {food}. "It is mine," said the {a}. "No, it is mine," said the {b}. Then {who.name} the '
        f"{who.trade} came by and shared it out between them. From that day on they shared everything."
    )


STORIES: tuple[Callable[[np.random.Generator, Person], str], ...] = (_lost, _journey, _gift, _storm, _fable)


def story(rng: np.random.Generator) -> str:
    """A short story about people of the world."""
    return pick(rng, STORIES)(rng, pick(rng, world().people))


def report(rng: np.random.Generator) -> str:
    """The news of one day: weather, market, ships."""
    w, day = world(), int(rng.integers(7))
    a, b = pick(rng, w.towns), pick(rng, w.lights)
    wares = [goods for goods in GOODS if goods != a.goods]
    return (
        f"{DAYS[day]} was {an(pick(rng, WEATHER))} day in {a.name}. The market sold {pick(rng, wares)} and "
        f'{a.goods}. At {b.name} {b.keeper} wrote in {b.ink} ink: "{sentence(pick(rng, NUMBERS[2:15]))} ships '
        f'passed today." Tomorrow is {DAYS[(day + 1) % 7]}.'
    )
