"""A trace report as JSON, as Markdown and on a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sway_dash.core.result import jsonable
from sway_dash.report.formats import EM_DASH, one_line
from sway_dash.report.markdown import md_code, md_table, md_text

if TYPE_CHECKING:
    from rich.console import Console

    from sway_dash.suite.trace_analysis import TraceReport
    from sway_dash.suite.trace_file import TraceEvent

Cell = str | int
Section = tuple[str, Sequence[str], list[tuple[Cell, ...]]]
"""Heading, column names, rows."""

_TEXT_COLUMNS = {"probe", "view", "op", "phase", "prompt", "cache", "warm-up"}


def render_json(report: TraceReport) -> str:
    """Return the report as JSON text, keys in the order of :class:`TraceReport`."""
    document = asdict(report)
    for entry, probe in zip(document["per_probe"], report.per_probe, strict=True):
        entry["hit_rate"] = probe.hit_rate
    return json.dumps(jsonable(document), indent=2, allow_nan=False)


def render_markdown(report: TraceReport) -> str:
    """Return the report as Markdown text."""
    lines = [f"# sway trace: {_headline(report)}", "", *(f"{remark}  " for remark in _remarks(report))]
    for heading, columns, rows in _sections(report):
        lines += ["", f"## {heading}", ""]
        rule = ["---" if c in _TEXT_COLUMNS else "---:" for c in columns]
        lines += md_table(columns, rule, _escaped(columns, rows))
    return "\n".join(lines) + "\n"


def render_terminal(report: TraceReport, *, console: Console | None = None) -> None:
    """Print the report to ``console``, or to standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = console if console is not None else Console()
    out.print(Text(f"sway trace: {_headline(report)}", style="bold"))
    for remark in _remarks(report):
        out.print(Text(remark, style="dim"))
    for heading, columns, rows in _sections(report):
        out.print()
        out.print(Text(heading, style="bold"))
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for column in columns:
            text = column in _TEXT_COLUMNS
            table.add_column(column, justify="left" if text else "right", no_wrap=not text, overflow="fold")
        for row in rows:
            table.add_row(*(Text(one_line(cell)) for cell in row))
        out.print(table)


def _headline(report: TraceReport) -> str:
    if report.total_events == 0:
        return "no events"
    seconds = report.total_wall_ms / 1000.0
    return f"{report.total_events:,} events, {seconds:,.2f} s, {report.overall_hit_rate:.0%} hits"


def _remarks(report: TraceReport) -> list[str]:
    n = report.skipped_lines
    remarks = [f"{n:,} unreadable {'line' if n == 1 else 'lines'} left out"]
    if report.total_events:
        saved = (
            f"the cache saved about {report.saved_s:,.2f} s (hits x median time of a miss of that operation and view)"
        )
        if report.hits_without_price:
            saved += f", not counting {report.hits_without_price:,} hits of which nothing ever missed"
        remarks.append(saved)
        grade = "some are approximate" if report.approximate else "all are exact here"
        remarks.append(f"percentiles: {report.percentile_note}; {grade}")
    return remarks


def _sections(report: TraceReport) -> Iterable[Section]:
    counted = ("events", "total ms", "hits", "misses")
    yield (
        "per-probe",
        ("probe", *counted, "hit rate"),
        [
            (p.probe, p.n_events, _ms(p.total_ms), p.cache_hits, p.cache_misses, f"{p.hit_rate:.0%}")
            for p in report.per_probe
        ],
    )
    yield (
        "per-view",
        ("view", "events", "total ms"),
        [(v.view_id, v.n_events, _ms(v.total_ms)) for v in report.per_view],
    )
    if report.per_phase:
        yield (
            "per-phase",
            ("phase", *counted),
            [(p.phase, p.n_events, _ms(p.total_ms), p.cache_hits, p.cache_misses) for p in report.per_phase],
        )
    if report.probe_by_view:
        times = ("miss p50 ms", "miss p95 ms", "hit p50 ms", "hit p95 ms")
        yield (
            "probe x view",
            ("probe", "view", *counted, *times),
            [
                (
                    *(c.probe, c.view_id, c.n_events, _ms(c.total_ms), c.cache_hits, c.cache_misses),
                    *map(_ms, (c.miss_p50_ms, c.miss_p95_ms, c.hit_p50_ms, c.hit_p95_ms)),
                )
                for c in report.probe_by_view
            ],
        )
    if report.per_op:
        columns = ("op", "view", "hits", "misses", "miss p50 ms", "miss p95 ms", "saved s")
        yield (
            "what the cache saved",
            columns,
            [
                (
                    o.op,
                    o.view_id,
                    o.cache_hits,
                    o.cache_misses,
                    *map(_ms, (o.miss_p50_ms, o.miss_p95_ms)),
                    _s(o.saved_s),
                )
                for o in report.per_op
            ],
        )
    if report.warm_ups:
        yield (
            "warm-up (first misses in a view)",
            ("view", "probe", "op", "events", "total ms"),
            [(w.view_id, w.probe, w.op, w.n_events, _ms(w.wall_ms)) for w in report.warm_ups],
        )
    if report.slowest:
        yield (
            "slowest events",
            ("probe", "view", "op", "prompt", "ms", "cache", "warm-up"),
            [_slow_row(e, warm=i in report.slowest_warm_up) for i, e in enumerate(report.slowest)],
        )


def _slow_row(event: TraceEvent, *, warm: bool) -> tuple[Cell, ...]:
    cache = "hit" if event.hit else "miss"
    return (
        *(event.owner, event.view_id, event.op, event.prompt_hash),
        *(_ms(event.wall_ms), cache, "yes" if warm else ""),
    )


def _escaped(columns: Sequence[str], rows: list[tuple[Cell, ...]]) -> Iterable[list[str]]:
    write: list[Callable[[Any], str]] = [md_code if c in ("view", "op", "prompt") else md_text for c in columns]
    for row in rows:
        yield [w(cell) for w, cell in zip(write, row, strict=True)]


def _ms(value: float | None) -> str:
    return EM_DASH if value is None else f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _s(value: float | None) -> str:
    return EM_DASH if value is None else f"{value:,.2f}"
