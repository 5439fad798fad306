"""Opening a base model and its tokenizer with transformers: where from, in which dtype, on which device.

Whatever goes wrong here is the user's to mend, so it leaves as a :class:`ModelLoadError` in one sentence. No pickles,
and no code from a model's repository unless the spec allows it.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.core.errors import BackendNotAvailableError, ModelLoadError
from sway_dash.core.model import ModelSpec
from sway_dash.core.steps import step

if TYPE_CHECKING:
    import torch

_WHOLE = 64 * 2**20
_BLOCK, _BLOCKS = 2**16, 64


@dataclass(frozen=True, slots=True)
class Source:
    """Where a base comes from: a hub id or folder, and the GGUF file in it if it is one."""

    name: str
    gguf: str | None = None

    @property
    def folder(self) -> Path | None:
        """The local folder, if it is one."""
        path = Path(self.name).expanduser()
        return path if path.is_dir() else None


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A base model in evaluation mode on its device, and which weights these are."""

    model: Any
    tokenizer: Any
    identity: str
    revision: str


def require_packages() -> None:
    """Import torch, transformers and peft; ``BackendNotAvailableError`` when one is missing or broken."""
    # Read when torch is first imported: OpenMP threads that wait by spinning make everything five times slower as soon
    # as another process wants the same cores, and gain little where they are alone.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    step("packages")
    with _collection_paused():
        for package in ("torch", "transformers", "peft"):
            try:
                importlib.import_module(package)
            except ImportError as error:
                hint = f"{package} cannot be imported: {error}"
                raise BackendNotAvailableError("hf", extra="hf", hint=hint) from error


@contextmanager
def _collection_paused() -> Iterator[None]:
    """No garbage collection: imports make a million objects that all stay, and looking through them takes a second."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def detect_device() -> str:
    """The best device here: cuda, else mps, else cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_device(wanted: str) -> torch.device:
    """The device a spec asks for; ``ModelLoadError`` when this machine has none such."""
    import torch

    name = detect_device() if wanted == "auto" else wanted
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelLoadError(f"unknown device {wanted!r}; known: auto, cpu, cuda, cuda:<n>, mps") from error
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= there.get(device.type, 0):
        here = detect_device()
        raise ModelLoadError(f"device {wanted!r} is not available here; this machine has {here}: name that, or auto")
    return device


def resolve_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """fp16, bf16 and fp32 as they say; auto is bf16 on CUDA that knows it, fp16 on mps, fp32 otherwise."""
    import torch

    named = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
    if wanted in named:
        return named[wanted]
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16 if device.type == "mps" else torch.float32


def find_source(base: str) -> Source:
    """Tell hub ids, model folders and GGUF files apart."""
    path = Path(base).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelLoadError(f"the base {base} does not exist")
        return Source(str(path.parent), path.name)
    if not path.is_dir():
        if path.is_file() or base.startswith((".", "/", "~")):
            raise ModelLoadError(f"the base {base} is not a folder: give a model folder, a .gguf file or a hub id")
        return Source(base)
    if (path / "adapter_config.json").is_file():
        raise ModelLoadError(f"the base {base} is an adapter folder: give the model it was trained for as the base")
    files = sorted(p.name for p in path.glob("*.gguf"))
    if not (path / "config.json").is_file():
        if len(files) == 1:
            return Source(str(path), files[0])
        what = f"{len(files)} .gguf files: name the one to load" if files else "neither config.json nor a .gguf file"
        raise ModelLoadError(f"the base folder {base} has {what}")
    return Source(str(path))


def load_base(spec: ModelSpec, device: torch.device, dtype: torch.dtype, *, tokenizer_from: Path | None) -> LoadedBase:
    """Open the base and a tokenizer, from the adapter's folder if that has one."""
    from transformers import AutoModelForCausalLM

    source = find_source(spec.base)
    if source.gguf and find_spec("gguf") is None:
        raise BackendNotAvailableError("hf", extra="gguf", hint="transformers reads GGUF files through this package")
    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    gguf = {"gguf_file": source.gguf} if source.gguf else {}
    step(f"weights{_size(source)}")
    try:
        with _quiet_logs():
            model, info = AutoModelForCausalLM.from_pretrained(
                source.name,
                dtype=dtype,
                output_loading_info=True,
                **({} if gguf else {"use_safetensors": True}),
                **gguf,
                **options,
            )
    except ImportError as error:
        raise ModelLoadError(f"the base {spec.base} needs a package that is missing: {error}") from error
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise ModelLoadError(_reason(spec, error)) from error
    tokenizer = load_tokenizer(spec, source, tokenizer_from)
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ModelLoadError(
            f"the base {spec.base} is itself an adapter: give the model it was trained for as the base"
        )
    if missing := sorted(info.get("missing_keys") or ()):
        # Transformers would fill these with random numbers and go on.
        raise ModelLoadError(f"the base {spec.base} lacks {len(missing)} of its weights, the first is {missing[0]}")
    revision = str(getattr(model.config, "_commit_hash", None) or snapshot_revision(source.folder))
    if device.type != "cpu":
        step(f"onto {device}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = model.to(device).eval()
        except RuntimeError as error:
            # A GPU that is too small, or in use by another process.
            raise ModelLoadError(_reason(spec, error)) from error
    identity = _content(source) if source.folder else f"{source.name}@{revision}"
    return LoadedBase(model, tokenizer, identity, revision)


def load_tokenizer(spec: ModelSpec, source: Source, tokenizer_from: Path | None) -> Any:
    """The tokenizer in an adapter's folder, if that has one, else the base's."""
    from transformers import AutoTokenizer

    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    gguf = {"gguf_file": source.gguf} if source.gguf else {}
    step("tokenizer")
    try:
        with _quiet_logs():
            if own_tokenizer(tokenizer_from):
                tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_from), **options)
            else:
                tokenizer = AutoTokenizer.from_pretrained(source.name, **gguf, **options)
    except ImportError as error:
        raise ModelLoadError(f"the base {spec.base} needs a package that is missing: {error}") from error
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise ModelLoadError(_reason(spec, error)) from error
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    return tokenizer


def own_tokenizer(folder: Path | None) -> bool:
    """Whether an adapter's folder comes with a tokenizer."""
    return folder is not None and (folder / "tokenizer_config.json").is_file()


def _size(source: Source) -> str:
    """How much there is to read, when that is known beforehand."""
    folder = source.folder
    if folder is None:
        return ""
    files = [folder / source.gguf] if source.gguf else folder.glob("*.safetensors")
    size = sum(f.stat().st_size for f in files if f.is_file())
    return f" ({size / 1e9:.1f} GB)" if size >= 1e8 else f" ({size / 1e6:.1f} MB)"


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """No progress bars in log files; a terminal keeps them."""
    from transformers.utils import logging

    if sys.stderr.isatty() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _reason(spec: ModelSpec, error: Exception) -> str:
    first = str(error).strip().split("\n")[0].strip() or type(error).__name__
    if "trust_remote_code" in str(error):
        return (
            f"the base {spec.base} comes with Python code of its own: set trust_remote_code: true if you have read it"
        )
    folder = Path(spec.base).expanduser()
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
        return (
            f"the base {spec.base} holds only pickled weights, which can run any code when they are loaded; if you "
            "trust them, save the model once with model.save_pretrained(folder, safe_serialization=True)"
        )
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    hint = (
        " (HF_HUB_OFFLINE is set, so only what is already on disk can be used)"
        if offline and not folder.is_dir()
        else ""
    )
    return f"the base {spec.base} cannot be loaded: {first}{hint}"


def tokenizer_identity(tokenizer: Any) -> str:
    """SHA-256 of what turns text into token ids: with other ids the same prompt is another measurement."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    rules = fast.to_str() if fast is not None else repr(sorted(tokenizer.get_vocab().items()))
    special = repr(sorted((k, str(v)) for k, v in tokenizer.special_tokens_map.items()))
    return hashlib.sha256(f"{rules}\0{special}".encode()).hexdigest()


def base_identity(base: str) -> str:
    """Which weights a folder holds, as :func:`load_base` tells it; empty for a hub id. ``ModelLoadError`` for none."""
    source = find_source(base)
    return _content(source) if source.folder else ""


def snapshot_revision(folder: Path | None) -> str:
    """Commit of a folder of the hub's cache, ``models--<name>/snapshots/<commit>``; empty for any other."""
    return folder.name if folder is not None and hub_id_of(folder) else ""


def hub_id_of(folder: Path) -> str:
    """The hub id whose files a folder of the hub's cache holds; empty for any other folder."""
    snapshots = folder.absolute().parent
    if snapshots.name != "snapshots" or not snapshots.parent.name.startswith("models--"):
        return ""
    return snapshots.parent.name.removeprefix("models--").replace("--", "/")


def folder_identity(base: str) -> str:
    """Identity of a base in a local folder, as :func:`load_base` gives it; empty for a hub id or what is not there."""
    try:
        return base_identity(base)
    except (ModelLoadError, OSError):
        return ""


def _content(source: Source) -> str:
    """SHA-256 of a folder's configuration and weights: two copies of one model are the same base.

    Of a large file only evenly spaced blocks are read, which an edit may miss; its time of change counts, too.
    """
    folder = source.folder
    assert folder is not None
    digest = hashlib.sha256()
    files = [folder / source.gguf] if source.gguf else sorted(folder.glob("*.safetensors"))
    for path in [folder / "config.json", *files]:
        if not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                digest.update(file.read())
                continue
            digest.update(f"{path.stat().st_mtime_ns}\0".encode())
            for k in range(_BLOCKS):
                file.seek(k * (size - _BLOCK) // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()
