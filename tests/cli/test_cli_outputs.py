"""Where commands write: files that are never a run's own, and ``-`` for standard output."""

from __future__ import annotations

import gzip
import json
import tarfile
from io import BytesIO

import pytest
import yaml
from typer.testing import CliRunner

from sway_dash.cli.app import app
from sway_dash.suite.store import FILES, RunFolder, list_runs
from tests.fakes_sweep import adapter


@pytest.fixture
def done(cli, suite) -> RunFolder:
    """A run that has ended."""
    assert cli("run", suite, "--details", "2").exit_code == 0
    (folder,) = list_runs()
    return folder


@pytest.mark.parametrize("command", ["run", "gate"])
def test_a_dash_prints_the_result_alone_and_the_report_on_the_other_stream(cli, suite, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = cli(command, suite, "--json", "-", "--details", "0")
    assert said.exit_code == 0, said.stderr
    assert [p["name"] for p in json.loads(said.stdout)["probes"]] == ["noise", "moved", "shape"]
    assert "overall:" in said.stderr
    assert not (tmp_path / "-").exists()


def test_a_dash_prints_one_line_an_adapter_and_a_file_gets_the_same(cli, suite, tmp_path):
    adapters = [adapter(suite.parent / name, content=name) for name in "ab"]
    printed = cli("sweep", suite, *adapters, "--json", "-", "--name", "s")
    assert [json.loads(row)["label"] for row in printed.stdout.splitlines()] == ["a", "b"]
    written = cli("sweep", suite, *adapters, "--json", tmp_path / "lines.jsonl", "--name", "s")
    rows = [json.loads(row) for row in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [(row["label"], row["reused"]) for row in rows] == [("a", True), ("b", True)]
    assert "composite" in written.stdout


def test_every_output_takes_a_dash(done, suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def printed(*words: object) -> bytes:
        result = CliRunner().invoke(app, [str(w) for w in words])
        assert result.exit_code == 0, result.stderr
        return result.stdout_bytes

    assert printed("report", done.id, "--format", "md", "-o", "-").startswith(b"# sway report")
    assert printed("report", done.id, "--format", "html", "-o", "-").startswith(b"<!doctype html>")
    assert printed("gate", done.id, "--junit", "-").startswith(b"<testsuite")
    assert printed("export", done.id, "-o", "-").count(b"\n") == 6
    assert "view_id" in json.loads(printed("run", suite, "--trace", "-", "--details", "0").splitlines()[0])
    assert set(yaml.safe_load(printed("mine", suite, "--mode", "outliers", "--top-k", "2", "-o", "-"))) == {
        "mined_outliers"
    }
    with tarfile.open(fileobj=BytesIO(gzip.decompress(printed("pack", suite, "-o", "-", "--no-adapter")))) as tar:
        assert "swaypack/sway.yaml" in tar.getnames()
    assert list(tmp_path.iterdir()) == [suite.parent]


def test_two_outputs_do_not_share_standard_output(cli, suite, runs_dir):
    said = cli("run", suite, "--json", "-", "--markdown", "-")
    assert said.exit_code == 2
    assert "standard output is already written to" in said.stderr
    assert not list(list_runs())


def test_no_command_writes_over_a_part_of_a_run(cli, done, suite, tmp_path):
    before = {p: p.read_bytes() for p in done.path.iterdir() if p.is_file()}
    assert {p.name for p in before} <= {*FILES, ".run.json.lock"}
    inside = done.path / "result.json"
    for words in (
        ("gate", done.id, "--json", inside),
        ("gate", done.path, "--junit", done.path / "stop"),
        ("run", suite, "--trace", done.path / "trace.jsonl"),
        ("report", done.id, "--format", "md", "-o", inside),
        ("report", done.id, "--format", "html", "-o", done.path / "spec.yaml"),
        ("export", done.id, "-o", done.path / "events.jsonl"),
    ):
        said = cli(*words)
        assert (said.exit_code, said.stdout) == (2, ""), words
        assert f"is a part of the run {done.id}: give the output a name of its own" in said.stderr, words
    assert {p: p.read_bytes() for p in done.path.iterdir() if p.is_file()} == before


def test_what_is_read_is_not_written_over(cli, done, tmp_path):
    copy = tmp_path / "copy.json"
    copy.write_bytes((done.path / "result.json").read_bytes())
    for words in (("report", copy, "--format", "md"), ("compare", copy, done.id, "--format", "json")):
        said = cli(*words, "-o", copy)
        assert said.exit_code == 2
        assert f"{copy} is read by this command" in said.stderr
    assert json.loads(copy.read_text())["probes"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "mlflow", "--draws"), "--draws is for a file"),
        (("--to", "wandb", "--format", "csv"), "--format is for a file"),
        (("--to", "mlflow", "-o", "x.csv"), "--out is for a file"),
        (("--to", "tensorboard", "--format", "trace", "--draws"), "--draws, --format are for a file"),
    ],
)
def test_a_tracker_takes_a_whole_run_and_says_what_it_does_not_heed(cli, options, said):
    refused = cli("export", "demo", *options)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert said in " ".join(refused.stderr.split())


def test_runs_of_one_minute_have_names_of_their_own_that_say_which_suite_it_was(cli, suite):
    other = suite.with_name("nightly.yaml")
    other.write_text(suite.read_text())
    for path in (suite, suite, other):
        assert cli("run", path, "--details", "0").exit_code == 0
    assert {f.meta()["name"] for f in list_runs()} == {
        "sway.yaml, adapter",
        "sway.yaml, adapter #2",
        "nightly.yaml, adapter",
    }
    listed = json.loads(cli("runs", "list", "--json").stdout)
    assert [r["suite"] for r in listed] == ["nightly.yaml", "sway.yaml", "sway.yaml"]
    assert cli("runs", "list").stdout.count("nightly.yaml") == 2
    assert str(other) in cli("runs", "show", listed[0]["id"]).stdout


def test_kinds_of_probes_and_checked_suites_are_json_for_a_machine(cli, suite, tmp_path):
    kinds = json.loads(cli("list-probes", "--json").stdout)
    assert {"kind": "delta_kl", "category": "adherence"}.items() <= {k["kind"]: k for k in kinds}["delta_kl"].items()
    one = json.loads(cli("list-probes", "delta_kl", "--json").stdout)
    assert one["example"]["kind"] == "delta_kl"
    assert {"setting", "type", "default", "meaning"} == set(one["settings"][0])
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(suite.read_text().replace("runs: 3", "runs: many"))
    said = cli("validate", suite, wrong, "--json")
    good, bad = json.loads(said.stdout)
    assert said.exit_code == 2
    assert (good["probes"], good["errors"]) == (3, [])
    assert "line 5: suite[0].runs" in bad["errors"][0]
    assert said.stderr == ""


def test_every_command_is_told_in_one_line_that_is_not_cut_off(cli):
    assert "..." not in cli("--help").stdout.partition("Commands:")[2].partition("Recipes:")[0]
    assert "..." not in cli("runs", "--help").stdout.partition("Commands:")[2]
