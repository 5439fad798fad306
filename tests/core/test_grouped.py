"""Items in groups: worth their groups while nothing differs inside one, and no leap from there to all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from sway_dash.core.grouped import independent_items, independent_worth, mcnemar_worth, net_ci, turned
from sway_dash.core.rates import mcnemar_exact, newcombe_paired, wilson


def test_groups_that_are_all_alike_are_one_piece_of_evidence_each() -> None:
    assert independent_worth([True] * 10, list("aabbccddee")) == (5.0, 5)
    assert independent_worth([False] * 200, [i // 20 for i in range(200)]) == (0.0, 10)
    assert independent_worth([True] * 10, ["p"] * 10) == (1.0, 1), "one group is one piece of evidence"
    assert independent_worth([True, False, True], "abc") == (2.0, 3)
    assert independent_worth([], []) == (0.0, 0)
    # Of unequal size less: the large one is most of the mean.
    assert independent_items([1.0] * 13, [0] * 10 + [1, 2, 3]) == 1


@pytest.mark.parametrize(("groups", "size"), [(5, 2), (8, 10), (10, 20)])
def test_nothing_leaps_where_disagreements_begin(groups: int, size: int) -> None:
    of, n = [i % groups for i in range(groups * size)], groups * size
    # One more hit in each group in turn: nothing inside a group is alike for long.
    worth = [independent_worth([i < k for i in range(n)], of)[1] for k in range(n // 2)]
    assert worth[0] == groups
    assert worth[1] <= 3 * groups, "one disagreement is not as good as all items"
    steps = [b / a for a, b in pairwise(worth)]
    assert max(steps) <= 3
    assert max(worth) > 0.6 * n


def test_wilsons_interval_of_what_groups_are_worth_holds_the_rate() -> None:
    rng = np.random.default_rng(4)
    for rate, correlation in ((0.3, 0.1), (0.05, 0.7), (0.1, 1.0)):
        of = np.repeat(np.arange(10), 20)
        held = plain = 0
        for _ in range(300):
            a = 1.0 / correlation - 1.0
            own = rng.beta(rate * a, (1.0 - rate) * a, 10) if a else rng.uniform(size=10) < rate
            flags = (rng.uniform(size=200) < own[of]).tolist()
            lo, hi = wilson(*independent_worth(flags, of.tolist())) or (0.0, 0.0)
            held += lo <= rate <= hi
            lo, hi = wilson(sum(flags), 200) or (0.0, 0.0)
            plain += lo <= rate <= hi
        assert held / 300 >= 0.9
        assert plain / 300 <= 0.82


def test_the_interval_holds_the_share_that_was_seen() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        of = rng.integers(0, 6, 40)
        flags = (rng.uniform(size=40) < rng.uniform(size=6)[of] * rng.uniform()).tolist()
        lo, hi = wilson(*independent_worth(flags, of.tolist())) or (1.0, 0.0)
        assert lo <= sum(flags) / 40 <= hi


def moved(rng: np.random.Generator, groups: int, size: int) -> tuple[list[bool], list[bool], list[int]]:
    """Whole groups right or wrong before, and as often set right as wrong."""
    before, turns = rng.uniform(size=(2, groups))
    of = np.repeat(np.arange(groups), size)
    was = before < 0.5
    now = np.where(turns < 0.8, ~was, was)
    return was[of].tolist(), now[of].tolist(), of.tolist()


def test_neither_test_nor_interval_of_a_net_rate_takes_copies_for_evidence() -> None:
    rng = np.random.default_rng(6)
    rejected = copies = missed = 0
    for _ in range(300):
        before, after, of = moved(rng, 12, 5)
        rejected += mcnemar_worth(*turned(before, after, of)) <= 0.05
        pairs = list(zip(before, after, strict=True))
        copies += mcnemar_exact(pairs.count((False, True)), pairs.count((True, False))) <= 0.05
        lo, hi = net_ci(before, after, of) or (1.0, 1.0)
        missed += not lo <= 0.0 <= hi
    assert rejected / 300 <= 0.06
    assert missed / 300 <= 0.09
    assert copies / 300 > 0.25


def test_items_of_their_own_get_the_usual_test_and_interval() -> None:
    before, after = [True] * 7 + [False] * 9, [True] * 5 + [False] * 5 + [True] * 6
    of: Sequence[int] = range(16)
    assert turned(before, after, of) == (6.0, 8)
    assert mcnemar_worth(6.0, 8) == mcnemar_exact(6, 2)
    assert net_ci(before, after, of) == pytest.approx(newcombe_paired(5, 6, 2, 3))
    assert net_ci([], [], []) is None


def test_rounding_leaves_changes_no_more_one_sided_than_they_are() -> None:
    assert mcnemar_worth(9.6, 10) == mcnemar_exact(9, 1)
    assert mcnemar_worth(0.4, 10) == mcnemar_exact(1, 9)
    assert mcnemar_worth(10.0, 10) == mcnemar_exact(10, 0)
    assert mcnemar_worth(0.0, 0) == 1.0


def test_groups_that_differ_only_in_their_end_are_two() -> None:
    long = "x" * 100_000
    assert independent_items([1.0, 0.0] * 4, [f"{long}a", f"{long}a\0"] * 4) == 2
