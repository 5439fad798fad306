"""The suite being written: one truth for form and YAML, one history over both. Param only; no widgets.

The text is the truth and ``data`` follows it, right or wrong; ``problems`` says where it is wrong. The form writes
single places and everything else in the text stays as it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import param
import yaml

from sway_dash.core.errors import Problem, SpecValidationError
from sway_dash.dash import drafts, yaml_edit
from sway_dash.dash.history import History
from sway_dash.dash.yaml_tree import Place, parse, plain, same
from sway_dash.demo import demo_dir
from sway_dash.probes.base import Probe, ProbeSpec, dotted, registry
from sway_dash.suite import loader
from sway_dash.suite.plan import plan
from sway_dash.suite.spec import SwaySpec

TEMPLATE = """\
version: 1
models:
  base: {kind: hf, base: ""}
  ft: {kind: hf, base: "", adapter: ""}
defaults: {seed: 0}
suite:
  - {name: noise, kind: null_adapter, runs: 20}
  - name: next_token
    kind: delta_kl
    prompts: []
"""


ELSEWHERE = "This draft was changed elsewhere, so what is written here is now kept as a draft of its own."

_TICK_S = 1e-5
"""Least time between two versions; a clock may stand still or be set back."""


@dataclass(slots=True, eq=False)
class _Own:
    """What belongs to a suite whatever its text is: its name on disk, its title, and the version known here."""

    id: str = ""
    title: str = ""
    stamp: float = 0.0
    remark: str = ""


class Draft(param.Parameterized):
    """A suite, right or wrong."""

    id = param.String(default="", doc="Name of the draft on disk; empty until something has been changed.")
    text = param.String(default="", doc="The suite as YAML.")
    data = param.Dict(default={}, doc="The suite as plain data: the last text that could be read.")
    readable = param.Boolean(default=True, doc="Whether the text is YAML at all; the form is closed while it is not.")
    problems = param.List(default=[], item_type=tuple, doc="What is wrong: (place, message).")
    planned = param.Integer(default=0, doc="Measurements and answers the suite will take; 0 while it is wrong.")
    base_dir = param.String(default="", doc="Folder that relative paths start from.")
    title = param.String(default="", doc="Name of the run to be.")
    can_undo = param.Boolean(default=False, doc="Whether there is an earlier version.")
    can_redo = param.Boolean(default=False, doc="Whether there is a later version.")
    notice = param.String(default="", doc="What the writer should know about the draft itself.")
    loads = param.Integer(default=0, doc="Raised whenever another suite has taken the place of the one before.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.spec: SwaySpec | None = None
        """The suite as the engine sees it; ``None`` while it is wrong."""
        self.built: list[tuple[Probe, ProbeSpec]] = []
        self._found: list[Problem] = []
        self._own: list[Problem] = []
        self._own_draft = _Own(self.id, self.title)
        self._history = self._new_history()
        self._keeping = False
        if not self.text:
            self.use_demo()
        self._history = self._new_history()
        self.can_undo = False
        self._keeping = True

    # -- another suite --------------------------------------------------------------------------

    def use_demo(self, *, full: bool = False) -> None:
        """Start from the suite of the recorded example, or from that with every kind of probe it can answer.

        Where the example is missing, from an empty one.
        """
        try:
            folder = demo_dir()
            text = (folder / ("full.yaml" if full else "sway.yaml")).read_text(encoding="utf-8")
        except OSError:
            self.use_template()
            return
        self.load(text, base_dir=folder, title="Demo, every kind of probe" if full else "Example, run here")

    def use_template(self) -> None:
        """Start from a suite without models and prompts."""
        self.load(TEMPLATE, base_dir=Path.cwd())

    def load(self, text: str, *, base_dir: Path, title: str = "") -> None:
        """Take another suite, as a new draft; the one before stays on disk and one step back."""
        self._replace(text, base_dir, _Own(title=title))

    def open(self, draft_id: str) -> bool:
        """Go on with a draft on disk; False, and ``notice`` says why, when it cannot be read."""
        try:
            record = drafts.load(draft_id)
        except drafts.DraftError as error:
            self.notice = f"{str(error)[:1].upper()}{str(error)[1:]}."
            return False
        if draft_id == self.id and record.saved <= self._own_draft.stamp:
            # It is the open one, and nobody else has changed it.
            return True
        versions, now = drafts.past(record)
        # Before anything was changed there is nothing one would want to go back to.
        alone = not self.id and not self.can_undo and not self.can_redo
        # Opened before: undo goes back to the same draft, not to an older state of it.
        known = (whose for _, _, whose in self._history.versions[0] if whose.id == draft_id)
        own = next(known, None) or _Own(draft_id)
        own.title, own.stamp, own.remark = record.title, record.saved, ""
        self._keeping = False
        try:
            self._replace(record.text, Path(record.base_dir), own)
            self._history.resume([(text, at, own) for text, at in versions], now, alone=alone)
            self._kept()
        finally:
            self._keeping = True
        return True

    # -- changes --------------------------------------------------------------------------------

    def set_text(self, text: str, *, source: Hashable = "yaml") -> None:
        """Take the text as written; nothing in it is changed. Changes of one ``source`` in a row are one step."""
        if text != self.text:
            self._change(text, source)

    def set_values(self, changes: dict[Place, Any]) -> None:
        """Write places of the suite from the form; ``None`` takes a key away."""
        wanted = self.data
        for place, value in changes.items():
            wanted = yaml_edit.put(wanted, place, yaml_edit.REMOVE if value is None else value)
        self.set_data(wanted, source=tuple(changes))

    def set_data(self, wanted: dict[str, Any], *, source: Hashable = None) -> None:
        """Make the text read as ``wanted``, changing it only where it differs; nothing while it cannot be read."""
        if self.readable and not same(self.data, wanted):
            self.set_text(yaml_edit.rewrite(self.text, wanted), source=source)

    def undo(self) -> None:
        """Go one step back, whether it was made in the form or in the YAML."""
        if self._history.can_undo:
            self._return_to(self._history.undo())

    def redo(self) -> None:
        """Go one step forward again."""
        if self._history.can_redo:
            self._return_to(self._history.redo())

    def rename(self, title: str) -> None:
        """Name the run to be."""
        if title != self.title:
            self.title = self._own_draft.title = title
            self._kept()

    def add_findings(self, found: Sequence[Problem]) -> None:
        """What is wrong beyond the text itself, such as an adapter that does not fit the base; replaces the last."""
        self._found = list(found)
        if (problems := self._own + self._found) != self.problems:
            self.problems = problems

    # -- entries --------------------------------------------------------------------------------

    def add_entry(self, kind: str) -> int:
        """Put in a probe of a kind, with the prompts of an entry that has some; returns its index."""
        entry: dict[str, Any] = {"name": self._free_name(kind), "kind": kind}
        probe = registry().get(kind)
        if probe is not None and "prompts" in probe.spec_cls.model_fields:
            entry["prompts"] = next((plain(e["prompts"]) for e in self.entries() if e.get("prompts")), [])
        wanted = plain(self.data)
        suite = wanted.get("suite") if isinstance(wanted.get("suite"), list) else []
        # Noise has to be known before what is compared with it.
        index = 0 if kind == "null_adapter" else len(suite)
        wanted["suite"] = [*suite[:index], entry, *suite[index:]]
        self.set_data(wanted)
        return index

    def remove_entry(self, index: int) -> None:
        """Take a probe out."""
        self.set_text(yaml_edit.edit(self.text, ("suite", index), yaml_edit.REMOVE), source=None)

    def duplicate_entry(self, index: int) -> int:
        """Put in a copy with a name of its own behind a probe; returns its index."""
        name = self._free_name(str(self.get("suite", index, "name") or "probe"))
        text = yaml_edit.duplicate(self.text, ("suite", index))
        self.set_text(yaml_edit.edit(text, ("suite", index + 1, "name"), name), source=None)
        return index + 1

    def move_entry(self, index: int, to: int) -> None:
        """Put a probe at another place in the order."""
        if index != to and 0 <= to < len(self.entries()):
            self.set_text(yaml_edit.move(self.text, ("suite", index), to), source=None)

    # -- reading --------------------------------------------------------------------------------

    @property
    def own_problems(self) -> list[Problem]:
        """What is wrong with the text itself."""
        return self._own

    def get(self, *place: str | int) -> Any:
        """What stands at a place; ``None`` if nothing does."""
        found: Any = self.data
        for key in place:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def entries(self) -> list[dict[str, Any]]:
        """The probe entries; empty for one that is no mapping."""
        suite = self.data.get("suite")
        return [e if isinstance(e, dict) else {} for e in suite] if isinstance(suite, list) else []

    def path(self, *place: str | int) -> Path | None:
        """A path of the suite, against the folder that relative paths start from; ``None`` if none is given."""
        found = self.get(*place)
        if not isinstance(found, str) or not found.strip():
            return None
        return Path(self.base_dir or ".") / Path(found).expanduser()

    def messages(self, place: Place = ()) -> list[str]:
        """What is wrong at a place or below it."""
        return [message for where, message in self.problems if where[: len(place)] == place]

    def lines(self) -> list[str]:
        """Every problem as one line of text."""
        return [f"{dotted(where)}: {message}" if where else message for where, message in self.problems]

    def rows(self) -> list[tuple[int, str]]:
        """Every problem with the line of the text it belongs to, from 0."""
        if not self.problems:
            return []
        try:
            lines = loader.parse_yaml(self.text, source="")[1]
        except SpecValidationError as error:
            line = re.search(r"line (\d+)", str(error))
            return [(int(line[1]) - 1 if line else 0, message) for _, message in self.problems]
        return [((loader.line_of(where, lines) or 1) - 1, message) for where, message in self.problems]

    # -- inside ---------------------------------------------------------------------------------

    def _new_history(self) -> History[tuple[str, str, _Own]]:
        return History((self.text, self.base_dir, self._own_draft))

    def _replace(self, text: str, base_dir: Path, own: _Own) -> None:
        with param.parameterized.batch_call_watchers(self):
            self._own_draft = own
            self.param.update(id=own.id, base_dir=str(base_dir), title=own.title, notice="", loads=self.loads + 1)
            self._change(text, None)

    def _change(self, text: str, source: Hashable) -> None:
        self._take(text)
        self._history.add((text, self.base_dir, self._own_draft), source)
        self._kept()

    def _take(self, text: str) -> None:
        self.spec, self.built = None, []
        try:
            data = parse(text)
            if not isinstance(data, dict):
                # What the text is instead is said in the loader's words.
                loader.parse_yaml(text, source="yaml")
        except (yaml.YAMLError, ValueError, RecursionError, SpecValidationError) as error:
            self._own = [((), _unreadable(text, error))]
            self.param.update(text=text, readable=False, problems=list(self._own), planned=0)
            return
        self._own = self._check(data)
        problems = self._own + self._found
        self.param.update(text=text, data=data, readable=True, problems=problems, planned=self._measurements())

    def _check(self, data: dict[str, Any]) -> list[Problem]:
        try:
            spec = loader.from_dict(data, source="yaml", folder=Path(self.base_dir or "."))
            built = loader.check_entries(spec, source="yaml")
        except SpecValidationError as error:
            return [(tuple(w), m) for w, m in error.problems] or [((), str(error).removeprefix("yaml: "))]
        self.spec, self.built = spec, built
        if not built:
            return [(("suite",), "there are no probes: add one")]
        return loader.ready_problems(spec, built)

    def _measurements(self) -> int:
        spec: SwaySpec | None = self.spec
        return sum(p.measurements + p.answers for p in plan(spec, self.built)) if spec and not self._own else 0

    def _return_to(self, version: tuple[str, str, _Own]) -> None:
        text, folder, own = version
        with param.parameterized.batch_call_watchers(self):
            self._own_draft = own
            self.param.update(base_dir=folder, id=own.id, title=own.title)
            self._take(text)
            self._kept()

    def _kept(self) -> None:
        """Everything that follows a change: what can be undone, and the copy on disk."""
        self.param.update(can_undo=self._history.can_undo, can_redo=self._history.can_redo)
        if not self._keeping:
            return
        own = self._own_draft
        if own.id and drafts.newest(own.id) > own.stamp:
            own.id, own.remark = "", ELSEWHERE
        own.id = own.id or drafts.new_id()
        own.stamp = max(time.time(), own.stamp + _TICK_S)
        drafts.save_later(drafts.DraftRecord(own.id, self.text, self.base_dir, own.title, own.stamp, *self._past()))
        self.param.update(id=own.id, notice=drafts.trouble(own.id) or own.remark)

    def _past(self) -> tuple[tuple[drafts.Version, ...], int]:
        """What can be undone and done again within this draft, as far as it is kept."""
        steps, now = self._history.versions
        first, last = now, now
        while first > 0 and steps[first - 1][2] is self._own_draft:
            first -= 1
        while last < len(steps) - 1 and steps[last + 1][2] is self._own_draft:
            last += 1
        return drafts.near([(text, at) for text, at, _ in steps[first : last + 1]], now - first)

    def _free_name(self, wanted: str) -> str:
        taken = {str(e.get("name")) for e in self.entries()}
        stem = re.sub(r"_\d+$", "", wanted)
        numbered = (f"{stem}_{n}" for n in range(2, len(taken) + 3))
        return next(name for name in (stem, *numbered) if name not in taken)


def _unreadable(text: str, error: Exception) -> str:
    """Why a text is no suite at all, with the line where it is known."""
    try:
        loader.parse_yaml(text, source="yaml")
    except SpecValidationError as known:
        return str(known).removeprefix("yaml: ")
    return f"invalid YAML: {error}"
