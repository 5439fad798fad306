"""A held view is let go before a choice draws it anew: what is on the screen is of one moment. Param only, no Panel."""

from __future__ import annotations

from typing import Any

import param

from sway_dash.dash.state import RunState, Selection

OWN = ("axis", "window", "probe", "view", "op", "level", "query", "entry", "whole", "relative")
"""Choices that are a page's own: they draw from what the run has written by now."""


class Holding(param.Parameterized):
    """Made before all views: parameters tell those first who asked first."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]

    @param.depends(
        *(f"choice.{name}" for name in ("entry", "probe", "metric", "sort", *Selection.FILTER)),
        watch=True,
    )
    def _chosen(self) -> None:
        self.run.follow()

    def listen(self, view: Any) -> None:
        """Choices within a page count, too."""
        if own := [name for name in OWN if name in view.param]:
            view.param.watch(lambda *_: self.run.follow(), own)
