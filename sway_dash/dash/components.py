"""Small building blocks of the pages: HTML panes, sections, tables, grids. They know the theme, not the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import panel as pn
from bokeh.models import Model

from sway_dash.dash import locking  # noqa: F401 - events of everything built here hold the lock
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import css, esc, var

GRID = """
:host(.sway-grid) { display: grid !important; grid-template-columns: minmax(0, 7fr) minmax(0, 5fr); gap: 20px 28px;
  width: 100%; align-items: start; grid-auto-rows: max-content; flex: none !important; height: auto !important; }
:host(.sway-even) { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
@media (max-width: 960px) { :host(.sway-grid) { grid-template-columns: minmax(0, 1fr); } }
"""

BODY = ":host(.sway-body) { padding: 14px clamp(12px, 2.2vw, 32px) 48px; gap: 18px; max-width: 1680px; }"


HIDDEN_LABEL = """.MuiFormLabel-root { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }"""
"""For groups of buttons that say on themselves what they are for; screen readers still get the label."""


def html(text: str = "", **params: Any) -> pn.pane.HTML:
    """A pane of our own HTML; whatever is untrusted in it has been escaped with ``theme.esc``."""
    defaults = {"sizing_mode": "stretch_width", "margin": 0, "stylesheets": [css()]}
    return pn.pane.HTML(text, **{**defaults, **params})


def figure(plot: Plot, **params: Any) -> pn.pane.Bokeh:
    """A pane for a plot; its text alternative is in the figure and in the caption below."""
    return pn.pane.Bokeh(plot.figure, sizing_mode="stretch_width", margin=0, **params)


def column(*items: Any, gap: int = 6, **params: Any) -> pn.Column:
    """Items below each other."""
    own = [f":host {{ gap: {gap}px; }}", *params.pop("stylesheets", [])]
    return pn.Column(*items, sizing_mode="stretch_width", margin=0, stylesheets=own, **params)


def grid(*items: Any, even: bool = False) -> pn.Column:
    """Two columns where there is room, else one."""
    return pn.Column(
        *items,
        sizing_mode="stretch_width",
        margin=0,
        css_classes=["sway-grid", *(["sway-even"] if even else [])],
        stylesheets=[GRID],
    )


def body(*items: Any) -> pn.Column:
    """A page below the tabs."""
    return pn.Column(*items, sizing_mode="stretch_width", margin=0, css_classes=["sway-body"], stylesheets=[BODY])


def heading(text: str, caption: str = "") -> str:
    """HTML of a section's head."""
    below = f'<p class="sway-caption">{caption}</p>' if caption else ""
    return f'<h2 class="sway-h2">{esc(text)}</h2>{below}'


def toned(tone: str, css_class: str, inner: str, *, tag: str = "div", role: str = "") -> str:
    """HTML box in the colour of a token."""
    attr = f' role="{role}"' if role else ""
    return f'<{tag} class="{css_class}"{attr} style="--tone: {var(tone)}">{inner}</{tag}>'


SIGNS = ("bar", "hatch", "line", "dash", "dot")


def legend(*entries: tuple[str, str, str]) -> str:
    """HTML legend from (sign, token, words); a sign is a character or one of :data:`SIGNS`."""
    parts = []
    for sign, tone, words in entries:
        mark = f'<i class="sway-{sign}"></i>' if sign in SIGNS else f"<i>{sign}</i>"
        parts.append(f'<span style="--tone: {var(tone)}">{mark}{esc(words)}</span>')
    return f'<div class="sway-legend" aria-hidden="true">{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """HTML table of cells that are HTML already; columns in ``right`` are numbers."""
    klass = ['class="sway-right"' if i in right else "" for i in range(len(head))]
    top = "".join(f'<th scope="col" {klass[i]}>{esc(h)}</th>' for i, h in enumerate(head))
    lines = "".join("<tr>" + "".join(f"<td {klass[i]}>{c}</td>" for i, c in enumerate(row)) + "</tr>" for row in rows)
    body_rows = f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody>"
    return f'<div class="sway-scroll" tabindex="0"><table class="sway-table">{body_rows}</table></div>'


def set_html(pane: pn.pane.HTML, text: str) -> None:
    """Give a pane its text, but say nothing to the browser when it is the same."""
    if pane.object != text:
        pane.object = text


def set_data(source: Model, columns: dict[str, list[Any]]) -> None:
    """Replace all columns of a source."""
    source.data = columns
