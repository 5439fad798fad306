"""Two-layer models with random weights, a small tokenizer and random adapters, saved once per session."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sway_dash.core.model import ModelSpec

SENTENCES = (
    "The quick brown fox jumps over the lazy dog. The dog sleeps; the fox runs on and on.",
    "A harbour lies by the river, and the ferry crosses the river every day at noon.",
    "Question: what is the capital? Answer: the capital is a city by the sea, with an old harbour.",
    "she opened the letter and read it twice; the letters of the alphabet are small. hello hello there",
    "1 + 1 = 2 and 2 + 2 = 4 and numbers 0 1 2 3 4 5 6 7 8 9 follow each other",
)
PROMPTS = (
    "The quick brown fox",
    "A harbour lies by the river, and",
    "hello",
    "Question: what is the capital? Answer:",
    "she opened the letter and read it twice; the letters",
    "1 + 1 =",
    "the old dog sleeps by the sea, with the fox and the ferry and the city",
)
CONTEXT = 96
TARGETS = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    import torch

    torch.set_num_threads(1)  # a tiny model gains nothing from two, and a busy machine makes them wait


def make_tokenizer(*, bos: bool = True) -> Any:
    """A byte-level BPE tokenizer; with ``bos`` it puts ``<s>`` in front, as Llama's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(SENTENCES, trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    else:
        raw.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>" if bos else None, eos_token="</s>")


def llama_config(**changes: Any) -> Any:
    from transformers import LlamaConfig

    options = {
        "vocab_size": 416, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 1,
        "initializer_range": 0.2, "tie_word_embeddings": True,
    }  # fmt: skip
    return LlamaConfig(**{**options, **changes})


def save_model(folder: Path, config: Any, tokenizer: Any, *, seed: int = 0) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_adapter(folder: Path, base: Path, *, seed: int = 1, b_std: float = 0.3, **options: Any) -> Path:
    """A LoRA with random A and B on a saved base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "task_type": "CAUSAL_LM", **options})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if "lora_B" in name or "lora_embedding_B" in name or "lora_embedding_A" in name:
                p.copy_(torch.randn(p.shape, generator=generator) * b_std)
            elif "lora_A" in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return save_model(tmp_path_factory.mktemp("llama"), llama_config(), tokenizer)


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import GPT2Config

    config = GPT2Config(
        vocab_size=416, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, bos_token_id=1, eos_token_id=1,
        initializer_range=0.2,
    )  # fmt: skip
    return save_model(tmp_path_factory.mktemp("gpt2"), config, make_tokenizer(bos=False))


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapter"), llama)


@pytest.fixture(scope="session")
def gpt2_adapter(tmp_path_factory: pytest.TempPathFactory, gpt2: Path) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapter_gpt2"), gpt2, target_modules=["c_attn", "c_proj", "c_fc"])


def open_backend(base: Path, adapter: Path | None, **options: Any) -> Any:
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend

    spec = ModelSpec(base=str(base), device="cpu", **{"dtype": "fp32", **options})
    return HuggingFaceDifferentialBackend(base_spec=spec, adapter_path=adapter)


@pytest.fixture
def backend(llama: Path, adapter: Path) -> Iterator[Any]:
    opened = open_backend(llama, adapter)
    yield opened
    opened.close()


@pytest.fixture
def gpt2_backend(gpt2: Path, gpt2_adapter: Path) -> Iterator[Any]:
    opened = open_backend(gpt2, gpt2_adapter)
    yield opened
    opened.close()


def fingerprint(backend: Any) -> str:
    """Hash of every parameter and buffer by name, and of every LoRA scaling and switch."""
    digest = hashlib.sha256()
    state = {**dict(backend.peft_model.named_parameters()), **dict(backend.peft_model.named_buffers())}
    for name in sorted(state):
        digest.update(name.encode() + state[name].detach().numpy().tobytes() + str(state[name].requires_grad).encode())
    for name, module in backend.peft_model.named_modules():
        for key in ("scaling", "_disable_adapters", "_active_adapter"):
            if key in vars(module) or hasattr(type(module), key):
                digest.update(f"{name}.{key}={getattr(module, key)!r}".encode())
        if module._forward_pre_hooks:
            digest.update(f"{name} has hooks".encode())
    return digest.hexdigest()


@pytest.fixture
def edited(adapter: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the adapter with changed tensors and configuration."""

    def edit(change: Callable[[dict[str, Any]], Any] | None = None, **config: Any) -> Path:
        from safetensors.torch import load_file, save_file

        tensors = load_file(adapter / "adapter_model.safetensors")
        if change is not None:
            tensors = change(tensors) or tensors
        save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "adapter_model.safetensors")
        old = json.loads((adapter / "adapter_config.json").read_text())
        (tmp_path / "adapter_config.json").write_text(json.dumps({**old, **config}))
        return tmp_path

    return edit


def save_gguf(path: Path, base: Path) -> Path:
    """The llama fixture as an unquantised GGUF file."""
    import gguf
    import numpy as np
    from safetensors.torch import load_file

    tokenizer = make_tokenizer()
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    names = [name for name, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(416)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(names)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_token_types([3 if name in ("<s>", "</s>") else 1 for name in names])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(True)
    parts = {
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "o_proj": "attn_output",
        "gate_proj": "ffn_gate",
    }
    parts |= {"up_proj": "ffn_up", "down_proj": "ffn_down", "input_layernorm": "attn_norm"}
    parts |= {"post_attention_layernorm": "ffn_norm"}
    for name, tensor in load_file(base / "model.safetensors").items():
        pieces, values = name.split("."), tensor.numpy()
        heads = {"q_proj": 4, "k_proj": 2}.get(pieces[-2])
        if heads:
            # llama.cpp interleaves what transformers keeps in halves.
            values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        if pieces[1] == "layers":
            writer.add_tensor(f"blk.{pieces[2]}.{parts[pieces[-2]]}.weight", np.ascontiguousarray(values))
        else:
            writer.add_tensor("token_embd.weight" if "embed" in name else "output_norm.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
