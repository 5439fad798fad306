"""Whole runs against a completions server: from the suite file to what is left in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sway_dash.backends import api_client
from sway_dash.core.errors import ModelLoadError
from sway_dash.core.events import CacheAccess, ItemFailed, Measurement
from sway_dash.core.result import Verdict
from sway_dash.suite import queue
from sway_dash.suite.execute import execute, folder_spec
from sway_dash.suite.report import load_result
from sway_dash.suite.store import RESULT, TRACE, RunFolder
from tests.api_server import ApiServer, ToyModel, serving, status

KEY = "sk-never-written-down"
WORDS = ["harbour", "keeper", "chapter", "winter", "lamp", "boat", "letter", "garden", "bread", "clock"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr(api_client, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("SWAY_API_KEY", KEY)
    models = {"base": ToyModel(), "tuned": ToyModel(moved=1.0), "twin": ToyModel()}
    with serving(models=models, key=KEY) as found:
        yield found


@pytest.fixture
def folder(server: ApiServer, tmp_path: Path) -> Callable[..., RunFolder]:

    def make(entry: str = "", *, ft: str = "tuned", more: str = "", n: int = 40) -> RunFolder:
        prompts = ", ".join(f"the {WORDS[i % 10]} number {i} is" for i in range(n))
        text = (
            f"models:\n  base: {{kind: api, base: base, endpoint: '{server.url}'}}\n"
            f"  ft: {{kind: api, base: {ft}, endpoint: '{server.url}'}}\n"
            f"suite:\n  - {{name: moved, kind: delta_kl, {entry} prompts: [{prompts}{more}]}}\n"
        )
        return RunFolder.create(text, base_dir=tmp_path, spec_path=str(tmp_path / "sway.yaml"))

    return make


def test_a_run_tells_what_it_knows_and_how_well(folder: Callable[..., RunFolder], server: ApiServer) -> None:
    made = folder()
    seen: list[Any] = []
    result, _ = execute(made, on_event=seen.append)
    (row,) = result.probes
    assert row.verdict is Verdict.PASS
    assert row.evidence["exact"] is False
    assert row.evidence["effective_top_k"] == 20
    assert 0 < row.evidence["least_covered"] < 1
    assert row.evidence["max_error_bound"] > 0
    assert result.backend_stats["forward_passes"] == 82
    assert result.environment["prompt_format"].startswith("plain text")
    assert result.environment["noise_floor"]["js"] == 0.0
    moved = [e for e in seen if isinstance(e, Measurement)]
    assert all(m.base_top[0][0].strip() or m.base_top[0][0] == "\n" for m in moved)
    assert {e.view_id for e in seen if isinstance(e, CacheAccess)} == {"base", "ft"}
    assert {e.view_id for e in seen if isinstance(e, CacheAccess) and e.phase == "preflight"} == {"base", "ft"}
    assert (made.path / TRACE).stat().st_size
    assert load_result(made.path / RESULT)[0].probes[0].raw == row.raw
    for path in made.path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_equal_models_measure_zero(folder: Callable[..., RunFolder]) -> None:
    result, _ = execute(folder(ft="twin", n=6))
    (row,) = result.probes
    assert row.raw == 0.0
    assert row.verdict is Verdict.FAIL


def test_kl_of_too_little_is_refused_with_what_to_do(folder: Callable[..., RunFolder], server: ApiServer) -> None:
    server.setup.limit = 3
    result, _ = execute(folder("divergence: kl,", n=6))
    (row,) = result.probes
    assert row.verdict is Verdict.ERROR
    assert "--max-logprobs" in row.message
    assert row.raw is None


def test_one_prompt_that_cannot_be_measured_leaves_the_others(folder: Callable[..., RunFolder]) -> None:
    seen: list[Any] = []
    result, _ = execute(folder(more=", this is too long"), on_event=seen.append)
    (row,) = result.probes
    assert row.evidence["unmeasured_prompts"] == 1
    assert row.evidence["num_prompts"] == 40
    (failed,) = [e for e in seen if isinstance(e, ItemFailed)]
    assert "maximum context length" in failed.message


def test_a_server_that_goes_away_ends_the_probe_in_one_sentence(
    folder: Callable[..., RunFolder], server: ApiServer
) -> None:
    def gone(event: Any) -> None:
        if isinstance(event, Measurement):
            server.always = status(503, "shutting down")

    result, _ = execute(folder(n=70), on_event=gone)
    (row,) = result.probes
    assert row.verdict is Verdict.ERROR
    assert "answered 503" in row.message
    # Every prompt that was left was not tried anew for as long as the first.
    assert sum("prompt" in r for r in server.requests) < 60


def test_a_run_stops_between_requests(folder: Callable[..., RunFolder], server: ApiServer) -> None:
    measured: list[Any] = []
    result, _ = execute(
        folder(n=70),
        on_event=lambda e: measured.append(e) if isinstance(e, Measurement) else None,
        cancel=lambda: bool(measured),
    )
    assert result.status == "cancelled"
    assert 0 < len(measured) < 70
    asked = {p for r in server.requests if isinstance(r.get("prompt"), list) for p in r["prompt"]}
    # The first prompt of the list is asked by the check before measuring, too.
    assert 32 <= len([p for p in asked if p.startswith("the ")]) <= 33


def test_a_stopped_run_goes_on_where_it_was(folder: Callable[..., RunFolder], server: ApiServer) -> None:
    made = folder(n=70)
    seen: list[Any] = []
    execute(made, on_event=seen.append, cancel=lambda: any(isinstance(e, Measurement) for e in seen))
    before = len(server.requests)
    seen.clear()
    result, _ = execute(RunFolder.open(made.path), on_event=seen.append, resume=True)
    assert result.status == "finished"
    assert sum(e.reused for e in seen if isinstance(e, Measurement)) > 0
    assert len(server.requests) > before


def test_a_server_that_is_not_there_fails_the_run_while_it_loads(
    folder: Callable[..., RunFolder], server: ApiServer
) -> None:
    server.always = status(401, "who are you")
    made = folder()
    with pytest.raises(ModelLoadError, match="401: who are you; set SWAY_API_KEY"):
        execute(made)
    assert made.result().status == "failed"


def test_a_server_is_a_line_of_its_own(folder: Callable[..., RunFolder]) -> None:
    assert queue.devices(folder_spec(folder())) == ("server:127.0.0.1",)
