"""Adapters that cannot be measured, or not as they are: each with one sentence that says why."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sway_dash.backends.adapter_files import adapter_fingerprint, inspect_adapter
from sway_dash.core.errors import ModelLoadError, ProbeError
from sway_dash.core.scoring import BASE, FINETUNED
from tests.backends.conftest import llama_config, make_tokenizer, open_backend, save_adapter, save_model

Edit = Callable[..., Path]


def test_a_missing_folder(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="does not exist"):
        open_backend(llama, tmp_path / "nowhere")


def test_a_file_in_the_folders_place(adapter: Path) -> None:
    with pytest.raises(ModelLoadError, match="is a file"):
        inspect_adapter(adapter / "adapter_config.json")


def test_a_folder_without_config_names_the_checkpoints_in_it(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "checkpoint-100")
    with pytest.raises(ModelLoadError, match=r"no adapter_config.json.*checkpoint-100"):
        inspect_adapter(tmp_path)


def test_a_folder_without_weights(adapter: Path, tmp_path: Path) -> None:
    shutil.copy(adapter / "adapter_config.json", tmp_path)
    with pytest.raises(ModelLoadError, match=r"no adapter_model.safetensors"):
        inspect_adapter(tmp_path)


def test_pickled_weights_are_not_opened(adapter: Path, tmp_path: Path) -> None:
    shutil.copy(adapter / "adapter_config.json", tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(ModelLoadError, match=r"a pickle, .* convert it .*weights_only=True.*safetensors"):
        inspect_adapter(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_config_that_is_no_object(edited: Edit, text: str) -> None:
    folder = edited()
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(ModelLoadError, match="JSON"):
        inspect_adapter(folder)


@pytest.mark.parametrize("kind", ["IA3", "PREFIX_TUNING", None])
def test_other_kinds_of_adapter(edited: Edit, kind: str | None) -> None:
    with pytest.raises(ModelLoadError, match="only LoRA"):
        inspect_adapter(edited(peft_type=kind))


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora", "corda", "loftq"])
def test_initialisations_that_rewrite_the_base(edited: Edit, init: str) -> None:
    with pytest.raises(ModelLoadError, match="rewrites the base"):
        inspect_adapter(edited(init_lora_weights=init))


def test_replicated_layers(edited: Edit) -> None:
    with pytest.raises(ModelLoadError, match="replicates layers"):
        inspect_adapter(edited(layer_replication=[[0, 2], [1, 2]]))


def test_weights_of_the_base_in_the_file_are_not_taken_for_the_base(llama: Path, tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "embedding", llama, target_modules=["embed_tokens", "q_proj"])
    # Copies: a file is not written over while it is mapped into memory.
    tensors = {k: v.clone() for k, v in load_file(folder / "adapter_model.safetensors").items()}
    name = "base_model.model.model.embed_tokens.base_layer.weight"
    own = tensors[name].clone()

    def saved(weight: torch.Tensor) -> Path:
        save_file({**tensors, name: weight}, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        return folder

    # In another precision they are still the base's, whose own count.
    backend = open_backend(llama, saved(own.to(torch.bfloat16)))
    assert torch.equal(backend.lm.model.get_input_embeddings().base_layer.weight, own)
    backend.close()
    with pytest.raises(ModelLoadError, match=r"holds model.embed_tokens.weight of the base itself.*modules_to_save"):
        open_backend(llama, saved(own + 0.1))


def test_a_torn_weights_file(edited: Edit) -> None:
    folder = edited()
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelLoadError, match="cannot be read as safetensors"):
        inspect_adapter(folder)


def test_weights_without_lora_matrices(edited: Edit) -> None:
    folder = edited(lambda tensors: {"base_model.model.x.weight": torch.zeros(2, 2)})
    with pytest.raises(ModelLoadError, match="no LoRA matrices"):
        inspect_adapter(folder)


@pytest.mark.parametrize("change", [{"hidden_size": 48}, {"intermediate_size": 80}])
def test_an_adapter_of_another_size(adapter: Path, tmp_path: Path, change: dict[str, int]) -> None:
    other = save_model(tmp_path, llama_config(**change), make_tokenizer())
    with pytest.raises(ModelLoadError, match=r"was trained for .* and does not fit .* is \d+ × \d+ there") as caught:
        open_backend(other, adapter)
    assert "\n" not in str(caught.value)


def test_an_adapter_for_other_modules(adapter: Path, gpt2: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"of its 10 modules are not there, the first is model\.layers\.0"):
        open_backend(gpt2, adapter)


def test_an_adapter_for_more_layers_is_not_cut_short(llama: Path, tmp_path: Path) -> None:
    deep = save_model(tmp_path / "deep", llama_config(num_hidden_layers=3), make_tokenizer())
    adapter = save_adapter(tmp_path / "adapter", deep)
    with pytest.raises(ModelLoadError, match=r"5 of its 15 modules are not there.*10 of its 30 tensors"):
        open_backend(llama, adapter)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("module", ["q_proj", "down_proj"])
def test_broken_weights_load_but_fail_preflight_by_name(llama: Path, edited: Edit, value: float, module: str) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        name = next(n for n in sorted(tensors) if f"{module}.lora_B" in n)
        tensors[name][0, :2] = value

    folder = edited(spoil)
    assert [count for _, count in inspect_adapter(folder).non_finite] == [2]
    backend = open_backend(llama, folder)
    ok, reason = backend.preflight_finite_check()
    assert not ok
    assert "ft view" in reason
    assert "non-finite" in reason
    assert "model.layers.0." in reason
    assert f"{module}.lora_B.weight (2)" in reason
    json.dumps(backend.describe(), allow_nan=False)
    if module == "q_proj":
        return  # torch's attention on the CPU turns NaN scores into finite outputs: only the file gives it away
    found = {v: c for _, v, c in backend.compare(BASE, [FINETUNED], ["hello"])}
    assert isinstance(found[FINETUNED], ProbeError)


def test_a_broken_base_is_named_as_such(llama: Path, adapter: Path) -> None:
    backend = open_backend(llama, adapter)
    with torch.no_grad():
        backend.lm.model.model.norm.weight.fill_(math.nan)
    ok, reason = backend.preflight_finite_check()
    assert not ok
    assert "base view gives" in reason
    with backend.as_base() as view, pytest.raises(ProbeError, match="non-finite"):
        view.next_token_dist("hello")
    with backend.as_base() as view, pytest.raises(ProbeError, match="non-finite"):
        view.logprob_of("hello", " there")


def test_an_untrained_adapter_is_named_as_such(llama: Path, edited: Edit) -> None:
    def zero(tensors: dict[str, Any]) -> None:
        for name in tensors:
            if "lora_B" in name:
                tensors[name] = torch.zeros_like(tensors[name])

    backend = open_backend(llama, edited(zero))
    assert backend.preflight_finite_check() == (True, "")
    assert "every lora_B matrix is zero" in backend.identical_views()[0]
    found = [c for _, _, c in backend.compare(BASE, [FINETUNED], ["hello", "the dog"])]
    assert [c.js for c in found] == [0.0, 0.0]


def test_an_adapter_times_zero_is_named_as_such(llama: Path, edited: Edit) -> None:
    backend = open_backend(llama, edited(lora_alpha=0))
    assert "lora_alpha" in backend.identical_views()[0]


def test_an_update_lost_in_rounding_is_named_as_such(llama: Path, edited: Edit) -> None:
    def shrink(tensors: dict[str, Any]) -> None:
        for name in tensors:
            if "lora_B" in name:
                tensors[name] = tensors[name] * 1e-12

    backend = open_backend(llama, edited(shrink))
    causes = backend.identical_views()
    assert "lost in the rounding of fp32" in causes[0]
    assert len(causes) >= 2


def test_the_fingerprint_follows_weights_and_configuration(adapter: Path, edited: Edit) -> None:
    def nudge(tensors: dict[str, Any]) -> None:
        name = sorted(tensors)[-1]
        tensors[name] = tensors[name] + 1e-7

    first = adapter_fingerprint(adapter)
    assert adapter_fingerprint(edited(nudge)) != first
    assert adapter_fingerprint(edited(lora_alpha=9)) != first
    assert adapter_fingerprint(adapter) == first
