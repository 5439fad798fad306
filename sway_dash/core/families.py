"""Many p-values at once: what remains of each when all of them are read. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Holm 1979), in the order given.

    With ``p_(1) ≤ … ≤ p_(m)``: ``adjusted_(i) = max_{j ≤ i} min(1, (m - j + 1) · p_(j))``. Calling real what is at
    most α gives even one false alarm with a probability of at most α (family-wise error), under any dependence between
    the tests. ``None`` is no test: it stays ``None`` and does not count.
    """
    known = _known(ps)
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    for step, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - step) * p))
        adjusted[i] = largest
    return adjusted


def benjamini_hochberg(ps: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's step-up adjustment (1995), the q-values, in the order given.

    ``q_(i) = min_{j ≥ i} min(1, m · p_(j) / j)``. Of what is called real at ``q ≤ α`` an expected share of at most α
    is a false alarm (false discovery rate), for independent or positively dependent tests (Benjamini and Yekutieli
    2001). ``None`` is no test: it stays ``None`` and does not count.
    """
    known = _known(ps)
    adjusted: list[float | None] = [None] * len(ps)
    smallest = 1.0
    for rank in range(len(known), 0, -1):
        p, i = known[rank - 1]
        smallest = min(smallest, len(known) * p / rank)
        adjusted[i] = smallest
    return adjusted


def _known(ps: Sequence[float | None]) -> list[tuple[float, int]]:
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    for p, _ in known:
        if not 0.0 <= p <= 1.0:
            msg = f"a p-value lies in [0, 1], got {p}"
            raise ValueError(msg)
    return known
