"""Text that fills a context: what stands before a prompt without having anything to do with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, Literal

Filler = Literal["text", "shuffled"]

SEPARATOR = "\n\n"
"""Stands between filler and prompt, and before the prompt when there is no filler, so that lengths differ in nothing
else."""

CHARS_PER_TOKEN = 4
"""What a token is taken to hold where nothing can count tokens."""

LEGACY = (
    "The following notes were collected over several seasons and are archived for historical record. "
    "They describe ordinary matters in plain words and have no bearing on what comes after them. "
)
"""What ``legacy_stuffing`` repeats."""

TEXT = """\
These pages come from the minutes of a small reading society and are archived for historical record. The society met
on the second Tuesday of the month, in a room above the post office that was cold in winter and too warm in June. In
its first year it had nine members and one lamp. Somebody always brought bread, and somebody always forgot the chairs.

The first meeting was spent on the question of who should keep the key. It was given to the youngest member, because
she lived across the street and was never late. She kept it for eleven years. When she moved away, the lock was
changed, since by then nobody remembered how many copies had been made.

In spring the society read a book about rivers. It said that a river is never twice in the same place, and the
treasurer, who had a meadow by the water, agreed with every word. A long discussion about fences followed. It was
decided to read something about mountains next, as mountains were thought to give less cause for argument.

The book about mountains turned out to be about the people who draw maps of them. They walked for weeks with a chain
of measured length, wrote numbers into small books, and sat in offices all winter to turn the numbers into lines. One
of them had spent a whole summer on a peak that was covered by a cloud. He drew the cloud, and it was printed.

A letter arrived in autumn from a society in another valley. It asked whether there was any interest in an exchange of
visits. There was interest, but no horse. In the end eight guests came by cart, stayed for soup, and explained that
they did not read books at all: they copied out recipes and corrected them. Three of these recipes are still in use.

The winter of the fourth year was long. The road was closed from December until the end of February, and the minutes of
these months are short. They say who came, what was eaten, and how many pages were read aloud. On one evening only the
secretary was present. He read to himself, thanked the speaker, and closed the meeting at nine.

Repairs to the roof were paid for by a sale of old newspapers. It was noticed during the sorting that the papers had
announced the same bridge three times in twenty years. A member who worked with stone was asked for his opinion. He
said that a bridge is mostly patience, and that the rest is gravel.

In the sixth year the society bought a globe at an auction. Two of the countries on it had changed their names and one
had never existed. It was kept all the same, since the children liked to turn it. A list of corrections was pinned to
the wall beside it, and visitors were invited to add to the list in pencil.

Music was tried for one season. There were two fiddles, a flute and a drum, and not enough room for the drum. The
evenings were well attended, but the post office below complained that letters were being sorted in time to the music
and put into the wrong boxes. The drum was sold and the fiddles went back to weddings.

At the tenth anniversary the members counted what they had read: a hundred and four books, of which seven had been
finished by everyone. A prize was proposed for the member who had finished the most, and withdrawn when nobody could
prove anything. Instead a bench was put up at the corner of the square, where the evening sun reaches it.

The last entry is about the weather. It had rained in the morning and cleared in the afternoon, and the windows were
open for the first time that year. The minutes were read and approved. There was no other business.
"""


def legacy(tokens: int) -> str:
    """Repeated filler of four characters a token and a blank line; empty for 0."""
    if tokens <= 0:
        return ""
    need = CHARS_PER_TOKEN * tokens
    return (LEGACY * (need // len(LEGACY) + 1))[:need] + SEPARATOR


def prefixes(lengths: Sequence[int], kind: Filler, count: Callable[[str], int] | None, *, seed: int = 0) -> list[str]:
    """One filler per length, each the beginning of the next longer one, cut after a word, without a separator.

    Their lengths in tokens are near what was asked for and have to be counted. ``shuffled`` has the same words in
    random order: the same vocabulary that says nothing.
    """
    words = TEXT.split()
    if kind == "shuffled":
        random.Random(seed).shuffle(words)
    return [_cut(words, tokens, count) for tokens in lengths]


def _cut(words: Sequence[str], tokens: int, count: Callable[[str], int] | None) -> str:
    """The first words, over and over again, that come closest to so many tokens from below."""
    if tokens <= 0:
        return ""
    held: list[str] = []
    source = cycle(words)
    if count is None:
        size = 0
        for word in source:
            size += len(word) + 1
            if held and size > CHARS_PER_TOKEN * tokens:
                break
            held.append(word)
        return " ".join(held)
    # No word is less than a token, so this many words are enough; the right number is found by halving.
    held = [next(source) for _ in range(tokens)]
    low, high = 1, tokens
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(" ".join(held[:middle])) <= tokens else (low, middle - 1)
    return " ".join(held[:low])


def token_counter(backend: Any) -> Callable[[str], int] | None:
    """Counts the tokens of a text as the backend's own tokenizer makes them; ``None`` if it shows none."""
    tokenizer = getattr(backend, "tokenizer", None) or getattr(backend, "_tokenizer", None)
    if tokenizer is None:
        sides = getattr(backend, "base", None)
        tokenizer = getattr(sides, "tokenizer", None)
    if tokenizer is None:
        return None
    if callable(tokenizer):
        return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return lambda text: len(tokenizer.encode(text)) if text else 0
