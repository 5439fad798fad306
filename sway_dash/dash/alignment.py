"""Where two versions of a list differ, in a time that grows with their length and not with its square."""

from __future__ import annotations

import bisect
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence

SEVERAL = 1000
"""Items from which comparing every one with every other takes too long."""

Pairs = list[tuple[int, int]]
Stretch = tuple[int, int, int, int]
"""``old[i:i_end]`` has become ``new[j:j_end]``."""


def differences(old: Sequence[str], new: Sequence[str]) -> list[Stretch]:
    """Stretches that differ, from first to last; place by place where that touches fewer items."""
    if max(len(old), len(new)) > SEVERAL:
        found = list(_between(old, new, _landmarks(old, new)))
    else:
        matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
        found = [(i, i_end, j, j_end) for op, i, i_end, j, j_end in matcher.get_opcodes() if op != "equal"]
    if len(old) == len(new):
        direct = [(i, i + 1, i, i + 1) for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        if len(direct) <= sum(max(i_end - i, j_end - j) for i, i_end, j, j_end in found):
            return direct
    return found


def _landmarks(old: Sequence[str], new: Sequence[str]) -> Pairs:
    """Places that hold the same item, both rising.

    All that is left of a list that only lost or only got items; else what both have once, as many as keep their order.
    """
    if (places := _inside(new, old)) is not None:
        return [(i, j) for j, i in enumerate(places)]
    if (places := _inside(old, new)) is not None:
        return list(enumerate(places))
    here, there = Counter(old), Counter(new)
    place = {key: j for j, key in enumerate(new)}
    return _rising([(i, place[key]) for i, key in enumerate(old) if here[key] == there[key] == 1])


def _inside(short: Sequence[str], long: Sequence[str]) -> list[int] | None:
    """Where the items of one list stand in another, in their order; ``None`` if they do not."""
    found: list[int] = []
    for i, key in enumerate(long):
        if len(found) < len(short) and key == short[len(found)]:
            found.append(i)
    return found if len(found) == len(short) else None


def _rising(pairs: Pairs) -> Pairs:
    """The most of some pairs whose second numbers rise with the first."""
    ends: list[int] = []  # for every length the smallest second number that so many pairs can end with
    which: list[int] = []  # and the pair it belongs to
    before: list[int] = []
    for n, (_, j) in enumerate(pairs):
        length = bisect.bisect_left(ends, j)
        before.append(which[length - 1] if length else -1)
        ends[length : length + 1], which[length : length + 1] = [j], [n]
    found: Pairs = []
    n = which[-1] if which else -1
    while n >= 0:
        found.append(pairs[n])
        n = before[n]
    return found[::-1]


def _between(old: Sequence[str], new: Sequence[str], landmarks: Pairs) -> Iterator[Stretch]:
    """What lies between landmarks, without what is the same at both ends of it."""
    i = j = 0
    for i_next, j_next in [*landmarks, (len(old), len(new))]:
        i_end, j_end = i_next, j_next
        while i < i_end and j < j_end and old[i] == new[j]:
            i, j = i + 1, j + 1
        while i < i_end and j < j_end and old[i_end - 1] == new[j_end - 1]:
            i_end, j_end = i_end - 1, j_end - 1
        if i < i_end or j < j_end:
            yield i, i_end, j, j_end
        i, j = i_next + 1, j_next + 1
