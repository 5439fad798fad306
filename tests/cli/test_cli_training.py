"""``sweep`` and ``watch`` as somebody types them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sway_dash.cli.interrupt import StopSwitch
from sway_dash.cli.sweeping import spread
from sway_dash.suite.store import list_runs
from tests.fakes_sweep import SUITE, ByAdapter, adapter, write_weights

WAIT_S = 300


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "sway.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for step in (100, 20):
        checkpoint(tmp_path / "out", step)
    return tmp_path / "out"


def checkpoint(out: Path, step: int, **config: Any) -> Path:
    folder = adapter(out / f"checkpoint-{step}", content=str(step), **config)
    (folder / "trainer_state.json").write_text("{}")
    return folder


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def until(condition: Any, *, what: str = "it") -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


# -- sweep --------------------------------------------------------------------------------------------------------


def test_a_sweep_compares_what_it_has_measured(cli, suite, out):
    done = cli("sweep", suite, "--adapters", out, "--name", "night")
    assert done.exit_code == 0, done.stderr
    assert "checkpoint-20" in done.stdout
    assert done.stdout.index("checkpoint-20") < done.stdout.index("checkpoint-100")
    assert "sweep: night, 2 adapters" in done.stderr
    assert {f.meta()["name"] for f in list_runs()} == {"checkpoint-20", "checkpoint-100"}
    # Adapters go by their own names however often they are measured.
    assert "#2" not in cli("sweep", suite, "--adapters", out, "--name", "morning").stdout


def test_lines_of_json_and_nothing_else_on_standard_output(cli, suite, out, tmp_path):
    broken = adapter(tmp_path / "broken", broken=True)
    done = cli("sweep", suite, broken, out / "checkpoint-20", "--json", "-")
    assert done.exit_code == 1
    first, second = lines(done.stdout)
    assert "made for another base" in first["error"]
    assert (first["overall_score"], first["gate"]["passed"]) == (None, False)
    assert (second["step"], second["status"], second["gate"]["passed"]) == (20, "finished", True)
    assert second["probes"]["moved"]["verdict"] == "pass"
    assert "1 adapter of 2 did not pass: broken" in done.stderr


def test_the_same_sweep_again_measures_only_what_is_new(cli, suite, out):
    cli("sweep", suite, "--adapters", out, "--name", "night")
    checkpoint(out, 300)
    again = cli("sweep", suite, "--adapters", out, "--resume", "--json", "-")
    assert [told["reused"] for told in lines(again.stdout)] == [True, True, False]
    assert {told["sweep"] for told in lines(again.stdout)} == {"night"}


def test_a_last_checkpoint_that_is_the_final_adapter_stands_once_in_the_comparison(cli, suite, tmp_path):
    given = [adapter(tmp_path / name, content=content) for name, content in (("a", "1"), ("b", "2"), ("last", "2"))]
    done = cli("sweep", suite, *given, "--html", tmp_path / "course.html")
    assert done.exit_code == 0, done.stderr
    assert "b and last are one and the same adapter: they are compared as b" in done.stderr
    assert "composite" in done.stdout
    assert (tmp_path / "course.html").stat().st_size > 10_000
    alike = cli("sweep", suite, *given[1:])
    assert "1 different adapter measured: there is nothing to compare" in alike.stderr


def test_the_comparison_is_also_one_file(cli, suite, out, tmp_path):
    done = cli("sweep", suite, "--adapters", out, "--html", tmp_path / "new" / "course.html", "--format", "md")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("# sway compare")
    assert "checkpoint-100" in (tmp_path / "new" / "course.html").read_text()


def test_a_threshold_makes_a_sweep_a_gate(cli, suite, out):
    done = cli("sweep", suite, "--adapters", out, "--json", "-")
    least = min(told["overall_score"] for told in lines(done.stdout))
    assert 0 < least < 1
    assert cli("sweep", suite, "--adapters", out, "--threshold", least - 0.01, "--resume").exit_code == 0
    assert cli("sweep", suite, "--adapters", out, "--threshold", least + 0.01, "--resume").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name adapters"),
        (("--adapters", "empty"), "holds no adapter"),
        (("--adapters", "nowhere"), "does not exist"),
        (("--adapters", "out", "--resume"), "there is no sweep"),
        (("--adapters", "out", "--html", "."), "it is a folder"),
    ],
)
def test_what_a_sweep_cannot_do_is_one_sentence(cli, suite, out, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    done = cli("sweep", suite, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(list_runs())


def test_a_bad_suite_is_said_before_anything_is_measured(cli, suite, out):
    suite.write_text(SUITE.replace("delta_kl", "delta_kll"))
    done = cli("sweep", suite, "--adapters", out)
    assert done.exit_code == 2
    assert "delta_kll" in done.stderr


def test_the_first_ctrl_c_ends_a_sweep_after_the_batch(start, suite, out):
    process = start("sweep", suite, "--adapters", out, "--name", "night", delay=0.1)
    until(lambda: any(len(f.measurements()) > 3 for f in list_runs()), what="measurements")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "2 adapters not measured: checkpoint-20, checkpoint-100" in err
    assert "--name night" in err
    assert "Traceback" not in err


def test_after_one_run_of_many_ctrl_c_asks_again_before_it_insists():
    with StopSwitch() as stop:
        stop.settle()
        stop.go_on()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested()


def test_many_runs_are_thinned_for_the_html_comparison():
    assert spread(3, 8) == [0, 1, 2]
    assert spread(15, 8) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert len(set(spread(100, 8))) == 8


# -- watch --------------------------------------------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files need hardly any rest."""
    from sway_dash.suite import watch

    monkeypatch.setattr(
        watch.Lookout.__init__, "__kwdefaults__", {"settle_s": 0.05, "grace_s": 0.1, "clock": time.time}
    )


@pytest.mark.usefixtures("soon")
def test_once_measures_what_is_there_and_leaves_with_the_gates_code(cli, suite, out, tmp_path):
    command = (
        "watch",
        out,
        "--spec",
        suite,
        "--once",
        "--interval",
        0.1,
        "--threshold",
        0,
        "--history-dir",
        tmp_path / "h",
    )
    done = cli(*command)
    assert done.exit_code == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["checkpoint-20", "pass"],
        ["checkpoint-100", "pass"],
    ]
    assert len(list((tmp_path / "h").iterdir())) == 2
    checkpoint(out, 300, unfit=True)
    ByAdapter.opened.clear()
    again = cli(*command)
    assert again.exit_code == 1
    assert ByAdapter.opened == ["checkpoint-300"]
    assert "non-finite" in again.stdout
    assert "1 adapter measured, 2 measured before; 1 did not pass" in again.stderr
    assert sorted(p.name[-17:-12] for p in (tmp_path / "h").iterdir()) == ["00001", "00002", "00003"]


@pytest.mark.usefixtures("soon")
def test_the_threshold_is_the_suites_own(cli, suite, out):
    suite.write_text(SUITE + "defaults: {coverage_threshold: 1.0}\n")
    done = cli("watch", out, "--spec", suite, "--once", "--interval", 0.1, "--format", "json")
    told = lines(done.stdout)
    assert [t["verdict"] for t in told] == ["pass" if t["overall_score"] >= 1 else "fail" for t in told]
    assert done.exit_code == (0 if all(t["verdict"] == "pass" for t in told) else 1)


@pytest.mark.usefixtures("soon")
def test_a_command_hears_of_what_does_not_pass_and_of_errors(cli, suite, out, tmp_path):
    checkpoint(out, 300, broken=True)
    heard = tmp_path / "heard"
    script = f'echo "$SWAY_RESULT_PATH $SWAY_RUN" >> {heard}'
    done = cli(
        "watch",
        out,
        "--spec",
        suite,
        "--once",
        "--interval",
        0.1,
        "--threshold",
        0,
        "--on-fail",
        script,
        "--history-dir",
        tmp_path / "h",
    )
    assert done.exit_code == 1
    until(heard.exists, what="the command")
    until(lambda: heard.read_text().endswith("\n"))
    (told,) = heard.read_text().splitlines()
    result, run = told.split(" ")
    assert json.loads(Path(result).read_text())["sway_watch"]["verdict"] == "error"
    assert Path(run).name.startswith("r-")


@pytest.mark.usefixtures("soon")
def test_nothing_to_measure_is_no_success(cli, suite, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint-1").mkdir()
    done = cli("watch", tmp_path / "out", "--spec", suite, "--once", "--interval", 0.1)
    assert done.exit_code == 1
    assert "there is no complete adapter" in done.stderr
    assert "checkpoint-1 is not complete: has no adapter_config.json" in done.stderr


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_checkpoint_that_is_not_complete_fails_what_is_asked_once(cli, suite, out, form):
    (out / "checkpoint-100" / "adapter_model.safetensors").unlink()
    done = cli("watch", out, "--spec", suite, "--once", "--interval", 0.1, "--threshold", 0, "--format", form)
    assert done.exit_code == 1
    assert "1 adapter measured; 0 did not pass" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: not complete, so not measured: checkpoint-100"
    if form == "json":
        whole, half = lines(done.stdout)
        assert (whole["label"], whole["verdict"]) == ("checkpoint-20", "pass")
        assert (half["label"], half["verdict"], half["run"]) == ("checkpoint-100", "error", None)
        assert half["reasons"] == ["not complete: has no adapter_model.safetensors"]
        assert set(half) == set(whole)


@pytest.mark.usefixtures("soon")
def test_what_is_still_being_written_is_waited_for(cli, suite, out):
    weights = out / "checkpoint-100" / "adapter_model.safetensors"
    half = weights.read_bytes()[:10]
    weights.write_bytes(half)
    writing = threading.Timer(0.02, write_weights, (weights.parent, "whole now"))
    writing.start()
    done = cli("watch", out, "--spec", suite, "--once", "--interval", 0.1, "--threshold", 0)
    writing.join()
    assert done.exit_code == 0, done.stderr
    assert "2 adapters measured; 0 did not pass" in done.stderr


@pytest.mark.parametrize(("once", "code"), [(True, 143), (False, 0)])
def test_sigterm_ends_watch_with_what_was_measured(start, suite, out, once, code):
    for path in out.glob("*/*"):
        os.utime(path, (0, 0))
    process = start("watch", out, "--spec", suite, *(["--once"] if once else []), delay=0.2)
    until(lambda: [f for f in list_runs() if f.fold().done], what="a measurement")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, err
    (run,) = list_runs()
    assert json.loads((run.path / "result.json").read_text())["status"] == "cancelled"
    assert "0 adapters measured" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("out",), "--spec sway.yaml"),
        (("nowhere", "--spec", "sway.yaml"), "does not exist"),
        (("out", "--spec", "nowhere.yaml"), "not found"),
        (("sway.yaml",), "has no dlm_source"),
        (("out", "--spec", "sway.yaml", "--max-history", "-1"), "max-history"),
        (("out", "--spec", "sway.yaml", "--interval", "0"), "interval"),
        (("out", "--spec", "sway.yaml", "--history-dir", "sway.yaml"), "cannot write"),
    ],
)
def test_what_watch_cannot_do_is_one_sentence(cli, suite, out, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = cli("watch", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.usefixtures("soon")
def test_the_store_of_a_document_is_watched_by_its_pointer(cli, suite, tmp_path, monkeypatch):
    monkeypatch.setenv("DLM_HOME", str(tmp_path / "dlm"))
    (tmp_path / "notes.md").write_text("---\ndlm_id: 01ABC\n---\ntext\n")
    suite.write_text(SUITE + "dlm_source: notes.md\n")
    versions = tmp_path / "dlm" / "store" / "01ABC" / "adapter" / "versions"
    adapter(versions / "v7")
    (versions.parent / "current.txt").write_text("versions/v7")
    done = cli("watch", suite, "--once", "--interval", 0.1, "--format", "json")
    (told,) = lines(done.stdout)
    assert told["adapter_pointer"] == str(versions / "v7")


def test_checkpoints_are_measured_while_training_writes_them(start, suite, tmp_path):
    """Half-written ones, one that vanishes and one that is broken among them; Ctrl-C ends it with a count."""
    out = tmp_path / "out"
    out.mkdir()
    process = start(
        "watch", out, "--spec", suite, "--interval", "0.1", "--format", "json", "--threshold", "0", "--fail-on", "error"
    )

    def train() -> None:
        for step in (10, 20, 30, 40):
            folder = out / f"checkpoint-{step}"
            folder.mkdir()
            (folder / "adapter_config.json").write_text('{"peft')
            (folder / "adapter_model.safetensors").write_bytes(b"\x20\0\0")
            time.sleep(0.3)
            (folder / "adapter_config.json").write_text(json.dumps({"broken": step == 30}))
            write_weights(folder, str(step))
            (folder / "trainer_state.json").write_text("{}")
            if step == 20:
                folder.rename(tmp_path / "deleted")

    writer = threading.Thread(target=train)
    writer.start()
    until(lambda: sum(f.fold().status != "running" for f in list_runs()) == 3, what="three runs")
    writer.join()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    text, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert [(t["step"], t["verdict"]) for t in lines(text)] == [(10, "pass"), (30, "error"), (40, "pass")]
    assert "3 adapters measured; 1 did not pass" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("soon")
def test_ctrl_c_long_after_a_checkpoint_ends_it_like_any_other(cli, suite, out, tmp_path, monkeypatch):
    monkeypatch.setattr("sway_dash.cli.interrupt.PATIENCE_S", 0.0)
    history = tmp_path / "history"

    def interrupt() -> None:
        until(lambda: len(list(history.glob("*.json"))) == len(list(out.iterdir())), what="results")
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=interrupt)
    asking.start()
    done = cli("watch", out, "--spec", suite, "--interval", 0.1, "--threshold", 0, "--history-dir", history)
    asking.join()
    assert done.exit_code == 0, done.stderr
    assert "adapters measured; 0 did not pass" in done.stderr


def test_a_suite_that_is_edited_wrongly_is_waited_for(start, suite, out):
    for path in out.glob("*/*"):
        os.utime(path, (0, 0))
    process = start("watch", out, "--spec", suite, "--interval", "0.1", "--threshold", "0")
    until(lambda: len([f for f in list_runs() if f.fold().status == "finished"]) == 2, what="the first two")
    suite.write_text("models: [")
    for path in checkpoint(out, 300).iterdir():
        os.utime(path, (0, 0))
    heard = next(line for line in process.stderr if "waiting until it is mended" in line)
    suite.write_text(SUITE)
    until(lambda: len([f for f in list_runs() if f.fold().status == "finished"]) == 3, what="the third")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=WAIT_S)
    assert heard
    assert "has changed" in err
