"""Permutation p-values against enumeration, scipy and simulated levels."""

import numpy as np
import pytest
import scipy.stats

from sway_dash.core.permutation import permutation_p


def difference(values, labels):
    """Mean of the items labelled 1 minus mean of the others."""
    return values[labels == 1].mean() - values[labels == 0].mean()


def test_few_items_are_enumerated():
    # Of the 20 ways to choose three of six only one has so large a difference.
    assert permutation_p([1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1], difference) == 1 / 20
    assert permutation_p([6, 5, 4, 3, 2, 1], [0, 0, 0, 1, 1, 1], difference) == 1.0


def test_ties_count_however_their_sums_are_rounded():
    x = [0.1, 0.2, 0.3, 0.3, 0.2, 0.1]
    assert permutation_p(x, [0, 0, 0, 1, 1, 1], difference) == pytest.approx(
        scipy.stats.permutation_test(
            (x[3:], x[:3]), lambda a, b: np.mean(a) - np.mean(b), alternative="greater", n_resamples=np.inf
        ).pvalue
    )


def test_scipy_enumerates_the_same():
    rng = np.random.default_rng(3)
    x = rng.normal(size=10)
    truth = scipy.stats.permutation_test(
        (x[4:], x[:4]), lambda a, b: np.mean(a) - np.mean(b), alternative="greater", n_resamples=np.inf
    )
    assert permutation_p(x, [0] * 4 + [1] * 6, difference) == pytest.approx(truth.pvalue)


def test_many_items_are_sampled_and_near_the_exact_p():
    x = np.random.default_rng(3).normal(size=14)
    labels = [0] * 7 + [1] * 7
    exact, sampled = (permutation_p(x, labels, difference, n=n) for n in (9999, 1999))
    assert sampled == pytest.approx(exact, abs=0.05)
    assert sampled != exact


def test_a_sampled_p_is_never_zero_and_depends_on_the_seed_alone():
    x, labels = np.arange(40.0), [0] * 20 + [1] * 20
    assert permutation_p(x, labels, difference, n=99) == 1 / 100
    y = np.random.default_rng(0).normal(size=40)
    assert permutation_p(y, labels, difference, n=99, seed=1) == permutation_p(y, labels, difference, n=99, seed=1)


def test_labels_may_be_words_and_more_than_two():
    def spread(values, labels):
        return float(np.var([values[labels == k].mean() for k in ("a", "b", "c")]))

    # 6! / (2! 2! 2!) = 90 orders; the same three groups can be named in six ways.
    assert permutation_p([1.0, 1.1, 5.0, 5.1, 9.0, 9.1], list("aabbcc"), spread) == pytest.approx(6 / 90)


def test_one_item_among_very_many_is_enumerated():
    for n in (1200, 3000):
        x = np.arange(float(n))
        labels = np.zeros(n, dtype=int)
        labels[-3] = 1
        assert permutation_p(x, labels, difference) == 3 / n


def test_every_assignment_is_looked_at_once():
    seen = []

    def remember(values, labels):
        seen.append("".join(labels))
        return 0.0

    # 6! / (3! 2! 1!) = 60 orders, and the observed one once more.
    assert permutation_p(range(6), list("abcabb"), remember) == 1.0
    assert len(seen) == 61
    assert len(set(seen)) == 60
    assert {"".join(sorted(order)) for order in seen} == {"aabbbc"}


def test_the_level_holds():
    rejected = 0
    for seed in range(200):
        x = np.random.default_rng(seed).exponential(size=10)
        rejected += permutation_p(x, [0] * 5 + [1] * 5, difference, n=99, seed=seed) <= 0.05
    assert 0.01 <= rejected / 200 <= 0.09


def test_what_cannot_be_tested_is_said():
    with pytest.raises(ValueError, match="needs its label: 2 values, 1 labels"):
        permutation_p([1.0, 2.0], [0], difference)
    with pytest.raises(ValueError, match="needs items"):
        permutation_p([], [], difference)
    with pytest.raises(ValueError, match="must be finite, got nan"):
        permutation_p([1.0, float("nan")], [0, 1], difference)
