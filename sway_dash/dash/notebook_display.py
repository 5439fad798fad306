"""What a cell shows: the live view, and the same run as plain HTML for whoever knows no widgets.

Both are outputs of the cell. The plain HTML stands there from the beginning, is renewed while the run goes on, and is
hidden by the browser as soon as browser and kernel have met; a saved notebook, ``nbconvert`` and GitHub show it. What
loads the scripts is taken out of the notebook once they are loaded.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from sway_dash.dash.notebook_design import keep_local, keep_local_in
from sway_dash.dash.notebook_view import NotebookView

PERIOD_MS = 250
PLAIN_S = 2.0
"""How often the plain HTML is renewed while nobody sees the live view."""


class Display:
    """One output of one cell."""

    def __init__(self, view: NotebookView, plain: Callable[[], str]) -> None:
        self.view, self._plain = view, plain
        self.id = f"sway-{uuid.uuid4().hex[:12]}"
        self._shown, self._at = "", 0.0
        self._loaders: list[str] = []
        view.attached.place = self.id
        view.on_met(self._met)

    def publish(self, load: Callable[[], None]) -> None:
        """Put everything into the current cell; ``load`` publishes what loads the scripts."""
        from IPython.display import display, publish_display_data
        from IPython.utils.capture import capture_output
        from panel.config import config

        with capture_output(stdout=False, stderr=False, display=True) as found:
            load()
        for output in found.outputs:
            data = dict(output.data)
            if config.comms == "default" and any(name.endswith("holoviews_load.v0+json") for name in data):
                # The same script once more, for front ends without the comm that the live view needs.
                data.pop("application/javascript", None)
            self._loaders.append(f"{self.id}-{len(self._loaders)}")
            publish_display_data(data, output.metadata, transient={"display_id": self._loaders[-1]})
        self.view.root.loop = main_loop()
        display(self.view.root if config.comms == "default" else _widget(self.view.root))
        keep_local(self.view.root)
        self._shown = self._wrapped()
        publish_display_data(self._bundle(), transient={"display_id": self.id})
        self._at = time.monotonic()

    def tick(self, *, over: bool) -> None:
        """Bring live view and plain HTML up to date; the latter always when the run is over."""
        self.view.pull()
        if over or (not self.view.alive and time.monotonic() - self._at > PLAIN_S):
            self.renew()

    def renew(self) -> None:
        """Replace the plain HTML if it would say something else."""
        self._at = time.monotonic()
        text = self._wrapped()
        if text != self._shown:
            self._shown = text
            _update(self.id, self._bundle())

    def _wrapped(self) -> str:
        return f'<div data-sway="{self.id}">{self._plain()}</div>'

    def _bundle(self) -> dict[str, str]:
        return {"text/html": self._shown, "text/plain": "sway_dash"}

    def _met(self) -> None:
        for name in self._loaders:
            _update(name, {"text/html": ""})
        self._loaders = []


def _widget(root: Any) -> Any:
    """The live view as VS Code and Colab take it, with its style sheets inside: they are sent as soon as it is made."""
    from bokeh.document import Document
    from panel.io.notebook import ipywidget

    doc = Document()
    first = root.get_root(doc=doc)
    keep_local_in(doc)
    root._cleanup(first)
    return ipywidget(root, doc=doc)


def _update(name: str, data: dict[str, str]) -> None:
    from IPython.display import publish_display_data

    publish_display_data(data, transient={"display_id": name}, update=True)


class Pump:
    """Calls ``tick`` on the kernel's own loop as long as it says True."""

    def __init__(self, tick: Callable[[], bool], stop: Callable[[], None]) -> None:
        self._tick, self._stop = tick, stop
        self._timer: Any = None
        self._loop: Any = None

    def start(self) -> None:
        """Begin, from any thread; a plain program has no loop and waits itself."""
        if self._loop is None:
            self._loop = main_loop()
        if self._loop is not None:
            self._loop.add_callback(self._begin)

    def _begin(self) -> None:
        from tornado.ioloop import PeriodicCallback

        if self._timer is None:
            self._timer = PeriodicCallback(self._turn, PERIOD_MS)
            self._timer.start()

    def _turn(self) -> None:
        if self._tick():
            self._listen()
        else:
            self._timer.stop()
            self._timer = None

    def _listen(self) -> None:
        """Let the front end's interrupt stop the run while no cell is running: a kernel ignores it then."""
        if "ipykernel" in sys.modules and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda *_: self._stop())


def main_loop() -> Any:
    """The running loop of this thread if it is the main one, where a kernel runs its cells; else ``None``."""
    from tornado.ioloop import IOLoop

    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    return IOLoop.current()


def in_notebook() -> bool:
    """Whether there is a kernel that shows rich output."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None
