"""Ctrl-C: the first asks, the second insists; what was measured is on disk and reported, and the exit code is 130."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from sway_dash.cli.interrupt import StopSwitch
from sway_dash.suite.report import load_result
from sway_dash.suite.store import RESULT, RunFolder, list_runs

WAIT_S = 300.0


def wait_for(condition, process):
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "took too long"
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


def measured(count):
    """Says True once a run has so many measurements on disk."""

    def condition():
        folders = list(list_runs())
        return bool(folders) and len(folders[0].measurements()) >= count

    return condition


def saved() -> tuple[RunFolder, object]:
    (folder,) = list_runs()
    return folder, load_result(folder.path / RESULT)[0]


def test_ctrl_c_while_a_class_is_made_is_ctrl_c(monkeypatch):
    from sway_dash.cli import app

    def importing(**_):
        raise RuntimeError("Error calling __set_name__ on 'Field' instance") from KeyboardInterrupt()

    monkeypatch.setattr(app, "app", importing)
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == 130


def test_the_first_ctrl_c_stops_after_the_batch_and_says_so(start, suite, tmp_path):
    process = start("run", suite, "--json", tmp_path / "r.json", delay=0.05)
    wait_for(measured(3), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "stopping after the current batch" in err
    assert "Traceback" not in err
    assert "sway report" in out
    folder, result = saved()
    assert result.status == "cancelled"
    assert f"--resume {folder.id}" in err
    assert load_result(tmp_path / "r.json")[0] == result == folder.result()


def test_a_stopped_run_goes_on_where_it_stopped(start, suite):
    process = start("run", suite, delay=0.05)
    wait_for(measured(17), process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    folder, result = saved()
    assert result.probes[1].evidence["partial"]["planned"] == 5
    again = start("run", "--resume", folder.id)
    _, err = again.communicate(timeout=WAIT_S)
    assert again.returncode == 0, err
    assert saved()[1].status == "finished"


def test_the_second_ctrl_c_does_not_wait_for_the_batch(start, suite):
    # One measurement takes an hour: only an interruption can end this.
    process = start("run", suite, delay=3600)
    wait_for(lambda: any(f.fold().phase and f.fold().phase.phase == "probe" for f in list_runs()), process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "stopping at once" in err
    assert "Traceback" not in err
    assert saved()[1].status == "cancelled"


def test_sigterm_stops_like_ctrl_c_with_its_own_code(start, suite):
    process = start("run", suite, delay=0.05)
    wait_for(measured(2), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert saved()[1].status == "cancelled"


def test_ctrl_c_after_the_run_leaves_out_details_and_nothing_else(start, suite, tmp_path):
    fake = "tests.fakes:FakeBackend"
    models = f"{{kind: custom, base: slow, entry_point: '{fake}'}}"
    suite.write_text(
        f"models: {{base: {models}, ft: {models}}}\n"
        "suite: [{name: moved, kind: delta_kl, prompts: [one, two, three, four, five, six]}]\n"
    )
    process = start("run", suite, "--json", tmp_path / "r.json", delay=0.4)
    said = ""
    while "recording 6 prompts token by token" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "warning" not in err
    assert "sway report" in out
    folder, result = saved()
    assert result.status == "finished"
    assert load_result(tmp_path / "r.json")[0] == result
    assert len(folder.details().keys()) < 6


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.3, 0.45, 0.6, 0.75, 0.9, 1.05, 1.2, 1.5])
@pytest.mark.parametrize("presses", [1, 3])
def test_ctrl_c_at_any_moment_ends_cleanly(start, suite, after, presses):
    process = start("run", suite, delay=0.06)
    time.sleep(after)
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, err = process.communicate(timeout=WAIT_S)
    # Before Python runs our code the signal ends it as it does any program, or its own start-up fails with 1.
    started = "Failed to import the site module" not in err
    assert process.returncode in ((130, -signal.SIGINT) if started else (1,)), err
    for folder in list_runs():
        folded = folder.fold()
        if folded.started is None:
            continue
        assert "Traceback" not in err
        assert folded.status in ("cancelled", "finished")
        result, _ = load_result(folder.path / RESULT)
        assert result == folder.result()


# -- the switch itself ----------------------------------------------------------------------------


def test_the_switch_asks_first_and_insists_then(capfd):
    before = signal.getsignal(signal.SIGINT)
    with StopSwitch() as switch:
        assert not switch.requested()
        signal.raise_signal(signal.SIGINT)
        assert switch.requested()
        assert switch.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        # While the result is being saved impatience is not let through.
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopping after the current batch" in capfd.readouterr().err


def test_a_settled_switch_lets_nothing_through():
    with StopSwitch() as switch:
        switch.settle()
        assert not switch.hurried
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert not switch.requested()
        assert switch.hurried


def test_a_switch_that_has_been_quiet_for_long_lets_an_interruption_through(monkeypatch):
    monkeypatch.setattr("sway_dash.cli.interrupt.PATIENCE_S", 0.0)
    with StopSwitch() as switch:
        switch.settle()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_elsewhere_than_the_main_thread_the_switch_is_inert():
    import threading

    found = []

    def run():
        with StopSwitch() as switch:
            found.append(switch.requested())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


def test_the_fake_backend_is_where_the_suite_says(suite):
    assert Path(suite).read_text().count("tests.fakes_cli:Slow") == 2
