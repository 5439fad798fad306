"""The frame of every report: one file that asks for nothing, with its data inside, in light and dark and on paper.

What a page may do is written in its content security policy: run the scripts it carries, known by their hashes, and
nothing else. Bokeh is one of them; it travels compressed, which halves a small report. Untrusted text reaches the page
as text of elements, or inside the compressed data.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from bokeh.util.paths import bokehjs_path

from sway_dash.core.result import jsonable
from sway_dash.figures.plots.base import Plot
from sway_dash.figures.theme import DARK, LIGHT, Tokens, css, esc, token_css
from sway_dash.report.html.drawing import Drawing, drawings

STATIC = Path(__file__).resolve().parent / "static"
"""Scripts and styles of reports."""


def page(
    title: str,
    body_html: str,
    figures: Mapping[str, Plot | Drawing] | None = None,
    data: Mapping[str, Any] | None = None,
    *,
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
    kicker: str = "",
    nav: Sequence[tuple[str, str]] = (),
) -> str:
    """One self-contained HTML file.

    Parameters
    ----------
    title
        Plain text: the heading and the name of the window.
    body_html
        HTML of the sections; whatever is untrusted in it has been escaped.
    figures
        Drawn where the body holds ``parts.figure(name)``.
    data
        JSON-ready; what ``sway.ready`` hands to scripts.
    scripts
        Names of files of ``static/`` that are run after the frame's own.
    styles
        Names of files of ``static/`` that count after the frame's own.
    kicker
        Plain text above the title.
    nav
        Ids of sections and what their links say.
    """
    found = {"figures": drawings(figures or {}), "data": jsonable(dict(data or {}))}
    code = [script("frame.js"), *(script(name) for name in scripts)]
    links = "".join(f'<a href="#{name}">{esc(text)}</a>' for name, text in nav)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy([_bokeh(), *code])}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{esc(title)}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{_colours()}{css()}{token_css()}{''.join(map(_style, ('report.css', *styles)))}</style>",
            "</head>",
            "<body>",
            '<a class="skip" href="#main">Skip to the report</a>',
            f'<header class="top"><div><p class="sway-kicker">{esc(kicker)}</p><h1>{esc(title)}</h1></div>',
            '<button type="button" class="theme" hidden>Dark</button></header>',
            f'<nav class="parts" aria-label="Sections">{links}</nav>' if links else "",
            f'<main id="main">{body_html}</main>',
            "<noscript><p class='sway-empty'>Plots, table and filters need JavaScript.</p></noscript>",
            f'<script type="application/gzip" id="sway-data">{packed(found)}</script>',
            f'<script type="application/gzip" id="sway-bokeh">{_library()}</script>',
            *(f"<script>{text}</script>" for text in code),
            "</body>",
            "</html>\n",
        ]
    )


def packed(value: Any) -> str:
    """JSON, compressed, in letters; the same value gives the same letters."""
    return _letters(json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")))


def _letters(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)).decode("ascii")


def unpacked(page_html: str) -> Any:
    """What a page carries: the inverse of :func:`packed` on a whole file."""
    start = page_html.index('id="sway-data">') + len('id="sway-data">')
    return json.loads(gzip.decompress(base64.b64decode(page_html[start : page_html.index("<", start)])))


def _style(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


@cache
def script(name: str) -> str:
    """A script of ``static/``, as it stands in a page."""
    return _closed((STATIC / name).read_text(encoding="utf-8"))


@cache
def _bokeh() -> str:
    return _closed((bokehjs_path() / "js" / "bokeh.min.js").read_text(encoding="utf-8"))


@cache
def _library() -> str:
    return _letters(_bokeh())


def _closed(text: str) -> str:
    """Code that ends where its element ends: a parser knows no strings, and drops carriage returns."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(scripts: Sequence[str]) -> str:
    sums = (base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") for text in scripts)
    allowed = " ".join(f"'sha256-{found}'" for found in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _colours() -> str:
    """Every token as the variable that the stylesheet reads; the browser's wish counts until the reader chooses."""

    def rules(tokens: Tokens) -> str:
        return "".join(f"--mui-palette-sway_{name}-main:{colour};" for name, colour in asdict(tokens).items())

    dark = f"color-scheme:dark;{rules(DARK)}"
    return (
        f":root{{color-scheme:light;{rules(LIGHT)}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme]){{{dark}}}}}"
        f"@media screen{{:root[data-theme=dark]{{{dark}}}}}\n"
    )
