"""Divergences against closed forms, scipy, laws, and the truth that a truncated distribution hides."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sway_dash.core import divergence as dv
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import TokenDist

LN2 = math.log(2.0)


def dist(probs, ids=None, *, tail=None):
    probs = np.asarray(probs, dtype=np.float64)
    ids = np.arange(len(probs)) if ids is None else np.asarray(ids)
    return TokenDist(ids.astype(np.int64), np.log(probs).astype(np.float32), vocab_size=1000, tail_logprob=tail)


@st.composite
def vectors(draw, n=2):
    size = draw(st.integers(2, 20))
    raw = [
        draw(st.lists(st.floats(0, 1), min_size=size, max_size=size).filter(lambda v: sum(v) > 1e-3)) for _ in range(n)
    ]
    return [np.asarray(v) / sum(v) for v in raw]


# --- vectors ------------------------------------------------------------------------------------------------------


def test_kl_of_a_fair_and_a_biased_coin():
    value = dv.kl(np.array([0.5, 0.5]), np.array([0.25, 0.75]))
    assert value == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


def test_kl_is_exactly_zero_for_equal_vectors_and_skips_impossible_outcomes():
    p = np.array([0.2, 0.3, 0.5])
    assert dv.kl(p, p) == 0.0
    assert dv.kl(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(LN2)


def test_kl_floors_what_the_other_side_calls_impossible():
    assert dv.kl(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(12 * math.log(10))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    for pair in ((np.array([bad, 0.5]), np.array([0.5, 0.5])), (np.array([0.5, 0.5]), np.array([0.5, bad]))):
        with pytest.raises(ProbeError, match="non-finite"):
            dv.kl(*pair)
        with pytest.raises(ProbeError, match="non-finite"):
            dv.js(*pair)


def test_a_large_vocabulary_of_tiny_masses_is_zero_away_from_itself():
    p = np.full(150_000, 1e-13)
    p[0] = 1.0 - p[1:].sum()
    assert dv.kl(p, p) == 0.0
    assert dv.js(p, p) == 0.0


def test_js_of_disjoint_vectors_is_ln_2():
    assert dv.js(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(LN2)
    assert dv.js_ln2() == LN2


def test_js_refuses_what_is_no_distribution():
    with pytest.raises(ProbeError, match="outside"):
        dv.js(np.array([3.0, 0.0]), np.array([0.0, 3.0]))


@given(vectors())
def test_js_is_symmetric_bounded_and_is_the_gain_in_entropy(pair):
    p, q = pair
    value = dv.js(p, q)
    assert 0.0 <= value <= LN2
    assert value == pytest.approx(dv.js(q, p), abs=1e-12)
    # Another formula: the entropy of the mixture less the mean entropy.
    h = scipy.stats.entropy
    assert value == pytest.approx(h((p + q) / 2) - (h(p) + h(q)) / 2, abs=1e-9)


@given(vectors())
def test_kl_is_not_negative_and_zero_against_itself(pair):
    p, q = pair
    assert dv.kl(p, q) >= -1e-9
    assert dv.kl(p, p) == 0.0
    assert dv.js(p, p) == 0.0


# --- top-k distributions: the public form -------------------------------------------------------------------------


@pytest.mark.parametrize(("other", "n"), [([2, 3, 4], 4), ([7, 8, 9], 6)])
def test_aligned_vectors_cover_the_union_of_the_ids(other, n):
    p, q = dv.aligned_probs(dist([0.5, 0.3, 0.2], [1, 2, 3]), dist([0.6, 0.3, 0.1], other))
    assert p.shape == q.shape == (n,)
    assert p.sum() == pytest.approx(1.0, abs=1e-9)
    assert q.sum() == pytest.approx(1.0, abs=1e-9)


def test_aligned_vectors_share_the_missing_mass_equally():
    p, _ = dv.aligned_probs(dist([0.5, 0.3], [1, 2]), dist([0.6, 0.3], [3, 4]))
    assert p == pytest.approx([0.5, 0.3, 0.1, 0.1], abs=1e-7)


def test_probabilities_that_sum_to_more_than_one_are_normalised():
    big = dist([1.2, 0.9, 0.8])
    p, _ = dv.aligned_probs(big, dist([0.5, 0.3, 0.2]))
    assert p == pytest.approx(np.array([1.2, 0.9, 0.8]) / 2.9, abs=1e-7)
    assert dv.divergence(big, big) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("side", ["base", "ft"])
def test_nan_is_reported_with_its_side_and_count_before_uniformity(side):
    bad = TokenDist(np.arange(3), np.array([-1.0, np.nan, -np.inf], dtype=np.float32), 10)
    pair = (bad, dist([0.5, 0.5])) if side == "base" else (dist([0.5, 0.5]), bad)
    with pytest.raises(ProbeError, match=f"{side} TokenDist contains 2 non-finite"):
        dv.aligned_probs(*pair)


def test_a_uniform_distribution_is_refused():
    flat, sharp = dist([0.25] * 4), dist([0.4, 0.3, 0.2, 0.1])
    for pair in ((flat, sharp), (sharp, flat)):
        with pytest.raises(ProbeError, match="effectively-uniform"):
            dv.divergence(*pair)


def test_one_token_and_a_small_spread_are_not_uniform():
    one = dist([0.9])
    assert dv.divergence(one, one) == 0.0
    nearly = TokenDist(np.arange(2), np.array([-0.69, -0.69002], dtype=np.float32), 10)
    dv.divergence(nearly, nearly)


def test_divergence_of_whole_distributions_has_a_closed_form():
    base, ft = dist([0.5, 0.5 - 1e-3, 1e-3]), dist([0.25, 0.75 - 1e-3, 1e-3])
    p, q = np.array([0.25, 0.749, 0.001]), np.array([0.5, 0.499, 0.001])
    assert dv.divergence(base, ft, "kl") == pytest.approx(float(np.sum(p * np.log(p / q))), abs=1e-6)
    m = (p + q) / 2
    expected = 0.5 * float(np.sum(p * np.log(p / m)) + np.sum(q * np.log(q / m)))
    assert dv.divergence(base, ft) == pytest.approx(expected, abs=1e-6)


def test_disjoint_supports_are_nearly_ln_2_apart():
    assert 0.5 < dv.divergence(dist([0.6, 0.4], [1, 2]), dist([0.7, 0.3], [3, 4])) < LN2 + 1e-6


def test_an_unknown_divergence_is_a_value_error():
    with pytest.raises(ValueError, match="'tv'"):
        dv.divergence(dist([0.6, 0.4]), dist([0.7, 0.3]), "tv")


# --- top-k distributions: what was cut off ------------------------------------------------------------------------


def zipf_pair(rng, vocab):
    """Two related Zipf-like distributions over ``vocab`` tokens, as models give them."""
    logits = -rng.uniform(0.6, 1.6) * np.log(np.arange(1, vocab + 1)) + rng.normal(0, 0.5, vocab)
    moved = logits + rng.normal(0, rng.choice([0.0, 0.05, 0.5, 2.0]), vocab)
    if rng.random() < 0.3:
        moved = rng.permutation(moved)
    return [np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (logits, moved)]


def top_k(probs, k):
    ids = np.argsort(-probs)[:k]
    rest = 1.0 - probs[ids].sum()
    return dist(probs[ids], ids, tail=math.log(rest) if rest > 1e-12 else None)


@given(st.integers(0, 2**32 - 1), st.integers(5, 400), st.integers(2, 300))
@settings(max_examples=300, deadline=None)
def test_the_true_js_lies_within_the_stated_error(seed, vocab, k):
    p, q = zipf_pair(np.random.default_rng(seed), vocab)
    truth = dv.js(p, q)
    found = dv.coarse_divergence(top_k(p, min(k, vocab)), top_k(q, min(k, vocab)))
    # Log-probabilities are float32: masses are known to 1e-7.
    assert abs(found.js - truth) <= found.error_bound + 1e-5
    assert 0.0 <= found.js <= LN2


def test_the_stated_error_is_zero_for_whole_vocabularies_and_shrinks_with_k():
    p, q = zipf_pair(np.random.default_rng(1), 500)
    bounds = [dv.coarse_divergence(top_k(p, k), top_k(q, k)).error_bound for k in (10, 50, 200, 500)]
    assert bounds[0] > bounds[1] > bounds[2] > bounds[3] == 0.0


def test_lists_without_a_common_token_still_tell_how_far_apart_their_sides_are():
    # Each side is sure of what the other does not list: what is missing is too little to make up for that.
    base = dist([0.9, 0.08], [1, 2], tail=math.log(0.02))
    tuned = dist([0.9, 0.08], [3, 4], tail=math.log(0.02))
    found = dv.coarse_divergence(base, tuned)
    assert found.js > 0.55
    assert found.error_bound < 0.12
    assert found.covered == 0.0
    assert dv.compare_dists(base, tuned).top_k == 2


@pytest.mark.parametrize(("k", "known"), [(3, False), (400, True)])
def test_a_kl_needs_most_of_the_probability(k, known):
    p, q = (x / x.sum() for x in (np.arange(1, 501) ** -1.2, np.arange(1, 501) ** -1.3))
    found = dv.compare_dists(top_k(q, k), top_k(p, k))
    assert (found.covered >= dv.KL_COVERED) is known
    if known:
        assert dv.divergence(top_k(q, k), top_k(p, k), "kl") == pytest.approx(dv.kl(p, q), rel=0.05)
    else:
        with pytest.raises(ProbeError, match=r"share .*% of the probability"):
            dv.divergence(top_k(q, k), top_k(p, k), "kl")


def test_an_unchanged_distribution_measures_zero_however_it_was_cut():
    p, _ = zipf_pair(np.random.default_rng(2), 500)
    for k in (2, 10, 100, 500):
        found = dv.coarse_divergence(top_k(p, k), top_k(p, k))
        assert found.js == pytest.approx(0.0, abs=1e-9)
        assert found.kl == pytest.approx(0.0, abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
@settings(max_examples=60, deadline=None)
def test_swapping_the_sides_swaps_the_kls_and_keeps_the_js(seed, k):
    p, q = zipf_pair(np.random.default_rng(seed), 80)
    there, back = dv.coarse_divergence(top_k(p, k), top_k(q, k)), dv.coarse_divergence(top_k(q, k), top_k(p, k))
    assert there.js == pytest.approx(back.js, abs=1e-9)
    assert there.kl == pytest.approx(back.kl_reverse, abs=1e-9)
    assert there.error_bound == pytest.approx(back.error_bound, abs=1e-9)


def test_a_comparison_is_exact_only_if_nothing_was_cut():
    whole = dv.compare_dists(dist([0.7, 0.3]), dist([0.6, 0.4]))
    assert whole.exact
    assert whole.error_bound == 0.0
    assert whole.same_top == 1.0
    cut = dv.compare_dists(dist([0.5, 0.3], [1, 2], tail=math.log(0.2)), dist([0.5, 0.3], [2, 1], tail=math.log(0.2)))
    assert not cut.exact
    assert cut.error_bound > 0.0
    assert cut.same_top == 0.0
