"""Items in groups: worth their groups while nothing differs inside one, and no leap from there to all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pytest

from sway_dash.core.grouped import (
    gravest,
    harm_ci,
    independent_items,
    independent_worth,
    mcnemar_groups,
    net_ci,
)
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
        rejected += mcnemar_groups(before, after, of)[0] <= 0.05
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
    assert mcnemar_groups(before, after, of) == (pytest.approx(mcnemar_exact(6, 2)), 8)
    assert mcnemar_groups([], [], []) == (1.0, 0)
    assert net_ci(before, after, of) == pytest.approx(newcombe_paired(5, 6, 2, 3))
    assert net_ci([], [], []) is None


def test_the_p_of_groups_is_the_share_of_all_choices_of_signs() -> None:
    rng = np.random.default_rng(7)
    for _ in range(60):
        groups = int(rng.integers(1, 9))
        of = rng.integers(0, groups, 24)
        before, after = rng.uniform(size=24) < 0.5, rng.uniform(size=24) < 0.7
        sums = [int(after[of == g].sum()) - int(before[of == g].sum()) for g in range(groups)]
        flipped = [abs(np.dot(signs, sums)) >= abs(sum(sums)) for signs in product((-1, 1), repeat=groups)]
        p, changed = mcnemar_groups(before.tolist(), after.tolist(), of.tolist())
        assert p == pytest.approx(np.mean(flipped))
        assert changed == sum(s != 0 for s in sums)


def test_one_more_item_set_wrong_makes_no_gain_surer() -> None:
    rng = np.random.default_rng(8)
    looked = 0
    for _ in range(300):
        of, before = rng.integers(0, 8, 30).tolist(), (rng.uniform(size=30) < 0.3).tolist()
        after = (rng.uniform(size=30) < 0.7).tolist()
        rights = [i for i in range(30) if after[i]]
        worse = list(after)
        worse[int(rng.choice(rights))] = False
        if sum(worse) > sum(before):
            looked += 1
            assert mcnemar_groups(before, worse, of)[0] >= mcnemar_groups(before, after, of)[0] - 1e-12
    assert looked > 200


def test_one_more_hit_does_not_lower_the_bound_of_a_harm() -> None:
    rng = np.random.default_rng(9)
    lower = 0
    for _ in range(300):
        groups, size = int(rng.integers(2, 15)), int(rng.integers(2, 12))
        of = np.repeat(np.arange(groups), size).tolist()
        flags = rng.uniform(size=groups * size) < rng.beta(0.1, 0.5, groups)[of]
        if flags.all():
            continue
        more = flags.copy()
        more[rng.choice(np.flatnonzero(~flags))] = True
        ends = [(harm_ci(gravest(f.tolist(), of)) or (0.0, 0.0))[1] for f in (flags, more)]
        assert ends[1] >= ends[0] - 0.02
        lower += ends[1] < ends[0] - 1e-12
    assert lower <= 3


def test_single_hits_do_not_hide_groups_that_are_lost_as_a_whole() -> None:
    """Each of ten groups of twenty lost with a chance of 15 %, and 2 % of the other items one by one."""
    rng = np.random.default_rng(10)
    of, truth = np.repeat(np.arange(10), 20).tolist(), 0.15 + 0.85 * 0.02
    held = as_one_correlation = 0
    for _ in range(200):
        flags = ((rng.uniform(size=10) < 0.15)[of] | (rng.uniform(size=200) < 0.02)).tolist()
        counts = gravest(flags, of)
        held += truth <= (harm_ci(counts, confidence=0.9) or (0.0, 0.0))[1]
        as_one_correlation += truth <= (wilson(*counts[0], confidence=0.9) or (0.0, 0.0))[1]
    assert held / 200 >= 0.95
    assert as_one_correlation / 200 < 0.9
    assert harm_ci(gravest([False] * 200, of)) == wilson(0, 10)
    assert harm_ci(gravest([], [])) is None


def test_groups_that_differ_only_in_their_end_are_two() -> None:
    long = "x" * 100_000
    assert independent_items([1.0, 0.0] * 4, [f"{long}a", f"{long}a\0"] * 4) == 2
