"""Both views are asked the same, and one bad question does not take the others with it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import ScoringModel
from sway_dash.probes.answers import SCORED, ask_both, continuations, reached_limit, score_completions, score_texts
from sway_dash.probes.base import RunContext


def context() -> RunContext:
    pair = ("the capital is", " Paris")
    return RunContext(
        backend=DummyDifferentialBackend(
            base=DummyResponses(generations={"a": "from base"}, logprobs={pair: -8.0}),
            ft=DummyResponses(generations={"a": "from tuned"}, logprobs={pair: -2.0}),
        )
    )


def test_each_view_gives_its_own_answer() -> None:
    told = ask_both(context(), ["a"], continuations(8))
    assert (told.base, told.tuned) == (("from base",), ("from tuned",))
    scored = ask_both(context(), [("the capital is", " Paris")], score_completions)
    assert (scored.base[0].logprob, scored.tuned[0].logprob) == (-8.0, -2.0)
    assert scored.base[0].per_token == -8.0
    texts = ask_both(context(), ["one two three"], score_texts)
    assert texts.tuned[0].total_logprob > texts.base[0].total_logprob


def test_one_bad_question_is_dropped_with_its_reason() -> None:
    def ask(view: ScoringModel, questions: Sequence[int]) -> list[str]:
        if 3 in questions and view.id == "ft":
            raise ProbeError("scoring", "not this one")
        return [f"{view.id} {q}" for q in questions]

    told = ask_both(context(), list(range(20)), ask)
    assert told.kept == tuple(i for i in range(20) if i != 3)
    assert told.tuned[3] == "ft 4"
    assert [place for place, _ in told.dropped] == [3]
    assert "not this one" in told.reasons[0]
    assert told.required("some") is told
    with pytest.raises(ProbeError, match=r"not this one.*1 of 4 items failed"):
        ask_both(context(), [1, 2, 3, 4], ask).required("some")


def test_a_bad_question_among_many_costs_few_calls_more() -> None:
    calls: list[int] = []

    def ask(view: ScoringModel, questions: Sequence[int]) -> list[int]:
        calls.append(len(questions))
        if 700 in questions:
            raise ProbeError("scoring", "not this one")
        return list(questions)

    told = ask_both(context(), list(range(1024)), ask)
    assert told.base == told.tuned == tuple(i for i in range(1024) if i != 700)
    assert told.dropped[0][0] == 700
    # A call a portion, and two for every halving of the one that holds it.
    assert len(calls) == 2 * (1024 // SCORED + 2 * 6)


def test_an_answer_near_the_number_of_tokens_allowed_may_have_been_cut() -> None:
    backend = DummyDifferentialBackend()
    assert reached_limit(backend, "four" * 9, 10)
    assert not reached_limit(backend, "four" * 8, 10)
    backend._tokenizer = SimpleNamespace(encode=lambda text, add_special_tokens: list(text))
    assert reached_limit(backend, "four" * 8, 32)


def test_an_answer_to_nothing_is_nothing() -> None:
    assert ask_both(context(), [], continuations(8)).kept == ()
