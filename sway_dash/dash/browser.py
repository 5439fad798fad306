"""What only the browser can do for us: keys, history, the system's theme, a lost connection. One component a session.

It shows nothing. Text that comes back from the browser is not trusted; text that goes there is never HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC

COOKIE = "sway_theme"
"""Says ``dark`` or ``light``, so that the next page is served in the right colours."""

KEYS: tuple[tuple[str, str, str], ...] = (
    ("?", "help", "this list"),
    ("Ctrl K", "palette", "go to a page, run or prompt"),
    ("/", "search", "search prompts"),
    ("j", "next", "next prompt"),
    ("k", "previous", "previous prompt"),
    ("ArrowRight", "next_token", "next token of the open prompt"),
    ("ArrowLeft", "previous_token", "previous token"),
    ("Enter", "open", "open the first prompt shown"),
    ("Escape", "back", "close the prompt, then clear the filters"),
    ("1", "page:overview", "Overview"),
    ("e", "page:evidence", "Evidence"),
    ("2", "page:prompts", "Prompts"),
    ("3", "page:ablation", "Ablation"),
    ("4", "page:null", "Null"),
    ("5", "page:trace", "Trace"),
    ("6", "page:log", "Log"),
    ("g", "page:runs", "Runs"),
    ("n", "page:new", "New run"),
    ("m", "page:compare", "Compare"),
    ("p", "page:probe", "Probe"),
    ("l", "metric", "JS or KL"),
    ("[", "previous_run", "previous run being compared"),
    ("]", "next_run", "next run being compared"),
    ("b", "baseline", "make this run the baseline"),
    ("x", "mark", "compare the open run, or no longer"),
    ("s", "star", "make the open run the baseline, or no longer"),
    ("a", "add", "add the prompt of Probe to the suite"),
    ("t", "theme", "light or dark"),
    ("c", "copy", "copy a link to what is on the screen"),
    ("Ctrl Enter", "run", "start the run of the form"),
    ("f", "hold", "hold what is shown while a run goes on, or follow it again"),
    (".", "stop", "stop the run; asks first"),
)
"""Key as shown, what it does, in words. Single letters can be turned off; see the help."""


class Browser(JSComponent):
    """Bridge to the page. ``say`` is called with every message of the browser: ``{"type": ...}``."""

    address = param.Dict(
        default={},
        doc="query: that of the address bar, without ?; push: one can go back from here; turns: Back heard so often.",
    )
    theme = param.String(default="", doc="Theme the reader has chosen here; empty: the system's.")
    copied = param.String(default="", doc="Text to put on the clipboard.")
    letters = param.Boolean(default=True, doc="Single letters are keys.")
    bound = param.Dict(default={key.replace("Ctrl ", "Mod+"): what for key, what, _ in KEYS})

    _esm = STATIC / "browser.js"

    def __init__(self, say: Callable[[Mapping[str, Any]], None] | None = None, **params: Any) -> None:
        super().__init__(width=0, height=0, margin=0, sizing_mode="fixed", **params)
        self._say = say

    def listen(self, say: Callable[[Mapping[str, Any]], None]) -> None:
        """Who hears what the browser says."""
        self._say = say

    def _handle_msg(self, data: Any) -> None:
        if self._say is not None and isinstance(data, dict):
            self._say(data)
