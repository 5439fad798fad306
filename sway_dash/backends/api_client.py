"""HTTP to a completions server: retries with a bound, one sentence for every failure, no key in any text."""

from __future__ import annotations

import ipaddress
import json
import random
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sway_dash.core.errors import BackendNotAvailableError, ProbeError, SpecValidationError

if TYPE_CHECKING:
    import httpx

KEY_NAME = "SWAY_API_KEY"
"""Variable with the key where a suite names none."""
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may well succeed."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
LARGEST_ANSWER = 256 * 1024**2
"""Bytes; an answer beyond this is no answer to anything asked here."""
PAUSE_S = 20.0
"""For so long nothing is sent to a server that could not be reached: what follows fails at once."""


class Refused(ProbeError):
    """The server answered, and the answer is no; ``status`` and ``said`` are its own."""

    def __init__(self, message: str, *, status: int, said: str) -> None:
        self.status, self.said = status, said
        super().__init__("api", message)


class Unreachable(ProbeError):
    """There was no answer, after all retries."""

    def __init__(self, message: str) -> None:
        super().__init__("api", message)


def checked_url(endpoint: str) -> str:
    """The endpoint without a trailing slash; ``SpecValidationError`` for what is no plain http address."""
    text = endpoint.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        msg = f"endpoint {endpoint!r} is no address: {error}; write http://host:port/v1"
        raise SpecValidationError(msg) from None
    if parts.username or parts.password or parts.query or parts.fragment:
        # Never repeated: what stands there may be a key.
        msg = "endpoint must hold no user, password or query: write http://host:port/v1, the key goes into SWAY_API_KEY"
        raise SpecValidationError(msg)
    if parts.scheme not in ("http", "https") or not host:
        msg = f"endpoint {endpoint!r} is no http address: write http://host:port/v1"
        raise SpecValidationError(msg)
    return text


def is_loopback(url: str) -> bool:
    """Whether an address means this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ApiClient:
    """Sends JSON to one server and gets JSON back; safe to use from several threads.

    Transport errors and the statuses in :data:`RETRIED` are tried again up to ``max_retries`` times, with waits that
    double, jitter, and ``Retry-After`` where the server says one. ``deadline_s`` bounds a call with all its retries.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        key_name: str = KEY_NAME,
        timeout_s: float = 30.0,
        max_retries: int = 3,
        deadline_s: float | None = None,
    ) -> None:
        self.url = checked_url(url)
        # Servers are given with and without the version; both mean the same place.
        self.root = self.url.removesuffix("/v1")
        self._key, self._key_name = api_key or None, key_name
        self.timeout_s, self.max_retries = timeout_s, max_retries
        self.deadline_s = max(120.0, timeout_s * (max_retries + 1)) if deadline_s is None else deadline_s
        self._http: httpx.Client | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._down: tuple[float, str] | None = None

    @property
    def api(self) -> str:
        """Address under which ``completions`` and ``models`` lie."""
        last = self.url.rsplit("/", 1)[-1]
        versioned = last[:1] == "v" and last[1:2].isdigit()
        return self.url if versioned else f"{self.url}/v1"

    def post(self, path: str, payload: Mapping[str, Any], *, once: bool = False, more_s: float = 0.0) -> Any:
        """Answer to a JSON request; ``Refused`` or ``Unreachable`` (both ``ProbeError``) when there is none.

        ``once``: an error of the server (500) is its answer, as to a question it does not understand. ``more_s``: by
        how much this one may take longer than others.
        """
        return self._call("POST", path, payload, RETRIED - {500} if once else RETRIED, more_s)

    def get(self, path: str) -> Any:
        """Like :meth:`post` with ``once``, without a body."""
        return self._call("GET", path, None, RETRIED - {500}, 0.0)

    def close(self) -> None:
        """Close connections and end waits between retries; may be called twice."""
        self._closed.set()
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    # --- one call ---------------------------------------------------------------------------------------------------

    def _call(
        self, method: str, path: str, payload: Mapping[str, Any] | None, retried: frozenset[int], more_s: float
    ) -> Any:
        httpx = _httpx()
        down = self._down
        if down is not None and time.monotonic() < down[0]:
            raise Unreachable(down[1])
        url = path if path.startswith("http") else f"{self.api}/{path}"
        body = None if payload is None else json.dumps(payload).encode()
        silence, deadline = self.timeout_s + more_s, self.deadline_s + more_s
        start = time.monotonic()
        for attempt in range(self.max_retries + 1):
            after: float | None = None
            try:
                status, headers, content = self._send(method, url, body, silence, start + deadline)
            except httpx.InvalidURL as error:
                msg = f"{url} is no address: {error}; mend endpoint"
                raise SpecValidationError(msg) from None
            except (httpx.TransportError, httpx.DecodingError) as error:
                reason, failure = _transport_reason(error, silence), True
            else:
                if 200 <= status < 300:
                    self._down = None
                    return self._parsed(url, content)
                said = self._said(content)
                if status not in retried:
                    raise Refused(self._refusal(url, status, said), status=status, said=said)
                reason = f"it answered {status}" + (f": {said}" if said else "")
                failure, after = status != 500, retry_after(headers.get("retry-after"))
            wait = random.uniform(0.5, 1.0) * min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)
            wait = max(wait, after or 0.0)
            late = time.monotonic() - start + wait > deadline
            if attempt == self.max_retries or late or self._closed.wait(wait):
                tries = "1 attempt" if attempt == 0 else f"{attempt + 1} attempts"
                asked = f"; it asks to wait {after:.0f} s" if after and late else ""
                msg = f"no answer from {url} after {tries} ({reason}{asked}): {_remedy(reason)}"
                if not failure:
                    # An error of the server over this one request says nothing of the next.
                    raise Refused(f"{url} failed after {tries} ({reason})", status=status, said=said)
                self._down = (time.monotonic() + PAUSE_S, msg)
                raise Unreachable(msg)
        raise AssertionError("a call ends inside the loop")

    def _send(
        self, method: str, url: str, body: bytes | None, silence: float, until: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        httpx = _httpx()
        chunks: list[bytes] = []
        size = 0
        with self._connection().stream(method, url, content=body, timeout=silence) as response:
            # Read in pieces: a server that sends a byte a second would outlast every time-out.
            for chunk in response.iter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if time.monotonic() > until:
                    msg = "the answer had begun and was not complete in time"
                    raise httpx.ReadTimeout(msg)
                if size > LARGEST_ANSWER:
                    raise ProbeError("api", f"{url} sent more than {LARGEST_ANSWER // 1024**2} MiB: no such answer")
            return response.status_code, response.headers, b"".join(chunks)

    def _connection(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                self._closed.clear()
                headers = {"content-type": "application/json", "accept": "application/json"}
                if self._key:
                    headers["authorization"] = f"Bearer {self._key}"
                # A proxy from the environment is for the world outside, not for this machine.
                self._http = _httpx().Client(headers=headers, trust_env=not is_loopback(self.url))
            return self._http

    # --- words ------------------------------------------------------------------------------------------------------

    def _parsed(self, url: str, content: bytes) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            shown = self._clean(content[:60].decode("utf-8", "replace"))
            raise ProbeError("api", f"{url} did not answer in JSON ({shown!r}): is it a completions server?") from None

    def _said(self, content: bytes) -> str:
        """The message in an error's body, whatever shape it has."""
        try:
            found: Any = json.loads(content)
        except (ValueError, RecursionError):
            found = content[:200].decode("utf-8", "replace")
        for key in ("error", "detail", "message"):
            if isinstance(found, Mapping) and key in found:
                found = found[key]
        return self._clean(found if isinstance(found, str) else json.dumps(found))

    def _clean(self, text: str) -> str:
        if self._key:
            text = text.replace(self._key, "(key)")
        text = " ".join(text.split())
        return text if len(text) <= 240 else f"{text[:240]}…"

    def _refusal(self, url: str, status: int, said: str) -> str:
        hint = {
            401: f"; set {self._key_name} to the server's key",
            403: f"; set {self._key_name} to a key that may use this model",
            404: "; mend endpoint, or the model's name in base",
        }.get(status, "")
        if status in (301, 302, 307, 308):
            hint = "; it redirects: write the address it redirects to into endpoint"
        return f"{url} answered {status}" + (f": {said}" if said else "") + hint


def retry_after(value: str | None) -> float | None:
    """Seconds a ``Retry-After`` header asks to wait: a number, or a date; None for what is neither."""
    if not value:
        return None
    try:
        return max(0.0, float(value)) if float(value) < float("inf") else None
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _transport_reason(error: Exception, timeout_s: float) -> str:
    httpx = _httpx()
    text = " ".join(str(error).split())
    if isinstance(error, httpx.TimeoutException):
        return text or f"nothing came for {timeout_s:g} s"
    return text or type(error).__name__


def _remedy(reason: str) -> str:
    if "429" in reason:
        return "the server limits requests; try later, or lower SWAY_API_CONCURRENCY"
    return "is the server running, and is endpoint its address?"


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise BackendNotAvailableError("api", extra="api") from None
    return httpx
