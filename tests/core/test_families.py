"""Adjusted p-values against published tables, scipy and simulated error rates."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.core.families import benjamini_hochberg, holm

PS = st.lists(st.floats(0, 1), min_size=1, max_size=20)

THROMBOLYSIS = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0
]  # fmt: skip
"""Benjamini and Hochberg 1995, section 4.1: 15 endpoints of a trial."""


def test_the_published_example_of_benjamini_and_hochberg():
    # They reject four hypotheses at a false discovery rate of 0.05, and three by Bonferroni.
    assert [i for i, q in enumerate(benjamini_hochberg(THROMBOLYSIS)) if q <= 0.05] == [0, 1, 2, 3]
    assert [i for i, p in enumerate(holm(THROMBOLYSIS)) if p <= 0.05] == [0, 1, 2]


@given(PS)
def test_scipy_agrees(ps):
    assert benjamini_hochberg(ps) == pytest.approx(scipy.stats.false_discovery_control(ps), abs=1e-12)


def test_holm_is_the_step_down_procedure():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_an_unknown_p_is_no_test(adjust):
    assert adjust([0.02, None, 0.5]) == [0.04, None, 0.5]
    assert adjust([None]) == [None]
    assert adjust([]) == []
    assert adjust([0.03]) == [0.03]


def test_an_adjusted_p_never_exceeds_1_and_never_falls():
    assert holm([0.9, 0.6, 0.5]) == [1.0, 1.0, 1.0]
    assert benjamini_hochberg([0.9, 0.6, 0.5]) == pytest.approx([0.9, 0.9, 0.9])


@given(PS)
def test_a_q_lies_between_its_p_and_its_holm(ps):
    for p, q, h in zip(ps, benjamini_hochberg(ps), holm(ps), strict=True):
        assert p - 1e-12 <= q <= h + 1e-12


@pytest.mark.parametrize("wrong", [-0.1, 1.2, float("nan")])
@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_what_is_no_p_is_refused(adjust, wrong):
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        adjust([0.1, wrong])


def test_error_rates_are_what_they_say():
    rng = np.random.default_rng(0)
    family = discoveries = 0.0
    trials = 2000
    for _ in range(trials):
        # Six true nulls, six real effects.
        ps = np.concatenate([rng.uniform(size=6), scipy.stats.norm.sf(rng.normal(3.0, 1.0, 6))])
        family += any(p <= 0.05 for p in holm(ps)[:6])
        called = [q <= 0.05 for q in benjamini_hochberg(ps)]
        discoveries += sum(called[:6]) / max(1, sum(called))
    # Without adjustment 1 - 0.95^6 = 26 % of families have a false alarm.
    assert family / trials <= 0.05
    assert discoveries / trials <= 0.05
