"""What can be done with the marked runs: compare, name, tag, note, baseline, archive, delete."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash import run_edits, runs
from sway_dash.dash.components import beside, column, html, set_html
from sway_dash.figures.markup import toned
from sway_dash.figures.theme import count, esc, size
from sway_dash.suite.store import SPEC

if TYPE_CHECKING:
    from sway_dash.dash.pages.runs import RunsView

# At the foot of the window however long the list is, and without moving it.
_STICKY = """:host { position: sticky; bottom: 0; z-index: 5; padding: 10px 0; border-top: 1px solid
  var(--mui-palette-sway_rule-main); background: var(--mui-palette-sway_surface-main); }
@media (max-width: 700px) { :host { position: static; } }"""


class Marked(pn.viewable.Viewer):
    """A bar below the list, there as long as something is marked."""

    host: RunsView = param.Parameter()  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._of: tuple[str, ...] = ()
        self._head = html(css_classes=["sway-hook-marked"])
        self._open = self._button("Open", lambda: self.host.open(self.host.compare[0]))
        self._compare = self._button("Compare", lambda: self.host.param.trigger("comparing"), variant="contained")
        self._baseline = self._button("Set as baseline", self._toggle_baseline)
        self._new = self._button("New run from this", self._duplicate)
        self._archive = self._button("Archive", self._toggle_archived)
        self._delete = self._button("Delete…", self._ask, color="error")
        self._clear = self._button("Unmark all", lambda: setattr(self.host, "compare", []), variant="text")
        self._name = pmui.TextInput(label="Name", width=300, margin=0, size="small")
        self._tags = pmui.TextInput(label="Tags", placeholder="separated by commas", width=220, margin=0, size="small")
        self._note = pmui.TextInput(
            label="Note", sizing_mode="stretch_width", max_width=380, min_width=200, margin=0, size="small"
        )
        self._save = self._button("Save", self._write)
        # Inside another column, since a row says itself how it is displayed, and so would not be hidden.
        self._fields = column(_row(self._name, self._tags, self._note, self._save))
        self._question = html(css_classes=["sway-hook-question"])
        self._yes = self._button("Delete", self._do_delete, color="error", variant="contained")
        self._no = self._button("Keep", self._keep)
        self._sure = column(self._question, _row(self._yes, self._no), visible=False)
        buttons = _row(self._open, self._compare, self._baseline, self._new, self._archive, self._delete, self._clear)
        self._root = column(self._head, buttons, self._fields, self._sure, gap=10, visible=False, stylesheets=[_STICKY])

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def _button(self, label: str, act: Any, **options: Any) -> pmui.Button:
        button = pmui.Button(label=label, **{"variant": "outlined", "size": "small", "margin": 0, **options})
        button.on_click(lambda _: act())
        return button

    def refresh(self) -> None:
        """Show what is marked; what is being typed stays as long as the same run is marked."""
        found = self.host.marked
        now = tuple(r.id for r in found)
        self._root.visible = bool(found)
        if not found:
            self._of = now
            return
        shown = {r.id for r in self.host._shown}
        hidden = sum(r.id not in shown for r in found)
        names = ", ".join(r.name for r in found[:6]) + ("…" if len(found) > 6 else "")
        more = f" ({hidden:,} not shown by the filter)" if hidden else ""
        set_html(self._head, f"<p><b>{count(len(found), 'run')} marked{more}:</b> {esc(names)}</p>")
        one = found[0] if len(found) == 1 else None
        for item in (self._open, self._baseline, self._new, self._fields):
            item.visible = one is not None
        self._compare.visible = one is None
        self._archive.label = "Unarchive" if all(r.archived for r in found) else "Archive"
        if one is not None:
            self._baseline.label = "No longer baseline" if one.id == self.host.baseline else "Set as baseline"
            self._new.disabled = not _has_suite(one.id)
        if now != self._of:
            self._of = now
            self._sure.visible = False
            if one is not None:
                self._name.value, self._tags.value, self._note.value = one.name, ", ".join(one.tags), one.note

    # -- what people do -------------------------------------------------------------------------

    def _do(self, *acts: Callable[[], None]) -> None:
        """Act, say what could not be done, and read the list again."""
        failed = []
        for act in acts:
            try:
                act()
            except SwayError as error:
                failed.append(str(error))
        self.host.say(" ".join(failed))
        self.host.reread()

    def _write(self) -> None:
        run = self.host.marked[0]
        # A name that was not given is not made one by looking at it.
        name = None if self._name.value == run.name else self._name.value
        tags = self._tags.value.split(",")
        self._of = ()
        self._do(lambda: run_edits.edit(run.id, name=name, tags=tags, note=self._note.value))

    def _toggle_baseline(self) -> None:
        run = self.host.marked[0].id
        self._do(lambda: run_edits.set_baseline("" if run == self.host.baseline else run))

    def _toggle_archived(self) -> None:
        found = self.host.marked
        archived = not all(r.archived for r in found)
        self._do(*(partial(run_edits.edit, r.id, archived=archived) for r in found))

    def _duplicate(self) -> None:
        self.host.duplicate = self.host.compare[0]
        self.host.duplicate = ""

    def _ask(self) -> None:
        """Say what would go and how much it is, before anything goes."""
        found = self.host.marked
        refused = [why for r in found if (why := run_edits.undeletable(r.id))]
        if refused:
            set_html(self._question, toned("warn", "sway-banner", esc(" ".join(refused)), role="alert"))
        else:
            total = size(sum(run_edits.size(r.id) for r in found))
            what = f"“{found[0].name}”" if len(found) == 1 else count(len(found), "run")
            links = " What a link leads to stays." if any(r.linked for r in found) else ""
            text = f"Delete {what}, {total}? This cannot be undone.{links}"
            set_html(self._question, toned("bad", "sway-banner", esc(text), role="alert"))
        self._yes.visible = not refused
        self._sure.visible = True

    def _keep(self) -> None:
        self._sure.visible = False

    def _do_delete(self) -> None:
        self._sure.visible = False
        found = self.host.marked
        self._do(*(partial(run_edits.delete, r.id) for r in found))


def _has_suite(run: str) -> bool:
    folder = runs.find(run)
    return folder is not None and (folder.path / SPEC).is_file()


def _row(*items: Any) -> pn.Column:
    return beside(*items, gap="8px 12px")
