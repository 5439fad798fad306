"""Optimizer states beside an adapter, read without running anything they contain.

Two layouts: ``training_state.pt`` (a dictionary with ``optimizer_state_dict``), and the checkpoints of a transformers
Trainer (``optimizer.pt`` with ``trainer_state.json``). Both are pickles, and a pickle can run any code when it is
loaded; ``torch.load(weights_only=True)`` builds tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sway_dash.core.errors import MissingTrainingStateError
from sway_dash.core.training import MatrixStat, ParamMappingError, ParamStat, TrainingStateError, TrainingStateSnapshot

STATE, OPTIMIZER, TRAINER = "training_state.pt", "optimizer.pt", "trainer_state.json"
WEIGHTS = "adapter_model.safetensors"


def load_training_state(folder: Path) -> TrainingStateSnapshot:
    """Read the optimizer state in an adapter folder or a Trainer's output folder.

    Raises ``MissingTrainingStateError`` when there is none, ``TrainingStateError`` when it cannot be used.
    """
    folder = Path(folder)
    if (folder / STATE).is_file():
        return _own(folder / STATE)
    path = _optimizer_file(folder)
    if path is None:
        raise MissingTrainingStateError(folder)
    return _trainers(path)


def adapter_matrices(folder: Path) -> tuple[MatrixStat, ...]:
    """Names, shapes and Frobenius norms of the tensors of the adapter in ``folder``, one in memory at a time.

    ``ParamMappingError`` when the file is missing or is no safetensors file.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise ParamMappingError(f"{path} is missing, so the optimizer's entries cannot be matched with layers")
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ParamMappingError(f"{path} cannot be read: {error}; install safetensors") from None
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            names = sorted(file.keys())
            return tuple(MatrixStat(n, tuple(t.shape), _norm(t)) for n in names for t in [file.get_tensor(n)])
    except (SafetensorError, OSError) as error:
        raise ParamMappingError(f"{path} cannot be read as safetensors: {error}") from None


def state_folder(folder: Path) -> Path:
    """Where the state that :func:`load_training_state` reads lies: ``folder`` itself or its last checkpoint."""
    path = None if (Path(folder) / STATE).is_file() else _optimizer_file(Path(folder))
    return Path(folder) if path is None else path.parent


def _optimizer_file(folder: Path) -> Path | None:
    def number(path: Path) -> int:
        found = re.search(r"(\d+)$", path.name)
        return int(found.group(1)) if found else -1

    folders = [folder, *sorted(folder.glob("checkpoint-*"), key=number, reverse=True)]
    return next((f / OPTIMIZER for f in folders if (f / OPTIMIZER).is_file()), None)


def _own(path: Path) -> TrainingStateSnapshot:
    state = _load(path)
    optimizer = state.get("optimizer_state_dict")
    if not isinstance(optimizer, Mapping):
        raise TrainingStateError(f"{path}: missing 'optimizer_state_dict', so it is no training state")
    stats, skipped = _param_stats(path, optimizer)
    return TrainingStateSnapshot(
        global_step=int(_scalar(state.get("global_step")) or 0),
        epoch=_scalar(state.get("epoch")) or 0.0,
        best_val_loss=_scalar(state.get("best_val_loss")),
        per_param=stats,
        pinned_versions=_plain_mapping(state.get("pinned_versions")),
        base_model_revision=_text(state.get("base_model_revision")),
        dlm_manifest_hash=_text(state.get("dlm_manifest_hash")),
        use_qlora=bool(state.get("use_qlora", False)),
        source=str(path),
        skipped=skipped,
    )


def _trainers(path: Path) -> TrainingStateSnapshot:
    stats, skipped = _param_stats(path, _load(path))
    facts: Mapping[str, Any] = {}
    try:
        found = json.loads((path.parent / TRAINER).read_text("utf-8"))
        facts = found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        pass  # The steps the optimizer counted are used instead.
    metric = facts.get("best_metric") if str(facts.get("metric_for_best_model", "loss")).endswith("loss") else None
    return TrainingStateSnapshot(
        global_step=int(_scalar(facts.get("global_step")) or max((p.step for p in stats), default=0)),
        epoch=_scalar(facts.get("epoch")) or 0.0,
        best_val_loss=_scalar(metric),
        per_param=stats,
        source=str(path),
        skipped=skipped,
    )


def _load(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise TrainingStateError(f"{path} cannot be read without torch: {error}") from None
    try:
        with torch.serialization.safe_globals(_array_globals()):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the file is untrusted: whatever it provokes is its own fault
        reason = str(error)
        # Torch's own text recommends loading without the safeguard.
        found_global = re.search(r"Unsupported (?:global|class)[: ]*(?:GLOBAL )?([\w.]+)", reason)
        if found_global:
            what = f"it holds more than tensors and plain values ({found_global.group(1)}) and was refused"
        elif "weights_only" in reason.lower() or "weights only" in reason.lower():
            what = "it holds more than tensors and plain values and was refused"
        else:
            what = f"{type(error).__name__}: {reason.splitlines()[0][:200] if reason else 'no reason given'}"
        raise TrainingStateError(f"failed to torch.load {path}: {what}") from None
    if not isinstance(found, Mapping):
        raise TrainingStateError(f"{path} is not a dict but {type(found).__name__}, so it is no training state")
    return found


def _array_globals() -> list[Any]:
    """What numpy arrays are rebuilt from; states of random generators are such arrays."""
    import numpy as np

    core = getattr(np, "_core", None) or np.core
    return [core.multiarray._reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]


def _param_stats(path: Path, optimizer: Mapping[str, Any]) -> tuple[tuple[ParamStat, ...], int]:
    state = optimizer.get("state")
    if not isinstance(state, Mapping):
        raise TrainingStateError(f"{path}: its 'state' is not a dict, so it is no optimizer state")
    if any(isinstance(k, bool) or not isinstance(k, int) for k in state):
        raise TrainingStateError(f"{path}: the keys of its 'state' are no parameter numbers")
    groups = optimizer.get("param_groups")
    group_of: dict[int, Mapping[str, Any]] = {}
    for group in groups if isinstance(groups, list) else []:
        members = group.get("params") if isinstance(group, Mapping) else None
        group_of.update(dict.fromkeys(members if isinstance(members, list) else [], group))
    stats = [s for key in sorted(state) if (s := _stat(key, state[key], group_of.get(key, {}))) is not None]
    return tuple(stats), len(state) - len(stats)


def _stat(key: int, entry: Any, group: Mapping[str, Any]) -> ParamStat | None:
    import torch

    if not isinstance(entry, Mapping):
        return None
    m, v, step = entry.get("exp_avg"), entry.get("exp_avg_sq"), _scalar(entry.get("step"))
    if not (isinstance(m, torch.Tensor) and isinstance(v, torch.Tensor)) or m.shape != v.shape or not m.numel():
        return None
    if not (m.is_floating_point() and v.is_floating_point()):
        return None
    betas = group.get("betas")
    pair = [_scalar(b) for b in betas] if isinstance(betas, list | tuple) and len(betas) == 2 else []
    beta1, beta2 = (
        (b if b is not None and 0 <= b < 1 else d) for b, d in zip(pair or (0.9, 0.999), (0.9, 0.999), strict=True)
    )
    count = max(1, int(step or 0))
    eps = _scalar(group.get("eps")) or 1e-8
    m64, v64 = m.double(), v.double()
    hat_m, hat_v = m64 / (1 - beta1**count), v64 / (1 - beta2**count)
    return ParamStat(
        param_id=key,
        step=int(step or 0),
        exp_avg_norm=float(m64.norm()),
        exp_avg_sq_mean=float(v64.mean()),
        numel=int(m.numel()),
        shape=tuple(m.shape),
        grad_ms=float(hat_v.mean()),
        direction_ms=float(((hat_m / (hat_v.sqrt() + eps)) ** 2).mean()),
        lr=value if (value := _scalar(group.get("lr"))) is not None else float("nan"),
        beta1=beta1,
    )


def _norm(tensor: Any) -> float:
    return float(tensor.double().norm()) if tensor.is_floating_point() else float("nan")


def _scalar(value: Any) -> float | None:
    """A finite number, also from a tensor of one entry."""
    if value is None or isinstance(value, str | bytes | bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _plain_mapping(value: Any) -> dict[str, Any]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else {}
