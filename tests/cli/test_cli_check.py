"""``check``: an adapter without a suite file; where its base comes from and what is asked of the prompts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from sway_dash import backends
from sway_dash.cli.adapters import PROMPTS, base_in_config, read_prompts, resolve_base
from sway_dash.cli.boundary import UsageError
from sway_dash.suite.report import load_result
from sway_dash.suite.store import RESULT, list_runs
from tests.fakes_cli import Exact


@pytest.fixture
def specs(monkeypatch):
    """Adapters are opened as the fake backend; the list holds what was asked for."""
    seen = []
    monkeypatch.setattr(backends, "build", lambda spec, **_: (seen.append(spec), Exact())[1])
    # The files of a fake model say nothing.
    monkeypatch.setattr("sway_dash.suite.usable.check_usable", lambda *_, **__: None)
    return seen


def adapter(folder: Path, config: object = None) -> Path:
    folder.mkdir(parents=True)
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / "adapter_config.json").write_text(text)
    return folder


def refused(result) -> str:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert list(list_runs()) == []
    return result.stderr


def test_the_verdict_comes_first_then_the_report(cli, tmp_path, specs):
    folder = adapter(tmp_path / "my-adapter", {"base_model_name_or_path": "org/tiny"})
    result = cli("check", folder)
    assert result.exit_code == 0
    first = result.stdout.splitlines()[0]
    assert first.startswith("changed: ")
    assert result.stdout.index("changed: ") < result.stdout.index("sway report")
    assert "base: org/tiny (from adapter_config.json)" in result.stderr
    assert (specs[0].base, specs[0].adapter) == ("org/tiny", folder)


def test_the_run_can_be_opened_and_repeated_like_any_other(cli, tmp_path, specs):
    folder = adapter(tmp_path / "my-adapter", {"base_model_name_or_path": "org/tiny"})
    cli("check", folder, "--json", tmp_path / "r.json")
    (run,) = list_runs()
    assert run.meta()["name"] == "check my-adapter"
    suite = yaml.safe_load(run.spec_text())
    assert [(e["kind"], len(e.get("prompts", []))) for e in suite["suite"]] == [
        ("null_adapter", 0), ("delta_kl", len(PROMPTS)), ("adapter_ablation", len(PROMPTS)),
    ]  # fmt: skip
    assert suite["suite"][0]["runs"] == 20
    assert load_result(run.path / RESULT)[0] == load_result(tmp_path / "r.json")[0]
    copy = tmp_path / "again.yaml"
    copy.write_text(run.spec_text())
    assert cli("run", copy).exit_code == 0


def test_there_are_enough_prompts_for_an_interval():
    assert len(PROMPTS) >= 8
    assert len(set(PROMPTS)) == len(PROMPTS)


def test_a_relative_base_is_looked_for_beside_the_adapter_first(cli, tmp_path, specs, monkeypatch):
    folder = adapter(tmp_path / "a" / "adapter", {"base_model_name_or_path": "../model"})
    (tmp_path / "a" / "model").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = cli("check", folder)
    assert result.exit_code == 0
    assert specs[0].base == str(tmp_path / "a" / "model")
    assert f"base: {tmp_path / 'a' / 'model'} (from adapter_config.json)" in result.stderr


def test_and_then_below_the_current_folder(cli, tmp_path, specs, monkeypatch):
    folder = adapter(tmp_path / "adapter", {"base_model_name_or_path": "models/tiny"})
    (tmp_path / "here" / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    cli("check", folder)
    assert specs[0].base == str(tmp_path / "here" / "models" / "tiny")


def test_the_base_given_counts_and_is_not_announced(cli, tmp_path, specs):
    folder = adapter(tmp_path / "adapter", {"base_model_name_or_path": "org/other"})
    result = cli("check", folder, "--base", "org/mine", "--device", "cpu")
    assert (specs[0].base, specs[0].device) == ("org/mine", "cpu")
    assert "from adapter_config.json" not in result.stderr


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "holds no adapter_config.json: give the folder that PEFT's save_pretrained wrote"),
        ("{", "is not valid JSON"),
        ("[1]", "must hold a JSON object"),
        ({}, "names no base model: give it with --base MODEL_ID_OR_FOLDER"),
        ({"base_model_name_or_path": ""}, "names no base model"),
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"base_model_name_or_path": 5}, "names no base model"),
        ({"base_model_name_or_path": "./gone"}, "adapter/adapter_config.json names: give the base with --base"),
        ({"base_model_name_or_path": "/gone/for/good"}, "no base model folder /gone/for/good"),
    ],
)
def test_an_adapter_that_does_not_say_its_base_is_told_how_to_mend_it(cli, tmp_path, config, says):
    folder = adapter(tmp_path / "adapter", config)
    said = refused(cli("check", folder))
    assert said.startswith("error: ")
    assert says in said


def test_what_is_no_folder_is_refused(cli, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "no such adapter folder" in refused(cli("check", tmp_path / "nowhere"))
    assert "is a file: give the folder" in refused(cli("check", tmp_path / "file"))


def test_the_base_of_a_config_or_nothing(tmp_path):
    good = adapter(tmp_path / "good", {"base_model_name_or_path": " org/x "})
    assert base_in_config(good) == "org/x"
    for name, config in (("none", None), ("bad", "{"), ("empty", {}), ("blank", {"base_model_name_or_path": " "})):
        assert base_in_config(adapter(tmp_path / name, config)) is None


def test_a_hub_id_stays_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_base("org/name") == "org/name"
    with pytest.raises(UsageError, match="no base model folder"):
        resolve_base("./name")


# -- prompts --------------------------------------------------------------------------------------


def test_prompts_are_the_lines_that_are_not_empty(cli, tmp_path, specs):
    folder = adapter(tmp_path / "adapter", {"base_model_name_or_path": "org/tiny"})
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufefffirst one\r\n\n   \nsecond [red]\nthird\u2028still third\nfourth".encode())
    assert cli("check", folder, "--prompts", path).exit_code == 0
    (run,) = list_runs()
    assert run.result().probes[1].evidence["prompts"] == [
        "first one", "second [red]", "third\u2028still third", "fourth",
    ]  # fmt: skip


def test_prompts_may_be_lines_of_any_system(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"one\rtwo\r\nthree\n")
    assert [p["text"] for p in read_prompts(path)] == ["one", "two", "three"]


def test_prompts_may_come_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\n\ntwo\n")))
    assert read_prompts(Path("-")) == [{"text": "one"}, {"text": "two"}]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(UsageError, match="standard input holds no prompts"):
        read_prompts(Path("-"))


def test_records_have_a_text_or_a_prompt_and_may_have_tags(tmp_path):
    path = tmp_path / "p.jsonl"
    records = [{"text": "a", "tags": ["t"]}, {"prompt": "b\nc", "other": 1}, "d"]
    path.write_text("\n".join(json.dumps(r) for r in records) + "\n\n")
    assert read_prompts(path) == [{"text": "a", "tags": ["t"]}, {"text": "b\nc"}, {"text": "d"}]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("none.txt", None, "cannot read prompts: "),
        ("folder", "folder", "cannot read prompts: "),
        ("empty.txt", b"", "holds no prompts: write one a line"),
        ("blank.txt", b" \n\t\n", "holds no prompts"),
        ("binary.txt", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("torn.jsonl", b'{"text": "a"}\n{"text": "b', "line 2: not valid JSON"),
        ("list.jsonl", b"[1]\n", 'line 1: needs a field "text" or "prompt"'),
        ("number.jsonl", b'{"text": 5}\n', "needs a field"),
        ("blank.jsonl", b'{"text": " "}\n', "needs a field"),
        ("other.jsonl", b'{"question": "x"}\n', "needs a field"),
        ("tags.jsonl", b'{"text": "x", "tags": "t"}\n', '"tags" must be a list of texts'),
    ],
)
def test_bad_prompts_are_one_error_before_a_model_is_loaded(cli, tmp_path, specs, name, data, says):
    folder = adapter(tmp_path / "adapter", {"base_model_name_or_path": "org/tiny"})
    path = tmp_path / name
    if data == "folder":
        path.mkdir()
    elif data is not None:
        path.write_bytes(data)
    assert says in refused(cli("check", folder, "--base", "org/x", "--prompts", path))
    assert specs == []


def test_the_most_moved_prompts_are_kept_token_by_token_unless_not_wanted(cli, tmp_path, specs):
    folder = adapter(tmp_path / "my-adapter", {"base_model_name_or_path": "org/tiny"})
    cli("check", folder, "--details", "3")
    cli("check", folder, "--details", "0")
    without, kept = list_runs()
    assert sorted(len(run.details().keys()) for run in (without, kept)) == [0, 3]
