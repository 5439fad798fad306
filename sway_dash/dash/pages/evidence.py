"""What one probe found: its judgement in words and numbers, the panels it brings, and everything else it left."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.events import PlannedProbe
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.dash.components import body, column, grid, html, set_html
from sway_dash.dash.nav import TITLES
from sway_dash.dash.pages.evidence_panels import CurvePanel, ListedPanel
from sway_dash.dash.pages.form_widgets import Fold
from sway_dash.dash.pages.opening import ask
from sway_dash.dash.pages.probes import results_of
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.derive import Place
from sway_dash.figures.evidence import OWN_PAGE, SIGNS, about, facts, full_json, judgement, panels_of
from sway_dash.figures.markup import heading, table, toned
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import count, esc, visible

TELLING = (Verdict.FAIL, Verdict.ERROR, Verdict.WARN, Verdict.PASS)
"""What is shown first where nobody has chosen."""

MOST_JSON = 200_000
"""Characters of JSON that a page is given."""

WIDE = {"sizing_mode": "stretch_width", "max_width": 380, "min_width": 200}
NO_RUN = "No run is open."
NO_PROBE = "This run has no probe."
View = ListedPanel | CurvePanel


class EvidencePage(pn.viewable.Viewer):
    """One probe at a time, ``choice.entry``. ``goto`` asks for another page of the run."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown = param.Boolean(default=True, doc="The page is on the screen; otherwise nothing is drawn.")
    dark = param.Boolean(default=False, doc="The page is dark.")
    goto = param.String(default="", doc="Page that is asked for.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"choice": Selection(), **params})
        self._kind = ""
        self._probes = pmui.Select(options=[""], label="Probe", size="small", margin=(6, 8, 4, 0), **WIDE)
        self._probes.param.watch(self._picked, "value")
        self._own = pmui.Button(label="", size="small", variant="outlined", margin=(6, 0, 4, 0), visible=False)
        self._own.on_click(lambda _: ask(self, "goto", OWN_PAGE.get(self._kind, "")))
        self._empty = html(css_classes=["sway-hook-no-evidence"], visible=False)
        self._verdict = html(css_classes=["sway-hook-evidence"])
        self._numbers = html(css_classes=["sway-hook-judgement"])
        self._without = html(css_classes=["sway-hook-no-panels"])
        self._panels = column(gap=26)
        self._facts = html(css_classes=["sway-hook-facts"])
        self._json = html(css_classes=["sway-hook-json"])
        self._fold = Fold("All of it as JSON", lambda: [self._json])
        self._fold.param.watch(lambda _: self._fill_json(), "open")
        self._views: dict[str, list[View]] = {"items": [], "curve": [], "groups": []}
        self._result: ProbeResult | None = None
        self._drawn: Any = None
        self._filling = False
        self._rest = column(html(heading("Everything else it found")), self._facts, self._fold, gap=4)
        self._all = column(
            pn.FlexBox(self._probes, self._own, margin=0, align_items="center", sizing_mode="stretch_width"),
            grid(self._verdict, self._numbers),
            self._without,
            self._panels,
            self._rest,
            gap=10,
        )
        self._root = body(self._empty, self._all)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Figures of the page, also those that wait for another probe."""
        return [plot for views in self._views.values() for view in views for plot in view.plots]

    def next(self) -> None:
        """The next probe."""
        self._step(1)

    def previous(self) -> None:
        """The probe before."""
        self._step(-1)

    def _step(self, step: int) -> None:
        names = list(self._probes.options.values()) if isinstance(self._probes.options, dict) else []
        if self._probes.value in names:
            self.choice.entry = names[min(max(names.index(self._probes.value) + step, 0), len(names) - 1)]

    def _picked(self, event: Any) -> None:
        if not self._filling and event.new:
            self.choice.entry = event.new

    # -- reading state --------------------------------------------------------------------------

    @param.depends("run.version", "choice.entry", "shown", watch=True)
    def _refresh(self) -> None:
        """Show the chosen probe; what is on the screen already stays untouched."""
        if not self.shown:
            return
        planned, results = results_of(self.run)
        self._empty.visible, self._all.visible = not planned, bool(planned)
        if not planned:
            text = NO_PROBE if self.run.run_id else NO_RUN
            set_html(self._empty, heading("Evidence") + f'<p class="sway-empty">{text}</p>')
            return
        chosen = self._chosen(planned, results)
        with pn.io.hold():
            self._options(planned, results, chosen.name)
            result = results.get(chosen.name)
            # Compared by what it says: judging anew makes another object of the same result.
            state = (self.run.epoch, chosen, result, self.run.phase if result is None else "")
            if state != self._drawn:
                self._drawn, self._result, self._kind = state, result, chosen.kind
                self._show(chosen, result)

    def _chosen(self, planned: list[PlannedProbe], results: dict[str, ProbeResult]) -> PlannedProbe:
        """The entry asked for, else the most telling of those that have found something: what went wrong first."""
        for probe in planned:
            if probe.name == self.choice.entry:
                return probe

        def dull(probe: PlannedProbe) -> tuple[int, bool, bool]:
            # The noise says nothing of the adapter; what has a page of its own is shown in full there.
            verdict = results[probe.name].verdict
            rank = TELLING.index(verdict) if verdict in TELLING else len(TELLING)
            return rank, probe.kind == "null_adapter", probe.kind in OWN_PAGE

        return min((p for p in planned if p.name in results), key=dull, default=planned[0])

    def _options(self, planned: list[PlannedProbe], results: dict[str, ProbeResult], name: str) -> None:
        def label(probe: PlannedProbe) -> str:
            result = results.get(probe.name)
            sign = "…" if result is None else SIGNS[result.verdict][0]
            return f"{sign} {visible(probe.name)} · {visible(probe.kind)}"

        options = {label(p): p.name for p in planned}
        self._filling = True
        if self._probes.options != options:
            self._probes.param.update(options=options, value=name)
        elif self._probes.value != name:
            self._probes.value = name
        self._filling = False

    def _show(self, planned: PlannedProbe, result: ProbeResult | None) -> None:
        page = OWN_PAGE.get(planned.kind, "")
        self._own.visible = bool(page)
        if page:
            self._own.label = f"Open in {TITLES[page]}"
        kicker = " · ".join(p for p in (visible(planned.kind), about(planned.kind)) if p)
        set_html(self._verdict, _head(planned, kicker, result, self._waiting(planned)))
        found = panels_of(result) if result is not None else []
        self._lay(found)
        self._without.visible = result is not None and not found
        text = "This probe brings no picture; what it found is listed below."
        set_html(self._without, f'<p class="sway-empty">{text}</p>')
        numbers = judgement(result) if result is not None else []
        rows = [(esc(name), esc(value)) for name, value in numbers]
        set_html(self._numbers, f'<div class="sway-numbers">{table(("", ""), rows)}</div>' if rows else "")
        rest = facts(result.evidence) if result is not None else []
        self._rest.visible = result is not None and bool(result.evidence)
        rows = [(esc(name), esc(value)) for name, value in rest]
        set_html(self._facts, table(("Name", "Value"), rows, css_class="sway-facts") if rows else "")
        self._fill_json()

    def _lay(self, found: list[Any]) -> None:
        """Fill views that there are, make those that are missing."""
        used = dict.fromkeys(self._views, 0)
        views: list[View] = []
        for panel in found:
            k = used[panel.form]
            used[panel.form] += 1
            if k == len(self._views[panel.form]):
                self._views[panel.form].append(self._made(panel.form))
            view = self._views[panel.form][k]
            view.show(panel)
            views.append(view)
        if list(self._panels.objects) != [view.__panel__() for view in views]:
            self._panels.objects = [view.__panel__() for view in views]
        self._panels.visible = bool(views)

    def _made(self, form: str) -> View:
        view: View = CurvePanel() if form == "curve" else ListedPanel(form, self._prompt)
        for plot in view.plots:
            plot.recolor(self.dark)
        return view

    def _prompt(self, label: str) -> Callable[[], None] | None:
        """How to open a prompt of this text, if the run has measured one."""
        for name, series in self.run.data.series.items():
            item = next((m.item for m in series.rows if m.prompt == label), None)
            if item is not None:
                return partial(self._open_prompt, Place(label, name, item))
        return None

    def _open_prompt(self, place: Place) -> None:
        self.choice.param.update(probe=place.probe, item=place.item, token=None)
        ask(self, "goto", "prompts")

    def _waiting(self, planned: PlannedProbe) -> str:
        if not planned.enabled:
            return "This entry is turned off."
        if self.run.live:
            now = self.run.phase == planned.name
            return "It is being measured." if now else "It has not had its turn yet."
        return "The run ended before this probe did."

    def _fill_json(self) -> None:
        if not self._fold.open or self._result is None:
            return
        text = full_json(self._result)
        cut = len(text) > MOST_JSON
        lines = "\n".join(esc(line) for line in text[:MOST_JSON].split("\n"))
        note = f"The first {count(MOST_JSON, 'character')}; all of it is in the run's result." if cut else ""
        more = f'<p class="sway-caption">{note}</p>' if note else ""
        set_html(self._json, f'<pre class="sway-long" tabindex="0">{lines}</pre>{more}')


def _head(planned: PlannedProbe, kicker: str, result: ProbeResult | None, waiting: str) -> str:
    """Name, kind, verdict and message."""
    top = f'<h1 class="sway-h1">{esc(planned.name)}</h1><p class="sway-kicker">{esc(kicker)}</p>'
    if result is None:
        return f'{top}<p class="sway-empty" role="status">{esc(waiting)}</p>'
    sign, tone, word = SIGNS[result.verdict]
    text = f'<p class="sway-word">{sign} {word[:1].upper()}{word[1:]}</p>'
    if result.message:
        message = result.message[:1].upper() + result.message[1:]
        text += f'<p class="sway-sentence">{esc(message)}</p>'
    return top + toned(tone, "sway-verdict", text)
