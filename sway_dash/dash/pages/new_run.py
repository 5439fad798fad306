"""A new run: form and YAML of one draft side by side, what it will measure, and Run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.errors import SwayError
from sway_dash.core.model import ModelSpec
from sway_dash.dash import jobs
from sway_dash.dash.components import body, column, grid, heading, html, set_html, toned
from sway_dash.dash.draft import Draft
from sway_dash.dash.fields import FormField, form_fields, hint, prompts_from, prompts_text, read, show, tags_of
from sway_dash.dash.theme import count, esc, visible
from sway_dash.dash.yaml_tree import Place
from sway_dash.probes.base import registry

MODEL = {f.name: f for f in form_fields(ModelSpec)}
PLACES: dict[str, tuple[Place, ...]] = {
    "base": (("models", "base", "base"), ("models", "ft", "base")),
    "adapter": (("models", "ft", "adapter"),),
    "dtype": (("models", "base", "dtype"), ("models", "ft", "dtype")),
    "device": (("models", "base", "device"), ("models", "ft", "device")),
}
"""Where the model fields are written: to both sides where both must agree."""


class NewRunView(pn.viewable.Viewer):
    """Widgets write the draft, the draft writes widgets; ``started`` names the run that was begun."""

    draft: Draft = param.ClassSelector(class_=Draft)  # type: ignore[assignment]
    entry = param.Integer(default=-1, doc="Probe entry that is open in the form; -1: the first that measures prompts.")
    dark = param.Boolean(default=False)
    run = param.Event(doc="Start the run.")
    started = param.String(default="", doc="Id of the run that was started.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._busy = False
        self._bound: list[tuple[Any, FormField, tuple[Place, ...]]] = []
        self._title = pmui.TextInput.from_param(
            self.draft.param.title,
            description="",
            label="Name of the run",
            sizing_mode="stretch_width",
            size="small",
            margin=(6, 0),
        )
        self._models = [self._widget(MODEL[name], places) for name, places in PLACES.items()]
        self._probes = pmui.Select(
            label="Probe to edit",
            options={"": 0},
            value=0,
            sizing_mode="stretch_width",
            size="small",
            margin=(6, 0, 0, 0),
        )
        self._probes.param.watch(lambda e: setattr(self, "entry", e.new or 0), "value")
        self._settings = pn.Column(sizing_mode="stretch_width", margin=0)
        self._prompts = pmui.TextAreaInput(
            label="Prompts",
            margin=(10, 0, 0, 0),
            rows=8,
            max_rows=16,
            auto_grow=True,
            sizing_mode="stretch_width",
            placeholder="One prompt a line, or a YAML list: - {text: ..., tags: [...]}",
        )
        self._prompts.param.watch(self._prompts_edited, "value")
        self._count = html(css_classes=["sway-hook-count"])
        self._editor = pn.widgets.CodeEditor(
            value=self.draft.text,
            language="yaml",
            height=520,
            sizing_mode="stretch_width",
            margin=0,
            indent=2,
            soft_tabs=True,
            css_classes=["sway-hook-yaml"],
        )
        self._editor.param.watch(lambda e: self.draft.set_text(e.new) if e.new != self.draft.text else None, "value")
        self._say = html(css_classes=["sway-hook-plan"])
        self._failure = html()
        self._run = pmui.Button.from_param(self.param.run, description="", label="Run", variant="contained", margin=0)
        self._shown_kind: tuple[int, str] = (-1, "")
        self._layout()
        self._follow()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def _layout(self) -> None:
        # Loading another suite starts at its first measuring entry.
        self.draft.param.watch(lambda _: setattr(self, "entry", -1), "base_dir")
        demo = pmui.Button(label="Example suite", variant="text", size="small", margin=0)
        demo.on_click(lambda _: self.draft.use_demo())
        empty = pmui.Button(label="Empty suite", variant="text", size="small", margin=0)
        empty.on_click(lambda _: self.draft.use_template())
        base, adapter, dtype, device = self._models
        self._where = html()
        form = column(
            html(heading("New run")),
            pn.FlexBox(demo, empty, margin=0, gap="8px"),
            self._title,
            html(heading("Models")),
            base,
            adapter,
            grid(dtype, device, even=True),
            self._where,
            html(heading("Probes")),
            self._probes,
            self._settings,
            self._prompts,
            self._count,
        )
        yaml_note = "Both sides show the same suite. Editing the form writes the YAML anew, without its comments."
        right = column(self._run, self._say, self._failure, html(heading("As YAML", yaml_note)), self._editor, gap=10)
        self._root = body(grid(form, right, even=True))

    # -- draft to widgets -----------------------------------------------------------------------

    @param.depends("draft.text", "draft.problems", "entry", watch=True)
    def _follow(self) -> None:
        """Show the draft; watchers of the widgets are silent meanwhile."""
        if self._busy:
            return
        self._busy = True
        try:
            if self._editor.value != self.draft.text:
                self._editor.value = self.draft.text
            self._editor.annotations = self._annotations()
            names = [f"{e.get('name', '?')} ({e.get('kind', '?')})" for e in self.draft.entries()]
            options = {f"{i + 1}. {visible(name)}": i for i, name in enumerate(names)} or {"no probe": 0}
            if self._probes.options != options:
                self._probes.options = options
            at = self.entry if 0 <= self.entry < len(names) else self._first()
            self._probes.value = at
            self._build_settings(at)
            self._fill(at)
            self._plan()
        finally:
            self._busy = False

    def _first(self) -> int:
        """The entry the form opens with: the first ``delta_kl``."""
        kinds = [e.get("kind") for e in self.draft.entries()]
        return kinds.index("delta_kl") if "delta_kl" in kinds else 0

    def _build_settings(self, at: int) -> None:
        """Widgets of the open entry's kind; kept as long as the kind is the same."""
        kind = str((self.draft.get("suite", at) or {}).get("kind", "")) if self.draft.entries() else ""
        if self._shown_kind == (at, kind):
            return
        self._shown_kind = (at, kind)
        self._bound = self._bound[: len(self._models)]
        probe = registry().get(kind)
        if probe is None:
            self._settings.objects = []
            return
        fields = form_fields(probe.spec_cls, skip=("kind", "prompts"))
        widgets = [self._widget(f, (("suite", at, f.name),)) for f in fields]
        pairs = [grid(*widgets[i : i + 2], even=True) for i in range(0, len(widgets), 2)]
        self._settings.objects = pairs

    def _fill(self, at: int) -> None:
        closed = not self.draft.readable
        for widget, field, places in self._bound:
            shown = show(self.draft.get(*places[0]), field)
            wrong = [m for place in places for m in self.draft.messages(place)]
            changes: dict[str, Any] = {"disabled": closed}
            if widget.value != shown:
                changes["value"] = shown
            if "error_state" in widget.param:
                changes |= {"error_state": bool(wrong), "helper_text": wrong[0] if wrong else _help(field)}
            widget.param.update(**changes)
        prompts = self.draft.get("suite", at, "prompts")
        kind = registry().get(self._shown_kind[1])
        self._prompts.visible = self._count.visible = kind is not None and "prompts" in kind.spec_cls.model_fields
        wrong = self.draft.messages(("suite", at, "prompts"))
        text = prompts_text(prompts) if isinstance(prompts, list) else ""
        same = prompts_from(self._prompts.value or "")[0] == prompts
        self._prompts.param.update(
            disabled=closed,
            error_state=bool(wrong),
            helper_text=wrong[0] if wrong else "",
            **({} if same else {"value": text}),
        )
        self._say_count(prompts if isinstance(prompts, list) else [])

    def _say_count(self, prompts: list[Any], wrong: str = "") -> None:
        tags = ", ".join(f"{visible(t)} {n}" for t, n in tags_of(prompts).items())
        text = esc(wrong) if wrong else esc(count(len(prompts), "prompt") + (f"; tags: {tags}" if tags else ""))
        set_html(self._count, f'<p class="sway-caption" role="status">{text}</p>')

    def _plan(self) -> None:
        lines = self.draft.lines()
        self._run.disabled = bool(lines)
        where = esc(self.draft.base_dir)
        set_html(self._where, f'<p class="sway-caption">Relative paths start at {where}.</p>')
        if lines:
            items = "".join(f"<li>{esc(line)}</li>" for line in lines[:12])
            more = f"<li>and {len(lines) - 12} more</li>" if len(lines) > 12 else ""
            title = f"<b>{count(len(lines), 'problem')}.</b>"
            set_html(self._say, toned("bad", "sway-banner", f"{title}<ul>{items}{more}</ul>", role="alert"))
            return
        probes = count(len(self.draft.entries()), "probe")
        text = f"{probes}, {count(self.draft.planned, 'measurement')} planned. The run goes on when this tab is closed."
        set_html(self._say, f'<p class="sway-caption">{text}</p>')

    def _annotations(self) -> list[dict[str, Any]]:
        from sway_dash.suite import loader

        try:
            lines = loader.parse_yaml(self.draft.text, source="")[1]
        except SwayError:
            lines = {}
        return [
            {"row": (loader.line_of(where, lines) or 1) - 1, "column": 0, "text": message, "type": "error"}
            for where, message in self.draft.problems
        ]

    # -- widgets to draft -----------------------------------------------------------------------

    def _widget(self, field: FormField, places: tuple[Place, ...]) -> Any:
        common = {"label": field.label, "sizing_mode": "stretch_width", "margin": (6, 0, 0, 0), "size": "small"}
        widget: Any
        if field.kind == "choice":
            widget = pmui.Select(options=list(field.options), value=show(None, field), **common)
        elif field.kind == "flag":
            widget = pmui.Switch(value=show(None, field), label=field.label, margin=(6, 0, 0, 0))
        else:
            widget = pmui.TextInput(placeholder=hint(field), **common)
        widget.param.watch(self._edited(field, places), "value")
        self._bound.append((widget, field, places))
        return widget

    def _edited(self, field: FormField, places: tuple[Place, ...]) -> Callable[[Any], None]:
        def edited(event: Any) -> None:
            if not self._busy and self.draft.readable:
                value = read(event.new, field)
                self.draft.set_values(dict.fromkeys(places, value))

        return edited

    def _prompts_edited(self, event: Any) -> None:
        if self._busy or not self.draft.readable:
            return
        prompts, wrong = prompts_from(event.new or "")
        if wrong:
            self._prompts.param.update(error_state=True, helper_text=wrong)
            self._say_count([], wrong)
            return
        self.draft.set_values({("suite", self._shown_kind[0], "prompts"): prompts})

    @param.depends("dark", watch=True)
    def _recolor(self) -> None:
        self._editor.theme = "github_dark" if self.dark else "github_light_default"

    @param.depends("run", watch=True)
    def _start(self) -> None:
        if self.draft.problems:
            return
        try:
            folder = jobs.start(self.draft.text, base_dir=Path(self.draft.base_dir), name=self.draft.title)
        except (OSError, SwayError) as error:
            set_html(self._failure, toned("bad", "sway-banner", f"<b>Not started.</b> {esc(error)}", role="alert"))
            return
        set_html(self._failure, "")
        self.started = folder.id


def _help(field: FormField) -> str:
    """What a field means and what it is when left empty."""
    default = "" if field.kind in ("choice", "flag") else hint(field)
    text = f"default {default}" if default and default != "not set" else ""
    return "; ".join(p for p in (field.help, text) if p)
