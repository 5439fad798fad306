"""What model folders say about themselves: configuration and the headers of their weights. No model, no torch.

Enough to describe a base and an adapter, to size them, and to tell that they do not go together, in milliseconds.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sway_dash.backends.adapter_files import changed_modules, read_config, weights_path, wrong_width
from sway_dash.core.errors import ModelLoadError

MAX_HEADER = 100_000_000
"""Bytes; the format allows no longer header."""

BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2}
"""Size of a number by its name in a safetensors header; one byte for all others."""

NAMES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64"}
LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length", "max_sequence_length")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file: its type as the file names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """A LoRA folder as far as its configuration and header tell."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    size: int
    """Bytes on disk."""

    @property
    def rank(self) -> str:
        """Its rank, or the range of its ranks."""
        ranks = {int(r) for r in [self.config.get("r", 0), *(self.config.get("rank_pattern") or {}).values()]}
        return str(min(ranks)) if len(ranks) == 1 else f"{min(ranks)} to {max(ranks)}"

    @property
    def alpha(self) -> str:
        """The numerator of its scaling."""
        return f"{self.config.get('lora_alpha', 0):g}"

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the modules it changes, sorted."""
        found = self.config.get("target_modules") or ()
        return (found,) if isinstance(found, str) else tuple(sorted(map(str, found)))

    @property
    def base_name(self) -> str:
        """The base it says it was trained for; empty if it does not say."""
        return str(self.config.get("base_model_name_or_path") or "")

    @property
    def dtype(self) -> str:
        """The type most of its numbers have."""
        return main_dtype(self.tensors)


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """A model folder as far as its configuration and headers tell."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    size: int
    """Bytes of weights on disk."""

    @property
    def architecture(self) -> str:
        """Name of its class."""
        found = self.config.get("architectures") or ()
        return str(found[0]) if found else str(self.config.get("model_type") or "")

    @property
    def parameters(self) -> int:
        """How many numbers its weights are; 0 when the files do not say."""
        return sum(t.numbers for t in self.tensors.values())

    @property
    def dtype(self) -> str:
        """The type most of its numbers have."""
        return main_dtype(self.tensors)

    @property
    def max_context(self) -> int:
        """The most tokens it takes at once; 0 when the files do not say."""
        return next((int(v) for name in LENGTHS if isinstance(v := self.text.get(name), int) and v > 1), 0)

    @property
    def layers(self) -> int:
        """How many layers it has; 0 when the files do not say."""
        found = self.text.get("num_hidden_layers") or self.text.get("n_layer") or 0
        return found if isinstance(found, int) else 0

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows; 0 when the files do not say."""
        found = self.text.get("vocab_size") or 0
        return found if isinstance(found, int) else 0

    @property
    def text(self) -> Mapping[str, Any]:
        """The part of the configuration that describes the language model."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, Mapping) else self.config

    @property
    def quantized(self) -> bool:
        """Whether its weights are packed, so that their shapes say little."""
        return bool(self.config.get("quantization_config"))


def read_header(path: Path) -> dict[str, Tensor]:
    """Names, types and shapes in a safetensors file; ``ModelLoadError`` when it is none."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER, path.stat().st_size):
                raise ModelLoadError(f"{path} is no safetensors file, or only a part of one")
            found = json.loads(file.read(length))
        return {
            name: Tensor(str(t["dtype"]), tuple(int(n) for n in t["shape"]))
            for name, t in found.items()
            if name != "__metadata__"
        }
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(f"{path} cannot be read as safetensors") from error


def look_at_adapter(folder: Path) -> AdapterFacts:
    """Describe an adapter folder; ``ModelLoadError`` in one sentence for what cannot be measured."""
    config = read_config(folder)
    weights = weights_path(folder)
    tensors = read_header(weights)
    if not any(".lora_" in name for name in tensors):
        raise ModelLoadError(f"{weights} holds no LoRA matrices")
    return AdapterFacts(folder, config, tensors, weights.stat().st_size)


def look_at_base(base: str) -> BaseFacts | None:
    """Describe a base: a folder, a ``.gguf`` file, or a hub id in the cache; ``None`` for one that is not here yet.

    ``ModelLoadError`` in one sentence for a folder that is no model.
    """
    path = Path(base).expanduser()
    if path.suffix.lower() == ".gguf" and path.is_file():
        return BaseFacts(path.parent, {}, {}, path.stat().st_size)
    if not path.is_dir():
        if path.exists() or base.startswith((".", "/", "~")):
            what = "is a file" if path.exists() else "does not exist"
            raise ModelLoadError(f"the base {base} {what}: give a model folder, a .gguf file or a hub id")
        snapshot = cached_snapshot(base)
        return _folder(snapshot, base) if snapshot is not None else None
    return _folder(path, base)


def _folder(folder: Path, base: str) -> BaseFacts:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ModelLoadError(f"the base {base} is an adapter folder: give the model it was trained for as the base")
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except FileNotFoundError:
        files = sorted(folder.glob("*.gguf"))
        if len(files) == 1:
            return BaseFacts(folder, {}, {}, files[0].stat().st_size)
        what = f"{len(files)} .gguf files: name the one to load" if files else "neither config.json nor a .gguf file"
        raise ModelLoadError(f"the base folder {base} has {what}") from None
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{folder / 'config.json'} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelLoadError(f"{folder / 'config.json'} holds no JSON object")
    tensors: dict[str, Tensor] = {}
    size = 0
    for path in weight_files(folder):
        tensors |= read_header(path)
        size += path.stat().st_size
    if not tensors and any(folder.glob("*.bin")):
        raise ModelLoadError(
            f"the base {base} holds only pickled weights, which can run any code when they are loaded; if you trust "
            "them, save the model once with model.save_pretrained(folder, safe_serialization=True)"
        )
    return BaseFacts(folder, config, tensors, size)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model: those its index names, else the one, else all."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
        return [folder / Path(name).name for name in sorted(set(index["weight_map"].values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        one = folder / "model.safetensors"
        return [one] if one.is_file() else sorted(folder.glob("*.safetensors"))


def main_dtype(tensors: Mapping[str, Tensor]) -> str:
    """The type most numbers have, in the words of a suite file where it has one; empty without tensors."""
    counts: dict[str, int] = {}
    for tensor in tensors.values():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.numbers
    most = max(counts, key=lambda name: counts[name], default="")
    return NAMES.get(most, most.lower())


# -- the cache of the hub -----------------------------------------------------------------------


def hub_cache() -> Path:
    """Where downloaded models lie, as the hub's own library finds it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if own := os.environ.get(name):
            return Path(own).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "huggingface" / "hub"


def cached_snapshot(hub_id: str) -> Path | None:
    """Folder of a downloaded model, the main revision if it is there; ``None`` when it is not on this disk."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", hub_id):
        return None
    repo = hub_cache() / f"models--{hub_id.replace('/', '--')}"
    try:
        revision = (repo / "refs" / "main").read_text("utf-8").strip()
        if re.fullmatch(r"[\w.-]+", revision) and (repo / "snapshots" / revision).is_dir():
            return repo / "snapshots" / revision
    except OSError:
        pass
    found = sorted((p for p in repo.glob("snapshots/*") if p.is_dir()), key=lambda p: p.stat().st_mtime)
    return found[-1] if found else None


# -- whether they go together -------------------------------------------------------------------


def misfit(adapter: AdapterFacts, base: BaseFacts, name: str) -> str:
    """Why an adapter cannot sit on a base, in a sentence; empty when nothing speaks against it.

    Only what is certain counts: names of modules may change when a model is loaded, and packed weights have other
    shapes.
    """
    shapes = {n: t.shape for n, t in adapter.tensors.items()}
    trained_for = adapter.base_name or "another base"
    lead = f"this adapter was trained for {trained_for} and does not fit {name}"
    layers = {int(n) for m in changed_modules(shapes) for n in re.findall(r"\.(\d+)\.", f".{m}.")[:1]}
    if base.layers and layers and max(layers) >= base.layers:
        return f"{lead}: it changes layer {max(layers) + 1}, while that model has {base.layers}"
    if base.quantized:
        return ""
    modules = _aligned({n.removesuffix(".weight"): t.shape for n, t in base.tensors.items()}, shapes)
    found = wrong_width(shapes, modules)
    return f"{lead}: {found}" if found else ""


def other_base(adapter: AdapterFacts, name: str) -> str:
    """A remark when an adapter names another base than the one chosen; empty when the names agree."""
    said = adapter.base_name
    if not said:
        return ""
    chosen, trained = Path(name).name.lower(), Path(said).name.lower()
    if chosen == trained or said == name:
        return ""
    snapshot = Path(name).parent.parent.name.removeprefix("models--").replace("--", "/")
    if Path(name).parent.name == "snapshots" and Path(snapshot).name.lower() == trained:
        return ""
    return f"the adapter says it was trained for {said}"


def _aligned(
    modules: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the base under the names the adapter uses: files may leave out a leading part, or have one more."""
    wanted = changed_modules(shapes)
    for module in wanted:
        for name in modules:
            if module == name:
                return dict(modules)
            if module.endswith(f".{name}") and _numbered(name):
                lead = module.removesuffix(name)
                return {lead + n: shape for n, shape in modules.items()}
            if name.endswith(f".{module}"):
                lead = name.removesuffix(module)
                return {n.removeprefix(lead): shape for n, shape in modules.items()}
    return {}


def _numbered(name: str) -> bool:
    """Whether a name says which layer it belongs to; without that an ending proves nothing."""
    return any(part.isdigit() for part in name.split("."))
