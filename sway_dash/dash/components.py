"""Small building blocks of the pages: HTML panes, sections, tables, grids. They know the theme, not the data."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
from bokeh.models import HTMLTemplateFormatter, Model

from sway_dash.dash import locking  # noqa: F401 - events of everything built here hold the lock
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import css

_UNUSED = ".scroll-button { display: none !important; }"
"""Panel's columns end with a button of no height that takes a place, and with it a gap."""

WIDTH = "clamp(1680px, 84vw, 3200px)"
"""Pages are no wider, and stand in the middle of what is; the first words (first.css) as well."""

GRID = (
    _UNUSED
    + """
:host(.sway-grid) { display: grid !important; grid-template-columns: minmax(0, 7fr) minmax(0, 5fr); gap: 20px 28px;
  width: 100%; align-items: start; grid-auto-rows: max-content; flex: none !important; height: auto !important;
  max-height: none !important; }
:host(.sway-even) { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
@media (max-width: 960px) { :host(.sway-grid) { grid-template-columns: minmax(0, 1fr); } }
"""
)

BODY = (
    _UNUSED
    + f":host(.sway-body) {{ max-width: {WIDTH}; }}"
    + """
:host(.sway-body) { padding: 14px clamp(12px, 2.2vw, 32px) 48px; gap: 18px; margin: 0 auto !important;
  width: 100% !important; box-sizing: border-box; max-height: none !important; }
@media (max-height: 960px) { :host(.sway-body) { padding-top: 8px; } }
"""
)

BAR = {
    ".MuiAppBar-root": {
        "bgcolor": "background.paper",
        "backgroundImage": "none",
        "color": "text.primary",
        "boxShadow": "none",
        "borderBottom": "1px solid",
        "borderColor": "divider",
    },
    "@media (min-width: 1681px)": {
        ".MuiAppBar-root .MuiToolbar-root": {"paddingInline": f"max(24px, calc(50vw - {WIDTH} / 2 + 8px))"},
    },
    # The notice of a lost connection lies at the foot of the window, not on the page.
    ".main-content": {"boxSizing": "border-box", "borderBottom": "var(--sway-room, 0px) solid transparent"},
    # On a telephone the pages need the room.
    "@media (max-width: 600px)": {
        ".MuiAppBar-root .title": {"display": "none"},
        ".MuiAppBar-root .logo": {"marginRight": "4px"},
        # What does not fit is scrolled: help and theme stay on the screen.
        ".MuiAppBar-root .MuiToolbar-root > .MuiBox-root:not(:first-of-type)": {"minWidth": "0"},
        ".MuiAppBar-root .MuiToolbar-root": {"paddingLeft": "8px", "paddingRight": "8px"},
    },
    # The second is the room that the page leaves for the first.
    "@media (max-height: 960px)": {
        ".MuiAppBar-root .MuiToolbar-root": {"minHeight": "48px"},
        ".main .MuiToolbar-root": {"minHeight": "44px"},
    },
    ".MuiAppBar-root .MuiIconButton-root, .MuiAppBar-root .title": {"color": "text.primary"},
}
"""The head of every page."""

DIALOG = {
    "& .MuiDialog-paper": {"backgroundImage": "none", "border": "1px solid", "borderColor": "divider"},
    "& .MuiIconButton-root": {"color": "text.secondary"},
}
"""A dialog is paper like the page, with an edge; Material's dark one is too light for our lines to be seen on."""

HIDDEN_LABEL = """.MuiFormLabel-root { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }"""
"""For groups of buttons that say on themselves what they are for; screen readers still get the label."""


_TABULATOR = """
:host .tabulator { font-size: 13px !important; border: 0; }
:host .tabulator .tabulator-header { border-bottom-width: 1px; }
:host .tabulator .tabulator-header .tabulator-col { font-weight: 500; border-right: 0;
  color: var(--mui-palette-sway_muted-main); }
:host .tabulator .tabulator-row.tabulator-row-even:not(:hover) { background-color: transparent !important; }
:host .tabulator .tabulator-row .tabulator-cell { border-right: 0; padding: 4px 8px;
  font-variant-numeric: tabular-nums; }
"""
"""Panel's tables look like ours."""


def tabular(*numbers: str, **formatters: Any) -> dict[str, Any]:
    """Options of a table of Panel's; the columns ``numbers`` are written as ``theme.number`` does."""
    whole = "Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : Number(value.toPrecision(3))"
    template = f"<%= value == null || isNaN(value) ? '—' : {whole} %>"
    digits = {name: HTMLTemplateFormatter(template=template) for name in numbers}
    return {"formatters": {**digits, **formatters}, "stylesheets": [_TABULATOR]}


def html(text: str = "", **params: Any) -> pn.pane.HTML:
    """A pane of our own HTML; whatever is untrusted in it has been escaped with ``theme.esc``."""
    defaults = {"sizing_mode": "stretch_width", "margin": 0, "stylesheets": [css()]}
    return pn.pane.HTML(text, **{**defaults, **params})


def figure(plot: Plot, *, fit: str = "", **params: Any) -> pn.pane.Bokeh:
    """A pane for a plot; its text alternative is in the figure and in the caption below.

    ``fit`` is a height as CSS that counts instead of the figure's own where pages have two columns.
    """
    if fit:
        own = f":host {{ height: {fit} !important; flex: 0 0 auto !important; }}"
        plot.figure.stylesheets = [f"@media (min-width: 961px) {{ {own} }}"]
    return pn.pane.Bokeh(plot.figure, sizing_mode="stretch_width", margin=0, **params)


def column(*items: Any, gap: int = 6, **params: Any) -> pn.Column:
    """Items below each other."""
    # Bokeh holds a column to the height of what it stands in, and what follows would lie over a taller one's end.
    own = [f":host {{ gap: {gap}px; max-height: none !important; }} {_UNUSED}", *params.pop("stylesheets", [])]
    return pn.Column(*items, sizing_mode="stretch_width", margin=0, stylesheets=own, **params)


def beside(*items: Any, gap: str = "0 16px", align: str = "center") -> pn.Column:
    """Items in one line where there is room, in several where there is not."""
    own = f":host {{ display: flex !important; flex-flow: row wrap; gap: {gap}; align-items: {align}; }} {_UNUSED}"
    return pn.Column(*items, sizing_mode="stretch_width", margin=0, stylesheets=[own])


def grid(*items: Any, even: bool = False) -> pn.Column:
    """Two columns where there is room, else one."""
    return pn.Column(
        *items,
        sizing_mode="stretch_width",
        margin=0,
        css_classes=["sway-grid", *(["sway-even"] if even else [])],
        stylesheets=[GRID],
    )


def dialog(inner: pn.viewable.Viewable, title: str, width: str = "md", **params: Any) -> pmui.Dialog:
    """A dialog over the page, closed at first; ``width`` is one of Material's."""
    closing = {"open": False, "close_on_click": True, "show_close_button": True}
    return pmui.Dialog(inner, title=title, width_option=width, sx=DIALOG, **{**closing, **params})


def body(*items: Any) -> pn.Column:
    """A page below the tabs."""
    return pn.Column(*items, sizing_mode="stretch_width", margin=0, css_classes=["sway-body"], stylesheets=[BODY])


def set_html(pane: pn.pane.HTML, text: str) -> None:
    """Give a pane its text, but say nothing to the browser when it is the same."""
    if pane.object != text:
        pane.object = text


def set_data(source: Model, columns: dict[str, list[Any]]) -> None:
    """Replace all columns of a source."""
    source.data = columns
