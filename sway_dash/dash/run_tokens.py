"""The runs of a comparison as tokens in a row. Names are untrusted; what is pressed is said to the owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.theme import STATIC, css

_STYLE = (STATIC / "run_tokens.css").read_text(encoding="utf-8")

ACTIONS = ("baseline", "show", "left", "right", "open", "remove")


class RunTokens(JSComponent):
    """``act`` is called with one of :data:`ACTIONS` and the address of the run."""

    items = param.List(default=[], doc="Lists of address, letter, name, state, is the baseline, is shown.")
    label = param.String(default="Runs being compared")

    _esm = STATIC / "run_tokens.js"

    def __init__(self, act: Callable[[str, str], None], **params: Any) -> None:
        super().__init__(margin=0, stylesheets=[css(), _STYLE], **params)
        self._act = act

    def offer(self, tokens: Sequence[Sequence[Any]]) -> None:
        """Show these runs; nothing is sent when they are the same."""
        items = [list(token) for token in tokens]
        if items != self.items:
            self.items = items

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict) or data.get("what") not in ACTIONS:
            return
        if data.get("run") in [item[0] for item in self.items]:
            self._act(str(data["what"]), str(data["run"]))
