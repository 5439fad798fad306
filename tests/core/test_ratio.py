"""Fieller intervals: they hold the ratio as often as they say, and are none where any ratio would fit."""

from __future__ import annotations

import numpy as np
import pytest

from sway_dash.core.ratio import fieller_paired, fieller_unpaired


def test_the_ends_are_the_ratios_at_which_a_paired_t_test_just_rejects() -> None:
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(0)
    below = rng.normal(3.0, 0.5, 12)
    above = 0.5 * below + rng.normal(0.0, 0.2, 12)
    ci = fieller_paired(above, below)
    assert ci is not None
    for end in ci:
        assert ttest_1samp(above - end * below, 0.0).pvalue == pytest.approx(0.05, abs=1e-9)


def test_coverage_is_as_stated_paired_and_unpaired() -> None:
    rng = np.random.default_rng(1)
    held = {"paired": 0, "unpaired": 0}
    total = 1500
    for _ in range(total):
        below = rng.normal(2.0, 0.6, 8)
        paired = fieller_paired(0.4 * below + rng.normal(0.0, 0.3, 8), below)
        unpaired = fieller_unpaired(rng.normal(6.0, 1.0, 10), rng.normal(2.0, 0.6, 8))
        held["paired"] += paired is not None and paired[0] <= 0.4 <= paired[1]
        held["unpaired"] += unpaired is not None and unpaired[0] <= 3.0 <= unpaired[1]
    assert held["paired"] / total == pytest.approx(0.95, abs=0.02)
    assert held["unpaired"] / total == pytest.approx(0.95, abs=0.02)


def test_there_is_none_over_a_denominator_that_may_be_zero_or_over_too_few_items() -> None:
    assert fieller_paired([1.0, 2.0, 3.0, 4.0], [1.0, -1.0, 1.0, -1.0]) is None
    assert fieller_unpaired([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]) is None
    assert fieller_paired([1.0, 2.0], [1.0, 2.0]) is None
    assert fieller_unpaired([1.0, float("nan"), 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]) is None


def test_values_without_spread_give_the_ratio_itself() -> None:
    assert fieller_unpaired([6.0] * 4, [2.0] * 4) == (3.0, 3.0)
    assert fieller_paired([1.0] * 5, [2.0] * 5) == pytest.approx((0.5, 0.5))
