"""Items that come in groups, such as questions of one prompt: how much they tell of a rate. Pure functions.

Items of a group tend to turn out alike, and are then fewer pieces of evidence than they are items. What is counted is
put in terms of as many independent items as tell as much, and goes to the usual intervals and tests as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sway_dash.core.anova import FloatArray, IntArray, codes_of, one_way
from sway_dash.core.rates import newcombe_paired, wilson

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

    At a nominal 95 % Wilson's interval of a rate and Newcombe's of a net rate then cover 91 to 100 %; with items taken
    as independent that is 0 to 98 % and 46 to 100 % (4 to 40 groups of 2 to 20, rates of 0.02 to 0.5, correlations of 0
    to 1, simulated). Less is covered of 4 or 5 groups that are wholly alike (86 to 88 %), of up to 8 such groups at
    rates of 0.02 to 0.06 (83 %, as of so few single items), and where groups differ in kind, as one correlation is
    assumed for all: with each of 10 groups of 20 wholly lost with a chance of 10 to 15 %, and 2 % of the other items
    singly, 72 to 76 %. Where such a loss must not be missed there is :func:`harm_ci`.
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


def gravest(flags: Sequence[bool], groups: Sequence[Any]) -> list[tuple[float, int]]:
    """:func:`independent_worth` of all hits, and of those alone that fell on the groups hit hardest, down to none.

    Single hits elsewhere seem to say that items of a group differ, and so that groups are not lost as a whole. Both may
    be so: some are, and of the others a few items. What the groups hit hardest are worth does not depend on the others.
    """
    codes = codes_of(groups)
    hit = np.asarray(flags, dtype=np.float64)
    if not hit.size:
        return [(0.0, 0)]
    shares = np.bincount(codes, weights=hit) / np.bincount(codes)
    place = np.argsort(np.argsort(-shares, kind="stable"))[codes]
    kept = [hit, *(hit * (place < top) for top in range(int((shares > 0).sum())))]
    return [independent_worth((flag > 0).tolist(), groups) for flag in kept]


def harm_ci(counts: Sequence[tuple[float, int]], *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Wilson's interval of a rate of harm over the first of :func:`gravest`, up to the largest upper end of any.

    ``G`` groups of one size never show a rate to be below ``z² / (G + z²)``, what no hit in ``G`` items shows. One more
    hit does not lower the upper end by more than 0.02, and hardly ever does at all (in 6 of 3,000 draws). A nominal
    one-sided 95 % covers 89 to 100 % (8 to 40 groups of 4 to 20; correlations of 0 to 1; groups lost as a whole with a
    chance of 10 to 25 % and 2 to 5 % of the other items singly; simulated). ``None`` of nothing.
    """
    ends = [ci for k, n in counts if (ci := wilson(k, n, confidence=confidence))]
    return (ends[0][0], max(high for _, high in ends)) if ends else None


def mcnemar_groups(before: Sequence[bool], after: Sequence[bool], groups: Sequence[Any]) -> tuple[float, int]:
    """McNemar's exact two-sided p for items in groups, and how many groups changed more one way than the other.

    With ``s_g`` the items of a group that went from wrong to right less those that went back, the p-value is the share
    of all choices of signs with ``|Σ ±|s_g|| ≥ |Σ s_g|``: a group as a whole is as likely to have gone the other way
    (Fisher's randomisation test of paired differences, 1935). Of groups of one item it is McNemar's own. Of ``k``
    groups it is at least ``2 / 2^k``. One more item set wrong in a group never makes a gain surer.
    """
    codes = codes_of(groups)
    if not codes.size:
        return 1.0, 0
    moves = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    sums = np.rint(np.bincount(codes, weights=moves)).astype(int)
    sizes, total = np.abs(sums[sums != 0]), abs(int(sums.sum()))
    if not total:
        return 1.0, len(sizes)
    # Chance of every sum of those groups that go the other way; the sum of all is then the rest less it.
    chance = np.ones(1)
    for size in sizes.tolist():
        chance = 0.5 * (np.pad(chance, (0, size)) + np.pad(chance, (size, 0)))
    against = (int(sizes.sum()) - total) // 2
    return min(1.0, 2.0 * float(chance[: against + 1].sum())), len(sizes)


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
