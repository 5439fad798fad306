"""HTML that pages and reports share: boxes, legends, tables. It knows the theme, not the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sway_dash.figures.theme import esc, var

SIGNS = ("bar", "hatch", "line", "dash", "dot", "dashdot")


def heading(text: str, caption: str = "", *, level: int = 2) -> str:
    """Head of a part; ``caption`` is HTML."""
    below = f'<p class="sway-caption">{caption}</p>' if caption else ""
    return f'<h{level} class="sway-h2">{esc(text)}</h{level}>{below}'


def headed(text: str, marks: str) -> str:
    """Head of a picture with its legend, beside it where there is room."""
    return f'<div class="sway-headed">{heading(text)}{marks}</div>'


def toned(tone: str, css_class: str, inner: str, *, tag: str = "div", role: str = "") -> str:
    """A box in the colour of a token; ``inner`` is HTML."""
    attr = f' role="{role}"' if role else ""
    return f'<{tag} class="{css_class}"{attr} style="--tone: {var(tone)}">{inner}</{tag}>'


def legend(*entries: tuple[str, str, str]) -> str:
    """Legend from (sign, token, words); a sign is a character or one of :data:`SIGNS`."""
    parts = []
    for sign, tone, words in entries:
        mark = f'<i class="sway-{sign}"></i>' if sign in SIGNS else f"<i>{sign}</i>"
        parts.append(f'<span style="--tone: {var(tone)}">{mark}{esc(words)}</span>')
    return f'<div class="sway-legend" aria-hidden="true">{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = (), css_class: str = "") -> str:
    """Table of cells that are HTML already; columns in ``right`` are numbers."""
    klass = [' class="sway-right"' if i in right else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{klass[i]}>{esc(h)}</th>' for i, h in enumerate(head))
    lines = "".join("<tr>" + "".join(f"<td{klass[i]}>{c}</td>" for i, c in enumerate(row)) + "</tr>" for row in rows)
    whole = f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody>"
    names = f"sway-table {css_class}".strip()
    return f'<div class="sway-scroll" tabindex="0"><table class="{names}">{whole}</table></div>'
