"""Files that leave a run: what is in them at every level, and what the command line writes."""

from __future__ import annotations

import json
from itertools import pairwise

import pandas as pd
import pytest
from typer.testing import CliRunner

from sway_dash.cli.app import app
from sway_dash.core.errors import SwayError
from sway_dash.report import export, frames
from sway_dash.report.html.compare_elsewhere import Asked
from sway_dash.suite.comparison import compare, open_side
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


def test_the_trace_keeps_to_the_format_of_the_viewers(run):
    """Fields and types of the Trace Event Format; slices of a thread lie beside or within one another."""
    trace = json.loads(export.make(run, "trace", "numbers").data)
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    named = {e["tid"] for e in trace["traceEvents"] if e["ph"] == "M" and e["name"] == "thread_name"}
    slices = {}
    for e in trace["traceEvents"]:
        assert e["ph"] in "XiM"
        assert (type(e["pid"]), type(e["tid"]), type(e["name"])) == (int, int, str)
        if e["ph"] == "M":
            assert list(e["args"]) == ["name"]
            continue
        assert e["tid"] in named
        assert e["ts"] >= 0
        assert isinstance(e["cat"], str)
        if e["ph"] == "i":
            assert e["s"] == "t"
        else:
            assert e["dur"] >= 0
            slices.setdefault(e["tid"], []).append((round(1000 * e["ts"]), round(1000 * (e["ts"] + e["dur"]))))
    assert len(slices) > 3
    for found in slices.values():
        for (_, end), (begin, _) in pairwise(sorted(found)):
            assert begin >= end, "two slices of a thread overlap"


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


@pytest.fixture
def pair(record):
    """Two runs that share eight of nine prompts."""
    return [record(suite_text(base, prompts=n, nulls=3, ablation=False)) for base, n in (("plain", 9), ("strong2", 8))]


def test_differences_of_runs_are_a_table_of_the_librarys_numbers(pair, tmp_path):
    known = compare([open_side(run.path) for run in pair], baseline=1)
    (contrast,) = known.contrasts
    places = [run.path for run in pair]
    for form in ("csv", "jsonl", *(["parquet"] if frames.has_parquet() else [])):
        path = tmp_path / f"d.{form}"
        words = ["export", *places, "--baseline", places[1], "--format", form, "-o", path]
        assert cli(*words).exit_code == 0
    frame = frames.read_csv(tmp_path / "d.csv")
    assert frame["prompt"].tolist() == [text for text, _ in known.alignment.keys]
    assert frame["delta"].equals(pd.Series(contrast.deltas))
    assert frame["value"].equals(pd.Series(known.values[:, 0]))
    assert frame["baseline_value"].equals(pd.Series(known.values[:, 1]))
    paired = frame[frame["delta"].notna()]
    assert (paired["value"] - paired["baseline_value"]).tolist() == paired["delta"].tolist()
    ways = {"more": 1, "same": 0, "less": -1}
    assert [ways[w] for w in paired["change"]] == [int(d) for d in contrast.direction[frame["delta"].notna()]]
    (alone,) = frame[frame["delta"].isna()].to_dict("records")
    assert alone["change"] == ""
    assert "not in its suite" in alone["not_paired"]
    assert set(frame["run"]) == {pair[0].id}
    assert set(frame["baseline"]) == {pair[1].id}
    rows = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert [row["delta"] for row in rows if row["delta"] is not None] == paired["delta"].tolist()


def test_differences_hide_what_is_to_stay_and_keep_their_numbers(pair):
    places = [str(run.path) for run in pair]
    whole, bare = (export.make_differences(Asked(places), "jsonl", level).data for level in ("full", "numbers"))
    assert b"Prompt 1 about" in whole
    for text in (b"Prompt 1 about", b"recorded", pair[0].id.encode(), b"odd"):
        assert text not in bare
    rows = [[json.loads(line) for line in data.splitlines()] for data in (whole, bare)]
    assert [row["delta"] for row in rows[0]] == [row["delta"] for row in rows[1]]


def test_differences_are_of_several_runs(pair):
    places = [run.path for run in pair]
    assert "is of one run" in cli("export", *places, "--draws").output
    assert "is of one run" in cli("export", *places, "--format", "trace").output
    assert "one run goes to mlflow" in cli("export", *places, "--to", "mlflow").output
    with pytest.raises(SwayError, match="no format of a table"):
        export.make_differences(Asked(places), "xls")


def test_the_command_says_what_does_not_fit(run, tmp_path):
    assert "give --out FILE" in cli("export", run.path, "--format", "parquet").output
    assert "--draws chooses a table" in cli("export", run.path, "--format", "trace", "--draws").output
    done = cli("export", tmp_path / "nothing")
    assert done.exit_code != 0
    assert "no run" in done.output
