"""What a message of a failed run is about, where there is more to say than it does. Pure: text in, data out."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {"b": 1.0, "bytes": 1.0, "kb": 1e3, "kib": 2.0**10, "mb": 1e6, "mib": 2.0**20, "gb": 1e9, "gib": 2.0**30}
_AMOUNT = r"(\d+(?:\.\d+)?)\s*(bytes|[KMG]i?B|B)\b"

_OUT = re.compile(
    r"out of memory|outofmemoryerror|\bMemoryError\b|can't allocate memory|not enough memory|unable to allocate",
    re.IGNORECASE,
)
_NEEDED = re.compile(rf"(?:tried to allocate|unable to allocate)\s+{_AMOUNT}", re.IGNORECASE)
_FREE = re.compile(rf"{_AMOUNT}(?:\s+is)?\s+free", re.IGNORECASE)
_CARD = re.compile(r"\bGPU (\d+)\b")


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A model or a batch did not fit. Bytes; ``None`` where the message does not say."""

    needed: float | None
    free: float | None
    device: str
    """``GPU 0``, ``the GPU``, or ``main memory``."""


def out_of_memory(text: str) -> OutOfMemory | None:
    """What a message says about memory that ran out; ``None`` when it is about something else."""
    if not _OUT.search(text):
        return None
    card = _CARD.search(text)
    some = "the GPU" if re.search(r"\b(CUDA|HIP|MPS)\b", text) else "main memory"
    device = f"GPU {card[1]}" if card else some
    return OutOfMemory(_bytes(_NEEDED.search(text)), _bytes(_FREE.search(text)), device)


def _bytes(found: re.Match[str] | None) -> float | None:
    return float(found[1]) * _UNITS[found[2].lower()] if found else None
