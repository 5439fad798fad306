"""One row a probe: how it ended, its value with interval, where it stands against the null, how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import panel as pn
import param

from sway_dash.core.errors import SwayError
from sway_dash.core.events import PlannedProbe
from sway_dash.core.numbers import said, z_text
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.nav import VERSION
from sway_dash.dash.runs import address_of
from sway_dash.dash.state import RunState
from sway_dash.figures.evidence import SIGNS, tests_of, value_text
from sway_dash.figures.markup import headed, heading, table
from sway_dash.figures.theme import DASH, duration, esc, interval, percent, var
from sway_dash.suite.loader import check_entries, loads
from sway_dash.suite.plan import plan
from sway_dash.suite.store import RunFolder

HEAD = ("Probe", "Ended", "Value", "95 % interval", "Against null", "Time", "What it says")


def results_of(run: RunState) -> tuple[list[PlannedProbe], dict[str, ProbeResult]]:
    """Entries of a run in suite order, and what those that have come to an end found, by name."""
    data = run.data
    results = data.finished
    if run.status in ("queued", "starting") and not data.fold.planned and run.folder is not None:
        return list(_coming(run.folder)), {}
    if run.status not in ("none", "queued", "starting", "running"):
        # Judged over what was measured, for probes that did not come to their end.
        results = {p.name: p for p in data.result().probes}
    entries = data.entries()
    extra = [PlannedProbe(name=r.name, kind=r.kind, category="") for n, r in results.items() if n not in entries]
    return [*data.fold.planned, *extra], results


@lru_cache(maxsize=8)
def _coming(folder: RunFolder) -> tuple[PlannedProbe, ...]:
    """What a run that still waits is going to measure, of a suite that can be read."""
    try:
        spec = loads(folder.spec_text(), source=str(folder.path), folder=folder.base_dir())
        return plan(spec, check_entries(spec))
    except SwayError:
        return ()


class ProbesView(pn.viewable.Viewer):
    """Table of probes, the line about the cache below it, and the tests of a run that is over."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    linked = param.Boolean(default=False, doc="Names lead to the Evidence page; a notebook has none.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._table = html(css_classes=["sway-hook-probes"])
        self._cache = html()
        self._tests = html(css_classes=["sway-hook-tests"], visible=False)
        self._root = column(self._cache, self._table, self._tests, gap=2)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("run.version", watch=True)
    def _refresh(self) -> None:
        data = self.run.data
        planned, results = results_of(self.run)
        rows = [self._row(p, results.get(p.name)) for p in planned]
        set_html(self._table, table(HEAD, rows, right=(2, 3, 5), css_class="sway-probes") if rows else "")
        calls = data.calls
        text = (
            f"Cache: {calls.hits:,} of {calls.n:,} scoring calls answered, {percent(calls.hit_rate)}."
            if calls.n
            else ""
        )
        set_html(
            self._cache, "" if not rows else headed("Probes", f'<p class="sway-caption sway-hook-cache">{text}</p>')
        )
        # How many tests there are is known at the end.
        tests, told = ("", "") if self.run.live else tests_of(data.result())
        self._tests.visible = bool(tests)
        set_html(self._tests, f'<div class="sway-further">{heading("Tests", told)}{tests}</div>' if tests else "")

    def _row(self, planned: PlannedProbe, result: ProbeResult | None) -> tuple[str, ...]:
        name = f'{self._link(planned.name)} <span class="sway-caption">{esc(planned.kind)}</span>'
        if planned.kind == "preflight":
            name = "check before measuring"
        if result is None:
            return (name, self._going(planned), DASH, DASH, DASH, DASH, "")
        sign, tone, word = SIGNS[result.verdict]
        ended = f'<span style="color: {var(tone)}">{sign} {word}</span>'
        null = result.evidence.get("null")
        n = null.get("n", "?") if isinstance(null, Mapping) else "?"
        against = esc(f"{said('z', z_text(result.z_score))}, n = {n}") if result.z_score is not None else DASH
        value = esc(value_text(result))
        message = "" if planned.kind == "preflight" else esc(result.message)  # it is the verdict's reason
        if result.verdict is Verdict.PASS:  # what is wrong is never cut short
            message = f'<span class="sway-message" title="{message}">{message}</span>'
        return (name, ended, value, interval(result.ci_95), against, duration(result.duration_s), message)

    def _link(self, name: str) -> str:
        """The name as a link to what the probe found; the browser component makes it a step within this session."""
        if not self.linked:
            return esc(name)
        address = address_of(self.run.folder) if self.run.folder is not None else ""
        query = urlencode({"v": VERSION, "page": "evidence", "run": address, "e": name}, errors="replace")
        return f'<a class="sway-go" data-entry="{esc(name)}" href="?{esc(query)}">{esc(name)}</a>'

    def _going(self, planned: PlannedProbe) -> str:
        if not planned.enabled:
            return "– off"
        if self.run.phase != planned.name or not self.run.live:
            return "waiting" if self.run.live else DASH
        data = self.run.data
        done = data.drawn(planned.name) if planned.kind == "null_adapter" else len(data.fold.own(planned.name))
        return f"measuring {done:,} of {planned.measurements:,}" if planned.measurements else "measuring"
