"""The backend for a PEFT model that somebody already holds in memory: no second copy, and given back as it was.

Everything the views need is switched on the model itself. What can be told apart afterwards is put back when the
backend is closed: training mode of every module, gradients asked for, active adapter, random generators.
A model that goes on training is measured again and again; :class:`Lasting` keeps what training cannot move.
"""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.backends.adapter_files import AdapterFiles
from sway_dash.backends.held_checks import adapter_to_measure
from sway_dash.backends.hf import HuggingFaceDifferentialBackend
from sway_dash.backends.instrumentation import BackendInstrumentation, ForwardCache
from sway_dash.backends.loading import require_packages
from sway_dash.backends.lora import LoraViews
from sway_dash.backends.swap import lasts
from sway_dash.backends.torch_lm import TorchLM
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import BASE, View

if TYPE_CHECKING:
    import torch

IN_MEMORY = Path("in memory")


class Lasting:
    """Answers of one measurement that hold for the next one of the same base: no trained weight has a part in them.

    They are the base's own and those of Gaussian nulls, which keep nothing of the trained adapter: training does not
    move them. Nulls of the trained size or spectrum follow the training and are drawn anew every time.
    """

    def __init__(self) -> None:
        self.rounding: dict[tuple[tuple[int, ...], ...], tuple[float, float] | None] = {}
        self._answers: dict[Hashable, Any] = {}

    def give(self, cache: ForwardCache) -> None:
        """Put the answers where a backend looks for them."""
        for key, answer in self._answers.items():
            cache.put(key, answer)

    def take(self, cache: ForwardCache) -> None:
        """Remember what holds on."""
        self._answers.update((key, answer) for key, answer in cache.items() if lasts(key, nulls=True))


class HeldModelBackend(HuggingFaceDifferentialBackend):
    """Measures a ``PeftModel`` with one active LoRA and leaves it as it was found.

    Until :meth:`close` the model belongs to the thread that made the backend: a forward pass from another thread is
    refused, because it would run under whatever view is being measured.

    Parameters
    ----------
    label
        What the adapter is called in results; its name in the model without one.
    lasting
        What earlier measurements of this model left; it gets more when this one is closed.

    Raises
    ------
    ModelLoadError
        When the model cannot be measured as it is, in one sentence that says how to mend it.
    """

    def __init__(self, model: Any, tokenizer: Any, *, label: str = "", lasting: Lasting | None = None) -> None:
        require_packages()
        name = adapter_to_measure(model)
        inner = model.get_base_model()
        first = next(p for p in model.parameters() if p.is_floating_point())
        self.device, self.dtype = first.device, first.dtype
        self.spec = spec_of(model)
        self.files = in_memory(model, name)
        self.instrumentation = BackendInstrumentation()
        self._label, self._lasting = label or name, lasting
        if lasting is not None:
            lasting.give(self.instrumentation.cache)
        # Fast tokenizers refuse to be used by two threads at once.
        self.tokenizer = copy.deepcopy(tokenizer)
        self.base_identity, self.base_revision = "@", str(getattr(inner.config, "_commit_hash", None) or "")
        self._found = _Found(model, inner)
        try:
            self._lora = HeldLora(model, self.files, name, self._found)
            self._lm = TorchLM(inner, self.tokenizer)
        except BaseException:
            self._found.put_back()
            raise
        self._guard = inner.register_forward_pre_hook(_only_from(threading.get_ident()))
        self._active = None
        self._checked = {}

    def describe(self) -> dict[str, Any]:
        """As of a model that was loaded, with the adapter's name in memory instead of its folder."""
        return {**super().describe(), "adapter": f"{IN_MEMORY}: {self._label}", "held": True}

    def _rounding(self, view: View, texts: Sequence[list[int]]) -> tuple[float, float] | None:
        if view != BASE or self._lasting is None:
            return super()._rounding(view, texts)
        known, key = self._lasting.rounding, tuple(map(tuple, texts))
        if key not in known:
            known[key] = super()._rounding(view, texts)
        return known[key]

    def close(self) -> None:
        """Put the model back as it was found and let go of it; may be called twice."""
        self._guard.remove()
        self._found.put_back()
        if self._lasting is not None:
            self._lasting.take(self.instrumentation.cache)
        # Not as of a loaded model: there is no model to give back, and collecting garbage of a whole program takes
        # longer than a measurement of it.
        self._lm = self._lora = None
        self._checked.clear()
        self.instrumentation.close()
        if self._rows is not None:
            self._rows.clear()
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()


class HeldLora(LoraViews):
    """Views of a LoRA that is attached already, under whatever name it has."""

    def __init__(self, model: Any, files: AdapterFiles, name: str, found: _Found) -> None:
        self.trained, self._found = name, found
        self._added: set[str] = set()
        super().__init__(model, files, base="")

    def _attach(self, model: Any, base: str) -> Any:
        return model

    def _freeze(self) -> None:
        # Called after adapters were added or removed: what PEFT marked on the way is not wanted here either.
        self._found.put_back(training=False)

    def _add(self, name: str) -> None:
        import torch

        device: torch.device = next(self.peft_model.parameters()).device
        # PEFT draws first values, which are overwritten, from the global generator.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            super()._add(name)
        self._added.add(name)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """As of any LoRA; names of null adapters do not linger in the layers' tables."""
        try:
            with super().kept():
                yield
        finally:
            if self._keep == 0:
                for table in (v for layer in self._layers.values() for v in vars(layer).values()):
                    if isinstance(table, dict):
                        for name in self._added:
                            table.pop(name, None)
                self._added.clear()


class _Found:
    """How a model was found: every switch that measuring touches."""

    def __init__(self, model: Any, inner: Any) -> None:
        self.training = [(m, m.training) for m in model.modules()]
        self.wanted = [(p, p.requires_grad) for p in model.parameters()]
        tables = [model, model.base_model, *(m for m in inner.modules() if hasattr(m, "_active_adapter"))]
        names = ("active_adapter", "_active_adapter", "_disable_adapters")
        self.switches = [(m, n, copy.copy(vars(m)[n])) for m in tables for n in names if n in vars(m)]

    def put_back(self, *, training: bool = True) -> None:
        """Set everything as it was; may be called at any time."""
        for p, wanted in self.wanted:
            if p.requires_grad != wanted:
                p.requires_grad_(wanted)
        for module, name, value in self.switches:
            setattr(module, name, copy.copy(value))
        if training:
            for module, value in self.training:
                module.training = value


def _only_from(thread: int) -> Any:
    def refuse(_module: Any, _args: Any) -> None:
        if threading.get_ident() != thread:
            msg = "the model is being measured: wait until that is over, or stop it, before you use the model"
            raise RuntimeError(msg)

    return refuse


def spec_of(model: Any) -> ModelSpec:
    """A description of a held model's base for suite files; its folder or hub id where it was loaded from one."""
    inner = model.get_base_model()
    first = next(p for p in model.parameters() if p.is_floating_point())
    dtypes: Mapping[str, Any] = {"torch.float16": "fp16", "torch.bfloat16": "bf16", "torch.float32": "fp32"}
    name = str(getattr(inner.config, "_name_or_path", "") or type(inner).__name__)
    return ModelSpec(base=name, dtype=dtypes.get(str(first.dtype), "auto"), device=str(first.device))


def in_memory(model: Any, name: str) -> AdapterFiles:
    """What the files of an adapter would say if it were saved now."""
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    digest = hashlib.sha256()
    broken: list[tuple[str, int]] = []
    seen_b, zero_b = False, True
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu()
        digest.update(f"{key}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(tensor.contiguous().flatten().view(_bytes()).numpy().tobytes())
        bad = int((~tensor.isfinite()).sum()) if tensor.is_floating_point() else 0
        if bad:
            broken.append((key, bad))
        if "lora_B" in key or "lora_embedding_B" in key:
            seen_b, zero_b = True, zero_b and not bool(tensor.any())
    shapes = {key: tuple(t.shape) for key, t in tensors.items()}
    config = model.peft_config[name].to_dict()
    targets = config.get("target_modules")
    config["target_modules"] = sorted(targets) if isinstance(targets, set | list | tuple) else targets
    return AdapterFiles(IN_MEMORY, config, digest.hexdigest(), shapes, tuple(broken), seen_b and zero_b)


def _bytes() -> torch.dtype:
    import torch

    return torch.uint8
