"""JSON, Markdown and JUnit of a result: what leaves with them, and what a gate has decided."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sway_dash.cli.app import app
from sway_dash.report.html import paths
from sway_dash.suite.gate import FailOn, Gate, judge
from sway_dash.suite.report import load_result

FORMS = ["json", "md", "junit"]
HOME = "/srv/quetzal/secret"
PROMPT = "Who keeps the lamp of Quetzal at night"


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A result file as ``gate --json`` writes it, of a user who is named in it."""
    monkeypatch.setattr(getpass, "getuser", lambda: "quetzal")
    monkeypatch.setattr(paths, "_homes", list)
    evidence = {"per_prompt": [{"prompt": PROMPT, "kl": 0.25}], "store": f"{HOME}/store.jsonl"}
    probe = {
        "name": "moved",
        "kind": "delta_kl",
        "verdict": "fail",
        "score": 0.0,
        "raw": 0.123456789012345,
        "message": f"completion tokenized to zero tokens: {PROMPT!r} in {HOME}/suite.yaml",
        "evidence": evidence,
    }
    document = {
        "schema_version": 1,
        "spec_path": f"{HOME}/sway.yaml",
        "base_model_id": f"{HOME}/model",
        "adapter_id": f"{HOME}/run-7/adapter",
        "run_id": "r-1",
        "status": "finished",
        "warnings": [f"no trace is written: {HOME}/trace.jsonl of quetzal"],
        "environment": {"device": "cpu", "adapter": f"{HOME}/run-7/adapter"},
        "probes": [probe],
        "score": {"overall": 0.0, "band": "noise", "findings": [f"moved: read from {HOME}"]},
        "gate": {
            "passed": False,
            "reasons": [f"moved (delta_kl) failed: {HOME}/suite.yaml"],
            "threshold": 0.6,
            "fail_on": "warn",
            "allow_errors": False,
        },
    }
    path = tmp_path / "out.json"
    path.write_text(json.dumps(document))
    return path


def cli(*words: object) -> str:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("form", FORMS)
def test_paths_and_users_leave_with_no_format_unless_asked(result: Path, form: str) -> None:
    told = cli("report", result, "--format", form)
    assert "srv" not in told
    assert "quetzal" not in told.replace(PROMPT, "")
    asked = cli("report", result, "--format", form, "--paths")
    assert HOME in asked
    if form == "json":
        assert json.loads(asked)["adapter_id"] == f"{HOME}/run-7/adapter"
        assert json.loads(told)["adapter_id"] == "adapter"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("level", ["no-prompts", "numbers"])
def test_hidden_prompts_leave_with_no_format(result: Path, form: str, level: str) -> None:
    told = cli("report", result, "--format", form, "--redact", level)
    assert "Quetzal" not in told
    assert "srv" not in told
    assert ("moved" in told) == (level == "no-prompts")
    if form == "json":
        (probe,) = json.loads(told)["probes"]
        assert probe["raw"] == 0.123456789012345
        assert probe["evidence"]["per_prompt"][0]["kl"] == 0.25


def test_what_a_gate_has_decided_stays_in_every_format(result: Path) -> None:
    gate = json.loads(cli("report", result, "--format", "json", "--paths"))["gate"]
    assert gate == json.loads(result.read_text())["gate"]
    assert "**Gate:** FAILED" in cli("report", result, "--format", "md")
    assert 'name="gate"' in cli("report", result, "--format", "junit")
    assert "gate: FAILED: moved (delta_kl) failed" in cli("report", result)


def test_a_decision_is_read_back_as_it_was_written(result: Path) -> None:
    suite, score = load_result(result)
    for gate in (judge(suite, score, threshold=0.5, fail_on=FailOn.ERROR, allow_errors=True), Gate()):
        assert Gate.from_dict(gate.to_dict()) == gate
    for wrong in (None, [], {"passed": "yes"}, {"reasons": ["x"]}):
        assert Gate.from_dict(wrong) is None
    shut = Gate.from_dict({"passed": False, "fail_on": "often"})
    assert shut is not None
    assert not shut.passed


def test_files_beside_a_run_hold_no_paths_but_the_result_itself(result: Path, tmp_path: Path) -> None:
    from sway_dash.cli.outputs import Outputs

    suite, score = load_result(result)
    made = Outputs(json=tmp_path / "a.json", markdown=tmp_path / "a.md", junit=tmp_path / "a.xml")
    assert made.write(suite, score)
    assert HOME in (tmp_path / "a.json").read_text()
    for path in (tmp_path / "a.md", tmp_path / "a.xml"):
        assert "srv" not in path.read_text()
