"""Ready-made sets of probes, laid over the models and prompts that are there. Plain data in, plain data out.

A preset never takes anything away: entries it does not use are switched off, and the next preset may switch them on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.yaml_text import plain
from sway_dash.probes.base import RunContext, build_probe, registry

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Preset:
    """One of them: its name, what it is for, and the kinds it runs with their settings."""

    name: str
    about: str
    kinds: Callable[[], dict[str, Settings]]

    @property
    def key(self) -> str:
        """What it is called on a command line: quick, standard or full."""
        return self.name.split()[0].lower()


def _quick() -> dict[str, Settings]:
    return {"null_adapter": {"runs": 5}, "delta_kl": {}}


def _standard() -> dict[str, Settings]:
    return {"null_adapter": {"runs": 20}, "delta_kl": {}, "adapter_ablation": {}}


def _full() -> dict[str, Settings]:
    others: dict[str, Settings] = {
        kind: {} for kind in sorted(registry()) if kind not in _standard() and needs_nothing(kind)
    }
    # Whether something broke is asked of texts that come with the program.
    return {**_standard(), "null_adapter": {"runs": 50}, **others, "calibration_drift": {}, "external_perplexity": {}}


PRESETS = (
    Preset("Quick check", "the main measurement against 5 random adapters, for a first look", _quick),
    Preset("Standard", "20 random adapters, the main measurement, and the adapter at six strengths", _standard),
    Preset("Full", "50 random adapters, every kind of probe that needs only prompts, and what broke", _full),
)


def apply(preset: Preset, data: Mapping[str, Any]) -> dict[str, Any]:
    """A suite with a preset's probes and its own models and prompts."""
    found: dict[str, Any] = plain(dict(data))
    suite = found.get("suite")
    entries: list[Any] = suite if isinstance(suite, list) else []
    prompts = most_prompts(entries)
    kinds = preset.kinds()
    used: set[int] = set()
    for kind, settings in kinds.items():
        at = next((i for i, e in enumerate(entries) if isinstance(e, dict) and e.get("kind") == kind), None)
        if at is None:
            entries.append(_entry(kind, settings, prompts, entries))
            at = len(entries) - 1
        else:
            entries[at].update(settings)
            entries[at].pop("enabled", None)
        used.add(at)
    for i, entry in enumerate(entries):
        if i not in used and isinstance(entry, dict):
            entry["enabled"] = False
    # Noise has to be known before what is compared with it.
    first = next(i for i, e in enumerate(entries) if isinstance(e, dict) and e.get("kind") == "null_adapter")
    measured = next(
        (i for i, e in enumerate(entries) if isinstance(e, dict) and e.get("kind") != "null_adapter"), first
    )
    if first > measured:
        entries.insert(measured, entries.pop(first))
    found["suite"] = entries
    return found


def most_prompts(entries: list[Any]) -> list[Any]:
    """The longest list of prompts of any entry."""
    lists = [e["prompts"] for e in entries if isinstance(e, dict) and isinstance(e.get("prompts"), list)]
    return max(lists, key=len, default=[])


def needs_nothing(kind: str) -> bool:
    """Whether a kind of probe can be run with nothing but a name and prompts."""
    fields = registry()[kind].spec_cls.model_fields
    entry: dict[str, Any] = {"name": "x", "kind": kind}
    if "prompts" in fields:
        entry["prompts"] = ["a", "b"]
    try:
        probe, settings = build_probe(entry)
    except SpecValidationError:
        return False
    try:
        return bool(probe.asks(settings, RunContext()))
    except Exception:
        # A plug-in that cannot say what it asks must not take the presets with it.
        return False


def _entry(kind: str, settings: Settings, prompts: list[Any], entries: list[Any]) -> dict[str, Any]:
    taken = {str(e.get("name")) for e in entries if isinstance(e, dict)}
    name = {"null_adapter": "noise", "delta_kl": "next_token", "adapter_ablation": "strength"}.get(kind, kind)
    while name in taken:
        name += "_2"
    entry: dict[str, Any] = {"name": name, "kind": kind, **settings}
    if "prompts" in registry()[kind].spec_cls.model_fields:
        entry["prompts"] = plain(prompts)
    return entry
