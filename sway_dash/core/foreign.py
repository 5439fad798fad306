"""Values out of files that other programs may have written: what is not as it should be counts as not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def mapping(value: Any) -> Mapping[str, Any]:
    """The mapping, or an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """A finite number; ``None`` for anything else, also for whole numbers too large to calculate with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def count(value: Any) -> int:
    """A number of things; 0 for anything else."""
    return max(0, int(number(value) or 0))
