"""What servers write for tokens: which are the same, which cannot be told apart, and where in the text they stand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.api_tokens import (
    ApiToken,
    as_dist,
    completion_start,
    raw_of,
    read_echo,
    read_next,
    spans,
    total,
)
from sway_dash.core.divergence import compare_dists, js
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import TokenDist


def listing(**probs: float) -> dict[str, Any]:
    """A choice of the completions shape; ``_`` stands for the space before a word."""
    top = {name.replace("_", " "): math.log(p) for name, p in probs.items()}
    return {"logprobs": {"tokens": [" x"], "token_logprobs": [-1.0], "top_logprobs": [top]}}


def tops(**top: Any) -> dict[str, Any]:
    return {"logprobs": {"tokens": [" x"], "token_logprobs": [-1.0], "top_logprobs": [top]}}


def cut(*texts: str | None) -> list[ApiToken]:
    """Echoed tokens, −1 nat each but for the first; None for one of which no byte is shown."""
    return [
        ApiToken("\ufffd" if t is None else t, None if t is None else raw_of(t), None, -1.0 if i else None)
        for i, t in enumerate(texts)
    ]


def test_equal_tokens_have_equal_numbers_wherever_they_stand_in_the_list() -> None:
    one = as_dist(read_next(listing(_a=0.6, _b=0.3), top_k=9, by_id=False), by_id=False, vocab_size=None)
    other = as_dist(read_next(listing(_b=0.6, _a=0.3), top_k=9, by_id=False), by_id=False, vocab_size=None)
    assert one.token_ids.tolist() == other.token_ids.tolist()[::-1]
    assert one.tail_logprob == pytest.approx(math.log(0.1))
    # A number that a screen can hold without losing its last digit.
    assert max(one.token_ids) < 2**53


def test_both_shapes_name_the_same_token() -> None:
    plain = read_next(tops(**{"bytes:\\xe6\\x9d": -0.5}), top_k=5, by_id=False)
    item = {"token": "\ufffd", "id": 7, "bytes": [0xE6, 0x9D], "logprob": -0.5}
    content = {"logprobs": {"content": [{**item, "top_logprobs": [item]}]}}
    rich = read_next(content, top_k=5, by_id=False)
    dists = [as_dist(found, by_id=False, vocab_size=None) for found in (plain, rich)]
    assert dists[0].token_ids.tolist() == dists[1].token_ids.tolist()
    by_id = as_dist(read_next(content, top_k=5, by_id=True), by_id=True, vocab_size=None)
    assert by_id.token_ids.tolist() == [7]


def test_what_cannot_be_told_apart_is_left_out_and_counted() -> None:
    item = {"token": "\ufffd", "id": 1, "bytes": [0xE6], "logprob": -1.0}
    twice = [item, {**item, "id": 2, "logprob": -2.0}, {"token": " a", "id": 3, "bytes": [32, 97], "logprob": -3.0}]
    choice = {"logprobs": {"content": [{**item, "top_logprobs": twice}]}}
    found = read_next(choice, top_k=5, by_id=False)
    assert [t.text for t in found.tokens] == [" a"]
    assert found.ambiguous == 2
    # Their ids do tell them apart.
    assert len(read_next(choice, top_k=5, by_id=True).tokens) == 3
    hidden = read_next(tops(**{"\ufffd": -0.2, " a": -3.0}), top_k=5, by_id=False)
    assert (hidden.ambiguous, [t.text for t in hidden.tokens]) == (1, [" a"])
    with pytest.raises(ProbeError, match="can be told from others"):
        read_next(tops(**{"\ufffd": -0.2}), top_k=5, by_id=False)


def test_a_text_that_two_tokens_share_on_one_side_alone_stays_within_the_bound() -> None:
    def dist(*items: tuple[str, float]) -> TokenDist:
        listed = [{"token": text, "logprob": math.log(p)} for text, p in items]
        choice = {"logprobs": {"content": [{**listed[0], "top_logprobs": listed}]}}
        return as_dist(read_next(choice, top_k=5, by_id=False), by_id=False, vocab_size=None)

    base = dist(("the", 0.6), ("the", 0.04), ("b", 0.2), ("c", 0.11), ("d", 0.05))
    # The second token of that text is just below what this side lists.
    tuned = dist(("the", 0.61), ("b", 0.2), ("c", 0.11), ("d", 0.035), ("e", 0.03))
    truth = js(np.array([0.6, 0.04, 0.2, 0.11, 0.05, 0.0]), np.array([0.61, 0.015, 0.2, 0.11, 0.035, 0.03]))
    found = compare_dists(base, tuned)
    assert abs(found.js - truth) <= found.error_bound


def test_a_likelier_token_is_not_taken_for_the_one_that_took_its_place_in_the_list() -> None:
    choice = tops(**{"the": math.log(0.04), " b": math.log(0.3)})
    choice["logprobs"] |= {"tokens": ["the"], "token_logprobs": [math.log(0.6)]}
    found = read_next(choice, top_k=5, by_id=False)
    assert [t.text for t in found.tokens] == [" b"]
    assert found.ambiguous == 2
    # One number in two places, rounded in one of them; and a number after sampling, which says nothing of the list.
    for drawn in (math.log(0.04) + 1e-5, 0.0, None):
        choice["logprobs"]["token_logprobs"] = [drawn]
        assert len(read_next(choice, top_k=5, by_id=False).tokens) == 2


def test_a_word_that_begins_like_spelled_bytes_is_itself() -> None:
    assert raw_of("bytes:") == b"bytes:"
    assert raw_of("bytes:\\xe2\\x80") == b"\xe2\x80"
    assert raw_of("") is None


def test_no_more_tokens_than_asked_for_and_none_that_are_impossible() -> None:
    choice = tops(**{" a": -0.5, " b": -1.0, " drawn": -7.0, " never": -9999.0})
    assert [t.text for t in read_next(choice, top_k=2, by_id=False).tokens] == [" a", " b"]
    assert len(read_next(choice, top_k=9, by_id=False).tokens) == 3


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"logprobs": None}, "gives no log-probabilities"),
        (None, "gives no log-probabilities"),
        (tops(), "lists no likely next tokens"),
        ({"logprobs": {"top_logprobs": []}}, "lists no likely next tokens"),
        ({"logprobs": {"top_logprobs": [["x"]]}}, "unknown shape"),
        (tops(a=float("nan")), "non-finite"),
        (tops(a=float("inf")), "non-finite"),
        (tops(a=None), "non-finite"),
        (tops(a="low"), "non-finite"),
        (tops(a=True), "non-finite"),
        (tops(a=0.4), "positive log-probability"),
        (tops(a=-0.1, b=-0.2), "sum to 1.7"),
    ],
)
def test_what_is_no_distribution_is_refused(choice: Any, words: str) -> None:
    with pytest.raises(ProbeError, match=words):
        read_next(choice, top_k=5, by_id=False)


def test_a_list_that_sums_to_more_than_rounding_explains_is_no_distribution() -> None:
    # A list as a penalty or a temperature leaves it: 1.5 % too much.
    with pytest.raises(ProbeError, match=r"sum to 1\.015.*no distribution"):
        read_next(listing(_a=0.9, _b=0.1, _c=0.015), top_k=5, by_id=False)


def test_a_list_that_was_rounded_upwards_is_read_and_not_called_exact() -> None:
    def dist(**probs: float) -> TokenDist:
        return as_dist(read_next(listing(**probs), top_k=5, by_id=False), by_id=False, vocab_size=None)

    rounded, other = dist(_a=0.501, _b=0.3, _c=0.2), dist(_a=0.3, _b=0.5, _c=0.2)
    found = compare_dists(rounded, other)
    true = js(np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.5, 0.2]))
    assert not found.exact
    assert abs(found.js - true) <= found.error_bound < 0.01
    assert compare_dists(other, other).error_bound < 1e-7


# --- where tokens stand ---------------------------------------------------------------------------------------------


def places(tokens: list[ApiToken], text: str, **options: Any) -> list[tuple[int, int]]:
    return [(s.start, s.end) for s in spans(tokens, text, **options)]


def test_tokens_are_laid_along_the_text_and_the_generated_one_is_left_out() -> None:
    assert places(cut("The", " river", " is", " wide"), "The river is") == [(0, 3), (3, 9), (9, 12)]


def test_start_tokens_and_swallowed_spaces_keep_their_places() -> None:
    assert places(cut("<s>", "The", " river"), "The river") == [(0, 0), (0, 3), (3, 9)]
    assert places(cut("<s>", "The", "river", "wide"), "The river") == [(0, 0), (0, 3), (3, 9)]


def test_tokens_that_make_a_character_together_share_its_place() -> None:
    text = "a 東京 b"
    assert places(cut("a", " ", None, None, None, " b"), text) == [(0, 1), (1, 2), *[(2, 8)] * 3, (8, 10)]
    # Written with its last token only.
    written = cut("a", " ", "", "", "東京", " b")
    assert places(written, text) == [(0, 1), (1, 2), *[(2, 8)] * 3, (8, 10)]
    # At the end of the text somebody has to say which tokens are generated.
    assert places(cut("a", " ", None, None), "a 東", generated=0) == [(0, 1), (1, 2), (2, 5), (2, 5)]
    assert places(cut("a", " ", None, None), "a 東", generated=1) == [(0, 1), (1, 2), (2, 5)]
    with pytest.raises(ProbeError, match="do not spell"):
        spans(cut("a", " ", None, None), "a 東")


def test_bytes_that_a_server_leaves_out_may_belong_to_the_token_before() -> None:
    found = spans(cut("a", " ", "", "", " b"), "a 😀 b")
    assert [(s.start, s.end, s.whole) for s in found[1:4]] == [(1, 6, False)] * 3
    with pytest.raises(ProbeError, match="boundary"):
        completion_start(found, "a ", "😀 b")
    assert completion_start(found, "a", " 😀 b") == 1
    assert completion_start(found, "a 😀", " b") == 4


def test_a_server_may_leave_out_the_token_it_generated() -> None:
    assert places(cut("The", " river"), "The river", generated=1) == [(0, 3), (3, 9)]


@pytest.mark.parametrize("tokens", [cut("The"), cut("A", " river"), cut("The", " lake"), cut(), cut("The", None, "x")])
def test_tokens_that_spell_another_text_are_refused(tokens: list[ApiToken]) -> None:
    with pytest.raises(ProbeError, match="do not spell"):
        spans(tokens, "The river")


def test_a_token_over_the_boundary_counts_to_the_completion() -> None:
    found = spans(cut("The", " river", " is"), "The river is")
    assert completion_start(found, "The", " river is") == 1
    assert completion_start(found, "The ri", "ver is") == 1
    assert completion_start(found, "The river", " is") == 2
    assert completion_start(found, "The river is", "") == 3


def test_a_boundary_among_the_tokens_of_characters_is_refused() -> None:
    found = spans(cut("a", " ", None, None, None, " b"), "a 東京 b")
    assert completion_start(found, "a ", "東京 b") == 2
    with pytest.raises(ProbeError, match="boundary before '京 b'"):
        completion_start(found, "a 東", "京 b")


def test_a_first_token_without_context_has_no_sum() -> None:
    found = spans(cut("The", " river"), "The river")
    assert total(found[1:], "The river") == -1.0
    with pytest.raises(ProbeError, match="no context"):
        total(found, "The river")


def test_an_echo_of_an_unknown_shape_is_refused() -> None:
    for wrong in ({"tokens": ["a"], "token_logprobs": []}, {"tokens": "a", "token_logprobs": [1]}, {}):
        with pytest.raises(ProbeError, match="unknown shape"):
            read_echo({"logprobs": wrong})
