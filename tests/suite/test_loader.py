"""Reading a suite: every bad file is one sentence that says where, what and what instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.result import DEFAULT_COMPONENT_WEIGHTS
from sway_dash.suite.loader import check_entries, from_dict, load_checked, load_spec, loads, parse_yaml
from sway_dash.suite.spec import merge_weights

MODELS = "models:\n  base: {base: org/tiny}\n  ft: {base: org/tiny, adapter: ./adapter}\n"
GOOD = MODELS + "suite:\n  - {name: moved, kind: delta_kl, prompts: [one, two]}\n"


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "sway.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(tmp_path: Path, text: str | bytes) -> str:
    path = write(tmp_path, text)
    with pytest.raises(SpecValidationError) as caught:
        load_checked(path)
    assert caught.value.source == str(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def entry(**keys: Any) -> dict[str, Any]:
    return {"name": "p", "kind": "delta_kl", "prompts": ["x"], **keys}


def problem_of(*entries: dict[str, Any]) -> str:
    spec = from_dict({"models": {"base": {"base": "m"}, "ft": {"base": "m"}}, "suite": list(entries)})
    with pytest.raises(SpecValidationError) as caught:
        check_entries(spec)
    return str(caught.value)


def adapter_in(folder):
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize("there", ["nothing", "an empty folder"])
def test_a_suite_that_is_to_be_run_needs_its_adapter_there(tmp_path, there):
    if there == "an empty folder":
        (tmp_path / "adapter").mkdir()
    with pytest.raises(
        SpecValidationError, match=r"line 3: models.ft.adapter: .*adapter (is no folder|has no adapter_c)"
    ):
        load_checked(write(tmp_path, GOOD))


def test_a_suite_that_is_to_be_run_needs_prompts(tmp_path):
    adapter_in(tmp_path)
    text = MODELS + "suite:\n  - {name: moved, kind: delta_kl, prompts: []}\n"
    with pytest.raises(
        SpecValidationError, match=r"line 5: suite\[0\].prompts: there are no prompts: add one .probe moved"
    ):
        load_checked(write(tmp_path, text))


def test_a_good_file_is_read_and_its_paths_are_meant_from_where_it_lies(tmp_path):
    adapter_in(tmp_path)
    spec, built = load_checked(write(tmp_path, GOOD))
    assert spec.models.ft.adapter == tmp_path / "adapter"
    assert spec.models.base.base == "org/tiny"
    assert [(s.name, s.kind, len(s.prompts)) for _, s in built] == [("moved", "delta_kl", 2)]


def test_a_base_that_is_a_folder_beside_the_file_is_a_path_and_any_other_is_a_hub_id(tmp_path):
    (tmp_path / "model").mkdir()
    text = GOOD.replace("base: {base: org/tiny}", "base: {base: model}")
    spec = load_spec(write(tmp_path, text))
    assert spec.models.base.base == str(tmp_path / "model")
    assert spec.models.ft.base == "org/tiny"


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = GOOD.replace("./adapter", "~/a")
    assert load_spec(write(tmp_path, text)).models.ft.adapter == tmp_path / "a"


@pytest.mark.parametrize(
    ("path", "says"),
    [("nowhere.yaml", "not found"), (".", "is a folder"), ("x" * 400, "cannot be read")],
    ids=["missing", "folder", "name too long"],
)
def test_a_path_that_is_no_file_is_said(tmp_path, path, says):
    with pytest.raises(SpecValidationError, match=says):
        load_spec(tmp_path / path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models: [", "invalid YAML at line 2"),
        ("a: b: c", "invalid YAML at line 1"),
        ("\tmodels: x", "invalid YAML at line 1"),
        ("a: !!python/object/apply:os.system [echo]", "invalid YAML"),
        ("a: &x [*x, *y]", "invalid YAML"),
        ("- 1\n- 2", "must be a mapping with keys models, defaults and suite; it is a list"),
        ("just text", "must be a mapping"),
        ("", "it is empty"),
        ("# a comment only", "it is empty"),
        ("---\na: 1\n---\nb: 2", "invalid YAML"),
        (b"\xff\xfe\x00bad", "is not UTF-8 text"),
        (b"models: \x00", "invalid YAML"),
        ("a: " + "9" * 5000, "invalid YAML"),
    ],
)
def test_what_is_no_mapping_in_yaml_is_refused_in_one_line(tmp_path, text, says):
    message = refused(tmp_path, text)
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "defalts: {}\n", "line 6: defalts: unknown key. Did you mean 'defaults'?"),
        (GOOD + "defaults: {sed: 1}\n", "line 6: defaults.sed: unknown key. Did you mean 'seed'?"),
        (GOOD.replace("adapter:", "adaptor:"), "line 3: models.ft.adaptor: unknown key. Did you mean 'adapter'?"),
        (GOOD.replace("prompts", "promts"), "line 5: suite[0].promts: unknown key. Did you mean 'prompts'?"),
        (GOOD.replace("delta_kl", "delta_lk"), "unknown probe kind 'delta_lk'. Did you mean 'delta_kl'?"),
        (GOOD.replace("kind: delta_kl, ", ""), "missing string 'kind'"),
        (GOOD.replace("name: moved, ", ""), "name: is required"),
        (GOOD.replace("[one, two]", "[one, '']"), "line 5: suite[0].prompts[1].text: is empty"),
        (GOOD.replace("[one, two]", "[one, 2]"), "suite[0].prompts[1]: a prompt is text or {text, tags}, not int (2)"),
        (GOOD.replace("[one, two]", "[one, no]"), "not bool (False); put it in quotes"),
        (GOOD.replace("[one, two]", "[[one]]"), "a prompt is text or {text, tags}, not list"),
        (GOOD.replace("[one, two]", "one"), "suite[0].prompts: must be a list, not text ('one')"),
        (GOOD.replace("[one, two]", "[{text: one, tag: [a]}]"), "prompts[0].tag: unknown key. Did you mean 'tags'?"),
        (GOOD.replace("suite:", "suite: 5\nx:"), "suite: must be a list, not a number"),
        (MODELS + "suite: [5]\n", "line 4: suite[0]: must be a mapping, not a number"),
        (MODELS + "suite: []\n", "there are no probes; add an entry such as"),
        (MODELS, "there are no probes"),
        ("suite: []\n", "models: is required"),
        (GOOD + "defaults: {seed: x}\n", "line 6: defaults.seed: Input should be a valid integer"),
        (GOOD + "defaults: {seed: -1}\n", "greater than or equal to 0"),
        (GOOD + "defaults: {top_k: 0}\n", "greater than or equal to 1"),
        (GOOD + "defaults: {coverage_threshold: 1.5}\n", "less than or equal to 1"),
        (GOOD + "defaults: {coverage_threshold: .nan}\n", "finite"),
        (GOOD + "defaults: {concurrent_probes: 33}\n", "less than or equal to 32"),
        (GOOD + "defaults: {score_weights: {adherance: 1}}\n", "unknown category keys ['adherance']"),
        (GOOD + "defaults: {score_weights: {adherence: -1}}\n", "non-negative"),
        (GOOD.replace("kind: delta_kl", "kind: delta_kl, weight: -1"), "greater than or equal to 0"),
        (GOOD.replace("kind: delta_kl", "kind: delta_kl, top_k: 0"), "greater than or equal to 1"),
        (GOOD.replace("kind: delta_kl", "kind: delta_kl, divergence: tv"), "'kl' or 'js'"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(tmp_path, text, says):
    assert says in refused(tmp_path, text)


@pytest.mark.parametrize("version", ["2", "'2'", "2.0"])
def test_another_version_is_refused_however_it_is_written(tmp_path, version):
    message = refused(tmp_path, f"version: {version}\n{GOOD}")
    assert message == (
        "line 1: version: unsupported sway spec version 2: this program reads version 1; a newer sway-dash may read it"
    )


def test_the_version_is_said_before_unknown_keys_that_the_newer_version_may_know(tmp_path):
    assert refused(tmp_path, f"version: 7\nnovel: 1\n{GOOD}").startswith("line 1: version: unsupported")


def test_two_probes_of_one_name_are_refused_with_both_places(tmp_path):
    text = GOOD + "  - {name: moved, kind: delta_kl, prompts: [x]}\n"
    message = refused(tmp_path, text)
    assert message == "line 6: suite[1].name: 'moved' is already the name of entry #0: rename one"


def test_every_wrong_entry_is_named_at_once():
    message = problem_of(entry(promts=["x"]), entry(name="q", kind="nope"), entry(name="r"))
    assert "suite[0].promts" in message
    assert "unknown probe kind 'nope'" in message
    assert "suite[2]" not in message


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"lambdas": []}, "lambdas: needs at least 3 items, has 0"),
        ({"lambdas": [0, 1]}, "lambdas: needs at least 3 items, has 2"),
        ({"lambdas": [0, 0.5, 0.5]}, "every λ may be named once"),
        ({"lambdas": [0, 1, float("nan")]}, "finite"),
        ({"lambdas": [0, 1, "much"]}, "lambdas[2]"),
        ({"lambdas": None}, "lambdas: must be a list, not nothing (null)"),
        ({"assert_saturation_between": [0.3]}, "assert_saturation_between"),
    ],
)
def test_bad_strengths_of_an_ablation_are_refused(keys, says):
    assert says in problem_of(entry(kind="adapter_ablation", **keys))


@pytest.mark.parametrize("keys", [{"runs": 0}, {"runs": 101}, {"runs": 2.5}, {"init_scale": 0}, {"seed_base": -1}])
def test_bad_settings_of_the_null_are_refused(keys):
    (name,) = keys
    assert f"suite[0].{name}" in problem_of({"name": "n", "kind": "null_adapter", **keys})


def test_problems_carry_their_place_for_an_editor():
    spec = from_dict({"models": {"base": {"base": "m"}, "ft": {"base": "m"}}, "suite": [entry(prompts=["a", ""])]})
    with pytest.raises(SpecValidationError) as caught:
        check_entries(spec)
    assert caught.value.problems[0][0] == ("suite", 0, "prompts", 1, "text")


def test_plain_data_that_is_no_mapping_is_refused():
    with pytest.raises(SpecValidationError, match="must be a mapping"):
        from_dict([1])


def test_lone_surrogates_are_refused_before_they_reach_a_file():
    assert "unicode" in problem_of(entry(prompts=["\ud800"]))


def test_an_alias_that_contains_itself_does_not_hang():
    data, lines = parse_yaml("a: &x [1, *x]\n", source="s")
    assert data["a"][1] is data["a"]
    assert lines[("a", 0)] == 1


def test_a_suite_may_use_anchors(tmp_path):
    text = MODELS + (
        "suite:\n"
        "  - {name: a, kind: delta_kl, prompts: [&p {text: one, tags: [t]}, two]}\n"
        "  - {name: b, kind: adapter_ablation, prompts: [*p]}\n"
    )
    adapter_in(tmp_path)
    _, built = load_checked(write(tmp_path, text))
    assert built[1][1].prompts[0] == built[0][1].prompts[0]
    assert built[1][1].prompts[0].tags == ("t",)


def test_loads_reads_text_without_a_folder():
    assert loads(GOOD).models.base.base == "org/tiny"


def test_weights_are_merged_over_the_defaults():
    assert merge_weights({"adherence": 0.5}) == {**DEFAULT_COMPONENT_WEIGHTS, "adherence": 0.5}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bogus": 1.0}, "unknown category keys"),
        ({"adherence": -1.0}, "non-negative"),
        (dict.fromkeys(DEFAULT_COMPONENT_WEIGHTS, 0.0), "at least one positive weight"),
    ],
)
def test_bad_weights_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        merge_weights(given)
