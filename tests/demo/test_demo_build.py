"""The whole build on a tiny scale: same code path, a model that learns nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sway_dash.demo.build import TINY, build
from sway_dash.demo.training import Schedule
from tests.processes import loaded


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    build(out, recipe=TINY)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_build_writes_the_files_of_the_demo(built: Path) -> None:
    assert sorted(files(built)) == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "document.md",
        "model/config.json",
        "model/generation_config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
        "sway.yaml",
    ]


def test_a_second_build_writes_the_same_bytes(built: Path, tmp_path: Path) -> None:
    build(tmp_path, recipe=TINY)
    assert files(tmp_path) == files(built)


def test_an_adapter_alone_is_trained_to_the_same_bytes(built: Path) -> None:
    before = files(built)
    build(built, recipe=TINY, keep_base=True)
    assert files(built) == before


def test_another_seed_gives_another_model(built: Path, tmp_path: Path) -> None:
    build(tmp_path, recipe=replace(TINY, seed=TINY.seed + 1))
    weights = "model/model.safetensors"
    assert files(tmp_path)[weights] != files(built)[weights]


def test_a_build_leaves_other_files_of_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.jsonl").write_text("{}\n")
    build(tmp_path, recipe=TINY)
    assert (tmp_path / "run" / "events.jsonl").read_text() == "{}\n"


def test_the_learning_rate_warms_up_and_decays() -> None:
    schedule = Schedule(steps=100, batch=1, rate=1.0, warmup=10)
    assert schedule.rate_at(0) == pytest.approx(0.1)
    assert schedule.rate_at(9) == pytest.approx(1.0)
    assert schedule.rate_at(55) == pytest.approx(0.05 + 0.95 * 0.5)
    assert schedule.rate_at(100) == pytest.approx(0.05)


def test_importing_the_demo_stays_light() -> None:
    code = (
        "import pkgutil, importlib, sway_dash.demo as demo;"
        "[importlib.import_module(f'sway_dash.demo.{m.name}') for m in pkgutil.iter_modules(demo.__path__)]"
    )
    assert loaded(code, ("torch", "transformers", "peft", "tokenizers")) == []
