"""Building blocks that several pages share."""

from __future__ import annotations

from typing import Any

from sway_dash.dash.components import DIALOG
from sway_dash.dash.pages.export import ExportDialog, Scene
from sway_dash.dash.pages.help import Help
from sway_dash.dash.pages.palette import Palette
from sway_dash.dash.state import RunState, Selection


def test_dialogs_are_paper_of_one_kind_and_open_with_their_page() -> None:
    both: dict[str, Any] = {"run": RunState(), "choice": Selection()}
    views: list[Any] = [
        Help(),
        Palette(lambda kind, value: None, **both),
        ExportDialog(lambda: Scene("overview"), **both),
    ]
    assert [v._dialog.title for v in views] == ["Help", "Go to", "Export"]
    assert [v._dialog.width_option for v in views] == ["md", "sm", "md"]
    assert not any(v._dialog.open for v in views)
    assert all(v._dialog.close_on_click and v._dialog.sx == DIALOG for v in views)
    for view in views:
        view.open = True
        assert view._dialog.open
        view._dialog.open = False  # as a click outside of it does
        assert not view.open
