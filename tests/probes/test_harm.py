"""Harm is bounded, not merely unproven; nothing at all is no harm."""

from __future__ import annotations

import numpy as np
import pytest

from sway_dash.probes.harm import bounded_harm, harm_score


def test_nothing_changed_is_no_harm_even_for_few_items():
    found = bounded_harm([0.0, 0.0], 0.1)
    assert (found.upper, found.passed) == (0.0, True)
    assert "none of 2 items changed at all" in found.note
    # An improvement that was asked for is not there.
    assert bounded_harm([0.0] * 8, -0.1).passed is False


def test_a_mean_inside_the_margin_with_a_bad_end_outside_does_not_pass():
    harms = [0.0, 0.02, 0.3, 0.01, 0.0, 0.25]
    found = bounded_harm(harms, 0.15)
    assert found.mean < 0.15 < found.upper
    assert found.passed is False
    steady = bounded_harm(list(np.linspace(0.08, 0.11, 6)), 0.15)
    assert steady.passed is True


def test_harm_of_one_cluster_counts_as_one_observation():
    harms = [0.0] * 90 + [1.5] * 10
    topics = [i // 10 for i in range(100)]
    alone, together = bounded_harm(harms, 0.3), bounded_harm(harms, 0.3, clusters=topics)
    assert alone.passed is True
    assert together.passed is False
    assert together.upper > alone.upper


def test_too_few_clusters_leave_the_items_and_say_so():
    found = bounded_harm([0.1, 0.2, 0.15, 0.12, 0.18, 0.11], 0.3, clusters=["a"] * 3 + ["b"] * 3)
    assert found.passed is True
    assert found.note.endswith("it holds for these items alone")


@pytest.mark.parametrize(
    ("upper", "margin", "score"),
    [(0.0, 0.1, 1.0), (0.05, 0.1, 0.8), (0.1, 0.1, 0.6), (0.15, 0.1, 0.3), (0.5, 0.1, 0.0), (None, 0.1, 0.6)],
)
def test_the_score_is_read_off_the_bad_end(upper, margin, score):
    assert harm_score(upper, margin) == pytest.approx(score)
