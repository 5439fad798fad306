"""Names in the columns of a terminal: broken where their words end, and never in the middle of one."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PARTS = re.compile(r"[^-_/.→ ]*[-_/.→ ]+|[^-_/.→ ]+")
"""A word of a name with the separators after it."""

LEAST = 8
"""So many characters are left of a name however narrow its column is."""


def fit(columns: Sequence[Sequence[str]], room: int) -> list[list[str]]:
    """The cells of columns that share ``room`` characters; long names get several lines, where they do not fit."""
    widths = [max(map(len, column), default=0) for column in columns]
    # Narrow columns keep their width; the wide ones share what is left evenly.
    left, share = room, room
    for n, width in enumerate(sorted(widths)):
        share = max(LEAST, left // (len(widths) - n))
        if width > share:
            break
        left -= width
    return [[lines(cell, share) for cell in column] for column in columns]


def lines(name: str, room: int) -> str:
    """A name in lines of at most ``room`` characters; a word that is longer still loses its beginning."""
    if len(name) <= room:
        return name
    done, line = [], ""
    for part in _PARTS.findall(name):
        if line and len((line + part).rstrip()) > room:
            done.append(line.rstrip())
            line = ""
        line += part if len(part.rstrip()) <= room else f"…{part.rstrip()[1 - room :]}"
    return "\n".join([*done, line.rstrip()])
