"""Files that leave a run: what is in them at every level, and what the command line writes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sway_dash.cli.app import app
from sway_dash.core.errors import SwayError
from sway_dash.report import export, frames
from sway_dash.suite.trace_file import load
from tests.dash.conftest import suite_text


@pytest.fixture
def run(record):
    return record(suite_text(prompts=6, nulls=3, ablation=False))


def cli(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("level", ["no-prompts", "numbers"])
@pytest.mark.parametrize("what", [kind for kind in export.KINDS if kind != "html"])
def test_hidden_prompts_are_in_no_file(run, what, level):
    if what.endswith("parquet"):
        pytest.importorskip("pyarrow")
    data = export.make(run, what, level).data
    assert b"Prompt 1 about" not in data
    assert str(run.path).encode() not in data
    if what.endswith(("csv", "jsonl")):
        assert b"Prompt 1 about" in export.make(run, what, "full").data


def test_redaction_changes_no_number(run, tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_bytes(export.make(run, "prompts.csv", "numbers").data)
    hidden, whole = frames.read_csv(path), frames.measurements(run)
    for name, kind in frames.MEASURED.items():
        if kind in ("number", "whole", "flag"):
            assert hidden[name].equals(whole[name]), name
    assert hidden["prompt"].tolist() == [f"P{n:03d}" for n in range(1, 7)]


def test_the_trace_opens_in_a_viewer_of_chrome_traces(run):
    trace = json.loads(export.make(run, "trace").data)
    passes = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["tid"] > 1]
    calls = load(run.path / "trace.jsonl")
    assert sum(e["args"]["prompts"] for e in passes) == sum(not call.hit for call in calls)
    assert {e["name"] for e in trace["traceEvents"] if e["ph"] == "X" and e["tid"] == 1} >= {"noise", "moved"}


def test_a_file_is_named_by_its_run_in_letters_that_every_disk_takes(run):
    assert export.make(run, "draws.jsonl").name == f"{run.id}-draws.jsonl"
    assert export.stem("../../etc/passwd") == "etc-passwd"
    assert export.stem("///") == "run"


def test_what_cannot_be_made_is_said_in_a_sentence(run, tmp_path):
    with pytest.raises(SwayError, match=r"cannot be exported: html, prompts\.csv"):
        export.make(run, "prompts.xls")
    with pytest.raises(SwayError, match="is no redaction"):
        export.make(run, "trace", "secret")  # type: ignore[arg-type]
    with pytest.raises(SwayError, match="is not there"):
        export.make(tmp_path / "nothing", "trace")


def test_the_command_writes_tables_and_the_trace(run, tmp_path):
    csv = tmp_path / "sub" / "moved.csv"
    done = cli("export", run.path, "--out", csv)
    assert done.exit_code == 0, done.output
    assert frames.read_csv(csv).equals(frames.measurements(run))
    drawn = tmp_path / "draws.jsonl"
    assert cli("export", run.path, "--format", "jsonl", "--draws", "-o", drawn).exit_code == 0
    rows = [json.loads(line) for line in drawn.read_text().splitlines()]
    assert [row["js"] for row in rows] == frames.draws(run)["js"].tolist()
    trace = tmp_path / "trace.json"
    assert cli("export", run.path, "--format", "trace", "-o", trace, "--redact", "numbers").exit_code == 0
    assert json.loads(trace.read_text())["traceEvents"]


def test_the_command_prints_text_where_no_file_is_named(run):
    done = cli("export", run.path, "--format", "jsonl", "--redact", "no-prompts")
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[0])["prompt"] == "P001"


def test_the_command_says_what_does_not_fit(run, tmp_path):
    assert "give --out FILE" in cli("export", run.path, "--format", "parquet").output
    assert "--draws chooses a table" in cli("export", run.path, "--format", "trace", "--draws").output
    done = cli("export", tmp_path / "nothing")
    assert done.exit_code != 0
    assert "no run" in done.output
