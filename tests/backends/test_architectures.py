"""The short cuts of scoring (padding without mask, picked positions, pieces of the head) on many kinds of model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sway_dash.backends.torch_lm import TorchLM
from sway_dash.core.scoring import BASE, FINETUNED
from tests.backends.conftest import (
    CONTEXT,
    PROMPTS,
    fingerprint,
    llama_config,
    make_tokenizer,
    open_backend,
    save_adapter,
    save_model,
)

SMALL = {
    "vocab_size": 416, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 4},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 2.0},
    "gemma3_text": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4},
    "granite": {"num_key_value_heads": 2, "logits_scaling": 3.0},
    "cohere": {"num_key_value_heads": 2, "logit_scale": 0.3},
    "phi3": {"num_key_value_heads": 2},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"n_head": 4, "n_layer": 2},
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 4},
    "mamba": {"state_size": 4, "expand": 2},
}


def tiny(kind: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    try:
        config = AutoConfig.for_model(kind, **{**SMALL, **KINDS[kind]})
    except ValueError as error:
        pytest.skip(f"this transformers has no {kind}: {error}")
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.normal_(0, 0.2)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_batches_equal_one_plain_pass_per_prompt(kind: str) -> None:
    model = tiny(kind)
    lm = TorchLM(model, make_tokenizer())
    ids = [lm.tokens.encode(p) for p in PROMPTS]
    picks = [[len(i) - 1, 0] for i in ids]
    found = lm.rows(ids, picks)
    with torch.inference_mode():
        plain = [model(input_ids=torch.tensor([i])).logits[0] for i in ids]
    want = torch.cat([row[p] for row, p in zip(plain, picks, strict=True)])
    assert torch.allclose(found, want, atol=2e-4)
    assert lm._picks
    assert lm._plain_head == (kind not in ("gemma2", "granite", "cohere"))
    scores = lm.token_logprobs([(i, 1) for i in ids])
    for i, row, score in zip(ids, plain, scores, strict=True):
        lp = row.double().log_softmax(-1)
        assert score == pytest.approx([float(lp[t - 1, i[t]]) for t in range(1, len(i))], abs=2e-4)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "bloom", "opt", "mamba"])
def test_batched_greedy_text_equals_a_plain_loop(kind: str) -> None:
    model = tiny(kind)
    lm = TorchLM(model, make_tokenizer())
    ids = [lm.tokens.encode(p) for p in PROMPTS[:4]]
    for start, text in zip(ids, lm.generate(ids, max_new_tokens=5), strict=True):
        new: list[int] = []
        while len(new) < 5 and 1 not in new:
            with torch.inference_mode():
                new.append(int(model(input_ids=torch.tensor([start + new])).logits[0, -1].argmax()))
        assert text == new


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "rank_pattern": {"layers.1.self_attn.q_proj": 2}},
        {"target_modules": "all-linear", "use_rslora": True},
        {"target_modules": ["q_proj"], "lora_bias": True},
    ],
)
def test_adapters_that_reach_the_head_and_other_shapes(tmp_path: Path, options: dict[str, Any]) -> None:
    base = save_model(tmp_path / "model", llama_config(tie_word_embeddings=False), make_tokenizer())
    backend = open_backend(base, save_adapter(tmp_path / "adapter", base, **options))
    before = fingerprint(backend)
    rows = {}
    for view in (BASE, FINETUNED):
        with backend.activate(view) as lm, torch.inference_mode():
            ids = [lm.tokens.encode(p) for p in PROMPTS]
            rows[view] = lm.rows(ids, [[len(i) - 1] for i in ids])
            plain = torch.cat([lm.model(input_ids=torch.tensor([i])).logits[0, -1:] for i in ids])
            assert torch.allclose(rows[view], plain, atol=1e-4)
    assert not torch.allclose(rows[BASE], rows[FINETUNED], atol=1e-3)
    with open_backend(base, None).activate(BASE) as lm:
        assert torch.allclose(lm.rows(ids, [[len(i) - 1] for i in ids]), rows[BASE], atol=1e-6)
    assert fingerprint(backend) == before
