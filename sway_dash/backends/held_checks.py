"""Whether a model that somebody holds can be measured as it is; every refusal says how to mend it."""

from __future__ import annotations

from typing import Any

from sway_dash.backends.adapter_files import rewrites_base
from sway_dash.core.errors import ModelLoadError


def adapter_to_measure(model: Any) -> str:
    """Name of the one active LoRA of a PEFT model; ``ModelLoadError`` for a model that cannot be measured."""
    _require_peft(model)
    name = _active(model)
    config = model.peft_config[name]
    kind = str(getattr(config.peft_type, "value", config.peft_type)).upper()
    if kind != "LORA":
        raise ModelLoadError(f"the active adapter {name!r} is a {kind} adapter; only LoRA adapters can be measured")
    if how := rewrites_base(config.to_dict()):
        raise ModelLoadError(
            f"the adapter {name!r} was initialised by {how!r}, which rewrote the base model's weights: with the adapter"
            " off this is not the base any more"
        )
    if str(config.bias) != "none":
        raise ModelLoadError(
            f"the adapter {name!r} trains biases (bias={config.bias!r}) in place, so the base's own are gone: save the"
            " adapter and measure it from its folder"
        )
    if getattr(config, "layer_replication", None):
        raise ModelLoadError(f"the adapter {name!r} replicates layers: with it off this is not the base")
    _require_switched_on(model, name)
    _require_plain(model)
    return name


def _require_peft(model: Any) -> None:
    from peft import PeftModel

    if isinstance(model, PeftModel):
        return
    kind = type(model).__name__
    for attribute, how in (("_orig_mod", "torch.compile"), ("module", "a parallel wrapper")):
        if isinstance(getattr(model, attribute, None), PeftModel):
            raise ModelLoadError(f"the model is wrapped by {how}: give model.{attribute}")
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ModelLoadError(
            f"the adapter was added to the {kind} itself: attach it with peft.PeftModel.from_pretrained(base, folder)"
            " or peft.get_peft_model(base, config) instead"
        )
    if kind == "PeftMixedModel":
        raise ModelLoadError(
            "a PeftMixedModel mixes adapters of several kinds, which is not supported: give a PeftModel with one LoRA"
        )
    raise ModelLoadError(
        f"this {kind} has no adapter that can be switched off: give the PeftModel, and not what merge_and_unload()"
        " returned"
    )


def _active(model: Any) -> str:
    active = [str(name) for name in model.active_adapters]
    if len(active) > 1:
        raise ModelLoadError(
            f"{len(active)} adapters are active ({', '.join(sorted(active))}): choose one with model.set_adapter(name)"
        )
    if not active or active[0] not in model.peft_config:
        known = ", ".join(sorted(model.peft_config)) or "none"
        raise ModelLoadError(f"no adapter is active: choose one with model.set_adapter(name); there are: {known}")
    return active[0]


def _require_switched_on(model: Any, name: str) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    if any(m.merged for m in layers):
        raise ModelLoadError("the adapter is merged into the weights: undo that with model.unmerge_adapter()")
    if any(m.disable_adapters for m in layers):
        raise ModelLoadError(
            "the adapter is switched off: switch it on with model.base_model.enable_adapter_layers(), or leave the"
            " block of model.disable_adapter()"
        )
    if not any(name in getattr(m, "scaling", {}) for m in layers):
        raise ModelLoadError(f"no layer of the model holds the adapter {name!r}: it changes nothing")


def trained_in_place(model: Any) -> list[str]:
    """Weights of the base itself that ask for gradients: once they are trained, the base is not there any more."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    # What an adapter adds lies inside these, beside the base's own, which are under ``base_layer`` and the like.
    wrappers = [n for n, m in model.named_modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    found = []
    for name, parameter in model.named_parameters():
        within = [w for w in wrappers if name.startswith(f"{w}.")]
        inside = name.removeprefix(f"{max(within, key=len)}.") if within else ""
        own = inside.split(".")[0] in ("base_layer", "original_module") if within else True
        if parameter.requires_grad and own:
            found.append(name)
    return found


def _is_spread(model: Any) -> bool:
    """Whether the parameters here are pieces of what they stand for."""
    return any(type(m).__name__ == "FullyShardedDataParallel" for m in model.modules()) or any(
        hasattr(p, "ds_status") or hasattr(p, "device_mesh") for p in model.parameters()
    )


def _require_plain(model: Any) -> None:
    inner = model.get_base_model()
    config = getattr(inner, "config", None)
    if getattr(inner, "is_quantized", False) or getattr(config, "quantization_config", None) is not None:
        raise ModelLoadError(
            "the base is quantised, which is not supported: load it in bf16 or fp16 and attach the adapter to that"
        )
    if _is_spread(model):
        raise ModelLoadError(
            "the weights are spread over several processes (FSDP, ZeRO stage 3 or tensor parallel), and one of them"
            " alone cannot run the model: measure the saved adapter from its folder"
        )
    if getattr(config, "is_encoder_decoder", False) or inner.get_output_embeddings() is None:
        raise ModelLoadError(f"{type(inner).__name__} is no causal language model: it has no next token to compare")
    devices = {p.device for p in model.parameters()}
    if any(d.type == "meta" for d in devices):
        raise ModelLoadError("part of the model is not in memory (offloaded): load it without a device_map")
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise ModelLoadError(f"the model is spread over {names}: load it onto one device")
