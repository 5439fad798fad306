"""How single pages are looked at, as part of the address: a stretch of time, a scale, a filter of lines. No Panel.

A page that has such choices names them in ``look``: key of the address → the object that holds one, and its parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import param

Look = dict[str, tuple[param.Parameterized, str]]

LONGEST = 1000
"""Characters of a text that go into an address; a longer one is left out."""


class Looks:
    """Gives pages what an address asked for when they are laid out, and says when they are looked at otherwise."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._known: dict[str, Look] = {}
        self._silent = False
        self._asked: tuple[str, Mapping[str, str]] = ("", {})

    def ask(self, page: str, given: Mapping[str, str]) -> None:
        """An address was opened: what it does not say is as usual."""
        self._asked = (page, given)

    def take(self, page: str, view: Any) -> None:
        """A page has been laid out: it is looked at as was asked for, and followed from now on."""
        look: Look = getattr(view, "look", {})
        asked, given = self._asked
        if asked == page:
            self._asked = ("", {})
            # Not said again: meanwhile the reader may have gone on to another address.
            self._silent = True
            try:
                for key, (owner, name) in look.items():
                    wanted, is_now = read(owner.param[name], given.get(key, "")), getattr(owner, name)
                    if isinstance(is_now, str) and len(is_now) > LONGEST and key not in given:
                        # The address leaves out what is so long; it is not to be lost.
                        continue
                    if wanted != is_now:
                        setattr(owner, name, wanted)
            finally:
                self._silent = False
        if page not in self._known:
            self._known[page] = look
            for owner, name in look.values():
                owner.param.watch(lambda _: self._say(), name)
        # A page lets go of what its run does not have.
        self._changed()

    def _say(self) -> None:
        if not self._silent:
            self._changed()

    def query(self, page: str) -> dict[str, str]:
        """What the address says of a page."""
        return {
            key: said(owner.param[name], getattr(owner, name))
            for key, (owner, name) in self._known.get(page, {}).items()
        }


def said(parameter: param.Parameter[Any], value: Any) -> str:
    """A choice in the address; empty where nothing is chosen."""
    if isinstance(parameter, param.Boolean):
        return "1" if value else "0"
    if value is None or isinstance(value, str):
        return value if value and len(value) <= LONGEST else ""
    if isinstance(parameter, param.Range):
        # Exact to a thousandth of the stretch, however late in a run it lies.
        digits = max(0, 3 - math.floor(math.log10(value[1] - value[0]))) if value[0] < value[1] else 0
        return ":".join(f"{end:.{digits}f}" for end in value)
    return f"{value:g}"


def read(parameter: param.Parameter[Any], text: str) -> Any:
    """The choice an address means; the usual one where it says nothing that could be meant."""
    usual = parameter.default
    if isinstance(parameter, param.Boolean):
        return text == "1" if text in ("0", "1") else usual
    if isinstance(parameter, param.Selector):
        return text if text in parameter.objects else usual
    if isinstance(parameter, param.Range | param.Number):
        try:
            ends = tuple(map(float, text.split(":")))
        except ValueError:
            return usual
        if not all(map(math.isfinite, ends)):
            return usual
        if isinstance(parameter, param.Range):
            return ends if len(ends) == 2 and ends[0] < ends[1] else usual
        least, most = parameter.bounds or (None, None)
        inside = (least is None or least <= ends[0]) and (most is None or ends[0] <= most)
        return ends[0] if len(ends) == 1 and inside else usual
    return text[:LONGEST] or usual
