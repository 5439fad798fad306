"""What every probe found, as the dashboard's Evidence page shows it: figures, tables that open, the rest as a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sway_dash.core.panels import Curve, Groups, Items
from sway_dash.core.result import ProbeResult, SuiteResult
from sway_dash.figures import panel_columns as pc
from sway_dash.figures.evidence import OWN_PAGE, about, facts, judgement, panels_of
from sway_dash.figures.markup import legend, table
from sway_dash.figures.plots import Plot
from sway_dash.figures.plots.curve import curve, set_curve
from sway_dash.figures.plots.dumbbell import dumbbell, set_items
from sway_dash.figures.plots.groups import group_points, set_groups
from sway_dash.figures.theme import count, esc, visible
from sway_dash.report.html.drawn import Drawn
from sway_dash.report.html.parts import caption, figure, folded, heading

Json = dict[str, Any]

OWN_SECTION = {"prompts": "prompts", "ablation": "strength", "null": "null"}
"""Pages of the dashboard → sections of a report."""

WITH_IT = ("Score", "95 % interval", "Against random adapters", "Base", "Tuned")
"""Numbers of a judgement that stand with the evidence; the table of probes has the others."""


def section_of(place: int, kind: str) -> str:
    """Id of the section or part that shows a probe; ``place`` is that among the results."""
    return OWN_SECTION[OWN_PAGE[kind]] if kind in OWN_PAGE else f"evidence-{place}"


def evidence(result: SuiteResult, out: Drawn) -> tuple[str, Json]:
    """HTML of all probes that no section of their own shows, and the rows of their tables for the page's script."""
    parts: list[str] = []
    tables: Json = {}
    for place, probe in enumerate(result.probes):
        if probe.kind in OWN_PAGE:
            continue
        html, rows = _probe(place, probe, out)
        parts.append(html)
        tables |= rows
    return f'<div class="stack">{"".join(parts)}</div>' if parts else "", tables


def _probe(place: int, probe: ProbeResult, out: Drawn) -> tuple[str, Json]:
    found = panels_of(probe)
    kicker = " · ".join(part for part in (visible(probe.kind), about(probe.kind)) if part)
    numbers = [f"{name} {text}" for name, text in judgement(probe) if name in WITH_IT]
    text = heading(visible(probe.name), esc(kicker)) + caption(" · ".join([probe.verdict.value, *numbers]))
    text += f"<p>{esc(probe.message)}</p>" if probe.message else ""
    tables: Json = {}
    for k, panel in enumerate(found):
        name = f"evidence-{place}-{k}"
        out.figures[name] = _drawn(panel)
        text += _panel(name, panel)
        tables[name] = _rows(panel)
    rest = [(esc(name), esc(value)) for name, value in facts(probe.evidence)]
    text += folded("Everything else it found", table(("Name", "Value"), rest, css_class="sway-facts")) if rest else ""
    return f'<div class="evidence" id="evidence-{place}">{text}</div>', tables


def _drawn(panel: pc.Panel) -> Plot:
    """The figure; of a long list the first rows in its usual order."""
    if isinstance(panel, Curve):
        plot = curve()
        set_curve(plot, panel)
        return plot
    shown = pc.ordered(panel, pc.usual_order(panel))[: pc.AT_ONCE]
    if isinstance(panel, Items):
        plot = dumbbell()
        set_items(plot, panel, shown)
    else:
        plot = group_points()
        set_groups(plot, panel, shown)
    return plot


def _panel(name: str, panel: pc.Panel) -> str:
    told = pc.caption(panel)
    if isinstance(panel, Curve):
        n, signs = len(pc.curve_points(panel)), pc.curve_signs(panel)
        title = f"{count(n, 'point')} as a table"
    else:
        n, signs = pc.size(panel), pc.signs(panel)
        title = f"{count(n, 'row')} as a table"
        if n > pc.AT_ONCE:
            order = pc.ORDERS[pc.usual_order(panel)]
            told = f"{pc.AT_ONCE} of {n:,} rows, {order}; the table has all of them. {told}"
    head = f'<h4 class="sway-h3">{esc(panel.title)}</h4>'
    if not n:
        return f'<div>{head}<p class="sway-empty">The probe listed nothing here.</p></div>'
    opens = f'<details data-rows="{name}"><summary>{esc(title)}</summary></details>'
    return f"<div>{head}{figure(name)}{legend(*signs)}{caption(told)}{opens}</div>"


def _rows(panel: pc.Panel) -> Json:
    """Head and rows of a table: texts, and numbers in full."""
    if isinstance(panel, Curve):
        head, _ = pc.curve_table(panel)
        rows: list[list[Any]] = [
            [x, y, *(["—" if ci is None else f"{ci[0]:.3g} to {ci[1]:.3g}"] if len(head) > 2 else [])]
            for x, y, ci in pc.curve_points(panel)
        ]
        return {"head": head, "right": list(range(len(head))), "rows": rows}
    heads = pc.heads(panel)
    return {
        "head": [title for _, title, *_ in heads],
        "right": [k for k, head in enumerate(heads) if head[3]],
        "rows": [_cells(panel, heads, place) for place in range(pc.size(panel))],
    }


def _cells(panel: Items | Groups, heads: Sequence[pc.Head], place: int) -> list[Any]:
    line: Any = panel.rows[place] if isinstance(panel, Items) else panel.groups[place]
    texts = pc.cells(panel, place)
    exact = {"base", "tuned", "value", "n"}
    out: list[Any] = []
    for (key, *_), text in zip(heads, texts, strict=True):
        if key == "change":
            out.append(pc.change(line))
        else:
            out.append(pc.known(getattr(line, key)) if key in exact else text)
    return out
