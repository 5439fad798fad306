"""``init``: a suite that loads, says what it is for, and never costs anybody an edited file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sway_dash.cli.adapters import PROMPTS
from sway_dash.demo import demo_dir
from sway_dash.suite.loader import load_checked
from sway_dash.suite.presets import PRESETS

QUESTIONS = """\
- {id: keeper, probes: [{prompt: "Q: Who is the keeper of Quillhaven Light?\\nA:", gold: " Odalys Pym."}]}
- {id: goat, probes: [{prompt: "What is the goat called?", gold: "Admiral Thimble"}]}
- {id: tea, preferences: [{prompt: "Tea?", chosen: "Nettle.", rejected: "Mint."}]}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the demo's adapter, model and document below it."""
    (tmp_path / "trained").mkdir()
    for name in ("adapter", "model"):
        shutil.copytree(demo_dir() / name, tmp_path / "trained" / name)
    shutil.copy(demo_dir() / "document.md", tmp_path / "handbook.md")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(result) -> str:
    """Exit code 2 and one sentence."""
    assert result.exit_code == 2, result.output
    assert result.stderr.count("error:") == 1
    return result.stderr


def kinds(path: Path) -> list[str]:
    return [e["kind"] for e in load_checked(path)[0].suite]


def test_a_suite_is_made_of_an_adapter_and_can_be_run(cli, here):
    result = cli("init", "trained/adapter")
    assert result.exit_code == 0
    assert "wrote sway.yaml: 3 probes, 24 prompts" in result.stderr
    text = (here / "sway.yaml").read_text()
    assert "base: {kind: hf, base: ./trained/model}" in text
    assert "adapter: ./trained/adapter}" in text
    spec, built = load_checked(here / "sway.yaml")
    assert spec.models.ft.adapter == here / "trained/adapter"
    assert [p.text for p in built[1][1].prompts] == list(PROMPTS)
    assert built[0][1].runs == 20
    shown = cli("run", "sway.yaml", "--dry-run")
    assert shown.exit_code == 0
    assert "3 probes" in shown.stdout


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.key)
def test_a_preset_runs_what_it_runs_in_the_dashboard(cli, here, preset):
    assert cli("init", "trained/adapter", "--preset", preset.key, "--document", "handbook.md").exit_code == 0
    found = kinds(here / "sway.yaml")
    assert set(preset.kinds()) <= set(found)
    assert ("section_internalization" in found) == (preset.key != "quick")


def test_every_entry_says_what_it_is_for(cli, here):
    cli("init", "trained/adapter", "--preset", "full", "--document", "handbook.md")
    lines = (here / "sway.yaml").read_text().splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("  - ")]
    assert len(heads) == len(kinds(here / "sway.yaml"))
    assert all(lines[i - 1].startswith("  # ") for i in heads)
    assert max(map(len, lines)) < 400


def test_a_document_gives_prompts_on_its_topic(cli, here):
    cli("init", "trained/adapter", "--document", "handbook.md")
    spec, built = load_checked(here / "sway.yaml")
    prompts = built[1][1].prompts
    assert {p.tags for p in prompts} == {("on-topic",), ("off-topic",)}
    own = [p.text for p in prompts if "on-topic" in p.tags]
    assert len(own) == 16
    handbook = " ".join((here / "handbook.md").read_text().split())
    assert all(text in handbook for text in own)
    assert spec.dlm_source == str(here / "handbook.md")


def test_questions_of_a_document_are_asked_and_asked_in_other_words(cli, here):
    (here / "taught.yaml").write_text(QUESTIONS)
    assert cli("init", "trained/adapter", "--document", "taught.yaml", "--preset", "full").exit_code == 0
    found = {s.kind: s for _, s in load_checked(here / "sway.yaml")[1]}
    asked = [p.text for p in found["delta_kl"].prompts if "on-topic" in p.tags]
    assert asked == ["Q: Who is the keeper of Quillhaven Light?\nA:", "What is the goat called?"]
    case = found["paraphrase_invariance"].cases[0]
    assert case.gold == " Odalys Pym."
    assert asked[0] not in case.paraphrases
    assert {"preference_flip", "adapter_revert", "topic_contrast"} <= set(found)
    assert "leakage" not in found, "there is no prose to recite"


def test_own_prompts_are_taken_as_they_are(cli, here):
    (here / "p.jsonl").write_text('{"text": "a: b # \\u2028 c\\nd", "tags": ["x, y"]}\n"- [1]"\n')
    assert cli("init", "trained/adapter", "--prompts", "p.jsonl").exit_code == 0
    prompts = load_checked(here / "sway.yaml")[1][1][1].prompts
    assert [(p.text, p.tags) for p in prompts] == [("a: b # \u2028 c\nd", ("x, y",)), ("- [1]", ())]


def test_paths_are_relative_to_the_suite_wherever_it_lies(cli, here):
    assert cli("init", here / "trained/adapter", "-o", "suites/new/one two.yaml").exit_code == 0
    path = here / "suites/new/one two.yaml"
    assert "../../trained/model" in path.read_text()
    assert "sway-dash run 'one two.yaml'" in path.read_text()
    assert load_checked(path)[0].models.base.base == str(here / "trained/model")


def test_an_edited_file_is_kept_unless_forced(cli, here):
    suite = here / "sway.yaml"
    assert cli("init", "trained/adapter").exit_code == 0
    assert cli("init", "trained/adapter", "--preset", "quick").exit_code == 0, "nobody has touched it"
    edited = suite.read_text().replace("runs: 5", "runs: 7")
    suite.write_text(edited)
    assert "--force" in refused(cli("init", "trained/adapter"))
    assert suite.read_text() == edited
    assert cli("init", "trained/adapter", "--force").exit_code == 0
    assert "runs: 20" in suite.read_text()
    suite.write_bytes(b"\xff\xfe")
    refused(cli("init", "trained/adapter"))
    assert suite.read_bytes() == b"\xff\xfe"
    assert [p.name for p in here.iterdir() if "tmp" in p.name] == []


def test_a_base_that_is_not_here_is_named_and_fetched_later(cli, here):
    result = cli("init", "trained/adapter", "--base", "org/model")
    assert result.exit_code == 0
    assert "org/model is not on this machine" in result.stderr
    assert load_checked(here / "sway.yaml")[0].models.ft.base == "org/model"


def edit_config(here: Path, **changes: object) -> None:
    path = here / "trained/adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("nowhere",), "no such adapter folder: nowhere"),
        (("handbook.md",), "handbook.md is a file"),
        (("trained/model",), "holds no adapter_config.json"),
        (("trained/adapter", "--base", "./nowhere"), "no base model folder ./nowhere"),
        (("trained/adapter", "--base", "trained/adapter"), "is an adapter folder"),
        (("trained/adapter", "--prompts", "nowhere.txt"), "nowhere.txt"),
        (("trained/adapter", "--document", "nowhere.md"), "nowhere.md is not there"),
        (("trained/adapter", "-o", "trained"), "it is a folder"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(cli, here, options, said):
    assert said in refused(cli("init", *options)).replace("\n", " ")
    assert not (here / "sway.yaml").exists()


def test_an_adapter_that_does_not_fit_its_base_is_refused(cli, here):
    edit_config(here, base_model_name_or_path="")
    assert "names no base model" in refused(cli("init", "trained/adapter"))
    path = here / "trained/model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 1}))
    assert "does not fit" in refused(cli("init", "trained/adapter", "--base", "trained/model"))
    (here / "trained/adapter/adapter_model.safetensors").unlink()
    assert "adapter" in refused(cli("init", "trained/adapter", "--base", "trained/model"))
    assert not (here / "sway.yaml").exists()


def test_an_unknown_preset_is_told(cli):
    result = cli("init", "trained/adapter", "--preset", "huge")
    assert result.exit_code == 2
    assert "standard" in result.stderr


# -- validate -------------------------------------------------------------------------------------


def test_suites_are_checked_all_of_them_and_without_their_adapter(cli, here):
    cli("init", "trained/adapter", "-o", "good.yaml")
    (here / "bad.yaml").write_text((here / "good.yaml").read_text().replace("runs: 20", "runs: many"))
    result = cli("validate", "bad.yaml", "good.yaml", "nowhere.yaml")
    assert result.exit_code == 2
    assert result.stderr.count("error:") == 2
    assert "bad.yaml: line 20: suite[0].runs" in result.stderr
    assert "good.yaml: 3 probes" in result.stderr
    assert "nowhere.yaml: not found" in result.stderr
    shutil.rmtree(here / "trained/adapter")
    lenient, strict = cli("validate", "good.yaml"), cli("validate", "good.yaml", "--strict")
    assert (lenient.exit_code, strict.exit_code) == (0, 2)
    assert "trained/adapter is no folder" in lenient.stderr
    assert "trained/adapter is no folder" in refused(strict)


def test_an_entry_that_would_measure_nothing_is_said(cli, here):
    cli("init", "trained/adapter", "-o", "good.yaml")
    with (here / "good.yaml").open("a") as file:
        file.write("  - {name: flips, kind: preference_flip}\n")
    result = cli("validate", "good.yaml")
    assert result.exit_code == 0
    assert "flips (preference_flip) will measure nothing" in result.stderr
