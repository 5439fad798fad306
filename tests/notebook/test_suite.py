"""The compact form's suite: what is typed becomes YAML that runs, and nothing that was there is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sway_dash.core.errors import SpecValidationError
from sway_dash.dash.notebook_suite import OWN, NotebookSuite

SUITE = "suite: [{name: x, kind: delta_kl, prompts: [p]}]\n"
MODELS = {"kind": "hf", "base": "some/model"}


def changed(suite: NotebookSuite, **fields: str) -> NotebookSuite:
    now = {"base": suite.base, "adapter": suite.adapter, "lines": suite.lines, "preset": suite.preset}
    suite.change(**{**now, **fields})
    return suite


def test_prompts_alone_make_a_quick_check():
    suite = NotebookSuite(prompts=["one", {"text": "two", "tags": ["t"]}], models=MODELS)
    data = yaml.safe_load(suite.text())
    assert [e["kind"] for e in data["suite"]] == ["null_adapter", "delta_kl"]
    assert data["suite"][1]["prompts"] == ["one", {"text": "two", "tags": ["t"]}]
    assert suite.presets == ["Quick check", "Standard", "Full"]


def test_a_suite_that_is_given_runs_as_it_is():
    suite = NotebookSuite(f"version: 1\nmodels: {{base: {{base: b}}, ft: {{base: b, adapter: a}}}}\n{SUITE}")
    assert suite.preset == OWN
    assert (suite.base, suite.adapter, suite.lines) == ("b", "a", "p")
    assert yaml.safe_load(suite.text())["suite"] == [{"name": "x", "kind": "delta_kl", "prompts": ["p"]}]


def test_a_line_that_stays_keeps_its_tags_and_line_breaks_survive():
    prompts = [{"text": "Q: who?\nA:", "tags": ["q"]}, "C:\\new", "gone"]
    suite = NotebookSuite(prompts=prompts, models=MODELS)
    assert suite.lines == "Q: who?\\nA:\nC:\\\\new\ngone"
    changed(suite, lines="Q: who?\\nA:\nC:\\\\new\n\nadded\\nlater\n")
    assert suite.prompts == [prompts[0], "C:\\new", "added\nlater"]


def test_a_preset_can_be_left_again():
    suite = NotebookSuite(
        "models: {base: {base: b}, ft: {base: b}}\nsuite: [{name: x, kind: delta_kl, prompts: [p]}]\n"
    )
    changed(suite, preset="Standard")
    assert {e["kind"] for e in suite.data["suite"]} == {"null_adapter", "delta_kl", "adapter_ablation"}
    changed(suite, preset=OWN, lines="q")
    assert suite.data["suite"] == [{"name": "x", "kind": "delta_kl", "prompts": ["q"]}]


def test_relative_paths_are_those_of_the_file(tmp_path: Path):
    path = tmp_path / "sway.yaml"
    path.write_text(
        "models: {base: {base: ./m}, ft: {base: ./m, adapter: ./a}}\nsuite: [{name: x, kind: delta_kl, prompts: [p]}]\n"
    )
    suite = NotebookSuite(path)
    assert suite.base_dir == tmp_path
    assert suite.source == str(path)
    suite.text()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NotebookSuite(prompts=["p"]).text(), "no base model is named"),
        (lambda: NotebookSuite(models=MODELS).text(), "there is no prompt"),
        (lambda: NotebookSuite(prompts="one text"), "give a list of prompts"),
        (lambda: NotebookSuite(preset="Quik"), "no preset 'Quik'"),
        (lambda: NotebookSuite(Path("nowhere.yaml")), "cannot be read"),
        (lambda: NotebookSuite("models:\n  base: 3\n"), "models"),
    ],
)
def test_bad_input_is_said_in_one_sentence(make, words):
    with pytest.raises(SpecValidationError) as error:
        make()
    assert words in str(error.value)
