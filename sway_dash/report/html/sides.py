"""Runs as sides of a comparison, redacted before they are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from sway_dash.core.yaml_text import load_yaml
from sway_dash.report.html.redact import Redaction, Veil
from sway_dash.report.html.source import Source
from sway_dash.report.paired import letters
from sway_dash.suite.comparison import Side
from sway_dash.suite.fold import Fold
from sway_dash.suite.status import settled


def sides_of(sources: Sequence[Source], level: Redaction, *, paths: bool = False) -> list[Side]:
    """The runs as sides of a comparison, of each what leaves at a level; prompts have the same names in all of them."""
    everything = tuple(event for source in sources for event in source.events)
    together = Veil(Source("", "", everything), level, paths=paths)
    found = []
    for label, source in zip(letters(len(sources)), sources, strict=True):
        fold = Fold().extend(e for event in source.events if (e := together.event(event)) is not None)
        result = settled(fold.result(), alive=source.alive)
        name = f"run {label}" if level == "numbers" else together.text(source.name)
        side = Side(label, name, result.status, {p.name: p for p in result.probes}, fold)
        found.append(replace(side, suite=_suite(together.suite(source.spec))))
    return found


def called(sources: Sequence[Source], probe: str, level: Redaction) -> str:
    """What a probe of the runs is called in :func:`sides_of`; empty where only numbers leave and none has it."""
    everything = tuple(event for source in sources for event in source.events)
    return Veil(Source("", "", everything), level).names.get(probe, "" if level == "numbers" else probe)


def _suite(text: str) -> Mapping[str, Any]:
    try:
        data = load_yaml(text)
    except (ValueError, yaml.YAMLError):
        return {}
    return data if isinstance(data, Mapping) else {}
