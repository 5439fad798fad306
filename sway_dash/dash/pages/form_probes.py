"""The part of the form about probes: the list of entries, and an editor for the one that is open.

One editor at a time: widgets for every entry would take seconds to build. Kinds and fields come from the registry, so
a new probe appears here by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.draft import Draft
from sway_dash.dash.fields import FormField, form_fields
from sway_dash.dash.pages.form_widgets import FieldGroup
from sway_dash.dash.yaml_tree import Place
from sway_dash.figures.markup import heading
from sway_dash.figures.theme import esc, visible
from sway_dash.probes.base import registry

SMALL = {"size": "small", "variant": "text", "margin": 0}


class ProbesForm(pn.viewable.Viewer):
    """Writes the suite's list of entries; ``entry`` is the one that is open."""

    draft: Draft = param.ClassSelector(class_=Draft)  # type: ignore[assignment]
    entry = param.Integer(default=0, bounds=(0, None), doc="Index of the open entry.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._shown: tuple[int, str] = (-1, "")
        self._group: FieldGroup | None = None
        self._list = pmui.RadioButtonGroup(
            label="In the order they run",
            options={"": 0},
            value=0,
            orientation="vertical",
            size="small",
            sizing_mode="stretch_width",
            margin=(4, 0),
            sx={
                "& .MuiToggleButton-root": {"justifyContent": "flex-start", "textAlign": "left", "py": "3px"},
            },
        )
        self._list.param.watch(self._chosen, "value")
        kinds = {f"{kind}: {_about(kind)}": kind for kind in sorted(registry())}
        self._add = pmui.Select(
            label="Add a probe", options={"choose a kind …": "", **kinds}, value="", size="small", width=260, margin=0
        )
        self._add.param.watch(self._added, "value")
        self._buttons = {
            "up": self._button("↑ Up", lambda i: self._moved(i, i - 1)),
            "down": self._button("↓ Down", lambda i: self._moved(i, i + 1)),
            "copy": self._button("Duplicate", lambda i: self._go(self.draft.duplicate_entry(i))),
            "remove": self._button("Remove", self._removed),
        }
        self._on = pmui.Switch(label="Run this probe", margin=(6, 0, 0, 0))
        self._on.param.watch(self._switched, "value")
        self._head = html(css_classes=["sway-hook-entry"])
        self._fields = column(gap=0)
        self._root = column(
            html(heading("Probes")),
            self._list,
            pn.FlexBox(self._add, *self._buttons.values(), margin=0, gap="6px", align_items="center"),
            self._head,
            self._on,
            self._fields,
            gap=4,
        )
        self.draft.param.watch(lambda *_: self.open_first(), "loads")
        self.draft.param.watch(lambda *_: self.fill(), ["data", "problems", "readable"])
        self.open_first()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def kind(self) -> str:
        """Kind of the open entry."""
        return str(self.draft.get("suite", self.entry, "kind") or "")

    def open_first(self) -> None:
        """Open what matters most: the first entry that measures prompts."""
        kinds = [e.get("kind") for e in self.draft.entries()]
        self.entry = kinds.index("delta_kl") if "delta_kl" in kinds else 0
        self.fill()

    def reveal(self, where: Place) -> bool:
        """Open the entry a place is in; whether there is one."""
        if where[:1] != ("suite",):
            return False
        if len(where) > 1 and isinstance(where[1], int) and where[1] < len(self.draft.entries()):
            self.entry = where[1]
            if self._group is not None:
                self._group.reveal(where)
        return True

    @param.depends("entry", watch=True)
    def fill(self) -> None:
        """Show what the draft says."""
        entries = self.draft.entries()
        if entries and self.entry >= len(entries):
            self.entry = len(entries) - 1
            return
        options = {self._label(i, e): i for i, e in enumerate(entries)} or {"no probe yet": 0}
        if self._list.options != options:
            self._list.options = options
        if self._list.value != self.entry:
            self._list.value = self.entry
        closed = not self.draft.readable
        self._list.disabled = self._add.disabled = closed
        there = bool(entries) and not closed
        states = {"up": self.entry > 0, "down": self.entry < len(entries) - 1, "copy": True, "remove": True}
        for name, button in self._buttons.items():
            button.disabled = not (there and states[name])
        self._editor(entries)

    def _editor(self, entries: list[dict[str, Any]]) -> None:
        """Fields of the open entry; built anew only when another entry or kind is open."""
        kind = self.kind if entries else ""
        probe = registry().get(kind)
        if (self.entry, kind) != self._shown:
            self._shown = (self.entry, kind)
            self._group = None
            if probe is not None:
                fields = form_fields(probe.spec_cls, skip=("kind", "prompts", "enabled"))
                self._group = FieldGroup(self.draft, fields, partial(_place, self.entry))
            self._fields.objects = [self._group] if self._group else []
        elif self._group is not None:
            self._group.fill()
        own = [m for where, m in self.draft.problems if where in (("suite",), ("suite", self.entry), self._at("kind"))]
        text = f'<p class="sway-caption"><b>{esc(kind)}</b> {esc(_about(kind))}</p>' if entries else ""
        alerts = "".join(f'<p class="sway-alert" role="alert" tabindex="-1" data-problem>{esc(m)}</p>' for m in own)
        set_html(self._head, text + alerts)
        self._on.visible = probe is not None
        self._on.disabled = not self.draft.readable
        enabled = self.draft.get(*self._at("enabled")) is not False
        if self._on.value != enabled:
            self._on.value = enabled

    def _at(self, name: str) -> Place:
        return ("suite", self.entry, name)

    def _label(self, index: int, entry: dict[str, Any]) -> str:
        wrong = len(self.draft.messages(("suite", index)))
        parts = [f"{index + 1}. {visible(entry.get('name') or 'no name')} · {visible(entry.get('kind') or 'no kind')}"]
        prompts = entry.get("prompts")
        if isinstance(prompts, list):
            parts.append(f"{len(prompts)} prompts" if len(prompts) != 1 else "1 prompt")
        if entry.get("enabled") is False:
            parts.append("off")
        if wrong:
            parts.append(f"✕ {wrong} wrong")
        return " · ".join(parts)

    # -- widgets to draft -----------------------------------------------------------------------

    def _button(self, label: str, act: Callable[[int], None]) -> Any:
        button = pmui.Button(label=label, **SMALL)

        def pressed(_: Any) -> None:
            if self.draft.readable and self.draft.entries():
                act(self.entry)

        button.on_click(pressed)
        return button

    def _chosen(self, event: Any) -> None:
        if isinstance(event.new, int):
            self.entry = event.new

    def _added(self, event: Any) -> None:
        if event.new and self.draft.readable:
            self._go(self.draft.add_entry(event.new))
        if event.new:
            self._add.value = ""

    def _switched(self, event: Any) -> None:
        if self.draft.readable and event.new != (self.draft.get(*self._at("enabled")) is not False):
            self.draft.set_values({self._at("enabled"): None if event.new else False})

    def _moved(self, index: int, to: int) -> None:
        self.draft.move_entry(index, to)
        self._go(to)

    def _removed(self, index: int) -> None:
        self.draft.remove_entry(index)
        self._go(max(0, index - 1))

    def _go(self, index: int) -> None:
        # The same index may be another entry now.
        self._shown = (-1, "")
        if self.entry == index:
            self.fill()
        else:
            self.entry = index


def _place(entry: int, field: FormField) -> list[Place]:
    return [("suite", entry, field.name)]


def _about(kind: str) -> str:
    """First sentence of what a probe says of itself."""
    probe = registry().get(kind)
    return (probe.__doc__ or "").strip().split("\n")[0].rstrip(".") if probe is not None else ""
