"""Non-inferiority: the bound, its p-value, and how often a harmful change passes."""

import math

import numpy as np
import pytest
import scipy.stats

from sway_dash.core.bootstrap import bootstrap_t
from sway_dash.core.margins import fallen_rate, non_inferior
from sway_dash.core.stats import bootstrap_ci


def test_the_bound_is_the_upper_end_of_the_two_sided_90_percent_interval_or_a_little_above_it():
    x = np.random.default_rng(0).normal(0.1, 1.0, 40)
    found = non_inferior(x, 0.6)
    end = bootstrap_ci(x, confidence=0.9, n_bootstrap=2000)[1]
    assert end <= found.upper <= found.mean + 1.1 * (end - found.mean)
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


@pytest.mark.parametrize("harms", [[0.0] * 20, [0.0] * 16 + [-1.0] * 4])
def test_clusters_that_are_all_alike_are_as_many_items(harms):
    # Five clusters of four in which nothing worse happened: no more than nothing in five items.
    found = non_inferior(harms, 0.2, clusters=[i // 4 for i in range(20)])
    each = non_inferior(harms[::4], 0.2)
    assert (found.upper, found.passed) == (pytest.approx(each.upper), False)
    assert "of 20 items, worth 5 independent ones" in found.note


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


@pytest.mark.parametrize("shape", [1.0, 0.5])
@pytest.mark.parametrize("n", [8, 16])
def test_a_change_that_is_exactly_as_harmful_as_the_margin_rarely_passes(n, shape):
    rng = np.random.default_rng(5)
    drawn = [bootstrap_t(rng.gamma(shape, 1.0, n), n_bootstrap=400, seed=s) for s in range(1500)]
    # Harms with their long tail on the bad side are the hard ones: the end of the two-sided interval passes 7 to 11 %.
    assert sum(d.safe_above(0.9)[1] < shape for d in drawn) / 1500 <= 0.065


def test_harms_with_their_tail_on_the_good_side_do_not_pay_for_the_others():
    rng = np.random.default_rng(7)
    bad = rng.exponential(1.0, 16)
    good, ends = non_inferior(-bad, 0.0), bootstrap_ci(-bad, confidence=0.9, n_bootstrap=2000)
    assert non_inferior(bad, 0.0).upper - bad.mean() > 1.5 * (good.upper + bad.mean())
    assert good.upper - ends[1] < 0.1 * (ends[1] - ends[0])


def test_a_harmless_change_passes_with_enough_items():
    rng = np.random.default_rng(6)
    passed = sum(non_inferior(rng.normal(0.0, 0.2, 40), 0.1, seed=s).passed for s in range(200))
    assert passed / 200 >= 0.8


def test_a_rate_that_lost_nothing_has_the_exact_bound_and_p():
    # 0 lost of n: the bound is 1 - 0.05^(1/n), p is the chance of losing none at the margin.
    found = fallen_rate(10, 0, 0, 0, 0.3)
    assert found.upper == pytest.approx(1 - 0.05**0.1)
    assert (found.passed, found.p) == (True, pytest.approx(0.7**10))
    assert fallen_rate(40, 0, 0, 0, 0.05).passed is False
    assert fallen_rate(60, 0, 0, 0, 0.05).passed is True


@pytest.mark.parametrize("counts", [(8, 0, 2, 0), (30, 4, 6, 10), (2, 6, 0, 0), (2, 0, 6, 0), (5, 5, 0, 5)])
def test_a_rate_passes_exactly_when_p_says_so(counts):
    for margin in (-0.1, 0.05, 0.3, 0.5):
        found = fallen_rate(*counts, margin)
        assert found.passed == (found.upper < margin) == (found.p < 0.05)
    assert fallen_rate(2, 0, 6, 0, 0.05).p > 0.99


@pytest.mark.parametrize(("n", "margin", "gained"), [(10, 0.2, 0.0), (20, 0.2, 0.0), (40, 0.1, 0.0), (20, 0.3, 0.05)])
def test_a_rate_that_fell_by_the_margin_seldom_passes(n, margin, gained):
    # Exact: the sum over all tables of the chance of each. Newcombe's bound alone passes 8.1, 6.8, 7.3 and 6.7 %.
    lost = margin + gained
    passes = 0.0
    for c in range(n + 1):
        for b in range(n + 1 - c):
            chance = scipy.stats.multinomial.pmf([c, b, n - c - b], n, [lost, gained, 1 - lost - gained])
            if chance < 1e-7:
                continue
            for d in range(n - c - b + 1):
                share = chance * scipy.stats.binom.pmf(d, n - c - b, 0.2 / (1 - lost - gained))
                if share > 1e-7:
                    passes += share * bool(fallen_rate(n - c - b - d, b, c, d, margin).passed)
    assert passes <= 0.062


def test_too_few_pairs_have_no_bound():
    assert fallen_rate(3, 0, 0, 0, 0.5).passed is None
    assert fallen_rate(0, 0, 0, 0, 0.5).note == "no bound: no items"
