"""How pages are looked at goes into an address and comes back out of it, without a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import param
import pytest

from sway_dash.dash import runs
from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.draft import Draft
from sway_dash.dash.looks import LONGEST, Looks
from sway_dash.dash.nav import Nav, read_query, to_query
from sway_dash.dash.pages.ablation import AblationPage
from sway_dash.dash.pages.log import LogView
from sway_dash.dash.pages.null import NullPage
from sway_dash.dash.pages.probe import ProbePage
from sway_dash.dash.pages.prompts import PromptsPage
from sway_dash.dash.pages.trace import TraceView
from sway_dash.dash.probing import Probing
from sway_dash.dash.state import RunState, Selection

CHOSEN: dict[str, dict[str, Any]] = {
    "trace": {"over": "calls", "within": (0.5, 2.25), "of": "next_token", "view": "ft", "op": "next_token_dist"},
    "ablation": {"relative": True},
    "null": {"whole": False},
    "log": {"level": "warning", "find": "a = b & c"},
    "prompts": {"linear": True, "colour": "delta", "own": True, "tokens": "kl"},
    "probe": {"of": "draft", "text": "Where?\nHere & there", "lam": 0.35},
}

FOUND = ("of",)
"""Choices that a page makes itself once it knows what there is, as long as nobody has made another."""


@pytest.fixture(scope="module")
def run() -> RunState:
    found = RunState()
    found.open(runs.find(runs.DEMO))
    return found


def page_of(name: str, run: RunState) -> Any:
    both = {"run": run, "choice": Selection()}
    makers: dict[str, Callable[[], Any]] = {
        "trace": lambda: TraceView(**both),
        "ablation": lambda: AblationPage(**both),
        "null": lambda: NullPage(**both),
        "log": lambda: LogView(**both),
        "prompts": lambda: PromptsPage(**both),
        "probe": lambda: ProbePage(run=run, draft=Draft(), probing=Probing()),
    }
    return makers[name]()


def chosen(page: Any) -> dict[str, Any]:
    return {key: getattr(owner, name) for key, (owner, name) in page.look.items() if key not in FOUND}


@pytest.mark.parametrize("name", CHOSEN)
def test_what_is_chosen_on_a_page_is_found_again_by_its_address(name: str, run: RunState) -> None:
    addresses: list[str] = []

    def follow() -> None:
        addresses.append(to_query(Nav(page=name), Selection(), CompareState(), looks.query(name)))

    looks, page = Looks(follow), page_of(name, run)
    looks.take(name, page)
    usual = chosen(page)
    for key, value in CHOSEN[name].items():
        owner, parameter = page.look[key]
        assert getattr(owner, parameter) != value
        setattr(owner, parameter, value)
    assert chosen(page) == usual | {k: v for k, v in CHOSEN[name].items() if k not in FOUND}

    asked = read_query(addresses[-1])
    other, again = Looks(lambda: None), page_of(name, run)
    other.ask(asked["nav"]["page"], asked["look"])
    other.take(name, again)
    assert {key: getattr(*again.look[key]) for key in CHOSEN[name]} == CHOSEN[name]
    # An address that says nothing, such as that of Back, is of the page as it is at first.
    other.ask(name, {})
    other.take(name, again)
    assert chosen(again) == usual
    # Turning pages by hand leaves them as they are looked at.
    looks.take(name, page)
    assert {key: getattr(*page.look[key]) for key in CHOSEN[name]} == CHOSEN[name]


@pytest.mark.parametrize(
    "nonsense",
    [
        {"over": "sideways", "within": "2:1", "of": "not there", "view": "x", "op": "y"},
        {"within": "nan:inf"},
        {"within": "1:2:3"},
        {"within": "soon"},
    ],
)
def test_nonsense_is_left_out(nonsense: dict[str, str], run: RunState) -> None:
    looks, page = Looks(lambda: None), page_of("trace", run)
    looks.ask("trace", nonsense)
    looks.take("trace", page)
    assert (page.axis, page.window, page.probe, page.view, page.op) == ("time", None, "", "", "")
    assert not any(looks.query("trace")[key] for key in ("within", "of", "view", "op"))
    page.param.trigger("axis")


def test_what_the_run_does_not_have_is_left_out(run: RunState) -> None:
    looks = Looks(lambda: None)
    for name in ("ablation", "null"):
        page = page_of(name, run)
        looks.ask(name, {"of": "not there"})
        looks.take(name, page)
        assert looks.query(name)["of"] != "not there"
    page = page_of("trace", run)
    for asked in ("1e6:2e6", "-5:1e6"):
        looks.ask("trace", {"within": asked})
        looks.take("trace", page)
        assert page.window is None
    looks.ask("trace", {"within": "0.5:1e6"})
    looks.take("trace", page)
    assert page.window == (0.5, page._span(page._table())[1])


def test_the_address_is_said_again_once_a_page_is_laid_out(run: RunState) -> None:
    said: list[dict[str, str]] = []
    looks, page = Looks(lambda: said.append(looks.query("trace"))), page_of("trace", run)
    looks.take("trace", page)
    page.op = page._selects["op"].options and list(page._selects["op"].options.values())[1]
    assert said[-1]["op"]
    with param.parameterized.discard_events(page):
        page.op = ""
    looks.take("trace", page)
    assert said[-1]["op"] == ""


def test_the_fields_of_a_page_show_what_its_address_says(run: RunState) -> None:
    looks = Looks(lambda: None)
    asked = {"log": {"level": "error", "find": "stopped"}, "probe": {"text": "A prompt", "lam": "0.5", "of": "draft"}}
    pages = {name: page_of(name, run) for name in asked}
    for name, given in asked.items():
        looks.ask(name, given)
        looks.take(name, pages[name])
    assert (pages["log"]._level.value, pages["log"]._query.value_input) == ("error", "stopped")
    probe = pages["probe"]
    assert (probe._text.value, probe._lam.value, probe._source.value) == ("A prompt", 0.5, "draft")
    looks.ask("probe", {"lam": "99"})
    looks.take("probe", probe)
    assert probe._lam.value == 1.0


def test_a_long_prompt_stays_out_of_the_address(run: RunState) -> None:
    looks, page = Looks(lambda: None), page_of("probe", run)
    looks.take("probe", page)
    page.probing.text = "x" * LONGEST
    assert looks.query("probe")["text"] == "x" * LONGEST
    page.probing.text += "x"
    assert looks.query("probe")["text"] == ""
    # Back to the page, whose address could not say it, does not take it away.
    looks.ask("probe", {})
    looks.take("probe", page)
    assert page.probing.text == "x" * (LONGEST + 1)


def test_a_zoom_late_in_a_long_run_is_in_its_address() -> None:
    class Zoomed(param.Parameterized):
        within = param.Range(default=None)

    page, looks = Zoomed(), Looks(lambda: None)
    page.look = {"within": (page, "within")}  # type: ignore[attr-defined]
    looks.take("trace", page)
    page.within = (20000.01234, 20000.0421)
    given = looks.query("trace")
    assert given == {"within": "20000.01234:20000.04210"}
    page.within = None
    looks.ask("trace", given)
    looks.take("trace", page)
    assert page.within == pytest.approx((20000.01234, 20000.0421), abs=1e-9)
