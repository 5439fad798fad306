"""One panel of a probe's evidence: its drawing, and beside it the same as a table. What comes in is untrusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.panels import Curve, Groups, Items
from sway_dash.dash.components import column, figure, grid, html, set_html
from sway_dash.dash.virtual_table import Cell, VirtualTable
from sway_dash.figures import panel_columns as pc
from sway_dash.figures.markup import heading, table
from sway_dash.figures.plots import Plot
from sway_dash.figures.plots.curve import curve, set_curve
from sway_dash.figures.plots.dumbbell import dumbbell, set_items, set_mark
from sway_dash.figures.plots.groups import group_points, set_groups
from sway_dash.figures.theme import esc, visible

SMALL = {"size": "small", "variant": "text", "margin": 0}
MAX_TABLE_PX = 640


class ListedPanel(pn.viewable.Viewer):
    """Items or groups: a part of the rows drawn, all of them in the table. A click on either opens a row.

    ``prompt`` is called with the label of the open row; what it returns is done when the reader asks for that prompt,
    ``None`` means that the run has no such prompt.
    """

    order = param.String(default="place", doc="One of ``panel_columns.ORDERS``.")
    first = param.Integer(default=0, bounds=(0, None), doc="First row that is drawn, in the order in force.")
    row = param.Integer(default=-1, doc="The open row, as its place in the panel; -1: none.")

    def __init__(self, form: str, prompt: Callable[[str], Callable[[], None] | None] | None = None) -> None:
        super().__init__()
        self.panel: Items | Groups = Items(title="", rows=()) if form == "items" else Groups(title="", groups=())
        self.plot: Plot = dumbbell() if form == "items" else group_points()
        self._prompt = prompt
        self._places: list[int] = []
        self._filling = False
        self._head, self._legend = html(), html()
        self._order = pmui.Select(options=["place"], label="Order", size="small", width=230, margin=(6, 8, 2, 0))
        self._order.param.watch(self._picked, "value")
        self._back = pmui.Button(label="‹ Previous rows", **SMALL)
        self._on = pmui.Button(label="Next rows ›", **SMALL)
        self._back.on_click(lambda _: self._turn(-1))
        self._on.on_click(lambda _: self._turn(1))
        self._part = html(sizing_mode="fixed", css_classes=["sway-hook-part"])
        self._caption = html(css_classes=["sway-hook-panel-caption"])
        self._none = html('<p class="sway-empty">The probe listed nothing here.</p>', visible=False)
        self._text = html(css_classes=["sway-hook-row"])
        self._go = pmui.Button(label="Open this prompt", visible=False, **SMALL)
        self._go.on_click(lambda _: self._open_prompt())
        self.table = VirtualTable(
            self._rows,
            on_sort=self._sort,
            on_open=lambda item: setattr(self, "row", item),
            on_step=self._step,
            label="Rows",
            choosable=False,
            css_classes=["sway-hook-panel-table"],
        )
        self.plot.sources["rows"].selected.on_change("indices", self._tapped)
        self._pager = pn.FlexBox(self._back, self._part, self._on, margin=0, gap="8px", align_items="center")
        controls = pn.FlexBox(self._order, self._pager, margin=0, align_items="center", sizing_mode="stretch_width")
        chart = column(controls, figure(self.plot), self._legend, self._caption, gap=2)
        self._grid = grid(chart, column(self.table, self._text, self._go, gap=8), even=True)
        self._root = column(self._head, self._none, self._grid, gap=4, css_classes=["sway-hook-panel"])

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figure."""
        return [self.plot]

    def show(self, panel: Items | Groups) -> None:
        """Show another panel, from its beginning and in its usual order."""
        if panel == self.panel:
            return
        self.panel = panel
        n = pc.size(panel)
        found = pc.orders(panel)
        options = {pc.ORDERS[name]: name for name in found}
        with param.parameterized.discard_events(self):
            self.param.update(order=pc.usual_order(panel), first=0, row=-1)
        self._filling = True
        self._order.param.update(options=options, value=self.order)
        self._filling = False
        set_html(self._head, heading(visible(panel.title) or "Items"))
        set_html(self._legend, self.plot.legend(*pc.signs(panel)))
        self._none.visible, self._grid.visible = not n, bool(n)
        self._order.visible, self._pager.visible = n > 1, n > pc.AT_ONCE
        label = f"{visible(panel.title)}, {n:,} rows. Arrow keys open the next and the previous one."
        self.table.param.update(heads=[list(head) for head in pc.heads(panel)], total=n, label=label)
        self.table.top += 1
        self._arrange()
        self._open()

    @param.depends("order", "first", watch=True)
    def _arrange(self) -> None:
        """Put the rows in order, in the drawing and in the table."""
        panel = self.panel
        self._places = pc.ordered(panel, self.order)
        n = len(self._places)
        shown = self._places[self.first : self.first + pc.AT_ONCE]
        if isinstance(panel, Items):
            set_items(self.plot, panel, shown)
        else:
            set_groups(self.plot, panel, shown)
        set_mark(self.plot, self.row)
        self._filling = True
        if self._order.value != self.order:
            self._order.value = self.order
        self._filling = False
        self._back.disabled, self._on.disabled = self.first == 0, self.first + pc.AT_ONCE >= n
        set_html(self._part, f'<span class="sway-caption sway-num">{pc.part_words(len(shown), n, self.first)}</span>')
        text = pc.caption(panel)
        set_html(self._caption, f'<p class="sway-caption">{esc(text)}</p>' if text else "")
        # As tall as the drawing with what stands above and below it.
        height = min(MAX_TABLE_PX, int(self.plot.figure.height) + 80)
        self.table.param.update(sort=self.order, height_px=height)
        self.table.refresh()

    @param.depends("row", watch=True)
    def _open(self) -> None:
        """Show the open row in full; turn the drawing to the part that holds it."""
        place = self.row
        at = self._places.index(place) if place in self._places else -1
        if at >= 0 and not self.first <= at < self.first + pc.AT_ONCE:
            self.first = at - at % pc.AT_ONCE
        set_mark(self.plot, place)
        self.table.active = {"item": place, "place": at}
        label = self._label(place)
        set_html(self._text, _in_full(self.panel, place) if at >= 0 else "")
        self._go.visible = bool(label) and self._prompt is not None and self._prompt(label) is not None

    def _label(self, place: int) -> str:
        lines: Sequence[Any] = self.panel.rows if isinstance(self.panel, Items) else self.panel.groups
        return str(lines[place].label) if 0 <= place < len(lines) else ""

    def _open_prompt(self) -> None:
        go = self._prompt(self._label(self.row)) if self._prompt is not None else None
        if go is not None:
            go()

    def _rows(self, first: int, n: int) -> Sequence[tuple[int, Sequence[Cell]]]:
        return [(place, pc.cells(self.panel, place)) for place in self._places[first : first + n]]

    def _picked(self, event: Any) -> None:
        if not self._filling and event.new:
            self.param.update(order=event.new, first=0)

    def _sort(self, key: str) -> None:
        """The order a reader expects first, then the other way round, then that of the probe."""
        name = next((head[4] for head in pc.heads(self.panel) if head[0] == key), "")
        cycle = [name, f"-{name}"] if name in ("label", "flag") else [f"-{name}", name]
        cycle = [o for o in cycle if o in pc.orders(self.panel)]
        if not cycle:
            return
        now = cycle.index(self.order) + 1 if self.order in cycle else 0
        self.param.update(order=cycle[now] if now < len(cycle) else "place", first=0)

    def _step(self, step: int) -> None:
        at = self._places.index(self.row) + step if self.row in self._places else 0
        if 0 <= at < len(self._places):
            self.row = self._places[at]

    def _turn(self, step: int) -> None:
        wanted = self.first + step * pc.AT_ONCE
        if 0 <= wanted < len(self._places):
            self.first = wanted

    def _tapped(self, attr: str, old: list[int], new: list[int]) -> None:
        if new and new[0] < len(shown := self._places[self.first : self.first + pc.AT_ONCE]):
            self.row = shown[new[0]]
        if new:
            # The same row can be tapped again.
            self.plot.sources["rows"].selected.indices = []


class CurvePanel(pn.viewable.Viewer):
    """A curve, and its points as a table."""

    def __init__(self) -> None:
        super().__init__()
        self.panel = Curve(title="", x_label="", y_label="", x=(), y=())
        self.plot = curve()
        self._head, self._legend, self._caption = html(), html(), html(css_classes=["sway-hook-panel-caption"])
        self._table = html(css_classes=["sway-hook-points"])
        chart = column(figure(self.plot), self._legend, self._caption, gap=2)
        self._root = column(self._head, grid(chart, self._table, even=True), gap=4, css_classes=["sway-hook-panel"])

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figure."""
        return [self.plot]

    def show(self, panel: Curve) -> None:
        """Show another panel."""
        if panel == self.panel:
            return
        self.panel = panel
        set_curve(self.plot, panel)
        set_html(self._head, heading(visible(panel.title) or "Curve"))
        set_html(self._legend, self.plot.legend(*pc.curve_signs(panel)))
        text = pc.caption(panel)
        set_html(self._caption, f'<p class="sway-caption">{esc(text)}</p>' if text else "")
        head, rows = pc.curve_table(panel)
        cells = [[esc(cell) for cell in row] for row in rows]
        points = table(head, cells, right=range(len(head)))
        set_html(self._table, f'<div class="sway-long sway-numbers">{points}</div>')


def _in_full(panel: Items | Groups, place: int) -> str:
    """A row that a table would cut."""
    names = [head[1] for head in pc.heads(panel)]
    keys = [head[0] for head in pc.heads(panel)]
    cells = dict(zip(keys, zip(names, pc.cells(panel, place), strict=True), strict=True))
    label, note = cells.pop("label")[1], cells.pop("note", ("", ""))[1]
    numbers = " · ".join(f"{name} {text}" for name, text in cells.values() if text)
    more = f"<p>{esc(note)}</p>" if note else ""
    return f'<div class="sway-prompt" dir="auto">{esc(label)}</div>{more}<p class="sway-caption">{esc(numbers)}</p>'
