"""Bringing prompts in: a box to paste into, a file, and a look at what was found before it is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.latest import Background, Latest, at_once
from sway_dash.dash.pages.form_probes import SMALL
from sway_dash.dash.pages.form_widgets import Fold
from sway_dash.dash.prompt_import import PromptFileError, PromptRow, from_file, from_paste, repeats
from sway_dash.figures.columns import shortened
from sway_dash.figures.markup import table
from sway_dash.figures.theme import count, esc

SHOWN = 5
"""Rows of the preview."""

CELL_CHARS = 200
"""Characters of a prompt in it."""

PAUSE_S = 0.3
"""How long nothing may be typed before the text is read."""

SPLITS = {"a prompt a line": "lines", "a prompt a paragraph": "paragraphs"}


class Taken(Protocol):
    """Receives the prompts that were taken."""

    def __call__(self, rows: list[PromptRow], *, replace: bool) -> None:
        """Add the rows, or put them in the place of those that are there."""
        ...


class ImportForm(pn.viewable.Viewer):
    """Gives what was pasted or uploaded to ``taken`` once somebody has seen it and said so."""

    closed = param.Boolean(default=False, doc="Nothing can be taken now.")

    def __init__(self, taken: Taken, background: Background = at_once, **params: Any) -> None:
        super().__init__(**params)
        self._taken = taken
        self._found: list[PromptRow] = []
        self._latest = Latest(background)
        self._pause_s = 0.0 if background is at_once else PAUSE_S
        self._pressed: Callable[[], None] | None = None
        self._paste = pmui.TextAreaInput(
            label="Paste prompts",
            rows=3,
            max_rows=10,
            auto_grow=True,
            max_length=5_000_000,
            sizing_mode="stretch_width",
            margin=(6, 0, 0, 0),
            placeholder="One a line; a YAML list or JSON lines are understood, too",
        )
        self._split = pmui.Select(label="Split into", options=SPLITS, value="lines", size="small", width=190, margin=0)
        self._file = pmui.FileInput(
            label="Upload txt, csv, jsonl, json or yaml", multiple=False, variant="outlined", size="small", margin=0
        )
        self._preview = html(css_classes=["sway-hook-preview"])
        self._add = pmui.Button(label="Add", variant="contained", size="small", margin=0)
        self._replace = pmui.Button(label="Replace all", **{**SMALL, "variant": "outlined"})
        self._add.on_click(lambda _: self._take(replace=False))
        self._replace.on_click(lambda _: self._take(replace=True))
        self._paste.param.watch(lambda _: self._read_paste(), "value_input")
        self._split.param.watch(lambda _: self._read_paste(), "value")
        self._file.param.watch(self._read_file, "value")
        self._actions = pn.FlexBox(self._add, self._replace, margin=0, gap="8px", visible=False)
        self._fold = Fold("Paste or upload prompts", self._make)
        self.param.watch(lambda _: self._show(), "closed")

    def __panel__(self) -> pn.viewable.Viewable:
        return self._fold.__panel__()

    def _make(self) -> Sequence[Any]:
        where = pn.FlexBox(self._split, self._file, margin=(6, 0, 0, 0), gap="12px", align_items="center")
        return [column(self._paste, where, self._preview, self._actions, gap=6)]

    def _read_paste(self) -> None:
        text, split = self._paste.value_input or "", self._split.value
        self._read(partial(from_paste, text, split=split), self._pause_s if text else 0.0)

    def _read_file(self, event: Any) -> None:
        content = event.new
        if not content:
            return
        name = str(self._file.filename or "the file")
        self._read(partial(from_file, name, content if isinstance(content, bytes) else str(content).encode()), 0.0)

    def _read(self, read: Callable[[], list[PromptRow]], pause_s: float) -> None:
        """A long list takes seconds to read, which no other session should wait for."""
        self._latest.ask(partial(_answer, read), self._understood, self._failed, pause_s=pause_s)

    def _understood(self, answer: tuple[list[PromptRow], str]) -> None:
        self._show(*answer)
        pressed, self._pressed = self._pressed, None
        if pressed is not None:
            pressed()

    def _failed(self, error: Exception) -> None:
        self._understood(([], f"the prompts cannot be read ({type(error).__name__}: {error})"))

    def _show(self, rows: list[PromptRow] | None = None, wrong: str = "") -> None:
        if rows is not None:
            self._found = rows
        found = self._found
        self._actions.visible = bool(found) and not self.closed
        if wrong:
            set_html(self._preview, f'<p class="sway-alert" role="alert">{esc(wrong)}</p>')
            return
        if not found:
            set_html(self._preview, "")
            return
        doubled = repeats(found)
        parts = [count(len(found), "prompt"), *([count(doubled, "duplicate")] if doubled else [])]
        more = f" The first {SHOWN}:" if len(found) > SHOWN else ""
        head = f'<p class="sway-caption" role="status">{esc("; ".join(parts))} found.{more}</p>'
        rows_html = [[esc(shortened(r.text, CELL_CHARS)), esc(", ".join(r.tags))] for r in found[:SHOWN]]
        set_html(self._preview, head + table(["Prompt", "Tags"], rows_html))
        self._add.label = f"Add {count(len(found), 'prompt')}"

    def _take(self, *, replace: bool) -> None:
        if self._latest.busy:
            # What has just been typed is meant, too.
            self._pressed = partial(self._take, replace=replace)
            return
        if self._found and not self.closed:
            rows = self._found
            self._paste.param.update(value="", value_input="")
            self._show([])
            self._taken(rows, replace=replace)


def _answer(read: Callable[[], list[PromptRow]]) -> tuple[list[PromptRow], str]:
    """Rows, or what is wrong with the text; a thread runs it."""
    try:
        return read(), ""
    except PromptFileError as error:
        return [], str(error)
