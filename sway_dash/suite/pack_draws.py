"""The null draws on this disk that belong to a suite: of its own model, for its own prompts, and no others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from pydantic import ValidationError

from sway_dash.core.errors import SwayError
from sway_dash.core.events import EVENT, ModelReady, RunStarted
from sway_dash.core.scoring import BASE
from sway_dash.probes.base import Probe, ProbeSpec, RunContext
from sway_dash.probes.measure import measurement_key
from sway_dash.probes.null_cache import NullCache, draws_file
from sway_dash.suite.document import document_of
from sway_dash.suite.plan import later
from sway_dash.suite.spec import SwaySpec
from sway_dash.suite.store import EVENTS, RunFolder, list_runs

LOOK_BACK = 500
"""How many runs are looked through for one of the same model."""

_HEAD = 2000
"""Lines of a run's events that may come before what the model is."""


class _Exact:
    """Stands for a backend that compares whole vocabularies, which decides what a measurement's key holds."""

    def compare(self) -> None:
        """Never called."""


def draw_keys(spec: SwaySpec, built: Sequence[tuple[Probe, ProbeSpec]], fingerprint: str) -> set[str]:
    """Keys of all draws that the suite's ``null_adapter`` entries would ask the disk for."""
    try:
        document = document_of(spec)
    except SwayError:
        document = None
    found: set[str] = set()
    for index, (probe, settings) in enumerate(built):
        if settings.kind != "null_adapter" or not settings.enabled or not getattr(settings, "cache", False):
            continue
        ctx = RunContext(
            seed=spec.defaults.seed,
            top_k=spec.defaults.top_k,
            fingerprint=fingerprint,
            sections=None if document is None else document.sections,
            doc_text=None if document is None else document.text,
            **later(built, index),
        )
        asks = list(probe.asks(settings, ctx))
        for backend in (_Exact(), None):
            ctx = replace(ctx, backend=backend)  # type: ignore[arg-type]
            for ask in asks:
                k = ask.top_k or ctx.top_k
                found |= {
                    measurement_key(ctx, BASE, view, text, ask.positions, ask.continuation_tokens, k)
                    for view in ask.views
                    for text in ask.prompts
                }
    return found


def suite_draws(
    spec: SwaySpec, built: Sequence[tuple[Probe, ProbeSpec]], environments: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Name of a file of draws → its lines, sorted, for every model that ``environments`` describe."""
    found: dict[str, list[str]] = {}
    for fingerprint in sorted({str(e.get("fingerprint") or "") for e in environments} - {""}):
        cache = NullCache(fingerprint)
        drawn = [cache.get(key) for key in sorted(draw_keys(spec, built, fingerprint))]
        if lines := [draw.model_dump_json() for draw in drawn if draw is not None]:
            found[draws_file(fingerprint)] = lines
    return found


def environments_of(spec: SwaySpec, *, adapter_sha256: str, base_identity: str) -> list[dict[str, Any]]:
    """What runs on this machine said of the model, where it is the one the suite names as it is now on disk."""
    found: list[dict[str, Any]] = []
    for folder in islice(list_runs(), LOOK_BACK):
        if (told := _told(folder)) is None:
            continue
        started, environment = told
        if started.base_model_id != spec.models.base.base and not _same(environment, "base_identity", base_identity):
            continue
        if is_of(environment, spec, adapter_sha256=adapter_sha256, base_identity=base_identity):
            found.append(environment)
    return found


def is_of(environment: Mapping[str, Any], spec: SwaySpec, *, adapter_sha256: str, base_identity: str) -> bool:
    """Whether a run was made of the model the suite names, as its files are now; unknown files decide nothing."""
    if adapter_sha256 and "adapter_sha256" in environment and not _same(environment, "adapter_sha256", adapter_sha256):
        return False
    if base_identity:
        return "base_identity" not in environment or _same(environment, "base_identity", base_identity)
    identity = str(environment.get("base_identity") or "")
    return not identity or identity.startswith(f"{spec.models.base.base}@")


def _same(environment: Mapping[str, Any], key: str, value: str) -> bool:
    return bool(value) and environment.get(key) == value


def _told(folder: RunFolder) -> tuple[RunStarted, dict[str, Any]] | None:
    started: RunStarted | None = None
    for line in _head(folder):
        if b'"run_started"' not in line and b'"model_ready"' not in line:
            continue
        try:
            event = EVENT.validate_json(line)
        except ValidationError:
            continue
        if isinstance(event, RunStarted):
            started = event
        elif isinstance(event, ModelReady) and started is not None:
            return started, event.environment
    return None


def _head(folder: RunFolder) -> Iterator[bytes]:
    try:
        with (folder.path / EVENTS).open("rb") as file:
            yield from islice(file, _HEAD)
    except OSError:
        return
