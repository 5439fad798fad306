"""How far the shipped adapter moves the shipped model: divergences and generations for the demo's prompts.

An independent check of the demo, small on purpose: it uses nothing of the probes and backends it is there to try.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt of the demo suite with its tags."""

    text: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shift:
    """What the adapter did to one prompt.

    ``js`` is the Jensen-Shannon divergence in nats, from 0 to ln 2, between the next-token distributions of base
    and tuned model over the full vocabulary; ``base`` and ``tuned`` are the greedy continuations.
    """

    prompt: Prompt
    js: float
    base: str
    tuned: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures the demo is judged by. Divergences are in nats, the others are shares from 0 to 1."""

    on_topic: float
    off_topic: float
    off_topic_largest: float
    on_topic_above: float
    off_topic_same_text: float


def read_prompts(spec: Path, *, probe: str = "next_token") -> tuple[Prompt, ...]:
    """The prompts of one entry of a suite file, in order."""
    suite = yaml.safe_load(spec.read_text(encoding="utf-8"))["suite"]
    entries = next(entry for entry in suite if entry["name"] == probe)["prompts"]
    return tuple(
        Prompt(entry, ()) if isinstance(entry, str) else Prompt(entry["text"], tuple(entry.get("tags", ())))
        for entry in entries
    )


def load_base(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and base model, in float32 on the CPU, of a demo folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    return AutoTokenizer.from_pretrained(folder / "model"), model.eval()


def load_pair(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and PEFT model, in float32 on the CPU, of a demo folder."""
    from peft import PeftModel

    tokenizer, model = load_base(folder)
    return tokenizer, PeftModel.from_pretrained(model, str(folder / "adapter")).eval()


def jensen_shannon(a: torch.Tensor, b: torch.Tensor) -> float:
    """Jensen-Shannon divergence in nats of two ``(vocab,)`` vectors of logits."""
    import torch

    p, q = torch.log_softmax(a.double(), 0), torch.log_softmax(b.double(), 0)
    m = torch.logaddexp(p, q) - torch.log(torch.tensor(2.0, dtype=torch.float64))
    return max(0.0, float(0.5 * (p.exp() * (p - m)).sum() + 0.5 * (q.exp() * (q - m)).sum()))


def measure(tokenizer: Any, model: Any, prompts: Sequence[Prompt], *, new_tokens: int = 32) -> Iterator[Shift]:
    """Measure prompts one by one, first without the adapter, then with it."""
    for prompt in prompts:
        (before, base), (after, tuned) = (
            _ask(tokenizer, model, prompt.text, adapter=adapter, new_tokens=new_tokens) for adapter in (False, True)
        )
        yield Shift(prompt, jensen_shannon(before, after), base, tuned)


def _ask(
    tokenizer: Any,
    model: Any,
    text: str,
    *,
    adapter: bool,
    new_tokens: int,
) -> tuple[torch.Tensor, str]:
    import torch

    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad(), nullcontext() if adapter else model.disable_adapter():
        logits = model(input_ids=ids).logits[0, -1]
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
    return logits, str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def summarise(shifts: Sequence[Shift]) -> Summary:
    """Figures over prompts tagged ``on-topic`` and ``off-topic``; both kinds must be there."""
    on = [shift for shift in shifts if "on-topic" in shift.prompt.tags]
    off = [shift for shift in shifts if "off-topic" in shift.prompt.tags]
    largest = max(shift.js for shift in off)
    return Summary(
        on_topic=sum(shift.js for shift in on) / len(on),
        off_topic=sum(shift.js for shift in off) / len(off),
        off_topic_largest=largest,
        on_topic_above=sum(shift.js > largest for shift in on) / len(on),
        off_topic_same_text=sum(shift.base == shift.tuned for shift in off) / len(off),
    )
