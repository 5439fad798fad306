"""Entries that cannot measure anything are told before a model is loaded, and are no error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sway_dash.core.events import Event, Phase, Warned
from sway_dash.core.result import Verdict
from sway_dash.dash.costs import price
from sway_dash.dash.pages.plan_card import plan_html
from sway_dash.suite.idle import warnings
from sway_dash.suite.loader import check_entries, from_dict
from sway_dash.suite.runner import run, run_opening
from sway_dash.suite.spec import SwaySpec
from tests.fakes import FakeBackend

DOCUMENT = """
- {id: a, kind: prose, content: The lighthouse stands on the northern cape and is painted white.}
- {id: b, kind: preference, content: P, preferences: [{prompt: Tea?, chosen: "Yes.", rejected: "No."}]}
"""


def suite(*entries: dict[str, Any], document: Path | None = None) -> SwaySpec:
    side = {"kind": "custom", "base": "plain", "entry_point": "tests.fakes:FakeBackend"}
    data: dict[str, Any] = {"models": {"base": side, "ft": side}, "suite": list(entries)}
    if document is not None:
        data["dlm_source"] = str(document)
    return from_dict(data)


def entry(kind: str, **keys: Any) -> dict[str, Any]:
    return {"name": "idle", "kind": kind, **keys}


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (entry("preference_flip"), "no triples"),
        (entry("tool_use_fidelity"), "no cases"),
        (entry("paraphrase_invariance"), "no cases"),
        (entry("adapter_revert"), "no cases"),
        (entry("training_drift"), "no store_path"),
        (entry("section_internalization"), "no document"),
        (entry("leakage"), "no document"),
        (entry("style_fingerprint", prompts=["x"]), "no document"),
    ],
)
def test_an_entry_with_nothing_to_measure_is_named_with_what_it_lacks(given: dict[str, Any], missing: str) -> None:
    spec = suite(given, entry("delta_kl", prompts=["x"]) | {"name": "fine"})
    (said,) = warnings(spec)
    assert said.startswith(f"idle ({given['kind']}) will measure nothing: ")
    assert missing in said
    assert warnings(spec, check_entries(spec)) == [said]
    assert warnings(suite({**given, "enabled": False})) == []


def test_what_is_given_or_comes_with_the_document_is_not_missing(tmp_path: Path) -> None:
    document = tmp_path / "document.yaml"
    document.write_text(DOCUMENT, encoding="utf-8")
    kinds = ("preference_flip", "section_internalization", "leakage")
    entries = [entry(kind) | {"name": kind} for kind in kinds]
    entries.append(entry("style_fingerprint", prompts=["x"]))
    assert warnings(suite(*entries, document=document)) == []
    case = {"prompt": "p", "gold": "g", "paraphrases": ["q"]}
    own = [
        entry("preference_flip", triples=[{"prompt": "p", "chosen": "a", "rejected": "b"}]) | {"name": "flip"},
        entry("paraphrase_invariance", cases=[case]),
    ]
    assert warnings(suite(*own)) == []


def test_a_document_given_as_text_is_one_to_compare_with() -> None:
    spec = suite(entry("style_fingerprint", prompts=["x"]))
    seen: list[Event] = []
    run(spec, FakeBackend(base_spec=spec.models.ft), doc_text="The lighthouse is white.", on_event=seen.append)
    assert not [e for e in seen if isinstance(e, Warned) and "document" in e.message]


def test_the_plan_in_the_form_says_it() -> None:
    spec = suite(entry("training_drift"), entry("delta_kl", prompts=["x"]) | {"name": "fine"})
    cost = price(spec, check_entries(spec), None, None)
    assert "idle (training_drift) will measure nothing: it has no store_path; " in plan_html(cost, 1)


def test_a_document_that_cannot_be_read_is_another_problem(tmp_path: Path) -> None:
    gone = tmp_path / "gone.md"
    said = warnings(suite(entry("leakage"), entry("training_drift") | {"name": "drift"}, document=gone))
    assert [line.split()[0] for line in said] == ["drift"]


def test_a_run_says_it_before_it_loads_and_goes_on() -> None:
    seen: list[Event] = []
    spec = suite(entry("preference_flip"), entry("delta_kl", prompts=["x"]) | {"name": "fine"})
    result = run_opening(spec, lambda: FakeBackend(base_spec=spec.models.ft), on_event=seen.append)
    said = next(e for e in seen if isinstance(e, Warned))
    assert (said.probe, "no triples" in said.message) == ("idle", True)
    assert seen.index(said) < next(i for i, e in enumerate(seen) if isinstance(e, Phase) and e.phase == "loading")
    assert result.probes[0].verdict is Verdict.SKIP
    assert result.probes[1].raw is not None
