"""What the keys do: names of actions (see ``browser.KEYS``) to what happens in a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sway_dash.core.errors import SwayError
from sway_dash.dash import run_edits, runs
from sway_dash.dash.nav import RUN_PAGES
from sway_dash.dash.telling import tell
from sway_dash.figures.theme import count
from sway_dash.suite.comparison import MAX_RUNS

if TYPE_CHECKING:
    from sway_dash.dash.app import App


def press(app: App, what: str) -> None:
    """Do what a key stands for; a key that means nothing on this page does nothing."""
    kind, _, value = what.partition(":")
    # While another run is being read nothing is to happen to the one before.
    on_run = app.nav.page in RUN_PAGES and not app.opening.waiting
    if kind == "page":
        app.go("page", value)
    elif kind == "help":
        app.help.open = not app.help.open
    elif kind == "palette":
        app.palette.open = True
    elif kind == "theme":
        app.page.dark_theme = not app.page.dark_theme
    elif kind == "copy":
        app.browser.copied = ""
        app.browser.copied = f"{app.origin()}?{app.query()}"
    elif kind == "metric":
        app.choice.metric = "kl" if app.choice.metric == "js" else "js"
    elif kind == "back":
        _back(app)
    elif kind == "hold":
        if on_run:
            app.hold()
    elif kind in ("mark", "star"):
        if on_run and app.nav.run:
            (_mark if kind == "mark" else _star)(app)
    elif on_run and (kind == "stop" or (kind == "open" and app.bar.asking)):
        _stop(app)
    elif on_run or app.nav.page not in RUN_PAGES:
        _page_key(app, kind)


def _mark(app: App) -> None:
    """Compare the open run with others, or no longer."""
    compare, run = app.compare, app.nav.run
    if run in compare.runs:
        compare.remove(run)
    else:
        compare.add(run)
    if run not in compare.runs and len(compare.runs) >= MAX_RUNS:
        tell(f"{MAX_RUNS} runs are compared at a time: leave another one out first.")
        return
    told = "This run is compared" if run in compare.runs else "This run is no longer compared"
    tell(f"{told}; {count(len(compare.runs), 'run')} on the page Compare (M).", tone="info")


def _star(app: App) -> None:
    """Compare others with the open run, or with none."""
    run = "" if runs.baseline() == app.nav.run else app.nav.run
    try:
        run_edits.set_baseline(run)
    except SwayError as error:
        tell(str(error), tone="error")
        return
    tell("This run is the baseline now." if run else "No run is the baseline any more.", tone="info")
    app.bar.param.trigger("demo")


def _stop(app: App) -> None:
    """Ask at first; the second time stop."""
    if not app.run.live:
        return
    if app.bar.asking:
        app.bar.param.trigger("cancel")
    else:
        app.bar.asking = True


def _back(app: App) -> None:
    """Close what is open, the innermost first."""
    if app.help.open or app.palette.open or app.export.open:
        app.help.open = app.palette.open = app.export.open = False
    elif app.bar.asking:
        app.bar.asking = False
    elif app.nav.page == "compare":
        if app.compare.item is not None:
            app.compare.item = None
        else:
            app.compare.clear()
    elif app.choice.item is not None:
        app.choice.param.update(item=None, token=None)
    elif app.choice.picked:
        app.choice.picked = []
    else:
        app.choice.clear()


PAGE_KEYS: dict[str, dict[str, str]] = {
    "prompts": {key: key for key in ("next", "previous", "next_token", "previous_token", "search", "open")},
    "evidence": {"next": "next", "previous": "previous"},
    "new": {"run": "start"},
    "probe": {"next_token": "next_token", "previous_token": "previous_token", "add": "add"},
    "compare": {
        "next_run": "next_run",
        "previous_run": "previous_run",
        "baseline": "set_baseline",
        "search": "focus_search",
    },
}
"""What a key asks for → the method of the page, or of the comparison, that answers."""


def _page_key(app: App, what: str) -> None:
    """Keys that a page answers."""
    if what in ("next", "previous", "next_token", "previous_token", "search", "open") and app.nav.page == "overview":
        app.go("page", "prompts")
        app.lay()
    target: Any = app.compare if what in ("next_run", "previous_run", "baseline") else app.views.get(app.nav.page)
    name = PAGE_KEYS.get(app.nav.page, {}).get(what)
    if name and target is not None:
        getattr(target, name)()
