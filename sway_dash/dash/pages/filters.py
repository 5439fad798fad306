"""One row that says which prompts are shown: search, status, least divergence, tags; and what is in force."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.chips import Chips, State
from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.pages.controls import bind_search, bind_select
from sway_dash.dash.prompt_list import Place, PromptList
from sway_dash.dash.state import Selection
from sway_dash.figures.columns import MARKS
from sway_dash.figures.theme import count, number

PAUSE_MS = 20
"""A search waits until typing has paused for so long."""


class FilterBar(pn.viewable.Viewer):
    """Reads and writes the filter of ``choice``. What a control counts ignores its own choice."""

    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown: PromptList = param.ClassSelector(class_=PromptList)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._search = pmui.TextInput(
            label="Search prompts, tags, tokens, generations", width=330, value=self.choice.query, **CONTROL
        )
        self._regex = pmui.Checkbox(label="regex", value=self.choice.regex, margin=(4, 8, 4, 0), size="small")
        self._status = Chips(self._stand, label="Against random adapters", styles={"margin-right": "8px"})
        self._least = pmui.FloatInput(label="At least, nats", start=0.0, step=0.01, width=125, sx=_NO_STEPS, **CONTROL)
        self._tags = Chips(self._tag, label="Tags")
        self._active = Chips(self._drop, label="Filters in force")
        self._count = html(css_classes=["sway-hook-count"])
        self._counted: tuple[int, ...] = ()
        self._status_of: Hashable = None
        self._places: dict[Place, int] = {}
        self._tags_of: Hashable = None
        self._tag_counts: dict[str, int] = {}
        # Typing has a pause of its own, below; Panel's would come on top of it.
        self._search._debounce = 1
        bind_search(self._search, self.choice, PAUSE_MS)
        bind_select(self._regex, self.choice, "regex")
        self._least.param.watch(lambda e: self.choice.param.update(least=max(e.new or 0.0, 0.0)), "value")
        self.choice.param.watch(lambda e: self._least.param.update(value=e.new), "least")
        line: dict[str, Any] = {"margin": 0, "sizing_mode": "stretch_width", "align_items": "center"}
        controls = pn.FlexBox(
            self._search,
            self._regex,
            self._status,
            self._least,
            self._tags,
            **line,
        )
        below = pn.FlexBox(
            self._count, self._active, margin=0, sizing_mode="stretch_width", align_items="center", gap="10px"
        )
        self._root = column(controls, below, gap=4, css_classes=["sway-hook-filters"])
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def focus(self) -> None:
        """Put the cursor into the search box."""
        self._search.focus()

    @property
    def wrong(self) -> str:
        """What is wrong with the regular expression, in words; empty when nothing is."""
        return self.choice.expression().problem

    # -- reading state --------------------------------------------------------------------------

    @param.depends("shown.version", watch=True)
    def _refresh(self) -> None:
        wrong = self.wrong
        if (self._search.error_state, self._search.helper_text) != (bool(wrong), wrong):
            self._search.param.update(error_state=bool(wrong), helper_text=wrong)
        self._active.offer(self._in_force())
        failed = sum(bool(r.error) for r in self.shown.all_rows())
        counted = (self.shown.content, failed, self.shown.total)
        if counted == self._counted:
            return
        self._counted = counted
        self._statuses()
        self._tag_chips()
        shown = sum(r.m is not None for r in self.shown.rows)
        whole = sum(r.m is not None for r in self.shown.all_rows())
        text = f"{shown:,} of {count(whole, 'prompt')} shown"
        waiting = self.shown.total - whole - failed
        text += f", {failed:,} could not be measured" if failed else ""
        if waiting > 0:
            text += f", {waiting:,} not measured" + (" yet" if self.shown.run.live else "")
        set_html(self._count, f'<span class="sway-caption sway-num" role="status">{text}</span>')

    def _statuses(self) -> None:
        held = self.shown.held_without("status")
        if held != self._status_of:
            self._status_of = held
            places = self.shown.places(self.shown.without("status"))
            self._places = {name: places[name] for name in ("above", "inside")}
        self._status.offer(
            (name, f"{MARKS[name]} {name}", f"{n:,}", "on" if self.choice.status == name else "off")
            for name, n in self._places.items()
            if any(self._places.values())
        )

    def _tag_chips(self) -> None:
        held = self.shown.held_without("tags")
        if held != self._tags_of:
            self._tags_of = held
            self._tag_counts = dict.fromkeys(self.shown.run.tags, 0)
            for row in self.shown.without("tags"):
                for tag in dict.fromkeys(row.tags):
                    self._tag_counts[tag] = self._tag_counts.get(tag, 0) + 1
        on = set(self.choice.tags)
        self._tags.offer((t, t, f"{n:,}", "on" if t in on else "off") for t, n in self._tag_counts.items())

    def _in_force(self) -> Iterator[tuple[str, str, str, State]]:
        choice = self.choice
        if choice.query:
            where = ", generations too" if self.shown.series.said else ""
            yield "query", f"{'regex' if choice.regex else 'text'}{where}: {choice.query}", "", "remove"
        if choice.status:
            yield "status", f"{choice.status} random adapters", "", "remove"
        if choice.least:
            yield "least", f"at least {number(choice.least, 'nats')}", "", "remove"
        for tag in choice.tags:
            yield f"tag {tag}", f"tag: {tag}", "", "remove"
        if choice.picked:
            yield "picked", f"{len(choice.picked):,} brushed", "", "remove"
        if choice.filtered:
            yield "all", "clear all", "", "remove"

    # -- writing state --------------------------------------------------------------------------

    def _stand(self, status: str) -> None:
        self.choice.status = "" if self.choice.status == status else status

    def _tag(self, tag: str) -> None:
        tags = [t for t in self.choice.tags if t != tag]
        self.choice.tags = tags if tag in self.choice.tags else [*tags, tag]

    def _drop(self, key: str) -> None:
        if key == "all":
            self.choice.clear()
        elif key.startswith("tag "):
            self.choice.tags = [t for t in self.choice.tags if t != key.removeprefix("tag ")]
        else:
            self.choice.param.update(**{key: self.choice.param[key].default})


_NO_STEPS = {
    "& .MuiInputAdornment-root": {"display": "none"},
    "& .MuiInputBase-input": {"paddingLeft": "12px"},
}
"""Its two buttons have no names, and steps of a fixed size suit no scale of divergences; one kept the edge free."""

CONTROL: dict[str, Any] = {"size": "small", "margin": (4, 8, 4, 0)}
