"""What the keys do: names of actions (see ``browser.KEYS``) to what happens in a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sway_dash.dash.nav import RUN_PAGES

if TYPE_CHECKING:
    from sway_dash.dash.app import App


def press(app: App, what: str) -> None:
    """Do what a key stands for; a key that means nothing on this page does nothing."""
    kind, _, value = what.partition(":")
    if kind == "page":
        app.go("page", value)
    elif kind == "help":
        app.help.open = not app.help.open
    elif kind == "palette":
        app.palette.open = True
    elif kind == "theme":
        app.browser.theme = "light" if app.page.dark_theme else "dark"
    elif kind == "copy":
        app.browser.copied = ""
        app.browser.copied = f"{app.origin()}?{app.query()}"
    elif kind == "metric":
        app.choice.metric = "kl" if app.choice.metric == "js" else "js"
    elif kind == "back":
        _back(app)
    elif kind == "hold":
        if app.nav.page in RUN_PAGES:
            app.hold()
    elif kind == "stop":
        if app.nav.page in RUN_PAGES and app.run.live:
            app.bar.param.trigger("cancel")
    else:
        _page_key(app, kind)


def _back(app: App) -> None:
    """Close what is open, the innermost first."""
    if app.help.open or app.palette.open or app.export.open:
        app.help.open = app.palette.open = app.export.open = False
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
