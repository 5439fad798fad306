"""Finding models and adapters, however the folders are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sway_dash.dash import discover as module
from sway_dash.dash.discover import Discovery, discover


@pytest.fixture(autouse=True)
def nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("SWAY_MODEL_DIRS", raising=False)


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def look(folder: Path) -> Discovery:
    return discover(folder, fresh=True)


def values(found: Discovery, kind: module.Kind) -> set[str]:
    return {f.value for f in found.of(kind) if f.where != "the example"}


def test_folders_below_the_suite_are_named_as_the_suite_would(tmp_path: Path) -> None:
    own = tmp_path / "own"
    model(own / "models" / "base")
    adapter(own / "out" / "checkpoint-5")
    model(own / ".hidden" / "base")
    model(own / "node_modules" / "base")
    found = look(own)
    assert values(found, "base") == {"./models/base"}
    assert values(found, "adapter") == {"./out/checkpoint-5"}
    assert not found.cut


def test_the_example_is_always_there(tmp_path: Path) -> None:
    found = look(tmp_path / "nowhere")
    assert [Path(f.value).name for f in found.of("adapter")] == ["adapter"]
    assert [Path(f.value).name for f in found.of("base")] == ["model"]


def test_named_folders_are_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = model(tmp_path / "a" / "m"), adapter(tmp_path / "b" / "x")
    monkeypatch.setenv("SWAY_MODEL_DIRS", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b"), "/nowhere", ""]))
    found = look(tmp_path / "empty")
    assert (values(found, "base"), values(found, "adapter")) == ({str(a)}, {str(b)})


def test_links_in_a_ring_end(tmp_path: Path) -> None:
    own = tmp_path / "own"
    base = model(own / "m")
    (base / "up").symlink_to(own)
    (own / "again").symlink_to(base)
    (own / "torn").symlink_to(own / "not there")
    (own / "self").symlink_to(own / "self")
    found = look(own)
    assert len(found.of("base")) == 2  # it, by one of its names, and the example's
    assert found.folders < 20


def test_a_linked_model_is_found(tmp_path: Path) -> None:
    real = model(tmp_path / "elsewhere" / "m")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "link").symlink_to(real)
    assert values(look(tmp_path / "own"), "base") == {"./link"}


def test_a_search_has_an_end_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(30):
        (tmp_path / "own" / str(i)).mkdir(parents=True)
    monkeypatch.setattr(module, "MAX_FOLDERS", 10)
    found = look(tmp_path / "own")
    assert found.folders == 10
    assert "SWAY_MODEL_DIRS" in found.cut
    monkeypatch.setattr(module, "MAX_SECONDS", -1.0)
    assert look(tmp_path / "own").folders == 0


def test_too_deep_is_not_looked_at(tmp_path: Path) -> None:
    model(tmp_path / "own" / "1" / "2" / "3" / "4")
    model(tmp_path / "own" / "a" / "2" / "3" / "4" / "5")
    assert values(look(tmp_path / "own"), "base") == {"./1/2/3/4"}


def test_the_hubs_cache_gives_ids_for_bases_and_folders_for_adapters(tmp_path: Path) -> None:
    model(tmp_path / "hub" / "models--org--tiny--v2" / "snapshots" / "abc")
    folder = adapter(tmp_path / "hub" / "models--me--lora" / "snapshots" / "def")
    (tmp_path / "hub" / "datasets--x").mkdir()
    (tmp_path / "hub" / "models--half").mkdir()
    found = look(tmp_path / "empty")
    assert values(found, "base") == {"org/tiny--v2"}
    assert values(found, "adapter") == {str(folder)}


def test_a_folder_that_cannot_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model(tmp_path / "own" / "good")
    (tmp_path / "own" / "bad").mkdir()
    plain = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "bad":
            raise PermissionError
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert values(look(tmp_path / "own"), "base") == {"./good"}


def test_a_search_is_remembered_until_one_asks_again(tmp_path: Path) -> None:
    first = look(tmp_path / "own")
    model(tmp_path / "own" / "new")
    assert values(discover(tmp_path / "own"), "base") in (set(), {"./new"})
    assert discover(tmp_path / "empty", fresh=True) is discover(tmp_path / "empty")
    assert values(look(tmp_path / "own"), "base") == {"./new"}
    assert first.cut == ""
