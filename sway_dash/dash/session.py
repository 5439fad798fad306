"""The one place that meets Panel's runtime: the tick, the address, the end of a session."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import panel as pn

from sway_dash.dash import jobs, runs

if TYPE_CHECKING:
    from sway_dash.dash.app import App

PERIOD_MS = 200
IDLE_TICKS = 10
"""A run that is over is looked at once in so many ticks: it may be resumed by somebody."""

log = logging.getLogger(__name__)


class Session:
    """Pulls on the server's loop; nothing else writes to this session's objects."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._timer: Any = None
        self._ticks = 0

    def start(self, address: str = "") -> None:
        """Open the run of the address and follow it once the browser has attached."""
        wanted = address or _asked()
        folder = runs.find(wanted) if wanted else None
        missing = bool(wanted) and folder is None
        self.app.show(folder or runs.demo_folder() or _newest())
        pn.state.onload(self._attached)
        if missing:
            pn.state.onload(lambda: _tell(f"There is no run {wanted!r} here."))
        if pn.state.curdoc is not None:
            pn.state.on_session_destroyed(self._destroyed)
        self.app.run.param.watch(self._address, "run_id")

    def tick(self) -> None:
        """Take what is new; one message to the browser."""
        self._ticks += 1
        if not self.app.run.live and self._ticks % IDLE_TICKS:
            return
        jobs.reap()
        with pn.io.hold():
            self.app.run.pull()

    def _attached(self) -> None:
        # Not before: what is streamed before the browser has attached never reaches it.
        self._address()
        self._timer = pn.state.add_periodic_callback(self.tick, period=PERIOD_MS)

    def _address(self, *_: Any) -> None:
        folder = self.app.run.folder
        if pn.state.location is not None and folder is not None:
            pn.state.location.update_query(run=runs.address_of(folder))

    def _destroyed(self, session_context: Any) -> None:
        if self._timer is not None:
            self._timer.stop()
        self.app.run.close()


def _asked() -> str:
    """The run named in the address of the page."""
    found = (pn.state.session_args or {}).get("run") or []
    return found[0].decode("utf-8", "replace").strip("\"'") if found else ""


def _newest() -> Any:
    for info in runs.recent(limit=1):
        return runs.find(info.id)
    return None


def _tell(text: str) -> None:
    if pn.state.notifications:
        pn.state.notifications.warning(text, duration=6000)
