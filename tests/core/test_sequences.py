"""Confidence sequences: coverage while peeking, width, and what stays the same however items arrive."""

import math

import numpy as np
import pytest

from sway_dash.core.divergence import LN2
from sway_dash.core.sequences import CAP, HORIZONS, START, WEIGHTS, ConfidenceSequence, confidence_sequence
from sway_dash.core.stats import interval

UNIT = (0.0, 1.0)


def test_bounds_close_in_on_the_mean():
    lower, upper = confidence_sequence(np.random.default_rng(0).beta(2, 5, 400), bounds=UNIT)
    assert (lower <= upper).all()
    widths = (upper - lower)[[0, 9, 49, 199, 399]]
    assert (np.diff(widths) < 0).all()
    assert lower[-1] < 2 / 7 < upper[-1]
    assert upper[-1] - lower[-1] < 0.06


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng: rng.beta(2, 5, 200), 2 / 7),
        (lambda rng: (rng.uniform(size=200) < 0.2).astype(float), 0.2),
        (lambda rng: rng.beta(0.3, 6, 200), 0.3 / 6.3),
    ],
    ids=["beta", "rate", "skewed"],
)
def test_looking_after_every_item_misses_the_mean_in_at_most_5_percent_of_runs(draw, truth):
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(300):
        lower, upper = confidence_sequence(draw(rng), bounds=UNIT)
        missed += bool(((lower > truth) | (upper < truth)).any())
    # Two binomial standard errors above 5 % are 7.5 %.
    assert missed / 300 <= 0.07


def test_a_pointwise_interval_that_is_looked_at_all_the_time_misses_far_more_often():
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(200):
        x = rng.beta(2, 5, 200)
        n = np.arange(1, 201)
        means = np.cumsum(x) / n
        spread = np.sqrt(np.maximum(np.cumsum(x**2) / n - means**2, 0) / n)
        missed += bool((np.abs(means - 2 / 7) > 1.96 * spread)[9:].any())
    assert missed / 200 > 0.2


def test_at_200_items_it_is_at_most_1_6_times_as_wide_as_a_fixed_interval():
    rng = np.random.default_rng(2)
    ratios = []
    for seed in range(20):
        # Divergences of a moderate change: mean 0.1 nats, skewed.
        x = np.minimum(rng.exponential(0.1, 200), LN2)
        lower, upper = confidence_sequence(x, bounds=(0.0, LN2))
        fixed, _ = interval(x, seed=seed, bounds=(0.0, LN2))
        ratios.append((upper[-1] - lower[-1]) / (fixed[1] - fixed[0]))
    assert 1.0 < np.mean(ratios) <= 1.6


@pytest.mark.parametrize(
    "draw",
    [lambda rng: rng.uniform(size=200), lambda rng: rng.beta(0.5, 6, 200), lambda rng: 1.0 * (rng.random(200) < 0.1)],
    ids=["uniform", "skewed", "rate"],
)
def test_it_is_nearly_as_narrow_for_any_values_that_use_their_range(draw):
    rng = np.random.default_rng(6)
    ratios = []
    for _ in range(30):
        x = draw(rng)
        lower, upper = confidence_sequence(x, bounds=UNIT)
        ratios.append((upper[-1] - lower[-1]) / (2 * 1.96 * x.std() / math.sqrt(x.size)))
    assert 1.3 < np.median(ratios) <= 1.65


def test_crowded_values_leave_room_for_the_rare_item_that_no_one_can_exclude():
    x = np.random.default_rng(7).beta(0.5, 20, 200)
    upper = confidence_sequence(x, bounds=UNIT)[1][-1]
    rare = math.log(1 / 0.05) / 200
    # A share of items at 1 that leaves all 200 out with 5 %; twice that would be needlessly careful.
    assert x.mean() + rare * (1 - x.mean()) < upper < x.mean() + 2 * rare


@pytest.mark.parametrize("sizes", [[1] * 300, [7, 100, 193], [299, 1]])
def test_items_one_by_one_or_in_any_portions_give_the_same_band(sizes):
    x = np.random.default_rng(3).beta(2, 5, 300)
    whole = confidence_sequence(x, bounds=UNIT)
    running = ConfidenceSequence(UNIT)
    parts = [running.extend(part) for part in np.split(x, np.cumsum(sizes)[:-1])]
    for side in (0, 1):
        assert np.concatenate([p[side] for p in parts]) == pytest.approx(whole[side], abs=2e-3)
    assert running.n == 300
    assert running.interval == (parts[-1][0][-1], parts[-1][1][-1])


def test_the_scale_of_the_values_does_not_matter():
    x = np.random.default_rng(4).beta(2, 5, 100)
    lower, upper = confidence_sequence(x, bounds=UNIT)
    scaled = confidence_sequence(4.0 * x - 1.0, bounds=(-1.0, 3.0))
    assert scaled[0] == pytest.approx(4.0 * lower - 1.0)
    assert scaled[1] == pytest.approx(4.0 * upper - 1.0)


def test_mirrored_values_give_the_mirrored_band():
    x = np.random.default_rng(4).beta(2, 5, 100)
    lower, upper = confidence_sequence(x, bounds=UNIT)
    mirrored = confidence_sequence(1.0 - x, bounds=UNIT)
    assert mirrored[0] == pytest.approx(1.0 - upper, abs=1e-3)
    assert mirrored[1] == pytest.approx(1.0 - lower, abs=1e-3)


def test_before_the_first_item_nothing_is_known():
    running = ConfidenceSequence((0.0, LN2))
    assert running.interval == (0.0, LN2)
    lower, upper = running.extend([])
    assert lower.size == upper.size == 0


def test_equal_items_at_an_end_leave_room_for_a_rare_one():
    lower, upper = confidence_sequence(np.zeros(200), bounds=UNIT)
    assert lower[-1] == 0.0
    # A share of 3 % would have shown itself in 200 items with more than 99 %.
    assert 0.01 < upper[-1] < 0.04


def test_a_higher_confidence_is_wider():
    x = np.random.default_rng(5).beta(2, 5, 100)
    narrow, wide = (confidence_sequence(x, bounds=UNIT, confidence=c) for c in (0.9, 0.99))
    assert wide[0][-1] < narrow[0][-1]
    assert wide[1][-1] > narrow[1][-1]


@pytest.mark.parametrize("wrong", [[0.2, 1.1], [-0.1], [math.nan], [math.inf]])
def test_values_outside_the_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        confidence_sequence(wrong, bounds=UNIT)


def test_float_noise_outside_the_bounds_is_not_an_error():
    lower, upper = confidence_sequence([-1e-9, 1.0 + 1e-9, 0.5], bounds=UNIT)
    assert lower[-1] >= 0.0
    assert upper[-1] <= 1.0


@pytest.mark.parametrize("bounds", [(0.0, math.inf), (1.0, 0.0), (0.5, 0.5)])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match="finite bounds"):
        ConfidenceSequence(bounds)


def test_a_confidence_that_is_none_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        ConfidenceSequence(UNIT, confidence=1.0)


def test_where_the_order_was_not_random_the_band_follows_the_mean_and_stays_a_band():
    x = np.concatenate([np.full(30, 0.01), np.random.default_rng(0).uniform(0.5, 1.0, 600)])
    lower, upper = confidence_sequence(x, bounds=UNIT)
    assert (lower <= upper).all()
    assert upper[29] < 0.2
    assert lower[-1] > 0.5
    back_and_forth = confidence_sequence(np.tile(np.repeat([0.0, 1.0], 300), 3), bounds=UNIT)
    assert (back_and_forth[0] <= back_and_forth[1]).all()
    assert np.isfinite(back_and_forth).all()


@pytest.mark.parametrize("n", [5, 40, 300])
def test_the_interval_is_what_neither_gambler_has_ruled_out(n):
    # The definition, on a fine grid and without any short cut.
    x = np.random.default_rng(n).beta(1, 4, n)
    lower, upper = confidence_sequence(x, bounds=UNIT)
    limit = math.log(2 / 0.05)
    means = (0.5 + np.cumsum(x)) / (np.arange(n) + 2)
    spread = (START + np.concatenate(([0.0], np.cumsum((x - means) ** 2)[:-1]))) / (np.arange(n) + 1)
    m = np.linspace(0, 1, 4001)[1:-1]
    up, down = np.zeros(m.size), np.zeros(m.size)
    for h, weight in zip(HORIZONS, WEIGHTS, strict=True):
        bets = np.sqrt(2 * limit / (spread * np.maximum(h, np.arange(1, n + 1))))
        capital_up, capital_down = np.ones(m.size), np.ones(m.size)
        for value, bet in zip(x, bets, strict=True):
            capital_up *= 1 + np.minimum(bet, CAP / m) * (value - m)
            capital_down *= 1 - np.minimum(bet, CAP / (1 - m)) * (value - m)
        up, down = up + weight * capital_up, down + weight * capital_down
    left = m[(up < 2 / 0.05) & (down < 2 / 0.05)]
    assert lower[-1] == pytest.approx(left[0], abs=1e-3)
    assert upper[-1] == pytest.approx(left[-1], abs=1e-3)


def test_the_stakes_of_the_bets_are_one_capital():
    # More than one would be an error rate above the one that is stated.
    assert WEIGHTS.sum() == pytest.approx(1.0)
    assert (WEIGHTS > 0).all()
    assert 0.0 < CAP < 1.0
