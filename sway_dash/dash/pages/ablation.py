"""Does the effect grow with the adapter's strength λ: the curve, prompt by prompt, and what its shape is judged by."""

from __future__ import annotations

from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.backends.instrumentation import prompt_digest
from sway_dash.core.divergence import LN2
from sway_dash.core.stats import MIN_ITEMS
from sway_dash.dash.components import HIDDEN_LABEL, body, column, figure, grid, html, set_data, set_html, tabular
from sway_dash.dash.looks import Look
from sway_dash.dash.pages.opening import ask, open_prompt
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import ablation_columns as ac
from sway_dash.figures.derive import AblationSeries
from sway_dash.figures.derive_ablation import ShapeNumber, shape
from sway_dash.figures.markup import heading, toned
from sway_dash.figures.plots import Plot
from sway_dash.figures.plots.shape import pass_strip, set_strip
from sway_dash.figures.plots.strength import set_lambdas, strength_curve
from sway_dash.figures.theme import count, esc, number, visible

SCALES = {"Divergence, nats": False, "Relative to λ = 1": True}
ENDS = {"Linearity": (0.0, 1.0), "Saturation": (0.0, 1.25), "Overshoot": (0.8, 1.3)}

HOW_TO = """<h2 class="sway-h2">No strengths were measured</h2><div class="sway-empty">
<p>An <code>adapter_ablation</code> entry scales the adapter from off (λ = 0) to as trained (1) and beyond, and asks
whether the effect grows evenly. Add one to the suite and run it again:</p>
<pre>- name: strength
  kind: adapter_ablation
  lambdas: [0, 0.25, 0.5, 0.75, 1, 1.25]
  prompts:
    - The first prompt
    - The second prompt</pre>
<p>From 8 prompts on the band is worth reading. <b>New run from this</b> opens the suite of this run.</p></div>"""


class AblationPage(pn.viewable.Viewer):
    """The λ curve of one probe. A click on a line or a row opens the prompt; on a row it also asks for ``goto``."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown = param.Boolean(default=True, doc="The page is on the screen; otherwise nothing is drawn.")
    probe = param.String(default="", doc="The probe that is shown; empty: the first.")
    relative = param.Boolean(default=False, doc="Divergence over that at λ = 1, to compare shapes.")
    goto = param.String(default="", doc="Page that is asked for.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"choice": Selection(), **params})
        self._plot = strength_curve()
        self._strips = {name: pass_strip(name) for name in ENDS}
        self._empty = html(HOW_TO, css_classes=["sway-hook-no-ablation"])
        self._sentence = html(css_classes=["sway-hook-ablation"])
        self._zero = html(css_classes=["sway-hook-at-zero"])
        self._caption = html()
        self._words = {name: html(css_classes=["sway-hook-shape"]) for name in ENDS}
        self._probes = pmui.Select(
            options=[""], size="small", width=220, label="Probe", margin=(6, 8, 4, 0), visible=False
        )
        self._probes.param.watch(lambda event: setattr(self, "probe", event.new or ""), "value")
        self._scale = pmui.RadioButtonGroup.from_param(
            self.param.relative,
            options=SCALES,
            size="small",
            label="Scale",
            description="",
            width=320,
            margin=(6, 0, 4, 0),
            stylesheets=[HIDDEN_LABEL],
        )
        self._table = pn.widgets.Tabulator(
            self._frame(AblationSeries("")),
            disabled=True,
            show_index=False,
            layout="fit_columns",
            sizing_mode="stretch_width",
            margin=0,
            selectable=False,
            pagination="local",
            page_size=12,
            titles=ac.TABLE,
            widths={"at_one": 130, "saturation": 100},
            text_align={"at_one": "right", "saturation": "right"},
            **tabular("at_one", "saturation", prompt="textarea"),
            css_classes=["sway-rows", "sway-hook-ablation-prompts"],
        )
        self._table.on_click(self._row_clicked)
        self._plot.sources["each"].selected.on_change("indices", self._line_clicked)
        self._items: list[int] = []
        self._drawn: tuple[Any, ...] = ()
        self._root = self._layout()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Figures of the page."""
        return [self._plot, *self._strips.values()]

    @property
    def look(self) -> Look:
        """What the address says of the page."""
        return {"of": (self, "probe"), "relative": (self, "relative")}

    def _layout(self) -> pn.Column:
        marks = self._plot.legend(
            ("line", "tuned", "mean; thin: one prompt"),
            ("bar", "tuned", "95 % band, pointwise"),
            ("dot", "tuned", "95 % band, all λ at once"),
            ("dash", "threshold", "straight from 0 to λ = 1"),
            ("dashdot", "accent", "(slope · λ)², what linearity compares with"),
            ("bar", "good", "where it passes"),
            ("line", "threshold", "as trained"),
            ("dot", "threshold", "ln 2, the most a JS divergence can be"),
        )
        controls = pn.FlexBox(self._probes, self._scale, margin=0, sizing_mode="stretch_width")
        chart = column(controls, figure(self._plot), html(marks), self._caption, gap=2)
        strips = [column(self._words[name], figure(plot), gap=0) for name, plot in self._strips.items()]
        side = column(html(heading("Shape", "Shaded: the range in which the probe passes.")), *strips, gap=10)
        rows = column(html(heading("Prompt by prompt", "A click or Enter on a row opens the prompt.")), self._table)
        self._all = column(self._sentence, self._zero, grid(chart, side), rows, gap=20)
        return body(self._empty, self._all)

    # -- drawing --------------------------------------------------------------------------------

    def _series(self) -> AblationSeries | None:
        found = self.run.data.ablations
        return found.get(self.probe) or next(iter(found.values()), None)

    @param.depends("run.version", "shown", "probe", "relative", watch=True)
    def _refresh(self) -> None:
        if not self.shown:
            return
        if not self.run.live and self.probe not in ("", *self.run.data.ablations):
            self.probe = ""  # which draws
            return
        series = self._series()
        self._empty.visible, self._all.visible = series is None, series is not None
        if series is None:
            self._drawn = ()
            return
        data = self.run.data
        finished = data.finished.get(series.name)
        relative = self.relative and bool(series.at_one())
        drawn = (self.run.epoch, series.name, relative, series.size, finished is None)
        if drawn == self._drawn:
            return
        anew = drawn[:3] != self._drawn[:3]
        self._drawn = drawn
        numbers = shape(series, data.entries().get(series.name, {}), finished.evidence if finished else {})
        with pn.io.hold():
            self._options()
            left_out = self._draw(series, numbers, relative=relative, anew=anew)
            self._describe(series, numbers, left_out, relative=relative)
            self._shapes(numbers)
            frame = self._frame(series)
            if not frame.equals(self._table.value):
                self._table.value = frame
            self._mark()

    def _options(self) -> None:
        names = list(self.run.data.ablations)
        options = {visible(name): name for name in names}
        if self._probes.options != options:
            self._probes.options = options
        self._probes.visible = len(names) > 1
        if self._probes.value not in names or (self.probe in names and self._probes.value != self.probe):
            self._probes.value = self.probe if self.probe in names else names[0]

    def _draw(self, series: AblationSeries, numbers: list[ShapeNumber], *, relative: bool, anew: bool) -> int:
        line, band = ac.curve(series, relative=relative)
        each, left_out = ac.each(series, relative=relative)
        straight, fit = ac.references(series, relative=relative)
        passed, found = ac.judged(series, numbers, relative=relative)
        # While prompts come in, resampling whole curves again and again would hold the page up.
        over = series.name in self.run.data.finished
        whole = ac.whole(series, relative=relative or not over)
        columns = {"line": line, "band": band, "whole": whole, "each": each, "straight": straight, "fit": fit}
        for name, data in {**columns, "pass": passed, "found": found}.items():
            set_data(self._plot.sources[name], data)
        set_lambdas(self._plot, series.lambdas())
        self._plot.figure.yaxis.axis_label = (
            "divergence / that at λ = 1" if relative else f"{series.metric.upper()} divergence, nats"
        )
        largest = [*line["mean"], *band["hi"], *whole["hi"], *passed["y1"], *straight["y"]]
        largest += [max(ys) for ys in each["ys"]] if not relative else [1.5 * max(line["mean"], default=1.0)]
        bounded = series.metric == "js" and not relative
        self._plot.parts["bound"].visible = bounded
        self._plot.reach("y", max(largest, default=0.0), bound=LN2 if bounded else None, anew=anew)
        return left_out

    def _describe(self, series: AblationSeries, numbers: list[ShapeNumber], left_out: int, *, relative: bool) -> None:
        points = series.relative() if relative else series.points()
        finished = self.run.data.finished.get(series.name)
        told = finished.message if finished and finished.message else "measuring: the shape is judged at the end"
        set_html(self._sentence, f'<p class="sway-sentence">{esc(told[:1].upper() + told[1:])}.</p>')
        unit = "times the mean at λ = 1" if relative else "nats"
        values = "; ".join(f"λ = {lam:g}: {number(m)}" for lam, m, _, _ in points)
        shapes = "; ".join(f"{n.name.lower()} {number(n.value)}, {n.verdict}" for n in numbers)
        self._plot.describe(f"Mean {series.metric.upper()} by adapter strength, {unit}. {values}. {shapes}.")
        n = max((p[3] for p in points), default=0)
        parts = [f"Mean over {count(n, 'prompt')}, {unit}: {values}."]
        if n < MIN_ITEMS:
            parts.append(f"No band below {MIN_ITEMS} prompts.")
        else:
            how = "percentile" if relative else "bootstrap-t"
            few = " With fewer than 8 prompts it is rough." if n < 8 else ""
            parts.append(f"Band: {how}, the same resampled prompts at every λ, each λ by itself.{few}")
        parts += filter(None, [ac.whole_words(self._plot.sources["whole"].data)])
        if left_out:
            parts.append(f"{count(left_out, 'prompt')} hardly moved at λ = 1 left out: no shape of their own.")
        if max(series.lambdas(), default=0) > 1:
            parts.append("Beyond λ = 1 the adapter is stronger than it was trained: extrapolation.")
        set_html(self._caption, f'<p class="sway-caption">{esc(" ".join(parts))}</p>')
        noise = self.run.data.noise
        set_html(self._zero, _at_zero(series, getattr(noise, series.metric) if noise else 0.0))

    def _shapes(self, numbers: list[ShapeNumber]) -> None:
        for item in numbers:
            least, most = ENDS[item.name]
            set_strip(self._strips[item.name], item, least=least, most=most)
            tone = {True: "good", False: "bad", None: "muted"}[item.passed]
            value = number(item.value) if item.value is not None else "—"
            note = f" {item.note}." if item.note else ""
            text = f"{item.words}; passes {ac.ends(item)}.{note}"
            word = toned(tone, "sway-state", esc(item.verdict), tag="span")
            head = f'<p><b>{esc(item.name)}</b> <span class="sway-num">{esc(value)}</span> {word}</p>'
            set_html(self._words[item.name], f'{head}<p class="sway-caption">{esc(text)}</p>')
            self._strips[item.name].describe(f"{item.name} {value}, {item.verdict}: {text}")

    def _frame(self, series: AblationSeries) -> pd.DataFrame:
        columns, self._items = ac.prompts(series)
        kinds = {"at_one": "float64", "saturation": "float64"}
        return pd.DataFrame({name: pd.Series(columns[name], dtype=kinds.get(name, "object")) for name in ac.TABLE})

    # -- the open prompt ------------------------------------------------------------------------

    @param.depends("choice.item", "choice.probe", watch=True)
    def _mark(self) -> None:
        """Lift the line of the open prompt, whichever probe it was opened in."""
        series, found = self._series(), {"xs": [], "ys": []}  # type: ignore[var-annotated]
        text = self._open_text()
        if series is not None and text is not None:
            shown = self._plot.sources["each"].data
            for item, xs, ys in zip(shown["item"], shown["xs"], shown["ys"], strict=True):
                if series.prompts.get(item) == text:
                    found["xs"].append(xs)
                    found["ys"].append(ys)
        set_data(self._plot.sources["open"], found)

    def _open_text(self) -> str | None:
        series, item = self.choice.series(self.run.data), self.choice.item
        if series is None or item is None:
            return None
        return next((m.prompt for m in series.rows if m.item == item), None)

    def _open(self, item: int) -> bool:
        series = self._series()
        if series is None or item not in series.prompts:
            return False
        return open_prompt(self.choice, self.run.data.place_of(prompt_digest(series.prompts[item])))

    def _line_clicked(self, _attr: str, _old: list[int], new: list[int]) -> None:
        source = self._plot.sources["each"]
        if new and new[0] < len(source.data["item"]):
            self._open(int(source.data["item"][new[0]]))
            source.selected.indices = []

    def _row_clicked(self, event: Any) -> None:
        if event.row < len(self._items) and self._open(self._items[event.row]):
            ask(self, "goto", "prompts")


def _at_zero(series: AblationSeries, noise: float = 0.0) -> str:
    """HTML: what is measured at λ = 0, where nothing should be."""
    found = series.at_zero(noise)
    if found is None:
        return '<p class="sway-caption">λ = 0 was not measured: how far the base is from itself is not known.</p>'
    zero, too_much = found
    if too_much:
        text = (
            f"At λ = 0 the adapter is off and the base is compared with itself, yet the mean is {number(zero, 'nats')}."
        )
        why = "Numbers of that size say nothing: the model is not repeatable, or the adapter is not fully off."
        return toned("bad", "sway-banner", f"<b>λ = 0 is not zero.</b> {esc(text)} {esc(why)}", role="status")
    told = "exactly zero" if zero == 0.0 else f"{number(zero, 'nats')}, which is rounding"
    return f'<p class="sway-caption">At λ = 0 the base is compared with itself: {esc(told)}.</p>'
