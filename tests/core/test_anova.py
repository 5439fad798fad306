"""Analysis of variance: known tables, 0 on average under no signal, 1 when only the groups differ."""

from __future__ import annotations

import numpy as np
import pytest

from sway_dash.core.anova import between_groups, one_way


def test_a_table_worked_by_hand() -> None:
    # Group means 2, 4, 9 about 5: SSB = 3(9 + 1 + 16) = 78, SSW = 2 + 2 + 2 = 6.
    table = one_way([1, 2, 3, 3, 4, 5, 8, 9, 10], [0] * 3 + [1] * 3 + [2] * 3)
    assert table is not None
    assert (table.k, table.n) == (3, 9)
    assert (table.ms_between, table.ms_within) == pytest.approx((39.0, 1.0))
    assert table.icc == pytest.approx(38 / 41)
    assert table.omega_squared == pytest.approx((78 - 2) / (84 + 1))


def test_the_agreement_of_judges_published_by_shrout_and_fleiss() -> None:
    # Table 2 of Shrout and Fleiss 1979, six targets by four judges: ICC(1,1) = .17.
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    table = one_way(np.ravel(ratings), np.repeat(np.arange(6), 4))
    assert table is not None
    assert (table.ms_between, table.ms_within) == pytest.approx((11.24, 6.26), abs=0.005)
    assert table.icc == pytest.approx(0.17, abs=0.005)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 9, 5, 20), (2, 2, 2, 2, 2)])
def test_without_a_signal_both_are_zero_on_average_whatever_the_sizes(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    tables = [one_way(rng.normal(size=len(labels)), labels) for _ in range(3000)]
    assert np.mean([t.ms_between - t.ms_within for t in tables if t]) == pytest.approx(0.0, abs=0.05)
    assert np.mean([t.icc for t in tables if t and t.icc is not None]) == pytest.approx(0.0, abs=0.06)
    assert np.mean([t.omega_squared for t in tables if t and t.omega_squared is not None]) == pytest.approx(
        0.0, abs=0.06
    )


def test_groups_that_alone_differ_are_one_and_equal_values_have_no_share() -> None:
    table = one_way([1.0, 1.0, 3.0, 3.0], ["a", "a", "b", "b"])
    assert table is not None
    assert table.icc == table.omega_squared == 1.0
    flat = one_way([0.1] * 6, [0, 0, 0, 1, 1, 1])
    assert flat is not None
    assert flat.icc is None
    assert one_way([1.0, 2.0], [0, 1]) is None
    assert one_way([1.0, 2.0], [0, 0]) is None


def test_the_sum_of_squares_between_groups_orders_permutations_as_the_icc_does() -> None:
    rng = np.random.default_rng(2)
    values, labels = rng.normal(size=20), np.repeat(np.arange(4), 5)
    pairs = []
    for _ in range(50):
        order = rng.permutation(labels)
        table = one_way(values, order)
        assert table is not None
        pairs.append((between_groups(values, order), table.icc))
    by_sum = [icc for _, icc in sorted(pairs)]
    assert by_sum == sorted(by_sum)
