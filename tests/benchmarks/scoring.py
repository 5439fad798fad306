"""How fast, how exact and how large scoring is. Prints one table; asserts nothing.

    python -m tests.benchmarks.scoring                 # SmolLM2-135M on the CPU, fp32
    python -m tests.benchmarks.scoring --device cuda   # a random-weight 1B Llama in bf16

Every ratio is taken within one process, so it survives a slow or busy machine; absolute times do not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("SWAY_DISABLE_NULL_CACHE", "1")

WHO = (
    "The keeper", "My neighbour", "A baker", "The old captain", "Nobody", "Our teacher", "A small dog", "The band",
    "Her brother", "The mayor", "A stranger", "The doctor", "Every child", "The queen", "A farmer", "Your friend",
)  # fmt: skip
DOES = (
    "sings", "always forgets", "sells bread", "walks home", "reads aloud", "waits", "counts ships", "paints",
    "never sleeps", "likes tea", "builds a", "opens the", "asks why", "runs to", "writes", "hears the",
)  # fmt: skip


def prompts(n: int, *, words: str = "few") -> list[str]:
    """``n`` different prompts, some 4 to 8 tokens each, or some 10 to 16 with ``words="more"``."""
    out = []
    for i in range(n):
        text = f"{WHO[i % 16]} {DOES[i // 16 % 16]}"
        # Distinct beyond the 256 combinations.
        text += f" {i}" if i >= 256 else ""
        out.append(f"{text}, and after a little while they all" if words == "more" else f"{text} today")
    return out


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def matmul_flops(device: str, dtype: Any) -> float:
    """FLOP/s of a plain square product, best of several."""
    import torch

    n = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))

    def work() -> None:
        _ = a @ b
        if device == "cuda":
            torch.cuda.synchronize()

    work()
    return 2 * n**3 / min(seconds(work) for _ in range(5))


def shape_share(model: Any, rows: int, device: str, dtype: Any, peak: float) -> float:
    """What a plain product of ``rows`` tokens with one of the model's own matrices reaches of the square one's rate.

    The ceiling of any way of batching so few tokens: small products do not fill the machine.
    """
    import torch

    wide, deep = model.config.intermediate_size, model.config.hidden_size
    a = torch.randn(rows, deep, device=device, dtype=dtype)
    b = torch.randn(deep, wide, device=device, dtype=dtype)

    def work() -> None:
        for _ in range(20):
            _ = a @ b
        if device == "cuda":
            torch.cuda.synchronize()

    work()
    return 20 * 2 * rows * deep * wide / min(seconds(work) for _ in range(5)) / peak


def forward_flops(model: Any, tokens: int, rows: int) -> float:
    """FLOPs of ``tokens`` through the body and ``rows`` through the output matrix: 2 per weight."""
    embedding = model.get_input_embeddings().weight.numel()
    body = sum(p.numel() for p in model.parameters()) - embedding
    head = model.get_output_embeddings().weight
    if head is not model.get_input_embeddings().weight:
        body -= head.numel()
    return 2.0 * (body * tokens + head.numel() * rows)


class Table:
    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def add(self, what: str, value: str, goal: str = "") -> None:
        self.rows.append((what, value, goal))
        print(f"{what:<70} {value:>26}   {goal}", flush=True)


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Largest resident size in the block over that at its start, bytes."""
    import psutil

    process = psutil.Process()
    start = process.memory_info().rss
    out = {"extra": 0.0}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            out["extra"] = max(out["extra"], process.memory_info().rss - start)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield out
    finally:
        stop.set()
        thread.join()


def forget(backend: Any) -> None:
    backend.instrumentation.cache.clear()
    backend.row_cache.clear()


def reference_js(backend: Any, views: tuple[Any, Any], texts: list[str]) -> tuple[list[float], float]:
    """One forward per prompt and view with all logits, divergence in float64; JS per prompt and the seconds."""
    import torch

    rows: dict[Any, list[Any]] = {}
    start = time.perf_counter()
    for view in views:
        with backend.activate(view) as lm, torch.inference_mode():
            rows[view] = [
                lm.model(input_ids=torch.tensor([lm.tokens.encode(t)], device=lm.device), use_cache=False)
                .logits[0, -1]
                .double()
                .log_softmax(-1)
                for t in texts
            ]
    out = []
    for lp, lq in zip(rows[views[1]], rows[views[0]], strict=True):
        p, q = lp.exp(), lq.exp()
        m = (0.5 * (p + q)).log()
        out.append(float(0.5 * (p * (lp - m)).sum() + 0.5 * (q * (lq - m)).sum()))
    return out, time.perf_counter() - start


def batching(table: Table, backend: Any, device: str, dtype: Any) -> None:
    from sway_dash.core.scoring import BASE, FINETUNED

    list(backend.compare(BASE, [FINETUNED], prompts(8)))
    for n, words in ((64, "few"), (256, "few"), (256, "more")):
        texts = prompts(n, words=words)
        tokens = sum(len(backend.lm.tokens.encode(t)) for t in texts)
        wanted, _ = reference_js(backend, (BASE, FINETUNED), texts)
        ratios, shares, ceilings, got = [], [], [], []
        # In turns, so that a machine that slows down slows all three alike.
        for _ in range(3):
            peak = matmul_flops(device, dtype)
            # One by one the time is proportional to the number of prompts; 64 of them are enough to take it.
            _, slow = reference_js(backend, (BASE, FINETUNED), texts[:64])
            forget(backend)
            start = time.perf_counter()
            found = {i: c for i, _, c in backend.compare(BASE, [FINETUNED], texts)}
            fast = time.perf_counter() - start
            got = [found[i].js for i in range(n)]
            ratios.append(slow / 64 * n / fast)
            ceilings.append(shape_share(backend.lm.model, tokens, device, dtype, peak))
            shares.append(2 * forward_flops(backend.lm.model, tokens, n) / fast / peak)
        error = max(abs(a - b) for a, b in zip(got, wanted, strict=True))
        label = f"{n} prompts of {tokens / n:.1f} tokens"
        table.add(f"{label}: one by one / batched", spread(ratios, "{:.1f} x"), ">= 8 x" if words == "few" else "")
        table.add(f"{label}: scoring FLOP/s over a plain product's", spread(shares, "{:.0%}"), ">= 55 %")
        table.add(f"{label}: the same of one product of {tokens} tokens", spread(ceilings, "{:.0%}"))
        table.add(f"{label}: largest |JS - float64 reference|", f"{error:.1e}", "<= 1e-5")
    top256(table, backend, texts[:64], wanted[:64])


def spread(values: list[float], form: str) -> str:
    """Median and range of a few repetitions."""
    low, middle, high = (form.format(v) for v in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def top256(table: Table, backend: Any, texts: list[str], wanted: list[float]) -> None:
    from sway_dash.core.divergence import compare_dists

    with backend.as_base() as view:
        base = view.next_token_dist_batch(texts, top_k=256)
    with backend.as_finetuned() as view:
        tuned = view.next_token_dist_batch(texts, top_k=256)
    found = [compare_dists(p, q) for p, q in zip(base, tuned, strict=True)]
    error = max(abs(c.js - w) for c, w in zip(found, wanted, strict=True))
    table.add("top-256 approximation: largest |JS - float64 reference|", f"{error:.1e}")
    table.add("top-256 approximation: largest stated error bound", f"{max(c.error_bound for c in found):.1e}")


def suite_cost(table: Table, backend: Any, n: int = 64) -> None:
    from sway_dash.core.scoring import BASE, FINETUNED, View
    from sway_dash.suite.loader import from_dict
    from sway_dash.suite.runner import run

    texts = prompts(n)
    lambdas = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    spec = from_dict(
        {
            "version": 1,
            "models": {"base": {"base": "x"}, "ft": {"base": "x"}},
            "suite": [
                {"name": "null", "kind": "null_adapter", "runs": 3, "cache": False},
                {"name": "first", "kind": "delta_kl", "prompts": texts},
                {"name": "second", "kind": "delta_kl", "prompts": texts},
                {"name": "lambda", "kind": "adapter_ablation", "prompts": texts, "lambdas": lambdas},
            ],
        }
    )
    views = [
        BASE,
        FINETUNED,
        *(View.null(1000 + i) for i in range(3)),
        *(View.scaled(x) for x in (0.25, 0.5, 0.75, 1.25)),
    ]
    alone = 0.0
    for view in views:
        forget(backend)
        with backend.activate(view) as lm:
            ids = [lm.tokens.encode(t) for t in texts]
            alone += seconds(lambda lm=lm, ids=ids: lm.rows(ids, [[len(i) - 1] for i in ids]))
    forget(backend)
    result = run(spec, backend, skip_preflight=True)
    by_name = {p.name: p.duration_s for p in result.probes}
    total = sum(by_name.values())
    table.add(f"suite of 4 probes, {n} prompts: time over its {len(views)} views alone", f"{total / alone:.2f}")
    # Both delta_kl entries are calibrated on the same prompts, so the second costs look-ups only.
    fresh = seconds(lambda: (forget(backend), list(backend.compare(BASE, [FINETUNED], texts))))
    table.add("second delta_kl on the same prompts over a fresh one", f"{by_name['second'] / fresh:.2%}", "< 2 %")
    table.add("cache hit rate of the suite", f"{result.backend_stats['hit_rate']:.0%}")


def memory(table: Table, backend: Any, n: int) -> None:
    from sway_dash.core.scoring import BASE, FINETUNED

    forget(backend)
    with peak_memory() as peak:
        for _ in backend.compare(BASE, [FINETUNED], prompts(n)):
            pass
    table.add(f"memory over the loaded model, {n} prompts, 2 views", f"{peak['extra'] / 2**20:.0f} MiB", "bounded")
    held = backend.instrumentation.cache.nbytes + backend.row_cache.nbytes
    table.add("of which caches hold at the end", f"{held / 2**20:.0f} MiB")


def open_smollm2() -> Any:
    from sway_dash.backends import build
    from sway_dash.core.model import ModelSpec
    from tests.pretrained.conftest import cached_adapter, cached_model

    base = cached_model()
    spec = ModelSpec(base=str(base), adapter=cached_adapter(base), dtype="fp32", device="cpu")
    return build(spec)


def open_random_llama(device: str) -> Any:
    """A 1B Llama with random weights and a random LoRA, in bf16."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from sway_dash.backends import build
    from sway_dash.core.model import ModelSpec
    from sway_dash.demo import demo_dir

    folder = Path(tempfile.mkdtemp())
    tokenizer = AutoTokenizer.from_pretrained(demo_dir() / "model")
    config = LlamaConfig(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=128_256, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False))
    tuned.save_pretrained(folder / "adapter")
    del model, tuned
    spec = ModelSpec(base=str(folder / "model"), adapter=folder / "adapter", dtype="bf16", device=device)
    return build(spec)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory-prompts", type=int, default=5000)
    args = parser.parse_args()
    import torch

    table = Table()
    on_gpu = args.device.startswith("cuda")
    backend = open_random_llama(args.device) if on_gpu else open_smollm2()
    name = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {args.device} ({name}), numpy {np.__version__}\n")
    batching(table, backend, "cuda" if on_gpu else "cpu", torch.bfloat16 if on_gpu else torch.float32)
    suite_cost(table, backend)
    memory(table, backend, args.memory_prompts)
    backend.close()


if __name__ == "__main__":
    main()
