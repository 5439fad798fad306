"""Whether what a suite compares can be measured on this machine, found out before a model is loaded or a run is made.

Everything a user can mend and that files, packages and devices tell is one sentence here. What only loading can tell
(memory, a server that is down) is the end of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sway_dash import backends
from sway_dash.backends.hub import check_reachable
from sway_dash.backends.loading import resolve_device
from sway_dash.backends.model_files import AdapterFacts, BaseFacts, look_at_adapter, look_at_base, misfit
from sway_dash.core.errors import BackendNotAvailableError, ModelLoadError
from sway_dash.core.model import ModelSpec
from sway_dash.probes import build_probe
from sway_dash.suite import queue
from sway_dash.suite.adapter_store import no_adapter
from sway_dash.suite.spec import SwaySpec

EVERYWHERE = ("auto", "cpu")
"""Devices that every machine has."""


def check_usable(spec: SwaySpec, *, adapters: Sequence[Path] | None = None) -> None:
    """``SwayError`` in one sentence for models that cannot be measured here.

    ``adapters`` stand in the place of the suite's own; none of them: those that are measured are not known yet.
    A suite of which no probe asks a model needs none.
    """
    if not needs_model(spec):
        return
    models = spec.models
    if spec.separate:
        backends.check_pair(models)
        for side in (models.base, models.ft):
            _check(side, side.adapter)
        return
    if adapters is None:
        if models.ft.kind == "hf" and models.ft.adapter is None:
            raise no_adapter(spec)
        _check(models.ft, models.ft.adapter)
        return
    _check(models.ft, None)
    for adapter in adapters:
        _check(models.ft, adapter)


def needs_model(spec: SwaySpec) -> bool:
    """Whether any probe that is switched on asks a model."""
    built: list[tuple[Any, Any]] = [build_probe(entry) for entry in spec.suite]
    return any(settings.enabled and probe.needs_backend for probe, settings in built)


def occupied(spec: SwaySpec) -> tuple[str, ...]:
    """The devices a run of this suite measures on: none if no probe asks a model."""
    return queue.devices(spec) if needs_model(spec) else ()


def look_at_pair(adapter: Path, base: str) -> tuple[AdapterFacts, BaseFacts | None]:
    """What the files of both say; ``ModelLoadError`` for either, or when they cannot go together.

    The base is ``None`` while it is not on this machine.
    """
    facts, model = look_at_adapter(adapter), look_at_base(base)
    if model is not None and (wrong := misfit(facts, model, base)):
        raise ModelLoadError(f"{wrong}; give its own base")
    return facts, model


def _check(side: ModelSpec, adapter: Path | None) -> None:
    backends.check(side)
    if side.kind != "hf":
        return
    for package in ("torch", "transformers", "peft"):
        if find_spec(package) is None:
            raise BackendNotAvailableError("hf", extra="hf", hint=f"{package} is not installed")
    model = look_at_base(side.base) if adapter is None else look_at_pair(adapter, side.base)[1]
    if model is None:
        check_reachable(side.base)
    if side.device not in EVERYWHERE:
        # Only torch knows what this machine has; the run would import it a moment later.
        resolve_device(side.device)
