"""``diff``: two adapters over one base, each measured as a run of its own, compared prompt by prompt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sway_dash.cli.boundary import UsageError
from sway_dash.cli.diffing import asked
from sway_dash.demo import demo_dir
from sway_dash.suite.store import list_runs
from tests.adapters import made
from tests.fakes import FakeBackend

SUITE = """\
models:
  base: {kind: custom, base: plain, entry_point: "tests.cli.test_cli_diff:ByAdapter"}
  ft: {kind: custom, base: plain, adapter: ./not-there, entry_point: "tests.cli.test_cli_diff:ByAdapter"}
suite:
  - {name: noise, kind: null_adapter, runs: 4, cache: false}
  - {name: moved, kind: delta_kl, prompts: [one, two, three, four, five, six, seven]}
  - {name: broken, kind: section_internalization}
"""


class ByAdapter(FakeBackend):
    """As strong as the name of its adapter says: ``…/2.5``."""

    def __init__(self, *, base_spec: Any = None, adapter_path: Any = None) -> None:
        super().__init__(base_spec=base_spec, adapter_path=adapter_path)
        self.strong = float(Path(adapter_path).name)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "suite" / "sway.yaml"
    path.parent.mkdir()
    path.write_text(SUITE)
    return path


@pytest.fixture
def adapters(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "v1" / "1.0", tmp_path / "v2" / "2.0"
    for folder in found:
        folder.mkdir(parents=True)
    return found


def refused(result: Any) -> str:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert list(list_runs()) == []
    return str(result.stderr)


def test_both_are_measured_as_runs_of_their_own_and_compared(cli, spec, adapters):
    a, b = adapters
    result = cli("diff", spec, "--a", a, "--b", b, "--format", "json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["labels"] == ["1.0", "2.0"]
    assert [r["status"] for r in data["runs"]] == ["finished", "finished"]
    assert {r["adapter"] for r in data["runs"]} == {str(a), str(b)}
    (paired,) = data["steps"][0]["prompts"]
    assert (paired["probe"], paired["n"]) == ("moved", 7)
    assert paired["mean_delta"] > 0
    # A probe that was skipped is not known, never 0.
    assert data["scores"]["broken"] == [None, None]
    assert data["warnings"] == []
    runs = sorted(list_runs(), key=lambda run: run.meta()["created_at"])
    assert [str(run.path) in result.stderr for run in runs] == [True, True]
    assert [f"adapter: {json.dumps(str(x))}" in run.spec_text() for x, run in zip(adapters, runs, strict=True)]


def test_the_runs_can_be_compared_again_with_the_same_numbers(cli, spec, adapters):
    a, b = adapters
    first = json.loads(cli("diff", spec, "--a", a, "--b", b, "--format", "json").stdout)
    runs = [r["id"] for r in first["runs"]]
    again = json.loads(cli("compare", *runs, "--format", "json").stdout)
    assert again["steps"][0]["prompts"][0]["mean_delta"] == first["steps"][0]["prompts"][0]["mean_delta"]
    assert again["composite_series"] == first["composite_series"]


def test_a_worse_second_adapter_fails_the_gate(cli, spec, adapters):
    a, b = adapters
    assert cli("diff", spec, "--a", b, "--b", a).exit_code == 0
    result = cli("diff", spec, "--a", b, "--b", a, "--fail-on-regression", "0.05")
    assert result.exit_code == 1
    assert "regression: 1.0 is worse than 2.0" in result.stderr
    assert "1.0 against 2.0: of 3 probes 1 fell by 0.10 or more, 1 by 0.20 or more" in result.stdout
    assert "= unchanged: noise; judged in neither: broken" in result.stdout
    assert cli("diff", spec, "--a", a, "--b", b, "--fail-on-regression", "0.05").exit_code == 0


def test_the_comparison_goes_to_a_file(cli, spec, adapters, tmp_path):
    a, b = adapters
    out = tmp_path / "diff.html"
    result = cli("diff", spec, "--a", a, "--b", b, "--format", "html", "--out", out)
    assert result.exit_code == 0
    assert out.read_text().lower().startswith("<!doctype html>")


def test_what_is_asked_must_be_two_adapters_and_one_suite(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    assert asked(["s.yaml"], a=a, b=b, base=None, prompts=None).suite == Path("s.yaml")
    assert asked([str(a), str(b)], a=None, b=None, base="x", prompts=None).adapters == (a, b)
    bad: list[tuple[list[str], dict[str, Any], str]] = [
        (["s.yaml"], {"a": a}, "--b is missing"),
        (["s.yaml"], {"b": b}, "--a is missing"),
        (["s.yaml", "t.yaml"], {"a": a, "b": b}, "name one suite"),
        (["one"], {}, "two adapters are needed"),
        (["1", "2", "3"], {}, "two adapters are needed"),
        (["s.yaml"], {"a": a, "b": a}, "given twice"),
        (["s.yaml"], {"a": a, "b": b, "prompts": a}, "--prompts is for a diff without a suite"),
    ]
    for targets, options, said in bad:
        with pytest.raises(UsageError, match=said):
            asked(targets, **{"a": None, "b": None, "base": None, "prompts": None, **options})


def test_what_cannot_be_measured_is_said_before_a_model_is_loaded(cli, spec, adapters, tmp_path):
    a, b = adapters
    both = ("--a", a, "--b", b)
    assert "not found" in refused(cli("diff", tmp_path / "none.yaml", *both))
    assert "folder" in refused(cli("diff", tmp_path, *both))
    assert "invalid YAML" in refused(cli("diff", _file(tmp_path / "bad.yaml", "suite: ["), *both))
    assert "requires --out" in refused(cli("diff", spec, *both, "--format", "html"))
    assert "no such adapter folder" in refused(cli("diff", tmp_path / "x", tmp_path / "y"))
    assert "holds no adapter_config.json" in refused(cli("diff", a, b))
    for adapter, base in zip(adapters, ("org/one", "org/two"), strict=True):
        _file(adapter / "adapter_config.json", json.dumps({"base_model_name_or_path": base}))
    assert "the adapters name different bases" in refused(cli("diff", a, b))


def test_an_adapter_that_cannot_be_measured_is_named(cli, spec, adapters, tmp_path):
    bad = tmp_path / "unnumbered"
    bad.mkdir()
    result = cli("diff", spec, "--a", adapters[0], "--b", bad)
    assert result.exit_code == 2
    assert "unnumbered: " in result.stderr
    assert result.stdout == ""


def test_two_adapters_without_a_suite(cli, tmp_path):
    """On the demo: the base is the same, so only the adapters differ; what was measured is not measured again."""
    prompts = _file(tmp_path / "prompts.txt", "\n".join(f"The keeper of light number {i}" for i in range(6)))
    args = (made("zero"), made("targeted"), "--base", demo_dir() / "model", "--prompts", prompts, "--details", "0")
    result = cli("diff", *args, "--format", "json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["warnings"] == []
    (paired,) = [p for p in data["steps"][0]["prompts"] if p["probe"] == "change"]
    assert paired["n"] == 6
    assert paired["more_changed"] == 6
    # A copy of the first: its run is taken, under the name and the place that were given.
    copy = shutil.copytree(made("zero"), tmp_path / "copied")
    again = cli("diff", copy, *args[1:], "--format", "json")
    assert "copied was measured before" in again.stderr
    named = json.loads(again.stdout)
    assert next((run["label"], run["adapter"]) for run in named["runs"]) == ("copied", str(copy))
    again = cli("diff", *args, "--format", "json")
    assert "was measured before" in again.stderr
    assert json.loads(again.stdout)["prompts"] == data["prompts"]
    assert len(list(list_runs())) == 2


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
