"""The part of the form about models: pick or type base and adapter, see what they are and whether they fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import panel as pn
import panel_material_ui as pmui

from sway_dash.backends.model_files import AdapterFacts, BaseFacts
from sway_dash.core.model import ModelSpec
from sway_dash.dash.components import column, grid, html, set_html
from sway_dash.dash.draft import Draft
from sway_dash.dash.fields import FormField, form_fields
from sway_dash.dash.model_facts import ADAPTER_AT, BASE_AT, TUNED_AT, ModelFacts
from sway_dash.dash.pages.form_server import OWN, ServerForm, is_served, serve
from sway_dash.dash.pages.form_widgets import LOOK, FieldGroup, FieldWidget
from sway_dash.dash.yaml_tree import Place
from sway_dash.figures.markup import heading
from sway_dash.figures.theme import count, esc, size, visible
from sway_dash.suite.spec import SuiteDefaults, SwaySpec

FIELDS = {f.name: f for f in form_fields(ModelSpec)}
BASIC = ("dtype", "device")
DOCUMENT_AT: Place = ("dlm_source",)
_DOCUMENT = next(f for f in form_fields(SwaySpec) if f.name == "dlm_source")
CHOOSE = {"choose …": ""}


class ModelsForm(pn.viewable.Viewer):
    """Writes the models section; both sides at once where they must agree."""

    def __init__(self, draft: Draft, models: ModelFacts) -> None:
        super().__init__()
        self.draft, self.models = draft, models
        self._differential = self._is_differential()
        both = self._both
        self._base = FieldWidget(draft, FIELDS["base"], both("base"), "base model", brief=True)
        self._tuned = FieldWidget(draft, FIELDS["base"], [TUNED_AT], "tuned model", brief=True)
        self._adapter = FieldWidget(draft, FIELDS["adapter"], [ADAPTER_AT], "adapter", brief=True)
        self._document = FieldWidget(draft, _DOCUMENT, [DOCUMENT_AT], "document", brief=True)
        self._pick_base, self._pick_adapter = self._picker("base"), self._picker("adapter")
        self._base_facts, self._adapter_facts = (
            html(css_classes=["sway-hook-base"]),
            html(css_classes=["sway-hook-adapter"]),
        )
        self._where = html()
        self._again = pmui.Button(label="Look again", variant="text", size="small", margin=(0, 0, 0, -6))
        self._again.on_click(lambda _: self.models.search(fresh=True))
        self._rest = [n for n in FIELDS if n not in ("base", "adapter", *OWN)]
        fields = [_basic(FIELDS[n], n in BASIC) for n in self._rest]
        self._group = FieldGroup(draft, fields, lambda f: both(f.name))
        flag = next(f for f in form_fields(SuiteDefaults) if f.name == "differential")
        self._two = pmui.Switch(label="Two full models instead of a base and an adapter", margin=(8, 0, 0, 0))
        self._two.description = flag.help
        self._two.param.watch(self._switched, "value")
        self._served = pmui.Switch(label="Models behind a completions server (vLLM, llama.cpp)", margin=(8, 0, 0, 0))
        self._served.param.watch(self._served_switched, "value")
        self.server = ServerForm(draft)
        self._server_part = column(self.server, gap=0)
        self._tuned_row = column(self._tuned.widget, gap=0)
        self._adapter_part = column(
            grid(self._adapter.widget, self._pick_adapter, even=True), self._adapter_facts, gap=6
        )
        self._base_part = column(
            grid(self._base.widget, self._pick_base, even=True), self._base_facts, self._tuned_row, self._two, gap=6
        )
        self._group_part = column(self._group, gap=0)
        self._root = column(
            html(heading("Models")),
            self._adapter_part,
            self._base_part,
            self._served,
            self._server_part,
            self._document.widget,
            self._group_part,
            pn.Row(self._where, self._again, sizing_mode="stretch_width", margin=0),
            gap=6,
        )
        draft.param.watch(lambda *_: self.fill(), ["data", "problems", "readable", "base_dir"])
        models.param.watch(lambda *_: self._facts(), ["version", "looking"])
        self.fill()
        self._facts()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def reveal(self, where: Place) -> bool:
        """Make a place visible; whether it is in this part of the form."""
        return where[:1] == DOCUMENT_AT or (where[:1] == ("models",) and (self._group.reveal(where) or True))

    def fill(self) -> None:
        """Show what the draft says."""
        differential = self._is_differential()
        self._base.places = tuple(self._both("base")) if differential else (BASE_AT,)
        for field in (self._base, self._tuned, self._adapter, self._document):
            field.fill()
        self._group.fill()
        self._tuned_row.visible = not differential
        if self._two.value == differential:
            self._two.value = not differential
        self._two.disabled = self._served.disabled = not self.draft.readable
        served = is_served(self.draft)
        self.server.fill()
        if self._served.value != served:
            self._served.value = served
        self._server_part.visible, self._base_part.visible = served, not served
        # What has no meaning there is shown where it stands in the text all the same, to be taken out.
        self._adapter_part.visible = not served or self.draft.get(*ADAPTER_AT) is not None
        self._group_part.visible = not served or any(self.draft.messages(p) for n in self._rest for p in self._both(n))
        set_html(self._where, f'<p class="sway-caption">Relative paths start at {esc(self.draft.base_dir or ".")}.</p>')

    def _both(self, name: str) -> list[Place]:
        return [("models", side, name) for side in ("base", "ft")]

    def _is_differential(self) -> bool:
        return self.draft.get("defaults", "differential") is not False

    def _switched(self, event: Any) -> None:
        if event.new == self._is_differential():
            self.draft.set_values({("defaults", "differential"): False if event.new else None})

    def _served_switched(self, event: Any) -> None:
        if event.new != is_served(self.draft):
            serve(self.draft, event.new)

    # -- picking --------------------------------------------------------------------------------

    def _picker(self, kind: Any) -> Any:
        select = pmui.Select(label=f"{kind}s found here", options=dict(CHOOSE), value="", **LOOK)

        def picked(event: Any) -> None:
            if not event.new:
                return
            if self.draft.readable:
                places = [ADAPTER_AT] if kind == "adapter" else list(self._base.places)
                self.draft.set_values(dict.fromkeys(places, event.new))
            # It is a way to fill the field, not a second field.
            select.value = ""

        select.param.watch(picked, "value")
        return select

    def _offer(self) -> None:
        for select, kind in ((self._pick_base, "base"), (self._pick_adapter, "adapter")):
            found = self.models.found.of(kind)  # type: ignore[arg-type]
            options = {**CHOOSE, **{f"{visible(f.value)} ({f.where})": f.value for f in found}}
            if select.options != options:
                select.options = options
            label = f"{kind}s found here: {len(found) or 'none'}"
            cut = self.models.found.cut
            select.param.update(label=label, disabled=not found or not self.draft.readable, helper_text=cut)

    # -- facts ----------------------------------------------------------------------------------

    def _facts(self) -> None:
        self._offer()
        models = self.models
        base = base_words(models.base) if models.base else ""
        if models.tuned is not None:
            base += f"; tuned: {base_words(models.tuned)}"
        name = str(self.draft.get(*BASE_AT) or "")
        if not base and name and models.no_tokenizer and not self.draft.messages(BASE_AT):
            base = models.no_tokenizer
        set_html(self._base_facts, _caption(base))
        adapter = adapter_words(models.adapter) if models.adapter else ""
        remark = f" Note: {models.remark}." if models.remark else ""
        set_html(self._adapter_facts, _caption(adapter + remark))


def adapter_words(facts: AdapterFacts) -> str:
    """An adapter in one line."""
    targets = ", ".join(facts.targets[:8]) + (" …" if len(facts.targets) > 8 else "")
    base = f"trained for {facts.base_name}" if facts.base_name else "does not say which base it is for"
    parts = [f"rank {facts.rank}", f"α {facts.alpha}", facts.dtype, size(facts.size), base, f"changes {targets}"]
    return " · ".join(p for p in parts if p)


def base_words(facts: BaseFacts) -> str:
    """A base in one line."""
    layers = count(facts.layers, "layer") if facts.layers else ""
    context = f"context {facts.max_context:,}" if facts.max_context else ""
    packed = "quantized" if facts.quantized else ""
    parameters = f"{short(facts.parameters)} parameters" if facts.parameters and not packed else ""
    parts = [facts.architecture or "GGUF", parameters, packed or facts.dtype, size(facts.size), layers, context]
    return " · ".join(p for p in parts if p)


def short(n: int) -> str:
    """``1.6 M``, ``7.24 B``."""
    for unit, step in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= step:
            return f"{n / step:.3g} {unit}"
    return str(n)


def _caption(text: str) -> str:
    return f'<p class="sway-caption">{esc(text)}</p>' if text.strip() else ""


def _basic(field: FormField, basic: bool) -> FormField:
    return replace(field, basic=basic)
