"""``serve``: a server started for real and asked over HTTP and websockets; what is refused needs no server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.websocket import websocket_connect

from sway_dash.dash.access import Access, is_loopback

ROOT = Path(__file__).parents[2]
TOKEN = "naïve & secret/%"
STATIC = "/static/js/bokeh.min.js"


@dataclass
class Served:
    """A running ``sway-dash serve`` and where it says it is."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rstrip("/").rsplit(":", 1)[1])

    def get(self, path: str, *, method: str = "GET", body: str | None = None, **headers: str) -> HTTPResponse:
        """The answer as it comes, redirects not followed."""

        async def fetch() -> HTTPResponse:
            url = self.address.rstrip("/") + path
            request = HTTPRequest(url, method=method, body=body, headers=headers, follow_redirects=False)
            return await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)

        return _ran(fetch())

    def listen(self, session: str, **headers: str) -> str:
        """First message of the websocket of a page's session; the status when there is no websocket."""

        async def connect() -> str:
            request = HTTPRequest(self.address.replace("http", "ws", 1) + "sway/ws", headers=headers)
            try:
                socket = await websocket_connect(request, subprotocols=["bokeh", session])
            except HTTPClientError as error:
                return str(error.code)
            message = await asyncio.wait_for(socket.read_message(), 60)
            socket.close()
            return str(message)

        return _ran(connect())


def _ran(asked: Coroutine[Any, Any, Any]) -> Any:
    # In a thread: a browser that other tests have opened in this process keeps a loop of its own running here.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asked).result()


Start = Callable[..., Served]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """``serve("--token", …)`` → a server that answers; ended with the module."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str) -> Served:
        folder = tmp_path_factory.mktemp("runs")
        command = [sys.executable, "-m", "sway_dash", "serve", "--no-browser", "--runs", str(folder / "r"), *options]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        process = subprocess.Popen(
            command, env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=(folder / "log").open("w")
        )
        running.append(process)
        line = process.stdout.readline()  # type: ignore[union-attr]
        assert line.startswith("http://"), (folder / "log").read_text()
        return Served(process, line.strip(), folder / "log")

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def locked(serve: Start) -> Served:
    """A server with a token."""
    return serve("--port", "0", "--token", TOKEN)


@pytest.fixture(scope="module")
def entry(locked: Served) -> HTTPResponse:
    """What opening the address with the token once gives."""
    return locked.get("/sway?token=na%C3%AFve%20%26%20secret%2F%25&run=demo")


@pytest.fixture(scope="module")
def cookie(entry: HTTPResponse) -> str:
    return entry.headers["Set-Cookie"].split(";")[0]


def session_of(page: HTTPResponse) -> str:
    """Bokeh's token of the session that a page belongs to."""
    found = re.search(r'"token":"([^"]+)"', page.body.decode())
    assert found
    return found[1]


@pytest.mark.parametrize("path", ["/", "/sway", "/sway/ws", "/sway/autoload.js", STATIC, "/favicon.ico", "/nowhere"])
def test_without_the_token_nothing_is_answered(locked, path):
    answer = locked.get(path)
    assert answer.code == 401
    assert "needs its token" in answer.body.decode()
    assert "Set-Cookie" not in answer.headers
    other = locked.get(path, Cookie=f"sway-dash-{locked.port}=0123456789")
    assert other.code == 401


def test_a_wrong_token_opens_nothing(locked):
    for wrong in ("", "x", TOKEN.encode().hex()):
        answer = locked.get(f"/sway?token={wrong}")
        assert answer.code in (401, 403)
        assert "Set-Cookie" not in answer.headers


def test_the_log_holds_no_token_and_no_traceback(locked):
    good = f"/sway?{urlencode({'token': TOKEN})}"
    assert locked.get("/sway?token=nearly-the-token").code == 403
    assert locked.get(good, method="POST", body="").code == 403
    assert locked.get("/sway", Host="a:b:c").code == 401
    assert locked.listen("x", Origin="http://[") == "403"
    said = locked.log.read_text()
    assert "403 POST /sway (" in said
    assert "nearly-the-token" not in said
    assert urlencode({"token": TOKEN}) not in said
    assert "Traceback" not in said


def test_without_the_token_there_is_no_websocket(locked):
    assert locked.listen("x") == "401"
    assert locked.listen("x", Origin=locked.address.rstrip("/")) == "401"


def test_the_token_is_given_once_and_leaves_the_address(locked, entry, cookie):
    assert entry.code == 302
    assert entry.headers["Location"] == "/sway?run=demo"
    flags = entry.headers["Set-Cookie"].lower()
    assert "httponly" in flags
    assert "samesite=lax" in flags
    assert "secret" not in flags, "the cookie is not the token"
    assert locked.get("//elsewhere.example/x?token=wrong").code == 403


def test_with_the_cookie_pages_files_and_the_websocket_answer(locked, cookie):
    page = locked.get("/sway?run=demo", Cookie=cookie)
    assert page.code == 200
    assert "Did the LoRA adapter change the model" in page.body.decode()
    assert locked.get(STATIC, Cookie=cookie).code == 200
    origin = locked.address.rstrip("/")
    assert "ACK" in locked.listen(session_of(page), Cookie=cookie, Origin=origin)
    assert locked.listen(session_of(page), Cookie=cookie, Origin="http://elsewhere.example") == "403"


def test_on_this_machine_alone_no_token_is_needed_and_ctrl_c_ends_it(serve):
    with socket.socket() as taken:
        # Whether it is this socket or another program that has the usual port.
        with suppress(OSError):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", 5006))
            taken.listen()
        own = serve()
    assert own.port != 5006
    assert own.get("/").headers["Location"] == "./sway"
    assert own.get(STATIC).code == 200
    assert own.get(STATIC, Host="localhost:8080").code == 200, "a port that was forwarded"
    assert own.get(STATIC, Host="elsewhere.example").code == 403, "a name that only points here"
    assert own.listen("x", Origin="http://elsewhere.example") == "403"
    own.process.send_signal(signal.SIGINT)
    assert own.process.wait(30) == 0
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", own.port))


# -- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "--host 0.0.0.0 lets other machines in: give --token"),
        (("--host", "::"), "give --token"),
        (("--host", ""), "give --token"),
        (("--host", "192.0.2.1"), "--host 192.0.2.1 lets other machines in: give --token"),
        (("--host", "no such host"), "no such address"),
        (("--token", " "), "--token is empty"),
        (("--token", "a\nb"), "--token is empty or holds"),
        (("--port", "70000"), "less than or equal to 65535"),
        (("--port", "-1"), "greater than or equal to 0"),
    ],
)
def test_what_is_not_safe_or_not_possible_is_one_sentence(cli, options, said):
    result = cli("serve", "--no-browser", *options)
    assert result.exit_code == 2
    assert said in result.stderr.replace("\n", " ")


def test_a_port_that_was_asked_for_and_is_taken_is_told(cli):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = cli("serve", "--no-browser", "--port", port)
    assert result.exit_code == 2
    assert f"port {port} is taken" in result.stderr


def test_a_file_is_no_folder_of_runs(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("SWAY_RUNS_DIR", "put back by the fixture")
    (tmp_path / "file").write_text("")
    result = cli("serve", "--no-browser", "--runs", tmp_path / "file")
    assert result.exit_code == 2
    assert "is a file" in result.stderr


def test_a_token_may_come_from_the_environment(cli, monkeypatch):
    begun: dict[str, Any] = {}

    def begin(host: str | None, port: int, *, token: str | None, ready: Callable[[int], None]) -> None:
        begun.update(host=host, token=token)
        ready(port)

    monkeypatch.setattr("sway_dash.dash.serving.serve", begin)
    monkeypatch.setenv("SWAY_TOKEN", "from there")
    result = cli("serve", "--no-browser", "--host", "0.0.0.0", "--port", "0")
    assert result.exit_code == 0
    assert begun == {"host": "0.0.0.0", "token": "from there"}
    assert "from there" not in result.output, "a log is no place for it"


@pytest.mark.parametrize(
    ("name", "loopback"),
    [("localhost", True), ("127.8.0.1", True), ("[::1]", True), ("a.localhost", True), ("127.0.0.1.example", False),
     ("localhost.example", False), ("192.168.0.1", False), ("", False)],
)  # fmt: skip
def test_which_names_mean_this_machine(name, loopback):
    assert is_loopback(name) is loopback


def test_the_name_that_was_asked_for_is_answered():
    line = RequestStartLine("GET", "/", "HTTP/1.1")
    request = HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": "Workstation:5006"}))
    assert Access(None, "workstation").match(request) is None
    assert Access(None, "127.0.0.1").match(request) is not None
