"""Views of one PEFT model: adapter off, on, at another strength, replaced by noise.

The trained adapter is never written to. A null is a further adapter beside it, so nothing has to be put back; another
strength multiplies ``LoraLayer.scaling``, a number per layer, and puts the old numbers back.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sway_dash.backends.adapter_files import AdapterFiles, explain_mismatch
from sway_dash.core.errors import ModelLoadError, ProbeError
from sway_dash.core.scoring import View

if TYPE_CHECKING:
    import torch

TRAINED = "default"
_NULL_BYTES = {"cuda": 2 * 2**30}
_VARIANTS = {
    "modules_to_save": None,
    "trainable_token_indices": None,
    "use_dora": False,
    "bias": "none",
    "lora_bias": False,
    "init_lora_weights": True,
    "lora_dropout": 0.0,
    "layer_replication": None,
    "alora_invocation_tokens": None,
    "velora_config": None,
    "monteclora_config": None,
    "use_qalora": False,
    "use_bdlora": None,
    "arrow_config": None,
}


class LoraViews:
    """A base model with one trained LoRA attached, and the ways to switch it."""

    trained = TRAINED
    """Name of the adapter in the PEFT model."""
    null_prefix = "sway_null"
    """How the names of null adapters begin."""

    def __init__(self, model: Any, files: AdapterFiles, *, base: str) -> None:
        self.files = files
        self.unloaded: tuple[str, ...] = ()
        biases = self._biases(model)
        self.peft_model = self._attach(model, base)
        self._biases_of = {
            "base": biases,
            "tuned": {name: p.detach().clone() for name, p in self._bias_parameters(self.peft_model).items()},
        }
        self.peft_model.eval()
        self._switches, self._layers = _switchable(self.peft_model, self.trained)
        self._slots: OrderedDict[View, str] = OrderedDict()
        self._keep = 0
        self._freeze()

    # --- attaching ----------------------------------------------------------------------------------------------------

    def _attach(self, model: Any, base: str) -> Any:
        from peft import PeftModel

        shapes = {
            n.removesuffix(".weight"): tuple(p.shape) for n, p in model.named_parameters() if n.endswith(".weight")
        }
        device = str(next(model.parameters()).device)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = PeftModel.from_pretrained(
                    model, str(self.files.folder), adapter_name=TRAINED, torch_device=device, use_safetensors=True
                )
                # from_pretrained keeps to itself which keys it did not use; loading once more says so.
                unused = found.load_adapter(str(self.files.folder), TRAINED, torch_device=device).unexpected_keys
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ModelLoadError(explain_mismatch(self.files, base, shapes)) from error
        self.unloaded = tuple(sorted(unused))
        if self.unloaded:
            raise ModelLoadError(
                f"{explain_mismatch(self.files, base, shapes)} ({len(self.unloaded)} of its {len(self.files.shapes)} "
                "tensors would be left out)"
            )
        return found

    def _bias_parameters(self, model: Any) -> dict[str, Any]:
        """Parameters of the base that a ``bias`` other than none overwrites on loading."""
        if self.files.bias == "none":
            return {}
        saved = [name for name in self.files.shapes if name.endswith(".bias")]
        suffix = {name.removeprefix("base_model.model.").replace(".base_layer.", ".") for name in saved}
        plain = {
            n.removeprefix("base_model.model.").replace(".base_layer.", "."): p for n, p in model.named_parameters()
        }
        return {name: plain[name] for name in suffix if name in plain}

    def _biases(self, model: Any) -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in self._bias_parameters(model).items()}

    # --- switching ----------------------------------------------------------------------------------------------------

    def require(self, view: View) -> None:
        """``ProbeError`` for a view this adapter cannot have."""
        if view.kind == "scaled" and (why := self._fixed_strength):
            raise ProbeError("scaled view", f"the adapter cannot be applied at strength {view.lam}: {why}")

    @property
    def _fixed_strength(self) -> str:
        if why := self.files.fixed_strength:
            return why
        variants = {
            type(v).__name__ for layer in self._layers.values() for v in getattr(layer, "lora_variant", {}).values()
        }
        return f"it uses {', '.join(sorted(variants))}" if variants else ""

    @contextmanager
    def active(self, view: View) -> Iterator[None]:
        """Make ``view`` the weights that answer; the trained adapter is on again afterwards, whatever happens."""
        self.require(view)
        if view.kind == "ft":
            yield
        elif view.kind == "scaled":
            with self._scaled(view.lam):
                yield
        elif view.kind == "null":
            with self.kept(), self._only(self._slot(view)), self._without_biases():
                yield
        else:
            with self._only(None), self._without_biases():
                yield

    @contextmanager
    def _only(self, adapter: str | None) -> Iterator[None]:
        """Let another adapter answer, or none, and leave every switch as it was.

        PEFT's own switches walk the whole model and mark weights as trainable: 10 ms a turn with 210 modules, as long
        as a batch takes on a GPU. The two attributes they end in take half a millisecond.
        """
        before = [(m, m._disable_adapters, m._active_adapter) for m in self._switches]
        try:
            for module in self._switches:
                if adapter is not None and _factors(module, adapter):
                    module._active_adapter = [adapter]
                else:
                    module._disable_adapters = True
            yield
        finally:
            for module, off, active in before:
                module._disable_adapters, module._active_adapter = off, active

    def _freeze(self) -> None:
        # PEFT marks what it adds as trainable.
        for p in self.peft_model.parameters():
            p.requires_grad_(False)

    @contextmanager
    def _scaled(self, lam: float) -> Iterator[None]:
        before = {name: layer.scaling[self.trained] for name, layer in self._layers.items()}
        try:
            for name, layer in self._layers.items():
                layer.scaling[self.trained] = before[name] * lam
            yield
        finally:
            for name, layer in self._layers.items():
                layer.scaling[self.trained] = before[name]

    @contextmanager
    def _without_biases(self) -> Iterator[None]:
        """PEFT leaves trained biases in place when it switches an adapter off."""
        if not self._biases_of["base"]:
            yield
            return
        try:
            self._write_biases("base")
            yield
        finally:
            self._write_biases("tuned")

    def _write_biases(self, side: str) -> None:
        import torch

        with torch.no_grad():
            for name, p in self._bias_parameters(self.peft_model).items():
                p.copy_(self._biases_of[side][name])

    # --- noise in the adapter's place ---------------------------------------------------------------------------------

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep null adapters, once made, until the outermost ``kept`` is left; then all of them are gone."""
        self._keep += 1
        try:
            yield
        finally:
            self._keep -= 1
            if self._keep == 0:
                while self._slots:
                    self.peft_model.delete_adapter(self._slots.popitem()[1])
                self._freeze()

    def _slot(self, view: View) -> str:
        """Name of an adapter filled with the noise of ``view``; when memory is spent the oldest is filled anew."""
        if view in self._slots:
            self._slots.move_to_end(view)
            return self._slots[view]
        if len(self._slots) < self._max_slots:
            known = self.peft_model.peft_config
            name = next(name for k in itertools.count() if (name := f"{self.null_prefix}{k}") not in known)
            self._add(name)
        else:
            name = self._slots.popitem(last=False)[1]
        self._fill(name, view)
        self._slots[view] = name
        return name

    @property
    def _max_slots(self) -> int:
        size: int = sum(m.nbytes for layer in self._layers.values() for m in _factors(layer, self.trained))
        kind = next(self.peft_model.parameters()).device.type
        return max(1, _NULL_BYTES.get(kind, 2**30) // max(1, size))

    def _add(self, name: str) -> None:
        config = copy.deepcopy(self.peft_model.peft_config[self.trained])
        for key, value in _VARIANTS.items():
            if hasattr(config, key):
                setattr(config, key, value)
        config.inference_mode = True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.peft_model.add_adapter(name, config)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise ProbeError("null view", f"this adapter cannot be given a null beside it: {error}") from error
        self.peft_model.eval()

    def _fill(self, name: str, view: View) -> None:
        """Draw A and B with std ``init_scale · rank_scale^¼`` each, so that Var(BA) grows as ``rank_scale``.

        Each matrix has its own generator, seeded from the view's seed and the module's name and run on the CPU:
        neither the order of modules nor the process nor the device changes the draw.
        """
        import torch

        std = view.init_scale * view.rank_scale**0.25
        with torch.no_grad():
            for module, layer in self._layers.items():
                generator = torch.Generator().manual_seed(_seed(view.seed, module))
                for matrix in _factors(layer, name):
                    matrix.copy_(torch.randn(matrix.shape, generator=generator) * std)

    # --- size ---------------------------------------------------------------------------------------------------------

    def update_norm(self, view: View) -> float | None:
        """Frobenius norm of the change ΔW over all modules; ``None`` where it is not a product of two matrices."""
        if view.kind == "base":
            return 0.0
        self.require(view)
        if view.kind == "null":
            with self.kept():
                return self._norm(self._slot(view), 1.0)
        if self._fixed_strength:
            return None
        return self._norm(self.trained, view.lam if view.kind == "scaled" else 1.0)

    def _norm(self, adapter: str, lam: float) -> float | None:
        total = 0.0
        for layer in self._layers.values():
            factors = [m.detach().cpu().double().flatten(1) for m in _factors(layer, adapter)]
            if len(factors) != 2:
                return None
            a, b = factors
            if a.shape[0] != b.shape[1]:
                return None
            # ‖BA‖² = tr(BᵀB · AAᵀ): two r × r matrices instead of one as large as the weights.
            total += (layer.scaling[adapter] * lam) ** 2 * float(((b.T @ b) * (a @ a.T)).sum())
        return math.sqrt(max(0.0, total)) if math.isfinite(total) else None

    @property
    def no_scaling(self) -> bool:
        """Whether the adapter is multiplied by 0 everywhere (``lora_alpha: 0``)."""
        return all(layer.scaling[self.trained] == 0 for layer in self._layers.values())


def _switchable(model: Any, trained: str) -> tuple[list[Any], dict[str, Any]]:
    """Modules that know adapters, and among them the LoRA layers by name."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    named = [(n, m) for n, m in model.named_modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    layers = {n: m for n, m in named if isinstance(m, LoraLayer) and trained in m.scaling}
    return [m for _, m in named], layers


def _factors(layer: Any, adapter: str) -> list[Any]:
    """A and B of one adapter in one layer."""
    out = []
    for kind in ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"):
        held = getattr(layer, kind, {})
        if adapter in held:
            out.append(getattr(held[adapter], "weight", held[adapter]))
    return out


def _seed(seed: int, module: str) -> int:
    digest = hashlib.blake2b(f"{seed}\0{module}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
