"""What an optimizer knew of an adapter when training stopped, parameter by parameter. Data and names; no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from sway_dash.core.errors import SwayError

Role = Literal["A", "B", ""]


class TrainingStateError(SwayError):
    """An optimizer state cannot be read; the text says which file and why."""


class ParamMappingError(SwayError):
    """Optimizer entries cannot be matched with the adapter's matrices; the text says why."""


@dataclass(frozen=True, slots=True)
class ParamStat:
    """Adam's moments of one parameter."""

    param_id: int
    step: int
    exp_avg_norm: float
    exp_avg_sq_mean: float
    """Mean squared gradient as the optimizer remembers it, before bias correction."""
    numel: int
    shape: tuple[int, ...] = ()
    grad_ms: float = float("nan")
    """Mean squared gradient after bias correction."""
    direction_ms: float = float("nan")
    """Mean of ``(m̂ / √v̂)²``: 1 for a gradient that never changes, (1 − β₁) / (1 + β₁) for one that is pure noise."""
    lr: float = float("nan")
    beta1: float = 0.9


@dataclass(frozen=True, slots=True)
class TrainingStateSnapshot:
    """The optimizer's state and what stood beside it."""

    global_step: int = 0
    epoch: float = 0.0
    best_val_loss: float | None = None
    per_param: tuple[ParamStat, ...] = ()
    """Ascending by id, which is the order of the optimizer's parameter groups."""
    pinned_versions: Mapping[str, Any] = field(default_factory=dict)
    base_model_revision: str | None = None
    dlm_manifest_hash: str | None = None
    use_qlora: bool = False
    # Beyond the public fields:
    source: str = ""
    skipped: int = 0
    """Optimizer entries without Adam's moments."""


@dataclass(frozen=True, slots=True)
class MatrixStat:
    """One tensor of an adapter file: its shape and Frobenius norm."""

    name: str
    shape: tuple[int, ...]
    norm: float

    @property
    def layer(self) -> int | None:
        """Index of the decoder layer it belongs to."""
        return layer_of(self.name)

    @property
    def role(self) -> Role:
        """Which of the two LoRA matrices it is."""
        return "A" if re.search(r"\.lora_(embedding_)?A\b", self.name) else "B" if ".lora_" in self.name else ""


class TrainingReader(Protocol):
    """What reads these files; it lives where torch does."""

    def load_training_state(self, folder: Path) -> TrainingStateSnapshot:
        """Read the optimizer state in ``folder``."""
        ...

    def adapter_matrices(self, folder: Path) -> tuple[MatrixStat, ...]:
        """Read names, shapes and norms of the adapter's tensors."""
        ...


def layer_of(name: str) -> int | None:
    """Index of the layer in a parameter or module name, ``None`` outside the layers.

    The first whole number of the path, as in ``model.layers.3.mlp``, ``transformer.h.3.attn``, ``blocks.3`` and
    ``layers.3.mlp.experts.5``: experts and heads are counted further in.
    """
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


@dataclass(frozen=True, slots=True)
class LayerGrouping:
    """Which optimizer entry belongs to which layer and which LoRA matrix."""

    layer_of: Mapping[int, int]
    role_of: Mapping[int, Role]
    layer_indices: tuple[int, ...]
    params_per_layer: Mapping[int, int]

    @property
    def num_layers(self) -> int:
        """How many layers have parameters."""
        return len(self.layer_indices)


Block = tuple[int, Sequence[MatrixStat]]


def map_params(params: Sequence[ParamStat], matrices: Sequence[MatrixStat]) -> LayerGrouping:
    """Match optimizer entries with layers by the shapes of whole layers, in the optimizer's order.

    Optimizers number parameters as the model lists them, layer by layer (or, where A and B learn at their own rates,
    all A first), while the file lists them by name. So each run of entries must have exactly the shapes of its
    layer; entries before and after (embeddings, heads) stay unmapped. ``ParamMappingError`` where nothing fits.
    """
    layered = sorted((m for m in matrices if m.layer is not None and m.role), key=lambda m: m.layer or 0)
    if not layered:
        raise ParamMappingError("the adapter file names no layers, so the optimizer's entries cannot be told apart")
    if len(params) < len(layered):
        raise ParamMappingError(
            f"adapter / state mismatch: the optimizer has {len(params)} parameters, the adapter's layers {len(layered)}"
        )
    for blocks in (_by_layer(layered), [*_by_layer(layered, "A"), *_by_layer(layered, "B")]):
        found = _fit(params, blocks)
        if found is not None:
            return found
    raise ParamMappingError(
        "adapter / state mismatch: the shapes of the optimizer's entries are not those of the adapter's layers"
    )


def _by_layer(layered: Sequence[MatrixStat], role: Role = "") -> list[Block]:
    indices = sorted({m.layer for m in layered if m.layer is not None})
    return [(i, [m for m in layered if m.layer == i and (not role or m.role == role)]) for i in indices]


def _fit(params: Sequence[ParamStat], blocks: Sequence[Block]) -> LayerGrouping | None:
    total = sum(len(ms) for _, ms in blocks)
    for offset in range(len(params) - total + 1):
        at, layers, roles = offset, dict[int, int](), dict[int, Role]()
        for layer, matrices in blocks:
            part = params[at : at + len(matrices)]
            if Counter(p.shape for p in part) != Counter(m.shape for m in matrices):
                break
            layers.update({p.param_id: layer for p in part})
            roles.update(_roles(part, matrices))
            at += len(matrices)
        else:
            counts = Counter(layers.values())
            return LayerGrouping(layers, roles, tuple(sorted(counts)), dict(counts))
    return None


def _roles(part: Sequence[ParamStat], matrices: Sequence[MatrixStat]) -> dict[int, Role]:
    """A or B by shape; where both have the same shape, A comes first in every module."""
    found: dict[int, Role] = {}
    seen: Counter[tuple[int, ...]] = Counter()
    for p in part:
        roles = [m.role for m in matrices if m.shape == p.shape]
        if len(set(roles)) == 1:
            found[p.param_id] = roles[0]
        else:
            found[p.param_id] = "A" if seen[p.shape] % 2 == 0 else "B"
        seen[p.shape] += 1
    return found
