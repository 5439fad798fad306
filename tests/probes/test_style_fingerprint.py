"""style_fingerprint: a step towards the document's style must be large, beyond doubt, and not what noise does, too."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.packs import PART_BREAK, load_corpus
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.stats import null_stats
from sway_dash.probes import build_probe, style_fingerprint
from sway_dash.probes import fingerprint as public
from sway_dash.probes.base import SENTINEL_DOC, RunContext
from sway_dash.probes.style_features import clean, windows
from sway_dash.probes.style_fingerprint import FINGERPRINT_SCHEMA_VERSION, StyleFingerprintProbe, fingerprint
from sway_dash.suite.runner import run as run_suite

KIND = "style_fingerprint"
TEXTS = load_corpus("public_domain_en").split(PART_BREAK)
STORY, LETTER, REPORT = 2, 4, 6


def pieces(index: int, words: int = 60) -> list[str]:
    return windows(clean(TEXTS[index]), words)


def measured(
    base: Sequence[str], tuned: Sequence[str], document: str = TEXTS[REPORT], *, null: Any = None, **keys: Any
) -> ProbeResult:
    prompts = [f"p{i}" for i in range(len(base))]
    made = DummyDifferentialBackend(
        base=DummyResponses(generations=dict(zip(prompts, base, strict=True))),
        ft=DummyResponses(generations=dict(zip(prompts, tuned, strict=True))),
    )
    probe, spec = build_probe({"name": "style", "kind": KIND, "prompts": prompts, "doc_reference": document, **keys})
    return probe.run(spec, RunContext(backend=made, null_stats={} if null is None else {KIND: null}))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_no_change_is_exactly_zero_and_fails(count):
    texts = pieces(STORY)[:count]
    result = measured(texts, texts)
    assert result.raw == 0.0
    assert result.verdict is Verdict.FAIL
    assert result.score == 0.0
    assert result.evidence["style_shift"] == 0.0
    assert result.evidence["cosine"] is None
    assert "the texts are the same" in result.message


def test_the_document_itself_is_the_whole_way():
    result = measured(["A short answer. It is here."], [TEXTS[REPORT]])
    assert result.raw == pytest.approx(1.0)
    assert result.verdict is Verdict.WARN
    assert result.evidence["cosine"] == pytest.approx(1.0)
    assert result.evidence["residual"] == pytest.approx(0.0, abs=1e-9)
    assert result.evidence["distance_after"] == pytest.approx(0.0, abs=1e-9)


def test_writing_like_the_document_passes_also_in_other_words():
    # The last half of the report is the document, its first half what the tuned model writes.
    report = pieces(REPORT, 40)
    document = "".join(report[len(report) // 2 :])
    result = measured(pieces(STORY, 40)[:7], report[:7], document)
    assert result.verdict is Verdict.PASS
    assert result.ci_95[0] > 0.0
    assert result.raw > 0.25
    assert result.evidence["burrows_delta_after"] < result.evidence["burrows_delta_before"]


def test_another_style_that_is_not_the_documents_fails_and_shows_as_residual():
    dialogue = windows(load_corpus("dialogue"), 60)[:8]
    result = measured(pieces(LETTER)[:8], dialogue)
    assert result.verdict is Verdict.FAIL
    assert result.raw < 0.25
    assert result.evidence["residual"] > 1.0


def test_the_opposite_direction_is_negative():
    result = measured(pieces(REPORT)[:4], pieces(STORY)[:4], TEXTS[REPORT], window_words=40)
    other = measured(pieces(STORY)[:4], pieces(REPORT)[:4], TEXTS[REPORT], window_words=40)
    assert result.verdict is Verdict.FAIL
    assert result.raw < other.raw


def test_other_text_of_the_same_style_covers_nothing_on_average_where_the_plain_projection_covers_a_fifth():
    # Base and tuned draw from the same texts; the plain projection has the base's chance deviations at both ends.
    rng = np.random.default_rng(0)
    pool = [piece for i in range(REPORT) for piece in pieces(i)]
    found = []
    for _ in range(20):
        drawn = [pool[i] for i in rng.permutation(len(pool))[:16]]
        result = measured(drawn[:8], drawn[8:])
        found.append((result.raw, result.evidence["plain_projection"], result.verdict is Verdict.PASS))
    share, plain, passed = np.mean(np.array(found, dtype=float), axis=0)
    assert abs(share) < 0.08
    assert plain > 0.15
    assert passed <= 0.05


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_texts_are_no_proof_of_a_step_and_two_already_leave_each_other_out(count):
    rng = np.random.default_rng(0)
    pool = [piece for i in range(REPORT) for piece in pieces(i)]
    shares = []
    for _ in range(20):
        drawn = [pool[i] for i in rng.permutation(len(pool))[: 2 * count]]
        result = measured(drawn[:count], drawn[count:])
        assert result.verdict is not Verdict.PASS
        assert result.score <= 0.59
        shares.append(result.raw)
    if count > 1:
        assert abs(np.mean(shares)) < 0.2
    moved = measured(pieces(STORY)[:count], pieces(REPORT)[:count])
    assert moved.verdict is Verdict.WARN
    assert moved.score <= 0.59
    assert "below 4 groups" in moved.message


def test_neighbours_are_joined_until_both_sides_are_long_enough():
    words = [(5, 5), (0, 9), (6, 1), (20, 20), (3, 30)]
    assert style_fingerprint._neighbours(words, 10) == [slice(0, 3), slice(3, 5)]
    assert style_fingerprint._neighbours(words[:1], 10) == [slice(0, 1)]


def test_the_length_of_the_texts_is_not_mistaken_for_style():
    # The same texts, the base's twice as long: the public numbers move, the windows do not.
    texts = pieces(STORY, 100)
    longer = [f"{a}{b}" for a, b in zip(texts[0:4:2], texts[1:4:2], strict=True)]
    result = measured(longer, texts[0:4:2])
    assert abs(result.raw) < 0.25
    assert abs(result.evidence["ft_fp"][2] - result.evidence["base_fp"][2]) > 0.03


def test_noise_that_does_as_well_fails():
    moved = pieces(STORY)[:8], pieces(REPORT)[:8]
    weak = measured(*moved, null=null_stats([0.0, 0.01, -0.01, 0.02] * 5))
    assert weak.verdict is Verdict.PASS
    assert weak.z_score > 3.0
    strong = measured(*moved, null=null_stats([0.3, 0.9, 1.2, 0.6] * 5))
    assert strong.verdict is Verdict.FAIL
    assert "random adapters do as well" in strong.message
    assert strong.score < 0.6


def test_a_shift_that_may_be_none_fails():
    # Half of the continuations move, half move away.
    base = pieces(STORY)[:4] + pieces(REPORT)[:4]
    tuned = pieces(REPORT)[4:8] + pieces(STORY)[4:8]
    result = measured(base, tuned, assert_shift_gte=-5.0)
    assert result.verdict is Verdict.FAIL
    assert "its interval reaches 0" in result.message


def test_empty_texts():
    degenerate = measured(["Some words."], ["  "])
    assert degenerate.verdict is Verdict.ERROR
    assert "degenerate" in degenerate.message
    assert (degenerate.evidence["ft_text_is_empty"], degenerate.evidence["ft_fp_is_zero"]) == (True, True)
    assert degenerate.evidence["ft_fp"] == [0.0] * 6
    numbers = measured(["Some words."], ["1 2 3"])
    assert numbers.verdict is Verdict.ERROR
    assert numbers.evidence["ft_text_is_empty"] is False
    assert measured([" "], ["Some words."]).verdict is Verdict.WARN


def test_some_empty_continuations_do_no_harm():
    base, tuned = pieces(STORY)[:6], pieces(REPORT)[:6]
    base[2] = tuned[4] = ""
    result = measured(base, tuned)
    assert result.verdict is Verdict.PASS
    assert result.evidence["num_prompts"] == 6


def test_what_is_missing_is_said():
    probe, spec = build_probe({"name": "style", "kind": KIND})
    assert probe.run(spec, RunContext(backend=DummyDifferentialBackend())).verdict is Verdict.ERROR
    result = measured(["a"], ["b"], "")
    assert result.verdict is Verdict.SKIP
    result = measured(["Words."], ["Words."], "# 12\n")
    assert result.verdict is Verdict.SKIP


def test_the_document_of_the_run_is_the_reference():
    made = DummyDifferentialBackend(
        base=DummyResponses(generations={"p": pieces(STORY)[0]}), ft=DummyResponses(generations={"p": TEXTS[REPORT]})
    )
    probe, spec = build_probe({"name": "style", "kind": KIND, "prompts": ["p"]})
    result = probe.run(spec, RunContext(backend=made, doc_text=TEXTS[REPORT]))
    assert result.raw > 0.9


def test_extended_on_without_the_packages_is_skipped_with_what_to_install(monkeypatch):
    monkeypatch.setattr(style_fingerprint, "extended_available", lambda: False)
    result = measured(["Words."], ["Words."], extended="on")
    assert result.verdict is Verdict.SKIP
    assert "[style]" in result.message
    auto = measured(pieces(STORY)[:1], pieces(REPORT)[:1])
    assert auto.evidence["extended"] is False
    assert len(auto.evidence["doc_fp"]) == 6


def test_a_run_has_one_dimensionality_whatever_its_texts_are(monkeypatch):
    monkeypatch.setattr(style_fingerprint, "extended_available", lambda: True)
    monkeypatch.setattr(public, "extended_dimensions", lambda text: (0.1, 0.2, 0.3))
    result = measured([" "], ["Some words."])
    assert {len(result.evidence[k]) for k in ("base_fp", "ft_fp", "doc_fp")} == {9}
    assert result.evidence["extended"] is True


def test_the_null_of_a_backend_whose_noise_leaves_texts_alone_is_degenerate(dummy_spec):
    prompts = [f"p{i}" for i in range(4)]
    answers = dict(zip(prompts, pieces(STORY)[:4], strict=True)), dict(zip(prompts, pieces(REPORT)[:4], strict=True))
    made = DummyDifferentialBackend(
        base=DummyResponses(generations=answers[0]), ft=DummyResponses(generations=answers[1])
    )
    entry = {"name": "style", "kind": KIND, "prompts": prompts, "doc_reference": TEXTS[REPORT]}
    result = run_suite(dummy_spec({"name": "null", "kind": "null_adapter", "runs": 3}, entry), made)
    assert result.null_stats[KIND]["mean"] == 0.0
    found = next(p for p in result.probes if p.kind == KIND)
    assert found.z_score is None
    assert found.raw > 0.25


def test_the_public_names():
    assert FINGERPRINT_SCHEMA_VERSION == 2
    assert fingerprint("Some words.").shape == (6,)
    spec = StyleFingerprintProbe.calibrate_spec(RunContext())
    assert (spec.doc_reference, spec.max_new_tokens, len(spec.prompts)) == (SENTINEL_DOC, 64, 4)


def test_the_evidence_is_json_and_draws_kinds_and_features():
    result = measured(pieces(STORY)[:8], pieces(REPORT)[:8])
    json.dumps(result.evidence, allow_nan=False)
    groups, items = result.evidence["panels"]
    assert [g["label"] for g in groups["groups"]] == ["all features", "rhythm", "function words", "trigrams"]
    assert items["rows"]
    assert result.evidence["public_style_shift"] != result.raw


def test_text_that_falls_apart_is_no_step_although_its_rhythm_comes_nearer():
    # Base: short answers. Tuned: the document's rhythm, but of words that no language has.
    base = ["No. It is. He did. So it was. Not yet. Yes. It was. She is. " * 3] * 8
    rng = np.random.default_rng(1)
    babble = [re.sub(r"[^\W\d_]+", lambda m: "".join(rng.permutation(list("qxzwvkj"))[: len(m[0])]), p) for p in
              pieces(REPORT)[:8]]  # fmt: skip
    result = measured(base, babble)
    assert result.evidence["shift_by_kind"]["rhythm"] > 0.25
    assert result.verdict is Verdict.FAIL
    assert measured(base, pieces(REPORT)[:8]).verdict is Verdict.PASS
