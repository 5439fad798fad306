"""Public names of the report renderers; the code lives in :mod:`sway_dash.report`."""

from __future__ import annotations

from sway_dash.report.formats import (
    adapter_label,
    collect_degenerate_null_kinds,
    collect_missing_extras,
    collect_null_opt_outs,
    format_ci,
    format_duration_s,
    format_raw,
    format_score,
    format_z,
    null_opt_out_reasons,
)
from sway_dash.report.formats import cache_line as _cache_line
from sway_dash.report.json_io import SCHEMA_VERSION, from_json, load_result, to_json
from sway_dash.report.junit import to_junit
from sway_dash.report.markdown import to_markdown
from sway_dash.report.terminal import to_terminal

__all__ = [
    "SCHEMA_VERSION",
    "_cache_line",
    "adapter_label",
    "collect_degenerate_null_kinds",
    "collect_missing_extras",
    "collect_null_opt_outs",
    "format_ci",
    "format_duration_s",
    "format_raw",
    "format_score",
    "format_z",
    "from_json",
    "load_result",
    "null_opt_out_reasons",
    "to_json",
    "to_junit",
    "to_markdown",
    "to_terminal",
]
