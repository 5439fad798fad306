"""How long a run may take and how much memory it needs: from earlier runs of the same model here, and from headers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sway_dash.backends.adapter_files import adapter_fingerprint
from sway_dash.backends.model_files import AdapterFacts, BaseFacts
from sway_dash.backends.torch_compare import ROW_CACHE
from sway_dash.backends.torch_lm import ROW_BYTES
from sway_dash.core.errors import SwayError
from sway_dash.core.events import EVENT, ModelReady, Phase, RunFinished, RunStarted
from sway_dash.core.model import ModelSpec
from sway_dash.suite.forecast import Forecast, forecast
from sway_dash.suite.loader import check_entries, loads
from sway_dash.suite.queue import device_name
from sway_dash.suite.spec import SwaySpec
from sway_dash.suite.store import EVENTS, RunFolder, list_runs

LOOK_BACK = 40
"""Runs that are looked through, newest first."""

_EDGE = 2**17
"""Bytes read from the beginning and from the end of a run's events."""

_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}


# -- time ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """What an earlier run of the same base took, on the device that is asked for."""

    run_id: str
    device: str
    dtype: str
    seconds: float
    """Per pass, each counted by the tokens it makes (:attr:`EntryForecast.weight`)."""
    load_s: float
    """From the start of loading to the first measurement."""
    fingerprint: str
    """Identifies base, adapter and dtype; empty when the adapter is another one now."""

    def of(self, cost: Forecast) -> float:
        """Seconds a run of this cost takes at this pace, loading included."""
        return self.load_s + self.seconds * cost.weight


def measured_pace(spec: SwaySpec, root: Path | None = None) -> Pace | None:
    """The newest finished run of the same base, device and dtype on this machine; ``None`` if there is none."""
    for folder in islice(list_runs(root), LOOK_BACK):
        if (pace := _pace(folder, spec)) is not None:
            return pace
    return None


def _pace(folder: RunFolder, spec: SwaySpec) -> Pace | None:
    head = list(_edge(folder.path / EVENTS, first=True))
    started = next((e for e in head if isinstance(e, RunStarted)), None)
    ready = next((e for e in head if isinstance(e, ModelReady)), None)
    ft = spec.models.ft
    if started is None or ready is None or started.resumed or started.base_model_id != spec.models.base.base:
        return None
    environment = ready.environment
    if str(environment.get("endpoint") or "") != (ft.endpoint or "").strip().rstrip("/"):
        return None
    device, dtype = str(environment.get("device", "")), str(environment.get("dtype", ""))
    other_device = ft.device != "auto" and not device.startswith(ft.device)
    if other_device or (ft.dtype != "auto" and dtype != ft.dtype):
        return None
    end = next((e for e in _edge(folder.path / EVENTS, first=False) if isinstance(e, RunFinished)), None)
    if end is None:
        return None
    try:
        past = loads(folder.spec_text(), folder=folder.base_dir())
        cost = forecast(past, check_entries(past))
    except SwayError:
        return None
    passes = int(end.backend_stats.get("forward_passes") or 0)
    if not passes or not cost.passes:
        return None
    # Draws it found on disk were not measured.
    weight = cost.weight * passes / cost.passes
    loading = next((e.ts for e in head if isinstance(e, Phase) and e.phase == "loading"), started.ts)
    same = started.adapter_id == str(ft.adapter or "") and _same_adapter(ft, environment)
    return Pace(
        run_id=folder.id,
        device=str(environment.get("device_name") or device),
        dtype=dtype,
        seconds=max(0.0, end.ts - ready.ts) / weight,
        load_s=max(0.0, ready.ts - loading),
        fingerprint=str(environment.get("fingerprint") or "") if same else "",
    )


def _same_adapter(ft: ModelSpec, environment: dict[str, Any]) -> bool:
    """Whether the adapter's files are still those of that run."""
    if ft.adapter is None:
        return False
    try:
        found = [p.stat() for p in sorted(ft.adapter.iterdir()) if p.is_file()]
        # Files copied with their times differ in size or inode.
        stamp = tuple(n for s in found for n in (s.st_size, s.st_mtime_ns, s.st_ino))
        return _adapter_hash(ft.adapter, stamp) == environment.get("adapter_sha256")
    except OSError:
        return False


@lru_cache(maxsize=32)
def _adapter_hash(folder: Path, stamp: tuple[int, ...]) -> str:
    return adapter_fingerprint(folder)


def _edge(path: Path, *, first: bool) -> Iterator[Any]:
    """Events at the beginning or the end of a file, measurements left out."""
    try:
        with path.open("rb") as file:
            if not first:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _EDGE))
            lines = file.read(_EDGE).split(b"\n")
    except OSError:
        return
    for line in lines:
        # Measurements are by far the most lines and say nothing about the run as a whole.
        if b'"type":"measurement"' in line[:120] or not line.startswith(b"{"):
            continue
        try:
            yield EVENT.validate_json(line)
        except ValidationError:
            continue


# -- memory -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the device."""

    weights: int
    working: int
    device: str
    dtype: str

    @property
    def total(self) -> int:
        """Weights and working room."""
        return self.weights + self.working


def memory(spec: SwaySpec, base: BaseFacts, adapter: AdapterFacts | None, cost: Forecast) -> Memory | None:
    """What a run will hold at most, from the sizes in the files; ``None`` when they do not say."""
    if not base.parameters or base.quantized:
        return None
    ft = spec.models.ft
    device = device_name(ft.device).split(":")[0]
    dtype = ft.dtype if ft.dtype != "auto" else {"cuda": "bf16", "mps": "fp16"}.get(device, "fp32")
    weights = base.parameters * _BYTES[dtype] * (1 if spec.defaults.differential else 2)
    extra = sum(t.numbers for t in adapter.tensors.values()) * 4 if adapter is not None else 0
    # A row is one number for every token of the vocabulary.
    row = 4 * base.vocabulary
    prompts = sum(e.prompts for e in cost.entries)
    kept = min(prompts * row, ROW_CACHE.get(device, 2**29))
    # Both sides' logits and a working copy.
    logits = 3 * min(32 * max(1, prompts) * row, ROW_BYTES.get(device, 2**28))
    # Random adapters are made next to the trained one, a few at a time.
    nulls = 8 * extra if any(e.kind == "null_adapter" and e.passes for e in cost.entries) else 0
    return Memory(weights + extra, kept + logits + nulls, device, dtype)
