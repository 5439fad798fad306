"""The dashboard as a server of its own: the same script as ``panel serve apps/sway.py``, started from Python."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sway_dash.core.shipped import shipped
from sway_dash.dash.access import guard

ROUTE = "/sway"
"""Path of the dashboard, as ``panel serve`` names it after the script."""


def app_script() -> Path:
    """The served script."""
    return shipped("apps/sway.py")


def serve(host: str | None, port: int, *, token: str | None, ready: Callable[[int], None]) -> None:
    """Serve until SIGINT or SIGTERM; ``ready`` is called with the port once requests are answered.

    ``OSError`` if the address cannot be listened on. Runs go on when the server ends; models that were loaded to look
    at single prompts go with it.
    """
    from panel.io.server import get_server

    with _quiet_about_origins():
        # Which origins may open a websocket is said by the guard, for any name and any forwarded port.
        server: Any = get_server(
            {ROUTE: str(app_script())},
            address=host,
            port=port,
            websocket_origin=["*"],
            start=False,
            show=False,
            verbose=False,
        )
    guard(server._tornado, token, host or "")
    loop = server.io_loop

    def stop(*_: object) -> None:
        loop.asyncio_loop.call_soon_threadsafe(loop.stop)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    server.start()
    loop.add_callback(ready, server.port)
    try:
        loop.start()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        server.stop()


@contextmanager
def _quiet_about_origins() -> Iterator[None]:
    log = logging.getLogger("bokeh.server.util")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
