"""On what a run was made, as rows of a name and a value. Plain Python; what is not known is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sway_dash.core.events import RunStarted
from sway_dash.core.foreign import mapping
from sway_dash.figures.theme import number, visible

NAMES = {
    "base": "Base model",
    "base_revision": "Base revision",
    "base_identity": "Base identity",
    "adapter": "Adapter",
    "adapter_sha256": "Adapter SHA-256",
    "adapter_r": "Adapter rank r",
    "adapter_alpha": "Adapter alpha",
    "adapter_targets": "Adapter targets",
    "adapter_base": "Adapter was trained on",
    "update_norm": "‖ΔW‖ of the adapter",
    "backend": "Backend",
    "dtype": "Precision",
    "device": "Device",
    "device_name": "Device name",
    "parameters": "Parameters of the base",
    "vocab_size": "Vocabulary",
    "max_context": "Longest context, tokens",
    "fingerprint": "Fingerprint",
    "python": "Python",
    "platform": "Platform",
}
"""Keys of an environment in the order they are shown; others follow under their own name."""

_LARGE = ("parameters", "vocab_size", "max_context")


def rows(
    environment: Mapping[str, Any], started: RunStarted | None, determinism: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """What is known of a run's model, device and software."""
    found: list[tuple[str, str]] = []
    packages = mapping(environment.get("packages"))
    for key, name in NAMES.items():
        if (value := environment.get(key)) not in (None, "", [], {}):
            found.append((name, _text(key, value)))
    if started is not None:
        found.append(("sway_dash", started.sway_version))
    found += [(visible(name), visible(version)) for name, version in packages.items()]
    # Versions are told once.
    for key, value in environment.items():
        if key not in NAMES and key != "packages" and packages.get(key) != value:
            found += list(_others(visible(key), value))
    if started is not None:
        found.append(("Seed", str(started.seed)))
    if determinism:
        notes = "; ".join(map(str, determinism.get("notes") or ()))
        text = str(determinism.get("class", ""))
        found.append(("Determinism", visible(f"{text}: {notes}" if notes else text)))
    return [(name, value) for name, value in found if value]


def _others(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _others(f"{name} · {visible(key)}", part)
    elif value not in (None, "", []):
        yield name, _text("", value)


def _text(key: str, value: Any) -> str:
    if key in _LARGE and isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(visible(v) for v in value)
    return visible(value)
