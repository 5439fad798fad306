"""The suite a training is measured by: that of a file, or a light one over a list of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.model import ModelSpec
from sway_dash.suite.loader import check_entries, from_dict, load_spec, loads
from sway_dash.suite.spec import SwaySpec

Suite = Path | str | Mapping[str, Any] | SwaySpec
Prompt = str | Mapping[str, Any]

NULLS = 10
"""Random adapters of the light suite: the fewest by which the headline judges."""


@dataclass(frozen=True)
class TrainingSuite:
    """Entries and defaults, and where they are from; which model they are about is known when it is measured."""

    data: Mapping[str, Any]
    folder: Path
    """What relative paths are relative to."""
    source: str
    """The file; empty without one."""

    def text(self, model: ModelSpec, *, adapter: Path | None = None) -> str:
        """The suite as YAML about a model in memory; ``adapter`` is where its adapter has been saved, if it has."""
        side = model.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        tuned = side if adapter is None else {**side, "adapter": str(adapter)}
        whole = {"version": 1, "models": {"base": side, "ft": tuned}, **self.data}
        return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100)


def training_suite(suite: Suite | None, prompts: Sequence[Prompt] | None, nulls: int = NULLS) -> TrainingSuite:
    """Read and check a suite. ``SpecValidationError`` with one sentence for what cannot be measured."""
    if (suite is None) == (prompts is None):
        raise SpecValidationError("give either suite (a sway.yaml) or prompts (a list of texts)")
    found = _of_prompts(prompts, nulls) if prompts is not None else _given(suite)
    text = found.text(ModelSpec(base="in-training"))
    spec = loads(text, source=found.source or "the suite", folder=found.folder)
    check_entries(spec, source=found.source or "the suite", text=text)
    if not spec.defaults.differential:
        raise SpecValidationError(
            "defaults.differential: false compares two models, and a training has one: leave it out",
            source=found.source or None,
        )
    if not any(entry.get("enabled", True) for entry in spec.suite):
        raise SpecValidationError("the suite has no probe that is switched on: add a delta_kl", source=found.source)
    return found


def _of_prompts(prompts: Sequence[Prompt], nulls: int) -> TrainingSuite:
    if isinstance(prompts, str):
        raise SpecValidationError("prompts is one text: give a list of prompts")
    if not prompts:
        raise SpecValidationError("there is no prompt: give at least 4, better 20")
    texts = [p if isinstance(p, str) else dict(p) for p in prompts]
    entries: list[dict[str, Any]] = [{"name": "next_token", "kind": "delta_kl", "prompts": texts}]
    if nulls:
        entries.insert(0, {"name": "noise", "kind": "null_adapter", "runs": nulls})
    return TrainingSuite({"suite": entries}, Path.cwd(), "")


def _given(suite: Suite | None) -> TrainingSuite:
    if isinstance(suite, SwaySpec):
        return _from(suite, Path.cwd(), "")
    if isinstance(suite, Mapping):
        # The model is the one that trains: a suite without models is whole.
        side = {"base": "in-training"}
        return _from(from_dict({"models": {"base": side, "ft": side}, **deepcopy(dict(suite))}), Path.cwd(), "")
    path = Path(str(suite)).expanduser().resolve()
    spec = load_spec(path)
    # Here, where the lines that are named are those of the file.
    check_entries(spec, source=str(path), text=path.read_text(encoding="utf-8"))
    return _from(spec, path.parent, str(path))


def _from(spec: SwaySpec, folder: Path, source: str) -> TrainingSuite:
    data = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return TrainingSuite({k: v for k, v in data.items() if k not in ("version", "models")}, folder, source)
