"""``pack`` and ``unpack``: what they print, write and refuse; a suite moved, run elsewhere and found to agree."""

from __future__ import annotations

import json
import shlex

import pytest

from sway_dash.suite.store import RESULT, list_runs


def refused(result) -> str:
    """Exit code 2, one ``error:`` line, nothing on standard output, no traceback."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return result.stderr


@pytest.fixture
def packed(cli, suite):
    """A pack of the suite with the result of its run, and that run's folder."""
    assert cli("run", suite).exit_code == 0
    (run,) = list_runs()
    assert cli("pack", suite, "--golden", run.id).exit_code == 0
    return suite.parent / "sway.swaypack.tar.gz", run


def test_a_suite_is_packed_moved_run_and_verified(cli, packed, suite, tmp_path, monkeypatch):
    pack, first = packed
    there = tmp_path / "there"
    result = cli("unpack", pack, "--out", there)
    assert result.exit_code == 0
    assert "every file has the checksum of the manifest" in result.stderr
    assert "code of its own (tests.fakes_cli:Slow)" in result.stderr
    folder = there / "swaypack"
    variable, *command = shlex.split(result.stdout)
    assert command == ["sway-dash", "run", str(folder / "sway.yaml")]
    assert variable == f"SWAY_NULL_CACHE_DIR={folder / 'null-stats'}"

    monkeypatch.setenv(*variable.split("="))
    assert cli("run", folder / "sway.yaml").exit_code == 0
    (second,) = [run for run in list_runs() if run.id != first.id]
    noise = json.loads((second.path / RESULT).read_text())["probes"][0]
    assert noise["evidence"]["from_cache"] is True
    for place in (pack, folder, there):
        verified = cli("unpack", place, "--verify", second.id)
        assert verified.exit_code == 0, verified.output
        assert "agrees with the golden result: 3 probes" in verified.stdout


def test_a_run_that_gives_other_numbers_is_told_with_its_places(cli, packed, tmp_path):
    pack, run = packed
    other = json.loads((run.path / RESULT).read_text())
    other["probes"][1]["raw"] += 0.01
    other["probes"][2]["verdict"] = "error"
    file = tmp_path / "other.json"
    file.write_text(json.dumps(other))
    result = cli("unpack", pack, "--verify", file)
    assert result.exit_code == 1
    assert "differs from the golden result in 2 places" in result.stdout
    assert "moved.raw: Δ = 0.01" in result.stdout
    assert "shape.verdict: value mismatch (here 'error'" in result.stdout
    assert cli("unpack", pack, "--verify", file, "--tolerance", "0.5").exit_code == 1
    other["probes"][2] = json.loads((run.path / RESULT).read_text())["probes"][2]
    file.write_text(json.dumps(other))
    assert cli("unpack", pack, "--verify", file, "--tolerance", "0.5").exit_code == 0


def test_what_went_in_is_listed_with_its_size(cli, suite, tmp_path):
    out = tmp_path / "new" / "p.tar.gz"
    result = cli("pack", suite, "-o", out)
    assert result.exit_code == 0
    assert out.is_file()
    head, *rows = result.stdout.splitlines()
    assert head.startswith(str(out))
    assert [row.split()[0] for row in rows] == ["manifest.json", "sway.yaml"]
    assert "no null draws to take along: this model has no run here" in result.stderr


def test_other_names_of_options_are_known(cli, packed, suite, tmp_path):
    _, run = packed
    out = tmp_path / "p.tar.gz"
    result = cli("pack", suite, "-o", out, "--include-golden", run.path / RESULT, "--no-include-null-cache")
    assert result.exit_code == 0
    assert "golden.json" in result.stdout
    assert "null-stats" not in result.stdout


def test_nothing_is_overwritten(cli, packed, suite, tmp_path):
    pack, _ = packed
    assert "refusing to overwrite" in refused(cli("pack", suite))
    assert cli("unpack", pack, "-o", tmp_path / "x").exit_code == 0
    assert "refusing to overwrite" in refused(cli("unpack", pack, "-o", tmp_path / "x"))


def test_what_cannot_be_packed_is_refused(cli, suite, tmp_path):
    assert "not found" in refused(cli("pack", tmp_path / "no.yaml"))
    assert "no run 'never'" in refused(cli("pack", suite, "--golden", "never"))
    assert "--include-golden" in refused(cli("pack", suite, "--golden", tmp_path / "no.json"))
    assert cli("pack", suite, "--max-size-mb", "0").exit_code == 2
    assert not list(suite.parent.glob("*.gz"))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            "name: moved",
            "name: next_token",
            "only in the suite: next_token (delta_kl); only in the result: moved (delta_kl)",
        ),
        (
            "kind: adapter_ablation",
            "kind: delta_kl",
            "only in the suite: shape (delta_kl); only in the result: shape (",
        ),
        ("  - {name: noise, kind: null_adapter, runs: 3}\n", "", "(only in the result: noise (null_adapter))"),
    ],
)
def test_the_golden_result_is_of_this_suite(cli, suite, before, after, says):
    assert cli("run", suite).exit_code == 0
    (run,) = list_runs()
    suite.write_text(suite.read_text().replace(before, after))
    said = refused(cli("pack", suite, "--golden", run.id))
    assert f"the golden result is not of {suite}, its entries differ" in said
    assert says in said
    assert len(said.splitlines()) == 1
    assert not list(suite.parent.glob("*.gz"))


def test_an_entry_that_is_off_is_in_no_ones_way(cli, suite):
    suite.write_text(suite.read_text().replace("runs: 3}", "runs: 3, enabled: false}"))
    assert cli("run", suite).exit_code == 0
    (run,) = list_runs()
    assert cli("pack", suite, "--golden", run.id[:-2]).exit_code == 0


def test_what_cannot_be_unpacked_is_refused_and_leaves_nothing(cli, packed, tmp_path):
    pack, _ = packed
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(pack.read_bytes()[:-200])
    assert "failed to extract" in refused(cli("unpack", bad, "-o", tmp_path / "x"))
    assert "not found" in refused(cli("unpack", tmp_path / "no.tar.gz", "-o", tmp_path / "x"))
    assert "is not a folder" in refused(cli("unpack", pack, "-o", tmp_path / "x", "--base", "./nowhere"))
    assert "does not exist" in refused(cli("unpack", pack, "-o", tmp_path / "x", "--adapter", tmp_path / "gone"))
    assert not (tmp_path / "x").exists()


def test_there_must_be_a_golden_result_and_a_run(cli, suite, packed, tmp_path):
    pack, run = packed
    plain = tmp_path / "plain.tar.gz"
    assert cli("pack", suite, "-o", plain).exit_code == 0
    assert "was packed without --golden" in refused(cli("unpack", plain, "--verify", run.id))
    assert "no run 'never'" in refused(cli("unpack", pack, "--verify", "never"))
    (tmp_path / "r.json").write_text("{")
    assert "not valid JSON" in refused(cli("unpack", pack, "--verify", tmp_path / "r.json"))
