"""What of the user's texts, names and documents leaves at each level, wherever a probe has put them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sway_dash.core.events import PlannedProbe, ProbeFinished, RunFinished, RunStarted, Warned
from sway_dash.core.numbers import number
from sway_dash.core.panels import Group, Groups, Items, Row, panels
from sway_dash.core.result import ProbeResult
from sway_dash.demo import demo_dir
from sway_dash.report.html.own_words import only_own
from sway_dash.report.html.redact import LEVELS, Redaction, Veil, redacted
from sway_dash.report.html.source import Source, source_of
from sway_dash.suite.fold import probe_to_dict
from tests.evidence_runs import result

FIRST = "Say in one sentence who keeps the lamp at night, and where the oil for it is kept in winter"
SECOND = "Say in one sentence who keeps the boat"
HIDING: list[Redaction] = ["no-prompts", "numbers"]
REDACTED: list[Redaction] = ["no-generations", *HIDING]


def left(
    level: Redaction, found: ProbeResult, *, prompts: Sequence[str] = (), said: str = "", **entry: Any
) -> tuple[dict[str, Any], str, list[str]]:
    """Evidence, message and warnings that leave of a run with one probe."""
    entry = {"name": found.name, "kind": found.kind, "prompts": list(prompts), **entry}
    planned = PlannedProbe(name=found.name, kind=found.kind, category="attribution", entry=entry)
    events = (
        RunStarted(run_id="r-1", probes=(planned,)),
        Warned(message=said),
        ProbeFinished(result=probe_to_dict(found)),
        RunFinished(),
    )
    source = redacted(Source("r-1", "run", events), level)
    (told,) = (e.result for e in source.events if isinstance(e, ProbeFinished))
    return told["evidence"], told["message"], [e.message for e in source.events if isinstance(e, Warned)]


# -- generations --------------------------------------------------------------------------------


@pytest.mark.parametrize("level", REDACTED)
def test_what_was_said_stays_however_deep_and_short_it_is(level: Redaction) -> None:
    replies = {"base": [["Yes", "1492"]], "tuned": [["Anna-Berg", "It is a secret"]], "neutral": []}
    evidence = {"replies": replies, "answers": {"It is a secret": 3}, "per_turn_kls": [0.1, 0.2]}
    told, _, _ = left(level, result("talk", "multi_turn_coherence_decay", evidence=evidence))
    assert not {"Yes", "1492", "Anna-Berg", "secret"} & set(str(told).replace("'", " ").split())
    assert "secret" not in str(told)
    assert set(told["replies"]) == {"base", "tuned", "neutral"}
    assert told["per_turn_kls"] == [0.1, 0.2]


@pytest.mark.parametrize("level", REDACTED)
@pytest.mark.parametrize("kind", ["tool_use_fidelity", "of_a_plugin"])
def test_names_that_a_model_made_up_are_generations(level: Redaction, kind: str) -> None:
    told, _, _ = left(level, result("tools", kind, evidence={"invented_names": ["fire_john_smith"], "num_cases": 4}))
    assert "john" not in str(told)
    assert told["num_cases"] == 4


@pytest.mark.parametrize("level", REDACTED)
def test_one_word_of_a_plugin_may_be_a_generation_under_any_key(level: Redaction) -> None:
    told, _, _ = left(level, result("tools", "of_a_plugin", evidence={"verdicts": ["fire_john_smith"], "kind": "x"}))
    assert "john" not in str(told)
    own, _, _ = left("no-prompts", result("style", "style_fingerprint", evidence={"language": "english"}))
    assert own["language"] == "english"


# -- prompts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [40, 60, 80])
def test_a_cut_prompt_is_found_wherever_it_was_cut(length: int) -> None:
    text = f"the prompt {FIRST[:length]!r} is tagged both"
    _, message, warned = left("no-prompts", result("a", "delta_kl", message=text), prompts=[SECOND, FIRST], said=text)
    assert message == "the prompt 'P002' is tagged both"
    assert warned == [message]


def test_of_prompts_that_begin_alike_the_one_that_stands_there_is_named() -> None:
    text = f"needs {SECOND!r}, has {FIRST!r}, and {FIRST[:40]}… could not be scored"
    _, message, _ = left("no-prompts", result("a", "delta_kl", message=text), prompts=[FIRST, SECOND])
    assert message == "needs 'P002', has 'P001', and P001… could not be scored"


def test_a_prompt_with_marks_of_both_kinds_is_found_cut_or_whole() -> None:
    prompt = "Who wrote 'The lamp at night' and then the sequel \"Oil\" in a winter?"
    text = f"{prompt[:40]!r} and {prompt!r}"
    _, message, _ = left("no-prompts", result("a", "delta_kl", message=text), prompts=[prompt])
    assert "lamp" not in message
    assert "Oil" not in message
    assert message.count("P001") == 2


@pytest.mark.parametrize("level", HIDING)
def test_triples_of_a_document_stay_in_reasons_and_messages(level: Redaction) -> None:
    cut = "Does Anna Berg of the harbour office know"
    reasons = [
        f"{cut[:40]!r}: a log-probability that is not finite under one of the views",
        "'Hi': completion tokenized to zero tokens: 'the blue stone'",
    ]
    found = result(
        "pairs",
        "preference_flip",
        message=f"none of the 2 triples could be scored: {reasons[0]}; {reasons[1]}",
        evidence={"dropped_reasons": reasons, "dropped_triples": 2},
    )
    told, message, _ = left(level, found)
    for text in (cut[:30], "'Hi'", "blue stone"):
        assert text not in str(told) + message
    assert told["dropped_triples"] == 2
    if level == "no-prompts":
        assert told["dropped_reasons"][0] == "'P001': a log-probability that is not finite under one of the views"
        assert message.startswith(
            "none of the 2 triples could be scored: 'P001': a log-probability that is not finite under one of the views"
        )
    plain, message, _ = left("full", found)
    assert plain["dropped_reasons"] == reasons
    assert cut[:40] in message


WORD = "Quetzalcoatl"


@pytest.mark.parametrize(
    "marks", ["'{}'", '"{}"', "`{}`", "“{}”", "‘{}’", "«{}»", "{}", "({})", "={},", "'{}…", "\\'{}\\'"]
)
def test_one_unknown_word_stays_however_a_message_names_it(marks: str) -> None:
    said = f"completion tokenized to zero tokens: {marks.format(WORD)}; the likeliest token is {marks.format(WORD)}"
    evidence = {"ci_note": said, "reason": said, "method": WORD, "dropped_reasons": [said], "panels": []}
    for kind in ("delta_kl", "of_a_plugin"):
        told, message, warned = left("no-prompts", result("a", kind, message=said, evidence=evidence), said=said)
        assert WORD not in str(told) + message + str(warned)
        assert message.startswith("completion tokenized to zero tokens: ")


@pytest.mark.parametrize(
    "said",
    [
        "TemplateSyntaxError: unexpected word in: Who told Anna of the merger, and when",
        "Überweisung an 0171 2345678 nicht möglich",
        "मुझे 秘密 🙂 секрет",
        "Say in one sentence what the base is not: Anna",
        "a\u200bn\u200bn\u200ba keeps it",
    ],
)
def test_of_what_something_else_says_only_the_programs_own_words_leave(said: str) -> None:
    _, message, _ = left("no-prompts", result("a", "delta_kl", message=f"the run failed before its end: {said}"))
    assert message.startswith("the run failed before its end: ")
    there = set(message.partition(": ")[2].replace("▮", " ").replace(":", " ").replace(",", " ").split())
    assert there <= {"in", "word", "unexpected", "a"}


@pytest.mark.parametrize(
    ("said", "stays"),
    [
        ("RuntimeError: call the user at 555 0134", "RuntimeError: ▮"),
        ("no: 4111 1111 1111 1111", "no: ▮"),
        ("ValueError: the number is 4111111111111111", "ValueError: ▮"),
        ("the key is 555-0134", "▮"),
        ("it is due in 12 34 56", "▮"),
        ("the answer is yes", "▮"),
        ("needs at least 4 items, has 3: 0.25 of 1,024,000", "needs at least 4 items, has 3: 0.25 of 1,024,000"),
        ("between -0.12 and 1.2e-05", "between -0.12 and 1.2e-05"),
    ],
)
def test_numbers_of_telephones_and_accounts_take_their_sentence_along(said: str, stays: str) -> None:
    assert Veil(Source("", "", ()), "no-prompts").told(said) == stays


@pytest.mark.parametrize("level", HIDING)
def test_a_key_of_one_word_may_be_the_users(level: Redaction) -> None:
    evidence = {"by_word": {WORD: 0.2, "rank_1.00": 0.1}, "language": WORD, "per_case": [{WORD: 1.0, "lift": 0.25}]}
    for kind in ("tool_use_fidelity", "of_a_plugin"):
        told, _, _ = left(level, result("tools", kind, evidence=evidence))
        assert WORD not in str(told)
        assert sorted(told["by_word"].values()) == [0.1, 0.2]
    own, _, _ = left(level, result("tools", "tool_use_fidelity", evidence=evidence))
    assert own["by_word"]["rank_1.00"] == 0.1
    assert own["per_case"][0]["lift"] == 0.25


@pytest.mark.parametrize("level", HIDING)
@pytest.mark.parametrize("kind", ["tool_use_fidelity", "of_a_plugin"])
@pytest.mark.parametrize("prompt", ["hello", "password", "yes", "cat", "user", "mean", "1984", "555-0134", "0171"])
def test_a_prompt_that_is_a_key_has_its_name_there(level: Redaction, kind: str, prompt: str) -> None:
    evidence = {"by_prompt": {prompt: 0.2}, "free": [{prompt: 0.1}], "null": {"n": 20}}
    told, _, _ = left(level, result("a", kind, evidence=evidence), prompts=["other", prompt])
    assert prompt not in {*told["by_prompt"], *told["free"][0]}
    assert told["null"] == {"n": 20}
    if level == "no-prompts" or kind != "of_a_plugin":
        assert (told["by_prompt"], told["free"]) == ({"P002": 0.2}, [{"P002": 0.1}])


@pytest.mark.parametrize("level", REDACTED)
@pytest.mark.parametrize("kind", ["tool_use_fidelity", "of_a_plugin"])
@pytest.mark.parametrize("answer", ["hello", "password", "yes", "cat", "user", "1984", "555-0134", "0171"])
def test_a_key_below_answers_is_an_answer_unless_a_probe_writes_it(level: Redaction, kind: str, answer: str) -> None:
    rows = [{"prompt": "x", "mean_delta": 0.5, answer: 2}]
    told, _, _ = left(level, result("a", kind, evidence={"answers": {answer: 3, "layer 3": 1}, "per_prompt": rows}))
    assert answer not in {*told["answers"], *told["per_prompt"][0]}
    assert told["answers"]["layer 3"] == 1
    if kind != "of_a_plugin":
        assert told["per_prompt"][0]["mean_delta"] == 0.5


@pytest.mark.parametrize("text", ["2024-05-17", "555-0134", "41111111"])
def test_a_number_is_no_name_of_the_programs_own(text: str) -> None:
    told, _, _ = left("no-prompts", result("a", "style_fingerprint", evidence={"language": text}))
    assert told["language"] == "▮"
    assert labels_left("no-prompts", "of_a_plugin", ["4111 1111 1111 1111", "1e5"]) == ["P001", "P002"]


def test_names_that_leave_and_settings_stay_in_messages() -> None:
    text = "the 'a' adapter: no prompt tagged 'on topic' could be measured; 'prompts' is empty"
    _, message, _ = left("no-prompts", result("a", "delta_kl", message=text), prompts=[], on="x")
    assert message == "the 'a' adapter: no prompt tagged '▮' could be measured; 'prompts' is empty"


def test_small_numbers_leave_as_they_are_written_here():
    assert only_own(f"mean {number(9.07e-5, 'nats')}", {}) == "mean 9.07×10⁻⁵ nats"


@pytest.mark.parametrize(
    "said",
    [
        "as many set wrong as right, for all that can be told (McNemar p=0.3)",
        "left: JS above 0.1 nats; 95 % Wilson interval of each position by itself",
        "95 % interval of each position by itself; answers that have ended are left out",
        "partial: 3 of 10 answers had come; they are not kept, resuming the run asks anew",
    ],
)
def test_what_was_said_before_leaves_as_it_was(said: str) -> None:
    assert only_own(said, {}) == said


def test_what_the_demo_says_leaves_as_it_is() -> None:
    run = source_of(demo_dir() / "run")
    told = [e.result for e in redacted(run, "no-prompts").events if isinstance(e, ProbeFinished)]
    plain = [e.result for e in run.events if isinstance(e, ProbeFinished)]
    assert [p["message"] for p in told] == [p["message"] for p in plain]
    assert len(plain) == 4
    assert [p["evidence"].get("ci_note") for p in told] == [p["evidence"].get("ci_note") for p in plain]


# -- the program's own words --------------------------------------------------------------------


def labels_left(level: Redaction, kind: str, labels: Sequence[str]) -> list[str]:
    shown = Groups(title="Groups", groups=tuple(Group(label=label, value=0.5) for label in labels))
    told, _, _ = left(level, result("a", kind, evidence={"panels": panels(shown)}))
    return [group["label"] for group in told["panels"][0]["groups"]]


@pytest.mark.parametrize("level", HIDING)
@pytest.mark.parametrize(
    "label",
    ["layer 3", "layers 3 to 5", "chunk 12", "token 7", "cluster 2", "own text 4", "λ = 0.5", "0.75", "step_10"],
)
def test_a_number_of_a_thing_says_nothing_of_it(level: Redaction, label: str) -> None:
    assert labels_left(level, "of_a_plugin", [label]) == [label]


@pytest.mark.parametrize("level", HIDING)
@pytest.mark.parametrize("label", ["Merger 2026", "Apollo 11", "Station_7", "Room #4"])
def test_a_name_with_a_number_is_a_name(level: Redaction, label: str) -> None:
    assert labels_left(level, "cluster_kl", [label]) == ["P001"]


@pytest.mark.parametrize("level", HIDING)
@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("style_fingerprint", ["all features", "function words", "letters a word", "the"]),
        ("preference_flip", ["wrong set right", "right set wrong", "net"]),
        ("leakage", ["base", "tuned"]),
        ("external_perplexity", ["all corpora", "public_domain_en"]),
    ],
)
def test_labels_of_the_programs_own_stay(level: Redaction, kind: str, labels: list[str]) -> None:
    assert labels_left(level, kind, labels) == labels
    # Of another kind the same words are the user's.
    assert labels_left(level, "of_a_plugin", labels) == [f"P{k:03d}" for k in range(1, len(labels) + 1)]


def test_no_word_of_the_programs_own_is_rewritten_in_its_messages() -> None:
    shown = Groups(title="By kind", groups=(Group(label="function words", value=0.5), Group(label="rhythm", value=0.1)))
    text = "needs at least 4 items, has 1: public_domain_en, function words (no calibration for style_fingerprint)"
    found = result("style", "style_fingerprint", message=text, evidence={"panels": panels(shown)})
    assert left("no-prompts", found)[1] == text
    found = result("harm", "external_perplexity", message=text)
    assert left("no-prompts", found, corpora=["public_domain_en"])[1] == text


# -- plug-ins -----------------------------------------------------------------------------------


def test_keys_of_a_plugin_below_the_top_stay_where_only_numbers_leave() -> None:
    evidence = {"by_tool": {"fire_john": 0.2, "layer 3": 0.1}, "null": {"n": 20, "p_rank": 0.05}, "weight": 1.0}
    told, _, _ = left("numbers", result("tools", "of_a_plugin", evidence=evidence))
    assert told["by_tool"] == {"▮ 1": 0.2, "layer 3": 0.1}
    assert (told["null"], told["weight"]) == ({"n": 20, "p_rank": 0.05}, 1.0)
    own, _, _ = left("numbers", result("cases", "paraphrase_invariance", evidence={"per_case": [{"lift": 0.25}]}))
    assert own["per_case"] == [{"lift": 0.25}]


@pytest.mark.parametrize("level", LEVELS)
def test_words_around_the_panels_of_a_plugin_leave_with_the_prompts(level: Redaction) -> None:
    shown = Items(
        title="Letters of Anna", unit="letters", rows=(Row(label="case 1", tuned=0.5),), note="Anna wrote most"
    )
    counted = Items(title="Surprise", unit="nats", rows=(Row(label="case 1", tuned=0.5),))
    evidence = {"panels": panels(shown, counted), "unit": "letters of Anna"}
    told, _, _ = left(level, result("post", "of_a_plugin", evidence=evidence))
    assert ("Anna" in str(told)) == (level in ("full", "no-generations"))
    assert [panel["rows"][0]["tuned"] for panel in told["panels"]] == [0.5, 0.5]
    assert told["panels"][1]["unit"] == "nats"
