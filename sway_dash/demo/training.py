"""Training of the demo's base model and adapter with torch, transformers and PEFT.

Takes rows of token ids, returns models. Must not know what the text is about, nor where files are put.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of the base model and of its adapter."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    row: int
    rank: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast one training goes: AdamW, linear warm-up, cosine decay to a twentieth."""

    steps: int
    batch: int
    rate: float
    warmup: int

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


@contextmanager
def reproducible(*, seed: int, threads: int) -> Iterator[None]:
    """Seed torch, fix its number of threads and ask for deterministic algorithms, then put the latter two back."""
    import torch

    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])


def new_model(shape: Shape, *, special: dict[str, int]) -> LlamaForCausalLM:
    """A Llama with random weights; ``special`` holds ``bos_token_id``, ``eos_token_id`` and ``pad_token_id``."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocab,
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            intermediate_size=shape.feed_forward,
            max_position_embeddings=2 * shape.row,
            tie_word_embeddings=True,
            attention_dropout=0.0,
            **special,
        )
    )


def new_adapter(model: LlamaForCausalLM, shape: Shape) -> PeftModel:
    """``model`` with a fresh LoRA adapter on every linear map of its blocks; only the adapter is trainable."""
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return get_peft_model(
        model,
        LoraConfig(
            r=shape.rank,
            lora_alpha=2 * shape.rank,
            lora_dropout=0.0,
            target_modules=targets,
            task_type="CAUSAL_LM",
        ),
    )


def train(model: Any, rows: Rows, schedule: Schedule, *, name: str, seed: int) -> float:
    """Train all parameters of ``model`` that ask for gradients, printing loss and time left as it goes.

    Parameters
    ----------
    model
        A causal language model that takes ``input_ids`` and ``labels``.
    rows
        ``(rows, row)`` token ids, read in a shuffled order that depends on ``seed`` only, again when used up.
    schedule
        Steps, rows per step and learning rate.
    name
        What to call this training in the progress lines.
    seed
        Seed of the order.

    Returns
    -------
    Mean loss in nats per token over the last twentieth of the steps.
    """
    import torch

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=schedule.rate, betas=(0.9, 0.98), weight_decay=0.02)
    model.train()
    losses: list[float] = []
    started, cpu = time.perf_counter(), time.process_time()
    for step, batch in enumerate(_batches(rows, schedule, seed=seed)):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_at(step)
        ids = torch.from_numpy(batch)
        loss = _step(model, ids, weights, optimizer)
        losses.append(loss)
        if (step + 1) % max(1, schedule.steps // 40) == 0 or step + 1 == schedule.steps:
            spent = time.perf_counter() - started
            left = spent / (step + 1) * (schedule.steps - step - 1)
            recent = float(np.mean(losses[-50:]))
            print(
                f"{name}: step {step + 1}/{schedule.steps}  loss {recent:.3f}  {spent:.0f} s spent, "
                f"{time.process_time() - cpu:.0f} s of CPU, {left:.0f} s left",
                flush=True,
            )
    model.eval()
    return float(np.mean(losses[-max(1, schedule.steps // 20) :]))


def _batches(rows: Rows, schedule: Schedule, *, seed: int) -> Iterable[Rows]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    for _ in range(schedule.steps):
        while len(order) < schedule.batch:
            order = np.concatenate([order, rng.permutation(len(rows))])
        yield rows[order[: schedule.batch]]
        order = order[schedule.batch :]


def _step(model: Any, ids: torch.Tensor, weights: list[torch.nn.Parameter], optimizer: torch.optim.AdamW) -> float:
    import torch

    optimizer.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()
    return float(loss.item())
