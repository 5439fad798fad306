"""Run folders: readable while they are written, after a crash, and when a line or a file is torn."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sway_dash.core import events as ev
from sway_dash.core.errors import SpecValidationError
from sway_dash.suite.runner import run
from sway_dash.suite.store import EVENTS, META, RunFolder, RunFolderError, list_runs, new_run_id, runs_root
from tests.fakes_cli import Exact

DELTA = {"name": "moved", "kind": "delta_kl", "prompts": ["one", "two", "three"]}


def measurement(item: int = 0, *, key: str = "", role: str = "probe", **fields) -> ev.Measurement:
    values = {"js": 0.1, "kl": 0.1, "kl_reverse": 0.1, "same_top": 1.0, **fields}
    return ev.Measurement(probe="p", item=item, prompt=f"prompt {item}", key=key, role=role, **values)


def test_a_folder_holds_the_suite_as_given_and_says_what_it_is(tmp_path):
    text = "# kept\nversion: 1\n"
    folder = RunFolder.create(text, name="first", base_dir=tmp_path, spec_path="/s.yaml")
    assert folder.path.parent == runs_root()
    assert folder.spec_text() == text
    meta = folder.meta()
    assert (meta["id"], meta["name"], meta["spec_path"]) == (folder.id, "first", "/s.yaml")
    assert folder.base_dir() == tmp_path


def test_the_root_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SWAY_RUNS_DIR", "~/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runs_root() == tmp_path / "elsewhere"
    monkeypatch.delenv("SWAY_RUNS_DIR")
    assert runs_root() == tmp_path / "sway-runs"


def test_a_run_id_is_unlike_any_other_and_no_number():
    ids = {new_run_id() for _ in range(50)}
    assert len(ids) == 50
    assert all(i.startswith("r-") for i in ids)


def test_a_root_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match=r"cannot write to .*set SWAY_RUNS_DIR"):
        RunFolder.create("x", root=tmp_path / "file" / "runs")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="is no run folder"):
        RunFolder.open(tmp_path)


def test_events_are_read_back_in_order(dummy_spec):
    folder = RunFolder.create("x")
    seen = []

    def listen(event):
        if not isinstance(event, ev.CacheAccess):
            seen.append(event)
        folder.append(event)

    run(dummy_spec(DELTA), Exact(), on_event=listen)
    assert folder.tail().read() == seen


def test_scoring_calls_are_not_written_to_the_events():
    folder = RunFolder.create("x")
    folder.append(ev.CacheAccess(op="next_token_dist"))
    assert not (folder.path / EVENTS).exists()


def test_a_tail_reads_what_is_new_and_waits_for_the_end_of_a_line():
    folder = RunFolder.create("x")
    tail = folder.tail()
    assert tail.read() == []
    line = ev.Warned(seq=1, message="ä").model_dump_json().encode()
    path = folder.path / EVENTS
    path.write_bytes(line[:10])
    assert (tail.read(), tail.torn) == ([], True)
    with path.open("ab") as file:
        file.write(line[10:] + b"\n" + line[:5])
    assert [e.message for e in tail.read()] == ["ä"]
    assert tail.torn
    assert tail.read() == []
    with path.open("ab") as file:
        file.write(line[5:] + b"\n\n")
    assert [e.message for e in tail.read()] == ["ä"]
    assert not tail.torn
    assert tail.skipped == 0


@pytest.mark.parametrize(
    "bad", [b"{", b"[1]", b"null", b'{"type": "from_the_future"}', b"\xff\xfe", b'{"type": "phase"}']
)
def test_an_unreadable_line_is_counted_and_the_others_are_read(bad):
    folder = RunFolder.create("x")
    good = ev.Warned(seq=1, message="m").model_dump_json().encode()
    (folder.path / EVENTS).write_bytes(good + b"\n" + bad + b"\n" + good + b"\n")
    tail = folder.tail()
    assert len(tail.read()) == 2
    assert tail.skipped == 1


def test_line_separators_inside_a_prompt_do_not_tear_its_line():
    folder = RunFolder.create("x")
    prompt = "a\u2028b\u0085c\r\nd\x1ce"
    folder.append(measurement().model_copy(update={"prompt": prompt}))
    folder.close()
    (event,) = folder.tail().read()
    assert event.prompt == prompt


def test_the_torn_last_line_of_a_crash_is_ended_before_the_next_attempt_writes(dummy_spec):
    folder = RunFolder.create("x")
    run(dummy_spec(DELTA), Exact(), on_event=folder.append)
    whole = (folder.path / EVENTS).read_bytes()
    (folder.path / EVENTS).write_bytes(whole[: len(whole) // 2])
    assert folder.tail().read()
    again = RunFolder.open(folder.path)
    result = run(dummy_spec(DELTA), Exact(), on_event=again.append, recall=again.measurements())
    assert again.result().probes == result.probes
    tail = again.tail()
    tail.read()
    assert tail.skipped == 1


@pytest.mark.parametrize("cut", range(1, 200, 13))
def test_a_file_cut_anywhere_still_folds(dummy_spec, cut):
    folder = RunFolder.create("x")
    run(dummy_spec(DELTA), Exact(), on_event=folder.append)
    whole = (folder.path / EVENTS).read_bytes()
    (folder.path / EVENTS).write_bytes(whole[: len(whole) * cut // 200])
    assert folder.result().status in ("interrupted", "running")


def test_measurements_of_all_attempts_are_found_by_key():
    folder = RunFolder.create("x")
    folder.append(measurement(0, key="a"))
    folder.append(ev.RunCancelledEvent(seq=2))
    folder.append(ev.RunStarted(seq=1))
    folder.append(measurement(1, key="b"))
    folder.append(measurement(2))
    folder.close()
    assert set(folder.measurements()) == {"a", "b"}


def test_a_probes_own_measurement_is_not_replaced_by_an_ablations():
    folder = RunFolder.create("x")
    folder.append(measurement(0, key="a", tuned_top=(("t", 1, 0.5),)))
    folder.append(measurement(0, key="a", role="ablation"))
    folder.append(measurement(0, key="b", role="ablation"))
    folder.append(measurement(0, key="b", tuned_top=(("t", 1, 0.5),)))
    folder.close()
    assert {k: m.role for k, m in folder.measurements().items()} == {"a": "probe", "b": "probe"}


def test_the_description_is_replaced_in_one_step_and_survives_a_torn_file():
    folder = RunFolder.create("x", name="n")
    folder.write_meta(note="more")
    assert folder.meta()["name"] == "n"
    assert [p.name for p in folder.path.glob("*.tmp")] == []
    (folder.path / META).write_text('{"name": ')
    assert folder.meta() == {}
    (folder.path / META).write_text("[1]")
    assert folder.meta() == {}


def test_a_disk_without_room_leaves_no_half_written_file(monkeypatch):
    folder = RunFolder.create("x", name="before")

    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    files = sorted(folder.path.iterdir())
    for write in (lambda: folder.write_meta(name="after"), lambda: folder.write_result("{}")):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert sorted(folder.path.iterdir()) == files
    assert folder.meta()["name"] == "before"
    with pytest.raises(RunFolderError, match="No space left"):
        RunFolder.create("x")
    assert [f.id for f in list_runs()] == [folder.id]
    assert [p.name for p in runs_root().iterdir()] == [folder.id]


def test_a_full_disk_is_remembered_and_the_run_goes_on(dummy_spec):
    folder = RunFolder.create("x")
    (folder.path / EVENTS).symlink_to("/dev/full")
    result = run(dummy_spec(DELTA), Exact(), on_event=folder.append)
    assert result.status == "finished"
    assert "is not written any more: No space left on device" in str(folder.error)


def test_a_stop_request_is_a_file_that_the_next_attempt_clears():
    folder = RunFolder.create("x")
    folder.request_stop()
    folder.request_stop()
    assert folder.stop_requested()
    folder.claim()
    assert not folder.stop_requested()


def test_a_run_lives_as_long_as_its_process():
    folder = RunFolder.create("x")
    assert not folder.is_alive()
    folder.claim()
    assert folder.is_alive()
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    folder.write_meta(pid=int(child.stdout))
    assert not folder.is_alive()
    folder.write_meta(pid=os.getpid(), host="another-host")
    assert not folder.is_alive()


def test_a_killed_worker_that_nobody_collected_is_not_alive():
    folder = RunFolder.create("x")
    folder.claim()
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    folder.write_meta(pid=child.pid)
    assert not folder.is_alive()
    child.wait()


def test_a_run_that_ended_without_a_word_was_interrupted():
    folder = RunFolder.create("x")
    folder.append(ev.RunStarted(seq=1, ts=1.0))
    folder.close()
    assert folder.result().status == "interrupted"
    folder.claim()
    assert folder.result().status == "running"


def test_runs_are_listed_newest_first_and_other_folders_are_left_out(tmp_path):
    for name in ("r-20260101-000000-aaaa", "r-20260102-000000-aaaa"):
        (tmp_path / name).mkdir()
        (tmp_path / name / META).write_text(json.dumps({"id": name}))
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("x")
    assert [f.id for f in list_runs(tmp_path)] == ["r-20260102-000000-aaaa", "r-20260101-000000-aaaa"]
    assert list(list_runs(tmp_path / "nowhere")) == []


def test_a_missing_suite_is_one_sentence(tmp_path):
    (tmp_path / META).write_text("{}")
    with pytest.raises(SpecValidationError, match="cannot be read"):
        RunFolder.open(tmp_path).spec_text()


def test_a_moved_folder_finds_its_paths_when_they_are_relative(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / META).write_text(json.dumps({"base_dir": "../suite"}))
    assert RunFolder.open(tmp_path / "run").base_dir() == Path(tmp_path / "suite")


def test_two_writers_of_the_description_lose_nothing_of_each_other(tmp_path):
    folder = RunFolder.create("x: 1\n", root=tmp_path)

    def write(name):
        for k in range(40):
            RunFolder(folder.path).write_meta(**{f"{name}{k}": k})

    writers = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {f"{name}{k}" for name in "abc" for k in range(40)} <= folder.meta().keys()


def test_a_description_that_cannot_be_read_is_not_written_over(tmp_path, monkeypatch):
    folder = RunFolder.create("x: 1\n", root=tmp_path, name="precious")
    read = Path.read_bytes

    def broken(self):
        if self.name == "run.json":
            raise OSError(5, "Input/output error")
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", broken)
        with pytest.raises(OSError, match="Input/output"):
            folder.write_meta(tag="x")
    assert folder.meta()["name"] == "precious"
