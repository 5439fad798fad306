"""The part of the form about the open entry's prompts: a table to edit, ways to bring some in, and their tokens."""

from __future__ import annotations

from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.chips import Chips
from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.draft import Draft
from sway_dash.dash.latest import Background, Latest, at_once
from sway_dash.dash.model_facts import ModelFacts
from sway_dash.dash.pages.form_import import ImportForm
from sway_dash.dash.pages.form_probes import SMALL
from sway_dash.dash.prompt_import import (
    PromptRow,
    notes,
    repeats,
    rows_of,
    split_tags,
    tag,
    tag_counts,
    to_data,
    without_repeats,
)
from sway_dash.dash.token_chips import chips, said, warnings
from sway_dash.dash.yaml_tree import Place
from sway_dash.figures.theme import STATIC, count, css, esc, visible
from sway_dash.probes.base import registry

COLUMNS = ("#", "text", "tags", "note")
_TABLE = (STATIC / "form.css").read_text(encoding="utf-8")


class PromptsForm(pn.viewable.Viewer):
    """Writes the prompts of one entry; ``item`` is the prompt whose tokens are shown."""

    draft: Draft = param.ClassSelector(class_=Draft)  # type: ignore[assignment]
    models: ModelFacts = param.ClassSelector(class_=ModelFacts)  # type: ignore[assignment]
    entry = param.Integer(default=0, bounds=(0, None), doc="Index of the open entry.")
    item = param.Integer(default=0, bounds=(0, None), doc="Index of the prompt whose tokens are shown.")

    def __init__(self, background: Background = at_once, **params: Any) -> None:
        super().__init__(**params)
        self._latest, self._counting = Latest(background), Latest(background)
        self._lengths: dict[str, int] = {}
        self._rows: list[PromptRow] = []
        self._table = pn.widgets.Tabulator(
            _frame([], []),
            show_index=False,
            pagination="remote",
            page_size=10,
            layout="fit_columns",
            sizing_mode="stretch_width",
            margin=(4, 0, 0, 0),
            selectable="checkbox",
            editors={"#": None, "text": {"type": "textarea"}, "tags": {"type": "input"}, "note": None},
            formatters={"text": {"type": "textarea"}},
            widths={"#": 44, "tags": "24%", "note": "20%"},
            titles={"#": "", "text": "Prompt", "tags": "Tags", "note": "Note"},
            hidden_columns=["note"],
            configuration={"columnDefaults": {"headerSort": False, "resizable": False}},
            stylesheets=[css(), _TABLE],
            css_classes=["sway-hook-prompts"],
        )
        self._table.on_edit(self._edited)
        self._table.on_click(lambda event: self.param.update(item=int(event.row)))
        self._say = html(css_classes=["sway-hook-count"])
        self._tags = Chips(self._pick_tag, label="Select the prompts with a tag")
        self._tag = pmui.TextInput(label="Tag", size="small", width=120, margin=0, max_length=80)
        self._buttons = {
            "add": self._button("Add a prompt", self._add),
            "put": self._button("Tag selected", lambda: self._tagged(on=True)),
            "take": self._button("Untag selected", lambda: self._tagged(on=False)),
            "remove": self._button("Remove selected", self._remove),
            "repeats": self._button("Remove duplicates", lambda: self._write(without_repeats(self._rows))),
        }
        self._import = ImportForm(self._taken, background)
        self._tokens = html(css_classes=["sway-hook-tokens"])
        add, put, take, remove, doubled = self._buttons.values()
        bar = {"margin": 0, "gap": "6px", "align_items": "center"}
        self._root = column(
            self._say,
            self._tags,
            self._table,
            pn.FlexBox(add, remove, doubled, **bar),
            pn.FlexBox(self._tag, put, take, **bar),
            self._import,
            self._tokens,
            gap=4,
        )
        self.draft.param.watch(lambda *_: self.fill(), ["data", "problems", "readable"])
        self.models.param.watch(lambda *_: self._measure(), "version")
        self._table.param.watch(lambda *_: self._enable(), "selection")
        self.fill()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def place(self) -> Place:
        """Where the prompts stand in the suite."""
        return ("suite", self.entry, "prompts")

    @param.depends("entry", watch=True)
    def _other(self) -> None:
        self._table.selection = []
        self.item = 0
        self.fill()

    def fill(self) -> None:
        """Show what the draft says."""
        probe = registry().get(str(self.draft.get("suite", self.entry, "kind")))
        self._root.visible = probe is not None and "prompts" in probe.spec_cls.model_fields
        rows = rows_of(self.draft.get(*self.place))
        fresh = [r.text for r in rows] != [r.text for r in self._rows]
        self._rows = rows
        if not self._root.visible:
            return
        self._show()
        self._say_count()
        self._enable()
        if fresh:
            self._measure()
        self._show_tokens()

    # -- the table ------------------------------------------------------------------------------

    def _show(self) -> None:
        """Patch what differs; the whole table only when there are more or fewer rows."""
        frame = _frame(self._rows, self._notes())
        shown = self._table.value
        hidden = [] if frame["note"].any() else ["note"]
        if self._table.hidden_columns != hidden:
            self._table.hidden_columns = hidden
        if len(frame) != len(shown):
            self._table.selection = [i for i in self._table.selection if i < len(frame)]
            self._table.value = frame
            return
        patches = {
            name: [(i, new) for i, (old, new) in enumerate(zip(shown[name], frame[name], strict=True)) if old != new]
            for name in COLUMNS
        }
        if patches := {name: found for name, found in patches.items() if found}:
            self._table.patch(patches)

    def _notes(self) -> list[str]:
        return notes(self._rows, self._lengths, self.models.base.max_context if self.models.base else 0)

    def _say_count(self) -> None:
        rows, wrong = self._rows, self.draft.messages(self.place)
        parts = [count(len(rows), "prompt")]
        if doubled := repeats(rows):
            parts.append(count(doubled, "duplicate"))
        text = f'<p class="sway-caption" role="status">{esc("; ".join(parts))}</p>'
        alerts = "".join(f'<p class="sway-alert" role="alert" tabindex="-1" data-problem>{esc(m)}</p>' for m in wrong)
        set_html(self._say, text + alerts)
        counts = sorted(tag_counts(rows).items())
        self._tags.offer([(name, name, str(n), "off") for name, n in counts])

    def _enable(self) -> None:
        closed, some = not self.draft.readable, bool(self._table.selection)
        # An entry whose prompts are no list is for the YAML side to mend.
        prompts = self.draft.get(*self.place)
        closed = closed or not (prompts is None or isinstance(prompts, list))
        doubled = repeats(self._rows) > 0
        wanted = {"add": True, "put": some, "take": some, "remove": some, "repeats": doubled}
        for name, button in self._buttons.items():
            button.disabled = closed or not wanted[name]
        self._buttons["repeats"].visible = doubled
        self._table.disabled = self._import.closed = closed

    # -- table to draft -------------------------------------------------------------------------

    def _button(self, label: str, act: Any) -> Any:
        button = pmui.Button(label=label, **SMALL)
        button.on_click(lambda _: act())
        return button

    def _write(self, rows: list[PromptRow]) -> None:
        if self.draft.readable:
            self.draft.set_values({self.place: to_data(rows)})

    def _edited(self, event: Any) -> None:
        rows = list(self._rows)
        if event.row >= len(rows):
            return
        row, value = rows[event.row], "" if event.value is None else str(event.value)
        rows[event.row] = row.changed(tags=split_tags(value)) if event.column == "tags" else row.changed(text=value)
        self._write(rows)
        self._show()

    def _add(self) -> None:
        self._write([*self._rows, PromptRow("New prompt")])
        self.item = len(self._rows) - 1
        self._table.page = max(1, -(-len(self._rows) // 10))

    def _remove(self) -> None:
        chosen = set(self._table.selection)
        self._table.selection = []
        self._write([row for i, row in enumerate(self._rows) if i not in chosen])

    def _tagged(self, *, on: bool) -> None:
        for name in split_tags(self._tag.value_input or self._tag.value or ""):
            self._write(tag(self._rows, set(self._table.selection), name, on=on))

    def _pick_tag(self, name: str) -> None:
        """Select the prompts that have a tag."""
        self._table.selection = [i for i, row in enumerate(self._rows) if name in row.tags]
        self._tag.param.update(value=name, value_input=name)

    def _taken(self, rows: list[PromptRow], *, replace: bool) -> None:
        self._write(rows if replace else [*self._rows, *rows])

    # -- tokens ---------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Count the tokens of every prompt, away from the loop."""
        file, texts = self.models.tokenizer, list(dict.fromkeys(r.text for r in self._rows))
        if file is None or not self._root.visible:
            self._counted({})
            return
        self._counting.ask(lambda: {t: len(file.cut(t).tokens) for t in texts}, self._counted)

    def _counted(self, lengths: dict[str, int]) -> None:
        self._lengths = lengths
        if self._root.visible:
            self._show()
        self._show_tokens()

    @param.depends("item", watch=True)
    def _show_tokens(self) -> None:
        file = self.models.tokenizer
        row = self._rows[min(self.item, len(self._rows) - 1)] if self._rows else None
        if row is None or not row.text:
            set_html(self._tokens, "")
            return
        if file is None:
            set_html(self._tokens, f'<p class="sway-caption">{esc(self.models.no_tokenizer)}</p>')
            return
        text, context = row.text, self.models.base.max_context if self.models.base else 0
        number = min(self.item, len(self._rows) - 1) + 1

        def work() -> str:
            cut = file.cut(text)
            head = f"Prompt {number} as the model reads it: {said(cut, file)}."
            remarks = "".join(f"<li>{esc(w)}</li>" for w in warnings(text, cut, file, context))
            return f'<p class="sway-caption">{esc(head)}</p>{chips(cut)}<ul class="sway-remarks">{remarks}</ul>'

        self._latest.ask(work, lambda found: set_html(self._tokens, found))


def _frame(rows: list[PromptRow], remarks: list[str]) -> pd.DataFrame:
    data = {
        "#": [str(i + 1) for i in range(len(rows))],
        "text": [r.text for r in rows],
        "tags": [", ".join(r.tags) for r in rows],
        "note": [visible(n) for n in remarks],
    }
    return pd.DataFrame({name: pd.Series(data[name], dtype="object") for name in COLUMNS})
