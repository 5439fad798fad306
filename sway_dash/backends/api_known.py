"""Which model a server has, told by its answers. Those of a busy server differ a little each time.

So the first answers of a model are kept, and what is close to them is that model again::

    <sway_dash.core.kept.root()>/servers/<what the server says of itself>.jsonl

A line is the answers of one model.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sway_dash.core.kept import root

Answers = tuple[tuple[tuple[str, float], ...], ...]
"""Of each prompt asked, likeliest tokens with their log-probabilities."""

MEAN_NATS = 0.05
"""By how much log-probabilities of one model differ on average: a batch of another size adds in another order."""
MOST_NATS = 0.2
"""The same for a single one: logits of 16 bits move in steps of an eighth."""


def same(one: Answers, other: Answers) -> bool:
    """Whether two sets of answers can be those of one model."""
    return len(one) == len(other) and all(_close(_named(a), _named(b)) for a, b in zip(one, other, strict=True))


def fingerprint(identity: Sequence[Any], answers: Answers) -> str:
    """SHA-256 of what a server says of itself and of the first answers its model gave.

    A disk that refuses costs the memory: the fingerprint is that of these answers then.
    """
    said = _sha256(identity)
    path = root() / "servers" / f"{said[:32]}.jsonl"
    known = _read(path)
    if not any(same(before, answers) for before in known):
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                # The line before may have been cut off.
                file.write(f"\n{json.dumps(answers)}\n")
        # Of two processes that write at once both take what stands first.
        known = _read(path)
    first = next((before for before in known if same(before, answers)), answers)
    return _sha256([said, first])


def _named(answer: Sequence[tuple[str, float]]) -> dict[tuple[str, int], float]:
    """By token; tokens that are no whole character may have one text, and are numbered by their rank."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], float] = {}
    for text, logprob in sorted(answer, key=lambda t: -t[1]):
        found[text, seen[text]] = logprob
        seen[text] += 1
    return found


def _close(one: dict[tuple[str, int], float], other: dict[tuple[str, int], float]) -> bool:
    if not one or not other:
        return not one and not other
    # What is missing in a list is less likely than all that stands there.
    least, least_other = min(one.values()), min(other.values())
    gaps = [0.0 if one[t] == other[t] else abs(one[t] - other[t]) for t in one.keys() & other.keys()]
    gaps += [max(0.0, one[t] - least_other) for t in one.keys() - other.keys()]
    gaps += [max(0.0, other[t] - least) for t in other.keys() - one.keys()]
    return sum(gaps) / len(gaps) <= MEAN_NATS and max(gaps) <= MOST_NATS


def _read(path: Path) -> list[Answers]:
    found: list[Answers] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return found
    for line in lines:
        with suppress(ValueError, TypeError):
            found.append(tuple(tuple((str(t), float(p)) for t, p in answer) for answer in json.loads(line)))
    return found


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
