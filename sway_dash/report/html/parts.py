"""Pieces of a report's HTML: sections, tables, legends, figures. They know the theme, not the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sway_dash.figures.theme import esc

SIGNS = ("bar", "hatch", "line", "dash", "dot")


def section(name: str, title: str, inner: str, *, caption: str = "", css_class: str = "") -> str:
    """A part of the page that can be linked to by ``name``; ``caption`` is HTML."""
    below = f'<p class="sway-caption">{caption}</p>' if caption else ""
    head = f'<h2 class="sway-h1" id="{name}-head">{esc(title)}</h2>{below}'
    return f'<section id="{name}" class="{css_class}" aria-labelledby="{name}-head">{head}{inner}</section>'


def heading(text: str, caption: str = "") -> str:
    """Head of a part of a section; ``caption`` is HTML."""
    below = f'<p class="sway-caption">{caption}</p>' if caption else ""
    return f'<h3 class="sway-h2">{esc(text)}</h3>{below}'


def figure(name: str, *, css_class: str = "") -> str:
    """Where a figure is drawn."""
    return f'<div class="figure {css_class}" id="figure-{name}" data-figure="{name}"></div>'


def words(name: str, text: str = "") -> str:
    """A caption that scripts may replace; ``text`` is HTML."""
    return f'<div class="words" data-words="{name}">{text}</div>'


def caption(text: str) -> str:
    """A sentence in small letters; ``text`` is plain."""
    return f'<p class="sway-caption">{esc(text)}</p>' if text else ""


def toned(tone: str, css_class: str, inner: str, *, tag: str = "div") -> str:
    """A box in the colour of a token."""
    return f'<{tag} class="{css_class}" style="--tone: var(--sway-{tone})">{inner}</{tag}>'


def legend(*entries: tuple[str, str, str]) -> str:
    """Legend from (sign, token, words); a sign is a character or one of :data:`SIGNS`."""
    found = []
    for sign, tone, text in entries:
        mark = f'<i class="sway-{sign}"></i>' if sign in SIGNS else f"<i>{sign}</i>"
        found.append(f'<span style="--tone: var(--sway-{tone})">{mark}{esc(text)}</span>')
    return f'<div class="sway-legend" aria-hidden="true">{"".join(found)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = (), css_class: str = "") -> str:
    """Table of cells that are HTML already; columns in ``right`` are numbers."""
    klass = [' class="sway-right"' if i in right else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{klass[i]}>{esc(h)}</th>' for i, h in enumerate(head))
    lines = "".join("<tr>" + "".join(f"<td{klass[i]}>{c}</td>" for i, c in enumerate(row)) + "</tr>" for row in rows)
    whole = f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody>"
    return f'<div class="sway-scroll" tabindex="0"><table class="sway-table {css_class}">{whole}</table></div>'


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
