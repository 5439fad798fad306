"""Specificity and its intervals: closed forms, coverage by simulation, and the ends of the range."""

from __future__ import annotations

import numpy as np
import pytest

from sway_dash.core.anova import one_way
from sway_dash.core.specificity import intervals, specificity


def test_the_public_metric_has_its_closed_form() -> None:
    # Means 1 and 3: between 1; within (0.25 + 0.25) / 2.
    values, labels = np.array([0.5, 1.5, 2.5, 3.5]), np.array([0, 0, 1, 1])
    assert specificity(values, labels) == pytest.approx(1.0 / 1.25)
    assert specificity(np.ones(4), labels) is None


def test_both_intervals_hold_their_estimates() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (3, 8, 5))
    for _ in range(50):
        values = np.array([0.1, 0.2, 0.5])[labels] + 0.1 * rng.exponential(size=16)
        share, icc = intervals(values, labels)
        table = one_way(values, labels)
        assert share is not None
        assert icc is not None
        assert table is not None
        assert 0.0 <= share[0] <= (specificity(values, labels) or -1.0) <= share[1] <= 1.0
        assert icc[0] <= (table.icc or 0.0) <= icc[1] <= 1.0


@pytest.mark.parametrize(("means", "size", "least"), [((0.4, 0.1), 7, 0.92), ((0.5, 0.1, 0.05, 0.02), 12, 0.92)])
def test_the_interval_of_the_icc_covers_nearly_as_often_as_it_says(
    means: tuple[float, ...], size: int, least: float
) -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(means)), size)
    apart = np.var(means, ddof=1)
    true = apart / (apart + 0.15**2)
    held = []
    for _ in range(500):
        _, icc = intervals(np.asarray(means)[labels] + 0.15 * rng.normal(size=len(labels)), labels)
        held.append(icc is not None and icc[0] <= true <= icc[1])
    assert least <= np.mean(held) <= 0.985


def test_without_a_spread_within_it_is_one_and_without_any_unknown() -> None:
    labels = np.array([0, 0, 1, 1])
    assert intervals(np.array([1.0, 1.0, 2.0, 2.0]), labels) == ((1.0, 1.0), (1.0, 1.0))
    assert intervals(np.ones(4), labels) == (None, None)
    assert intervals(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 1])) == (None, None)
    nearly = intervals(np.array([1.0, 1.0, 2.0, 2.1]), labels)
    assert np.isfinite(nearly).all()
