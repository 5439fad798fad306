"""Where a session is: the page, the run, what is compared, which draft; and all of that as an address. No Panel.

The address holds the whole state, defaults left out where they cannot drift: page, run, and the choices in the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode

import param

from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.state import Selection
from sway_dash.suite.comparison import MAX_RUNS

RUN_PAGES = ("overview", "evidence", "prompts", "ablation", "null", "trace", "log")
"""Pages about the open run, in the order of their tabs."""

PAGES = ("runs", "new", *RUN_PAGES, "compare", "probe")

TITLES = {
    "overview": "Overview",
    "evidence": "Evidence",
    "prompts": "Prompts",
    "ablation": "Ablation",
    "null": "Null",
    "trace": "Trace",
    "log": "Log",
    "runs": "Runs",
    "new": "New run",
    "compare": "Compare",
    "probe": "Probe",
}

VERSION = "1"

OF_PAGE = "l."
"""What the keys of a page's own choices begin with, see :mod:`sway_dash.dash.looks`."""


class Nav(param.Parameterized):
    """Where a session is."""

    page: str = param.Selector(default="overview", objects=list(PAGES))  # type: ignore[assignment]
    run = param.String(default="", doc="Address of the open run.")
    draft = param.String(default="", doc="Id of the draft on the New run page.")


def to_query(nav: Nav, choice: Selection, compare: CompareState, look: Mapping[str, str] | None = None) -> str:
    """The address of what is on the screen, as the query of a URL without its question mark.

    ``look`` is what the page itself says of how it is looked at, in keys of its own.
    """
    found: dict[str, str | list[str]] = {"v": VERSION, "page": nav.page}
    if nav.run:
        found["run"] = nav.run
    if nav.page == "compare":
        found |= _compared(compare)
    if nav.page == "new" and nav.draft:
        found["draft"] = nav.draft
    if nav.page in RUN_PAGES:
        found |= _choices(choice)
    found |= {f"{OF_PAGE}{key}": value for key, value in (look or {}).items()}
    return urlencode({k: v for k, v in found.items() if v}, doseq=True, safe=",:/", errors="replace")


def read_query(query: str) -> dict[str, Any]:
    """What an address asks for: parameters of :class:`Nav`, ``Selection`` and ``CompareState`` under ``nav``,
    ``choice`` and ``compare``; under ``look`` what is for the page alone.

    What is not understood is left out: an address comes from outside.
    """
    every = parse_qs(query.lstrip("?"), keep_blank_values=True)
    given = {k: v[0] for k, v in every.items()}
    # A run was once named alone, and quoted as JSON; tags were once one value with commas.
    given["run"] = given.get("run", "").strip("\"'")
    tags = [t for t in every.get("tag", given.get("tags", "").split(",")) if t]
    nav: dict[str, Any] = {}
    if given.get("page") in PAGES:
        nav["page"] = given["page"]
    for name in ("run", "draft"):
        if given.get(name):
            nav[name] = given[name]
    choice = {**_read_choices(given), "tags": tags}
    compare: dict[str, Any] = {}
    if "runs" in given:
        compare = {name: choice[name] for name in ("metric", "probe", "tags", "query", "regex", "item")}
        compare["runs"] = [r for r in given["runs"].split(",") if r][:MAX_RUNS]
        compare |= {"baseline": given.get("base", ""), "focus": given.get("focus", "")}
        compare |= {"outside": given.get("outside") == "1", "sort": given.get("by", "")}
    look = {key.removeprefix(OF_PAGE): value for key, value in given.items() if key.startswith(OF_PAGE)}
    return {"nav": nav, "choice": choice, "compare": compare, "look": look}


def _compared(state: CompareState) -> dict[str, str | list[str]]:
    return {
        "runs": ",".join(state.runs),
        "base": state.baseline,
        "focus": state.focus,
        "probe": state.probe,
        "x": state.metric,
        "tag": state.tags,
        "q": state.query,
        "re": "1" if state.regex else "",
        "outside": "1" if state.outside else "",
        "by": state.sort,
        "p": str(state.item + 1) if state.item is not None else "",
    }


COMPARED = ("runs", "baseline", "focus", "probe", "metric", "tags", "query", "regex", "outside", "sort", "item")
"""Choices of a comparison that an address carries."""


def _choices(choice: Selection) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = {
        "e": choice.entry,
        "probe": choice.probe,
        "x": choice.metric,
        "sort": choice.sort if choice.sort != "auto" else "",
        "tag": choice.tags,
        "q": choice.query,
        "re": "1" if choice.regex else "",
        "status": choice.status,
        "least": repr(float(choice.least)) if choice.least else "",
        # A long brushed set would not fit into an address.
        "sel": ",".join(map(str, choice.picked)) if len(choice.picked) <= MAX_PICKED else "",
        "p": str(choice.item + 1) if choice.item is not None else "",
        "t": str(choice.token) if choice.token is not None else "",
    }
    return {k: v for k, v in found.items() if v}


MAX_PICKED = 50


def _read_choices(given: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: Selection.param[name].default for name in SHARED}
    found["entry"], found["probe"] = given.get("e", ""), given.get("probe", "")
    found["query"] = given.get("q", "")
    found["regex"] = given.get("re") == "1"
    for name, key, allowed in (
        ("metric", "x", ("js", "kl")),
        ("sort", "sort", Selection.param["sort"].objects),
        ("status", "status", ("above", "inside")),
    ):
        if given.get(key) in allowed:
            found[name] = given[key]
    found["least"] = max(0.0, _number(given.get("least")) or 0.0)
    found["picked"] = [int(n) for n in given.get("sel", "").split(",") if n.isdecimal() and len(n) < 10]
    item, token = _number(given.get("p")), _number(given.get("t"))
    found["item"] = int(item) - 1 if item and item >= 1 else None
    found["token"] = int(token) if token is not None and token >= 0 else None
    return found


SHARED = ("entry", "probe", "metric", "sort", "tags", "query", "regex", "status", "least", "picked", "item", "token")
"""Choices that an address carries."""


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None
