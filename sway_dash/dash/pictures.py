"""The figures of a page as files: SVG and PNG, in the colours of paper, with a title and what they were made from.

The browser draws them from the figures on the screen, as they are zoomed and filtered there; nothing is asked from
outside and nothing of the page changes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import param
from panel.custom import JSComponent

from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import DARK, LIGHT, STATIC, css, visible

_STYLE = (STATIC / "pictures.css").read_text(encoding="utf-8")


class Pictures(JSComponent):
    """A list of the figures that are in sight, each with a button for every format."""

    items = param.List(default=[], doc="Lists of the figure's id, its title, its description, and its file's name.")
    footer = param.List(default=[], item_type=str, doc="What a picture was made from; stands below it.")
    marks = param.Dict(default={}, doc="By the figure's id its legend: lists of sign, colour on paper, words.")
    dark = param.Boolean(default=False, doc="The figures are drawn in the colours of the dark theme.")
    paper = param.Dict(default={value: getattr(LIGHT, name) for name, value in asdict(DARK).items()})

    _esm = STATIC / "pictures.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(
            margin=0,
            sizing_mode="stretch_width",
            stylesheets=[css(), _STYLE],
            css_classes=["sway-hook-pictures"],
            **params,
        )

    def offer(self, plots: Sequence[Plot], *, stem: str, footer: Sequence[str], dark: bool) -> None:
        """List figures; ``stem`` begins the names of their files."""
        paper = asdict(LIGHT)
        self.param.update(
            footer=[visible(line) for line in footer],
            dark=dark,
            marks={p.figure.id: [[sign, paper[token], visible(text)] for sign, token, text in p.marks] for p in plots},
        )
        self.items = [
            [
                plot.figure.id,
                title,
                visible(plot.figure.html_attributes.get("aria-label", "")),
                f"{stem}-{_slug(title)}",
            ]
            for plot in plots
            if (title := visible(plot.figure.name or "Figure"))
        ]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
