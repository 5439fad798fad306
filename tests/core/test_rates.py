"""Rates against published worked examples, scipy and exact enumeration of coverage."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.core.rates import mcnemar_exact, newcombe_paired, wilson

COUNTS = st.integers(0, 40)

# --- one rate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "n", "published"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_the_four_examples_of_newcombe_1998(k, n, published):
    assert wilson(k, n) == pytest.approx(published, abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_scipy_agrees(counts, confidence):
    k, n = counts
    ci = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert wilson(k, n, confidence=confidence) == pytest.approx((ci.low, ci.high), abs=1e-9)


def test_the_interval_is_not_a_point_when_nothing_happened():
    lo, hi = wilson(0, 10)
    assert lo == 0.0
    assert hi == pytest.approx(0.2775, abs=5e-5)
    assert wilson(10, 10) == pytest.approx((1 - hi, 1.0))


def test_without_items_there_is_no_interval():
    assert wilson(0, 0) is None
    assert wilson(1, 2, confidence=1.0) is None


@pytest.mark.parametrize(("k", "n"), [(-1, 4), (5, 4), (0, -1)])
def test_counts_that_cannot_be_are_refused(k, n):
    with pytest.raises(ValueError, match="no rate"):
        wilson(k, n)


def test_coverage_is_near_the_nominal_one():
    rates = np.linspace(0.005, 0.995, 100)
    for n in (10, 30, 100):
        ends = np.array([wilson(k, n) for k in range(n + 1)])
        holds = (ends[:, 0, None] <= rates) & (rates <= ends[:, 1, None])
        coverage = (scipy.stats.binom.pmf(np.arange(n + 1)[:, None], n, rates) * holds).sum(axis=0)
        assert 0.945 <= coverage.mean() <= 0.965
        assert coverage.min() >= 0.83


# --- two rates over the same items ----------------------------------------------------------------------------------


def test_the_airway_example_of_fagerland_lydersen_and_laake_2014():
    # Bentur et al. 2009: before and after transplantation, 21 children.
    assert newcombe_paired(1, 1, 7, 12) == pytest.approx((-0.507, -0.026), abs=5e-4)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_swapping_the_two_mirrors_the_interval(a, b, c, d):
    there, back = newcombe_paired(a, b, c, d), newcombe_paired(a, c, b, d)
    if there is None:
        assert a + b + c + d == 0
        assert back is None
        return
    assert back == pytest.approx((-there[1], -there[0]), abs=1e-12)
    assert -1 <= there[0] <= (b - c) / (a + b + c + d) <= there[1] <= 1


def test_agreement_narrows_the_interval_of_a_difference():
    paired, apart = newcombe_paired(40, 6, 4, 50), newcombe_paired(25, 21, 19, 35)
    assert paired[1] - paired[0] < apart[1] - apart[0]


def test_no_change_at_all_still_leaves_room():
    lo, hi = newcombe_paired(20, 0, 0, 0)
    assert lo == pytest.approx(-hi)
    assert 0.1 < hi < 0.3


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="not negative"):
        newcombe_paired(1, -1, 2, 3)
    with pytest.raises(ValueError, match="not negative"):
        mcnemar_exact(-1, 3)


def test_coverage_of_a_paired_difference():
    # Exact: every table of 20 items, weighted by its probability.
    p = (0.5, 0.25, 0.1, 0.15)
    n, truth, hit = 20, 0.15, 0.0
    for a, b, c in itertools.product(range(n + 1), repeat=3):
        if (d := n - a - b - c) >= 0:
            lo, hi = newcombe_paired(a, b, c, d)
            hit += scipy.stats.multinomial.pmf((a, b, c, d), n, p) * (lo <= truth <= hi)
    assert 0.94 <= hit <= 0.98


# --- McNemar --------------------------------------------------------------------------------------------------------


def test_mcnemar_of_the_airway_example():
    assert mcnemar_exact(1, 7) == pytest.approx(0.0703, abs=5e-5)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_the_binomial_test(b, c):
    truth = scipy.stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(truth, rel=1e-9)


def test_five_changes_one_way_are_not_enough():
    assert mcnemar_exact(0, 5) == 0.0625
    assert mcnemar_exact(0, 6) == 0.03125
