"""A run as one HTML file that travels: opened from a disk, without Python, without a network.

``report_html`` writes it, ``preview`` shows what would leave. Imports Bokeh only when asked, and never Panel; a process
that has imported Panel starts :func:`sway_dash.report.html.build.write` in another.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Redaction": "redact",
    "preview": "first_lines",
    "report_html": "build",
    "write": "build",
}

__all__ = ["Redaction", "preview", "report_html", "write"]

if TYPE_CHECKING:
    from sway_dash.report.html.build import report_html as report_html
    from sway_dash.report.html.build import write as write
    from sway_dash.report.html.first_lines import preview as preview
    from sway_dash.report.html.redact import Redaction as Redaction


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
