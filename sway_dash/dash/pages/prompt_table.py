"""Every shown prompt as a row, and every tag with its own mean; of any length."""

from __future__ import annotations

import io
import time
from collections.abc import Hashable, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.prompt_cells import HEADS, ONE_POSITION, cells, to_csv
from sway_dash.dash.prompt_list import PromptList
from sway_dash.dash.state import Selection
from sway_dash.dash.virtual_table import Cell, VirtualTable
from sway_dash.figures.markup import heading
from sway_dash.figures.prompt_stats import Summary, by_tag
from sway_dash.figures.theme import interval, number, visible
from sway_dash.suite.details import detail_key

PERIOD_S = 1.0
"""While a run goes on the tags are counted so often."""

TEXTS = ("prompt", "tags", "top")
"""Columns that are first ordered upwards."""


class PromptTable(pn.viewable.Viewer):
    """A click on a row opens its prompt; a click on a head orders chart and table alike."""

    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown: PromptList = param.ClassSelector(class_=PromptList)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.table = VirtualTable(
            self._rows,
            on_sort=self._sort,
            on_open=self._open,
            on_step=self._step,
            heads=[list(head) for head in HEADS],
            label="Prompts",
            kept="prompts",
            css_classes=["sway-hook-table"],
        )
        self._note = html(visible=False)
        self._file = pmui.FileDownload(
            callback=self.csv, filename="prompts.csv", label="CSV of these rows", size="small", variant="text", margin=0
        )
        self._root = column(html(heading("All prompts, as a table")), self.table, self._note, self._file, gap=8)
        self._asked: tuple[Any, ...] = ()
        self._of: tuple[Any, ...] = ()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("shown.version", watch=True)
    def _refresh(self) -> None:
        shown, choice = self.shown, self.choice
        self._columns()
        chosen = [getattr(choice, name) for name in ("metric", "sort", *choice.FILTER)]
        asked = (shown.run.epoch, shown.series.name, *(tuple(v) if isinstance(v, list) else v for v in chosen))
        if self._asked and asked != self._asked:
            self.table.top += 1
        self._asked = asked
        order = shown.order
        if order == "value":
            order = f"-{shown.metric}"
        n = len(shown.rows)
        label = f"Prompts, {n:,} rows. Arrow keys open the next and the previous one."
        self.table.param.update(total=n, sort=order, label=label)
        self.table.refresh()
        self._mark()
        self._note.visible = not n
        if not n:
            words = "No prompt passes the filter." if choice.filtered else "No prompt has been measured yet."
            set_html(self._note, f'<p class="sway-empty">{words}</p>')
        self._file.visible = bool(n)

    @param.depends("choice.item", watch=True)
    def _mark(self) -> None:
        place = self.shown.place(self.choice.item)
        item = -1 if self.choice.item is None else self.choice.item
        active = {"item": item, "place": -1 if place is None else place}
        if active != self.table.active:
            self.table.active = active

    def _columns(self) -> None:
        """Start a run without the columns that would say the same in every row; what the reader chooses stays."""
        series = self.shown.series
        of = (self.shown.run.epoch, series.name, bool(series.rows))
        if of == self._of:
            return
        self._of = of
        several = any(m.n_positions > 1 for m in series.rows[:50])
        tagged = bool(self.shown.run.tags)
        self.table.hide([*(() if several else ONE_POSITION), *(() if tagged else ("tags",))])

    def _rows(self, first: int, n: int) -> Sequence[tuple[int, Sequence[Cell]]]:
        sought = self.choice.expression() if self.choice.query and self.shown.rows else None
        said = self.shown.series.said if sought is not None else {}
        return [
            (
                row.item,
                cells(row, self.shown.standing(row), sought, said.get(detail_key(row.prompt), "") if said else ""),
            )
            for row in self.shown.rows[first : first + n]
        ]

    def csv(self) -> io.StringIO:
        """What is on the screen: the shown rows and the shown columns, in their order."""
        return io.StringIO(to_csv(((r, self.shown.standing(r)) for r in self.shown.rows), self.table.shown))

    def _sort(self, key: str) -> None:
        """First the order a reader expects, then the other way round, then the usual one."""
        name = next(order for k, *_, order in HEADS if k == key)
        if not name:
            return
        if name == "suite":
            self.choice.sort = "auto" if self.choice.sort == "suite" else "suite"
            return
        cycle = [name, f"-{name}"] if name in TEXTS else [f"-{name}", name]
        now = self.table.sort
        self.choice.sort = cycle[cycle.index(now) + 1] if now in cycle[:-1] else "auto" if now in cycle else cycle[0]

    def _open(self, item: int) -> None:
        if self.shown.place(item) is not None:
            self.shown.open(item)

    def _step(self, step: int) -> None:
        found = self.shown.next_item(step)
        if found is not None:
            self.shown.open(found)


class TagTable(pn.viewable.Viewer):
    """Every tag with n, mean and its own interval; a click shows only its prompts. Its own choice does not count."""

    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown: PromptList = param.ClassSelector(class_=PromptList)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._found: list[tuple[str, Summary]] = []
        self.table = VirtualTable(
            self._rows,
            on_sort=lambda key: None,
            on_open=self._toggle,
            on_step=self._step,
            heads=TAG_HEADS,
            label="Tags. Arrow keys go through them, Enter chooses one.",
            height_px=260,
            choosable=False,
            css_classes=["sway-hook-tags"],
        )
        self._root = column(
            html(heading("By tag", "Mean of each tag's prompts. A click shows only these prompts.")), self.table
        )
        self._held: Hashable = None
        self._made = 0.0
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("shown.version", watch=True)
    def _refresh(self) -> None:
        held = self.shown.held_without("tags")
        # An interval a tag is too much work for every tick.
        early = self.shown.run.live and bool(self._found) and time.monotonic() - self._made < PERIOD_S
        if held != self._held and not early:
            self._held, self._made = held, time.monotonic()
            measured = sorted((r.m for r in self.shown.without("tags") if r.m is not None), key=lambda m: m.item)
            seed, repeats = self.shown.series.seed, self.shown.repeats
            self._found = list(by_tag(measured, self.shown.metric, seed, repeats=repeats).items())
            name = "JS" if self.shown.metric == "js" else "KL"
            heads = [[k, f"Mean {name}, nats" if k == "mean" else title, *rest] for k, title, *rest in TAG_HEADS]
            self.table.param.update(heads=heads, total=len(self._found))
        self._root.visible = bool(self._found)
        self.table.refresh()

    def _rows(self, first: int, n: int) -> Sequence[tuple[int, Sequence[Cell]]]:
        return [
            (
                i,
                [
                    "✓" if tag in self.choice.tags else "",
                    visible(tag),
                    f"{of.n:,}",
                    number(of.mean),
                    interval(of.ci) if of.ci else of.method,
                ],
            )
            for i, (tag, of) in enumerate(self._found[first : first + n], first)
        ]

    def _step(self, step: int) -> None:
        here = self.table.active["item"]
        there = 0 if here < 0 else min(max(here + step, 0), len(self._found) - 1)
        self.table.active = {"item": there, "place": there}

    def _toggle(self, index: int) -> None:
        if 0 <= index < len(self._found):
            self.table.active = {"item": index, "place": index}
            tag = self._found[index][0]
            others = [t for t in self.choice.tags if t != tag]
            self.choice.tags = others if tag in self.choice.tags else [*others, tag]


TAG_HEADS: list[list[Any]] = [
    ["on", "", "18px", False, ""],
    ["tag", "Tag", "minmax(90px, 2fr)", False, ""],
    ["n", "Prompts", "70px", True, ""],
    ["mean", "Mean, nats", "110px", True, ""],
    ["ci", "95 % interval", "minmax(130px, 2fr)", True, ""],
]
