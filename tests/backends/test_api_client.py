"""Requests that go wrong: what is tried again, how long, and what is said in the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from sway_dash.backends import api_client, build
from sway_dash.backends.api import ApiScoringBackend
from sway_dash.backends.api_client import ApiClient, checked_url, is_loopback, retry_after
from sway_dash.core.errors import BackendNotAvailableError, ProbeError, SpecValidationError
from sway_dash.core.model import ModelSpec
from tests.api_server import ApiServer, body, cut, dripping, serving, slow, status

ASK = {"model": "base", "prompt": "The river", "max_tokens": 1, "logprobs": 5}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(api_client, "PAUSE_S", 60.0)


OPENED: list[Any] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Every client of a test is closed after it."""
    yield
    while OPENED:
        OPENED.pop().close()


def client(server: ApiServer, **options: Any) -> ApiClient:
    made = ApiClient(server.url, **{"timeout_s": 5.0, **options})
    OPENED.append(made)
    return made


@pytest.mark.parametrize("fault", [status(500), status(502), status(503), status(429), status(408), cut])
def test_what_may_pass_is_tried_again(server: ApiServer, fault: Any) -> None:
    server.faults = [fault, fault]
    assert client(server).post("completions", ASK)["choices"]
    assert len(server.requests) == 3


def test_a_late_answer_is_tried_again(server: ApiServer) -> None:
    server.faults = [slow(1.0)]
    assert client(server, timeout_s=0.3).post("completions", ASK)["choices"]
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
def test_a_refusal_is_final(server: ApiServer, code: int) -> None:
    server.faults = [status(code, "no such thing")]
    with pytest.raises(ProbeError, match=f"{code}: no such thing"):
        client(server).post("completions", ASK)
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed_with_the_key(server: ApiServer) -> None:
    server.faults = [status(307, "elsewhere", Location="http://127.0.0.1:9/v1/completions")]
    with pytest.raises(ProbeError, match="it redirects: write the address"):
        client(server, api_key="secret").post("completions", ASK)


def test_errors_of_the_server_end_in_one_sentence(server: ApiServer) -> None:
    server.always = status(500, "CUDA out of memory")
    with pytest.raises(ProbeError, match=r"failed after 3 attempts \(it answered 500: CUDA out of memory\)") as caught:
        client(server, max_retries=2).post("completions", ASK)
    assert "\n" not in str(caught.value)
    # An error over one request does not speak for the next.
    server.always = None
    assert client(server).post("completions", ASK)["choices"]


def test_a_server_that_is_down_is_not_asked_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = ApiClient(f"http://127.0.0.1:{port}", max_retries=2)
    with pytest.raises(ProbeError, match=rf"no answer from http://127.0.0.1:{port}/v1/completions after 3 attempts"):
        found.post("completions", ASK)
    monkeypatch.setattr(found, "_send", lambda *_: pytest.fail("it was asked again"))
    with pytest.raises(ProbeError, match="is the server running"):
        found.post("completions", ASK)


@pytest.mark.parametrize(
    "raw", [b"<html>gateway</html>", b'{"choices": [', b"", b"\xff\xfe", b"[" * 200_000], ids=range(5)
)
def test_an_answer_that_is_no_json_is_said_to_be_none(server: ApiServer, raw: bytes) -> None:
    server.always = body(raw)
    with pytest.raises(ProbeError, match="did not answer in JSON"):
        client(server).post("completions", ASK)
    assert len(server.requests) == 1


def test_an_answer_that_never_ends_is_given_up(server: ApiServer) -> None:
    server.always = dripping
    with pytest.raises(ProbeError, match="not complete in time"):
        client(server, deadline_s=0.3, max_retries=0).post("completions", ASK)


def test_an_answer_without_bound_is_given_up(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "LARGEST_ANSWER", 1000)
    server.always = body(b" " * 2000)
    with pytest.raises(ProbeError, match="no such answer"):
        client(server).post("completions", ASK)


def test_the_server_says_when_to_come_back(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults = [status(429, "busy", Retry_After="0.3")]
    found = client(server)
    waits: list[float] = []
    monkeypatch.setattr(found._closed, "wait", waits.append)
    assert found.post("completions", ASK)["choices"]
    assert waits == [0.3]
    server.faults = [status(429, "busy", Retry_After="3600")]
    with pytest.raises(ProbeError, match=r"asks to wait 3600 s.*SWAY_API_CONCURRENCY"):
        client(server).post("completions", ASK)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("7") == 7.0
    assert retry_after("-3") == 0.0
    assert retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=30))) == pytest.approx(30, abs=3)
    assert retry_after(format_datetime(datetime.now(UTC) - timedelta(seconds=30))) == 0.0
    for nothing in (None, "", "soon", "inf", "nan?"):
        assert retry_after(nothing) is None


def test_closing_ends_a_wait(server: ApiServer) -> None:
    server.always = status(503, "loading", Retry_After="30")
    found = client(server)
    threading.Timer(0.2, found.close).start()
    with pytest.raises(ProbeError, match=r"after 1 attempt \(it answered 503"):
        found.post("completions", ASK)


def test_the_key_is_sent_and_said_nowhere(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.setup.key = "sk-right"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    monkeypatch.delenv("SWAY_API_KEY", raising=False)
    right = ApiScoringBackend(base_url=server.url, model_name="base")
    OPENED.append(right)
    assert right.logprob_of("The", " river") < 0
    # The server repeats the wrong one in its message.
    monkeypatch.setenv("SWAY_API_KEY", "sk-wrong")
    backend = ApiScoringBackend(base_url=server.url, model_name="base")
    OPENED.append(backend)
    with pytest.raises(ProbeError, match=r"401: wrong key Bearer \(key\); set SWAY_API_KEY") as caught:
        backend.logprob_of("The", " river")
    assert "sk-wrong" not in str(caught.value)
    ok, reason = backend.preflight_finite_check()
    assert not ok
    assert "401" in reason
    assert "sk-" not in repr(vars(backend)) + reason


def test_a_wrong_key_is_said_of_the_variable_the_suite_names(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.setup.key = "sk-right"
    monkeypatch.setenv("SWAY_API_KEY_LAB", "sk-wrong")
    made: Any = build(ModelSpec(kind="api", base="base", endpoint=server.url, key_env="SWAY_API_KEY_LAB"))
    OPENED.append(made)
    with pytest.raises(ProbeError, match="set SWAY_API_KEY_LAB to the server's key"):
        made.next_token_dist("The")
    server.always = status(403, "not yours")
    with pytest.raises(ProbeError, match="set SWAY_API_KEY_LAB to a key that may use this model"):
        made.next_token_dist("The")


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http://me:hush@host/v1",
        "http://host/v1?key=hush",
        "http://h:x/v1",
    ],
)
def test_addresses_that_cannot_be_meant(endpoint: str) -> None:
    with pytest.raises(SpecValidationError, match="endpoint") as caught:
        checked_url(endpoint)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "api"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h:1/v1/", "http://h:1/v1"),
        ("https://h/openai/v2", "https://h/openai/v2"),
        ("https://h/vllm", "https://h/vllm/v1"),
    ],
)
def test_the_version_may_be_left_out(endpoint: str, api: str) -> None:
    assert ApiClient(endpoint).api == api


def test_this_machine_is_asked_without_a_proxy() -> None:
    assert is_loopback("http://localhost:1/v1")
    assert is_loopback("http://127.0.0.1:1")
    assert is_loopback("http://[::1]:1")
    assert not is_loopback("http://example.org/v1")


def test_without_httpx_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(BackendNotAvailableError, match=r"pip install 'sway-dash\[api\]'"):
        ApiScoringBackend(base_url="http://127.0.0.1:1", model_name="m").logprob_of("a", " b")
