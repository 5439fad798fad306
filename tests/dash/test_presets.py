"""Presets change what is run and lose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash.draft import Draft
from sway_dash.dash.presets import PRESETS, Preset, apply, needs_nothing
from sway_dash.demo import demo_dir
from tests.dash.conftest import suite_text

QUICK, STANDARD, FULL = PRESETS


def draft(text: str) -> Draft:
    found = Draft()
    found.load(text, base_dir=Path("/tmp"))
    return found


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path))


def running(data: dict[str, Any]) -> list[str]:
    return [e["kind"] for e in data["suite"] if e.get("enabled", True)]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_a_preset_keeps_models_prompts_comments_and_entries(preset: Preset) -> None:
    text = (demo_dir() / "sway.yaml").read_text(encoding="utf-8")
    d = Draft()
    before = d.data
    d.set_data(apply(preset, d.data))
    assert not d.problems
    assert d.data["models"] == before["models"]
    own = [e["name"] for e in before["suite"]]
    assert [e["name"] for e in d.data["suite"]][: len(own)] == own
    assert d.get("suite", 1, "prompts") == before["suite"][1]["prompts"]
    comments = [line for line in text.splitlines() if line.strip().startswith("#")]
    assert [line for line in d.text.splitlines() if line.strip().startswith("#")] == comments
    d.undo()
    assert d.text == text


def test_what_each_preset_runs() -> None:
    data = draft(suite_text()).data
    assert running(apply(QUICK, data)) == ["null_adapter", "delta_kl"]
    assert running(apply(STANDARD, data)) == ["null_adapter", "delta_kl", "adapter_ablation"]
    assert set(running(apply(FULL, data))) >= {"null_adapter", "delta_kl", "adapter_ablation"}
    runs = [apply(p, data)["suite"][0]["runs"] for p in PRESETS]
    assert runs == [5, 20, 50]


def test_one_preset_after_the_other_switches_entries_back_on() -> None:
    data = draft(suite_text()).data
    there_and_back = apply(STANDARD, apply(QUICK, data))
    assert running(there_and_back) == ["null_adapter", "delta_kl", "adapter_ablation"]
    assert len(there_and_back["suite"]) == 3


def test_missing_probes_get_the_prompts_that_are_there() -> None:
    d = draft(suite_text(nulls=0, ablation=False))
    d.set_data(apply(STANDARD, d.data))
    assert not d.problems
    assert running(d.data) == ["null_adapter", "delta_kl", "adapter_ablation"]
    assert d.get("suite", 2, "prompts") == d.get("suite", 1, "prompts")
    assert d.get("suite", 0, "kind") == "null_adapter"


def test_an_empty_suite_gets_its_probes_and_still_wants_prompts() -> None:
    d = draft("version: 1\nmodels: {base: {base: a, kind: custom}, ft: {base: a, kind: custom}}\n")
    d.set_data(apply(QUICK, d.data))
    assert running(d.data) == ["null_adapter", "delta_kl"]
    assert [where for where, _ in d.problems] == [("suite", 1, "prompts")]


def test_kinds_that_need_more_are_left_out() -> None:
    from sway_dash.probes.base import _REGISTRY, Probe, ProbeSpec

    class NeedsSpec(ProbeSpec):
        kind: str = "needs"
        document: str

    class Needs(Probe):
        kind = "needs"
        spec_cls = NeedsSpec

        def run(self, spec: Any, ctx: Any) -> Any: ...

    try:
        assert not needs_nothing("needs")
        assert "needs" not in running(apply(FULL, draft(suite_text()).data))
    finally:
        _REGISTRY.pop("needs")


def test_a_plug_in_that_fails_when_asked_does_not_take_the_presets_along() -> None:
    from sway_dash.probes.base import _REGISTRY, Probe

    class Failing(Probe):
        kind = "failing"

        def run(self, spec: Any, ctx: Any) -> Any: ...

        def asks(self, spec: Any, ctx: Any) -> Any:
            raise KeyError("no model")

    try:
        assert not needs_nothing("failing")
        assert "failing" not in running(apply(FULL, draft(suite_text()).data))
    finally:
        _REGISTRY.pop("failing")
