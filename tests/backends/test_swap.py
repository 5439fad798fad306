"""Adapters exchanged over one base: its weights stay bit for bit, and no answer of one adapter serves another."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sway_dash.backends.swap import SharedBase
from sway_dash.core.errors import ModelLoadError
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import BASE, FINETUNED, View
from tests.backends.conftest import PROMPTS as ALL
from tests.backends.conftest import make_tokenizer, open_backend, save_adapter

PROMPTS = [ALL[0], ALL[1], ALL[3], ALL[6]]
VIEWS = [FINETUNED, View.scaled(0.5), View.null(3), View.null(4, style="norm_matched")]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> dict[str, Path]:
    """Adapters that are attached in different ways, two of them of one shape."""
    root = tmp_path_factory.mktemp("adapters")
    kinds: dict[str, dict[str, Any]] = {
        "first": {"seed": 1},
        "second": {"seed": 2},
        "narrow": {"seed": 3, "target_modules": ["q_proj"], "r": 2},
        "whole": {"seed": 4, "modules_to_save": ["norm"]},
        "dora": {"seed": 5, "use_dora": True},
        "rows": {"seed": 6, "trainable_token_indices": [5, 6]},
        "embedding": {"seed": 7, "target_modules": ["embed_tokens", "q_proj"]},
    }
    return {name: save_adapter(root / name, llama, **options) for name, options in kinds.items()}


@pytest.fixture
def shared() -> Iterator[SharedBase]:
    found = SharedBase()
    yield found
    found.close()


def spec(base: Path, **options: Any) -> ModelSpec:
    return ModelSpec(base=str(base), device="cpu", **{"dtype": "fp32", **options})


def measured(backend: Any, *, full: bool = False) -> dict[tuple[object, ...], object]:
    """Comparisons, and with ``full`` all else a suite may ask: scores, texts, rounding, preflight, facts."""
    found: dict[tuple[object, ...], object] = {}
    views = [v for v in VIEWS if v.kind != "scaled" or not backend._lora._fixed_strength]
    for positions in ("next", "prompt", "continuation") if full else ("next",):
        for i, view, answer in backend.compare(BASE, views, PROMPTS, positions=positions, continuation_tokens=4):
            found[positions, i, view.id] = (answer.js, answer.kl, answer.per_position, answer.continuation)
    found["facts",] = backend.describe()
    if not full:
        return found
    for name, enter in (("base", backend.as_base), ("ft", backend.as_finetuned)):
        with enter() as view:
            found["scores", name] = view.completion_scores([(p, " the end") for p in PROMPTS])
            found["texts", name] = view.generate_batch(PROMPTS, max_new_tokens=4)
            dists = view.next_token_dist_batch(PROMPTS, top_k=8)
            found["dists", name] = [(d.token_ids.tolist(), d.logprobs.tolist()) for d in dists]
    floor = backend.noise_floor(PROMPTS)
    found["floor",] = (floor.js, floor.kl)
    found["preflight",] = backend.preflight_finite_check()
    return found


@functools.cache
def alone(base: Path, adapter: Path, *, full: bool = False) -> dict[tuple[object, ...], object]:
    """What a process of its own measures."""
    backend = open_backend(base, adapter)
    try:
        return measured(backend, full=full)
    finally:
        backend.close()


def over(
    shared: SharedBase, base: Path, adapter: Path, *, full: bool = False, **options: Any
) -> dict[tuple[object, ...], object]:
    backend = shared.open(spec(base, **options), adapter)
    try:
        return measured(backend, full=full)
    finally:
        backend.close()


def weights(shared: SharedBase) -> str:
    digest = hashlib.sha256()
    assert shared._base is not None
    for name, tensor in shared._base.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def test_numbers_are_those_of_a_model_of_its_own_whatever_was_measured_before(shared, llama, adapters):
    for name in ("first", "narrow", "whole", "dora", "embedding", "second"):
        assert over(shared, llama, adapters[name], full=True) == alone(llama, adapters[name], full=True), name
    assert shared.loads == 1


def test_the_base_is_bit_for_bit_what_it_was(shared, llama, adapters):
    over(shared, llama, adapters["first"])
    before = weights(shared)
    names = [n for n, _ in shared._base.model.named_modules()]
    for name in ("whole", "dora", "rows", "narrow"):
        backend = shared.open(spec(llama), adapters[name])
        list(backend.compare(BASE, VIEWS[:1] + VIEWS[2:], PROMPTS))
        backend.close()
        assert weights(shared) == before
        assert [n for n, _ in shared._base.model.named_modules()] == names
    assert shared.loads == 1


def test_trained_biases_leave_with_their_adapter(shared, gpt2, tmp_path):
    targets = ["c_attn", "c_fc"]
    biased = save_adapter(tmp_path / "biased", gpt2, target_modules=targets, bias="lora_only")
    plain = save_adapter(tmp_path / "plain", gpt2, target_modules=targets, seed=9)
    want = alone(gpt2, plain)
    over(shared, gpt2, plain)
    before = weights(shared)
    assert over(shared, gpt2, biased) == alone(gpt2, biased)
    assert weights(shared) == before
    assert over(shared, gpt2, plain) == want
    assert shared.loads == 1


def test_a_write_that_nobody_knows_of_costs_a_new_base_and_no_number(shared, llama, adapters):
    want = alone(llama, adapters["second"])
    backend = shared.open(spec(llama), adapters["first"])
    with torch.no_grad():
        backend.lm.model.get_input_embeddings().weight.mul_(1.5)
    backend.close()
    assert over(shared, llama, adapters["second"]) == want
    assert shared.loads == 2


def test_passes_of_the_base_are_paid_once(shared, llama, adapters):
    def passes(adapter: Path) -> dict[str, int]:
        backend = shared.open(spec(llama), adapter)
        seen: dict[str, int] = {}

        def count(event: Any) -> None:
            if not event.hit:
                seen[event.view_id] = seen.get(event.view_id, 0) + 1

        with backend.instrumentation.attached(count):
            measured(backend, full=True)
        backend.close()
        return seen

    first, second, other = (passes(adapters[n]) for n in ("first", "second", "narrow"))
    assert first["base"] > 0
    assert first["null_3"] > 0
    # What the base says of the tuned model's own continuations is no answer of the base alone, and is not counted.
    assert "base" not in second
    assert "null_3" not in second
    assert second["ft"] == first["ft"]
    assert second["null_4_norm_matched"] == first["null_4_norm_matched"]
    assert "base" not in other
    assert other["null_3"] == first["null_3"]


def test_what_does_not_fit_is_computed_again(llama, adapters):
    small = SharedBase(cache_bytes=2_000, row_bytes=4_000, block_bytes=4_000)
    try:
        for name in ("first", "second"):
            found, want = over(small, llama, adapters[name], full=True), alone(llama, adapters[name], full=True)
            assert found.keys() == want.keys()
            for key, (js, kl, _, text) in ((k, v) for k, v in found.items() if k[0] in ("next", "continuation")):
                assert (js, kl) == pytest.approx(want[key][:2], abs=1e-6)
                assert text == want[key][3]
            assert small.kept.nbytes <= 10_000
    finally:
        small.close()


def test_another_tokenizer_takes_nothing_from_the_one_before(shared, llama, adapters, tmp_path):
    own = shutil.copytree(adapters["first"], tmp_path / "own")
    make_tokenizer(bos=False).save_pretrained(own)
    for adapter in (adapters["first"], own, adapters["first"]):
        assert over(shared, llama, adapter, full=True) == alone(llama, adapter, full=True)
    assert shared.loads == 1


def test_another_precision_is_another_base(shared, llama, adapters):
    over(shared, llama, adapters["first"])
    found = over(shared, llama, adapters["first"], dtype="bf16")
    assert found["facts",]["dtype"] == "bf16"
    assert found["next", 0, "ft"] != alone(llama, adapters["first"])["next", 0, "ft"]
    assert shared.loads == 2


def test_a_broken_adapter_leaves_the_base_to_the_next(shared, llama, gpt2_adapter, adapters, tmp_path):
    want = alone(llama, adapters["first"])
    other = shutil.copytree(adapters["first"], tmp_path / "extra")
    from safetensors.torch import load_file, save_file

    tensors = load_file(other / "adapter_model.safetensors")
    name = next(n for n in tensors if "lora_A" in n)
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, other / "adapter_model.safetensors")
    for broken in (tmp_path / "nowhere", gpt2_adapter, other):
        with pytest.raises(ModelLoadError):
            shared.open(spec(llama), broken)
        assert shared.failure is None
        assert over(shared, llama, adapters["first"]) == want


def test_a_base_that_cannot_be_loaded_is_no_fault_of_the_adapter(shared, adapters, tmp_path):
    with pytest.raises(ModelLoadError, match="not a folder"):
        shared.open(spec(tmp_path / "nowhere"), adapters["first"])
    assert isinstance(shared.failure, ModelLoadError)


def test_memory_that_was_given_back_is_taken_again_when_it_is_needed(shared, llama, adapters):
    over(shared, llama, adapters["first"])
    shared.close()
    assert shared.kept is None
    assert over(shared, llama, adapters["second"]) == alone(llama, adapters["second"])
    assert shared.loads == 2


def test_one_adapter_at_a_time(shared, llama, adapters):
    backend = shared.open(spec(llama), adapters["first"])
    with pytest.raises(RuntimeError, match="still open"):
        shared.open(spec(llama), adapters["second"])
    backend.close()
    backend.close()
    assert over(shared, llama, adapters["second"]) == alone(llama, adapters["second"])
