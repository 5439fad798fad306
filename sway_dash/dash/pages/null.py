"""What noise looks like: the tuned adapter among random ones, every draw on the screen, with how much they can say."""

from __future__ import annotations

import time
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.numbers import said, z_text
from sway_dash.dash.components import HIDDEN_LABEL, body, column, figure, grid, html, set_data, set_html
from sway_dash.dash.looks import Look
from sway_dash.dash.pages.opening import ask
from sway_dash.dash.pages.verdict import gate_of
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import null_columns as nc
from sway_dash.figures import null_distributions as nd
from sway_dash.figures.derive_null import SOME, Standing, own_null
from sway_dash.figures.markup import heading, table
from sway_dash.figures.null_more import more
from sway_dash.figures.panel_columns import ends
from sway_dash.figures.plots import Plot, set_noise
from sway_dash.figures.plots.null import name_rows, norm_bars, null_draws, null_ecdf, rank_rows
from sway_dash.figures.theme import count, duration, esc, number, visible
from sway_dash.figures.trace_columns import view_name

SCALES = {"Tuned and random": True, "Random only": False}
WANTED = (20, 40)
PERIOD_S = 1.0
DOT_PX, STACK_PX = 9, 150


class NullPage(pn.viewable.Viewer):
    """One calibrated entry at a time. ``more`` asks for a run with so many random adapters."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown = param.Boolean(default=True, doc="The page is on the screen; otherwise nothing is drawn.")
    entry = param.String(default="", doc="Which of the calibrated entries; empty: the one of the chosen probe.")
    whole = param.Boolean(default=True, doc="The axis holds the tuned value, too, not the random adapters alone.")
    more = param.Integer(default=0, doc="Random adapters that are asked for.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"choice": Selection(), **params})
        self._draws = null_draws()
        self._ecdf = null_ecdf(self._draws)
        self._ranks, self._norms = rank_rows(), norm_bars()
        self._kinds = rank_rows("Random adapters by kind of noise")
        self._words = html(css_classes=["sway-hook-null"])
        self._none = html(css_classes=["sway-hook-no-null"], visible=False)
        self._caption, self._norm_text, self._rank_text = html(), html(css_classes=["sway-hook-norms"]), html()
        self._kind_text = html(css_classes=["sway-hook-kinds"])
        self._own, self._floor, self._kept = html(css_classes=["sway-hook-own-null"]), html(), html()
        self._list = html(css_classes=["sway-hook-draws"])
        self._entries = pmui.Select(
            options=[""], size="small", width=300, label="Null entry", margin=(6, 8, 4, 0), visible=False
        )
        self._entries.param.watch(self._picked, "value")
        self._scale = pmui.RadioButtonGroup.from_param(
            self.param.whole,
            options=SCALES,
            size="small",
            label="Scale",
            description="",
            width=300,
            margin=(6, 0, 4, 0),
            stylesheets=[HIDDEN_LABEL],
        )
        self._buttons = {
            n: pmui.Button(label=f"Prepare {n}", size="small", variant="outlined", margin=(0, 8, 4, 0)) for n in WANTED
        }
        for n, button in self._buttons.items():
            button.on_click(lambda _, n=n: ask(self, "more", n))
        self._filling = False
        self._drawn: tuple[Any, ...] = ()
        self._drawn_at = 0.0
        self._root = self._layout()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Figures of the page."""
        return [self._draws, self._ecdf, self._kinds, self._ranks, self._norms]

    @property
    def look(self) -> Look:
        """What the address says of the page."""
        return {"of": (self, "entry"), "whole": (self, "whole")}

    def _layout(self) -> pn.Column:
        marks = self._draws.legend(
            ("●", "null", "one random adapter"),
            ("◆", "tuned", "tuned"),
            ("bar", "null", "where the next one would fall, 95 %"),
            ("hatch", "muted", "rounding: the same model twice"),
            ("dash", "threshold", "gate"),
        )
        self._ecdf.marks = self._draws.marks
        controls = pn.FlexBox(self._entries, self._scale, margin=0, sizing_mode="stretch_width")
        self._ecdf_pane = figure(self._ecdf)
        chart = column(controls, figure(self._draws), self._ecdf_pane, html(marks), self._caption, self._list, gap=2)
        self._rank_part = column(html(heading("By rank")), figure(self._ranks), self._rank_text, gap=2)
        self._kind_part = column(
            html(heading("By kind of noise")), figure(self._kinds), self._kind_text, gap=2, visible=False
        )
        self._own_part = column(html(heading("Prompt by prompt")), self._own, gap=2)
        self._norm_pane = figure(self._norms)
        side = column(
            self._kind_part,
            column(html(heading("How large they are")), self._norm_pane, self._norm_text, gap=2),
            self._rank_part,
            self._own_part,
            self._floor,
            gap=20,
        )
        self._ask = column(
            html(heading("More random adapters")),
            pn.FlexBox(*self._buttons.values(), margin=0, sizing_mode="stretch_width"),
            self._kept,
            gap=2,
        )
        self._all = column(self._words, grid(chart, side), gap=20)
        return body(self._none, self._all, self._ask)

    # -- drawing --------------------------------------------------------------------------------

    def _picked(self, event: Any) -> None:
        if not self._filling:
            self.entry = event.new or ""

    @param.depends("choice.probe", watch=True)
    def _another_probe(self) -> None:
        self.entry = ""
        self._refresh()

    @param.depends("run.version", "shown", "entry", "whole", watch=True)
    def _refresh(self) -> None:
        """Draw what is new; while a run goes on, once a second: prompts are tested one by one."""
        if not self.shown:
            return
        data = self.run.data
        sizes = tuple(len(rows) for s in data.series.values() for n in s.null_sets.values() for rows in _views(n))
        rows = tuple(len(s.rows) for s in data.series.values())
        state = (self.run.epoch, sizes, rows, len(data.finished), self.run.live)
        drawn = (*state, self.choice.probe, self.entry, self.whole)
        if drawn == self._drawn:
            return
        same = (drawn[0], *drawn[3:]) == (self._drawn[:1] + self._drawn[3:])
        if same and self.run.live and time.monotonic() - self._drawn_at < PERIOD_S:
            return
        self._drawn, self._drawn_at = drawn, time.monotonic()
        known = nc.every(data)
        if not self.run.live and self.entry not in ("", *map(_key, known)):
            self.entry = ""  # which draws
            return
        self._none.visible, self._all.visible = not known, bool(known)
        with pn.io.hold():
            self._more()
            if not known:
                text = nc.why_none(data, self.run.live)
                self._none.object = heading("No random adapters") + f'<p class="sway-empty">{esc(text)}</p>'
                return
            found = self._chosen(known)
            self._options(known, found)
            self._draw(found)
            self._beside(found, nd.of_entry(known, found.entry))

    def _chosen(self, known: list[nc.Calibrated]) -> nc.Calibrated:
        """The entry asked for, else that of the chosen probe; of its draws those that count."""
        for found in known:
            if self.entry == _key(found):
                return found
        series = self.choice.series(self.run.data)
        own = [f for f in known if series is not None and f.entry == series.name] or known[:1]
        return next((f for f in own if f.counts), own[-1])

    def _options(self, known: list[nc.Calibrated], found: nc.Calibrated) -> None:
        many = len({f.null for f in known}) > 1
        options = {_label(f, known) if many else visible(f.entry): _key(f) for f in known}
        self._filling = True
        if self._entries.options != options:
            self._entries.param.update(options=options, value=_key(found))
        elif self._entries.value != _key(found):
            self._entries.value = _key(found)
        self._filling = False
        self._entries.visible = len(known) > 1

    def _draw(self, found: nc.Calibrated) -> None:
        s = found.standing
        gate = gate_of(self.run, found.entry, found.metric) if found.kind == "delta_kl" else None
        span = nc.reach(s, all_of_it=self.whole, gate=gate)
        axis = self._draws.figure.x_range
        axis.update(start=span[0], end=span[1], reset_start=span[0], reset_end=span[1])
        dots = nc.stacked(s.draws, span, self._names(found), s.unit)
        set_data(self._draws.sources["draws"], dots)
        inside = s.raw is not None and span[0] <= s.raw <= span[1]
        text = number(s.raw, s.unit)
        top = max(dots["y"], default=0.0) + 1.0
        one: nc.Columns = {"x": [s.raw], "y": [0.5 * top - 0.5], "text": [text]}
        if not inside:
            one = {"x": [], "y": [], "text": []}
        set_data(self._draws.sources["tuned"], one)
        beyond = s.raw is not None and not inside
        arrow = f"tuned ◆ {text} →" if (s.raw or 0) > span[1] else f"← ◆ tuned {text}"
        right = span[1] - 0.01 * (span[1] - span[0])
        edge: nc.Columns = {"x": [right], "text": [arrow]} if beyond else {"x": [], "text": []}
        set_data(self._draws.sources["beyond"], edge)
        self._draws.figure.y_range.update(start=-0.7 - 0.04 * top, end=1.04 * top + 0.3)
        self._draws.parts["dots"].glyph.size = min(DOT_PX, max(3, STACK_PX / (top + 1)))
        band = nc.shaded(s, span)
        lo, hi = band or (0.0, 0.0)
        self._draws.parts["expected"].update(left=lo, right=hi, visible=band is not None)
        noise = self.run.data.noise if found.kind == "delta_kl" else None
        set_noise(self._draws, "x", getattr(noise, found.metric) if noise else None)
        self._draws.parts["gate"].update(location=gate or 0.0, visible=gate is not None)
        self._draws.figure.xaxis.axis_label = found.axis
        self._ecdf_pane.visible = len(s.draws) >= SOME
        if len(s.draws) >= SOME:
            steps, mark = nc.ecdf(s, span)
            set_data(self._ecdf.sources["steps"], steps)
            set_data(self._ecdf.sources["tuned"], mark)
        self._tell(found)

    def _tell(self, found: nc.Calibrated) -> None:
        sentence, facts = nc.verdict(found)
        about = f"{visible(found.entry)} against {visible(found.null)}. {sentence}"
        lines = "".join(f"<li>{esc(fact)}</li>" for fact in facts)
        more = f'<ul class="sway-reasons">{lines}</ul>' if lines else ""
        set_html(self._words, f'<p class="sway-sentence sway-num">{esc(sentence)}</p>{more}')
        self._draws.describe(about)
        self._ecdf.describe(f"Cumulative distribution of {count(found.standing.n, 'random adapter')}. {about}")
        n = len(found.standing.draws)
        how = "one dot a random adapter" if n else "shaded where the next random adapter would fall"
        if n >= SOME:
            how += ", stacked where they would overlap; below, the share of them at or below a value"
        entry = f"{visible(found.entry)}, drawn by {visible(found.null)}"
        set_html(self._caption, f'<p class="sway-caption">{esc(entry)}: {how}.</p>')
        rows = [
            (esc(name), esc(number(value, found.standing.unit)))
            for name, value in zip(self._names(found), found.standing.draws, strict=True)
        ]
        twin = table(("Random adapter", found.what), rows, right=(1,))
        self._list.visible = bool(rows)
        set_html(self._list, f"<details><summary>Every draw as a table</summary>{twin}</details>")

    def _names(self, found: nc.Calibrated) -> list[str]:
        """Names of the draws, by their seeds where those are known."""
        views = sorted(found.draws.by_rank.get(found.draws.primary, {}), key=_seed)
        n = len(found.standing.draws)
        return [view_name(view) for view in views] if len(views) == n else [f"random {k + 1}" for k in range(n)]

    def _beside(self, found: nc.Calibrated, among: list[nc.Calibrated]) -> None:
        made = {f.null: self.run.data.finished[f.null].evidence for f in among if f.null in self.run.data.finished}
        tuned, nulls, names = nd.sizes(among, made)
        set_data(self._norms.sources["tuned"], tuned)
        set_data(self._norms.sources["nulls"], nulls)
        name_rows(self._norms, names)
        self._norms.reach("x", max([*tuned["x"], *nulls["x"]], default=0.0), anew=True)
        text = nd.sizes_text(among, made)
        if not made:
            text = "Told when the random adapters are done."
        self._norm_pane.visible = bool(names)
        self._norms.describe(f"Size of the change of the weights. {text}")
        set_html(self._norm_text, f'<p class="sway-caption">{esc(text)}</p>')
        self._kind_part.visible = len(among) > 1
        if len(among) > 1:
            self._draw_kinds(among)
        self._rank_part.visible = len(found.by_rank) > 1
        if len(found.by_rank) > 1:
            self._draw_ranks(found.by_rank, found.axis)
        self._own_part.visible = found.kind == "delta_kl"
        own = own_null(found.series.rows, found.draws, found.metric)
        how = " The 95 % are those of the next draw on the prompt (t of logarithms, one-sided)." if own.judged else ""
        set_html(self._own, f"<p>{esc(nc.own_null_text(own))}</p><p class='sway-caption'>{esc(how)}</p>")
        floor = nc.same_twice(self.run.data)
        self._floor.visible = bool(floor)
        set_html(self._floor, heading("The same model twice") + f"<p>{esc(floor)}</p>")

    def _draw_kinds(self, among: list[nc.Calibrated]) -> None:
        draws, tuned, names = nc.rows([(nd.noise_name(f, among), f.standing) for f in among])
        set_data(self._kinds.sources["draws"], draws)
        set_data(self._kinds.sources["tuned"], tuned)
        name_rows(self._kinds, names)
        self._kinds.figure.xaxis.axis_label = among[0].axis
        _hold(self._kinds, [*draws["x"], *tuned["x"]])
        told = nd.judged_by(among)
        rows = nd.table_rows(among)
        twin = table(
            ("Random adapters", "n", "Range", "Below tuned", "p, next draw"),
            [tuple(esc(cell) for cell in row) for row in rows],
            right=(1, 2, 3, 4),
        )
        self._kinds.describe(f"Tuned against random adapters of {len(among)} kinds. {told}")
        set_html(self._kind_text, f'<p class="sway-caption">{esc(told)}</p>{twin}')

    def _draw_ranks(self, by_rank: dict[str, Standing], axis: str) -> None:
        draws, tuned, names = nc.ranks(by_rank)
        set_data(self._ranks.sources["draws"], draws)
        set_data(self._ranks.sources["tuned"], tuned)
        name_rows(self._ranks, names)
        self._ranks.figure.xaxis.axis_label = axis
        _hold(self._ranks, [*draws["x"], *tuned["x"]])
        told = "; ".join(
            f"{nc.rank_name(rank)}: {said('z', z_text(s.z))}, above {s.above} of {s.n}" for rank, s in by_rank.items()
        )
        self._ranks.describe(f"Tuned against random adapters of other ranks. {told}.")
        set_html(self._rank_text, f'<p class="sway-caption">{esc(told)}.</p>')

    def _more(self) -> None:
        planned = [p for p in self.run.data.fold.planned if p.kind == "null_adapter" and p.enabled]
        self._ask.visible = bool(planned) and not self.run.live
        if not planned:
            return
        known = more(self.run.data, planned[-1])
        for n, button in self._buttons.items():
            button.visible = n > known.have
            seconds = known.seconds(n)
            button.label = f"Prepare {n} random adapters" + (f", about {duration(seconds)}" if seconds else "")
        self._ask.visible = self._ask.visible and any(n > known.have for n in WANTED)
        text = f"This run has {known.have}. A new run is made from its suite, to be started there. {known.kept}"
        set_html(self._kept, f'<p class="sway-caption">{esc(text)}</p>')


def _hold(plot: Plot, values: list[float]) -> None:
    """Make the axis of values hold all of them, also those below 0."""
    lo, hi = ends(values)
    plot.figure.x_range.update(start=lo, end=hi, reset_start=lo, reset_end=hi)


def _label(found: nc.Calibrated, known: list[nc.Calibrated]) -> str:
    among = nd.of_entry(known, found.entry)
    kind = "" if len({f.draws.distribution for f in among}) < 2 else f" ({nd.noise_name(found, among)})"
    return f"{visible(found.entry)}, against {visible(found.null)}{kind}"


def _key(found: nc.Calibrated) -> str:
    return f"{found.entry}\0{found.null}"


def _views(null: Any) -> list[Any]:
    return [rows for views in null.by_rank.values() for rows in views.values()]


def _seed(view: str) -> tuple[int, str]:
    seed = view.partition("_")[2].partition("_")[0]
    return (int(seed) if seed.isdecimal() else 0, view)
