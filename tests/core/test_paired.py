"""Paired differences against scipy, brute force and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.core import stats
from sway_dash.core.paired import (
    MANY,
    NUMERIC_FLOOR,
    adjusted,
    effect_size,
    mean_interval,
    null_spread,
    paired,
    signed_rank,
)

DELTAS = np.array([0.03, -0.01, 0.07, 0.0, 0.02, -0.04, 0.05, 0.01, 0.06, 0.02])


# --- counts ---------------------------------------------------------------------------------------------------------


def test_what_lies_inside_the_floor_is_the_same():
    found = paired(DELTAS, floor=0.02)
    assert (found.up, found.same, found.down, found.n) == (4, 5, 1, 10)


def test_every_item_has_its_own_floor():
    found = paired([0.1, 0.1, -0.1, -0.1], floor=[0.05, 0.2, 0.05, 0.2])
    assert (found.up, found.same, found.down) == (1, 2, 1)


def test_float_noise_is_never_a_change():
    found = paired([NUMERIC_FLOOR / 2, -NUMERIC_FLOOR, 0.0, NUMERIC_FLOOR / 3], floor=0.0)
    assert found.same == found.n == 4
    assert found.identical


def test_a_difference_of_the_size_of_the_floor_is_the_same_and_not_identical():
    found = paired([0.5] * 5, floor=0.5)
    assert found.same == 5
    assert not found.identical


def test_nothing_is_said_of_nothing():
    found = paired([])
    assert (found.n, found.mean, found.ci, found.d_z, found.p) == (0, None, None, None, None)
    assert not found.identical


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0, 1))
def test_turning_the_baseline_round_turns_the_numbers_round(deltas, floor):
    there, back = paired(deltas, floor=floor), paired([-d for d in deltas], floor=floor)
    assert (there.up, there.same, there.down) == (back.down, back.same, back.up)
    assert there.mean == -back.mean
    assert there.p == pytest.approx(back.p) if there.p is not None else back.p is None


# --- mean difference ------------------------------------------------------------------------------------------------


def test_the_interval_is_the_bootstrap_t_of_the_differences():
    found = paired(DELTAS, seed=3, bounds=(-1.0, 1.0))
    assert found.mean == stats.mean(DELTAS)
    assert found.ci == stats.bootstrap_ci(DELTAS, seed=3, bounds=(-1.0, 1.0))
    assert "bootstrap-t over 10" in found.ci_note


@pytest.mark.parametrize("n", [1, 2, 3])
def test_too_few_items_have_a_reason_instead_of_an_interval(n):
    found = paired(DELTAS[:n])
    assert found.ci is None
    assert f"n = {n}" in found.ci_note
    assert found.d_z is None
    assert f"n = {n}" in found.d_z_note


def draws(kind, n, seed):
    """Differences of a known mean."""
    rng = np.random.default_rng(seed)
    if kind == "normal":
        return rng.normal(0.3, 1.0, n), 0.3
    if kind == "skewed":  # two divergences, one of them larger
        return rng.gamma(0.7, size=n) - 0.5 * rng.gamma(0.7, size=n), 0.35
    return np.where(rng.random(n) < 0.1, rng.gamma(1.0, size=n), 0.0) + 0.02 * rng.normal(
        size=n
    ), 0.1  # rare large ones


@pytest.mark.parametrize(
    ("kind", "n", "runs"),
    [
        ("normal", 8, 400),
        ("normal", 24, 400),
        ("skewed", 8, 400),
        ("skewed", 24, 400),
        ("skewed", 100, 300),
        ("normal", MANY + 100, 1000),
        ("skewed", MANY + 100, 1000),
        ("rare", MANY + 100, 1000),
    ],
)
def test_the_interval_holds_the_mean_as_often_as_it_says(kind, n, runs):
    hits = 0
    for seed in range(runs):
        x, true = draws(kind, n, seed)
        ci, _ = mean_interval(x, seed=seed)
        hits += ci[0] <= true <= ci[1]
    assert 0.92 <= hits / runs <= 0.98


def test_the_closed_interval_of_many_items_agrees_with_the_bootstrap():
    x = np.random.default_rng(5).gamma(0.4, size=MANY + 1)
    lo, hi = mean_interval(x)[0]
    want = stats.bootstrap_ci(x, n_bootstrap=8000, seed=1)
    width = want[1] - want[0]
    assert abs(lo - want[0]) < 0.05 * width
    assert abs(hi - want[1]) < 0.05 * width
    # Skewed to the right: the mean may well be much larger, and hardly smaller.
    assert hi - x.mean() > x.mean() - lo


def test_the_closed_interval_is_clamped_and_knows_its_limits():
    x = np.random.default_rng(5).normal(size=MANY + 1)
    assert mean_interval(x, bounds=(-0.001, 0.001))[0] == (-0.001, 0.001)
    assert mean_interval(np.full(MANY + 1, 0.25))[0] == (0.25, 0.25)
    x[7] = math.nan
    assert mean_interval(x)[0] is None


def test_the_effect_size_is_the_mean_in_standard_deviations():
    assert effect_size(DELTAS)[0] == pytest.approx(DELTAS.mean() / DELTAS.std(ddof=1), abs=1e-12)
    value, why = effect_size(np.full(9, 0.1))
    assert value is None
    assert "equal" in why


# --- signed rank ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [6, 9, 24, 50])
def test_without_ties_p_is_the_exact_one_of_scipy(n):
    x = np.random.default_rng(n).normal(0.3, 1.0, n)
    p, method = signed_rank(x)
    assert p == pytest.approx(scipy.stats.wilcoxon(x, method="exact").pvalue, abs=1e-12)
    assert "exact" in method


@pytest.mark.parametrize("ties", [False, True])
def test_beyond_p_is_the_normal_approximation_of_scipy(ties):
    x = np.random.default_rng(2).normal(0.2, 1.0, 300)
    x = np.round(x, 1) if ties else x
    p, method = signed_rank(x)
    # Before scipy 1.13 the method has another name.
    old = tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 13)
    how = "approx" if old else "asymptotic"
    want = scipy.stats.wilcoxon(x, zero_method="wilcox", correction=False, method=how).pvalue
    assert p == pytest.approx(want, abs=1e-12)
    assert "normal" in method


def test_with_ties_p_counts_every_way_to_put_the_signs():
    x = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -3.0, 4.0])
    ranks = scipy.stats.rankdata(np.abs(x))
    observed = ranks[x > 0].sum()
    sums = np.array([sum(r for r, up in zip(ranks, s, strict=True) if up) for s in itertools.product((0, 1), repeat=8)])
    want = min(1.0, 2 * min((sums <= observed).mean(), (sums >= observed).mean()))
    assert signed_rank(x)[0] == pytest.approx(want, abs=1e-12)


def test_zeros_are_dropped():
    x = np.random.default_rng(3).normal(0.5, 1.0, 12)
    assert signed_rank([0.0, *x, 0.0, 0.0])[0] == signed_rank(x)[0]
    # What is float noise is a zero, too.
    noisy = np.concatenate([x, [NUMERIC_FLOOR / 5] * 40])
    assert paired(noisy).p == signed_rank(x)[0]


@pytest.mark.parametrize("nonzero", [0, 1, 5])
def test_too_few_differences_have_a_reason_instead_of_a_p(nonzero):
    p, why = signed_rank([0.1] * nonzero + [0.0] * 30)
    assert p is None
    assert f"there are {nonzero}" in why


def test_a_true_null_is_rejected_as_often_as_it_says():
    rejected = sum(signed_rank(np.random.default_rng(s).normal(size=24))[0] <= 0.05 for s in range(1000))
    assert 0.03 <= rejected / 1000 <= 0.065


# --- many comparisons -----------------------------------------------------------------------------------------------


def test_results_know_how_many_were_tested():
    x = np.random.default_rng(0).normal(0.6, 1.0, 20)
    found = adjusted([paired(x), paired(x[:3]), paired(-x)])
    assert [f.tests for f in found] == [2, 2, 2]
    assert found[0].p_holm == pytest.approx(min(1.0, 2 * found[0].p))
    assert found[1].p_holm is None


# --- null spread ----------------------------------------------------------------------------------------------------


def test_the_spread_of_few_draws_is_their_range():
    assert null_spread([[0.1, 0.4, 0.2]]) == pytest.approx([0.3])
    assert null_spread([[0.1, 0.4], [0.2, 0.2]]) == pytest.approx([0.3, 0.0])


def test_the_spread_of_many_draws_leaves_out_the_rarest_pairs():
    x = np.random.default_rng(0).normal(size=(3, 40))
    apart = [sorted(abs(a - b) for a, b in itertools.combinations(row, 2)) for row in x]
    want = [pairs[math.ceil(0.95 * (len(pairs) - 1))] for pairs in apart]
    assert null_spread(x) == pytest.approx(want)
    assert (null_spread(x) < np.ptp(x, axis=1)).all()


@pytest.mark.parametrize("draws", [np.empty((3, 0)), np.ones((3, 1))])
def test_one_draw_says_nothing_of_noise(draws):
    assert null_spread(draws).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("n", "least"), [(12, 0.88), (60, 0.93)])
def test_two_draws_of_one_distribution_are_the_same_most_of_the_time(n, least):
    rng = np.random.default_rng(8)
    floors = null_spread(rng.gamma(2.0, size=(2000, n)))
    apart = np.abs(rng.gamma(2.0, size=2000) - rng.gamma(2.0, size=2000))
    assert least <= (apart <= floors).mean() <= 0.97
