"""A new run: form and YAML of one draft side by side, what it will cost, and Run."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash import drafts, jobs
from sway_dash.dash.components import beside, body, column, grid, html, set_html
from sway_dash.dash.costs import Costs
from sway_dash.dash.draft import Draft
from sway_dash.dash.fields import form_fields
from sway_dash.dash.jump import Jump
from sway_dash.dash.model_facts import ModelFacts
from sway_dash.dash.off_loop import off_loop
from sway_dash.dash.pages.form_models import CHOOSE, ModelsForm
from sway_dash.dash.pages.form_probes import SMALL, ProbesForm
from sway_dash.dash.pages.form_prompts import PromptsForm
from sway_dash.dash.pages.form_widgets import FieldGroup, Fold
from sway_dash.dash.pages.plan_card import PlanCard
from sway_dash.dash.presets import PRESETS, Preset, apply
from sway_dash.dash.yaml_editor import YamlEditor
from sway_dash.figures.markup import heading, toned
from sway_dash.figures.theme import esc, visible
from sway_dash.suite.spec import SuiteDefaults

_ALWAYS_SEEN = """
:host { position: sticky !important; top: 0; z-index: 10; padding: 6px 0;
  background: var(--mui-palette-sway_surface-main);
  border-bottom: 1px solid var(--mui-palette-sway_rule-main); }
"""
"""However long the plan and the form are."""


class NewRunView(pn.viewable.Viewer):
    """Widgets write the draft, the draft writes widgets; ``started`` names the run that was begun."""

    draft: Draft = param.ClassSelector(class_=Draft)  # type: ignore[assignment]
    dark = param.Boolean(default=False)
    started = param.String(default="", doc="Id of the run that was started.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.models = ModelFacts(self.draft, background=off_loop)
        self.costs = Costs(self.draft, self.models, background=off_loop)
        self.plan = PlanCard(draft=self.draft, costs=self.costs)
        self.plan.param.watch(lambda _: self.start(), "run")
        self.form_models = ModelsForm(self.draft, self.models)
        self.form_probes = ProbesForm(draft=self.draft)
        self.form_prompts = PromptsForm(
            background=off_loop, draft=self.draft, models=self.models, entry=self.form_probes.entry
        )
        self.form_probes.param.watch(lambda e: self.form_prompts.param.update(entry=e.new), "entry")
        self._jump = Jump()
        self._title = pmui.TextInput(
            label="Name of the run", value=self.draft.title, sizing_mode="stretch_width", size="small", margin=(6, 0)
        )
        self._title.param.watch(lambda e: self.draft.rename(e.new or ""), "value")
        self._defaults: FieldGroup | None = None
        self._defaults_fold = Fold("Settings for all probes", self._make_defaults)
        self._editor = YamlEditor(self.draft.set_text, dark=self.dark, css_classes=["sway-hook-yaml"])
        self._notice = html(css_classes=["sway-hook-notice"])
        self._layout()
        self.draft.param.watch(lambda *_: self._follow(), ["text", "problems", "readable", "notice", "title", "id"])
        self.draft.param.watch(lambda *_: self._list_drafts(), "id")
        self._follow()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    # -- layout ---------------------------------------------------------------------------------

    def _layout(self) -> None:
        undo = pmui.Button(label="Undo", **SMALL)
        redo = pmui.Button(label="Redo", **SMALL)
        undo.on_click(lambda _: self.draft.undo())
        redo.on_click(lambda _: self.draft.redo())
        self._steps = (undo, redo)
        demo = pmui.Button(label="Demo suite", **SMALL)
        empty = pmui.Button(label="Empty suite", **SMALL)
        full = pmui.Button(label="Demo suite, every kind of probe", **SMALL)
        demo.on_click(lambda _: self.draft.use_demo())
        full.on_click(lambda _: self.draft.use_demo(full=True))
        empty.on_click(lambda _: self.draft.use_template())
        self._drafts = pmui.Select(
            label="Recent drafts", options=dict(CHOOSE), value="", size="small", width=230, margin=0
        )
        self._drafts.param.watch(self._open_draft, "value")
        self._list_drafts()
        presets = [self._preset(p) for p in PRESETS]
        row = {"margin": 0, "gap": "6px", "align_items": "center"}
        about = "; ".join(f"{p.name}: {p.about}" for p in PRESETS)
        form = column(
            pn.FlexBox(undo, redo, demo, full, empty, self._drafts, **row),
            self._notice,
            self._title,
            self.form_models,
            html(heading("Presets", f"{esc(about)}. Models and prompts stay.")),
            pn.FlexBox(*presets, **row),
            self.form_probes,
            self.form_prompts,
            self._defaults_fold,
            gap=8,
        )
        note = "Form and YAML are the same suite. A change in the form touches its own lines only."
        right = column(self.plan, html(heading("As YAML", note)), self._editor, self._jump, gap=10)
        head = beside(html(heading("New run"), sizing_mode=None), self.plan.button)
        top = column(head, self.plan.failure, stylesheets=[_ALWAYS_SEEN])
        self._root = body(top, grid(form, right))

    def _preset(self, preset: Preset) -> Any:
        button = pmui.Button(label=preset.name, **{**SMALL, "variant": "outlined"})
        button.on_click(lambda _: self.draft.set_data(apply(preset, self.draft.data)) if self.draft.readable else None)
        return button

    def _make_defaults(self) -> list[Any]:
        # Which side is compared with which is a matter of the models.
        fields = form_fields(SuiteDefaults, skip=("differential",))
        self._defaults = FieldGroup(self.draft, fields, lambda f: [("defaults", f.name)])
        return [self._defaults]

    # -- drafts ---------------------------------------------------------------------------------

    def _list_drafts(self) -> None:
        off_loop(partial(drafts.recent), self._offer_drafts)

    def _offer_drafts(self, found: tuple[list[drafts.DraftRecord], list[str]]) -> None:
        records, wrong = found
        options = dict(CHOOSE)
        for record in records:
            when = f"{datetime.fromtimestamp(record.saved).astimezone():%d %b %H:%M}"
            options[f"{visible(record.title) or 'no name'}, {when} ({record.id[-6:]})"] = record.id
        self._drafts.param.update(options=options, disabled=not records)
        if wrong and not self.draft.notice:
            self.draft.notice = f"{wrong[0][:1].upper()}{wrong[0][1:]}."

    def _open_draft(self, event: Any) -> None:
        if event.new:
            self.draft.open(event.new)
            self._drafts.value = ""

    # -- draft to widgets -----------------------------------------------------------------------

    def _follow(self) -> None:
        draft = self.draft
        self._editor.show(draft.text)
        self._editor.mark(draft.rows())
        if self._title.value != draft.title:
            self._title.param.update(value=draft.title, value_input=draft.title)
        for button, possible in zip(self._steps, (draft.can_undo, draft.can_redo), strict=True):
            button.disabled = not possible
        if self._defaults is not None:
            self._defaults.fill()
        kept = f"Kept as draft {draft.id} while you type." if draft.id else ""
        text = toned("warn", "sway-banner", esc(draft.notice), role="status") if draft.notice else ""
        set_html(self._notice, text or (f'<p class="sway-caption">{esc(kept)}</p>' if kept else ""))

    @param.depends("dark", watch=True)
    def _recolor(self) -> None:
        self._editor.dark = self.dark

    # -- running --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the run; with something wrong, go there instead."""
        if self.draft.problems:
            self.show_problem()
            return
        try:
            folder = jobs.start(self.draft.text, base_dir=Path(self.draft.base_dir), name=self.draft.title)
        except (OSError, SwayError) as error:
            self.plan.fail(str(error))
            return
        self.plan.fail("")
        self.started = folder.id

    def run(self) -> None:
        """What the key of Run does."""
        self.start()

    def show_problem(self) -> None:
        """Open the part of the form that holds the first problem and take the reader there."""
        where = self.draft.problems[0][0]
        rows = self.draft.rows()
        known = self.draft.readable and (
            self.form_models.reveal(where) or self.form_probes.reveal(where) or self._reveal_defaults(where)
        )
        if known:
            self._jump.to_mark()
        else:
            self._editor.go_to(rows[0][0] if rows else 0)

    def _reveal_defaults(self, where: tuple[str | int, ...]) -> bool:
        if where[:1] != ("defaults",):
            return False
        self._defaults_fold.open = True
        return self._defaults is not None and self._defaults.reveal(where)
