"""Every compared prompt as a row, the open prompt in all runs, and the prompts that are not in every run."""

from __future__ import annotations

import csv
import html as _html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.buttons import Buttons
from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.virtual_table import Cell, VirtualTable
from sway_dash.figures.columns import top_change
from sway_dash.figures.compare_columns import SIGNS, WAYS, delta
from sway_dash.figures.markup import heading, table
from sway_dash.figures.theme import DASH, count, esc, number, visible
from sway_dash.report.frames import inert
from sway_dash.report.paired import NAMES

SHOWN = 300
"""Characters of a prompt that a row is given."""


class CompareTable(pn.viewable.Viewer):
    """A click on a row opens its prompt here, from where it can be opened in its run."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._places: list[int] = []
        self.table = VirtualTable(
            self._rows,
            on_sort=self._sort,
            on_open=self._open,
            on_step=self._step,
            label="Compared prompts",
            css_classes=["sway-hook-compare-table"],
        )
        self._note = html(visible=False)
        self._file = pmui.FileDownload(
            callback=self.csv,
            filename="comparison.csv",
            label="CSV of these rows",
            size="small",
            variant="text",
            margin=0,
        )
        caption = "Largest difference first; unpaired prompts last. A click opens the prompt in all runs."
        self._root = column(
            html(heading("All prompts, as a table", caption)), self.table, self._note, self._file, gap=8
        )
        self._asked: tuple[Any, ...] = ()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("state.version", "state.focus", "state.outside", "state.sort", watch=True)
    def _refresh(self) -> None:
        state = self.state
        if state.comparison is None:
            return
        self._places = state.places()
        asked = (state.epoch, state.focused, state.sort, state.outside, state.query, tuple(state.tags))
        if self._asked and asked != self._asked:
            self.table.top += 1
        self._asked = asked
        heads = self._heads()
        if heads != self.table.heads:
            self.table.heads = heads
        n = len(self._places)
        label = f"Compared prompts, {n:,} rows. Arrow keys open the next and the previous one."
        self.table.param.update(total=n, sort=state.sort or ("" if state.live else "-size"), label=label)
        self.table.refresh()
        self._mark()
        self._note.visible = not n
        self._file.visible = bool(n)
        if not n:
            words = "No prompt passes the filter." if state.filtered or state.outside else "No prompt to compare yet."
            set_html(self._note, f'<p class="sway-empty">{words}</p>')

    @param.depends("state.item", watch=True)
    def _mark(self) -> None:
        item = -1 if self.state.item is None else self.state.item
        active = {"item": item, "place": self._places.index(item) if item in self._places else -1}
        if active != self.table.active:
            self.table.active = active

    def _heads(self) -> list[list[Any]]:
        state = self.state
        pair = f"Δ {state.labels[state.focused]}−{state.labels[state.base]}" if state.focused is not None else "Δ"
        # What a narrow screen has no room for comes last.
        heads: list[list[Any]] = [
            ["way", "", "18px", False, ""],
            ["prompt", "Prompt", "minmax(150px, 4fr)", False, "prompt"],
            ["delta", pair, "92px", True, "delta"],
        ]
        for i, label in enumerate(state.labels):
            heads.append([label, f"{label} ★" if i == state.base else label, "76px", True, label])
        heads.append(["size", "|Δ|", "76px", True, "size"])
        if state.tag_counts:
            heads.append(["tags", "Tags", "minmax(80px, 1fr)", False, "tags"])
        return heads

    def _rows(self, first: int, n: int) -> Sequence[tuple[int, Sequence[Cell]]]:
        return [(place, self._cells(place)) for place in self._places[first : first + n]]

    def _cells(self, place: int) -> list[Cell]:
        comparison, contrast = self.state.comparison, self.state.contrast
        if comparison is None or contrast is None:
            return []
        keys, own = comparison.alignment.keys, float(contrast.deltas[place])
        paired = own == own
        again = f" ({keys[place][1] + 1}.)" if keys[place][1] else ""
        cells: list[Cell] = [
            SIGNS[int(contrast.direction[place])] if paired else DASH,
            visible(keys[place][0])[:SHOWN] + again,
            delta(own),
            *(number(float(v)) for v in comparison.values[place]),
            number(abs(own)),
        ]
        if self.state.tag_counts:
            cells.append(", ".join(map(visible, comparison.alignment.tags[place])))
        return cells

    def csv(self) -> io.StringIO:
        """The listed rows in their order, at full precision; no text that a spreadsheet would run."""
        out = io.StringIO()
        comparison = self.state.comparison
        if comparison is None:
            return out
        write = csv.writer(out)
        names = [f"{label} {side.name}" for label, side in zip(self.state.labels, self.state.sides, strict=True)]
        changes = [f"delta {self.state.labels[c.run]}" for c in comparison.contrasts]
        write.writerow(["prompt", "occurrence", "tags", *map(inert, names), *changes])
        for place in self._places:
            text, occurrence = comparison.alignment.keys[place]
            values = [*comparison.values[place].tolist(), *(float(c.deltas[place]) for c in comparison.contrasts)]
            shown = [repr(v) if v == v else "" for v in values]
            tags = "; ".join(comparison.alignment.tags[place])
            write.writerow([inert(text), occurrence + 1, inert(tags), *shown])
        out.seek(0)
        return out

    def _sort(self, key: str) -> None:
        """First the order a reader expects, then the other way round, then the usual one."""
        texts = key in ("prompt", "tags")
        cycle = [key, f"-{key}"] if texts else [f"-{key}", key]
        now = self.table.sort
        self.state.sort = cycle[cycle.index(now) + 1] if now in cycle[:-1] else "" if now in cycle else cycle[0]

    def _open(self, place: int) -> None:
        if place in self._places:
            self.state.item = place

    def _step(self, step: int) -> None:
        if not self._places:
            return
        at = self._places.index(self.state.item) if self.state.item in self._places else -1 if step > 0 else 1
        self.state.item = self._places[min(max(at + step, 0), len(self._places) - 1)]


class ComparePrompt(pn.viewable.Viewer):
    """The open prompt in every run."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._text = html(css_classes=["sway-hook-compare-prompt"])
        self._open = Buttons(self._pressed, label="Open this prompt in a run", css_classes=["sway-hook-open-in"])
        self._root = column(self._text, self._open, gap=8, visible=False)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("state.version", "state.item", watch=True)
    def _refresh(self) -> None:
        state, comparison, place = self.state, self.state.comparison, self.state.item
        known = comparison is not None and place is not None and place < len(comparison.alignment.keys)
        self._root.visible = known
        if comparison is None or place is None or not known:
            return
        text, occurrence = comparison.alignment.keys[place]
        rows = []
        for run, label in enumerate(state.labels):
            value = float(comparison.values[place, run])
            contrast = comparison.contrast(run)
            if value != value:
                rows.append((label, f"<i>{esc(comparison.missing(run, place))}</i>", DASH, DASH, ""))
                continue
            change, floor = DASH, DASH
            if contrast is not None and contrast.deltas[place] == contrast.deltas[place]:
                way = int(contrast.direction[place])
                change = f"{delta(float(contrast.deltas[place]))} {SIGNS[way]} {WAYS[way]}"
                floor = f"± {number(float(contrast.floors[place]))}"
            item = comparison.item_of(run, place)
            found = state.sides[run].measurement(comparison.probe, item) if item is not None else None
            name = f"{label}&nbsp;★" if contrast is None else label
            rows.append((name, number(value), change, floor, esc(top_change(found)) if found is not None else ""))
        head = ("Run", f"{NAMES[comparison.metric]}, nats", "Δ", "Noise", "Likeliest next token")
        again = f"Occurrence {occurrence + 1} of this prompt. " if occurrence else ""
        tags = ", ".join(map(visible, comparison.alignment.tags[place]))
        line = f'<p class="sway-caption">{esc(again + tags)}</p>' if again or tags else ""
        prompt = f'<div class="sway-prompt" dir="auto">{_html.escape(text)}</div>'
        set_html(self._text, heading("One prompt in every run") + prompt + line + table(head, rows, right=(1, 2, 3)))
        here = [i for i in range(len(state.sides)) if comparison.item_of(i, place) is not None]
        self._open.offer((str(i), f"Open in {state.labels[i]}", state.sides[i].name) for i in here)

    def _pressed(self, key: str) -> None:
        if self.state.item is not None:
            self.state.open_prompt(int(key), self.state.item)


class UnpairedList(pn.viewable.Viewer):
    """Prompts that some run has no value of, with the reason; not there when every prompt is in every run."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._found: list[int] = []
        self._head = html(css_classes=["sway-hook-unpaired"])
        self.table = VirtualTable(
            self._rows,
            on_sort=lambda key: None,
            on_open=self._open,
            on_step=lambda step: None,
            heads=UNPAIRED_HEADS,
            label="Prompts that are not in every run",
            height_px=300,
            css_classes=["sway-hook-unpaired-table"],
        )
        # Three columns, all of them needed.
        self.table.stylesheets = [*self.table.stylesheets, ".columns { display: none; }"]
        self._root = column(self._head, self.table, visible=False)
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("state.version", watch=True)
    def _refresh(self) -> None:
        comparison = self.state.comparison
        if comparison is None:
            self._root.visible = False
            return
        lacking = np.isnan(comparison.values).any(axis=1) & comparison.admitted
        self._found = np.flatnonzero(lacking).tolist()
        n = len(self._found)
        self._root.visible = bool(n)
        title = f"{count(n, 'prompt')} not in every run"
        set_html(self._head, heading(title, "Listed, not dropped: no difference can be formed of them."))
        self.table.total = n
        self.table.refresh()

    def _open(self, place: int) -> None:
        if place in self._found:
            self.state.item = place

    def _rows(self, first: int, n: int) -> Sequence[tuple[int, Sequence[Cell]]]:
        comparison, labels = self.state.comparison, self.state.labels
        if comparison is None:
            return []
        out: list[tuple[int, Sequence[Cell]]] = []
        for place in self._found[first : first + n]:
            lacking = np.isnan(comparison.values[place])
            has = " ".join(label for label, lacks in zip(labels, lacking, strict=True) if not lacks)
            why = "; ".join(
                f"{labels[run]}: {comparison.missing(run, place)}" for run in np.flatnonzero(lacking).tolist()
            )
            out.append((place, [visible(comparison.alignment.keys[place][0])[:SHOWN], has, why]))
        return out


UNPAIRED_HEADS: list[list[Any]] = [
    ["prompt", "Prompt", "minmax(150px, 3fr)", False, ""],
    ["has", "In", "80px", False, ""],
    ["why", "Not in", "minmax(150px, 2fr)", False, ""],
]
