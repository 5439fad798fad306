"""What folders say about themselves, without a model; and whether adapter and base go together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sway_dash.backends.model_files import (
    AdapterFacts,
    BaseFacts,
    cached_snapshot,
    look_at_adapter,
    look_at_base,
    misfit,
    other_base,
    read_header,
)
from sway_dash.core.errors import ModelLoadError
from tests.backends.conftest import llama_config, make_tokenizer, save_adapter, save_model
from tests.processes import loaded


def base_of(folder: Path) -> BaseFacts:
    found = look_at_base(str(folder))
    assert found is not None
    return found


def test_a_base_is_described_as_it_is_loaded(llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(llama)
    found = base_of(llama)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert (found.architecture, found.dtype, found.layers) == ("LlamaForCausalLM", "fp32", 2)
    assert (found.max_context, found.vocabulary) == (96, 416)
    assert found.size == (llama / "model.safetensors").stat().st_size


def test_an_adapter_is_described_from_its_header(llama: Path, tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "a", llama, r=6, lora_alpha=12, target_modules=["q_proj", "down_proj"])
    found = look_at_adapter(folder)
    assert (found.rank, found.alpha, found.dtype) == ("6", "12", "fp32")
    assert found.targets == ("down_proj", "q_proj")
    assert found.size == (folder / "adapter_model.safetensors").stat().st_size


def test_different_ranks_are_a_range() -> None:
    facts = AdapterFacts(Path(), {"r": 8, "rank_pattern": {"q": 32}, "target_modules": "all-linear"}, {}, 0)
    assert (facts.rank, facts.targets, facts.base_name) == ("8 to 32", ("all-linear",), "")


@pytest.mark.parametrize("which", ["llama", "gpt2"])
def test_an_adapter_fits_the_base_it_was_made_for(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    base: Path = request.getfixturevalue(which)
    targets = ["c_attn", "c_fc", "c_proj"] if which == "gpt2" else ["q_proj", "k_proj", "lm_head", "embed_tokens"]
    adapter = look_at_adapter(save_adapter(tmp_path / "a", base, target_modules=targets))
    assert misfit(adapter, base_of(base), "this") == ""
    assert other_base(adapter, str(base)) == ""


def test_another_width_is_refused_in_a_sentence(llama: Path, tmp_path: Path) -> None:
    adapter = look_at_adapter(save_adapter(tmp_path / "a", llama))
    wide = base_of(save_model(tmp_path / "wide", llama_config(hidden_size=48, intermediate_size=96), make_tokenizer()))
    text = misfit(adapter, wide, "wide")
    assert text.startswith(f"this adapter was trained for {llama} and does not fit wide: model.layers.")
    assert "wide" in text.split("while")[1]


def test_too_few_layers_are_refused(llama: Path, tmp_path: Path) -> None:
    adapter = look_at_adapter(save_adapter(tmp_path / "a", llama))
    short = base_of(save_model(tmp_path / "short", llama_config(num_hidden_layers=1), make_tokenizer()))
    assert misfit(adapter, short, "short").endswith("it changes layer 2, while that model has 1")


def test_file_names_without_the_leading_part_are_understood(gpt2: Path, tmp_path: Path) -> None:
    adapter = look_at_adapter(save_adapter(tmp_path / "a", gpt2, target_modules=["c_attn"]))
    whole = base_of(gpt2)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in whole.tensors.items()}
    assert misfit(adapter, BaseFacts(whole.folder, whole.config, bare, 0), "x") == ""
    wrong = {n: type(t)(t.dtype, tuple(2 * s for s in t.shape)) for n, t in bare.items()}
    assert "h.0.attn.c_attn is" in misfit(adapter, BaseFacts(whole.folder, whole.config, wrong, 0), "x")


def test_what_cannot_be_known_is_not_refused(llama: Path, tmp_path: Path) -> None:
    adapter = look_at_adapter(save_adapter(tmp_path / "a", llama))
    whole = base_of(llama)
    packed = {**whole.config, "quantization_config": {"bits": 4}}
    odd = {n: type(t)("U8", (1, 7)) for n, t in whole.tensors.items()}
    assert misfit(adapter, BaseFacts(whole.folder, packed, odd, 0), "x") == ""
    renamed = {f"blocks.{i}.weight": t for i, t in enumerate(whole.tensors.values())}
    assert misfit(adapter, BaseFacts(whole.folder, whole.config, renamed, 0), "x") == ""


def test_another_name_is_only_a_remark(llama: Path, tmp_path: Path) -> None:
    adapter = look_at_adapter(save_adapter(tmp_path / "a", llama))
    assert other_base(adapter, "org/other") == f"the adapter says it was trained for {llama}"
    hub = AdapterFacts(Path(), {"base_model_name_or_path": "org/Model-1B"}, {}, 0)
    assert other_base(hub, "org/Model-1B") == ""
    assert other_base(hub, "/models/model-1b") == ""
    assert other_base(hub, "/cache/models--org--Model-1B/snapshots/abc") == ""
    assert other_base(hub, "/cache/models--org--Other/snapshots/abc") != ""


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"\xff" * 40), "no safetensors file"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b""), "no safetensors file"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]"), "as safetensors"),
        (
            lambda f: (f / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}"),
            "no LoRA matrices",
        ),
        (lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"), "a pickle"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "save_pretrained"),
        (lambda f: (f / "adapter_config.json").unlink(), "no PEFT adapter"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "adapter_config.json").write_text('{"peft_type": "IA3"}'), "only LoRA"),
        (shutil.rmtree, "does not exist"),
    ],
)
def test_a_bad_adapter_is_one_sentence(break_it, words: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    break_it(folder)
    with pytest.raises(ModelLoadError, match=words) as caught:
        look_at_adapter(folder)
    assert "\n" not in str(caught.value)


def test_a_bad_base_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, words in (("empty", "neither config.json"), ("nowhere", "does not exist")):
        with pytest.raises(ModelLoadError, match=words):
            look_at_base(str(tmp_path / name))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelLoadError, match="pickled weights"):
        look_at_base(str(pickled))
    (pickled / "config.json").write_text("[]")
    with pytest.raises(ModelLoadError, match="no JSON object"):
        look_at_base(str(pickled))


def test_parts_are_added_up(llama: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(llama).save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    (tmp_path / "parts" / "left_over.safetensors").write_bytes(b"not one of them")
    assert base_of(tmp_path / "parts").parameters == base_of(llama).parameters


def test_the_cache_of_the_hub_is_read(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--org--tiny"
    shutil.copytree(llama, repo / "snapshots" / "abc")
    shutil.copytree(llama, repo / "snapshots" / "old")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    assert cached_snapshot("org/tiny") == repo / "snapshots" / "abc"
    assert look_at_base("org/tiny").folder.name == "abc"  # type: ignore[union-attr]
    (repo / "refs" / "main").write_text("../../..")
    assert cached_snapshot("org/tiny").parent == repo / "snapshots"  # type: ignore[union-attr]
    assert look_at_base("org/other") is None
    assert cached_snapshot("../x") is None


def test_a_header_is_what_the_library_reads(llama: Path) -> None:
    from safetensors import safe_open

    with safe_open(str(llama / "model.safetensors"), framework="pt") as file:
        wanted = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert {n: t.shape for n, t in read_header(llama / "model.safetensors").items()} == wanted


def test_looking_loads_no_model_library(llama: Path) -> None:
    code = (
        "from sway_dash.backends.model_files import look_at_base;"
        "from sway_dash.backends.tokenizer_file import TokenizerFile; from pathlib import Path;"
        f"look_at_base({str(llama)!r}); TokenizerFile(Path({str(llama)!r})).cut('a')"
    )
    assert loaded(code, ("torch", "transformers", "peft", "safetensors")) == []
