"""A completions server for tests: a toy language model behind HTTP that speaks like several servers, and breaks.

``style``: ``vllm`` (ids on request, lists, echo, at most 20 log-probabilities), ``python`` (llama-cpp-python: no lists,
errors as 500), ``llama.cpp`` (the ``content`` shape with ids and bytes, no echo), ``openai`` (5 log-probabilities,
unknown fields refused).

The model cuts a text into words with the space before them; characters beyond ASCII become one token a byte, which
vLLM writes as replacement characters. Its probabilities are made of a hash of the text so far.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

WORDS = [
    " river",
    " sea",
    " the",
    " a",
    " light",
    " hill",
    " keeper",
    ".",
    " 4",
    " tea",
    "\n",
    " end",
    " blue",
    " nine",
]
WORDS += [f" word{chr(97 + i)}" for i in range(20)]
BROKEN = [b"\xe6", b"\xf0"]
"""Two tokens of the vocabulary that are no whole character."""
ELSEWHERE = 1e-5
"""Probability of every token outside the vocabulary."""
Fault = Callable[["Handler"], bool]
"""Does something to a request; False lets it be answered as usual."""


def pieces(text: str, cut: str) -> list[bytes]:
    """The text's tokens as bytes."""
    out: list[bytes] = []
    for part in re.findall(cut, text, re.DOTALL):
        if part.isascii():
            out.append(part.encode())
        else:
            for char in part:
                raw = char.encode()
                out += [raw] if len(raw) == 1 else [raw[i : i + 1] for i in range(len(raw))]
    return out


def _uniform(name: str, text: str, n: int) -> list[float]:
    digest = hashlib.shake_128(f"{name}\0{text}".encode("utf-8", "surrogatepass")).digest(4 * n)
    return [int.from_bytes(digest[i : i + 4], "big") / 2**32 for i in range(0, 4 * n, 4)]


@dataclass(frozen=True)
class ToyModel:
    """Next-token probabilities of a text; ``moved`` says how far they are from those of ``moved = 0``."""

    moved: float = 0.0
    swap: bool = False
    """The two likeliest tokens change places."""
    cut: str = r" ?[A-Za-z]+| ?\d+|\s|[^\x00-\x7f]+|."
    spread: float = 6.0

    def next(self, text: str) -> dict[bytes, float]:
        names = [w.encode() for w in WORDS] + BROKEN
        base, tuned = (_uniform(name, text, len(names)) for name in ("base", "tuned"))
        logits = [self.spread * b + 4 * self.moved * t for b, t in zip(base, tuned, strict=True)]
        # The broken ones are rare but not nothing.
        logits[-2:] = [v - 3.0 for v in logits[-2:]]
        biggest = max(logits)
        weights = [math.exp(v - biggest) for v in logits]
        total = sum(weights) / 0.98
        found = dict(zip(names, (w / total for w in weights), strict=True))
        if self.swap:
            first, second = sorted(found, key=lambda n: -found[n])[:2]
            found[first], found[second] = found[second], found[first]
        return found

    def logprob(self, before: str, token: bytes) -> float:
        return math.log(self.next(before).get(token, ELSEWHERE))


@dataclass
class Setup:
    """How the server behaves."""

    style: str = "vllm"
    models: dict[str, ToyModel] = field(default_factory=lambda: {"base": ToyModel(), "tuned": ToyModel(moved=1.0)})
    limit: int = 20
    echo: bool = True
    shifted: bool = False
    """Echoed log-probabilities stand one place too early."""
    key: str = ""
    fewer: int = 0
    """Lists at most so many tokens, whatever was asked for; 0: no fewer."""
    warp: Callable[[float], float] = float
    """What becomes of every log-probability."""
    mangled: str = ""
    """A model whose tokens are written as they stand in its vocabulary, with a letter for the space."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What it says of every model."""
    noise: float = 0.0
    """By how much an answer in a list differs from one alone, nats."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ApiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(raw)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def fail(self, status: int, message: str) -> None:
        self.send(status, {"error": {"message": message, "type": "BadRequestError", "code": status}})

    def do_GET(self) -> None:
        facts = {"object": "model", "created": time.time_ns(), **self.server.setup.facts}
        self.send(200, {"object": "list", "data": [{"id": n, **facts} for n in self.server.setup.models]})

    def do_POST(self) -> None:
        self.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(self.asked)
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault is not None and fault(self):
            return
        if self.server.always is not None and self.server.always(self):
            return
        setup = self.server.setup
        if setup.key and self.headers.get("Authorization") != f"Bearer {setup.key}":
            return self.fail(401, f"wrong key {self.headers.get('Authorization')}")
        if self.path == "/detokenize":
            (number,) = self.asked["tokens"]
            return self.send(200, {"prompt": [*WORDS, "\ufffd", "\ufffd"][number] if number < len(WORDS) + 2 else "?"})
        if self.path != "/v1/completions":
            return self.fail(404, f"no such path {self.path}")
        self.complete(setup)

    def complete(self, setup: Setup) -> None:
        asked = self.asked
        model = setup.models.get(asked["model"])
        if model is None:
            return self.fail(404, f"The model `{asked['model']}` does not exist.")
        if setup.style == "openai" and "return_tokens_as_token_ids" in asked:
            return self.fail(400, "Unrecognized request argument supplied: return_tokens_as_token_ids")
        k = asked.get("logprobs")
        if k is not None and k > setup.limit:
            return self.fail(400, f"Requested sample logprobs of {k}, which is greater than max allowed: {setup.limit}")
        prompts = asked["prompt"] if isinstance(asked["prompt"], list) else [asked["prompt"]]
        if setup.style == "python" and len(prompts) > 1:
            return self.fail(500, "assert len(body.prompt) <= 1")
        if any("too long" in p for p in prompts):
            return self.fail(400, "This model's maximum context length is 7 tokens.")
        choices = [self.choice(setup, model, i, p, len(prompts)) for i, p in enumerate(prompts)]
        # Any order: the index says which is which.
        self.send(
            200,
            {
                "object": "text_completion",
                "model": asked["model"],
                "choices": choices[::-1],
                "usage": {"completion_tokens": sum(c.pop("new") for c in choices), "prompt_tokens": 7 * len(prompts)},
            },
        )

    def choice(self, setup: Setup, model: ToyModel, index: int, prompt: str, n: int) -> dict[str, Any]:
        asked, text = self.asked, prompt
        new: list[bytes] = []
        for _ in range(asked["max_tokens"]):
            found = model.next(text)
            new.append(max(found, key=lambda t: found[t]))
            text += new[-1].decode("utf-8", "replace")
        echo = asked.get("echo") and setup.echo
        out = {"index": index, "text": text if asked.get("echo") else text[len(prompt) :], "new": len(new)}
        if asked.get("logprobs") is None:
            return {**out, "logprobs": None}
        tokens, before = [], ""
        if echo:
            for token in pieces(prompt, model.cut):
                tokens.append((token, before if before else None))
                before = (before.encode("utf-8", "surrogateescape") + token).decode("utf-8", "surrogateescape")
        tokens += [(t, prompt) for t in new[:1]]
        shift = setup.noise if n > 1 else 0.0
        written = [self.entry(setup, model, t, b, shift) for t, b in tokens]
        if setup.shifted and echo:
            for one, after in pairwise(written):
                one["logprob"] = after["logprob"]
        if setup.style == "llama.cpp":
            return {**out, "logprobs": {"content": written}}
        return {
            **out,
            "logprobs": {
                "tokens": [w["token"] for w in written],
                "token_logprobs": [w["logprob"] for w in written],
                "top_logprobs": [w["top"] and {t["token"]: t["logprob"] for t in w["top"]} for w in written],
                "text_offset": [0 for _ in written],
            },
        }

    def entry(self, setup: Setup, model: ToyModel, token: bytes, before: str | None, shift: float) -> dict[str, Any]:
        if before is None:
            return {**self.named(setup, token, 0), "logprob": None, "top": None}
        found = model.next(before)
        k = min(self.asked["logprobs"], setup.fewer or 10**6)
        ids = {t: i for i, t in enumerate(found)}
        likely = sorted(found, key=lambda t: -found[t])[:k]
        top = [
            {**self.named(setup, t, ids[t]), "logprob": setup.warp(math.log(found[t]) + shift * (-1) ** i)}
            for i, t in enumerate(likely)
        ]
        own = setup.warp(model.logprob(before, token))
        return {**self.named(setup, token, ids.get(token, 999)), "logprob": own, "top": top, "top_logprobs": top}

    def named(self, setup: Setup, token: bytes, number: int) -> dict[str, Any]:
        if setup.style == "vllm" and self.asked.get("return_tokens_as_token_ids"):
            return {"token": f"token_id:{number}"}
        if setup.style == "openai" and not _whole(token):
            return {"token": "bytes:" + "".join(f"\\x{b:02x}" for b in token)}
        text = token.decode("utf-8", "replace")
        if setup.mangled == self.asked["model"]:
            text = text.replace(" ", "\u0120").replace("\n", "\u010a")
        return {"token": text, "id": number, "bytes": list(token)} if setup.style == "llama.cpp" else {"token": text}


def _whole(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


class ApiServer(ThreadingHTTPServer):
    """The server; ``requests`` are the bodies it got, ``faults`` happen to the next requests, ``always`` to all."""

    daemon_threads = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.setup = setup
        self.requests: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


@contextmanager
def serving(**setup: Any) -> Iterator[ApiServer]:
    """A server on a free port of this machine for as long as the context lasts."""
    server = ApiServer(Setup(**setup))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


# --- faults ---------------------------------------------------------------------------------------------------------


def status(code: int, message: str = "out of order", **headers: str) -> Fault:
    """An error."""

    def fault(handler: Handler) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.send(code, {"error": {"message": message}}, named)
        return True

    return fault


def cut(handler: Handler) -> bool:
    """The connection ends in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    handler.connection.close()
    handler.close_connection = True
    return True


def body(raw: bytes) -> Fault:
    """An answer that is not what was asked for."""

    def fault(handler: Handler) -> bool:
        handler.send(200, raw)
        return True

    return fault


def slow(seconds: float) -> Fault:
    """The right answer, late."""

    def fault(handler: Handler) -> bool:
        time.sleep(seconds)
        return False

    return fault


def dripping(handler: Handler) -> bool:
    """A byte now and then, without end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    try:
        for _ in range(2000):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)
    except OSError:
        pass
    handler.close_connection = True
    return True
