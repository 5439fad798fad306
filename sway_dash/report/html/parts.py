"""Pieces of a report's HTML: sections, figures, controls. They know the theme, not the data."""

from __future__ import annotations

from collections.abc import Sequence

from sway_dash.figures import markup
from sway_dash.figures.theme import esc


def section(name: str, title: str, inner: str, *, caption: str = "", css_class: str = "") -> str:
    """A part of the page that can be linked to by ``name``; ``caption`` is HTML."""
    below = f'<p class="sway-caption">{caption}</p>' if caption else ""
    head = f'<h2 class="sway-h1" id="{name}-head">{esc(title)}</h2>{below}'
    return f'<section id="{name}" class="{css_class}" aria-labelledby="{name}-head">{head}{inner}</section>'


def heading(text: str, caption: str = "") -> str:
    """Head of a part of a section; ``caption`` is HTML."""
    return markup.heading(text, caption, level=3)


def figure(name: str, *, css_class: str = "") -> str:
    """Where a figure is drawn."""
    return f'<div class="figure {css_class}" id="figure-{name}" data-figure="{name}"></div>'


def words(name: str, text: str = "") -> str:
    """A caption that scripts may replace; ``text`` is HTML."""
    return f'<div class="words" data-words="{name}">{text}</div>'


def caption(text: str) -> str:
    """A sentence in small letters; ``text`` is plain."""
    return f'<p class="sway-caption">{esc(text)}</p>' if text else ""


def folded(title: str, inner: str, *, css_class: str = "") -> str:
    """Something that opens on a click."""
    return f'<details class="{css_class}"><summary>{esc(title)}</summary>{inner}</details>'


def exact(shown: str, value: float | None) -> str:
    """A number as it is shown, with all its digits for those who point at it."""
    full = "" if value is None else f' title="{value!r}" data-value="{value!r}"'
    return f'<span class="sway-num"{full}>{esc(shown)}</span>'


def choices(name: str, label: str, options: Sequence[tuple[str, str]], *, hidden: bool = False) -> str:
    """A menu; ``options`` are (value, words). One that offers nothing to choose from is not shown."""
    found = "".join(f'<option value="{esc(value)}">{esc(text)}</option>' for value, text in options)
    off = " hidden" if hidden or len(options) < 2 else ""
    return f'<label class="control"{off}>{esc(label)} <select data-choice="{name}">{found}</select></label>'
