"""A PEFT model that is in memory already: measured like a loaded one, refused in plain words, left as it was."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sway_dash import backends
from sway_dash.core.errors import ModelLoadError
from sway_dash.core.scoring import BASE, FINETUNED, DifferentialBackend, View
from sway_dash.suite.execute import execute
from sway_dash.suite.store import RunFolder
from tests.backends.conftest import PROMPTS, TARGETS, open_backend

VIEWS = [FINETUNED, View.scaled(0.5), View.null(3), View.null(4, style="spectrum")]


def attached(llama: Path, adapter: Path, *, name: str = "own") -> tuple[Any, Any]:
    """A model as a notebook holds it: adapter under a name of its own, in training mode."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(llama)
    model = PeftModel.from_pretrained(base, str(adapter), adapter_name=name, is_trainable=True)
    model.train()
    return model, AutoTokenizer.from_pretrained(llama)


def state(model: Any) -> str:
    """Hash of everything measuring could leave behind, random generators included."""
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        digest.update(repr(parts).encode())

    for kind in (model.named_parameters(), model.named_buffers()):
        for name, tensor in kind:
            add(name, tensor.requires_grad, tensor.dtype)
            digest.update(tensor.detach().numpy().tobytes())
    for name, module in model.named_modules():
        add(name, module.training, len(module._forward_pre_hooks), len(module._forward_hooks))
        plain = {k: v for k, v in vars(module).items() if isinstance(v, dict | list | str | bool | int | float)}
        plain = {
            k: v for k, v in plain.items() if not k.startswith("_") or k in ("_active_adapter", "_disable_adapters")
        }
        add(name, sorted((k, repr(v)) for k, v in plain.items() if k != "peft_config"))
    add(sorted(model.peft_config), model.active_adapters, id(model.get_base_model().generation_config))
    add(torch.random.get_rng_state().tolist(), random.getstate(), np.random.get_state())  # noqa: NPY002
    add(torch.are_deterministic_algorithms_enabled())
    return digest.hexdigest()


def measured(backend: DifferentialBackend) -> dict[tuple[int, str], float]:
    return {(i, v.id): found.js for i, v, found in backend.compare(BASE, VIEWS, PROMPTS)}  # type: ignore[attr-defined]


@pytest.fixture
def held(llama: Path, adapter: Path) -> tuple[Any, Any]:
    return attached(llama, adapter)


def test_the_numbers_are_those_of_the_loaded_model(held: tuple[Any, Any], llama: Path, adapter: Path) -> None:
    backend, loaded = backends.from_model(*held), open_backend(llama, adapter)
    assert measured(backend) == measured(loaded)
    assert backend.update_norm(FINETUNED) == loaded.update_norm(FINETUNED)  # type: ignore[attr-defined]
    assert backend.describe()["adapter"] == "in memory: own"  # type: ignore[attr-defined]


def test_everything_is_as_it_was(held: tuple[Any, Any]) -> None:
    model, tokenizer = held
    model.get_base_model().model.layers[0].eval()  # not all modules in the same mode
    next(iter(model.get_base_model().parameters())).requires_grad_(True)
    before = state(model)
    backend = backends.from_model(model, tokenizer)
    assert not model.training
    measured(backend)
    next(iter(backend.details(PROMPTS[:1])))  # type: ignore[attr-defined]
    backend.close()  # type: ignore[attr-defined]
    assert state(model) == before
    backend.close()  # type: ignore[attr-defined]
    assert state(model) == before


def test_no_second_copy_is_made(held: tuple[Any, Any]) -> None:
    model, tokenizer = held
    backend = backends.from_model(model, tokenizer)
    assert backend.lm.model is model.get_base_model()  # type: ignore[attr-defined]


def test_another_thread_cannot_use_the_model_meanwhile(held: tuple[Any, Any]) -> None:
    model, tokenizer = held
    ids = torch.tensor([[1, 2, 3]])
    backend = backends.from_model(model, tokenizer)
    said: list[str] = []

    def use() -> None:
        try:
            model(input_ids=ids)
        except RuntimeError as error:
            said.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert said == ["the model is being measured: wait until that is over, or stop it, before you use the model"]
    backend.close()  # type: ignore[attr-defined]
    use()
    assert len(said) == 1


def test_a_whole_run_leaves_the_generators_alone(held: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = held
    text = (
        "version: 1\nmodels: {base: {base: held}, ft: {base: held}}\nsuite:\n"
        "  - {name: noise, kind: null_adapter, runs: 3, cache: false}\n"
        "  - {name: moved, kind: delta_kl, prompts: [hello, 1 + 1 =, the fox, the sea]}\n"
    )
    folder = RunFolder.create(text, root=tmp_path)
    before = state(model)
    result, _ = execute(folder, opener=lambda: backends.from_model(model, tokenizer))
    assert result.status == "finished"
    assert result.environment["held"] is True
    assert [p.kind for p in result.probes] == ["null_adapter", "delta_kl"]
    assert result.probes[1].z_score is not None
    assert state(model) == before


def test_an_unused_adapter_beside_it_is_no_hindrance(held: tuple[Any, Any], llama: Path, adapter: Path) -> None:
    model, tokenizer = held
    model.load_adapter(str(adapter), "sway_null0")
    loaded = measured(open_backend(llama, adapter))
    before = state(model)
    backend = backends.from_model(model, tokenizer)
    assert measured(backend) == loaded
    backend.close()  # type: ignore[attr-defined]
    assert state(model) == before


def merged(model: Any) -> Any:
    model.merge_adapter()
    return model


def off(model: Any) -> Any:
    model.base_model.disable_adapter_layers()
    return model


def two(model: Any) -> Any:
    model.add_adapter("second", model.peft_config["own"])
    model.base_model.set_adapter(["own", "second"])
    return model


def quantised(model: Any) -> Any:
    model.get_base_model().is_quantized = True
    return model


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (merged, "unmerge_adapter"),
        (off, "switched off"),
        (two, "2 adapters are active (own, second)"),
        (quantised, "quantised"),
        (lambda m: m.merge_and_unload(), "merge_and_unload"),
        (lambda m: m.get_base_model(), "give the PeftModel"),
        (lambda m: torch.nn.DataParallel(m), "give model.module"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_left_alone(held: tuple[Any, Any], change: Any, words: str) -> None:
    model = change(held[0])
    modes = [m.training for m in model.modules()]
    with pytest.raises(ModelLoadError) as error:
        backends.from_model(model, held[1])
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert [m.training for m in model.modules()] == modes


@pytest.mark.parametrize(
    ("options", "words"),
    [({"bias": "all"}, "trains biases"), ({"init_lora_weights": "pissa"}, "rewrote the base model's weights")],
)
def test_an_adapter_that_wrote_into_the_base_is_refused(llama: Path, options: dict[str, Any], words: str) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = LoraConfig(**{"r": 4, "target_modules": TARGETS, "task_type": "CAUSAL_LM", **options})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(llama), config)
    with pytest.raises(ModelLoadError, match=words):
        backends.from_model(model, AutoTokenizer.from_pretrained(llama))


def test_an_adapter_of_another_kind_is_refused(llama: Path) -> None:
    from peft import IA3Config, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(llama), config)
    with pytest.raises(ModelLoadError, match="only LoRA"):
        backends.from_model(model, AutoTokenizer.from_pretrained(llama))
