"""``gate``, and ``--fail-on`` of ``run`` and ``check``: what fails them, what is said and written, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from sway_dash import backends
from sway_dash.cli.parts.options import FailOn as Shown
from sway_dash.suite.gate import FailOn
from sway_dash.suite.report import load_result
from sway_dash.suite.store import EVENTS, RESULT, SPEC, RunFolder, list_runs
from tests.fakes_cli import Exact
from tests.fakes_sweep import adapter as made


def only_run() -> RunFolder:
    (folder,) = list_runs()
    return folder


def refused(result) -> str:
    """Exit code 2, one sentence on standard error, nothing on standard output."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def last(result) -> str:
    return result.stdout.splitlines()[-1]


def too_weak(suite):
    """The probe ``moved`` asks for more than it gets."""
    suite.write_text(suite.read_text().replace("kind: delta_kl,", "kind: delta_kl, assert_mean_gte: 0.6,"))


@pytest.fixture
def done(cli, suite) -> RunFolder:
    """A finished run whose suite asks for 0.5."""
    suite.write_text(suite.read_text() + "defaults: {coverage_threshold: 0.5}\n")
    assert cli("run", suite).exit_code == 0
    return only_run()


# -- a suite ----------------------------------------------------------------------------------------


def test_a_suite_is_measured_into_a_run_folder_and_judged(cli, suite):
    result = cli("gate", suite, "--name", "before merging", "--device", "cpu", "--details", "0")
    assert result.exit_code == 0
    assert "sway report" in result.stdout
    assert last(result) == "gate: passed"
    folder = only_run()
    assert folder.meta()["name"] == "before merging"
    assert not folder.details().path.exists()
    assert load_result(folder.path / RESULT)[0].status == "finished"


def test_a_failed_probe_fails_it_and_the_last_line_says_which_and_why(cli, suite):
    too_weak(suite)
    result = cli("gate", suite)
    assert result.exit_code == 1
    assert last(result).startswith("gate: FAILED: moved (delta_kl) failed: mean JS ")
    assert "below the gate of 0.6" in last(result)


def test_every_reason_is_on_that_line(cli, suite):
    too_weak(suite)
    result = cli("gate", suite, "--threshold", "1")
    assert "moved (delta_kl) failed" in last(result)
    assert "; overall 0." in last(result)
    assert last(result).endswith("is below the threshold 1.00")


@pytest.mark.parametrize(("level", "code"), [("never", 0), ("error", 0), ("fail", 1), ("warn", 1)])
def test_the_level_decides_what_a_failed_probe_does(cli, suite, level, code):
    too_weak(suite)
    for command in ("gate", "run"):
        result = cli(command, suite, "--fail-on", level, *(("--threshold", "0") if command == "gate" else ()))
        assert result.exit_code == code
        # Without a gate ``run`` says nothing of one.
        assert ("gate: " in result.stdout) is (command == "gate" or level != "never")


def test_a_model_that_is_not_fit_fails_a_gate_that_asks_for_nothing(cli, suite):
    text = suite.read_text().replace("tests.fakes_cli:Slow", "tests.fakes_cli:Unfit")
    suite.write_text(text + "defaults: {coverage_threshold: 0.0}\n")
    for flags in ((), ("--allow-errors",), ("--fail-on", "error")):
        result = cli("gate", suite, *flags)
        assert result.exit_code == 1
        assert "nothing was scored" in last(result)
    assert "3 non-finite log-probabilities of 8" in last(result)


def test_a_probe_that_cannot_be_measured_fails_it_unless_that_is_allowed(cli, suite):
    unmeasurable = "  - {name: odd, kind: delta_kl, prompts: [cannot be measured]}\n"
    suite.write_text(suite.read_text() + unmeasurable)
    result = cli("gate", suite)
    assert result.exit_code == 1
    assert "odd (delta_kl) could not be measured: " in last(result)
    assert cli("gate", suite, "--allow-errors").exit_code == 0


def test_a_model_that_cannot_be_had_is_something_to_mend_and_no_verdict(cli, suite, tmp_path):
    suite.write_text(suite.read_text().replace("tests.fakes_cli:Slow", "tests.fakes_sweep:ByAdapter"))
    made(suite.parent / "adapter", broken=True)
    result = cli("gate", suite, "--junit", tmp_path / "j.xml")
    assert result.exit_code == 2
    assert "made for another base" in result.stderr
    root = ET.parse(tmp_path / "j.xml").getroot()
    assert root.find("testcase[@name='gate']/failure").get("message").startswith("the run failed before its end")


def test_a_gate_that_is_refused_leaves_no_old_junit_file_behind(cli, suite, tmp_path):
    """A build server shows the file that is there: the green one of yesterday, if nothing else."""
    junit = tmp_path / "j.xml"
    junit.write_text('<testsuite name="sway" tests="1" errors="0"/>')
    gone = tmp_path / "gone.yaml"
    assert cli("gate", gone, "--junit", junit).exit_code == 2
    root = ET.parse(junit).getroot()
    assert root.get("errors") == "1"
    message = root.find("testcase[@name='gate']/error").get("message")
    assert "not found" in message
    assert str(tmp_path) not in message
    text = suite.read_text()
    assert cli("gate", suite, "--junit", suite).exit_code == 2
    assert suite.read_text() == text


def test_a_server_that_is_down_leaves_a_sentence_and_no_run(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("sway_dash.backends.api_client.FIRST_WAIT_S", 0.001)
    side = '{kind: api, base: m, endpoint: "http://127.0.0.1:9/v1"}'
    models = f"models:\n  base: {side}\n  ft: {side.replace('base: m', 'base: n')}\n"
    served = tmp_path / "served.yaml"
    served.write_text(f"version: 1\n{models}suite:\n  - {{name: moved, kind: delta_kl, prompts: [one]}}\n")
    result = cli("gate", served, "--junit", tmp_path / "j.xml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("is the server running") == 1
    assert ET.parse(tmp_path / "j.xml").getroot().get("errors") == "1"
    assert list(list_runs()) == []


def test_the_threshold_is_that_of_the_suite_that_was_run_whatever_becomes_of_the_file(cli, suite, monkeypatch):
    suite.write_text(suite.read_text() + "defaults: {coverage_threshold: 1.0}\n")
    append = RunFolder.append

    def edited_meanwhile(self, event):
        suite.write_text(suite.read_text().replace("coverage_threshold: 1.0", "coverage_threshold: 0.0"))
        append(self, event)

    monkeypatch.setattr(RunFolder, "append", edited_meanwhile)
    result = cli("gate", suite)
    assert "coverage_threshold: 0.0" in suite.read_text()
    assert result.exit_code == 1
    assert "is below the threshold 1.00" in last(result)


def test_a_stopped_gate_is_not_passed(cli, suite, monkeypatch):
    append = RunFolder.append

    def stopping(self, event):
        append(self, event)
        if getattr(event, "role", "") == "probe":
            self.request_stop()

    monkeypatch.setattr(RunFolder, "append", stopping)
    result = cli("gate", suite)
    assert result.exit_code == 130
    assert "gate: FAILED: the run was stopped before its end" in result.stdout


# -- what was saved ---------------------------------------------------------------------------------


def test_a_run_is_judged_by_its_folder_its_id_and_its_result_without_a_model(cli, done, monkeypatch):
    monkeypatch.setattr(backends, "build", lambda *_, **__: pytest.fail("a model was loaded"))
    before = (done.path / RESULT).read_bytes()
    for source in (done.path, done.id, done.path / RESULT):
        result = cli("gate", source)
        assert (result.exit_code, last(result)) == (0, "gate: passed")
        # The suite beside it asks for 0.5: there is nothing to remark.
        assert "threshold" not in result.stderr
        assert cli("gate", source, "--threshold", "1").exit_code == 1
    assert [folder.id for folder in list_runs()] == [done.id]
    assert (done.path / RESULT).read_bytes() == before


def test_the_suite_beside_a_result_sets_its_threshold(cli, done):
    spec = done.path / SPEC
    spec.write_text(spec.read_text().replace("coverage_threshold: 0.5", "coverage_threshold: 1.0"))
    for source in (done.path, done.path / RESULT):
        assert "is below the threshold 1.00" in last(cli("gate", source))


def test_a_result_without_its_suite_is_held_against_the_default_and_that_is_said(cli, done, tmp_path):
    away = tmp_path / "away.json"
    away.write_bytes((done.path / RESULT).read_bytes())
    result = cli("gate", away)
    assert result.exit_code == 0
    assert "threshold: 0.6, the default of suites, for the suite of" in result.stderr


def test_a_result_that_was_judged_before_keeps_its_threshold(cli, done, tmp_path):
    cli("gate", done.path, "--threshold", "1", "--json", tmp_path / "g.json")
    result = cli("gate", tmp_path / "g.json")
    assert result.exit_code == 1
    assert "is below the threshold 1.00" in last(result)


def test_other_weights_are_used_for_the_decision_and_leave_the_saved_result_alone(cli, done, tmp_path):
    before = (done.path / RESULT).read_bytes()
    only = "adherence=0,attribution=0,calibration=1,ablation=0"
    result = cli("gate", done.path, "--weights", only, "--json", tmp_path / "g.json")
    assert result.exit_code == 1
    assert "nothing was scored" in last(result)
    assert load_result(tmp_path / "g.json")[1].weights["calibration"] == 1.0
    assert (done.path / RESULT).read_bytes() == before


def test_a_result_of_another_program_without_a_score_gets_one(cli, tmp_path):
    path = tmp_path / "r.json"
    probe = {"name": "p", "kind": "delta_kl", "verdict": "pass", "score": 0.7}
    path.write_text(json.dumps({"probes": [probe]}))
    assert cli("gate", path, "--threshold", "0.7").exit_code == 0
    assert cli("gate", path, "--threshold", "0.71").exit_code == 1


def test_a_run_that_was_cut_off_does_not_pass(cli, done):
    (done.path / RESULT).unlink()
    path = done.path / EVENTS
    path.write_bytes(path.read_bytes()[:-400])
    done.write_meta(host="a machine that is gone")
    result = cli("gate", done.path, "--threshold", "0")
    assert result.exit_code == 1
    assert "its process was killed or crashed" in last(result)
    junit = ET.fromstring(cli("report", done.path, "--format", "junit").stdout)
    assert junit.get("errors") == "1"


def test_an_empty_result_does_not_pass(cli, tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"probes": []}')
    result = cli("gate", path, "--threshold", "0")
    assert (result.exit_code, result.stdout) == (
        1, "gate: FAILED: nothing was scored: no probe that counts was measured\n",
    )  # fmt: skip


# -- what is written --------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [True, False])
def test_the_decision_is_in_every_file(cli, suite, tmp_path, passes):
    if not passes:
        too_weak(suite)
    out = tmp_path / "out"
    files = {"--json": out / "r.json", "--markdown": out / "r.md", "--junit": out / "r.xml", "--trace": out / "t"}
    result = cli("gate", suite, *(str(part) for pair in files.items() for part in pair))
    assert result.exit_code == (0 if passes else 1)

    decided = json.loads((out / "r.json").read_text())["gate"]
    assert decided.keys() == {"passed", "reasons", "threshold", "fail_on", "allow_errors"}
    assert (decided["passed"], decided["threshold"], decided["fail_on"]) == (passes, 0.6, "fail")
    # The decision is no part of the result: older readers and ours read the same.
    assert load_result(out / "r.json") == load_result(only_run().path / RESULT)

    line = next(x for x in (out / "r.md").read_text().splitlines() if x.startswith("**Gate:**"))
    assert line.startswith("**Gate:** passed" if passes else "**Gate:** FAILED: ")

    root = ET.parse(out / "r.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("4", "0" if passes else "2")
    case = root.find("testcase[@name='gate']")
    assert (case.find("failure") is None) is passes
    assert (out / "t").exists()


def test_without_a_gate_no_file_speaks_of_one(cli, suite, tmp_path):
    out = tmp_path / "out"
    cli("run", suite, "--json", out / "r.json", "--markdown", out / "r.md", "--junit", out / "r.xml")
    assert "gate" not in json.loads((out / "r.json").read_text())
    assert "**Gate:**" not in (out / "r.md").read_text()
    assert ET.parse(out / "r.xml").getroot().get("tests") == "3"


def test_reasons_are_shown_as_they_are_and_cannot_break_a_table_or_a_file(cli, suite, tmp_path):
    too_weak(suite)
    suite.write_text(suite.read_text().replace("name: moved", "name: 'a|b [red]<b>'"))
    result = cli("gate", suite, "--markdown", tmp_path / "r.md", "--junit", tmp_path / "r.xml")
    assert "a|b [red]<b> (delta_kl) failed" in last(result)
    assert r"a\|b [red]\<b> (delta_kl) failed" in (tmp_path / "r.md").read_text()
    assert ET.parse(tmp_path / "r.xml").getroot().find("testcase[@name='gate']/failure") is not None


# -- check ------------------------------------------------------------------------------------------


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "build", lambda *_, **__: Exact())
    # The files of a fake model say nothing.
    monkeypatch.setattr("sway_dash.suite.usable.check_usable", lambda *_, **__: None)
    folder = tmp_path / "my-adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/tiny"}')
    return folder


def test_a_check_has_the_same_outputs_a_name_and_an_exit_code_if_wanted(cli, adapter, tmp_path):
    result = cli("check", adapter, "--fail-on", "fail", "--name", "third try", "--trace", tmp_path / "t")
    assert (result.exit_code, last(result)) == (0, "gate: passed")
    assert (tmp_path / "t").exists()
    assert only_run().meta()["name"] == "third try"


def test_a_check_of_an_adapter_that_does_nothing_may_fail(cli, adapter, monkeypatch):
    monkeypatch.setattr("tests.fakes_cli.amplitude", lambda _: 0.0)
    assert cli("check", adapter).exit_code == 0
    result = cli("check", adapter, "--fail-on", "fail")
    assert result.exit_code == 1
    assert "gate: FAILED: change (delta_kl) failed" in result.stdout


# -- what is refused --------------------------------------------------------------------------------

PROBE = {"name": "p", "kind": "delta_kl", "verdict": "pass", "score": 0.7}

BAD = {
    "a list": (b"[1, 2]", "a result must be a JSON object, not a list"),
    "cut short": (json.dumps({"probes": [PROBE]}).encode()[:-9], "is not valid JSON, or was cut short"),
    "empty": (b"", "is not valid JSON, or was cut short"),
    "newer": (b'{"schema_version": 2, "probes": []}', "written in result format 2, this program reads up to 1"),
    "a version that is none": (b'{"schema_version": "1"}', "schema_version must be a whole number"),
    "NaN": (json.dumps({"probes": [PROBE | {"score": float("nan")}]}).encode(), "probes[0].score must be a finite"),
    "infinite": (b'{"probes": [], "score": {"overall": Infinity}}', "score.overall must be a finite number, not inf"),
    "no component": (b'{"score": {"components": {"adherence": NaN}}}', "score.components.adherence must be a finite"),
    "another verdict": (
        json.dumps({"probes": [PROBE | {"verdict": "maybe"}]}).encode(),
        "unknown verdict 'maybe'; known: pass, fail, warn, skip, error",
    ),
    "no verdict": (b'{"probes": [{"name": "p", "kind": "k"}]}', "probes[0].verdict is missing"),
    "no object": (b'{"probes": ["p"]}', "probes[0] must be an object, not 'p'"),
    "something else": (b'{"name": "a package", "version": "1"}', "holds no result: it has neither probes nor a score"),
    "binary": (b"PK\x03\x04\xff\xfe\x00", "is no text; give a result.json or a run folder"),
    "deep": (b"[" * 100_000, "is nested too deeply"),
    "missing": (None, "no such file"),
}
COMMANDS = ["report", "gate", "compare"]


def asked(command, path) -> tuple[str, ...]:
    """``compare`` takes two results: the other one is good."""
    if command != "compare":
        return (command, path)
    good = Path(__file__).parents[2] / "assets/demo/run/result.json"
    return (command, path, good)


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_no_result_is_one_sentence(cli, tmp_path, command, what):
    data, says = BAD[what]
    path = tmp_path / "result.json"
    if data is not None:
        path.write_bytes(data)
    said = refused(cli(*asked(command, path)))
    assert str(path) in said
    assert says.lower() in said.lower()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_without_a_run_and_an_unknown_id_are_one_sentence(cli, tmp_path, command):
    assert "is no run folder: it has neither run.json nor events.jsonl" in refused(cli(*asked(command, tmp_path)))
    assert "neither a folder nor the id of a run" in refused(cli(*asked(command, "r-nowhere")))


def test_unknown_numbers_that_decide_nothing_may_be_nan_as_other_programs_write_them(cli, tmp_path):
    path = tmp_path / "result.json"
    odd = PROBE | {"raw": float("nan"), "z_score": float("inf"), "evidence": {"x": float("nan")}}
    path.write_text(json.dumps({"probes": [odd]}))
    assert cli("gate", path).exit_code == 0
    json.loads(cli("report", path, "--format", "json").stdout, parse_constant=pytest.fail)


def test_a_bad_suite_is_refused_before_anything_is_run(cli, suite, tmp_path):
    suite.write_text("models: [")
    assert "invalid YAML" in refused(cli("gate", suite))
    assert "not found" in refused(cli("gate", tmp_path / "nope.yaml"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8 text" in refused(cli("gate", tmp_path / "binary"))
    assert list(list_runs()) == []


def test_a_suite_is_known_by_what_it_holds_where_its_name_does_not_say(cli, suite, tmp_path):
    plain = suite.with_name("suite")
    plain.write_bytes(suite.read_bytes())
    assert cli("gate", plain).exit_code == 0
    as_json = suite.with_name("as-json")
    import yaml

    as_json.write_text(json.dumps(yaml.safe_load(suite.read_text())))
    assert cli("gate", as_json).exit_code == 0
    kept = suite.with_name("kept")
    kept.write_bytes((next(iter(list_runs())).path / RESULT).read_bytes())
    assert cli("gate", kept).exit_code == 0
    assert len(list(list_runs())) == 2


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (("--device", "cpu"), "--device"),
        (("--name", "x", "--trace", "t"), "--name, --trace"),
    ],
)
def test_what_only_a_measurement_can_do_is_refused_of_a_saved_result(cli, done, flags, names):
    said = refused(cli("gate", done.id, *flags))
    assert f"is already measured: leave out {names}, or give a suite file" in said


@pytest.mark.parametrize("value", ["nan", "-0.1", "1.5", "much"])
def test_a_threshold_that_is_none_is_a_usage_error(cli, suite, value):
    result = cli("gate", suite, "--threshold", value)
    assert result.exit_code == 2
    assert "--threshold" in result.stderr
    assert list(list_runs()) == []


def test_an_output_may_not_replace_what_is_judged(cli, done, suite):
    for source, out in ((done.path, done.path / RESULT), (done.path / RESULT,) * 2, (suite, suite)):
        before = out.read_bytes()
        assert "give the output a name of its own" in refused(cli("gate", source, "--json", out))
        assert out.read_bytes() == before


def test_an_output_that_cannot_be_written_is_told_before_anything_is_measured(cli, suite, tmp_path):
    assert "it is a folder" in refused(cli("gate", suite, "--junit", tmp_path))
    assert list(list_runs()) == []


def test_a_file_that_could_not_be_written_is_an_error_of_a_gate_that_passed(cli, done, suite):
    assert cli("gate", done.id, "--json", "/dev/full").exit_code == 2
    assert cli("gate", done.id, "--json", "/dev/full", "--threshold", "1").exit_code == 1


def test_results_are_written_whole_or_not_at_all(cli, done, tmp_path, monkeypatch):
    out = tmp_path / "r.json"
    out.write_text("old")

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.replace", full)
    result = cli("gate", done.id, "--json", out)
    assert "cannot write JSON: " in result.stderr
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith((".tmp", ".json"))] == ["r.json"]
    assert out.read_text() == "old"


def test_the_levels_of_the_help_are_those_of_the_engine():
    assert [x.value for x in Shown] == [x.value for x in FailOn]
