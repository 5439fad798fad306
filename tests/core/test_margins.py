"""Non-inferiority: the bound, its p-value, and how often a harmful change passes."""

import math

import numpy as np
import pytest
import scipy.stats

from sway_dash.core.margins import non_inferior
from sway_dash.core.stats import bootstrap_ci


def test_the_bound_is_the_upper_end_of_the_two_sided_90_percent_interval():
    x = np.random.default_rng(0).normal(0.1, 1.0, 40)
    found = non_inferior(x, 0.6)
    assert found.upper == pytest.approx(bootstrap_ci(x, confidence=0.9, n_bootstrap=2000)[1])
    assert found.mean == pytest.approx(x.mean())
    assert found.note == "one-sided 95% bootstrap-t over 40 items"


def test_on_normal_values_it_is_students_test():
    x = np.random.default_rng(1).normal(0.0, 1.0, 60)
    found = non_inferior(x, 0.15)
    truth = scipy.stats.ttest_1samp(x, 0.15, alternative="less").pvalue
    assert found.p == pytest.approx(truth, rel=0.3)
    assert found.upper == pytest.approx(x.mean() + scipy.stats.t.ppf(0.95, 59) * x.std(ddof=1) / math.sqrt(60), rel=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_it_passes_exactly_when_p_says_so(seed):
    rng = np.random.default_rng(seed)
    x = [rng.exponential(size=12), rng.integers(0, 2, 12), rng.integers(-1, 2, 12)][seed % 3]
    for margin in (0.05, 0.4, 0.7, 1.5):
        found = non_inferior(x, margin)
        assert found.passed == (found.upper < margin) == (found.p < 0.05)


def test_harm_beyond_the_margin_fails_and_a_noisy_mean_below_it_does_too():
    assert non_inferior([0.4, 0.5, 0.6, 0.5, 0.45], 0.2).passed is False
    noisy = non_inferior([-1.0, 1.2, -0.7, 1.1, -0.5, 0.9], 0.3)
    assert noisy.mean < 0.3
    assert noisy.passed is False


def test_p_of_harm_far_beyond_the_margin_is_near_one():
    assert non_inferior(np.random.default_rng(0).normal(1.0, 0.1, 30), 0.2).p > 0.99


def test_equal_harms_are_their_own_bound_and_that_is_said():
    found = non_inferior([0.05] * 10, 0.1)
    assert (found.upper, found.passed) == (0.05, True)
    assert "all of them equal" in found.note


def test_nothing_happened_in_a_few_items_is_no_proof():
    # 0 of n: the upper bound of a rate is z²/(n + z²), here 2.71 / (n + 2.71).
    assert non_inferior([0] * 20, 0.1).passed is False
    assert non_inferior([0] * 30, 0.1).passed is True
    assert non_inferior([0] * 30, 0.1).upper == pytest.approx(2.7055 / 32.7055, rel=1e-4)


def test_a_paired_rate_gets_the_bound_of_bonett_and_price():
    # b = 3 worse, c = 1 better, 20 the same: b~ = 4/26, c~ = 2/26.
    found = non_inferior([1, 1, 1, -1] + [0] * 20, 0.3)
    d = 2 / 26
    assert found.upper == pytest.approx(d + 1.644854 * math.sqrt((6 / 26 - d * d) / 26), rel=1e-5)
    assert "3 worse and 1 better of 24" in found.note


def test_clusters_widen_the_bound():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(8), 10)
    x = rng.normal(0.0, 0.3, 8)[clusters] + rng.normal(0.0, 0.1, 80)
    alone, together = non_inferior(x, 0.3), non_inferior(x, 0.3, clusters=list(clusters))
    assert together.upper > alone.upper
    assert "8 clusters" in together.note


def test_one_item_a_cluster_is_no_clustering():
    x = np.random.default_rng(0).normal(0.0, 0.3, 12)
    assert non_inferior(x, 0.3, clusters=list(range(12))) == non_inferior(x, 0.3)


@pytest.mark.parametrize(
    ("harms", "options", "reason"),
    [
        ([], {}, "no items"),
        ([0.1, 0.2, 0.1], {}, "below 4 items"),
        ([0.1, math.nan, 0.1, 0.2], {}, "not finite"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], {"clusters": list("aabbcc")}, "below 4 clusters"),
    ],
)
def test_too_little_gives_a_reason_and_no_verdict(harms, options, reason):
    found = non_inferior(harms, 0.5, **options)
    assert (found.upper, found.passed, found.p) == (None, None, None)
    assert reason in found.note


def test_a_confidence_below_a_half_is_refused():
    with pytest.raises(ValueError, match=r"between 0.5 and 1"):
        non_inferior([0.1] * 5, 0.2, confidence=0.4)


@pytest.mark.parametrize("n", [8, 30])
def test_a_change_that_is_exactly_as_harmful_as_the_margin_rarely_passes(n):
    rng = np.random.default_rng(5)
    passed = sum(non_inferior(rng.exponential(0.2, n), 0.2, seed=s).passed for s in range(300))
    # Exponential harms have their long tail on the bad side: the hard one.
    assert passed / 300 <= 0.12


def test_a_harmless_change_passes_with_enough_items():
    rng = np.random.default_rng(6)
    passed = sum(non_inferior(rng.normal(0.0, 0.2, 40), 0.1, seed=s).passed for s in range(200))
    assert passed / 200 >= 0.8
