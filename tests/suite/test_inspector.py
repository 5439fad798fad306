"""The interactive probe: a process with a model that answers about prompts, and the side that asks it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sway_dash.core.detail import PromptDetail
from sway_dash.core.scoring import BASE, FINETUNED, NULL_STYLES, View
from sway_dash.demo import demo_dir
from sway_dash.suite import inspector as worker
from sway_dash.suite import queue as line
from sway_dash.suite.inspect_client import Answer, Inspector, InspectorError, Superseded
from sway_dash.suite.loader import from_dict
from sway_dash.suite.spec import SwaySpec
from sway_dash.suite.store import RunFolder
from tests.fakes import FakeBackend, detail

ROOT = Path(__file__).parents[2]
WAIT_S = 120.0


def until(condition: Callable[[], Any], what: str = "") -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what or "took too long"
        time.sleep(0.02)
    return found


def as_sent(d: PromptDetail) -> PromptDetail:
    return PromptDetail.from_dict(json.loads(json.dumps(d.to_dict())))


# -- the loop of the worker -----------------------------------------------------------------------


def served(*requests: dict[str, Any] | bytes, wanted: Callable[[], bool] = lambda: False) -> list[dict[str, Any]]:
    """Replies to requests that are all there before the first is looked at."""
    inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    for request in requests:
        inbox.put(request if isinstance(request, bytes) else json.dumps(request).encode())
    inbox.put(None)
    replies: list[dict[str, Any]] = []
    worker.serve(FakeBackend(), inbox, replies.append, wanted=wanted)
    return replies


def ask(id: int, prompt: str = "the light", **options: Any) -> dict[str, Any]:
    return {"id": id, "op": "detail", "prompt": prompt, **options}


def test_requests_are_answered_in_order() -> None:
    pong, first, second = served({"id": "p", "op": "ping"}, ask(1, top=3, new_tokens=2), ask(2, "bread", lam=0.5))
    assert pong == {"id": "p", "ok": True, "seconds": 0.0}
    assert (first["id"], first["ok"]) == (1, True)
    want = detail("the light", BASE, FINETUNED, top=3, new_tokens=2)
    assert PromptDetail.from_dict(first["detail"]) == as_sent(want)
    assert second["detail"]["view"] == "scaled_0.5"


def test_only_the_newest_of_a_clients_latest_requests_is_answered() -> None:
    replies = served(
        ask(1, latest=True), ask(2), ask(3, latest=True, client="other"), ask(4, latest=True), ask(5, latest=True)
    )
    by_id = {r["id"]: r for r in replies}
    assert sorted(by_id) == [1, 2, 3, 4, 5]
    assert [i for i, r in sorted(by_id.items()) if r["ok"]] == [2, 3, 5]
    assert by_id[1]["superseded"] is by_id[4]["superseded"] is True


@pytest.mark.parametrize(
    ("request_", "id", "said"),
    [
        (b"not json", None, "Invalid JSON"),
        (b"[1]", None, "object"),
        ({"id": 7, "op": "sing"}, 7, "op: "),
        ({"op": "ping"}, None, "id: Field required"),
        (ask(7, lam="strong"), 7, "lam: "),
        (ask(7, new_tokens=0), 7, "new_tokens: "),
        (ask(7, top=100000), 7, "top: "),
        (ask(7, lamb=1), 7, "lamb: "),
        (b'{"id": 7, "op": "detail", "prompt": "a", "lam": 1e999}', 7, "lam: "),
    ],
)
def test_a_request_that_means_nothing_is_told_so_and_the_next_is_answered(
    request_: dict[str, Any] | bytes, id: int | None, said: str
) -> None:
    wrong, right = served(request_, ask(8))
    assert wrong["id"] == id
    assert wrong["ok"] is False
    assert said in wrong["error"]
    assert right["ok"] is True


def test_noise_can_be_shown_in_the_adapters_place() -> None:
    (reply,) = served({"id": 1, "op": "null_detail", "prompt": "the light", "seed": 5})
    assert PromptDetail.from_dict(reply["detail"]) == as_sent(detail("the light", BASE, View.null(5)))


def test_noise_that_the_model_cannot_draw_is_told_and_the_next_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeBackend, "null_styles", ("gaussian",))
    null = {"op": "null_detail", "prompt": "the light", "seed": 5}
    wrong, right = served({"id": 1, "style": "spectrum", **null}, {"id": 2, "style": "gaussian", **null})
    assert wrong["ok"] is False
    assert wrong["error"] == "spectrum: this model has no such noise (it has: gaussian)"
    assert right["ok"] is True


def test_the_kind_of_noise_is_the_one_asked_for() -> None:
    request = {"id": 1, "op": "null_detail", "seed": 5, "init_scale": 0.1, "rank_scale": 2.0}
    for style in NULL_STYLES:
        view = worker.Ask.model_validate({**request, "style": style}).view
        assert view == View.null(5, init_scale=0.1, rank_scale=2.0, style=style)


def test_the_device_is_let_go_when_a_run_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOOK_S", 0.0)
    (reply,) = served(ask(1), wanted=lambda: True)
    assert "a run waits" in reply["ended"]


def test_a_suite_is_read_from_a_file_a_folder_or_text(tmp_path: Path) -> None:
    text = json.dumps(models("plain"))
    (tmp_path / "sway.yaml").write_text(text)
    folder = RunFolder.create(text, root=tmp_path / "runs", base_dir=tmp_path)
    specs = [worker.read_spec(s) for s in (text, str(tmp_path / "sway.yaml"), str(folder.path))]
    assert specs[0] == specs[1] == specs[2]


# -- the process ----------------------------------------------------------------------------------


def models(base: str = "plain", entry: str = "tests.fakes:FakeBackend") -> dict[str, Any]:
    side = {"kind": "custom", "base": base, "entry_point": entry}
    return {"models": {"base": side, "ft": side}}


def suite(base: str = "plain", entry: str = "tests.fakes:FakeBackend") -> SwaySpec:
    return from_dict(models(base, entry))


RUDE = "tests.fakes_inspector:Rude"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Inspector]]:
    """``started(spec)`` → a running probe; ended with the test."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made: list[Inspector] = []

    def start(spec: Any = None) -> Inspector:
        made.append(Inspector(suite() if spec is None else spec).start())
        return made[-1]

    yield start
    for inspector in made:
        inspector.stop().join(WAIT_S)


def test_what_is_asked_while_the_model_loads_is_answered_after_it(started: Callable[..., Inspector]) -> None:
    inspector = started()
    assert inspector.state == "starting"
    assert not inspector.ready.cancel(), "a tab that is closed must not take it from the others"
    answer = inspector.ask("the light", top=4, new_tokens=3).result(WAIT_S)
    assert answer.detail == as_sent(detail("the light", BASE, FINETUNED, top=4, new_tokens=3))
    assert answer.seconds >= 0
    assert inspector.state == "ready"
    assert inspector.facts["device"] == "cpu"
    assert (inspector.facts["scalable"], inspector.facts["identical"]) == (True, [])
    assert inspector.facts["null_styles"] == list(NULL_STYLES)


def test_strength_0_differs_by_nothing_and_strength_1_is_the_tuned_view(started: Callable[..., Inspector]) -> None:
    inspector = started()
    none, half, full = (inspector.ask("the light", lam=lam, latest=False).result(WAIT_S) for lam in (0, 0.5, 1))
    assert {t.prediction.js for t in none.detail.tokens if t.prediction} == {0.0}
    assert full.detail == as_sent(detail("the light", BASE, FINETUNED))
    assert half.detail == as_sent(detail("the light", BASE, View.scaled(0.5)))
    null = inspector.ask_null("the light", View.null(3)).result(WAIT_S)
    assert null.detail == as_sent(detail("the light", BASE, View.null(3)))


def test_prompts_of_any_kind_arrive_as_they_are(started: Callable[..., Inspector]) -> None:
    inspector = started()
    for prompt in ("", "a\nb\r\n\tc", "žluť 🙂 \u2028 <b>", "\x00 nul", "long" * 50_000):
        assert inspector.ask(prompt, new_tokens=1).result(WAIT_S).detail.prompt == prompt


def test_a_slider_gets_the_newest_answer_only(started: Callable[..., Inspector]) -> None:
    inspector = started()
    asked = [inspector.ask("the light", lam=lam / 10) for lam in range(10)]
    assert asked[-1].result(WAIT_S).detail.view == "scaled_0.9"
    passed = [f for f in asked[:-1] if isinstance(f.exception(WAIT_S), Superseded)]
    assert len(passed) >= 8  # the first may have been taken up already
    assert inspector.state == "ready"


def test_what_libraries_print_does_not_disturb_the_answers(started: Callable[..., Inspector]) -> None:
    inspector = started(suite("plain", RUDE))
    assert inspector.ask("the light").result(WAIT_S).detail.prompt == "the light"
    assert "a library in C says hello" in inspector.log_tail()
    assert "showing ['the light']" in inspector.log_tail()


def test_a_prompt_that_fails_costs_no_other(started: Callable[..., Inspector]) -> None:
    inspector = started(suite("plain", RUDE))
    with pytest.raises(InspectorError, match="this prompt cannot be shown"):
        inspector.ask("cannot").result(WAIT_S)
    with pytest.raises(InspectorError, match="RuntimeError: a defect"):
        inspector.ask("fail").result(WAIT_S)
    assert "Traceback" in inspector.log_tail()
    assert inspector.ask("fine").result(WAIT_S).detail.prompt == "fine"


def test_stopping_gives_the_memory_back_and_answers_who_waits(started: Callable[..., Inspector]) -> None:
    inspector = started(suite("plain", RUDE))
    inspector.ready.result(WAIT_S)
    pid = inspector.pid
    assert pid is not None
    waiting = inspector.ask("wait")
    assert inspector.state == "busy"
    inspector.stop().join(WAIT_S)
    until(lambda: inspector.state == "ended")
    assert not psutil.pid_exists(pid)
    assert inspector.pid is None
    assert inspector.error == ""
    with pytest.raises(InspectorError, match="the probe was stopped"):
        waiting.result(WAIT_S)
    with pytest.raises(InspectorError):
        inspector.ask("too late").result(WAIT_S)


def test_a_process_that_dies_is_told_in_a_sentence(started: Callable[..., Inspector]) -> None:
    inspector = started(suite("plain", RUDE))
    inspector.ready.result(WAIT_S)
    with pytest.raises(InspectorError, match=r"the probe's process ended while it was in use, with exit code 3"):
        inspector.ask("die").result(WAIT_S)
    assert inspector.state == "ended"
    assert "exit code 3" in inspector.error


def test_a_process_that_is_killed_while_it_loads_is_told_in_a_sentence(started: Callable[..., Inspector]) -> None:
    inspector = started()
    asked = inspector.ask("the light")
    assert inspector.pid is not None
    os.kill(inspector.pid, signal.SIGKILL)
    with pytest.raises(InspectorError, match=r"while the model was loading, by signal SIGKILL; most often memory"):
        asked.result(WAIT_S)
    assert inspector.state == "failed"
    assert isinstance(inspector.ready.exception(WAIT_S), InspectorError)
    assert inspector.facts == {}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (suite("noload"), "the weights <img src=x onerror=alert(1)> cannot be read"),
        (suite("nan"), "the model is not fit to be shown: ft view gives 8 non-finite"),
        (suite("plain", "tests.fakes_inspector:Mute"), "kind: custom gives no logits"),
        (suite("plain", "tests.nowhere:Nothing"), "cannot import tests.nowhere"),
        (Path("/nowhere/sway.yaml"), "/nowhere/sway.yaml"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_in_a_sentence(
    started: Callable[..., Inspector], spec: Any, said: str
) -> None:
    inspector = started(spec)
    with pytest.raises(InspectorError) as raised:
        inspector.ready.result(WAIT_S)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert inspector.state == "failed"
    assert inspector.error == str(raised.value)


def test_the_process_does_not_outlive_whoever_started_it() -> None:
    code = (
        "import os, sys\n"
        "from tests.suite.test_inspector import suite\n"
        "from sway_dash.suite.inspect_client import Inspector\n"
        "inspector = Inspector(suite()).start()\n"
        "inspector.ready.result(120)\n"
        "print(inspector.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, cwd=ROOT)
    pid = int(done.stdout)
    assert until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_run_that_waits_for_the_device_gets_it(started: Callable[..., Inspector]) -> None:
    inspector = started()
    inspector.ready.result(WAIT_S)
    devices = line.devices(suite())
    with line.turn(devices, run="r-1", name="a run") as ours:
        assert ours
        until(lambda: inspector.state == "ended")
        assert "a run waits for its device" in inspector.error
        second = started()
        until(lambda: second.note)
        assert "a run" in second.note
        assert second.state == "starting"
    assert second.ask("the light").result(WAIT_S).detail.prompt == "the light"
    assert second.note == ""


def test_a_probe_that_waits_for_the_device_can_be_stopped(started: Callable[..., Inspector]) -> None:
    with line.turn(line.devices(suite()), run="r-1", name="a run"):
        inspector = started()
        until(lambda: inspector.note)
        inspector.stop().join(WAIT_S)
        until(lambda: inspector.state == "ended", "it still waits")
        assert inspector.pid is None


def test_a_probe_is_started_once() -> None:
    inspector = Inspector(suite())
    assert (inspector.state, inspector.pid) == ("new", None)
    with pytest.raises(InspectorError, match="start the probe first"):
        inspector.ask("the light").result(WAIT_S)
    inspector.stop().join(WAIT_S)
    assert inspector.state == "ended"
    with pytest.raises(InspectorError, match="make a new one"):
        inspector.start()


@pytest.mark.slow
def test_the_demo_model_answers_as_the_engine_does(started: Callable[..., Inspector]) -> None:
    from sway_dash.suite.execute import open_backend
    from sway_dash.suite.loader import load_spec

    prompt = "The keeper of Quillhaven Light is"
    spec = load_spec(demo_dir() / "sway.yaml")
    inspector = started(spec)
    answers: dict[float, Answer] = {
        lam: inspector.ask(prompt, lam=lam, latest=False, new_tokens=12).result(WAIT_S) for lam in (0.0, 1.0, 0.5)
    }
    pid = inspector.pid
    assert pid is not None
    assert {t.prediction.js for t in answers[0.0].detail.tokens if t.prediction} == {0.0}
    assert "Odalys Pym" in "".join(answers[1.0].detail.tuned_says)
    backend: Any = open_backend(spec)
    ((_, want),) = backend.details([prompt], new_tokens=12)
    backend.close()
    got = answers[1.0].detail
    assert [t.text for t in got.tokens] == [t.text for t in want.tokens]
    for token, other in zip(got.tokens[1:], want.tokens[1:], strict=True):
        assert token.prediction is not None
        assert token.prediction.js == pytest.approx(other.prediction.js, abs=1e-5)
    assert answers[0.5].detail.view == "scaled_0.5"
    assert "parameters" in inspector.facts
    inspector.stop().join(WAIT_S)
    assert not psutil.pid_exists(pid)
