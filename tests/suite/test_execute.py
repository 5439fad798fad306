"""Running a folder: the model is opened and given back, the result is saved however it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sway_dash import backends
from sway_dash.core import events as ev
from sway_dash.core.errors import ModelLoadError, ProbeError, RunCancelled, SpecValidationError
from sway_dash.suite.details import detail_key
from sway_dash.suite.execute import execute, folder_spec, main, open_backend
from sway_dash.suite.loader import loads
from sway_dash.suite.report import load_result
from sway_dash.suite.store import EVENTS, RESULT, TRACE, RunFolder, RunFolderError
from sway_dash.suite.trace_analysis import load
from tests.fakes import FakeBackend
from tests.fakes_cli import Exact

ROOT = Path(__file__).parents[2]

SUITE = """\
models:
  base: {kind: custom, base: fake, entry_point: "tests.fakes_cli:Slow"}
  ft: {kind: custom, base: fake, adapter: ./adapter, entry_point: "tests.fakes_cli:Slow"}
suite:
  - {name: noise, kind: null_adapter, runs: 3}
  - {name: moved, kind: delta_kl, prompts: [one, two, three, four, five]}
"""


class Opened:
    """Takes the place of ``backends.build`` and keeps what it made."""

    def __init__(self, make=Exact) -> None:
        self.make, self.made, self.specs = make, [], []

    def __call__(self, base_spec, *, adapter_path=None):
        self.specs.append(base_spec)
        self.made.append(self.make())
        return self.made[-1]


@pytest.fixture
def opened(monkeypatch):
    build = Opened()
    monkeypatch.setattr(backends, "build", build, raising=False)
    return build


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(SUITE, base_dir=tmp_path, spec_path=str(tmp_path / "sway.yaml"))


def test_everything_is_in_the_folder_and_the_model_is_given_back(folder, opened, tmp_path):
    result, score = execute(folder)
    assert result.status == "finished"
    assert opened.made[0].closed == 1
    assert opened.specs[0].adapter == tmp_path / "adapter"
    saved, saved_score = load_result(folder.path / RESULT)
    assert saved == result
    assert saved_score.overall == score.overall
    assert result.run_id == folder.id
    assert result.spec_path == str(tmp_path / "sway.yaml")
    assert (folder.path / TRACE).exists()


def test_the_device_replaces_that_of_both_models(folder):
    spec = folder_spec(folder, device="cuda:1")
    assert (spec.models.base.device, spec.models.ft.device) == ("cuda:1", "cuda:1")
    assert folder_spec(folder).models.ft.device == "auto"


def test_loading_is_a_phase_and_the_stream_has_no_gaps(folder, opened):
    seen = []
    execute(folder, on_event=seen.append)
    assert [(e.phase, e.name) for e in seen if isinstance(e, ev.Phase)] == [
        ("loading", "fake"),
        ("preflight", ""),
        ("probe", "noise"),
        ("probe", "moved"),
    ]
    assert [e.seq for e in seen] == list(range(1, len(seen) + 1))


def test_a_stop_file_stops_the_run_and_resuming_finishes_it(folder, opened):
    def stop_at_third(event):
        if isinstance(event, ev.Measurement) and event.role == "probe" and event.item == 1:
            folder.request_stop()

    partial, _ = execute(folder, on_event=stop_at_third)
    assert partial.status == "cancelled"
    assert partial.probes[1].evidence["partial"] == {"done": 2, "planned": 5}
    assert load_result(folder.path / RESULT)[0].status == "cancelled"

    again = RunFolder.open(folder.path)
    whole, _ = execute(again, resume=True)
    assert whole.status == "finished"
    assert whole.probes[1].evidence["num_prompts"] == 5
    assert {view for view, _ in opened.made[1].calls} == {"ft"}
    assert len(opened.made[1].calls) == 3
    assert load_result(folder.path / RESULT)[0] == whole == again.result()


def test_cancel_is_asked_as_well(folder, opened):
    result, _ = execute(folder, cancel=lambda: True)
    assert result.status == "cancelled"
    assert opened.made == []


def test_a_model_that_cannot_be_loaded_leaves_a_failed_result(folder, monkeypatch):
    def build(base_spec, *, adapter_path=None):
        raise ModelLoadError("no such base")

    monkeypatch.setattr(backends, "build", build, raising=False)
    with pytest.raises(ModelLoadError):
        execute(folder)
    result, _ = load_result(folder.path / RESULT)
    assert result.status == "failed"
    assert "no such base" in result.probes[0].message
    assert {"python", "platform", "packages"} <= result.environment.keys()
    assert result.environment == folder.result().environment


def test_an_interruption_saves_what_is_there(folder, opened):
    def interrupt(event):
        if isinstance(event, ev.Measurement) and event.role == "probe" and event.item == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(folder, on_event=interrupt)
    result, _ = load_result(folder.path / RESULT)
    assert result.status == "cancelled"
    assert result.probes[1].evidence["partial"]["done"] == 3
    assert opened.made[0].closed == 1


def test_a_backend_that_cannot_close_costs_no_result(folder, monkeypatch):
    class Stuck(Exact):
        def close(self):
            raise RuntimeError("stuck")

    monkeypatch.setattr(backends, "build", Opened(Stuck), raising=False)
    with pytest.raises(RuntimeError, match="stuck"):
        execute(folder)
    assert load_result(folder.path / RESULT)[0].status == "finished"


def test_a_full_disk_costs_the_folder_and_not_the_result(folder, opened):
    (folder.path / EVENTS).symlink_to("/dev/full")
    result, _ = execute(folder)
    assert result.status == "finished"
    assert "No space left on device" in str(folder.error)
    # The events are lost, the result is not: it does not depend on what the disk took before.
    saved, _ = load_result(folder.path / RESULT)
    assert (saved.status, saved.probes) == (result.status, result.probes)


def test_the_traces_of_two_attempts_do_not_mix(folder, opened, monkeypatch):
    from sway_dash.backends.dummy import DummyDifferentialBackend

    monkeypatch.setattr(backends, "build", Opened(DummyDifferentialBackend), raising=False)
    execute(folder)
    first = (folder.path / "trace.jsonl").read_bytes()
    execute(folder, resume=True)
    assert (folder.path / "trace.1.jsonl").read_bytes() == first
    assert len(load(folder.path / "trace.jsonl")) > 0


def test_a_resumed_attempt_that_cannot_even_load_keeps_what_was_measured(folder, opened, monkeypatch):
    before, _ = execute(folder)

    def refuse(*args: object, **kwargs: object) -> object:
        raise ModelLoadError("the disk with the model is gone")

    monkeypatch.setattr(backends, "build", refuse, raising=False)
    with pytest.raises(ModelLoadError):
        execute(folder, resume=True)
    after, _ = load_result(folder.path / RESULT)
    assert after.status == "failed"
    assert [p.raw for p in after.probes] == [p.raw for p in before.probes]
    assert folder.result().probes == after.probes
    assert after.environment == before.environment


def test_two_processes_do_not_run_one_folder(folder, opened):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        folder.write_meta(pid=other.pid, host=socket.gethostname(), claimed_at=time.time())
        with pytest.raises(RunFolderError, match=f"is being run by process {other.pid}"):
            execute(folder)
    finally:
        other.kill()
        other.wait()
    assert execute(folder)[0].status == "finished"
    assert not folder.is_alive()


def test_a_suite_without_an_adapter_is_told_what_to_write():
    spec = loads("models: {base: {base: m}, ft: {base: m}}\nsuite: []\n")
    with pytest.raises(SpecValidationError, match=r"models.ft has no adapter.*differential: false"):
        open_backend(spec)


def test_the_worker_says_what_is_wrong_in_one_line(tmp_path, capsys):
    folder = RunFolder.create("models: [", base_dir=tmp_path)
    assert main([str(folder.path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert folder.result().status == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_ended_leaves_a_folder_that_can_be_resumed(folder, how, opened, monkeypatch):
    if not hasattr(backends, "build_two_separate"):
        pytest.skip("needs sway_dash.backends.build")
    monkeypatch.setenv("FAKE_DELAY_S", "0.05")
    command = [sys.executable, "-m", "sway_dash.suite.execute", str(folder.path)]
    worker = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while len(folder.measurements()) < 3:
            assert time.monotonic() < deadline
            assert worker.poll() is None, worker.stderr.read()
            time.sleep(0.02)
        worker.send_signal(how)
        worker.communicate(timeout=300)
    finally:
        worker.kill()
        worker.wait()
    assert folder.result().status == ("cancelled" if how == signal.SIGTERM else "interrupted")
    if how == signal.SIGTERM:
        assert json.loads((folder.path / RESULT).read_text())["status"] == "cancelled"
    known = len(folder.measurements())
    result, _ = execute(RunFolder.open(folder.path), resume=True)
    assert result.status == "finished"
    assert len(opened.made[0].calls) <= 20 - known


# -- token details after the run ------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch):
    """Like ``opened``, with a backend that shows prompts token by token."""
    build = Opened(FakeBackend)
    monkeypatch.setattr(backends, "build", build, raising=False)
    return build


def by_movement(folder):
    moved = {m.prompt: m.js for m in folder.fold().measurements["moved"] if m.role == "probe"}
    return sorted(moved, key=lambda prompt: -moved[prompt])


def test_a_finished_run_is_followed_by_details_of_its_most_moved_prompts(folder, shown):
    told = []
    execute(folder, details=3, on_details=told.append)
    file = folder.details()
    first = by_movement(folder)[:3]
    assert file.keys() == {detail_key(p) for p in first}
    assert file.find(first[0]).prompt == first[0]
    assert told == [3]
    assert not folder.is_alive()


def test_details_can_be_left_out(folder, shown):
    told = []
    execute(folder, details=0, on_details=told.append)
    assert not folder.details().path.exists()
    assert told == []


def test_the_result_is_saved_before_the_details_are_recorded(folder, monkeypatch):
    seen = []

    class Late(FakeBackend):
        def details(self, *args, **options):
            seen.append((load_result(folder.path / RESULT)[0].status, folder.fold().status, folder.is_alive()))
            return super().details(*args, **options)

    monkeypatch.setattr(backends, "build", Opened(Late), raising=False)
    execute(folder)
    # The model is still in memory: the folder is not free yet.
    assert seen == [("finished", "finished", True)]


class Disturbed(FakeBackend):
    """Gives one prompt, then something happens."""

    error: BaseException

    def __init__(self):
        super().__init__()
        self.closed = 0

    def close(self):
        self.closed += 1

    def details(self, prompts, **options):
        yield from list(super().details(prompts, **options))[:1]
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("a defect"), "warning: token details are incomplete: RuntimeError: a defect\n"),
        (ProbeError("details", "no"), "warning: token details are incomplete: details: no\n"),
        (KeyboardInterrupt(), ""),
        (RunCancelled(), ""),
    ],
)
def test_what_happens_to_the_details_changes_nothing_else(folder, monkeypatch, capsys, error, said):
    build = Opened(type("Failing", (Disturbed,), {"error": error}))
    monkeypatch.setattr(backends, "build", build, raising=False)
    result, score = execute(folder)
    assert result.status == "finished"
    assert load_result(folder.path / RESULT)[0] == result == folder.result()
    assert score.overall is not None
    assert capsys.readouterr().err == said
    assert len(folder.details().keys()) == 1
    assert build.made[0].closed == 1
    assert not folder.is_alive()


def test_a_disk_that_refuses_the_details_is_a_warning(folder, shown, capsys):
    folder.details().path.symlink_to("/dev/full")
    result, _ = execute(folder)
    assert result.status == "finished"
    assert "No space left on device" in capsys.readouterr().err


def test_a_stop_request_ends_the_details_after_the_batch(folder, monkeypatch):
    class Asked(FakeBackend):
        def details(self, prompts, **options):
            for n, found in enumerate(super().details(prompts, **options)):
                if n == 1:
                    folder.request_stop()
                yield found

    monkeypatch.setattr(backends, "build", Opened(Asked), raising=False)
    result, _ = execute(folder)
    assert result.status == "finished"
    assert len(folder.details().keys()) == 2


def test_stopped_and_failed_runs_have_no_details(folder, shown, tmp_path):
    def stop_at_first(event):
        if isinstance(event, ev.Measurement) and event.role == "probe":
            folder.request_stop()

    assert execute(folder, on_event=stop_at_first)[0].status == "cancelled"
    assert folder.details().keys() == frozenset()

    def fail(event):
        if isinstance(event, ev.Phase) and event.name == "moved":
            raise ModelLoadError("the device is gone")

    failing = RunFolder.create(SUITE, root=tmp_path / "other", base_dir=tmp_path)
    with pytest.raises(ModelLoadError):
        execute(failing, on_event=fail)
    assert failing.result().status == "failed"
    assert failing.details().keys() == frozenset()


def test_a_backend_that_cannot_show_prompts_is_passed_over(folder, monkeypatch, capsys):
    class Mute(Exact):
        details = None

    monkeypatch.setattr(backends, "build", Opened(Mute), raising=False)
    assert execute(folder)[0].status == "finished"
    assert not folder.details().path.exists()
    assert capsys.readouterr().err == ""
