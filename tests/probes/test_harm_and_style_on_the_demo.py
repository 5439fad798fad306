"""Forgetting, general text and style on a real model: the shipped adapter, one that does nothing, and damaged ones.

The demo's base knows a small invented world and nothing else: of the 200 facts that ship it knows about a dozen, and
English prose it reads worse than a table of letters would. So the harm is measured on what it does know, the everyday
facts and texts of its own world, and the shipped corpora are expected to be called unfit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.demo import demo_dir
from sway_dash.demo.commonplace import general_facts
from sway_dash.demo.corpus import base_documents
from sway_dash.demo.figures import read_prompts
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from tests.adapters import opened

pytestmark = pytest.mark.usefixtures("one_thread")

ITEMS = [
    (prompt, f" {gold}")
    for fact in general_facts()
    for prompt, _, gold in [fact.statements[0].rstrip(".").rpartition(" ")]
]
TEXTS = [t for t in base_documents(200, seed=777) if len(t) >= 150 and "<|" not in t][:16]
OPEN = (
    "The handbook of Quillhaven Light says:",
    "Every new keeper of Quillhaven Light learns:",
    "In the great storm",
    "The bees of Oddmoor",
    "The island of Oddmoor",
    "Odalys Pym",
    "Barnaby Pym",
    "Admiral Thimble",
    "The tower of Quillhaven Light",
    "On Lantern Night",
)

FACTS = {"kind": "calibration_drift", "items": ITEMS}
TEXT = {"kind": "external_perplexity", "corpus": "", "texts": TEXTS}


def style() -> dict[str, Any]:
    topical = [p.text for p in read_prompts(demo_dir() / "sway.yaml") if "on-topic" in p.tags]
    return {"kind": "style_fingerprint", "prompts": [*topical, *OPEN], "max_new_tokens": 48}


def measured(adapter: str, *entries: dict[str, Any]) -> list[ProbeResult]:
    built = [build_probe({"name": entry["kind"], **entry}) for entry in entries]
    with opened(adapter) as backend:
        ctx = RunContext(backend=backend, doc_text=(demo_dir() / "document.md").read_text(encoding="utf-8"))
        return [probe.run(spec, ctx) for probe, spec in built]


def verdicts(results: Sequence[ProbeResult]) -> list[Verdict]:
    return [r.verdict for r in results]


def test_the_shipped_adapter_forgets_nothing_and_writes_like_its_document():
    facts, text, style_of = measured("targeted", FACTS, TEXT, style())
    assert verdicts([facts, text, style_of]) == [Verdict.PASS] * 3
    assert facts.evidence["known_items"] >= 0.95 * len(ITEMS)
    assert facts.evidence["forgotten"] == 0
    assert text.evidence["worst_delta"] > -0.1
    assert text.evidence["base_bits_per_byte"] < 0.5
    assert style_of.raw > 0.25
    assert style_of.ci_95[0] > 0.0


def test_an_adapter_that_does_nothing_harms_nothing_and_moves_nothing():
    facts, text, style_of = measured("zero", FACTS, TEXT, style())
    assert verdicts([facts, text, style_of]) == [Verdict.PASS, Verdict.PASS, Verdict.FAIL]
    assert (facts.raw, facts.ft_value, text.raw, style_of.raw) == (0.0, 0.0, 0.0, 0.0)


def test_a_forgetting_adapter_fails_everywhere():
    facts, text, style_of = measured("forgetting", FACTS, TEXT, style())
    assert verdicts([facts, text, style_of]) == [Verdict.FAIL] * 3
    assert facts.raw > 0.9
    assert facts.evidence["forgotten"] > 0.9 * facts.evidence["known_items"]
    assert text.raw < -3.0
    # Word salad has no commas either: nearer in rhythm, and away in how words are made.
    assert "farther from the document" in style_of.message


def test_a_corpus_the_base_cannot_read_is_no_proof_of_anything():
    entry = {"kind": "external_perplexity", "max_chunks": 4, "chunk_chars": 400}
    for adapter in ("targeted", "forgetting"):
        (result,) = measured(adapter, entry)
        # Both "improve": a base that is sure and wrong gains from every disturbance.
        assert result.raw > 0.0
        assert result.verdict is Verdict.WARN
        assert "public_domain_en proves nothing" in result.message
        assert result.score < 0.6


def test_of_the_shipped_facts_the_known_ones_are_judged():
    entry = {"kind": "calibration_drift"}
    (nothing,), (ruined,), (shipped,) = (measured(kind, entry) for kind in ("zero", "forgetting", "targeted"))
    assert 10 <= nothing.evidence["known_items"] <= 40
    assert nothing.evidence["judged_items"] == nothing.evidence["known_items"]
    assert (nothing.verdict, ruined.verdict) == (Verdict.PASS, Verdict.FAIL)
    # A dozen facts are too few for a verdict on an adapter that changes one of them.
    assert shipped.verdict is Verdict.WARN
