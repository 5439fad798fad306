"""Items that come in groups, such as questions of one prompt: how much they tell of a rate. Pure functions.

Items of a group tend to turn out alike, and are then fewer pieces of evidence than they are items. What is counted is
put in terms of as many independent items as tell as much, and goes to the usual intervals and tests as such.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np

from sway_dash.core.anova import FloatArray, IntArray, codes_of, one_way
from sway_dash.core.rates import mcnemar_exact, newcombe_paired

UNSEEN = 0.5
"""Disagreements that are added between the groups to those that were seen: none seen is no proof that none are.

This project's choice, by the simulated coverage below.
"""


def independent_items(moves: Sequence[float] | FloatArray, groups: Sequence[Any] | IntArray) -> int:
    """So many independent items tell as much of the mean as these ``moves`` of 0 and 1, or -1, 0 and 1, in groups.

    ``n / (1 + (n̄ - 1)·ρ·(t / z)²)``, ``n̄ = Σn_g²/n`` the group size an item sees (Kish 1965), ``t`` at 95 % on
    ``G - 1`` degrees of freedom, as the spread between few groups is badly known (Korn and Graubard 1998). With MSW the
    mean square within groups and σ² the whole variance, MSW and the spread between groups where there is any, the
    correlation is ``ρ = 1 - MSW / (σ² + 1/2n)`` in place of ``1 - MSW / σ²``: half a disagreement more, all of it
    between groups. So groups whose items are all alike are worth ``n² / Σn_g²``, one piece each where they are of one
    size, and never less; every disagreement inside a group brings them nearer to ``n``, and none makes a leap. One
    group is one.

    At a nominal 95 % Wilson's interval of a rate and Newcombe's of a net rate then cover 91 to 100 %, McNemar's test
    rejects in up to 5 % at 5 %. With items taken as independent that is 0 to 98 %, 46 to 100 % and up to 43 % (4 to 40
    groups of 2 to 20, rates of 0.02 to 0.5, correlations of 0 to 1, simulated). Less is covered of 4 or 5 groups that
    are wholly alike (86 to 88 %), of up to 8 such groups at rates of 0.02 to 0.06 (83 %, as of so few single items),
    and where groups differ in kind, as one correlation is assumed for all: with each of 10 groups of 20 wholly lost
    with a chance of 10 to 15 %, and 2 % of the other items singly, 72 to 76 %.
    """
    x = np.asarray(moves, dtype=np.float64)
    codes = codes_of(groups)
    sizes = np.bincount(codes).astype(np.float64)
    n, g = len(x), len(sizes)
    if g >= n or g == 1:
        return g
    table = one_way(x, codes)
    if table is None:
        return n
    from scipy.special import stdtrit

    squares = float((sizes**2).sum())
    between = (table.ms_between - table.ms_within) * (g - 1) / (n - squares / n)
    rho = 1.0 - table.ms_within / (table.ms_within + max(0.0, between) + UNSEEN / n)
    more = (squares / n - 1.0) * rho * (float(stdtrit(g - 1, 0.975)) / 1.96) ** 2
    # Less a rounding: what is worth ten must not be cut to nine.
    return int(max(n / (1.0 + more), n**2 / squares) + 1e-9)


def independent_worth(flags: Sequence[bool], groups: Sequence[Any]) -> tuple[float, int]:
    """``(k, n)``: ``n`` of :func:`independent_items`, and ``k`` the same share of them, so seldom a whole number."""
    if not flags:
        return 0.0, 0
    hits, worth = sum(map(bool, flags)), independent_items([float(f) for f in flags], groups)
    return hits * worth / len(flags), worth


def turned(before: Sequence[bool], after: Sequence[bool], groups: Sequence[Any]) -> tuple[float, int]:
    """:func:`independent_worth` of the items that changed: how many of them from wrong to right."""
    changed = [b != a for b, a in zip(before, after, strict=True)]
    return independent_worth(list(compress(after, changed)), list(compress(groups, changed)))


def mcnemar_worth(k: float, n: int) -> float:
    """:func:`~sway_dash.core.rates.mcnemar_exact` of ``k`` changes of ``n`` one way, rounded towards as many each way.

    All one way stays so, and what was not is not made so.
    """
    whole = math.floor(k + 1e-9) if 2 * k > n else math.ceil(k - 1e-9)
    return mcnemar_exact(whole, n - whole)


def net_ci(
    before: Sequence[bool], after: Sequence[bool], groups: Sequence[Any], *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval of the net share of items that went from wrong to right; ``None`` as of
    :func:`~sway_dash.core.rates.newcombe_paired`, which is given as many items as the moves are worth."""
    pairs = list(zip(before, after, strict=True))
    if not pairs:
        return None
    each = independent_items([float(a) - float(b) for b, a in pairs], groups) / len(pairs)
    kinds = ((True, True), (False, True), (True, False), (False, False))
    both, gained, lost, neither = (each * pairs.count(kind) for kind in kinds)
    return newcombe_paired(both, gained, lost, neither, confidence=confidence)
