"""The Compare page alone, as the app frames it: served by the browser tests. ``?runs=a,b&base=a`` as in the app."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import html
from sway_dash.dash.pages.compare import CompareView
from sway_dash.figures.theme import css, esc, theme_config


def page() -> pmui.Page:
    """One session's page."""
    asked = {k: v[0].decode() for k, v in (pn.state.session_args or {}).items()}
    state = CompareState(runs=[r for r in asked.get("runs", "").split(",") if r], baseline=asked.get("base", ""))
    view = CompareView(state=state)
    said = html('<h1 class="sway-h1">Compare</h1>', css_classes=["sway-hook-head"])
    went = html(css_classes=["sway-hook-went"])

    def told(event: Any) -> None:
        if event.new:
            went.object = f"<p>{esc(event.new)}</p>"

    state.param.watch(told, ["goto", "opened"])
    keys = pmui.Row(
        *(
            pmui.Button(label=name, on_click=lambda _, act=act: act())
            for name, act in (("[", state.previous_run), ("]", state.next_run), ("B", state.set_baseline))
        )
    )
    made = pmui.Page(
        title="Compare",
        main=[said, view, went, keys],
        theme_config=theme_config(),
        raw_css=[css()],
        busy_indicator=None,
    )

    def theme(*_: Any) -> None:
        with pn.io.hold():
            for plot in view.plots:
                plot.recolor(bool(made.dark_theme))

    made.param.watch(theme, "dark_theme")
    theme()

    def tick() -> None:
        with pn.io.hold():
            state.pull()

    pn.state.onload(lambda: pn.state.add_periodic_callback(tick, period=200))
    pn.state.on_session_destroyed(lambda session_context: state.close())
    return made
