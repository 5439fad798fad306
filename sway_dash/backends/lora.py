"""Views of one PEFT model: adapter off, on, at another strength, replaced by noise.

The trained adapter is never written to. A null is a further adapter beside it, so nothing has to be put back; another
strength multiplies ``LoraLayer.scaling``, a number per layer, and puts the old numbers back.
"""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sway_dash.backends.adapter_files import AdapterFiles, explain_mismatch
from sway_dash.backends.lora_layers import adapted_layers, layer_norms, layers_switched, require_layers
from sway_dash.backends.null_factors import Change, factors, fill, products, size, trained_changes, turned
from sway_dash.core.errors import ModelLoadError, ProbeError
from sway_dash.core.scoring import NullStyle, View

if TYPE_CHECKING:
    import torch

TRAINED = "default"
_ROUNDED = 2.0**-8
"""How far, relatively, a weight is from itself in another precision; bf16 is the coarsest."""
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
        self._restored: list[Any] = []
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
        own = self._base_weights(model)
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
        self._restore(own)
        return found

    def _base_weights(self, model: Any) -> dict[str, tuple[Any, torch.Tensor]]:
        """Weights of the base that the adapter's file holds, too, with copies: PEFT saves an embedding it changed."""
        names = {_plain(name) for name in self.files.shapes} - set(self._bias_parameters(model))
        return {n: (p, p.detach().clone()) for n, p in model.named_parameters(remove_duplicate=False) if n in names}

    def _restore(self, own: Mapping[str, tuple[Any, torch.Tensor]]) -> None:
        """Give the base back what loading wrote over it; ``ModelLoadError`` where that was more than rounded."""
        import torch

        for name, (p, before) in own.items():
            if not torch.allclose(p.float(), before.float(), rtol=_ROUNDED, atol=1e-6, equal_nan=True):
                raise ModelLoadError(
                    f"{self.files.folder} holds {name} of the base itself, and it is not this base's: with the adapter"
                    " off this would not be the base; give the base it was trained on, or train such weights through"
                    " modules_to_save"
                )
            with torch.no_grad():
                p.copy_(before)
            self._restored.append(p)

    def _bias_parameters(self, model: Any) -> dict[str, Any]:
        """Parameters of the base that a ``bias`` other than none overwrites on loading."""
        if self.files.bias == "none":
            return {}
        saved = [name for name in self.files.shapes if name.endswith(".bias")]
        plain = {_plain(n): p for n, p in model.named_parameters()}
        return {name: plain[name] for name in map(_plain, saved) if name in plain}

    def _biases(self, model: Any) -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in self._bias_parameters(model).items()}

    # --- switching ----------------------------------------------------------------------------------------------------

    def require(self, view: View) -> None:
        """``ProbeError`` for a view this adapter cannot have."""
        if view.kind == "scaled" and (why := self._fixed_strength):
            raise ProbeError("scaled view", f"the adapter cannot be applied at strength {view.lam}: {why}")
        if view.kind == "layers":
            require_layers(view, self._named_switches, self.files.bias)
        if view.kind == "null" and view.style != "gaussian":
            changes = [change for found in self._trained_changes.values() for change in found]
            if view.style == "spectrum" and any(change.spectrum is None for change in changes):
                raise ProbeError("null view", "what a DoRA changes has no low rank to keep: use norm_matched")

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
        elif view.kind == "layers":
            with layers_switched(self._named_switches, view):
                yield
        elif view.kind == "null":
            with self.kept(), self._only(self._slot(view)), self._biases_for(view):
                yield
        else:
            with self._only(None), self._biases_for(view):
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
                if adapter is not None and factors(module, adapter):
                    module._active_adapter = [adapter]
                else:
                    module._disable_adapters = True
            yield
        finally:
            for module, off, active in before:
                module._disable_adapters, module._active_adapter = off, active

    @cached_property
    def _named_switches(self) -> dict[str, Any]:
        known = {id(m) for m in self._switches}
        return {name: m for name, m in self.peft_model.named_modules() if id(m) in known}

    def adapter_layers(self) -> tuple[int, ...]:
        """Layers with a change, for views that leave some out; ``ProbeError`` where there can be no such view."""
        found = adapted_layers(self._named_switches)
        require_layers(View.only_layers(found), self._named_switches, self.files.bias)
        return found

    def layer_update_norms(self) -> dict[int, float | None]:
        """Frobenius norm of the trained change by layer; None where it is no product of two matrices."""
        return layer_norms(self._layers, self.trained)

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
    def _biases_for(self, view: View) -> Iterator[None]:
        """PEFT leaves trained biases in place when it switches an adapter off.

        A Gaussian null has the base's; the others move each bias as far as training did, in a random direction.
        """
        base, tuned = self._biases_of["base"], self._biases_of["tuned"]
        if not base:
            yield
            return
        if view.kind == "null" and view.style != "gaussian":
            base = {name: turned(tuned[name], b, view.seed, name) for name, b in base.items()}
        try:
            self._write_biases(base)
            yield
        finally:
            self._write_biases(tuned)

    def _write_biases(self, values: Mapping[str, torch.Tensor]) -> None:
        import torch

        with torch.no_grad():
            for name, p in self._bias_parameters(self.peft_model).items():
                p.copy_(values[name])

    def detach(self) -> list[Any]:
        """Give the base its own biases back and return all that was written to; modules the caller puts back."""
        self._write_biases(self._biases_of["base"])
        return [*self._bias_parameters(self.peft_model).values(), *self._restored]

    @property
    def noise_shape(self) -> tuple[object, ...]:
        """All that a Gaussian null depends on beside its own parameters: equal shapes get equal draws."""
        return tuple(
            (
                name,
                type(layer).__name__,
                float(layer.scaling[self.trained]),
                *((tuple(m.shape), str(m.dtype)) for m in factors(layer, self.trained)),
            )
            for name, layer in sorted(self._layers.items())
        )

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
        each: int = sum(m.nbytes for layer in self._layers.values() for m in factors(layer, self.trained))
        kind = next(self.peft_model.parameters()).device.type
        return max(1, _NULL_BYTES.get(kind, 2**30) // max(1, each))

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
        trained = self._trained_changes if view.style != "gaussian" else {}
        for module, layer in self._layers.items():
            fill(layer, name, view, module, trained.get(module, []))

    @cached_property
    def _trained_changes(self) -> dict[str, list[Change]]:
        """Size and spectrum of what was trained, by module: what nulls of the same size are made from."""
        found = {module: trained_changes(layer, self.trained) for module, layer in self._layers.items()}
        if not any(change.norm for changes in found.values() for change in changes):
            raise ProbeError("null view", "the adapter changes no weight: noise of its size is no noise")
        return found

    def null_leaves_out(self, style: NullStyle) -> tuple[str, ...]:
        """What was trained beside A and B and is the base's in a null of this style; see :meth:`_biases_for`."""
        config, out = self.files.config, []
        if named := config.get("modules_to_save"):
            out.append(f"whole modules ({', '.join(named)})")
        if config.get("trainable_token_indices"):
            out.append("rows of the embedding")
        if config.get("lora_bias"):
            out.append("biases of B")
        if style == "gaussian":
            out += ["biases"] if self.files.bias != "none" else []
            out += ["magnitudes of the DoRA"] if config.get("use_dora") else []
        return tuple(out)

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
            pairs = list(products(layer, adapter))
            if not pairs:
                return None
            total += sum((layer.scaling[adapter] * lam * size(a, b)) ** 2 for a, b in pairs)
        return math.sqrt(total) if math.isfinite(total) else None

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


def _plain(name: str) -> str:
    """A weight's name in the base, of its name in an adapter's file or a PEFT model."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")
