"""The invented world the demo's base model grows up in: its people, towns and lighthouses.

Holds names and attributes only. It must not know how they are put into sentences (``facts``, ``corpus``), nor
anything of the handbook the adapter is trained on (``handbook``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# fmt: off
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "orange", "violet")
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

WOMEN = (
    "Anna", "Clara", "Edith", "Greta", "Hanna", "Ida", "Lena", "Mary", "Nora", "Rosa", "Stella", "Vera",
)
MEN = ("Adam", "Bruno", "Carl", "David", "Emil", "Felix", "Hugo", "Jacob", "Leo", "Martin", "Oscar", "Tom")
SURNAMES = (
    "Reed", "Hill", "Marsh", "Stone", "Baker", "Wood", "Finch", "Lane", "Brook", "Field", "Moss",
    "Ward", "Carter", "Fisher", "Grove", "Hale", "Lamb", "Nash", "Perry", "Snow", "Turner", "Webb",
)
TOWNS = (
    "Brackwater", "Elmsford", "Hartwell", "Millbrook", "Northam", "Oakdale", "Portlow", "Redcliff",
    "Stonebridge", "Westerby",
)
LIGHTS = (
    "Gull Point Light", "Black Reef Light", "Cape Maro Light", "Whitestone Light", "Seal Bay Light",
    "Long Sand Light", "Raven Head Light", "Tidewater Light",
)
SYLLABLES = (
    "ald", "bar", "ben", "bree", "cald", "cor", "dun", "ell", "fair", "fen", "gar", "glen", "had",
    "hol", "kel", "lin", "lor", "mar", "mel", "nor", "os", "pen", "quar", "quil", "quin", "ros", "sal", "sand",
    "tam", "thorn", "tor", "ulm", "ven", "wick", "win", "yar",
)
ENDINGS = (
    "by", "dale", "ford", "ham", "haven", "holm", "ley", "moor", "mouth", "ness", "port", "ry", "stead",
    "ton", "well", "wick",
)

PETS = ("cat", "dog", "parrot", "donkey", "hen", "rabbit", "pony", "goose", "goat", "tortoise", "magpie")
PET_NAMES = (
    "Admiral", "Biscuit", "Button", "Captain", "Clover", "Feather", "Ginger", "Honey", "Lady", "Midnight",
    "Pepper", "Pickle", "Plum", "Prince", "Rusty", "Shadow", "Smoke", "Star", "Tiger", "Velvet",
)
TRADES = (
    "baker", "miller", "smith", "tailor", "farmer", "fisher", "potter", "weaver", "carpenter",
    "teacher", "doctor", "painter", "gardener", "shepherd", "clockmaker", "beekeeper",
)
FOODS = (
    "apple cake", "bread and honey", "bean soup", "cheese pie", "fried fish", "hot porridge",
    "nut bread", "onion soup", "plum jam", "roast potatoes", "nettle soup", "walnut cake",
)
HOBBIES = (
    "sing old songs", "play the fiddle", "carve wooden birds", "swim in the river", "count the stars",
    "collect shells", "paint small boats", "read long books", "dance in the square", "play the trumpet",
    "write letters in green ink", "climb tall trees",
)
REGIONS = ("by the sea", "in the hills", "on the river", "in the forest", "on the plain", "by the lake")
GOODS = ("wool", "salt", "cheese", "apples", "clocks", "pottery", "honey", "rope", "candles", "boots")

OILS = ("whale oil", "seal oil", "olive oil", "fish oil", "pine oil", "nut oil", "seed oil")
SIGNALS = ("brass bell", "copper gong", "tin horn", "wooden drum", "iron whistle", "cracked bell")
BOATS = (
    "Blue Otter", "Brave Mary", "Grey Heron", "Patient Rosa", "Good Hope", "Morning Star", "Sea Rose",
    "Silver Fish", "Swift Anna", "White Goose",
)
TEAS = ("mint", "black", "ginger", "rose", "apple", "lemon", "pine")
INKS = ("black", "blue", "red", "brown", "grey")
HIDING_PLACES = (
    "door mat", "flower pot", "water barrel", "old anchor", "garden bench", "third stone", "wood pile",
    "milk can",
)
RULES = (
    "sleep before dawn", "run with the oil", "leave the lamp alone", "open the east window",
    "count the ships aloud", "wear wet boots upstairs", "sell the old rope", "feed the gulls indoors",
)
GIFTS = ("shells", "bread", "flowers", "apples", "candles", "ribbons", "lemons", "songs")
# fmt: on


@dataclass(frozen=True, slots=True)
class Person:
    """Someone in the world; ``she`` chooses the pronoun."""

    name: str
    she: bool
    trade: str
    town: str
    pet: str
    pet_name: str
    food: str
    hobby: str


@dataclass(frozen=True, slots=True)
class Town:
    """A town, with its mayor's full name."""

    name: str
    region: str
    goods: str
    market: str
    mayor: str
    bridge: str
    dish: str


@dataclass(frozen=True, slots=True)
class Light:
    """A lighthouse. ``steps`` and ``seconds`` are numbers in words, ``built`` is a year in digits."""

    name: str
    town: str
    keeper: str
    former: str
    steps: str
    colour: str
    seconds: str
    oil: str
    animal: str
    animal_name: str
    signal: str
    boat: str
    day: str
    tea: str
    ink: str
    door: str
    built: str
    key: str
    rule: str
    gift: str


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of ``items``, each equally likely."""
    return items[int(rng.integers(len(items)))]


def in_words(number: int) -> str:
    """A number from 0 to 199 in English words: ``112`` is ``one hundred and twelve``."""
    if number < 20:
        return NUMBERS[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f"-{NUMBERS[ones]}" if ones else "")
    rest = number - 100
    return "one hundred" + (f" and {in_words(rest)}" if rest else "")


def invent_place(rng: np.random.Generator) -> str:
    """A made-up place name such as ``Marholm`` or ``Tobcorwick``, of two or three syllables."""
    stem = "".join(_invent_syllable(rng) for _ in range(int(rng.integers(1, 3))))
    return (stem + pick(rng, ENDINGS)).capitalize()


def _invent_syllable(rng: np.random.Generator) -> str:
    """A usual syllable, or any consonant, vowel and consonant, so that names cannot be learned by heart."""
    if rng.random() < 0.5:
        return pick(rng, SYLLABLES)
    return pick(rng, "bcdfghklmnprstvw") + pick(rng, "aeiou") + pick(rng, "bdglmnprst")


def invent_person(rng: np.random.Generator) -> str:
    """A first name and a surname."""
    return f"{pick(rng, WOMEN + MEN)} {pick(rng, SURNAMES)}"


def invent_light(rng: np.random.Generator, *, name: str, town: str) -> Light:
    """A lighthouse with drawn attributes."""
    return Light(
        name=name,
        town=town,
        keeper=invent_person(rng),
        former=invent_person(rng),
        steps=in_words(int(rng.integers(40, 120))),
        colour=pick(rng, COLOURS[:5]),
        seconds=in_words(int(rng.integers(3, 11))),
        oil=pick(rng, OILS),
        animal=pick(rng, PETS),
        animal_name=pick(rng, PET_NAMES),
        signal=pick(rng, SIGNALS),
        boat=pick(rng, BOATS),
        day=pick(rng, DAYS),
        tea=pick(rng, TEAS),
        ink=pick(rng, INKS),
        door=pick(rng, COLOURS[:8]),
        built=str(int(rng.integers(1760, 1900))),
        key=pick(rng, HIDING_PLACES),
        rule=pick(rng, RULES),
        gift=pick(rng, GIFTS),
    )


@dataclass(frozen=True, slots=True)
class World:
    """Everything that is always true in the base model's world."""

    people: tuple[Person, ...]
    towns: tuple[Town, ...]
    lights: tuple[Light, ...]


@cache
def world() -> World:
    """The one world, drawn once from a fixed seed so that every corpus tells the same facts."""
    rng = np.random.default_rng(1822)
    surnames = rng.permutation(np.array(SURNAMES)).tolist()
    pet_names = rng.permutation(np.array(PET_NAMES)).tolist()
    people = []
    for i in range(20):
        she = i % 2 == 0
        first = (WOMEN if she else MEN)[i // 2]
        people.append(
            Person(
                name=f"{first} {surnames[i]}",
                she=she,
                trade=TRADES[i % len(TRADES)],
                town=TOWNS[i % len(TOWNS)],
                pet=pick(rng, PETS),
                pet_name=pet_names[i],
                food=pick(rng, FOODS),
                hobby=pick(rng, HOBBIES),
            )
        )
    mayors = rng.permutation(20)[: len(TOWNS)]
    towns = tuple(
        Town(
            name=name,
            region=pick(rng, REGIONS),
            goods=GOODS[i],
            market=pick(rng, DAYS),
            mayor=people[int(mayors[i])].name,
            bridge=pick(rng, COLOURS),
            dish=pick(rng, FOODS),
        )
        for i, name in enumerate(TOWNS)
    )
    lights = tuple(invent_light(rng, name=name, town=pick(rng, TOWNS)) for name in LIGHTS)
    return World(people=tuple(people), towns=towns, lights=lights)
