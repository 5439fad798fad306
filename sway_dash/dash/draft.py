"""The suite being written: one truth for form and YAML. Param only; no widgets.

``data`` is plain and may be invalid; ``problems`` says where. The form writes single places and the text is made
anew (comments are lost then); the YAML side writes the whole text and the form follows.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import param
import yaml

from sway_dash.core.errors import SpecValidationError
from sway_dash.demo import demo_dir
from sway_dash.probes.base import dotted
from sway_dash.suite import loader
from sway_dash.suite.runner import plan

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

Place = tuple[str | int, ...]


class _Dumper(yaml.SafeDumper):
    """Writes shared parts out instead of naming them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class Draft(param.Parameterized):
    """A suite, right or wrong."""

    text = param.String(default="", doc="The suite as YAML.")
    data = param.Dict(default={}, doc="The suite as plain data: the last text that could be read.")
    readable = param.Boolean(default=True, doc="Whether the text is YAML at all; the form is closed while it is not.")
    problems = param.List(default=[], item_type=tuple, doc="What is wrong: (place, message).")
    planned = param.Integer(default=0, doc="Measurements the suite will make; 0 while it is wrong.")
    base_dir = param.String(default="", doc="Folder that relative paths start from.")
    title = param.String(default="", doc="Name of the run to be.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        if not self.text:
            self.use_demo()

    def use_demo(self) -> None:
        """Start from the suite of the recorded example, or from an empty one where that is missing."""
        try:
            folder = demo_dir()
            text = (folder / "sway.yaml").read_text(encoding="utf-8")
        except OSError:
            self.use_template()
            return
        self.load(text, base_dir=folder, title="Example, run here")

    def use_template(self) -> None:
        """Start from a suite without models and prompts."""
        self.load(TEMPLATE, base_dir=Path.cwd())

    def load(self, text: str, *, base_dir: Path, title: str = "") -> None:
        """Take another suite."""
        self.param.update(base_dir=str(base_dir), title=title)
        self.set_text(text)

    def set_text(self, text: str) -> None:
        """Take the text as written; nothing in it is changed."""
        try:
            data, _ = loader.parse_yaml(text, source="yaml")
        except SpecValidationError as error:
            message = str(error).removeprefix("yaml: ")
            self.param.update(text=text, readable=False, problems=[((), message)], planned=0)
            return
        problems, planned = self._check(text)
        self.param.update(text=text, data=dict(data), readable=True, problems=problems, planned=planned)

    def set_values(self, changes: dict[Place, Any]) -> None:
        """Write places of the suite from the form; ``None`` takes a key away."""
        data = copy.deepcopy(self.data)
        for place, value in changes.items():
            _put(data, place, value)
        if data != self.data:
            self.set_text(dump(data))

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
        """The probe entries that are mappings."""
        suite = self.data.get("suite")
        return [e if isinstance(e, dict) else {} for e in suite] if isinstance(suite, list) else []

    def messages(self, place: Place = ()) -> list[str]:
        """What is wrong at a place or below it."""
        return [message for where, message in self.problems if where[: len(place)] == place]

    def lines(self) -> list[str]:
        """Every problem as one line of text."""
        return [f"{dotted(where)}: {message}" if where else message for where, message in self.problems]

    def _check(self, text: str) -> tuple[list[tuple[Place, str]], int]:
        try:
            spec = loader.loads(text, source="yaml", folder=Path(self.base_dir or "."))
            built = loader.check_entries(spec, source="yaml", text=text)
        except SpecValidationError as error:
            return [(tuple(w), m) for w, m in error.problems] or [((), str(error).removeprefix("yaml: "))], 0
        if not built:
            return [(("suite",), "there are no probes")], 0
        if problems := loader.ready_problems(spec, built):
            return problems, 0
        return [], sum(p.measurements for p in plan(spec, built))


def dump(data: dict[str, Any]) -> str:
    """A suite as YAML text."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _put(data: dict[str, Any], place: Place, value: Any) -> None:
    here: Any = data
    for key, following in itertools.pairwise(place):
        if isinstance(here, dict) and not isinstance(here.get(key), dict | list):
            here[key] = [] if isinstance(following, int) else {}
        here = here[key]
    last = place[-1]
    if value is None and isinstance(here, dict):
        here.pop(last, None)
    else:
        here[last] = value
