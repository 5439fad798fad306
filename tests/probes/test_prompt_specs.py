"""Probes over prompts compare the positions that are asked for: the next token alone is often that of formatting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sway_dash.core.errors import SpecValidationError
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.prompts import PromptSpec
from tests.fakes import FakeBackend

PROMPTS = [{"text": f"the light {i}", "tags": ["on-topic" if i % 2 else "off-topic"]} for i in range(20)]

MORE: dict[str, dict[str, Any]] = {
    "delta_kl": {},
    "topic_contrast": {},
    "cluster_kl": {"topics": "tags"},
    "adapter_ablation": {},
    "prompt_collapse": {"context_lengths": [0, 8]},
}


class Noting(FakeBackend):
    """Keeps how it was asked to compare."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[tuple[Any, Any]] = set()

    def compare(self, *args: Any, **options: Any) -> Iterator[Any]:
        self.asked.add((options["positions"], options["continuation_tokens"]))
        return super().compare(*args, **options)


@pytest.mark.parametrize("kind", MORE)
def test_the_positions_asked_for_are_compared_told_beforehand_and_named_in_the_evidence(kind: str) -> None:
    entry = {"name": "a", "kind": kind, "prompts": PROMPTS, **MORE[kind]}
    probe, spec = build_probe({**entry, "positions": "continuation", "continuation_tokens": 5})
    assert isinstance(spec, PromptSpec)
    backend = Noting()
    ctx = RunContext(backend=backend)
    result = probe.run(spec, ctx)
    assert backend.asked == {("continuation", 5)}
    assert result.evidence["positions"] == "continuation"
    assert {(a.positions, a.continuation_tokens) for a in probe.asks(spec, ctx)} == {("continuation", 5)}
    backend.asked.clear()
    probe, spec = build_probe(entry)
    probe.run(spec, ctx)
    assert {positions for positions, _ in backend.asked} == {"next"}


def test_the_filler_of_a_context_is_never_compared() -> None:
    with pytest.raises(SpecValidationError, match="positions"):
        build_probe({"name": "a", "kind": "prompt_collapse", "prompts": ["x"], "positions": "prompt"})
