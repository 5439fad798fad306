"""What stands on the page before its scripts have run: the answer of the run and its picture, as plain HTML and SVG.

The scripts of the page are two seconds' work for a slow machine; the answer need not wait for them. The browser
component takes this away once the page stands.
"""

from __future__ import annotations

from dataclasses import asdict

from markupsafe import Markup

from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import columns
from sway_dash.figures.theme import DARK, GLYPH, LIGHT, STATIC, TONE, Tokens, esc, number

TEMPLATE = (STATIC / "first.html").read_text(encoding="utf-8")
"""Page template: scripts wait for the body, and the body begins with our own words."""

_STYLE = (STATIC / "first.css").read_text(encoding="utf-8")

WIDTH, HEIGHT, LEFT = 560, 84, 60


def variables(theme: str, run: RunState, choice: Selection) -> dict[str, str]:
    """What :data:`TEMPLATE` is filled with: the style, the theme the page is served in, the first words."""
    served = "dark" if theme == "dark" else "light"
    return {"sway_style": Markup(style(theme)), "sway_theme": served, "sway_first": Markup(first(run, choice))}


def style(theme: str) -> str:
    """Stylesheet of the first words, ``light`` or ``dark``, or the system's; the scripts' own styles replace it."""
    light, dark = (f"html {{ {_values(t)} color-scheme: {name}; }}" for t, name in ((LIGHT, "light"), (DARK, "dark")))
    own = {"light": light, "dark": dark}.get(theme, f"{light} @media (prefers-color-scheme: dark) {{ {dark} }}")
    return f"{own}\n{_STYLE}"


def _values(t: Tokens) -> str:
    return "".join(f"--first-{name}: {value}; " for name, value in asdict(t).items())


def first(run: RunState, choice: Selection) -> str:
    """HTML of the answer and the null strip of the open run; a word of welcome without one."""
    if not run.run_id:
        return "<h1>sway_dash</h1><p>Did the adapter change the model? Loading the page.</p>"
    word = f"{GLYPH.get(run.word, '')} {esc(run.word[:1].upper() + run.word[1:])}"
    tone = TONE.get(run.word, "muted")
    return (
        f"<p class='sway-first-run'>{esc(run.title)}</p><h1 style='color: var(--first-{tone})'>{word}</h1>"
        f"<p>{esc(run.sentence)}</p>{_strip(run, choice)}"
    )


def _strip(run: RunState, choice: Selection) -> str:
    """The random adapters as dots and the tuned mean as a diamond with its interval, as SVG."""
    series = choice.series(run.data)
    if series is None or not series.rows:
        return ""
    nulls, tuned = columns.strip(series, choice.metric_of(run.data))
    end = 1.1 * max([*nulls["x"], *tuned["hi"], 1e-9])

    def x(value: float) -> str:
        return f"{LEFT + (WIDTH - LEFT - 20) * min(value / end, 1.0):.1f}"

    dots = "".join(f"<circle cx='{x(v)}' cy='22' r='4' class='null'/>" for v in nulls["x"])
    lo, mid, hi = (x(tuned[name][0]) for name in ("lo", "x", "hi"))
    mark = f"<path d='M{mid} 38l7 8-7 8-7-8z' class='tuned'/>"
    words = f"Tuned model {number(tuned['x'][0], 'nats')}, {len(nulls['x'])} random adapters"
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{esc(words)}'>"
        "<text x='0' y='26'>random</text><text x='0' y='50'>tuned</text>"
        f"<line x1='{lo}' x2='{hi}' y1='46' y2='46' class='tuned'/>{dots}{mark}"
        f"<line x1='{LEFT}' x2='{WIDTH - 20}' y1='62' y2='62' class='axis'/>"
        f"<text x='{LEFT}' y='78'>0</text><text x='{WIDTH - 20}' y='78' text-anchor='end'>"
        f"{esc(number(end, 'nats'))}</text></svg>"
    )
