"""``runs``: the list and one run in words, tags, archive, deleting; and everything that is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sway_dash.cli.app import app
from sway_dash.suite.processes import this_host
from sway_dash.suite.store import EVENTS, META, RunFolder
from tests.cli.conftest import SUITE


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, made once for this file."""
    root = tmp_path_factory.mktemp("measured")
    suite = root / "suite" / "sway.yaml"
    suite.parent.mkdir()
    suite.write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWAY_RUNS_DIR", str(root / "runs"))
        patch.setenv("SWAY_NULL_CACHE_DIR", str(root / "nulls"))
        patch.setenv("FAKE_DELAY_S", "0")
        for name in ("first", "second [bold]x"):
            made = CliRunner().invoke(app, ["run", str(suite), "--name", name, "--details", "0"])
            assert made.exit_code == 0, made.output
    return root / "runs"


@pytest.fixture
def made(cli, measured: Path) -> list[str]:
    """Ids of two runs of this test's own, newest first."""
    shutil.copytree(measured, os.environ["SWAY_RUNS_DIR"])
    return [r["id"] for r in json.loads(cli("runs", "list", "--json").stdout)]


def refused(result) -> str:
    """Exit code 2 and one sentence."""
    assert result.exit_code == 2, result.output
    assert result.stdout.strip() == ""
    assert result.stderr.count("error:") == 1
    return result.stderr


def folder(run: str) -> RunFolder:
    return RunFolder(Path(os.environ["SWAY_RUNS_DIR"]) / run)


def listed(cli, *options: str) -> list[str]:
    return [r["id"] for r in json.loads(cli("runs", "list", "--json", *options).stdout)]


def test_the_list_tells_what_each_run_found_newest_first(cli, made):
    result = cli("runs", "list")
    assert result.exit_code == 0
    head, *rows = [line for line in result.stdout.splitlines() if line.strip()]
    assert head.split() == [
        "id",
        "name",
        "suite",
        "when",
        "model",
        "←",
        "adapter",
        "verdict",
        "composite",
        "tags",
        "size",
    ]
    assert [row.split()[0] for row in rows] == made
    assert "second [bold]x" in rows[0], "what looks like markup is text"
    assert "fake-base ← adapter" in rows[1]
    record = json.loads(cli("runs", "list", "--json").stdout)[1]
    assert record["name"] == "first"
    assert record["verdict"] in rows[1]
    assert f"{record['composite']:.2f}" in rows[1]
    assert record["bytes"] > 0


def test_an_empty_list_is_nothing_to_show(cli, made):
    result = cli("runs", "list", "--tag", "nightly")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "no runs with the tag nightly" in result.stderr
    assert json.loads(cli("runs", "list", "--json", "--tag", "nightly").stdout) == []


def test_a_run_is_shown_with_answer_environment_and_files(cli, made):
    shown = cli("runs", "show", made[1])
    assert shown.exit_code == 0
    assert shown.stdout.startswith(f"first  ({made[1]}, finished)\n")
    record = json.loads(cli("runs", "show", made[1], "--json").stdout)
    assert f"{record['verdict']}: {record['sentence']}" in shown.stdout
    assert [p["name"] for p in record["probes"]] == ["noise", "moved", "shape"]
    assert record["adapter"] in shown.stdout
    assert "Fingerprint" in shown.stdout
    assert record["files"][EVENTS] == (folder(made[1]).path / EVENTS).stat().st_size
    assert "NaN" not in cli("runs", "show", made[1], "--json").stdout


def test_the_recorded_example_can_be_shown_but_not_changed(cli):
    shown = cli("runs", "show", "demo")
    assert shown.exit_code == 0
    assert "The adapter changed the model" in shown.stdout
    assert "part of the program" in refused(cli("runs", "tag", "demo", "x"))
    assert "part of the program" in refused(cli("runs", "delete", "demo", "--yes"))


def test_a_beginning_names_a_run_if_it_is_the_only_one(cli, made):
    os.rename(folder(made[0]).path, folder("aa-1").path)
    os.rename(folder(made[1]).path, folder("aa-2").path)
    assert cli("runs", "show", "aa-2").exit_code == 0
    said = refused(cli("runs", "show", "aa"))
    assert "2 runs" in said
    assert "aa-1" in said
    assert "aa-2" in said
    os.rename(folder("aa-1").path, folder("bb-1").path)
    assert cli("runs", "tag", "b", "x").exit_code == 0
    assert folder("bb-1").meta()["tags"] == ["x"]


@pytest.mark.parametrize("name", ["nothing", "", "..", "/", "../../etc", "*"])
def test_what_is_no_run_is_refused(cli, made, name):
    said = refused(cli("runs", "delete", "--yes", "--", name))
    assert "no run" in said
    assert set(listed(cli)) == set(made)


def test_a_near_miss_is_named(cli, made):
    assert f"Did you mean '{made[0]}'?" in refused(cli("runs", "show", made[0][:-1] + "?"))


def test_tags_come_and_go(cli, made):
    assert cli("runs", "tag", made[0], "nightly", "  a  b ", "nightly").exit_code == 0
    assert listed(cli, "--tag", "nightly", "--tag", "a b") == [made[0]]
    assert "a b" in cli("runs", "list").stdout
    assert cli("runs", "untag", made[0], "nightly").exit_code == 0
    assert folder(made[0]).meta()["tags"] == ["a b"]
    assert "has no tag gone; it has a b" in refused(cli("runs", "untag", made[0], "gone"))
    assert "no blank" in refused(cli("runs", "tag", made[0], " "))


def test_archived_runs_leave_the_list_and_come_back(cli, made):
    assert cli("runs", "archive", made[0]).exit_code == 0
    assert listed(cli) == [made[1]]
    assert listed(cli, "--all") == made
    assert "(archived)" in cli("runs", "list", "--all").stdout
    cli("runs", "archive", made[1])
    assert "2 archived: --all shows them" in cli("runs", "list").stderr
    assert cli("runs", "unarchive", *made).exit_code == 0
    assert listed(cli) == made


def test_deleting_asks_first(cli, made):
    def answer(text: str):
        return CliRunner().invoke(app, ["runs", "delete", made[0]], input=text)

    result = answer("n\n")
    assert result.exit_code == 1
    assert "nothing was deleted" in result.stderr
    assert "add --yes" in refused(answer(""))
    assert listed(cli) == made
    assert answer("y\n").exit_code == 0
    assert listed(cli) == [made[1]]
    assert not folder(made[0]).path.exists()
    assert cli("runs", "delete", made[1], "--yes").exit_code == 0
    assert listed(cli) == []


def test_nothing_is_deleted_unless_all_can_be(cli, made):
    refused(cli("runs", "delete", made[0], "nothing", "--yes"))
    assert listed(cli) == made


def test_a_run_that_a_process_writes_is_not_deleted(cli, made):
    folder(made[0]).write_meta(pid=os.getpid(), host=this_host())
    assert "still has a process at work" in refused(cli("runs", "delete", made[0], "--yes"))
    folder(made[0]).write_meta(pid=4, host="another-machine")
    assert "by a process on another-machine" in refused(cli("runs", "delete", made[0], "--yes"))
    assert folder(made[0]).path.is_dir()
    for file in folder(made[0]).path.iterdir():
        os.utime(file, (1, 1))
    assert cli("runs", "delete", made[0], "--yes").exit_code == 0, "that process has long been gone"


def test_a_folder_of_another_program_is_not_deleted(cli, made):
    other = folder("project").path
    other.mkdir()
    (other / META).write_text('{"scripts": {}}')
    (other / "thesis.txt").write_text("precious")
    assert "is no run folder" in refused(cli("runs", "delete", "project", "--yes"))
    outside = other.parent.parent / "elsewhere"
    os.rename(folder(made[0]).path, outside)
    assert "no run" in refused(cli("runs", "delete", outside, "--yes"))
    assert outside.is_dir()
    assert cli("runs", "show", outside).exit_code == 0, "looking is allowed anywhere"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (META, '{"id": 7, "name": "a package of its own"}'),
        (EVENTS, '{"event": "login"}'),
        (EVENTS, '{"type": "login", "ts": 1.0}'),
        (EVENTS, "no JSON"),
    ],
)
def test_files_of_our_names_make_no_run_of_a_folder(cli, made, name, text):
    other = folder("project").path
    other.mkdir()
    (other / name).write_text(text)
    assert "is no run folder" in refused(cli("runs", "delete", "project", "--yes"))
    assert other.is_dir()


def test_export_is_the_same_as_the_command_of_that_name(cli, made, tmp_path):
    short = made[1] if made[0][:18] == made[1][:18] else made[1][:18]
    assert cli("runs", "export", short, "--out", tmp_path / "a.csv").exit_code == 0
    cli("export", made[1], "--out", tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert "no run" in refused(cli("runs", "export", "nothing"))


@pytest.mark.parametrize("width", [80, 120, 160])
def test_the_list_is_whole_on_terminals_of_any_width(cli, made, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    for run in made:
        folder(run).write_meta(
            name=f"{run[-3:]}-checkpoint-of-a-long-training-20261231", tags=["sweep-20261231-120000"]
        )
    text = cli("runs", "list").stdout
    assert max(map(len, text.splitlines())) <= width
    words = set(re.findall(r"[a-z]{4,}", text))
    assert {"checkpoint", "training"} <= words
    assert "size" in words or width < 140
    assert ("sweep" in words) == (width >= 100)
