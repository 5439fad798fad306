"""Opening a base model: what is found where, and what is refused in which words."""

from __future__ import annotations

import gc
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sway_dash.backends import loading
from sway_dash.backends.loading import (
    detect_device,
    find_source,
    load_base,
    require_packages,
    resolve_device,
    resolve_dtype,
)
from sway_dash.core.errors import BackendNotAvailableError, ModelLoadError
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import BASE, FINETUNED, View
from tests.backends.conftest import PROMPTS, open_backend, save_gguf


def test_devices_and_dtypes() -> None:
    cpu = torch.device("cpu")
    assert resolve_device("cpu") == cpu
    assert resolve_device("auto").type == detect_device()
    assert resolve_dtype("auto", cpu) == torch.float32
    assert resolve_dtype("auto", torch.device("mps")) == torch.float16
    for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        assert resolve_dtype(name, cpu) == dtype


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "meta", "cpu:3"])
def test_a_device_this_machine_lacks(name: str) -> None:
    with pytest.raises(ModelLoadError, match="device"):
        resolve_device(name)


@pytest.mark.parametrize("package", ["torch", "transformers", "peft"])
def test_a_missing_package_says_what_to_install(llama: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendNotAvailableError, match=r"sway-dash\[hf\]") as caught:
        open_backend(llama, None)
    assert (caught.value.backend, caught.value.extra) == ("hf", "hf")


@pytest.mark.parametrize("broken", [False, True])
def test_packages_are_imported_without_collecting_garbage_which_goes_on_afterwards(
    broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    collecting = []

    def imported(name: str) -> None:
        collecting.append(gc.isenabled())
        if broken:
            raise ImportError(name)

    monkeypatch.setattr(loading.importlib, "import_module", imported)
    if broken:
        with pytest.raises(BackendNotAvailableError, match="torch cannot be imported"):
            require_packages()
    else:
        require_packages()
    assert collecting == [False] * (1 if broken else 3)
    assert gc.isenabled()


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "~/no-such-folder"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelLoadError, match="is not a folder"):
        find_source(name)


def test_hub_ids_pass() -> None:
    assert find_source("org/model").folder is None


def test_a_folder_without_model(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"neither config\.json nor a \.gguf"):
        find_source(str(tmp_path))


def test_gguf_files_are_told_from_folders(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="does not exist"):
        find_source(str(tmp_path / "x.gguf"))
    (tmp_path / "x.gguf").touch()
    for name in (tmp_path, tmp_path / "x.gguf"):
        source = find_source(str(name))
        assert (source.name, source.gguf) == (str(tmp_path), "x.gguf")
    (tmp_path / "y.gguf").touch()
    with pytest.raises(ModelLoadError, match=r"2 \.gguf files"):
        find_source(str(tmp_path))


def test_a_gguf_base_gives_the_numbers_of_the_model_it_was_made_from(
    llama: Path, adapter: Path, backend: Any, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    from_file, from_folder = open_backend(path, adapter), open_backend(tmp_path, adapter)
    assert from_file.fingerprint == from_folder.fingerprint != backend.fingerprint
    for view in (FINETUNED, View.scaled(0.5), View.null(2, init_scale=0.3)):
        found, want = ({i: c for i, _, c in b.compare(BASE, [view], PROMPTS)} for b in (from_file, backend))
        assert [found[i].js for i in want] == pytest.approx([c.js for c in want.values()], abs=1e-5)


def test_a_gguf_base_without_its_reader_says_what_to_install(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    monkeypatch.setattr("sway_dash.backends.loading.find_spec", lambda name: None)
    with pytest.raises(BackendNotAvailableError, match=r"sway-dash\[gguf\]") as caught:
        open_backend(path, None)
    assert caught.value.extra == "gguf"


def test_an_adapter_folder_is_no_base(adapter: Path) -> None:
    with pytest.raises(ModelLoadError, match="is an adapter folder"):
        find_source(str(adapter))


def test_a_model_that_is_not_on_disk_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelLoadError, match=r"cannot be loaded: .*HF_HUB_OFFLINE") as caught:
        open_backend(Path("nobody/no-such-model"), None)
    assert "\n" not in str(caught.value)


def test_a_device_without_room_for_the_base_is_one_sentence(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    def full(self: Any, device: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.\nSee documentation")

    monkeypatch.setattr(LlamaForCausalLM, "to", full)
    with pytest.raises(ModelLoadError, match=r"cannot be loaded: CUDA out of memory\. Tried to allocate 2\.50 GiB\.$"):
        load_base(ModelSpec(base=str(llama)), torch.device("cpu"), torch.float32, tokenizer_from=None)


def test_pickled_base_weights_are_refused(llama: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(llama / name, tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="holds only pickled weights"):
        open_backend(tmp_path, None)


def test_a_checkpoint_that_lacks_weights_is_not_filled_with_random_ones(llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(llama, tmp_path, dirs_exist_ok=True)
    tensors = load_file(llama / "model.safetensors")
    tensors = {k: v for k, v in tensors.items() if "layers.1.mlp.up_proj" not in k}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lacks 1 of its weights, the first is .*up_proj"):
        open_backend(tmp_path, None)


def test_code_from_a_repository_needs_permission(llama: Path, tmp_path: Path) -> None:
    import json

    shutil.copytree(llama, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Config", "AutoModelForCausalLM": "odd.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "odd.py").write_text("raise SystemExit('this must not run')")
    with pytest.raises(ModelLoadError, match="trust_remote_code: true"):
        open_backend(tmp_path, None)


def test_the_adapters_tokenizer_is_preferred(llama: Path, adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    assert open_backend(llama, adapter).tokenizer.padding_side == "right"
    tokenizer: Any = open_backend(llama, adapter).tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(tmp_path)
    assert open_backend(llama, tmp_path).tokenizer.pad_token == "<pad>"


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision(llama: Path, adapter: Path, dtype: str) -> None:
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend
    from sway_dash.core.model import ModelSpec

    spec = ModelSpec(base=str(llama), device="cpu", dtype=dtype)  # type: ignore[arg-type]
    backend = HuggingFaceDifferentialBackend(base_spec=spec, adapter_path=adapter)
    exact = open_backend(llama, adapter)
    for view in (FINETUNED, View.null(1, init_scale=0.3)):
        (half,), (full,) = (list(b.compare(BASE, [view], ["hello the dog"])) for b in (backend, exact))
        assert half[2].js == pytest.approx(full[2].js, abs=0.03)
    assert backend.describe()["dtype"] == dtype
    assert backend.fingerprint != exact.fingerprint
    with backend.as_base() as view:
        assert view.next_token_dist("hello", top_k=4).logprobs.dtype.name == "float32"
