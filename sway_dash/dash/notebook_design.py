"""How a notebook's view looks: its colours, the few widgets of Panel's own, and nothing that is fetched."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any, ClassVar

from bokeh.document import Document
from panel.io.resources import CDN_DIST, DIST_DIR, LOCAL_DIST
from panel.io.state import state
from panel.theme.base import Design, Theme
from panel.viewable import Viewable

from sway_dash.figures.theme import DARK, LIGHT, Tokens


def keep_local(root: Viewable) -> None:
    """Let style sheets that Panel sends again with every change of a text come from themselves, not from a CDN."""
    for model, _ in root._models.values():
        if model.document is not None:
            keep_local_in(model.document)


def keep_local_in(document: Document) -> None:
    """The same for everything that a document shows from now on."""
    kept = state._stylesheets.get(document, {})
    for url, sheet in list(kept.items()):
        name = str(url).split("?")[0].removeprefix(CDN_DIST).removeprefix(LOCAL_DIST)
        path = DIST_DIR / name
        if path.is_file():
            text = base64.b64encode(path.read_bytes()).decode("ascii")
            sheet.url = f"data:text/css;base64,{text}"
            # Asked for under either address, depending on whether a cell is being rendered.
            kept[CDN_DIST + name] = kept[LOCAL_DIST + name] = sheet


class _Plain(Theme):
    """No style sheets and no Bokeh theme."""

    _name: ClassVar[str] = "default"


class Plain(Design):
    """Panel's components as they are.

    The design of the dashboard would wrap everything into a script of a megabyte and a half, kept in the notebook, and
    every other one asks the network for its style sheets again whenever something is shown anew.
    """

    modifiers: ClassVar[dict[Any, dict[str, Any]]] = {Viewable: {"stylesheets": []}}
    _themes: ClassVar[dict[str, type[Theme]]] = {"default": _Plain, "dark": _Plain}


WIDGETS = """
:host { --surface-color: var(--mui-palette-sway_surface-main); font-family: inherit; }
.bk-input, .bk-input:disabled { background-color: var(--mui-palette-sway_surface-main); font-size: 13px;
  color: var(--mui-palette-sway_ink-main); border: 1px solid var(--mui-palette-sway_rule-main); }
.bk-input-group > label, label { color: var(--mui-palette-sway_muted-main); font-size: 12.5px; }
.bk-input option { background-color: var(--mui-palette-sway_surface-main); color: var(--mui-palette-sway_ink-main); }
.bk-btn { font-size: 13px; background: var(--mui-palette-sway_raised-main); color: var(--mui-palette-sway_ink-main);
  border: 1px solid var(--mui-palette-sway_rule-main); box-shadow: none; }
:host(.solid) .bk-btn.bk-btn-primary { background: var(--mui-palette-sway_accent-main);
  color: var(--mui-palette-sway_surface-main); border-color: var(--mui-palette-sway_accent-main); }
.bk-btn:focus-visible, .bk-input:focus-visible { outline: 2px solid var(--mui-palette-sway_accent-main); }
.bk-btn:disabled, :host(.solid) .bk-btn.bk-btn-primary:disabled { background: var(--mui-palette-sway_raised-main);
  color: var(--mui-palette-sway_muted-main); opacity: .7; }
"""
"""The few widgets of Panel's own that are used here, in our colours."""


def colours() -> str:
    """Style sheet with every token as a variable, for both themes; shadow roots inherit them from the page."""

    def block(t: Tokens) -> str:
        return " ".join(f"--mui-palette-sway_{name}-main: {value};" for name, value in asdict(t).items())

    return f':root {{ {block(LIGHT)} }}\n:root[data-sway-theme="dark"] {{ {block(DARK)} }}'
