"""The same suite for another adapter: its text, and what tells two measurements by it apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sway_dash import __version__
from sway_dash.core.errors import SpecValidationError
from sway_dash.core.yaml_text import load_yaml
from sway_dash.probes.measure import MEASURE_VERSION
from sway_dash.suite.document import FIELD
from sway_dash.suite.environment import software
from sway_dash.suite.execute import with_device
from sway_dash.suite.loader import read_suite, ready_problems
from sway_dash.suite.queue import device_name
from sway_dash.suite.spec import SwaySpec

FOLLOWS = "adapter_path"
"""Field of an entry that goes with the adapter where it names the suite's own."""


@dataclass(frozen=True, slots=True)
class SuiteText:
    """A checked suite file whose adapter is to be replaced; the one it names need not exist."""

    path: Path
    text: str
    spec: SwaySpec

    @classmethod
    def read(cls, path: Path | str) -> SuiteText:
        """Read and check a suite file; ``SpecValidationError`` for all that would make every run of it fail."""
        source, text, spec, built = read_suite(path)
        if not spec.defaults.differential:
            message = (
                "defaults.differential: false compares two whole models, and there is no adapter to exchange: leave it "
                "out, or run each model on its own"
            )
            raise SpecValidationError(message, source=str(source))
        if problems := ready_problems(_bare(spec), built):
            raise SpecValidationError("\n".join(text for _, text in problems), source=str(source))
        return cls(source, text, spec)

    @property
    def folder(self) -> Path:
        """What relative paths of the suite are relative to."""
        return self.path.parent

    def with_adapter(self, adapter: Path) -> str:
        """The suite's text for another adapter, comments and all.

        An entry's ``adapter_path`` goes with it if it names the adapter of the suite: a probe that reads what training
        left beside the weights must not read that of another adapter.
        """
        data = dict(load_yaml(self.text))
        root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        quoted = json.dumps(str(adapter), ensure_ascii=False)
        edits: list[tuple[int, int, str]] = []
        own = self.spec.models.ft.adapter
        entries = list(data["suite"])
        for index, entry in enumerate(entries):
            if own is not None and self._names(entry.get(FOLLOWS), own):
                entries[index] = {**entry, FOLLOWS: str(adapter)}
                edits += _edit(_at(root, ("suite", index)), FOLLOWS, quoted)
        # New mappings on the way: with aliases the old ones may stand in other places, too.
        models = data["models"]
        data |= {"suite": entries, "models": {**models, "ft": {**models["ft"], "adapter": str(adapter)}}}
        edits += _edit(_at(root, ("models", "ft")), "adapter", quoted)
        text = self.text
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new + text[end:]
        try:
            if load_yaml(text) == data:
                return text
        except (yaml.YAMLError, ValueError):
            pass
        # Aliases and merged keys: the place of the text belongs to more than this adapter.
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10_000)

    def digest(self, *, device: str | None = None) -> str:
        """SHA-256 of all that a run by this suite depends on but its adapter; comments and layout do not count.

        The document counts with what it holds now, which may be another text under the same name; so do the kind of
        device that ``auto`` means here and the programs that measure, whose next version may find other numbers.
        """
        data = with_device(self.spec, device).model_dump(mode="json")
        data["measured_by"] = [__version__, MEASURE_VERSION, software()["packages"]]
        for side in data["models"].values():
            # Of which kind the device is: two cards of a machine find the same, and which is free changes by the day.
            side["device"] = device_name(side["device"]).partition(":")[0]
        if self.spec.dlm_source:
            data[FIELD] = [self.spec.dlm_source, _content(Path(self.spec.dlm_source))]
        own = self.spec.models.ft.adapter
        data["models"]["ft"]["adapter"] = None
        for entry in data["suite"]:
            if own is not None and self._names(entry.get(FOLLOWS), own):
                entry[FOLLOWS] = None
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()

    def _names(self, value: object, adapter: Path) -> bool:
        if not isinstance(value, str) or not value:
            return False
        try:
            return (self.folder / Path(value).expanduser()).resolve() == adapter
        except (OSError, RuntimeError):
            return False


def _content(document: Path) -> str:
    """SHA-256 of a document; empty where it cannot be read, which the run will say."""
    try:
        return hashlib.sha256(document.expanduser().read_bytes()).hexdigest() if document.is_file() else ""
    except (OSError, RuntimeError):
        return ""


def _bare(spec: SwaySpec) -> SwaySpec:
    ft = spec.models.ft.model_copy(update={"adapter": None})
    return spec.model_copy(update={"models": spec.models.model_copy(update={"ft": ft})})


def _at(node: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        if isinstance(part, int):
            node = node.value[part] if isinstance(node, yaml.SequenceNode) else None
        else:
            node = next((v for k, v in _pairs(node) if k.value == part), None)
    return node


def _pairs(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, yaml.MappingNode):
        yield from node.value


def _edit(node: Any, key: str, value: str) -> list[tuple[int, int, str]]:
    """The stretch of text to be replaced so that a mapping has this value; nothing where there is no such mapping."""
    if not isinstance(node, yaml.MappingNode):
        return []
    old = next((v for k, v in _pairs(node) if k.value == key), None)
    if old is not None:
        return [(old.start_mark.index, old.end_mark.index, value)]
    start = node.start_mark.index
    if node.flow_style:
        return [(start + 1, start + 1, f"{key}: {value}, ")]
    return [(start, start, f"{key}: {value}\n{' ' * node.start_mark.column}")]
