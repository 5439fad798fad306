"""Intervals, null statistics and score maps against closed forms, scipy and simulated coverage."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.core import stats

FINITE = st.floats(-1e6, 1e6)


# --- mean and bootstrap -------------------------------------------------------------------------------------------


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300), st.integers(1, 40))
def test_the_mean_of_identical_floats_is_that_float(value, n):
    assert stats.mean([value] * n) == value


def test_the_mean_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        stats.mean([])


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [1.0, math.inf, 2.0]])
def test_no_interval_for_nothing_or_for_values_that_are_not_finite(samples):
    assert stats.bootstrap_ci(samples) is None


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.1, 1.5])
def test_no_interval_for_a_confidence_that_is_none(confidence):
    assert stats.bootstrap_ci([1.0, 2.0, 3.0, 4.0], confidence=confidence) is None


@given(FINITE, st.integers(1, 20))
def test_equal_values_give_an_interval_of_that_value(value, n):
    assert stats.bootstrap_ci([value] * n) == (value, value)


def test_the_seed_decides_the_interval():
    x = [0.1, 0.4, 0.2, 0.9, 0.35, 0.7, 0.15, 0.6]
    assert stats.bootstrap_ci(x, seed=3) == stats.bootstrap_ci(x, seed=3)
    assert stats.bootstrap_ci(x, seed=3) != stats.bootstrap_ci(x, seed=4)


@given(st.lists(FINITE, min_size=1, max_size=12))
def test_an_interval_holds_its_mean(values):
    ci = stats.bootstrap_ci(values, n_bootstrap=100)
    assert ci is not None
    assert ci[0] <= stats.mean(values) <= ci[1]


def test_more_resamples_hardly_change_the_width():
    x = [1.0, 2.0, 3.0, 4.0, 5.0]
    widths = [hi - lo for lo, hi in (stats.bootstrap_ci(x, n_bootstrap=n) for n in (1_000, 10_000))]
    assert abs(widths[0] - widths[1]) < 0.5


def test_a_hundred_normal_draws_pin_the_mean_down():
    x = np.random.default_rng(0).normal(size=100)
    lo, hi = stats.bootstrap_ci(x)
    assert lo < x.mean() < hi
    # Student's interval is 3.97 standard errors wide.
    assert hi - lo == pytest.approx(3.97 * x.std(ddof=1) / 10, rel=0.15)


def test_bounds_clamp_the_interval():
    lo, hi = stats.bootstrap_ci([0.0, 0.01, 0.02, 0.6], bounds=(0.0, math.log(2)))
    assert lo == 0.0
    assert hi == math.log(2)


@pytest.mark.parametrize("n", [4, 6, 8, 16, 64])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng, n: rng.normal(0.0, 1.0, n), 0.0),
        (lambda rng, n: rng.exponential(1.0, n), 1.0),
        (lambda rng, n: rng.gamma(0.5, 1.0, n), 0.5),
    ],
    ids=["normal", "exponential", "gamma"],
)
def test_a_95_percent_interval_covers_the_mean_nearly_that_often(draw, truth, n):
    rng = np.random.default_rng(7)
    trials = 400
    hits = 0
    for seed in range(trials):
        lo, hi = stats.bootstrap_ci(draw(rng, n), seed=seed, n_bootstrap=500)
        hits += lo <= truth <= hi
    # One binomial standard error is 1.3 %; the percentile bootstrap reaches 0.70 to 0.80 at n = 4.
    assert 0.90 <= hits / trials <= 0.99


def test_few_skewed_values_reach_as_far_as_their_skewness_says():
    # Hall's interval by its definition: the means at which g(T) is ±q, by bisection.
    x = np.array([0.01, 0.02, 0.02, 0.03, 0.3])
    n, error = x.size, x.std(ddof=1) / math.sqrt(x.size)
    a = ((x - x.mean()) ** 3).mean() / x.std(ddof=1) ** 3 / math.sqrt(n)
    q = scipy.stats.t.ppf(0.975, n - 1) * math.sqrt(n / (n - 1))

    def g(m):
        t = (x.mean() - m) / error
        return t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6

    above = scipy.optimize.brentq(lambda m: g(m) + q, x.mean(), x.mean() + 20 * error)
    below = scipy.optimize.brentq(lambda m: g(m) - q, x.mean() - 20 * error, x.mean())
    lo, hi = stats.bootstrap_ci(x)
    assert lo <= below + 1e-9
    assert hi >= above - 1e-9
    # Student's interval would end at 0.15.
    assert above > 0.3


def test_what_few_items_cost_is_known():
    rng = np.random.default_rng(3)
    ratios = {n: [] for n in (4, 8)}
    for n, found in ratios.items():
        for seed in range(200):
            x = rng.normal(size=n)
            lo, hi = stats.bootstrap_ci(x, seed=seed, n_bootstrap=300)
            found.append((hi - lo) / (2 * scipy.stats.t.ppf(0.975, n - 1) * x.std(ddof=1) / math.sqrt(n)))
    assert np.mean(ratios[4]) < 2.2
    assert np.mean(ratios[8]) < 1.25


@pytest.mark.parametrize("pair", [(0.1, 0.2), (-3.0, 5.0)])
def test_two_values_give_students_interval_not_a_point(pair):
    lo, hi = stats.bootstrap_ci(pair)
    half = scipy.stats.t.ppf(0.975, 1) * abs(pair[1] - pair[0]) / 2
    assert (lo, hi) == pytest.approx((sum(pair) / 2 - half, sum(pair) / 2 + half))


def test_a_repeated_value_does_not_blow_the_interval_up():
    # 0.1 + 0.1 + 0.1 is not 0.3: the resample of one value had a spread of 1e-17.
    lo, hi = stats.bootstrap_ci([0.1, 0.2, 0.33])
    assert lo > -1.0
    assert hi < 1.0


def test_tied_values_with_one_outlier_leave_room_above_the_mean():
    lo, hi = stats.bootstrap_ci([0.1] * 7 + [0.3])
    assert lo < 0.125
    # The percentile bootstrap, too narrow as it is, reaches 0.175.
    assert hi >= 0.175


def test_below_four_items_there_is_a_reason_instead_of_an_interval():
    ci, why = stats.interval([0.1, 0.2, 0.3])
    assert ci is None
    assert "below 4" in why
    assert "n = 3" in why


def test_an_interval_names_its_method():
    ci, how = stats.interval([0.1, 0.2, 0.3, 0.4])
    assert ci is not None
    assert how == "95% bootstrap-t over 4 items"


def test_values_that_are_not_finite_have_no_interval_and_a_reason():
    ci, why = stats.interval([0.1, 0.2, math.nan, 0.4])
    assert ci is None
    assert "not finite" in why


# --- the null -----------------------------------------------------------------------------------------------------


def test_null_stats_are_mean_and_population_spread():
    found = stats.null_stats([1.0, 2.0, 3.0])
    assert found == pytest.approx({"mean": 2.0, "std": math.sqrt(2 / 3), "n": 3.0, "degenerate": 0.0})


@pytest.mark.parametrize("draws", [[0.4], [0.4, 0.4, 0.4]])
def test_draws_without_spread_are_degenerate(draws):
    found = stats.null_stats(draws)
    assert found["std"] == 1e-6
    assert found["degenerate"] == 1.0
    assert stats.z_score(0.5, found) is None


def test_z_counts_null_standard_deviations():
    assert stats.z_score(5.0, {"mean": 2.0, "std": 1.5}) == 2.0


@pytest.mark.parametrize(
    ("raw", "null"),
    [
        (None, {"mean": 0.0, "std": 1.0}),
        (1.0, None),
        (1.0, {"std": 1.0}),
        (1.0, {"mean": None, "std": 1.0}),
        (1.0, {"mean": 0.0}),
        (1.0, {"mean": 0.0, "std": None}),
        (1.0, {"mean": 0.0, "std": 0.0}),
        (1.0, {"mean": 0.0, "std": -1.0}),
        (1.0, {"mean": 0.0, "std": 9e-7}),
        (math.nan, {"mean": 0.0, "std": 1.0}),
        (1.0, {"mean": math.inf, "std": 1.0}),
        (1.0, {"mean": 0.0, "std": math.nan}),
        (1.0, {"mean": 0.0, "std": 1.0, "degenerate": 1.0}),
    ],
)
def test_there_is_no_z_where_it_would_mean_nothing(raw, null):
    assert stats.z_score(raw, null) is None


def test_the_smallest_spread_still_gives_a_z():
    assert stats.z_score(1e-6, {"mean": 0.0, "std": stats.MIN_STD}) == pytest.approx(1.0)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("raw", [-1.0, 0.0, 0.7, 4.0])
def test_prediction_p_is_the_t_test_of_one_more_draw(n, raw):
    draws = np.random.default_rng(n).normal(size=n)
    t = (raw - draws.mean()) / (draws.std(ddof=1) * math.sqrt(1 + 1 / n))
    assert stats.prediction_p(raw, stats.null_stats(draws)) == pytest.approx(scipy.stats.t.sf(t, n - 1))


def test_three_null_draws_make_three_sigmas_a_weak_case():
    # A normal tail would say 0.00135.
    p = stats.prediction_p(3.0, {"mean": 0.0, "std": 1.0, "n": 3.0})
    assert p == pytest.approx(scipy.stats.t.sf(3 * math.sqrt(2 / 3) / math.sqrt(4 / 3), 2))
    assert p > 0.05


@pytest.mark.parametrize("null", [None, {"mean": 0.0, "std": 1.0}, {"mean": 0.0, "std": 1.0, "n": 1.0}])
def test_there_is_no_prediction_from_fewer_than_two_draws(null):
    assert stats.prediction_p(1.0, null) is None


@pytest.mark.parametrize(("raw", "p"), [(9.0, 1 / 5), (2.0, 4 / 5), (2.5, 3 / 5), (0.0, 1.0)])
def test_rank_p_counts_draws_at_least_as_large(raw, p):
    assert stats.rank_p(raw, [1.0, 2.0, 3.0, 4.0]) == p


def test_rank_p_without_draws_says_nothing():
    assert stats.rank_p(5.0, []) == 1.0


@pytest.mark.parametrize("n", [2, 3, 10, 30])
def test_the_prediction_interval_is_where_the_next_draw_falls(n):
    draws = np.random.default_rng(n).normal(2.0, 0.5, size=n).tolist()
    found = stats.null_stats(draws)
    lo, hi = stats.prediction_interval(found)
    s = np.std(draws, ddof=1)
    half = scipy.stats.t.ppf(0.975, n - 1) * s * math.sqrt(1 + 1 / n)
    assert (lo, hi) == pytest.approx((np.mean(draws) - half, np.mean(draws) + half), abs=1e-12)
    # A value on its upper edge is as unlikely as the interval says.
    assert stats.prediction_p(hi, found) == pytest.approx(0.025, abs=1e-9)


@pytest.mark.parametrize("n", [3, 10])
def test_of_a_positive_statistic_the_next_draw_is_predicted_by_logarithms(n):
    draws = np.random.default_rng(n).lognormal(-3.0, 0.5, size=n).tolist()
    logs = np.log(draws)
    t = (math.log(0.2) - logs.mean()) / (logs.std(ddof=1) * math.sqrt(1 + 1 / n))
    assert stats.next_draw_p(0.2, draws, positive=True) == pytest.approx(scipy.stats.t.sf(t, n - 1))
    lo, hi = stats.next_draw_interval(draws, positive=True)
    assert lo > 0.0
    assert stats.next_draw_p(hi, draws, positive=True) == pytest.approx(0.025, abs=1e-9)
    assert stats.next_draw_p(lo, draws, positive=True) == pytest.approx(0.975, abs=1e-9)
    # Of any other statistic by the draws themselves.
    assert stats.next_draw_p(0.2, draws) == stats.prediction_p(0.2, stats.null_stats(draws))
    assert stats.next_draw_interval(draws) == stats.prediction_interval(stats.null_stats(draws))


def test_a_value_of_nothing_and_draws_that_do_not_vary_are_no_finding():
    assert stats.next_draw_p(0.0, [0.1, 0.2, 0.3], positive=True) == pytest.approx(1.0, abs=0.01)
    for none in ([], [0.1], [0.1, 0.1], [0.0, 1e-12, 1e-10]):
        assert stats.next_draw_p(0.3, none, positive=True) is None
        assert stats.next_draw_interval(none, positive=True) is None
    assert stats.next_draw_p(None, [0.1, 0.2], positive=True) is None


@pytest.mark.parametrize("alive", [[0.03, 0.1], np.linspace(0.008, 0.012, 19).tolist()])
def test_how_much_rounding_is_left_of_a_dead_draw_changes_nothing(alive):
    told = {stats.next_draw_p(0.5, [dead, *alive], positive=True) for dead in (-1e-17, 0.0, 1e-12, 1e-9)}
    assert len(told) == 1
    ranges = {stats.next_draw_interval([dead, *alive], positive=True) for dead in (0.0, 1e-12, 1e-9)}
    assert len(ranges) == 1
    draws = [0.0, *alive]
    assert stats.next_draw_p(0.0, draws, positive=True) == stats.next_draw_p(1e-12, draws, positive=True)


def test_one_dead_draw_of_twenty_hides_no_effect_and_makes_none():
    alive = np.linspace(0.008, 0.012, 19).tolist()
    draws = [0.0, *alive]
    assert stats.next_draw_p(0.05, alive, positive=True) < 0.05
    assert stats.next_draw_p(0.05, draws, positive=True) < 0.05
    assert stats.next_draw_p(0.012, draws, positive=True) > 0.05
    # Of three, two of which differ by a factor of three, no value is far enough from the rest.
    for least in (0.0, 0.01):
        assert stats.next_draw_p(0.5, [least, 0.03, 0.1], positive=True) > 0.05


def test_the_next_draw_is_not_looked_for_beyond_what_a_divergence_can_be():
    for draws in ([0.01, 0.03, 0.1], [1e-9, 0.03, 0.1]):
        assert stats.next_draw_interval(draws, positive=True)[1] > math.log(2)
        lo, hi = stats.next_draw_interval(draws, positive=True, most=math.log(2))
        assert 0.0 < lo < 0.01
        assert hi == math.log(2)
    # A draw that rounding has lifted above the bound lies inside, too.
    assert stats.next_draw_interval([0.2, 0.5, 0.6932], positive=True, most=math.log(2))[1] == 0.6932


def test_draws_that_say_nothing_have_no_prediction_interval():
    assert stats.prediction_interval(None) is None
    assert stats.prediction_interval(stats.null_stats([1.0])) is None
    assert stats.prediction_interval(stats.null_stats([1.0, 1.0, 1.0])) is None


def test_a_ratio_of_paired_means_is_as_sure_as_the_pairs_agree():
    rng = np.random.default_rng(0)
    below = rng.gamma(2.0, 1.0, size=24)
    lo, hi = stats.ratio_ci(2 * below, below)
    assert (lo, hi) == pytest.approx((2.0, 2.0))
    noisy = 2 * below * rng.uniform(0.5, 1.5, size=24)
    lo, hi = stats.ratio_ci(noisy, below)
    assert lo < noisy.mean() / below.mean() < hi
    unpaired = stats.ratio_ci(noisy, rng.permutation(below))
    assert unpaired[1] - unpaired[0] > hi - lo


@pytest.mark.parametrize("n", [4, 8])
def test_the_interval_of_a_ratio_of_few_skewed_items_holds_what_it_says(n):
    rng = np.random.default_rng(0)
    held, runs = 0, 250
    for seed in range(runs):
        below = rng.gamma(2.0, 1.0, size=n)
        lo, hi = stats.ratio_ci(below * rng.beta(2, 3, size=n), below, seed=seed, n_bootstrap=400)
        held += lo <= 0.4 <= hi
    # Percentiles of resamples hold it in 79 and 87 %.
    assert held / runs > 0.9


def test_a_ratio_of_many_items_is_resampled_in_blocks():
    import tracemalloc

    rng = np.random.default_rng(0)
    below = rng.gamma(2.0, 1.0, size=20_000)
    above = 2 * below * rng.uniform(0.5, 1.5, size=20_000)
    tracemalloc.start()
    lo, hi = stats.ratio_ci(above, below)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lo < above.mean() / below.mean() < hi
    # All resamples at once take 160 MB, three times.
    assert peak < 120e6


def test_a_ratio_needs_items_and_a_positive_denominator():
    assert stats.ratio_ci([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]) is None
    assert stats.ratio_ci([1.0] * 5, [0.0] * 5) is None
    assert stats.ratio_ci([1.0] * 5, [1.0] * 4) is None
    assert stats.ratio_ci([1.0, float("nan"), 1.0, 1.0], [1.0] * 4) is None


# --- scores and words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("z", [-7.0, -1.0, 0.0, 2.0, 3.0])
def test_the_public_score_is_the_logistic_of_a_third_of_z(z):
    assert stats.score_from_z(z) == pytest.approx(1 / (1 + math.exp(-z / 3)))


def test_the_public_score_does_not_overflow():
    assert stats.score_from_z(None) is None
    assert stats.score_from_z(-1e9) == pytest.approx(0.0, abs=1e-20)
    assert stats.score_from_z(1e9) == pytest.approx(1.0)


@pytest.mark.parametrize(("z", "word"), [(None, None), (3.0, "pass"), (2.999, "fail")])
def test_the_threshold_itself_passes(z, word):
    assert stats.verdict_from_z(z, 3.0) == word


@pytest.mark.parametrize(
    ("value", "score"), [(-5.0, 0.0), (0.0, 0.0), (1.0, 0.3), (2.0, 0.6), (3.0, 0.8), (4.0, 1.0), (99.0, 1.0)]
)
def test_anchors_map_an_effect_piecewise_linearly(value, score):
    assert stats.score_from_anchors(value, none=0.0, gate=2.0, target=4.0) == pytest.approx(score)


@pytest.mark.parametrize(("value", "score"), [(9.0, 0.0), (4.0, 0.0), (2.0, 0.6), (1.0, 0.8), (0.0, 1.0), (-3.0, 1.0)])
def test_anchors_also_map_smaller_is_better(value, score):
    assert stats.score_from_anchors(value, none=4.0, gate=2.0, target=0.0) == pytest.approx(score)


def test_z_by_rank_keeps_the_ranks_that_give_one():
    by_rank = {"rank_0.50": {"mean": 0.0, "std": 0.5}, "rank_1.00": {"mean": 0.0, "std": 0.0}}
    assert stats.z_scores_by_rank(1.0, by_rank) == {"rank_0.50": 2.0}
    assert stats.z_scores_by_rank(1.0, by_rank, sign=-1) == {"rank_0.50": -2.0}
    assert stats.z_scores_by_rank(1.0, {"rank_1.00": by_rank["rank_1.00"]}) is None
    assert stats.z_scores_by_rank(1.0, None) is None


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        (None, ""),
        ({}, ""),
        ({"rank_0.50": 6.8}, "+6.80σ @ 0.5x"),
        ({"rank_1.00": 4.2, "rank_2.00": -1.0}, "+4.20σ @ 1x / -1.00σ @ 2x"),
        ({"odd": 1.0}, "+1.00σ @ odd"),
    ],
)
def test_a_z_profile_names_each_strength(profile, text):
    assert stats.format_z_profile(profile) == text


def test_the_note_without_calibration_names_the_kind():
    assert stats.no_calibration_note("leakage") == "(no calibration for leakage)"


def test_percentiles_of_one_to_a_hundred_and_one():
    assert stats.percentiles(list(range(101))) == {"median": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}


# --- clusters -------------------------------------------------------------------------------------------------------


def test_one_item_a_cluster_is_the_plain_bootstrap():
    x = np.random.default_rng(0).exponential(size=20)
    assert stats.cluster_ci(x, list(range(20)), seed=3) == pytest.approx(stats.bootstrap_ci(x, seed=3))


def test_copies_of_an_item_are_not_more_evidence():
    x = np.random.default_rng(0).exponential(size=12)
    copied = stats.cluster_ci(np.repeat(x, 5), np.repeat(np.arange(12), 5).tolist(), seed=3)
    assert copied == pytest.approx(stats.bootstrap_ci(x, seed=3))


def test_a_clustered_interval_covers_where_a_plain_one_does_not():
    rng = np.random.default_rng(11)
    hits = plain = 0
    for seed in range(300):
        sizes = rng.integers(2, 12, 10)
        of = np.repeat(np.arange(10), sizes)
        x = rng.normal(size=10)[of] + 0.5 * rng.normal(size=of.size)
        lo, hi = stats.cluster_ci(x, of.tolist(), seed=seed)
        hits += lo <= 0.0 <= hi
        lo, hi = stats.bootstrap_ci(x, seed=seed, n_bootstrap=300)
        plain += lo <= 0.0 <= hi
    assert hits / 300 >= 0.88
    assert plain / 300 <= 0.75


def test_few_clusters_of_unequal_size_cover_skewed_values():
    # Bootstrap-t alone holds the mean of these in 90.4 %; the bounds are far from both.
    rng = np.random.default_rng(7)
    hits, trials = 0, 600
    for seed in range(trials):
        sizes = rng.integers(2, 12, 8)
        of = np.repeat(np.arange(8), sizes)
        x = rng.gamma(0.5, size=8)[of] + 0.5 * rng.normal(size=of.size)
        lo, hi = stats.cluster_ci(x, of.tolist(), seed=seed)
        hits += lo <= 0.5 <= hi
    assert hits / trials >= 0.92


def test_few_clusters_give_no_interval():
    assert stats.cluster_ci([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], list("aabbcc")) is None
    assert stats.cluster_ci([0.1, 0.2, math.nan, 0.4], list("abcd")) is None
    assert stats.cluster_ci([0.1, 0.2, 0.3, 0.4], list("abcd"), confidence=1.0) is None


def test_equal_values_in_clusters_give_that_value():
    assert stats.cluster_ci([0.3] * 8, list("aabbccdd")) == (0.3, 0.3)


def test_clusters_without_spread_between_them_give_a_point():
    # 0.1 and 0.3 in every cluster: the means differ by rounding alone.
    assert stats.cluster_ci([0.1, 0.3] * 5, [i // 2 for i in range(10)]) == (0.2, 0.2)


def test_a_clustered_interval_is_clamped_and_needs_a_cluster_a_value():
    lo, hi = stats.cluster_ci([0.0, 0.01, 0.02, 0.6], list("abcd"), bounds=(0.0, 0.5))
    assert (lo, hi) == (0.0, 0.5)
    with pytest.raises(ValueError, match="needs its cluster: 3 values, 2 clusters"):
        stats.cluster_ci([0.1, 0.2, 0.3], ["a", "b"])
