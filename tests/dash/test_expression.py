"""Searching for an expression: what it finds, what is wrong with it in words, and that none holds up the server."""

from __future__ import annotations

import time

import pytest

from sway_dash.core.events import Measurement
from sway_dash.dash.expression import BUDGET_S, MAX_CHARS, MAX_REPEATS, SLOW, Expression
from sway_dash.dash.state import Selection
from sway_dash.figures.derive import ProbeSeries

LONG = "a" * 100_000 + "!"


def measurement(item: int, prompt: str) -> Measurement:
    return Measurement(probe="p", item=item, prompt=prompt, js=0.1, kl=0.2, kl_reverse=0.2, same_top=0.0)


def test_words_are_taken_as_they_stand_and_capitals_do_not_count() -> None:
    sought = Expression("A+b (")
    assert [hit.group() for hit in sought.hits("a+B ( and a+b (")] == ["a+B (", "a+b ("]
    assert sought.search("aab") is None


def test_a_regular_expression_finds_what_it_says() -> None:
    sought = Expression(r"light\s+\d+$", regex=True)
    assert sought.search("Light  17").span() == (0, 9)
    assert sought.search("light 17 ") is None
    assert sought.problem == ""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("query", ["(a+)+$", "(a|aa)+$", r"(\w+\s?)*$", "(.*a){12}$"])
def test_an_expression_that_takes_too_long_is_given_up_and_says_so(query: str) -> None:
    choice = Selection(query=query, regex=True)
    series = ProbeSeries("p")
    rows = [measurement(0, "aaa"), measurement(1, LONG), *(measurement(i, LONG) for i in range(2, 500))]
    assert choice.admit(series, rows, "js") == []
    assert choice.expression().problem == SLOW
    # Another look does not try again: it would take its time for every prompt and every figure.
    assert choice.admit(series, rows[:1], "js") == []
    choice.query = "^a+$"
    assert [m.item for m in choice.admit(series, rows, "js")] == [0]
    assert choice.expression().problem == ""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("query", ["((a{1000}){1000}){1000}", "a{10000000}", "(?:ab|c){20000,}"])
def test_an_expression_that_would_be_written_out_for_ever_is_not_read(query: str) -> None:
    assert Expression(query, regex=True).problem == f"its counted repeats come to more than {MAX_REPEATS:,}"


def test_what_is_wrong_is_said_in_words() -> None:
    assert Expression("(a", regex=True).problem == (
        "not a regular expression: missing ), unterminated subpattern at character 1"
    )
    assert "longer than" in Expression("a" * (MAX_CHARS + 1), regex=True).problem
    assert "too deeply nested" in Expression("(" * 400 + "a" + ")" * 400, regex=True).problem


def test_every_look_has_the_whole_budget() -> None:
    sought = Expression("(a|b)+$", regex=True)
    start = time.thread_time()
    while time.thread_time() - start < 3 * BUDGET_S:
        sought = sought.again("(a|b)+$", regex=True)
        assert sought.search("a" * 300 + "!") is None
    assert sought.problem == ""
    assert sought.again("(a|b)+$", regex=False) is not sought
