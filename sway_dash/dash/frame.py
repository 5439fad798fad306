"""The page around everything: its head, its main part, its theme."""

from __future__ import annotations

from typing import Any

import panel_material_ui as pmui
from panel.util import edit_readonly

from sway_dash.dash import first
from sway_dash.dash.components import BAR
from sway_dash.figures.theme import assets, css, theme_config


def frame(*, header: list[Any], main: list[Any], dark: bool) -> pmui.Page:
    """The page with these things in its head and in its main part."""
    logo = assets() / "logo.svg"
    page = pmui.Page(
        title="sway_dash",
        header=header,
        main=main,
        theme_config=theme_config(),
        dark_theme=dark,
        logo=logo if logo.is_file() else None,
        favicon=logo if logo.is_file() else None,
        meta_description="Did the LoRA adapter change the model?",
        raw_css=[css()],
        sx=BAR,
        busy_indicator=None,
        template=first.TEMPLATE,
    )
    # The page follows Panel's busy state: every change walks all models of the document, two thirds of the
    # server's time; and the state would keep the whole session after it was closed. We show no busy sign.
    with edit_readonly(page):
        page.busy = False
    for names, watcher in page._param__private.ref_watchers:
        if "busy" in names:
            watcher.inst.param.unwatch(watcher)
    return page
