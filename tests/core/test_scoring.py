"""Views, distributions and protocols."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.scoring import (
    BASE,
    FINETUNED,
    NULL_STYLES,
    DifferentialBackend,
    RollingLogprob,
    ScoringBackend,
    TokenDist,
    View,
    next_token_dists,
    null_styles,
    style_of,
)


def test_no_strength_is_the_base_and_full_strength_the_tuned_model():
    assert View.scaled(0) is BASE
    assert View.scaled(0.0) is BASE
    assert View.scaled(-0.0) is BASE
    assert View.scaled(1) is FINETUNED
    assert View.scaled(1.0) is FINETUNED


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_two_strengths_share_a_name_only_if_they_are_equal(a, b):
    assert (View.scaled(a).id == View.scaled(b).id) == (a == b)


def test_strengths_closer_than_two_decimals_keep_their_own_names():
    assert View.scaled(0.501).id == "scaled_0.501"
    assert View.scaled(0.5).id == "scaled_0.5"


def test_a_null_is_named_by_everything_that_makes_it():
    assert View.null(3).id == "null_3"
    names = {View.null(3, init_scale=i, rank_scale=r).id for i in (0.02, 0.021) for r in (1.0, 0.5)}
    assert len(names) == 4


def test_a_null_of_another_style_has_a_name_and_a_key_of_its_own():
    views = [View.null(3, style=style, rank_scale=r) for style in NULL_STYLES for r in (1.0, 2.0)]
    assert len({v.id for v in views}) == len({str(v.content) for v in views}) == 6
    assert [style_of(v.id) for v in views] == [style for style in NULL_STYLES for _ in range(2)]
    assert View.null(3, style="norm_matched").id == "null_3_norm_matched"


def test_names_and_keys_of_gaussian_nulls_are_those_of_before_there_were_others():
    assert View.null(3, style="gaussian").id == "null_3"
    assert View.null(3).content == {"kind": "null", "lam": 1.0, "seed": 3, "init_scale": 0.02, "rank_scale": 1.0}


def test_the_scale_of_the_noise_is_no_part_of_a_null_that_has_the_trained_size():
    assert View.null(3, style="spectrum", init_scale=0.5) == View.null(3, style="spectrum")


def test_unknown_styles_of_nulls_are_refused():
    with pytest.raises(ValueError, match="known: gaussian, norm_matched, spectrum"):
        View.null(3, style="uniform")


def test_backends_of_the_public_protocol_have_gaussian_nulls():
    class Plain:
        def as_base(self): ...
        def as_finetuned(self): ...
        def as_null_adapter(self, seed): ...

    assert null_styles(Plain()) == ("gaussian",)
    assert null_styles(DummyDifferentialBackend()) == NULL_STYLES
    assert null_styles(object()) == ()


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_null_needs_positive_scales(bad):
    with pytest.raises(ValueError, match="rank_scale"):
        View.null(0, rank_scale=bad)
    with pytest.raises(ValueError, match="init_scale"):
        View.null(0, init_scale=bad)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_strength_must_be_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        View.scaled(bad)


def test_perplexity_is_the_exponential_of_the_mean_surprise():
    logprobs = np.log([0.5, 0.125]).astype(np.float32)
    text = RollingLogprob(np.arange(3), logprobs, 3, float(logprobs.sum()))
    assert text.mean_logprob == pytest.approx(math.log(0.25))
    assert text.perplexity == pytest.approx(4.0)


def test_nothing_predicted_is_no_surprise():
    empty = RollingLogprob(np.array([1]), np.array([], dtype=np.float32), 1, 0.0)
    assert empty.mean_logprob == 0.0
    assert empty.perplexity == 1.0


def test_the_tail_keeps_its_two_special_values():
    assert TokenDist(np.array([1]), np.array([0.0]), 5).tail_logprob is None
    assert TokenDist(np.array([1]), np.array([0.0]), 5, tail_logprob=0.0).tail_logprob == 0.0


class One:
    def logprob_of(self, prompt, completion):
        return 0.0

    def rolling_logprob(self, text):
        raise NotImplementedError

    def next_token_dist(self, prompt, *, top_k=256):
        return (prompt, top_k)


class Many(One):
    def next_token_dist_batch(self, prompts, *, top_k=256):
        return [("batch", p, top_k) for p in prompts]


def test_a_view_needs_no_batch_method_to_be_a_scoring_backend():
    assert isinstance(One(), ScoringBackend)
    assert not isinstance(object(), ScoringBackend)


def test_a_backend_needs_both_views():
    class Half:
        def as_base(self):
            raise NotImplementedError

    class Whole(Half):
        def as_finetuned(self):
            raise NotImplementedError

    assert isinstance(Whole(), DifferentialBackend)
    assert not isinstance(Half(), DifferentialBackend)


def test_many_prompts_are_batched_where_that_is_possible():
    assert next_token_dists(One(), ["a", "b"], top_k=5) == [("a", 5), ("b", 5)]
    assert next_token_dists(Many(), ["a", "b"], top_k=5) == [("batch", "a", 5), ("batch", "b", 5)]
    assert next_token_dists(Many(), []) == []
