from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.detail import Inspectable
from sway_dash.core.scoring import (
    DifferentialBackend,
    NullCalibratedBackend,
    PreflightCheckable,
    RollingLogprob,
    ScalableDifferentialBackend,
    ScoringModel,
    TokenDist,
    View,
)


def dist(*logprobs: float) -> TokenDist:
    return TokenDist(np.arange(len(logprobs), dtype=np.int64), np.array(logprobs, dtype=np.float32), 100)


def test_it_satisfies_the_protocols() -> None:
    backend = DummyDifferentialBackend()
    for protocol in (
        DifferentialBackend,
        ScalableDifferentialBackend,
        NullCalibratedBackend,
        PreflightCheckable,
    ):
        assert isinstance(backend, protocol)
    with backend.as_base() as view:
        assert isinstance(view, ScoringModel)
    assert backend.safe_for_concurrent_views is False


def test_canned_answers_and_defaults() -> None:
    rolling = RollingLogprob(np.arange(3), np.array([-1.0, -2.0], dtype=np.float32), 3, -3.0)
    base = DummyResponses({"p": "text"}, {("p", "c"): -2.5}, {"known": rolling}, {"p": dist(-0.5, -1.0)})
    backend = DummyDifferentialBackend(base=base)
    with backend.as_base() as view:
        assert view.generate("p", max_new_tokens=3) == "text"
        assert view.logprob_of("p", "c") == -2.5
        assert view.logprob_of("p", "other") == -10.0
        assert view.rolling_logprob("known") is rolling
        assert view.rolling_logprob("a b c d").logprobs.tolist() == [-2.0] * 3
        assert view.rolling_logprob("").num_tokens == 1
        assert view.next_token_dist("p").logprobs.tolist() == [-0.5, -1.0]
        default = view.next_token_dist("unknown")
        with pytest.raises(KeyError, match="no canned generation"):
            view.generate("q", max_new_tokens=1)
    assert default.token_ids.tolist() == list(range(8))
    assert default.logprobs == pytest.approx([-0.1] + [-5.0] * 7)
    assert default.tail_logprob == pytest.approx(math.log(1 - math.exp(-0.1) - 7 * math.exp(-5)))
    with backend.as_finetuned() as view:
        tuned = view.next_token_dist("unknown").logprobs
        assert view.rolling_logprob("a b c d").logprobs.tolist() == [-1.5] * 3
    assert tuned == pytest.approx([-math.log(8)] * 8, abs=2e-4)
    assert len(set(tuned.tolist())) == 8, "an exactly uniform answer is what a broken model gives"


def test_a_nul_in_a_text_does_not_make_two_pairs_one() -> None:
    base = DummyResponses(logprobs={("a\0b", "c"): -1.0, ("a", "b\0c"): -2.0})
    backend = DummyDifferentialBackend(base=base)
    with backend.as_base() as view:
        assert (view.logprob_of("a\0b", "c"), view.logprob_of("a", "b\0c")) == (-1.0, -2.0)


def test_strengths_blend_linearly_in_log_space() -> None:
    base = DummyResponses({"p": "base"}, {("p", "c"): -2.0}, {}, {"p": dist(-1.0, -2.0)})
    ft = DummyResponses({"p": "ft"}, {("p", "c"): -4.0}, {}, {"p": dist(-3.0, -1.0)})
    backend = DummyDifferentialBackend(base=base, ft=ft)
    for lam, logprob, logprobs, text in (
        (0.0, -2.0, [-1.0, -2.0], "base"),
        (0.25, -2.5, [-1.5, -1.75], "base"),
        (0.5, -3.0, [-2.0, -1.5], "ft"),
        (1.0, -4.0, [-3.0, -1.0], "ft"),
        (1.5, -5.0, [-4.0, -0.5], "ft"),
    ):
        with backend.as_scaled_adapter(lam) as view:
            assert view.logprob_of("p", "c") == pytest.approx(logprob)
            assert view.next_token_dist("p").logprobs == pytest.approx(logprobs)
            assert view.generate("p", max_new_tokens=1) == text


def test_views_do_not_nest_and_are_left_after_errors() -> None:
    backend = DummyDifferentialBackend()
    with backend.as_base(), pytest.raises(RuntimeError, match="view already active"), backend.as_finetuned():
        pass
    with pytest.raises(KeyError), backend.as_finetuned() as view:
        view.generate("nothing", max_new_tokens=1)
    with backend.as_base():
        pass


def null_logprobs(seed: int, prompt: str = "p", **options: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    with DummyDifferentialBackend().as_null_adapter(seed, **options) as view:
        return view.next_token_dist(prompt).logprobs


def test_nulls_repeat_by_seed_and_keep_their_mass() -> None:
    assert np.array_equal(null_logprobs(1), null_logprobs(1))
    assert not np.array_equal(null_logprobs(1), null_logprobs(2))
    assert not np.array_equal(null_logprobs(1), null_logprobs(1, "q"))
    with DummyDifferentialBackend().as_base() as view:
        want = np.exp(view.next_token_dist("p").logprobs.astype(float)).sum()
    assert np.exp(null_logprobs(1).astype(float)).sum() == pytest.approx(want, rel=1e-5)


def test_null_noise_grows_as_the_root_of_rank_scale() -> None:
    assert np.array_equal(null_logprobs(1), null_logprobs(1, rank_scale=1.0))
    one, two = (np.std([null_logprobs(s, rank_scale=r)[3] for s in range(200)]) for r in (1.0, 2.0))
    assert two / one == pytest.approx(math.sqrt(2), rel=0.15)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_rank_scale_must_be_positive(bad: float) -> None:
    with pytest.raises(ValueError, match="rank_scale"):
        null_logprobs(1, rank_scale=bad)


def test_null_draws_do_not_depend_on_the_process() -> None:
    code = (
        "from sway_dash.backends.dummy import DummyDifferentialBackend as D\n"
        "with D().as_null_adapter(4) as v: print(v.next_token_dist('p').logprobs.tobytes().hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1


def test_answers_are_cached_and_a_batch_uses_replaced_methods() -> None:
    backend = DummyDifferentialBackend()
    with backend.as_base() as view:
        view.next_token_dist("p")
        view.next_token_dist_batch(["p", "q"])
        assert view.next_token_dist_batch([]) == []
    stats = backend.instrumentation.stats
    assert (stats.cache_hits, stats.cache_misses, stats.batches_sent) == (1, 2, 0)
    with backend.as_base() as view:
        view.next_token_dist = lambda prompt, *, top_k=256: dist(-1.0)  # type: ignore[method-assign]
        assert len(view.next_token_dist_batch(["x"])[0].logprobs) == 1


def test_preflight_names_the_broken_view() -> None:
    assert DummyDifferentialBackend().preflight_finite_check() == (True, "")
    broken = DummyResponses(token_dists={"preflight": dist(math.nan, -1.0)})
    ok, reason = DummyDifferentialBackend(ft=broken).preflight_finite_check()
    assert not ok
    assert "ft view" in reason
    assert "non-finite" in reason
    backend = DummyDifferentialBackend()
    with backend.as_base() as view:
        view.next_token_dist = lambda prompt, *, top_k=256: 1 // 0  # type: ignore[method-assign]
    ok, reason = backend.preflight_finite_check()
    assert not ok
    assert "base view raised ZeroDivisionError" in reason


# --- prompts word by word ---------------------------------------------------------------------------------------------


def test_words_are_shown_with_what_both_sides_answer() -> None:
    canned = {"the sea": TokenDist(np.arange(2), np.log(np.array([0.75, 0.25])).astype(np.float32), 1000)}
    tuned = {"the sea": TokenDist(np.arange(2), np.log(np.array([0.25, 0.75])).astype(np.float32), 1000)}
    backend = DummyDifferentialBackend(
        base=DummyResponses(generations={"the sea": " is blue"}, token_dists=canned),
        ft=DummyResponses(generations={"the sea": " is wide"}, token_dists=tuned, logprobs={("the sea", " is"): -0.5}),
    )
    assert isinstance(backend, Inspectable)
    ((_, detail),) = backend.details(["the sea"])
    assert [(t.text, t.part) for t in detail.tokens] == [
        ("the", "prompt"), (" sea", "prompt"), (" is", "continuation"), (" wide", "continuation"),
    ]  # fmt: skip
    assert detail.tokens[0].prediction is None
    after = detail.tokens[2]
    assert after.prediction.kl == pytest.approx(0.5 * np.log(3), abs=1e-6)
    assert [(c.id, c.base, c.tuned) for c in after.prediction.choices] == [
        (0, pytest.approx(0.75), pytest.approx(0.25)),
        (1, pytest.approx(0.25), pytest.approx(0.75)),
    ]
    assert (after.base_logprob, after.tuned_logprob) == (-10.0, -0.5)
    assert (detail.base_says, detail.tuned_says, detail.first_difference) == ((" is", " blue"), (" is", " wide"), 1)


def test_without_a_canned_text_the_likeliest_token_is_said() -> None:
    ((_, detail),) = DummyDifferentialBackend().details(["one two three"], view=View.scaled(0.0))
    assert detail.tuned_says == detail.base_says == ("<0>",)
    assert {t.prediction.js for t in detail.tokens[1:]} == {0.0}


def test_a_side_that_answers_nonsense_is_an_error_of_that_prompt() -> None:
    nan = TokenDist(np.arange(2), np.array([np.nan, 0.0], dtype=np.float32), 1000)
    backend = DummyDifferentialBackend(ft=DummyResponses(token_dists={"bad one": nan}))
    found = dict(backend.details(["bad one", "good one"]))
    assert "non-finite" in str(found[0])
    assert found[1].prompt == "good one"
