"""What a PEFT adapter folder says about itself, read before the base is loaded. No model, no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sway_dash.core.errors import ModelLoadError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"

_TO_SAFETENSORS = (
    'python -c "import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in '
    "torch.load('adapter_model.bin', weights_only=True, map_location='cpu').items()}, 'adapter_model.safetensors')\""
)
_REWRITES_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter folder that holds a LoRA in safetensors, and what its weights look like."""

    folder: Path
    config: Mapping[str, Any]
    sha256: str
    shapes: Mapping[str, tuple[int, ...]]
    non_finite: tuple[tuple[str, int], ...]
    """Tensors with NaN or infinite entries, and how many."""
    zero_b: bool
    """Every ``lora_B`` matrix is zero: the adapter does nothing."""

    @property
    def base_name(self) -> str:
        """The base it says it was trained for."""
        return str(self.config.get("base_model_name_or_path") or "another base")

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the modules it changes, sorted."""
        found = self.config.get("target_modules") or ()
        return (found,) if isinstance(found, str) else tuple(sorted(found))

    @property
    def bias(self) -> str:
        """Which biases were trained: none, all, lora_only."""
        return str(self.config.get("bias") or "none")

    @property
    def fixed_strength(self) -> str:
        """Why the adapter cannot be applied at another strength λ; empty if it can."""
        if self.config.get("modules_to_save"):
            return f"it replaces whole modules ({', '.join(self.config['modules_to_save'])})"
        if self.config.get("trainable_token_indices"):
            return "it replaces rows of the embedding"
        if self.bias != "none":
            return f"it trains biases (bias={self.bias!r})"
        if self.config.get("use_dora"):
            return "it is a DoRA adapter, whose magnitudes do not scale"
        return ""


def inspect_adapter(folder: Path) -> AdapterFiles:
    """Read config and weights of an adapter folder; ``ModelLoadError`` in one sentence for all that cannot work."""
    config = read_config(folder)
    shapes, non_finite, zero_b = _weights(weights_path(folder))
    return AdapterFiles(folder, config, adapter_fingerprint(folder), shapes, non_finite, zero_b)


def adapter_fingerprint(folder: Path) -> str:
    """SHA-256 over configuration and weights: retraining in place gives another one."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(f"{name}\0{(folder / name).stat().st_size}\0".encode())
        with (folder / name).open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def weights_path(folder: Path) -> Path:
    """The file with an adapter's weights; ``ModelLoadError`` when there is none that is safe to read."""
    weights = folder / WEIGHTS
    if weights.is_file():
        return weights
    if (folder / PICKLE).is_file():
        raise ModelLoadError(
            f"{folder} holds only {PICKLE}, a pickle, which can run any code when it is loaded; if you trust it, "
            f"convert it inside that folder: {_TO_SAFETENSORS}"
        )
    raise ModelLoadError(f"{folder} has no {WEIGHTS}: save the adapter with model.save_pretrained(folder)")


def read_config(folder: Path) -> dict[str, Any]:
    """An adapter's configuration; ``ModelLoadError`` in one sentence for what cannot be measured."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ModelLoadError(f"the adapter folder {folder} {what}")
    path = folder / CONFIG
    if not path.is_file():
        inner = sorted(p.parent.name for p in folder.glob(f"*/{CONFIG}"))
        hint = f"; it has folders that do: {', '.join(inner[:5])}" if inner else ""
        raise ModelLoadError(f"{folder} has no {CONFIG}, so it is no PEFT adapter{hint}")
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelLoadError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelLoadError(f"{path} holds no JSON object")
    kind = str(config.get("peft_type", "")).upper()
    if kind != "LORA":
        raise ModelLoadError(f"{folder} is a {kind or 'nameless'} adapter; only LoRA adapters can be measured")
    if how := rewrites_base(config):
        # Loading such an adapter changes the base's own matrices, and the base view would not be the base.
        raise ModelLoadError(
            f"{folder} was initialised by {how!r}, which rewrites the base model's weights; convert it to a "
            "plain LoRA (save_pretrained with path_initial_model_for_weight_conversion) or compare two full models"
        )
    if config.get("layer_replication"):
        raise ModelLoadError(f"{folder} replicates layers, so the model with it switched off is not the base")
    return config


def rewrites_base(config: Mapping[str, Any]) -> str:
    """How an adapter was initialised if that changed the base's own matrices; empty if it did not."""
    init = str(config.get("init_lora_weights", "")).lower()
    return (init or "kasa") if init.startswith(_REWRITES_BASE) or config.get("kasa_config") else ""


def _weights(path: Path) -> tuple[dict[str, tuple[int, ...]], tuple[tuple[str, int], ...], bool]:
    """Shapes, non-finite counts and whether every lora_B is zero, one tensor in memory at a time."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    broken: list[tuple[str, int]] = []
    seen_b, zero_b = False, True
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                tensor = file.get_tensor(name)
                shapes[name] = tuple(tensor.shape)
                bad = int((~tensor.isfinite()).sum()) if tensor.is_floating_point() else 0
                if bad:
                    broken.append((name, bad))
                if "lora_B" in name or "lora_embedding_B" in name:
                    seen_b = True
                    zero_b = zero_b and not bool(tensor.any())
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(f"{path} cannot be read as safetensors: {error}") from error
    if not any(".lora_" in name for name in shapes):
        raise ModelLoadError(f"{path} holds no LoRA matrices")
    return shapes, tuple(broken), seen_b and zero_b


def explain_mismatch(files: AdapterFiles, base: str, modules: Mapping[str, tuple[int, ...]]) -> str:
    """One sentence on why an adapter does not fit a base, whose weight matrices have the shapes ``modules``."""
    wanted = changed_modules(files.shapes)
    missing = sorted(m for m in wanted if m not in modules)
    lead = f"this adapter was trained for {files.base_name} and does not fit {base}"
    if missing:
        return f"{lead}: {len(missing)} of its {len(wanted)} modules are not there, the first is {missing[0]}"
    found = wrong_width(files.shapes, modules)
    return f"{lead}: {found}" if found else lead


def changed_modules(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Modules of the base that an adapter changes, each with the name of one of its matrices."""
    return {name.removeprefix("base_model.model.").split(".lora_")[0]: name for name in shapes if ".lora_" in name}


def wrong_width(shapes: Mapping[str, tuple[int, ...]], modules: Mapping[str, tuple[int, ...]]) -> str:
    """The first module whose matrix and the adapter's do not go together, in words; empty if all do."""
    for module, name in sorted(changed_modules(shapes).items()):
        if module not in modules:
            continue
        have, shape = modules[module], shapes[name]
        side = "in" if ".lora_A" in name else "out"
        width = shape[1] if side == "in" else shape[0]
        if len(shape) == 2 and "embedding" not in name and width not in have:
            size = " × ".join(map(str, have))
            return f"{module} is {size} there, while the adapter's {side}put is {width} wide"
    return ""
