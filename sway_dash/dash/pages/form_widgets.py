"""Widgets of single fields, and parts of a form that can be folded away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.components import column, grid
from sway_dash.dash.draft import Draft
from sway_dash.dash.fields import FormField, helper, hint, read, show
from sway_dash.dash.yaml_tree import Place
from sway_dash.figures.theme import visible

LOOK = {"sizing_mode": "stretch_width", "margin": (6, 0, 0, 0), "size": "small"}


class FieldWidget:
    """One widget bound to one or more places of a draft: where both models must agree, both are written.

    A ``brief`` one says what it is for only while it is empty.
    """

    def __init__(
        self, draft: Draft, field: FormField, places: Sequence[Place], label: str = "", *, brief: bool = False
    ) -> None:
        self.draft, self.field, self.places, self._brief = draft, field, tuple(places), brief
        self.widget = _widget(field, label or field.label)
        self._filling = False
        self.widget.param.watch(self._edited, "value")
        self.fill()

    def fill(self) -> None:
        """Show what the draft says, and what is wrong with it."""
        shown = show(self.draft.get(*self.places[0]), self.field)
        wrong = [m for place in self.places for m in self.draft.messages(place)]
        changes: dict[str, Any] = {"disabled": not self.draft.readable}
        if self.field.kind == "choice" and shown not in self.widget.options.values():
            # A choice that does not exist is shown as it is, with what is wrong about it.
            changes["options"] = {**self.widget.options, visible(shown): shown}
        if self.widget.value != shown:
            changes["value"] = shown
            if "value_input" in self.widget.param:
                changes["value_input"] = shown
        if "error_state" in self.widget.param:
            words = "" if self._brief and shown else helper(self.field)
            changes |= {"error_state": bool(wrong), "helper_text": wrong[0] if wrong else words}
        changes = {k: v for k, v in changes.items() if getattr(self.widget, k) != v}
        self._filling = True
        try:
            self.widget.param.update(**changes)
        finally:
            self._filling = False

    def _edited(self, event: Any) -> None:
        if not self._filling and self.draft.readable:
            self.draft.set_values(dict.fromkeys(self.places, read(event.new, self.field)))


def _widget(field: FormField, label: str) -> Any:
    if field.kind == "choice":
        options = {option or "not set": option for option in field.options}
        return pmui.Select(label=label, options=options, value=show(None, field), **LOOK)
    if field.kind == "flag":
        return pmui.Switch(label=label, value=show(None, field), margin=(8, 0, 0, 0))
    if field.wide:
        one = "one a line" if field.kind == "lines" else "as YAML"
        rows = {"rows": 2, "max_rows": 12, "auto_grow": True, "max_length": 200_000}
        return pmui.TextAreaInput(label=label, placeholder=f"{one}; {hint(field)}", **rows, **LOOK)
    return pmui.TextInput(label=label, placeholder=hint(field), max_length=20_000, **LOOK)


def pairs(widgets: Sequence[Any], wide: Sequence[bool]) -> list[Any]:
    """Widgets two by two; a wide one has a line of its own."""
    out: list[Any] = []
    row: list[Any] = []
    for widget, alone in zip(widgets, wide, strict=True):
        if alone:
            out += [grid(*row, even=True)] if row else []
            out.append(widget)
            row = []
            continue
        row.append(widget)
        if len(row) == 2:
            out.append(grid(*row, even=True))
            row = []
    return out + ([grid(*row, even=True)] if row else [])


class Fold(pn.viewable.Viewer):
    """A part of the form behind a button; what is in it is made when it is first opened."""

    title = param.String(default="")
    open = param.Boolean(default=False)

    def __init__(self, title: str, make: Callable[[], Sequence[Any]], **params: Any) -> None:
        super().__init__(title=title, **params)
        self._make = make
        self._made = False
        # A title that takes two lines on a telephone begins where one of one line does.
        self._button = pmui.Button(variant="text", size="small", margin=(4, 0, 0, -6), sx={"textAlign": "left"})
        self._button.on_click(lambda _: self.param.update(open=not self.open))
        self._inner = column(gap=0, visible=False)
        self._root = column(self._button, self._inner, gap=0)
        self._follow()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @param.depends("open", "title", watch=True)
    def _follow(self) -> None:
        sign = "▾" if self.open else "▸"
        self._button.param.update(label=f"{sign} {self.title}", description="")
        if self.open and not self._made:
            self._made = True
            self._inner.objects = list(self._make())
        self._inner.visible = self.open


class FieldGroup(pn.viewable.Viewer):
    """The fields of one model: the basic ones at once, the others behind "More settings"."""

    def __init__(
        self, draft: Draft, fields: Sequence[FormField], place: Callable[[FormField], Sequence[Place]]
    ) -> None:
        super().__init__()
        self._draft, self._place = draft, place
        basic, more = [f for f in fields if f.basic], [f for f in fields if not f.basic]
        self._more = more
        self.fields: list[FieldWidget] = []
        self._fold = Fold("More settings", lambda: self._add(more)) if more else None
        self._root = column(*self._add(basic), *([self._fold] if self._fold else []), gap=0)
        self.fill()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def fill(self) -> None:
        """Show what the draft says."""
        for field in self.fields:
            field.fill()
        if self._fold is not None:
            given = sum(self._draft.get(*self._place(f)[0]) is not None for f in self._more)
            wrong = sum(bool(self._draft.messages(p)) for f in self._more for p in self._place(f))
            parts = [f"{given} set"] if given else []
            parts += [f"{wrong} wrong"] if wrong else []
            self._fold.title = "More settings" + (f" ({', '.join(parts)})" if parts else "")

    def reveal(self, where: Place) -> bool:
        """Open the fold if a place is behind it; whether the place is in this group at all."""
        behind = any(where[: len(p)] == p for f in self._more for p in self._place(f))
        if behind and self._fold is not None:
            self._fold.open = True
        return behind or any(where[: len(p)] == p for field in self.fields for p in field.places)

    def _add(self, fields: Sequence[FormField]) -> list[Any]:
        made = [FieldWidget(self._draft, f, self._place(f)) for f in fields]
        self.fields += made
        return pairs([m.widget for m in made], [m.field.wide for m in made])
