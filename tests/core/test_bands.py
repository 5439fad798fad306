"""Bands over a whole curve: coverage at every point at once, and where they have no width."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from sway_dash.core.bands import dkw, simultaneous, sup_t
from sway_dash.core.stats import bootstrap_ci, interval


def curves(rng: np.random.Generator, n: int, k: int = 6) -> np.ndarray:
    """Skewed curves whose points share half of what they are; every mean is 1."""
    return 0.5 * rng.exponential(1.0, (n, 1)) + 0.5 * rng.exponential(1.0, (n, k))


def test_it_holds_every_point_at_once_where_single_intervals_do_not():
    rng = np.random.default_rng(0)
    held = single = 0
    for seed in range(150):
        x = curves(rng, 24)
        lo, hi = sup_t(x, seed=seed, n_bootstrap=300)
        held += bool(((lo <= 1.0) & (hi >= 1.0)).all())
        ends = [bootstrap_ci(column, seed=seed, n_bootstrap=300) for column in x.T]
        single += all(a <= 1.0 <= b for a, b in ends)
    # A binomial standard error is 1.8 %.
    assert held / 150 >= 0.91
    assert single / 150 <= 0.88


def test_curves_that_end_early_count_as_far_as_they_go():
    rng = np.random.default_rng(3)
    held = 0
    for seed in range(150):
        x = curves(rng, 40)
        ends = rng.integers(2, 7, 40)
        x[np.arange(6) >= ends[:, None]] = np.nan
        lo, hi = sup_t(x, seed=seed, n_bootstrap=300)
        held += not (lo > 1.0).any() and not (hi < 1.0).any()
    assert held / 150 >= 0.91
    x = curves(np.random.default_rng(4), 20)
    x[7:, 3:] = np.nan
    short, whole = sup_t(x), sup_t(x[:, :3])
    # Seven curves are too few, and take nothing from the points before.
    assert np.isnan(short[0][3:]).all()
    assert np.allclose(np.array(short)[:, :3], np.array(whole))
    x[0, 0] = np.inf
    assert sup_t(x) is None


def test_a_few_long_curves_do_not_widen_the_band_of_all():
    x = np.random.default_rng(5).exponential(1.0, (100, 12)) ** 2
    x[8:, 4:] = np.nan
    (lo, hi), (short, tall) = sup_t(x), sup_t(x[:, :4])
    assert np.isnan(lo[4:]).all()
    assert np.allclose(hi[:4] - lo[:4], tall - short)


def test_one_point_is_about_the_single_interval():
    x = curves(np.random.default_rng(1), 40, 1)
    lo, hi = sup_t(x)
    assert (lo[0], hi[0]) == pytest.approx(bootstrap_ci(x[:, 0]), rel=0.05)


def test_a_point_without_spread_has_no_width_and_the_band_stays_in_its_range():
    x = curves(np.random.default_rng(2), 12)
    x[:, 0] = 0.0
    lo, hi = sup_t(x, bounds=(0.0, 1.2))
    assert lo[0] == hi[0] == 0.0
    assert (lo >= 0.0).all()
    assert (hi[1:] <= 1.2).all()
    assert (hi[1:] > lo[1:]).all()


@pytest.mark.parametrize("x", [np.ones((7, 3)), np.ones((9, 0)), np.full((9, 2), np.nan)])
def test_too_few_curves_or_none_have_no_band(x):
    assert sup_t(x) is None


@pytest.mark.parametrize("n", [10, 200])
def test_a_cumulative_distribution_stays_in_its_band(n):
    rng = np.random.default_rng(n)
    apart = [scipy.stats.kstest(rng.uniform(size=n), "uniform").statistic for _ in range(400)]
    assert np.mean(np.array(apart) <= dkw(n)) >= 0.94
    # Exact for many items: the bound is the asymptotic law of Kolmogorov but for terms that vanish.
    assert dkw(n) == pytest.approx(scipy.stats.kstwobign.ppf(0.95) / math.sqrt(n), rel=0.001)


def test_nothing_is_known_of_no_items():
    assert dkw(0) == 1.0


def test_a_band_holds_more_than_its_points_and_too_few_curves_have_none():
    curves = np.random.default_rng(0).exponential(1.0, (12, 5))
    points = [interval(column)[0] for column in curves.T]
    band, note = simultaneous(curves, points)
    assert "all points at once" in note
    assert all(b[1] - b[0] > p[1] - p[0] for b, p in zip(band, points, strict=True))
    few, note = simultaneous(curves[:7], points)
    assert few == points
    assert "each point by itself: 7 curves are too few" in note
