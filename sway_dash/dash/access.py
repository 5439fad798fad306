"""Who may talk to the server: a rule in front of everything it serves, pages, files and websockets alike.

Without a token only requests addressed to this machine by one of its loopback names are answered, so that no page from
elsewhere reaches it under a name of its own. With a token every request needs the cookie that opening ``/?token=…``
once has set. Either way a websocket has to come from a page of this very server.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import Any
from urllib.parse import urlencode, urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import Application, RequestHandler

UNAUTHORIZED, FORBIDDEN = 401, 403

TOKEN = "token"
"""Name of the query argument."""


class Access(Matcher):
    """Matches what must not be answered; says why in ``target_kwargs``."""

    def __init__(self, token: str | None, host: str = "") -> None:
        self._host = host.strip("[]").lower()
        self._token = None if token is None else token.encode("utf-8", "surrogatepass")
        # The cookie is not the token: whoever reads it from a browser's files cannot type it in elsewhere.
        self.cookie = "" if self._token is None else hmac.new(self._token, b"sway-dash", hashlib.sha256).hexdigest()

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """``None`` for a request that goes on to the server."""
        if is_foreign_socket(request):
            return _refusal(FORBIDDEN, "a websocket must be opened by a page of this server")
        if self._token is None:
            # A loopback address may have a name, and somebody has asked for it.
            if is_loopback(request.host_name) or request.host_name.strip("[]").lower() == self._host:
                return None
            return _refusal(
                FORBIDDEN, "this server answers this machine only; sway-dash serve --token opens it to others"
            )
        given = request.query_arguments.get(TOKEN)
        if given and request.method in ("GET", "HEAD") and hmac.compare_digest(given[-1], self._token):
            return {"target_kwargs": {"cookie": self.cookie}}
        if given:
            return _refusal(FORBIDDEN, "this is not the token of this server")
        shown = request.cookies.get(cookie_name(request))
        if shown is not None and hmac.compare_digest(shown.value.encode(), self.cookie.encode()):
            return None
        return _refusal(UNAUTHORIZED, "this server needs its token: open /?token=… once, with the token for the dots")


class Gatekeeper(RequestHandler):
    """Answers what :class:`Access` holds back: with a refusal, or with the cookie and the way on."""

    def initialize(self, *, cookie: str = "", status: int = 0, reason: str = "") -> None:
        """Keep what the rule said."""
        self._cookie, self._refused, self._why = cookie, status, reason

    def _request_summary(self) -> str:
        # The log gets no query: what was typed wrong there is nearly the token, and what was sent wrong is the token.
        return f"{self.request.method} {self.request.path} ({self.request.remote_ip})"

    def prepare(self) -> None:
        """Answer, whatever the method."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        if not self._cookie:
            self.set_status(self._refused)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"{self._why}\n")
            return
        secure = self.request.protocol == "https"
        self.set_cookie(cookie_name(self.request), self._cookie, httponly=True, samesite="Lax", secure=secure)
        # Back to the same page without the token: it must not stay in the address, nor in what is copied from it.
        rest = [(k, v) for k, values in self.request.query_arguments.items() if k != TOKEN for v in values]
        path = "/" + self.request.path.lstrip("/\\")
        self.redirect(f"{path}?{urlencode(rest)}" if rest else path)


def guard(application: Application, token: str | None, host: str = "") -> None:
    """Put the rule in front of everything an application serves; ``host`` is what it listens on."""
    application.add_handlers(".*", [Rule(Access(token, host), Gatekeeper)])


def cookie_name(request: HTTPServerRequest) -> str:
    """A name with the port in it: browsers share cookies between the ports of a machine."""
    try:
        port = urlsplit(f"//{request.host}").port
    except ValueError:
        port = None
    return f"sway-dash-{port or 80}"


def is_foreign_socket(request: HTTPServerRequest) -> bool:
    """Whether a page of another origin opens a websocket; programs that are no browsers name no origin."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return False
    origin = request.headers.get("Origin")
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()
    except ValueError:
        return True


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine, as seen from itself."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _refusal(status: int, reason: str) -> dict[str, Any]:
    return {"target_kwargs": {"status": status, "reason": reason}}
