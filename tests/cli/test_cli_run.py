"""``run``: what it prints, saves and refuses, and with which exit code it ends."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest
import typer

from sway_dash.cli.commands import parse_weights, weights_over_defaults
from sway_dash.core.events import RunStarted
from sway_dash.core.result import DEFAULT_COMPONENT_WEIGHTS
from sway_dash.suite.report import load_result
from sway_dash.suite.store import EVENTS, RESULT, TRACE, RunFolder, list_runs
from sway_dash.suite.trace_analysis import load
from tests.fakes_sweep import adapter


def only_run() -> RunFolder:
    (folder,) = list_runs()
    return folder


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def refused(result) -> str:
    """Exit code 2, one ``error:`` line, nothing on standard output, no traceback."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return result.stderr


# -- what comes out -------------------------------------------------------------------------------


def test_a_run_is_saved_reported_and_found_again(cli, suite):
    result = cli("run", suite, "--name", "first")
    assert result.exit_code == 0
    folder = only_run()
    assert "sway report" in result.stdout
    assert "overall:" in result.stdout
    assert f"run: {folder.path}" in result.stderr
    assert folder.meta()["name"] == "first"
    assert folder.spec_text() == suite.read_text()
    assert folder.base_dir() == suite.parent
    saved, _ = load_result(folder.path / RESULT)
    assert [p.name for p in saved.probes] == ["noise", "moved", "shape"]
    assert saved.adapter_id == str(suite.parent / "adapter")


def test_a_probe_without_prompts_is_refused_before_a_model_is_loaded(cli, suite):
    suite.write_text(suite.read_text().replace("prompts: [one, two, three, four, five]", "prompts: []"))
    result = cli("run", suite)
    assert result.exit_code == 2
    assert "there are no prompts: add one (probe moved)" in result.stderr.replace("\n", " ")
    assert not list(list_runs())


def test_the_exit_code_is_0_whatever_the_verdicts(cli, suite):
    suite.write_text(suite.read_text().replace("kind: delta_kl,", "kind: delta_kl, assert_mean_gte: 0.6,"))
    result = cli("run", suite)
    assert result.exit_code == 0
    assert "below the gate of 0.6" in result.stdout.replace("\n", " ")


def test_all_files_are_written_and_said(cli, suite, tmp_path):
    out = tmp_path / "new" / "folder"
    result = cli(
        "run",
        suite,
        "--json",
        out / "r.json",
        "--markdown",
        out / "r.md",
        "--junit",
        out / "r.xml",
        "--trace",
        out / "t",
    )
    assert result.exit_code == 0
    for label, name in (("JSON", "r.json"), ("Markdown", "r.md"), ("JUnit", "r.xml")):
        assert f"wrote {label} → {out / name}" in result.stderr
    assert load_result(out / "r.json")[0] == load_result(only_run().path / RESULT)[0]
    assert (out / "r.md").read_text().startswith("# sway report")
    assert ET.fromstring((out / "r.xml").read_text()).get("tests") == "3"
    assert (out / "t").exists()


def test_a_trace_that_goes_elsewhere_is_in_the_run_folder_too(cli, suite, tmp_path):
    suite.write_text(suite.read_text().replace("tests.fakes_cli:Slow", "tests.fakes_cli:Looked"))
    assert cli("run", suite, "--trace", tmp_path / "t.jsonl").exit_code == 0
    assert len(load(tmp_path / "t.jsonl")) > 0
    assert (tmp_path / "t.jsonl").read_text() == (only_run().path / TRACE).read_text()


def test_progress_is_told_on_standard_error_only(cli, suite):
    result = cli("run", suite)
    assert "loading fake-base" in result.stderr
    assert "moved (2/3)" in result.stderr
    assert "loading" not in result.stdout


def test_the_most_moved_prompts_are_kept_token_by_token(cli, suite):
    result = cli("run", suite, "--details", "2")
    assert "recording 2 prompts token by token" in result.stderr
    # The answer does not wait for them.
    assert result.output.index("mean JS") < result.output.index("recording 2 prompts")
    assert len(only_run().details().keys()) == 2


def test_all_prompts_of_a_small_suite_are_kept_unless_told_otherwise(cli, suite):
    cli("run", suite)
    assert len(only_run().details().keys()) == 5


def test_no_prompt_is_kept_token_by_token_if_none_shall_be(cli, suite):
    result = cli("run", suite, "--details", "0")
    assert result.exit_code == 0
    assert "token by token" not in result.stderr
    assert not only_run().details().path.exists()


def test_the_default_said_by_the_help_is_that_of_the_engine():
    from sway_dash.cli.parts.options import DETAILS
    from sway_dash.suite.details import LIMIT

    assert DETAILS == LIMIT


def test_the_plan_is_shown_and_nothing_is_run(cli, suite):
    result = cli("run", suite, "--dry-run")
    assert result.exit_code == 0
    text = result.stdout
    assert "3 probes, nothing is run" in text
    assert "1. noise  null_adapter      baseline     15 measurements" in text
    assert "38 measurements in all" in text
    assert list(list_runs()) == []


def test_the_plan_counts_answers_and_says_what_is_known_only_as_it_runs(cli, suite):
    entries = (
        "  - {name: harm, kind: calibration_drift, items_limit: 30}\n"
        "  - {name: layers, kind: layer_attribution, prompts: [one]}\n"
    )
    suite.write_text(suite.read_text(encoding="utf-8") + entries, encoding="utf-8")
    text = cli("run", suite, "--dry-run").stdout
    assert "15 measurements, 180 answers" in text
    assert re.search(r"harm +calibration_drift +calibration +60 answers\n", text)
    assert re.search(r"layers +layer_attribution .* known only as it runs\n", text)
    assert "\nat least 38 measurements and 240 answers in all" in text


def test_a_disabled_probe_is_shown_as_such_in_the_plan(cli, suite):
    suite.write_text(suite.read_text().replace("name: shape,", "name: shape, enabled: false,"))
    result = cli("run", suite, "--dry-run")
    assert "shape  adapter_ablation  ablation     disabled" in result.stdout


def test_weights_are_laid_over_the_defaults_and_saved_with_the_result(cli, suite, tmp_path):
    result = cli("run", suite, "--weights", "adherence=0.4, ablation = 0", "--json", tmp_path / "r.json")
    assert result.exit_code == 0
    _, score = load_result(tmp_path / "r.json")
    assert score.weights == {**DEFAULT_COMPONENT_WEIGHTS, "adherence": 0.4, "ablation": 0.0}
    assert load_result(only_run().path / RESULT)[1] == score
    assert score.overall == pytest.approx(score.components["adherence"])


def test_the_weights_of_the_suite_count_without_the_flag(cli, suite, tmp_path):
    suite.write_text(suite.read_text() + "defaults: {score_weights: {ablation: 0}}\n")
    cli("run", suite, "--json", tmp_path / "r.json")
    assert load_result(tmp_path / "r.json")[1].weights["ablation"] == 0.0


def test_the_device_reaches_the_backend(cli, suite, monkeypatch):
    from sway_dash import backends
    from tests.fakes_cli import Exact

    seen = []
    monkeypatch.setattr(backends, "build", lambda spec, **_: (seen.append(spec.device), Exact())[1])
    assert cli("run", suite, "--device", "cuda:1").exit_code == 0
    assert seen == ["cuda:1"]


def test_what_the_user_wrote_is_shown_as_it_is_and_never_read_as_markup(cli, suite):
    text = suite.read_text().replace("name: moved", "name: '[bold]moved[/bold] [red'")
    suite.write_text(text)
    result = cli("run", suite)
    assert result.exit_code == 0
    assert "[bold]moved[/bold] [red" in result.stderr
    assert "[/bold]" in result.stdout


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "not found"),
        ("models: [", "invalid YAML"),
        ("- 1", "must be a mapping"),
        ("suit: []", "Did you mean 'suite'?"),
        ("version: 2", "unsupported sway spec version 2"),
        ("models: {base: {base: m}, ft: {base: m}}\nsuite: [{name: a, kind: delta_kl, prompts: ['']}]", "is empty"),
        ("models: {base: {base: m}, ft: {base: m}}\nsuite: [{name: a, kind: delta_kl, prompts: [1]}]", "not int (1)"),
        ("models: {base: {base: m}, ft: {base: m}}\nsuite: [{name: a, kind: delta_lk}]", "Did you mean 'delta_kl'?"),
        (
            "models: {base: {base: m}, ft: {base: m}}\nsuite: [{name: a, kind: adapter_ablation, lambdas: []}]",
            "lambdas: needs at least 3 items, has 0",
        ),
        (
            "models: {base: {base: m}, ft: {base: m}}\n"
            "suite: [{name: a, kind: delta_kl}, {name: a, kind: adapter_ablation}]",
            "'a' is already the name of entry #0: rename one",
        ),
        ("models: {base: {base: m}, ft: {base: m}}\nsuite: []", "there are no probes"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_bad_suite_is_one_error_and_no_run(cli, tmp_path, text, says, flags):
    path = tmp_path / "sway.yaml"
    if text is not None:
        path.write_text(text)
    said = refused(cli("run", path, *flags))
    assert said.startswith(f"error: {path}: ")
    assert says in said
    assert list(list_runs()) == []


def test_a_folder_and_a_binary_file_are_one_error(cli, tmp_path):
    assert "is a folder" in refused(cli("run", tmp_path))
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8 text" in refused(cli("run", tmp_path / "b.yaml"))


@pytest.mark.parametrize("option", ["--json", "--markdown", "--junit", "--trace"])
@pytest.mark.parametrize("where", ["is a folder", "below a file", "on a system that allows nothing"])
def test_an_output_that_cannot_be_written_is_refused_before_a_model_is_loaded(
    cli, suite, tmp_path, option, where, monkeypatch
):
    from sway_dash import backends

    monkeypatch.setattr(backends, "build", lambda *_, **__: pytest.fail("a model was loaded"))
    (tmp_path / "file").write_text("x")
    (tmp_path / "taken").mkdir()
    path = {
        "is a folder": tmp_path / "taken",
        "below a file": tmp_path / "file" / "out",
        "on a system that allows nothing": "/proc/nowhere/out",
    }[where]
    said = refused(cli("run", suite, option, path))
    assert said.startswith(f"error: cannot write {path}: ")
    assert len(lines(said)) == 1
    assert list(list_runs()) == []


def test_the_check_leaves_no_file_behind_and_empties_none(cli, suite, tmp_path):
    old = tmp_path / "old.json"
    old.write_text("precious")
    refused(cli("run", suite, "--json", old, "--markdown", tmp_path / "new.md", "--junit", tmp_path))
    assert old.read_text() == "precious"
    assert not (tmp_path / "new.md").exists()


def test_an_output_may_not_replace_the_suite_or_another_output(cli, suite, tmp_path):
    text = suite.read_text()
    assert "is read by this command" in refused(cli("run", suite, "--json", suite))
    assert suite.read_text() == text
    out = tmp_path / "o"
    assert "is already written to" in refused(cli("run", suite, "--json", out, "--markdown", f"{tmp_path}/./o"))


def test_a_full_disk_costs_one_file_and_is_an_error_at_the_end(cli, suite, tmp_path):
    result = cli("run", suite, "--json", "/dev/full", "--markdown", tmp_path / "r.md")
    assert result.exit_code == 2
    assert "error: cannot write JSON: " in result.stderr
    assert "No space left on device" in result.stderr
    assert (tmp_path / "r.md").exists()
    assert load_result(only_run().path / RESULT)[0].status == "finished"


def test_a_trace_that_cannot_be_handed_out_is_said_and_stays_in_the_run_folder(cli, suite):
    suite.write_text(suite.read_text().replace("tests.fakes_cli:Slow", "tests.fakes_cli:Looked"))
    result = cli("run", suite, "--trace", "/dev/full")
    assert result.exit_code == 0
    assert "error: the trace could not be copied to /dev/full: No space left on device; it is in " in result.stderr
    assert (only_run().path / "trace.jsonl").stat().st_size > 0


def test_a_full_disk_for_the_run_folder_costs_the_folder_and_not_the_report(cli, suite, monkeypatch, tmp_path):
    create = RunFolder.create

    def on_a_full_disk(*args, **kwargs):
        folder = create(*args, **kwargs)
        (folder.path / EVENTS).symlink_to("/dev/full")
        return folder

    monkeypatch.setattr(RunFolder, "create", on_a_full_disk)
    result = cli("run", suite, "--json", tmp_path / "r.json")
    assert "sway report" in result.stdout
    assert "error: the run folder is incomplete: " in result.stderr
    assert load_result(tmp_path / "r.json")[0].status == "finished"


def test_a_place_for_runs_that_cannot_be_made_is_one_error(cli, suite, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path / "file" / "runs"))
    assert "set SWAY_RUNS_DIR to a folder you can write to" in refused(cli("run", suite))


def test_a_model_that_cannot_be_had_is_one_error_and_a_failed_run(cli, suite, tmp_path):
    suite.write_text(suite.read_text().replace("tests.fakes_cli:Slow", "tests.fakes_sweep:ByAdapter"))
    adapter(suite.parent / "adapter", broken=True)
    result = cli("run", suite, "--junit", tmp_path / "r.xml", "--json", tmp_path / "r.json")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "error: this adapter was made for another base" in result.stderr
    assert load_result(only_run().path / RESULT)[0].status == "failed"
    # What was not measured must not look green.
    assert ET.fromstring((tmp_path / "r.xml").read_text()).get("errors") == "1"


def test_a_model_that_is_none_is_refused_before_there_is_a_run(cli, suite):
    suite.write_text(suite.read_text().replace("tests.fakes_cli:Slow", "tests.nowhere:Slow"))
    assert "entry_point 'tests.nowhere:Slow': cannot import tests.nowhere" in refused(cli("run", suite))


def test_a_suite_or_a_run_is_needed(cli):
    assert "name a suite: sway-dash run sway.yaml" in refused(cli("run"))


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("adherence", "key=value"),
        ("=1", "key=value"),
        ("adherence=much", "not a number"),
        ("adherence=nan", "not a number"),
        ("adherence=inf", "not a number"),
        ("adherence=1,adherence=2", "given twice"),
        ("bogus=1", "unknown category keys"),
        ("adherence=-1", "non-negative"),
        ("adherence=0,attribution=0,calibration=0,ablation=0", "at least one positive weight"),
    ],
)
def test_bad_weights_are_a_usage_error_before_anything_is_run(cli, suite, flag, says):
    result = cli("run", suite, "--weights", flag)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())
    assert list(list_runs()) == []


@pytest.mark.parametrize("flag", [None, "", "  ", ","])
def test_no_weights_are_none(flag):
    assert parse_weights(flag) is None
    assert weights_over_defaults(flag) is None


def test_the_flag_is_read_as_given():
    assert parse_weights(" a = 1 , b=0.5,") == {"a": 1.0, "b": 0.5}
    with pytest.raises(typer.BadParameter, match="key=value"):
        parse_weights("a:1")


# -- going on -------------------------------------------------------------------------------------


@pytest.fixture
def stopped(cli, suite, monkeypatch) -> RunFolder:
    """A run that was asked to stop after two prompts of ``moved``."""
    append = RunFolder.append

    def stopping(self, event):
        append(self, event)
        if getattr(event, "role", "") == "probe" and event.item == 1:
            self.request_stop()

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", stopping)
        result = cli("run", suite)
    assert result.exit_code == 130
    folder = only_run()
    assert f"the run was stopped; go on with: sway-dash run --resume {folder.id}" in result.stderr
    assert "cancelled: the numbers cover only what was measured until then" in result.stdout
    return folder


def test_a_stopped_run_is_finished_by_resuming_it(cli, stopped):
    result = cli("run", "--resume", stopped.id)
    assert result.exit_code == 0
    assert "resumed: what was measured before is not measured again" in result.stderr
    assert only_run().path == stopped.path
    saved, _ = load_result(stopped.path / RESULT)
    assert saved.status == "finished"
    assert saved.probes[1].evidence["num_prompts"] == 5


def test_a_run_is_resumed_by_its_folder_and_with_its_own_suite_named(cli, suite, stopped):
    assert cli("run", suite, "--resume", stopped.path, "--name", "second").exit_code == 0
    assert stopped.meta()["name"] == "second"


def test_another_suite_is_not_resumed(cli, suite, stopped):
    suite.write_text(suite.read_text() + "# changed\n")
    assert "is not the suite" in refused(cli("run", suite, "--resume", stopped.id))


def test_an_unknown_run_is_told_the_nearest(cli, stopped):
    said = refused(cli("run", "--resume", stopped.id[:-1] + "x"))
    assert f"Did you mean {stopped.id!r}?" in said


def test_a_run_that_lives_is_left_alone(cli, stopped):
    stopped.claim()
    stopped.append(RunStarted(run_id=stopped.id))
    stopped.close()
    assert "is still running" in refused(cli("run", "--resume", stopped.id))


def test_a_folder_without_a_run_is_not_resumed(cli, tmp_path):
    assert "is no run folder" in refused(cli("run", "--resume", tmp_path))


def test_the_result_is_on_disk_before_any_other_file(cli, suite, tmp_path, monkeypatch):
    from sway_dash.cli import outputs

    found = []
    write = outputs.write_text

    def spying(path, text):
        found.append(json.loads((only_run().path / RESULT).read_text())["status"])
        write(path, text)

    monkeypatch.setattr(outputs, "write_text", spying)
    cli("run", suite, "--json", tmp_path / "r.json")
    assert found == ["finished"]
