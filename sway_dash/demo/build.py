"""The demo, built from nothing: corpus, tokenizer, base model, adapter, figures.

The one place that knows where the demo's files are put. Everything is seeded and the number of threads is fixed,
so the same machine with the same versions of torch, transformers, peft and tokenizers writes the same bytes.
Another kind of CPU may round differently in the last bits, and training then drifts to slightly other weights of
the same quality.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.demo import demo_dir
from sway_dash.demo.corpus import base_documents
from sway_dash.demo.figures import Shift, Summary, load_base, load_pair, measure, read_prompts, summarise
from sway_dash.demo.handbook import adapter_documents
from sway_dash.demo.tokens import pack, save_tokenizer, train_tokenizer
from sway_dash.demo.training import (
    Schedule,
    Shape,
    new_adapter,
    new_model,
    reproducible,
    train,
)

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the result, together with the versions of the libraries."""

    shape: Shape
    base: Schedule
    adapter: Schedule
    base_texts: int
    adapter_texts: int
    general: float = 0.5
    seed: int = 20
    threads: int = 2


SHIPPED = Recipe(
    shape=Shape(vocab=2048, hidden=160, layers=4, heads=5, feed_forward=448, row=128, rank=16),
    base=Schedule(steps=2600, batch=12, rate=3e-3, warmup=100),
    adapter=Schedule(steps=900, batch=12, rate=4e-3, warmup=30),
    base_texts=90_000,
    adapter_texts=40_000,
)
"""The recipe of the demo that ships."""

TINY = Recipe(
    shape=Shape(vocab=640, hidden=32, layers=1, heads=2, feed_forward=64, row=64, rank=2),
    base=Schedule(steps=6, batch=4, rate=3e-3, warmup=2),
    adapter=Schedule(steps=4, batch=4, rate=3e-3, warmup=2),
    base_texts=400,
    adapter_texts=200,
)
"""A recipe that takes seconds and learns nothing: it is there to try the path."""


def build(out: Path, *, recipe: Recipe = SHIPPED, source: Path | None = None, keep_base: bool = False) -> Summary:
    """Write ``model/`` and ``adapter/`` into ``out``, and the document and suite beside them if not there.

    Parameters
    ----------
    out
        Folder of the demo; made if missing. An older model and adapter in it are replaced, other files stay.
    recipe
        Sizes, schedules and seed.
    source
        Folder with ``document.md`` and ``sway.yaml``; the shipped demo if ``None``.
    keep_base
        Train only the adapter, on the model that is in ``out``. The bytes are those of a full build.
    """
    started, cpu = time.perf_counter(), time.process_time()
    _copy_texts(demo_dir() if source is None else source, out)
    if not keep_base:
        with reproducible(seed=recipe.seed, threads=recipe.threads):
            _build_base(recipe, out / "model")
    with reproducible(seed=recipe.seed + 1, threads=recipe.threads):
        _build_adapter(recipe, out)
        shifts = list(measure(*load_pair(out), read_prompts(out / "sway.yaml")))
    summary = summarise(shifts)
    _show(shifts, summary)
    print(f"built in {time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU")
    return summary


def _copy_texts(source: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in ("document.md", "sway.yaml"):
        if not (out / name).exists():
            shutil.copyfile(source / name, out / name)


def _build_base(recipe: Recipe, folder: Path) -> None:
    texts = base_documents(recipe.base_texts, seed=recipe.seed)
    tokenizer = train_tokenizer(texts[:8000], vocab_size=recipe.shape.vocab, row=2 * recipe.shape.row)
    rows = pack(tokenizer, texts, row=recipe.shape.row)
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = new_model(recipe.shape, special=special)
    tokens = recipe.base.steps * recipe.base.batch * recipe.shape.row
    print(
        f"base: {model.num_parameters():,} parameters, {len(tokenizer)} tokens in the vocabulary, "
        f"{rows.size:,} tokens of text, {tokens:,} to read",
        flush=True,
    )
    train(model, rows, recipe.base, name="base", seed=recipe.seed)
    _save_base(tokenizer, model, folder)


def _build_adapter(recipe: Recipe, folder: Path) -> None:
    """Train on the saved model, so that the adapter is made for the rounded weights that ship."""
    tokenizer, model = load_base(folder)
    texts = adapter_documents(
        recipe.adapter_texts,
        document=folder / "document.md",
        general=recipe.general,
        seed=recipe.seed + 1,
    )
    tuned = new_adapter(model, recipe.shape)
    trainable = sum(weight.numel() for weight in tuned.parameters() if weight.requires_grad)
    rows = pack(tokenizer, texts, row=recipe.shape.row)
    print(f"adapter: {trainable:,} trainable parameters, {rows.size:,} tokens of text", flush=True)
    train(tuned, rows, recipe.adapter, name="adapter", seed=recipe.seed + 1)
    _save_adapter(tuned, folder / "adapter")


def _save_base(tokenizer: PreTrainedTokenizerFast, model: LlamaForCausalLM, folder: Path) -> None:
    """Save in float16, which turns the weights of ``model`` into float16 as well."""
    import torch

    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.float16)
    special = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {key: getattr(model.config, key) for key in special}
    model.generation_config.update(do_sample=False, max_new_tokens=48, **ids)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    _make_readable(folder)


def _save_adapter(tuned: PeftModel, folder: Path) -> None:
    """Save the adapter with no trace of this machine, its sets in a fixed order and no unused settings."""
    shutil.rmtree(folder, ignore_errors=True)
    tuned.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config = {key: value for key, value in saved.items() if value is not None}
    config["base_model_name_or_path"] = "../model"
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _make_readable(folder)


def _make_readable(folder: Path) -> None:
    """Let everybody read the files: safetensors writes its own for the owner only."""
    for path in folder.iterdir():
        path.chmod(0o644)


def _show(shifts: Sequence[Shift], summary: Summary) -> None:
    for shift in shifts:
        print(
            f"\n[{', '.join(shift.prompt.tags)}] JS {shift.js:.4f} nats\n  prompt: {shift.prompt.text!r}\n"
            f"  base:   {shift.base!r}\n  tuned:  {shift.tuned!r}"
        )
    print(
        f"\nmean JS on-topic {summary.on_topic:.3f} nats, off-topic {summary.off_topic:.4f} nats "
        f"(largest {summary.off_topic_largest:.4f})\n"
        f"{summary.on_topic_above:.0%} of the on-topic prompts lie above the largest off-topic one\n"
        f"{summary.off_topic_same_text:.0%} of the off-topic generations are the same, word for word",
        flush=True,
    )
