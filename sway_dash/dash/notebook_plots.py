"""Figures of the dashboard for a notebook: its comms repeat what is streamed, and no page gives them their colours."""

from __future__ import annotations

from typing import Any

from bokeh.models import ColumnDataSource

from sway_dash.figures.plots import Plot


def adapt(plot: Plot) -> None:
    """Make a figure fit for a notebook; once, before it is shown."""
    for source in plot.sources.values():
        _whole(source)
    for model in plot.figure.references():
        # What Python sets comes back, late or in a form that is refused: an axis would be taken for one that the reader
        # has zoomed. Wanted from the browser is only how wide the figure is.
        if model is not plot.figure:
            model.syncable = False
    plot.recolor(False)


def _whole(source: ColumnDataSource) -> None:
    """Send all columns where the dashboard streams a few rows.

    A front end's comm sends streamed rows back and Python adds them a second time.
    """

    def stream(new: dict[str, Any], rollover: int | None = None) -> None:
        joined = {name: [*source.data[name], *values] for name, values in new.items()}
        source.data = joined if rollover is None else {name: v[-rollover:] for name, v in joined.items()}

    # Not a property of the model: set past Bokeh's check of names.
    object.__setattr__(source, "stream", stream)
