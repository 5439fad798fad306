"""A run as plain HTML: the answer, a picture, the prompts, the probes. Reads well without scripts and styles.

This is what stands in a saved notebook, in ``nbconvert``'s output and in viewers that know no widgets. GitHub takes out
styles, classes, scripts and inline SVG; what is used here remains: paragraphs, tables and a PNG.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

from sway_dash.core.events import Measurement
from sway_dash.core.result import ProbeResult
from sway_dash.dash.notebook_picture import WIDTH, described, picture
from sway_dash.figures.columns import MARKS, WORDS, top_change
from sway_dash.figures.derive import Metric, ProbeSeries, value_of
from sway_dash.figures.opened import OpenedRun, Run, open_run
from sway_dash.figures.theme import DASH, GLYPH, count, duration, esc, interval, number
from sway_dash.suite.headline import headline

MOST_ROWS = 40
"""Prompts in the table; the frame has all of them."""

_CHARS = 120


def static_html(run: Run | None, *, title: str = "", note: str = "") -> str:
    """HTML of a run as it is now; ``note`` is said when there is none."""
    if run is None:
        return f"<p><b>{esc(title or 'sway_dash')}</b></p><p>{esc(note)}</p>"
    opened = open_run(run)
    series = next((s for s in opened.data.series.values() if s.rows), None)
    parts = [_head(opened, title)]
    if series is not None:
        entry = opened.data.entries().get(series.name, {})
        metric: Metric = "kl" if entry.get("divergence") == "kl" else "js"
        rows = sorted(series.rows, key=lambda m: -value_of(m, metric))
        parts += [_picture(series, metric, rows), _prompts(series, metric, rows)]
    parts.append(_probes(opened))
    return "".join(parts)


def _head(opened: OpenedRun, title: str) -> str:
    data = opened.data
    status = opened.result.status if data.started else "starting"
    name = title or opened.name
    where = f"run {opened.id}" if opened.id != name else ""
    seconds = opened.result.wall_seconds if status not in ("running", "starting") else None
    facts = [status, where, duration(seconds) if seconds else ""]
    line = " · ".join(esc(f) for f in facts if f)
    if status in ("running", "starting"):
        done = f"{data.fold.done:,} of {count(data.fold.total, 'measurement')}" if data.fold.total else "starting"
        return f"<p><b>{esc(name)}</b><br>{line} · {esc(done)}</p>"
    found = headline(opened.result, entries=data.entries())
    reasons = "".join(f"<li>{esc(r)}</li>" for r in found.reasons)
    settle = f"<p><b>What would settle it:</b> {esc(found.settle)}</p>" if found.settle else ""
    return (
        f"<p><b>{GLYPH.get(found.word, '')} {esc(found.word[:1].upper() + found.word[1:])}.</b> {esc(found.sentence)}"
        f"<br>{esc(name)} · {line}</p>"
        + (f"<details><summary>The rule and the numbers</summary><ul>{reasons}</ul></details>" if reasons else "")
        + settle
    )


def _picture(series: ProbeSeries, metric: Metric, rows: list[Measurement]) -> str:
    data = base64.b64encode(picture(series, metric, rows)).decode("ascii")
    words = esc(described(series, metric))
    return f'<p><img alt="{words}" width="{WIDTH}" src="data:image/png;base64,{data}"></p>'


def _prompts(series: ProbeSeries, metric: Metric, rows: list[Measurement]) -> str:
    cells = []
    for m in rows[:MOST_ROWS]:
        null = series.null_range(m.item, metric)
        stands = series.status(m, metric)
        text = m.prompt if len(m.prompt) <= _CHARS else f"{m.prompt[: _CHARS - 1]}…"
        cells.append(
            (
                str(m.item + 1),
                esc(text),
                number(m.js),
                number(m.kl),
                f"{number(null.lo)} to {number(null.hi)}" if null else DASH,
                f"{MARKS[stands]} {WORDS[stands]}",
                esc(top_change(m)),
            )
        )
    head = ("#", "Prompt", "JS, nats", "KL, nats", f"Random adapters, {metric.upper()}", "Stands", "Likeliest token")
    more = f"<p>{count(len(rows) - MOST_ROWS, 'more prompt')}: see the data frame.</p>" if len(rows) > MOST_ROWS else ""
    return _table(head, cells) + more


def _probes(opened: OpenedRun) -> str:
    found = {p.name: p for p in opened.result.probes}
    rows = [_probe(p) for p in found.values()]
    rows += [(esc(p.name), "waiting" if p.enabled else "off", DASH, DASH, "") for p in opened.data.fold.planned
             if p.name not in found]  # fmt: skip
    return _table(("Probe", "Ended", "Value", "95 % interval", "What it says"), rows) if rows else ""


def _probe(p: ProbeResult) -> tuple[str, ...]:
    return (esc(p.name), esc(p.verdict.value), number(p.raw), interval(p.ci_95), esc(p.message))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{h}</th>" for h in head)
    lines = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"
