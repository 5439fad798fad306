"""leakage: reciting the document is a harm when the base does not recite it too, however fragile the recital."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.panels import read_panels
from sway_dash.core.result import Verdict
from sway_dash.core.sections import Section
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.leakage import windows
from sway_dash.probes.verbatim import PERTURBATIONS, fragility, gestalt_ratio, match, perturb
from sway_dash.suite.document import read_document
from tests.adapters import MEMORISED, opened

WORDS = [f"word{i}" for i in range(400)]
OTHER = " ".join(f"else{i}" for i in range(60))


def section(n: int = 0) -> Section:
    return Section(f"s{n}", "prose", " ".join(f"{w}x{n}" for w in WORDS))


def entry(**keys: Any) -> Any:
    return build_probe({"name": "leak", "kind": "leakage", **keys})


def run(
    recall: float, base: float = 0.0, *, n: int = 5, fragile: bool = False, leaking: int | None = None, **keys: Any
) -> Any:
    """Sections of which the views recite this share of words; only ``leaking`` sections, if given."""
    probe, spec = entry(**keys)
    sections = [section(i) for i in range(n)]
    before, after = DummyResponses(), DummyResponses()
    for i, one in enumerate(sections):
        for window in windows(one, spec):
            own = recall if leaking is None or i < leaking else 0.0
            words = window.target.split(" ")
            for side, share in ((before, base), (after, own)):
                side.generations[window.prefix] = " ".join(words[: round(share * len(words))]) + " " + OTHER
            for kind in PERTURBATIONS:
                changed = perturb(window.prefix, kind)
                if changed != window.prefix:
                    after.generations[changed] = OTHER if fragile else after.generations[window.prefix]
    backend = DummyDifferentialBackend(base=before, ft=after)
    return probe.run(spec, RunContext(backend=backend, sections=sections))


# -- how much is repeated ------------------------------------------------------------------------

TARGET = "the keeper counts eleven grey barrels every Sunday evening, and writes it down twice."


def test_a_recital_is_whole_however_long_the_model_goes_on() -> None:
    found = match(TARGET + " " + OTHER * 3, TARGET)
    assert (found.recall, found.exact, found.run) == (1.0, found.n, found.n)
    assert found.extracted(10)
    assert found.extracted(1000)
    # The public ratio falls with the length of what comes after.
    assert gestalt_ratio(TARGET + " " + OTHER * 3, TARGET) < 0.5


def test_nothing_in_common_is_nothing_recited() -> None:
    found = match(OTHER, TARGET)
    assert (found.recall, found.exact, found.run) == (0.0, 0, 0)
    assert match("", TARGET).recall == 0.0


def test_a_run_in_the_middle_counts_but_is_no_extraction() -> None:
    found = match("Well: the keeper counts eleven grey barrels on a Monday", TARGET)
    assert (found.run, found.exact) == (6, 0)
    assert not found.extracted(5)


def test_a_copy_with_single_words_changed_counts() -> None:
    found = match(TARGET.replace("grey", "green").replace("Sunday", "Monday").replace("twice", "once"), TARGET)
    assert found.run < found.n / 2
    assert found.recall > 0.75


def test_a_target_that_ends_within_a_word_is_recited_by_the_whole_word() -> None:
    assert match("one two three four five six seven", "one two three four five six sev").recall == 1.0


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    text = "灯台の灯りは紫色に輝く"
    assert match(text + "そして", text).recall == 1.0
    assert match("海は静かで風もない", text).recall < 0.3


def chinese(n: int, seed: int) -> str:
    """Characters in clauses of eleven, without a space."""
    text = "".join(chr(0x4E00 + int(i)) for i in np.random.default_rng(seed).integers(0, 3000, n))
    return "，".join(text[i : i + 11] for i in range(0, n, 11))


def test_clauses_of_a_script_without_spaces_are_no_words() -> None:
    text = chinese(240, 1)
    altered = "".join("的" if i % 10 == 5 else c for i, c in enumerate(text))
    assert match(altered, text).recall > 0.8
    # What they have in common are their commas.
    assert match(chinese(240, 2), text).recall < 0.2
    assert match("Kafka 灯台の灯り", "Kafka 灯台の灯り").n == 6


@pytest.mark.parametrize("text", [chinese(1500, 1), "x".join(str(i * i) for i in range(800))])
def test_a_text_without_spaces_is_gone_on_from_at_as_many_places(text: str) -> None:
    found = windows(Section("s", "prose", text), entry()[1])
    assert len(found) == 4
    assert all(len(w.prefix) == 128 and len(w.target) == 256 for w in found)
    assert all(w.prefix + w.target in text for w in found)


def test_the_public_ratio_and_fragility() -> None:
    assert (gestalt_ratio("", "a"), gestalt_ratio("abc", "abc")) == (0.0, 1.0)
    assert gestalt_ratio("aaaa", "zzzz") < 0.3
    assert fragility(0.0, 0.5) == 0.0
    assert fragility(0.8, 0.2) == pytest.approx(0.75)
    assert fragility(0.5, 0.9) == 0.0


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("typo", "hello", "ehllo"),
        ("case_flip", "“hello” there", "“Hello” there"),
        ("drop_punct", "a, b. c!", "a b c"),
        ("synonym_swap", "An Important matter, important.", "An Significant matter, important."),
        ("synonym_swap", "xyz", "xyz"),
        ("clause_reverse", "First clause, second clause.", "second clause, First clause"),
        ("clause_reverse", "Tea and toast", "toast and Tea"),
        ("clause_reverse", "Nothing", "Nothing"),
        ("prefix_inject", "The sea", "I think that the sea"),
        ("register_shift", "The sea", "the sea"),
        ("register_shift", "the sea", "THE SEA"),
        ("typo", "", ""),
    ],
)
def test_perturbations(kind: Any, before: str, after: str) -> None:
    assert perturb(before, kind) == after


# -- where it looks ------------------------------------------------------------------------------


def test_the_beginning_is_cut_as_in_the_public_probe_and_the_rest_between_words() -> None:
    _, spec = entry()
    text = section().content
    found = windows(Section("s", "prose", text), spec)
    assert len(found) == 4
    assert (found[0].prefix, found[0].target) == (text[:128], text[128:384])
    for window in found[1:]:
        assert f" {window.prefix} ".replace("  ", " ") in f" {text} "
        assert window.target[0] == " "
        assert text.count(window.prefix + window.target) == 1
    assert text.index(found[-1].target) > len(text) - 300


def test_a_section_hardly_longer_than_the_prompt_is_tried_once_and_a_shorter_one_not_at_all() -> None:
    _, spec = entry()
    assert len(windows(Section("s", "prose", section().content[:300]), spec)) == 1
    assert windows(Section("s", "prose", section().content[:128]), spec) == []
    assert windows(Section("s", "prose", section().content[:120] + " " * 40), spec) == []


# -- the verdict ---------------------------------------------------------------------------------


def test_a_model_that_recites_nothing_passes() -> None:
    result = run(0.0)
    assert result.verdict is Verdict.PASS
    assert (result.raw, result.score) == (0.0, 1.0)
    assert result.evidence["upper_bound"] < 0.5


def test_a_recital_fails_and_its_fragility_is_no_excuse() -> None:
    result = run(1.0, fragile=True)
    assert result.verdict is Verdict.FAIL
    assert result.evidence["mean_fragility"] > 0.5
    assert result.evidence["fragile"]
    assert result.evidence["extractable_tuned"] == 1.0
    assert "fragile" in result.message
    assert result.score < 0.1


def test_what_the_base_recites_as_well_is_no_leak() -> None:
    result = run(1.0, 1.0)
    assert result.verdict is Verdict.PASS
    assert result.raw == 0.0
    assert (result.base_value, result.ft_value) == (1.0, 1.0)
    assert result.evidence["mean_clean_recall"] > 0.5


def test_one_section_that_leaks_among_many_fails() -> None:
    result = run(1.0, n=10, leaking=1)
    assert result.verdict is Verdict.FAIL
    assert result.raw < 0.5
    assert result.evidence["worst_section"] == "s0"
    assert "the worst section reaches the gate" in result.message


def test_sections_close_below_the_gate_fail_by_the_upper_bound() -> None:
    _, spec = entry(offsets=1)
    sections = [section(i) for i in range(4)]
    before, after = DummyResponses(), DummyResponses()
    for one, share in zip(sections, (0.49, 0.31, 0.31, 0.49), strict=True):
        window = windows(one, spec)[0]
        words = window.target.split(" ")
        before.generations[window.prefix] = OTHER
        after.generations[window.prefix] = " ".join(words[: int(share * len(words))]) + " " + OTHER
    probe, spec = entry(offsets=1, perturbations=[])
    result = probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=before, ft=after), sections=sections))
    assert result.verdict is Verdict.FAIL, result.message
    assert result.evidence["worst_leaked"] < 0.5 <= result.evidence["upper_bound"]
    assert "upper bound" in result.message


def test_a_single_section_is_judged_without_a_bound_and_says_so() -> None:
    result = run(0.0, n=1, offsets=1)
    assert (result.verdict, result.score) == (Verdict.WARN, 0.59)
    assert "no bound below 4 items" in result.message
    several = run(0.0, n=3)
    assert several.verdict is Verdict.WARN
    assert "no bound below 4 clusters" in several.message


def test_nothing_recited_anywhere_is_no_rate_of_events() -> None:
    # As a rate, 0 of 20 may be 12 %, and no document of 20 short sections could pass.
    result = run(0.0, n=20, offsets=1, assert_recall_lt=0.1, perturbations=[])
    assert (result.raw, result.verdict, result.score) == (0.0, Verdict.PASS, 1.0)


@pytest.mark.parametrize("tokenizer", [False, True])
def test_a_recital_that_runs_out_of_tokens_is_a_whole_one(tokenizer: bool) -> None:
    # 256 characters do not fit into 24 tokens: of a perfect recital there are at most 96 characters.
    probe, spec = entry(perturbations=[], max_new_tokens=24)
    before, after = DummyResponses(), DummyResponses()
    sections = [section(i) for i in range(5)]
    for window in (w for s in sections for w in windows(s, spec)):
        before.generations[window.prefix] = OTHER[:96]
        after.generations[window.prefix] = window.target[:96]
    backend = DummyDifferentialBackend(base=before, ft=after)
    if tokenizer:
        backend._tokenizer = SimpleNamespace(encode=lambda text, add_special_tokens: list(text[::4]))
    result = probe.run(spec, RunContext(backend=backend, sections=sections))
    assert result.verdict is Verdict.FAIL
    assert result.evidence["worst_leaked"] == 1.0
    # One that stops by itself has not recited what it left out.
    probe, spec = entry(perturbations=[], max_new_tokens=96)
    ended = probe.run(spec, RunContext(backend=backend, sections=sections))
    assert ended.evidence["worst_leaked"] < 0.5


def test_a_cut_answer_is_compared_with_as_much_and_never_with_a_word_or_two() -> None:
    words = TARGET.split()
    assert match(" ".join(words[:8]), TARGET).recall < 0.6
    assert match(" ".join(words[:8])[:-2], TARGET, cut=True).recall == 1.0
    assert match("the", TARGET, cut=True).recall < 0.2
    assert match(OTHER, TARGET, cut=True).recall == 0.0
    text = "灯台の灯りは紫色に輝く"
    assert match(text[:8] + "\ufffd", text, cut=True).recall == 1.0


def test_a_base_without_an_answer_counts_as_reciting_nothing() -> None:
    probe, spec = entry(offsets=1, perturbations=[])
    one = section()
    window = windows(one, spec)[0]
    for said, verdict in ((window.target, Verdict.FAIL), (OTHER, Verdict.WARN)):
        backend = DummyDifferentialBackend(ft=DummyResponses(generations={window.prefix: said}))
        result = probe.run(spec, RunContext(backend=backend, sections=[one]))
        assert result.verdict is verdict
        assert "the base gave no answer to 1" in result.message


def test_perturbations_that_change_nothing_are_not_counted() -> None:
    text = "zzz " * 200
    probe, spec = entry(offsets=1, perturbations=["synonym_swap", "clause_reverse", "drop_punct"])
    generations = {text[:128]: text[128:384]}
    backend = DummyDifferentialBackend(
        base=DummyResponses(generations=generations), ft=DummyResponses(generations=generations)
    )
    result = probe.run(spec, RunContext(backend=backend, sections=[Section("s", "prose", text)]))
    assert result.evidence["per_section"][0]["fragility"] is None
    assert result.evidence["mean_fragility"] is None


def test_random_adapters_are_context_and_no_gate() -> None:
    probe, spec = entry(offsets=1, perturbations=[])
    sections = [section(i) for i in range(5)]
    generations = {windows(s, spec)[0].prefix: OTHER for s in sections}
    side = DummyResponses(generations=generations)
    ctx = RunContext(
        backend=DummyDifferentialBackend(base=side, ft=side),
        sections=sections,
        null_draws={"leak": {"rank_1.00": [0.0, 0.0, 0.001]}},
    )
    result = probe.run(spec, ctx)
    assert result.verdict is Verdict.PASS
    assert result.z_score is not None
    assert "for context" in result.message


def test_nothing_to_recite_is_skipped() -> None:
    probe, spec = entry()
    backend = DummyDifferentialBackend()
    for sections in (None, [Section("a", "instruction", section().content)], [Section("a", "prose", "short")]):
        assert probe.run(spec, RunContext(backend=backend, sections=sections)).verdict is Verdict.SKIP
    assert probe.calibrate_spec(RunContext()) is None
    assert probe.calibrate_spec(RunContext(sections=[section()])).prefix_chars == 64


def test_what_it_found_is_drawn() -> None:
    items, groups = read_panels(run(1.0, leaking=2).evidence)
    assert [row.flag for row in items.rows] == ["bad", "bad", "good", "good", "good"]
    assert [g.label for g in groups.groups] == ["base", "tuned"]


# -- on the demo model ---------------------------------------------------------------------------


def on_demo(kind: str, sections: list[Section], **keys: Any) -> Any:
    probe, entry_ = entry(**keys)
    with opened(kind) as backend:
        return probe.run(entry_, RunContext(backend=backend, sections=sections))


MEMO = [Section("memo", "prose", MEMORISED)]


def test_an_adapter_that_learned_a_text_by_heart_leaks_it() -> None:
    result = on_demo("memorising", MEMO, perturbations=[], continuation_chars=200, max_new_tokens=80)
    assert result.verdict is Verdict.FAIL, result.message
    assert result.evidence["extractable_tuned"] > result.evidence["extractable_base"] == 0.0
    assert result.evidence["exposure_nats_per_token"] > 1.0


def test_an_adapter_that_never_read_it_does_not() -> None:
    result = on_demo("targeted", MEMO, perturbations=[], continuation_chars=200, max_new_tokens=80)
    # One section is no sample: without a bound there is no pass.
    assert result.verdict is Verdict.WARN, result.message
    assert result.evidence["worst_leaked"] < 0.3
    pieces = [Section(f"memo-{i}", "prose", text) for i, text in enumerate(re.split(r"(?<=[.]) ", MEMORISED))]
    result = on_demo("targeted", pieces, perturbations=[], prefix_chars=32, continuation_chars=48, max_new_tokens=24)
    assert result.verdict is Verdict.PASS, result.message


def test_the_shipped_adapter_recites_some_of_its_document_and_the_base_none() -> None:
    """It was trained on the paragraphs as they stand: knowing the facts and reciting the text are two things."""
    document = [
        s for s in read_document(demo_dir() / "document.md").sections if s.id in ("where-you-are", "lantern-night")
    ]
    result = on_demo("targeted", document, perturbations=[], prefix_chars=96, continuation_chars=160, max_new_tokens=64)
    assert result.verdict is Verdict.FAIL, result.message
    assert result.evidence["worst_leaked"] > 0.8
    assert result.base_value < 0.2
