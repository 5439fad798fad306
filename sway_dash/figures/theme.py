"""The only place with colours, sizes and the way numbers are written. No data, no layout.

A colour means one thing everywhere: base is blue, tuned vermillion, random adapters grey. Every token exists for light
and dark; HTML reads them as CSS variables of the page's palette, which follow the toggle in the browser, and plots get
them from :func:`tokens` when a session toggles.
"""

from __future__ import annotations

import html
import math
import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from sway_dash.core.numbers import DASH as DASH
from sway_dash.core.numbers import number as number
from sway_dash.core.shipped import shipped


@dataclass(frozen=True, slots=True)
class Tokens:
    """Colours of one theme, by meaning."""

    base: str
    tuned: str
    null: str
    threshold: str
    ink: str
    muted: str
    rule: str
    surface: str
    raised: str
    accent: str
    good: str
    warn: str
    bad: str
    heat: str
    """How much a token differs: one hue, from none to full."""
    forward: str
    """A pass for next-token distributions."""
    score: str
    """A pass for log-probabilities of a text."""
    generate: str
    """A pass that writes text."""


LIGHT: Final = Tokens(
    base="#0072B2",
    tuned="#C44E00",
    null="#8A8A8A",
    threshold="#3D4550",
    ink="#1B222B",
    muted="#57606B",
    rule="#DDE1E6",
    surface="#FFFFFF",
    raised="#F6F7F9",
    accent="#24557A",
    good="#1E6B4F",
    warn="#8A5A00",
    bad="#A6273B",
    heat="#6A3D9A",
    forward="#00796B",
    score="#6A3D9A",
    generate="#B0376F",
)
DARK: Final = Tokens(
    base="#56B4E9",
    tuned="#FF9E5E",
    null="#8E949B",
    threshold="#C6CCD4",
    ink="#E8EAED",
    muted="#A5ADB7",
    rule="#333A43",
    surface="#14181D",
    raised="#1C2127",
    accent="#8FC1E8",
    good="#7CC9A6",
    warn="#E0B35A",
    bad="#F08A9A",
    heat="#B48CE6",
    forward="#4DB6A4",
    score="#B48CE6",
    generate="#E884B4",
)

GLYPH: Final = {"changed": "▲", "no detectable change": "○", "inconclusive": "◇", "broken": "✕", "measuring": "…"}
"""Sign of a verdict; always beside its word."""

TONE: Final = {
    "changed": "tuned",
    "no detectable change": "base",
    "inconclusive": "warn",
    "broken": "bad",
    "measuring": "muted",
}

FONT: Final = "Roboto, 'Helvetica Neue', Arial, sans-serif"
ROW_PX: Final = 22
"""Height of a row in a dot plot."""


def tokens(dark: bool) -> Tokens:
    """Colours of a theme."""
    return DARK if dark else LIGHT


def theme_config() -> dict[str, Any]:
    """Material palette of the page; every token is also the CSS variable ``--mui-palette-sway_<token>-main``."""

    def palette(t: Tokens) -> dict[str, Any]:
        own = {f"sway_{name}": {"main": colour} for name, colour in asdict(t).items()}
        return {
            "primary": {"main": t.accent},
            "secondary": {"main": t.muted},
            "error": {"main": t.bad},
            "warning": {"main": t.warn},
            "info": {"main": t.accent},
            "success": {"main": t.good},
            "background": {"default": t.surface, "paper": t.surface},
            "text": {"primary": t.ink, "secondary": t.muted},
            "divider": t.rule,
            **own,
        }

    common = {"typography": {"button": {"textTransform": "none", "fontWeight": 500}}, "shape": {"borderRadius": 6}}
    return {"light": {"palette": palette(LIGHT), **common}, "dark": {"palette": palette(DARK), **common}}


def var(token: str) -> str:
    """CSS value of a token; follows the theme in the browser."""
    return f"var(--mui-palette-sway_{token}-main)"


STATIC: Final = Path(__file__).resolve().parents[1] / "dash" / "static"
"""Scripts and styles of our own components."""


def assets() -> Path:
    """Folder of the stylesheet and the logo."""
    return shipped("assets/style.css").parent


@cache
def css() -> str:
    """The stylesheet with its tokens bound; given to every HTML pane, since each has its own shadow root."""
    names = "".join(f"--sway-{name}: {var(name)}; " for name in asdict(LIGHT))
    own = (assets() / "style.css").read_text(encoding="utf-8")
    return f":host, :root {{ {names}}}\n{own}"


@cache
def token_css() -> str:
    """The stylesheet of a text that is drawn token by token."""
    return (assets() / "tokens.css").read_text(encoding="utf-8")


# -- numbers and text ---------------------------------------------------------------------------


def interval(ci: tuple[float, float] | None) -> str:
    """``0.16 to 0.27``; a dash without one."""
    return DASH if ci is None else f"{number(ci[0])} to {number(ci[1])}"


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return DASH if share is None else f"{100 * share:.3g} %"


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(n: float | None) -> str:
    """Bytes as ``12 kB``, ``3.2 MB``, ``1.4 GB``; a dash when it is not known."""
    if n is None or not math.isfinite(n):
        return DASH
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= factor:
            return number(n / factor, unit)
    return f"{n:.0f} B"


def count(n: int, one: str, many: str = "") -> str:
    """``1 prompt``, ``1,024 prompts``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def esc(text: object) -> str:
    """Untrusted text for HTML, with invisible control characters made visible."""
    return html.escape(visible(text), quote=True)


def visible(text: object) -> str:
    """Text on one line: line breaks as ⏎, tabs as ⇥, other control and direction characters as their code."""
    return _INVISIBLE.sub(_show, str(text).replace("\r\n", "\n"))


def token_text(text: str) -> str:
    """A token as it is: leading and trailing spaces as a middle dot, an empty one as ∅."""
    shown = visible(text)
    core = shown.strip(" ")
    if not core:
        return "·" * len(shown) or "∅"
    left = len(shown) - len(shown.lstrip(" "))
    return "·" * left + core + "·" * (len(shown) - left - len(core))


def canvas_text(text: object, limit: int = 36) -> str:
    """Untrusted text for an axis label: one line, shortened in its middle, and never taken for TeX by Bokeh."""
    shown = visible(text)
    if len(shown) > limit:
        tail = limit // 3
        shown = f"{shown[: limit - tail - 1]}…{shown[-tail:]}"
    return shown.replace("$", "$\u200b").replace("\\", "\\\u200b")


_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def _show(match: re.Match[str]) -> str:
    char = match.group()
    return {"\n": "⏎", "\r": "⏎", "\t": "⇥"}.get(char, f"‹{ord(char):X}›")
