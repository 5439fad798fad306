"""Checkpoints as they appear: half-written ones wait, whole ones are taken once, and only own files ever go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sway_dash.core.errors import SwayError
from sway_dash.suite.adapted import SuiteText
from sway_dash.suite.gate import judge
from sway_dash.suite.report import load_result
from sway_dash.suite.sweep import Sweep
from sway_dash.suite.watch import History, Lookout, OutputFolder, Pointer, Watched, unready
from tests.fakes_sweep import SUITE, adapter, write_weights


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 2e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lookout(out: Path, clock: Clock) -> Lookout:
    return Lookout(OutputFolder(out), settle_s=2, grace_s=30, clock=clock)


def checkpoint(out: Path, step: int, clock: Clock, *, state: bool = True, content: str = "") -> Path:
    folder = adapter(out / f"checkpoint-{step}", content=content or str(step))
    if state:
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    touch(folder, clock)
    return folder


def touch(folder: Path, clock: Clock) -> None:
    for path in folder.iterdir():
        os.utime(path, (clock.now, clock.now))


def names(lookout: Lookout) -> list[str]:
    return [t.label for t in lookout.ready()]


def test_a_whole_checkpoint_is_taken_after_a_rest_and_once(out, lookout, clock):
    folder = checkpoint(out, 100, clock)
    assert names(lookout) == []
    assert lookout.growing == {folder: ""}
    clock.now += 2
    assert names(lookout) == ["checkpoint-100"]
    lookout.done(folder)
    assert names(lookout) == []
    write_weights(folder, "trained on")
    touch(folder, clock)
    assert names(lookout) == []
    clock.now += 2
    assert names(lookout) == ["checkpoint-100"]


def test_what_was_written_long_ago_has_rested(out, lookout, clock):
    for step in (1000, 200, 30):
        checkpoint(out, step, clock)
    clock.now += 3600
    assert names(lookout) == ["checkpoint-30", "checkpoint-200", "checkpoint-1000"]


def test_a_checkpoint_that_grows_is_left_alone(out, lookout, clock):
    folder = checkpoint(out, 100, clock)
    for _ in range(5):
        clock.now += 1.5
        (folder / "optimizer.pt").write_bytes(os.urandom(8))
        touch(folder, clock)
        assert names(lookout) == []
    clock.now += 2
    assert names(lookout) == ["checkpoint-100"]


def test_without_the_state_a_trainer_writes_last_it_rests_longer(out, lookout, clock):
    checkpoint(out, 100, clock, state=False)
    clock.now += 10
    assert names(lookout) == []
    clock.now += 20
    assert names(lookout) == ["checkpoint-100"]


def _cut(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    weights.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 12)


def _headed(folder: Path, header: str) -> None:
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_cut, "adapter_model.safetensors is not whole"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b""), "adapter_model.safetensors is not whole"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"\xff" * 20), "is not whole"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
        (lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"), "a pickle"),
        (lambda f: _headed(f, "[]"), "adapter_model.safetensors has a header that is none"),
        (lambda f: _headed(f, '{"a": {"shape": [4]}}'), "adapter_model.safetensors has a header that is none"),
        (lambda f: _headed(f, '{"a": {"data_offsets": [0, null]}}'), "has a header that is none"),
        (lambda f: (f / "adapter_config.json").write_text('{"peft_ty'), "not whole"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "no JSON object"),
        (lambda f: (f / "adapter_config.json").unlink(), "has no adapter_config.json"),
        (lambda f: (f / "trainer_state.json").write_text('{"global_st'), "not whole"),
    ],
)
def test_half_written_ones_say_what_is_missing(out, lookout, clock, spoil: Callable[[Path], Any], said):
    folder = checkpoint(out, 100, clock)
    spoil(folder)
    clock.now += 1000
    touch(folder, clock)
    clock.now += 1000
    assert names(lookout) == []
    assert said in lookout.growing[folder]
    assert said in unready(folder)


def test_one_that_is_taken_away_is_no_loss(out, lookout, clock):
    folder = checkpoint(out, 100, clock)
    clock.now += 10
    (target,) = lookout.ready()
    folder.rename(out.parent / "gone")
    lookout.done(target.adapter)
    assert names(lookout) == []
    out.rename(out.parent / "unmounted")
    assert names(lookout) == []


def test_the_adapter_at_the_end_of_training_counts_though_logs_go_on(out, lookout, clock):
    for path in adapter(out / "final").iterdir():
        path.rename(out / path.name)
    checkpoint(out, 10, clock)
    clock.now += 10
    for _ in range(3):
        (out / "train.log").write_text(str(clock.now))
        assert names(lookout) == ["checkpoint-10", "out"]


def test_a_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(SwayError, match="does not exist"):
        OutputFolder(tmp_path / "nowhere")


# -- the store of a document --------------------------------------------------------------------------------------


def test_the_pointer_of_a_store_names_the_adapter(tmp_path, monkeypatch):
    monkeypatch.setenv("DLM_HOME", str(tmp_path))
    document = tmp_path / "notes.dlm"
    document.write_text("---\ndlm_id: 01ABC\n---\n# Notes\n")
    pointer = Pointer.of_document(document)
    assert pointer.adapters() == []
    versions = tmp_path / "store" / "01ABC" / "adapter" / "versions"
    for version in ("v1", "v2"):
        adapter(versions / version)
    (versions.parent / "current.txt").write_text("versions/v1\n")
    assert pointer.adapters() == [versions / "v1"]
    (versions.parent / "current.txt").write_text("adapter/versions/v2")
    assert pointer.adapters() == [versions / "v2"]
    (versions.parent / "current.txt").unlink()
    (versions.parent / "latest").symlink_to("versions/v1")
    assert pointer.adapters() == [versions / "v1"]


@pytest.mark.parametrize("head", ["", "---\ndlm_id: ../../etc\n---\n", "---\n: [\n---\n"])
def test_a_document_without_an_id_has_no_store(tmp_path, head):
    (tmp_path / "notes.dlm").write_text(f"{head}text")
    with pytest.raises(SwayError, match="names no dlm_id"):
        Pointer.of_document(tmp_path / "notes.dlm")


# -- the history --------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(tmp_path: Path) -> Callable[[int], Watched]:
    (tmp_path / "sway.yaml").write_text(SUITE)
    suite = SuiteText.read(tmp_path / "sway.yaml")
    good, bad = adapter(tmp_path / "good"), adapter(tmp_path / "bad", broken=True)
    found = {o.target.adapter.name: o for o in Sweep(suite, [good, bad]).run()}

    def make(sequence: int, name: str = "good") -> Watched:
        outcome = found[name]
        return Watched(outcome, judge(outcome.result, outcome.score, threshold=0.0), sequence, "/suite.yaml")

    return make


def test_a_history_file_is_the_result_and_what_is_said_of_it(tmp_path, watched):
    history = History(tmp_path / "history")
    path = history.write(watched(7))
    data = json.loads(path.read_text())
    assert path.name.endswith("-00007.result.json")
    assert list(data) == sorted(data)
    own = data["sway_watch"]
    assert (own["sequence"], own["verdict"], own["spec_path"]) == (7, "pass", "/suite.yaml")
    assert own["adapter_pointer"] == str(tmp_path / "good")
    assert own["overall_score"] == pytest.approx(load_result(path)[1].overall)
    assert history.last_sequence() == 7


def test_an_error_has_its_reason_in_the_history(tmp_path, watched):
    data = json.loads(History(tmp_path / "history").write(watched(1, "bad")).read_text())
    assert data["verdict"] == data["sway_watch"]["verdict"] == "error"
    assert "made for another base" in data["error"]
    assert data["sway_watch"]["overall_score"] is None


def test_only_the_oldest_of_its_own_files_go(tmp_path, watched):
    history = History(tmp_path / "history", most=2)
    foreign = {
        "mine.result.json": "{}",
        "20200101T000000Z-00001.result.json": json.dumps({"sway_watch": {"spec_path": "/other.yaml"}}),
        "20200101T000000Z-00002.result.json": "not JSON",
    }
    for name, text in foreign.items():
        (history.folder / name).write_text(text)
    for sequence in range(3, 7):
        history.write(watched(sequence))
    left = sorted(p.name for p in history.folder.iterdir())
    assert {*foreign} < {*left}
    assert sorted(name[-16:-12] for name in left if name not in foreign) == ["0005", "0006"]


def test_a_history_without_a_limit_keeps_all(tmp_path, watched):
    history = History(tmp_path / "history", most=0)
    for sequence in range(1, 4):
        history.write(watched(sequence))
    assert len(list(history.folder.iterdir())) == 3
    with pytest.raises(SwayError, match="max-history"):
        History(tmp_path, most=-1)
