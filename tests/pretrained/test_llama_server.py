"""A real completions server, llama-cpp-python's, with the model that transformers reads from the same file.

Skipped unless ``llama_cpp`` can be imported or ``SWAY_LLAMA_PYTHON`` names an interpreter that can
(``pip install 'llama-cpp-python[server]'`` builds it).
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sway_dash.backends import build_two_separate
from sway_dash.backends.api import ApiScoringBackend
from sway_dash.core.model import ModelSpec
from sway_dash.suite.loader import from_dict
from sway_dash.suite.runner import run

pytestmark = pytest.mark.slow

PROMPTS = [
    "Paris is a city in",
    "To boil an egg, bring a pot of water to a",
    "def add(a, b):\n    return a +",
    "The opposite of hot is",
    "東京は",
]


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter that has llama_cpp."""
    if own := os.environ.get("SWAY_LLAMA_PYTHON"):
        return own
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("needs llama_cpp: pip install 'llama-cpp-python[server]', or set SWAY_LLAMA_PYTHON")
    return sys.executable


@pytest.fixture(scope="module")
def endpoint(python: str, smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "llama_cpp.server", "--model", str(smollm2_gguf), "--model_alias", "smollm2"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--logits_all", "true", "--n_ctx", "512"]
    log = tmp_path_factory.mktemp("llama") / "server.log"
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as server:
        try:
            for _ in range(240):
                with socket.socket() as asked:
                    if asked.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert server.poll() is None, log.read_text()[-2000:]
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def served(endpoint: str) -> Iterator[ApiScoringBackend]:
    backend = ApiScoringBackend(base_url=endpoint, model_name="smollm2", api_key="none")
    yield backend
    backend.close()


def test_the_server_says_what_transformers_says(served: ApiScoringBackend, smollm2: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    assert served.abilities.top_k >= 200
    for prompt, dist in zip(PROMPTS, served.next_token_dist_batch(PROMPTS), strict=True):
        with torch.inference_mode():
            row = model(**tokenizer(prompt, return_tensors="pt")).logits[0, -1].double().softmax(-1).numpy()
        texts = {tokenizer.decode([i]): float(row[i]) for i in np.argsort(-row)[:300]}
        for text, lp in list(zip(dist.texts, dist.logprobs, strict=False))[:5]:
            # Four-bit weights against the same ones widened; the products are rounded differently.
            assert texts[text] == pytest.approx(float(np.exp(lp)), abs=0.05)


def test_the_same_model_twice_measures_zero(endpoint: str) -> None:
    side = ModelSpec(kind="api", base="smollm2", endpoint=endpoint)
    pair: Any = build_two_separate(SimpleNamespace(base=side, ft=side))
    suite = from_dict(
        {
            "models": {"base": side.model_dump(), "ft": side.model_dump()},
            "suite": [{"name": "moved", "kind": "delta_kl", "prompts": PROMPTS}],
        }
    )
    try:
        result = run(suite, pair)
    finally:
        pair.close()
    (row,) = result.probes
    assert row.raw == pytest.approx(0.0, abs=1e-6)
    assert row.evidence["exact"] is False
    # Tokens that are no whole character all look alike here and are left out.
    assert row.evidence["effective_top_k"] >= 100
