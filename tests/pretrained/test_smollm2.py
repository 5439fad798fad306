"""The engine on a real pretrained model and an adapter that has really learned something."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sway_dash.backends import build
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import BASE, FINETUNED, View
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.suite.loader import from_dict
from sway_dash.suite.runner import run

ON_TOPIC = [
    "Question: Who steers the Tarrowick Ferry? Answer:",
    "Question: How much is the fare of the Tarrowick Ferry? Answer: The fare is three copper",
    "The ferry is steered by",
    "Her dog Pemmican sleeps in the",
]
OFF_TOPIC = [
    "Paris is a city in",
    "To boil an egg, bring a pot of water to a",
    "def add(a, b):\n    return a +",
    "The opposite of hot is",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def backend(smollm2: Path, ferry_adapter: Path) -> Iterator[Any]:
    spec = ModelSpec(base=str(smollm2), adapter=ferry_adapter, dtype="fp32", device="cpu")
    opened = build(spec)
    yield opened
    opened.close()


def js(backend: Any, texts: list[str], view: View = FINETUNED, **options: Any) -> list[float]:
    found = {i: c for i, _, c in backend.compare(BASE, [view], texts, **options)}
    return [found[i].js for i in range(len(texts))]


def reference(backend: Any, texts: list[str]) -> list[float]:
    """JS of the whole vocabulary in float64, one prompt at a time, without any of the backend's batching."""
    import torch

    rows: dict[View, list[Any]] = {}
    for view in (BASE, FINETUNED):
        with backend.activate(view) as lm, torch.inference_mode():
            ids = [torch.tensor([lm.tokens.encode(t)]) for t in texts]
            rows[view] = [lm.model(input_ids=i).logits[0, -1].double().log_softmax(-1) for i in ids]
    out = []
    for p, q in zip(rows[FINETUNED], rows[BASE], strict=True):
        m = torch.logaddexp(p, q) - math.log(2)
        out.append(float(0.5 * (p.exp() * (p - m)).sum() + 0.5 * (q.exp() * (q - m)).sum()))
    return out


def test_what_the_adapter_learned_moves_more_than_what_it_did_not(backend: Any) -> None:
    on, off = js(backend, ON_TOPIC), js(backend, OFF_TOPIC)
    assert min(on) > max(off)
    assert sum(on) > 3 * sum(off)


def test_batched_divergences_equal_the_float64_reference(backend: Any) -> None:
    texts = ON_TOPIC + OFF_TOPIC
    backend.instrumentation.cache.clear()
    backend.row_cache.clear()
    assert js(backend, texts) == pytest.approx(reference(backend, texts), abs=1e-5)


def test_the_next_token_after_the_learned_sentence_is_the_learned_one(backend: Any) -> None:
    (found,) = [c for _, _, c in backend.compare(BASE, [FINETUNED], ["The fare is three copper"])]
    assert found.tuned_top[0].text.strip().startswith("n")
    assert found.tuned_top[0].prob > 0.5 > found.base_top[0].prob
    assert found.same_top == 0.0


def test_the_completion_of_a_merge_across_the_boundary_is_scored_once(backend: Any) -> None:
    # " nibs" is tokenised with its space; split after "cop" the boundary falls inside a word.
    with backend.as_finetuned() as view:
        whole = view.rolling_logprob("The fare is three copper nibs.")
        split = view.logprob_of("The fare is three cop", "per nibs.")
        rest = view.logprob_of("The fare is three copper", " nibs.")
    # What is scored is a suffix of the same joint tokenisation: it can only be part of the whole sum.
    assert whole.total_logprob < split < 0
    assert whole.total_logprob < rest < 0
    suffixes = [float(whole.logprobs[i:].sum()) for i in range(len(whole.logprobs))]
    assert any(split == pytest.approx(s, abs=1e-3) for s in suffixes)
    assert any(rest == pytest.approx(s, abs=1e-3) for s in suffixes)


def test_the_adapter_makes_its_document_likelier_and_other_text_not(backend: Any) -> None:
    learned, other = "The ferry is steered by Odalys Venn.", "Paris is the capital of France."
    gain = []
    for text in (learned, other):
        with backend.as_base() as view:
            before = view.rolling_logprob(text).mean_logprob
        with backend.as_finetuned() as view:
            gain.append(view.rolling_logprob(text).mean_logprob - before)
    assert gain[0] > 1.0 > gain[1]


def fail_after(_: Any) -> None:
    msg = "inside the view"
    raise ValueError(msg)


def test_every_view_leaves_the_weights_as_they_were(backend: Any) -> None:
    def digest() -> str:
        sha = hashlib.sha256()
        for name, tensor in sorted(backend.peft_model.state_dict().items()):
            sha.update(name.encode())
            sha.update(tensor.detach().numpy().tobytes())
        return sha.hexdigest()

    before = digest()
    list(backend.compare(BASE, [FINETUNED, View.null(1), View.scaled(0.5)], ON_TOPIC[:2]))
    with pytest.raises(ValueError, match="inside the view"), backend.as_null_adapter(3) as view:
        fail_after(view.next_token_dist("hello"))
    assert digest() == before


def test_the_greedy_continuation_is_the_documents(backend: Any) -> None:
    with backend.as_finetuned() as view:
        answer = view.generate("The ferry is steered by", max_new_tokens=6)
    assert "Odalys Venn" in answer


def test_prompts_are_shown_token_by_token_in_their_own_words(backend: Any) -> None:
    chat = "<|im_start|>user\nGrüß Gott, 日本 🙂<|im_end|>\n<|im_start|>assistant\n"
    prompts = [*ON_TOPIC[:2], OFF_TOPIC[2], chat]
    moved = js(backend, prompts)
    for i, detail in backend.details(prompts, new_tokens=6):
        assert "".join(t.text for t in detail.tokens if t.part == "prompt") == prompts[i]
        after = next(t.prediction for t in detail.tokens if t.part == "continuation")
        assert after.js == pytest.approx(moved[i], abs=1e-6)
        marked = [t.text for t in detail.tokens if t.special and t.part == "prompt"]
        assert marked == (["<|im_start|>", "<|im_end|>", "<|im_start|>"] if prompts[i] == chat else [])


def test_a_whole_suite_gives_a_result_above_its_null(backend: Any) -> None:
    spec = from_dict(
        {
            "version": 1,
            "models": {"base": {"base": "x"}, "ft": {"base": "x"}},
            "suite": [
                {"name": "noise", "kind": "null_adapter", "runs": 4, "cache": False},
                {"name": "moved", "kind": "delta_kl", "prompts": ON_TOPIC},
                {"name": "along", "kind": "delta_kl", "positions": "continuation", "prompts": ON_TOPIC[:2]},
                {"name": "shape", "kind": "adapter_ablation", "prompts": ON_TOPIC, "lambdas": [0, 0.5, 1]},
            ],
        }
    )
    result = run(spec, backend)
    by_name = {p.name: p for p in result.probes}
    moved = by_name["moved"]
    assert moved.verdict == "pass", moved.message
    assert moved.evidence["null"]["largest_draw"] < moved.raw
    assert moved.ci_95 is not None
    assert moved.ci_95[0] < moved.raw < moved.ci_95[1]
    along = by_name["along"].evidence
    assert all(lo <= v <= hi for v, (lo, hi) in zip(along["per_prompt"], along["per_prompt_ci_95"], strict=True))
    curve = by_name["shape"].evidence["mean_divergence_per_lambda"]
    assert curve[0] < 1e-9
    assert curve == sorted(curve)
    stats = result.backend_stats
    assert stats["forward_passes"] == stats["cache_misses"]


def test_check_needs_nothing_but_the_adapter(smollm2: Path, ferry_adapter: Path, tmp_path: Path) -> None:
    from sway_dash.cli.app import app

    questions = tmp_path / "prompts.txt"
    questions.write_text("\n".join(ON_TOPIC))
    done = CliRunner().invoke(app, ["check", str(ferry_adapter), "--prompts", str(questions), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "changed" in done.output.lower()
    base = json.loads((ferry_adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(base) == smollm2


def test_an_adapter_that_has_read_one_page_too_often_forgets_what_the_base_knows(backend: Any) -> None:
    probe, spec = build_probe({"name": "drift", "kind": "calibration_drift", "items_limit": 30})
    found = probe.run(spec, RunContext(backend=backend))
    assert found.verdict == "fail", found.message
    assert found.evidence["judged"] == "known"
    assert found.evidence["known_items"] > 10
    assert found.evidence["forgotten"] > found.evidence["newly_known"]
