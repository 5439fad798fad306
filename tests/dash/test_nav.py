"""Addresses: what is on the screen goes into one and comes back out of it."""

from __future__ import annotations

import param
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.nav import COMPARED, MAX_PICKED, PAGES, RUN_PAGES, SHARED, Nav, read_query, to_query
from sway_dash.dash.state import Selection

words = st.text(alphabet="abcÄ &=?#+%/-_,; <>\"'", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(
    page=st.sampled_from(RUN_PAGES),
    probe=words,
    metric=st.sampled_from(["js", "kl"]),
    tags=st.lists(words, max_size=4),
    query=words,
    regex=st.booleans(),
    status=st.sampled_from(["", "above", "inside"]),
    least=st.floats(0, 10),
    picked=st.lists(st.integers(0, 10_000), max_size=MAX_PICKED),
    item=st.none() | st.integers(0, 10_000),
    token=st.none() | st.integers(0, 10_000),
)
def test_every_choice_survives_its_address(page: str, **choices: object) -> None:
    nav, choice = Nav(page=page, run="r-1"), Selection(**choices)
    asked = read_query("?" + to_query(nav, choice, CompareState()))
    assert asked["nav"] == {"page": page, "run": "r-1"}
    again = Selection(**asked["choice"])
    assert {n: getattr(again, n) for n in SHARED} == {n: getattr(choice, n) for n in SHARED}


def test_an_address_of_runs_to_compare() -> None:
    state = CompareState(
        baseline="demo", focus="r-1", metric="kl", query='"a" b', outside=True, item=3, tags=["a, b", "'c'"]
    )
    with param.parameterized.discard_events(state):
        state.runs = ["r-1", "demo"]
    asked = read_query(to_query(Nav(page="compare", run="r-1"), Selection(), state))
    assert asked["nav"] == {"page": "compare", "run": "r-1"}
    assert asked["compare"] == {name: getattr(state, name) for name in COMPARED}


@given(st.text(max_size=60))
def test_nonsense_in_an_address_asks_for_nothing_wrong(text: str) -> None:
    for key in ("page", "x", "sort", "status", "least", "sel", "p", "t", "runs"):
        asked = read_query(f"?{key}={text}")
        assert asked["nav"].get("page", "overview") in PAGES
        Selection(**asked["choice"])


def test_an_address_says_defaults_too() -> None:
    """A default that changes later must not change what a link shows."""
    assert "x=js" in to_query(Nav(), Selection(), CompareState())
    assert to_query(Nav(), Selection(), CompareState()).startswith("v=1&page=overview")


def test_an_older_address_is_understood() -> None:
    asked = read_query('?run="r-1"&page=prompts&tags=a,b,,c%20d')
    assert asked["nav"]["run"] == "r-1"
    assert asked["choice"]["tags"] == ["a", "b", "c d"]


def test_an_endless_number_is_left_out() -> None:
    asked = read_query(f"?sel=1,{'9' * 5000},2&p={'9' * 5000}&t={'9' * 5000}&least={'9' * 5000}")
    assert asked["choice"]["picked"] == [1, 2]
    assert (asked["choice"]["item"], asked["choice"]["token"], asked["choice"]["least"]) == (None, None, 0.0)


def test_half_a_surrogate_pair_does_not_stop_an_address() -> None:
    choice = Selection(query="a\ud800", tags=["\udfff"])
    assert read_query(to_query(Nav(page="prompts"), choice, CompareState()))["choice"]["query"] == "a?"
