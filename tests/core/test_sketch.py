"""Quantiles of streams: exact while they are short, within the stated error when they are long."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sway_dash.core.sketch import EXACT_LIMIT, RELATIVE_ERROR, QuantileSketch


def filled(values):
    sketch = QuantileSketch()
    for v in values:
        sketch.add(float(v))
    return sketch


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50), st.floats(0, 1))
def test_few_values_give_exact_quantiles(values, q):
    sketch = filled(values)
    assert sketch.exact
    assert sketch.quantile(q) == pytest.approx(float(np.quantile(values, q)), rel=1e-12, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_many_values_give_quantiles_within_the_stated_error(seed, q):
    values = np.random.default_rng(seed).lognormal(0.0, 4.0, 2 * EXACT_LIMIT)
    sketch = filled(values)
    assert not sketch.exact
    low, high = (np.quantile(values, q, method=m) for m in ("lower", "higher"))
    assert low * (1 - RELATIVE_ERROR) - 1e-12 <= sketch.quantile(q) <= high * (1 + RELATIVE_ERROR) + 1e-12


def test_zeros_stay_zeros():
    sketch = filled([0.0] * (2 * EXACT_LIMIT) + [5.0] * 10)
    assert sketch.quantile(0.5) == 0.0
    assert sketch.quantile(1.0) == pytest.approx(5.0, rel=RELATIVE_ERROR)


def test_memory_does_not_grow_with_the_number_of_values():
    sketch = filled(np.random.default_rng(0).lognormal(0, 3, 20 * EXACT_LIMIT))
    assert len(sketch) == 20 * EXACT_LIMIT
    assert len(sketch._buckets) < EXACT_LIMIT
    assert len(sketch._first) == 0


@pytest.mark.parametrize("sizes", [(3, 4), (EXACT_LIMIT, 0), (EXACT_LIMIT, 1), (0, 9_000), (5_000, 10), (5_000, 5_000)])
def test_two_sketches_are_one_of_all_their_values(sizes):
    values = np.random.default_rng(1).lognormal(0, 3, sum(sizes))
    values[::7] = 0.0
    merged, other = filled(values[: sizes[0]]), filled(values[sizes[0] :])
    merged.merge(other)
    whole = filled(values)
    assert (len(merged), merged.exact) == (len(whole), whole.exact)
    assert [merged.quantile(q) for q in (0, 0.05, 0.5, 0.95, 1)] == [whole.quantile(q) for q in (0, 0.05, 0.5, 0.95, 1)]
    assert len(other) == sizes[1]


def test_no_values_have_no_quantile():
    assert QuantileSketch().quantile(0.5) is None


def test_a_quantile_lies_between_zero_and_one():
    with pytest.raises(ValueError, match=r"1\.5"):
        filled([1.0]).quantile(1.5)
