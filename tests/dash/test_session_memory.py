"""A session that was closed is forgotten: nothing of the program keeps it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
import time
import weakref

from bokeh.document import Document
from panel.io.notifications import NotificationArea
from panel.io.state import set_curdoc, state

from sway_dash.dash.app import App


def closed():
    document = Document()
    with set_curdoc(document):
        app = App()
        app.session.start("run=demo")
        root = app.page.get_root(document)
        document.add_root(root)
        NotificationArea().get_root(document)
    # As Panel does it when the browser has gone.
    for ended in list(document.session_destroyed_callbacks):
        ended(None)
    left = [shown for shown, *_ in state._views.values() if isinstance(shown, NotificationArea)]
    assert not left, "the place of messages is still held"
    app.page._cleanup(root)
    state._views.pop(root.ref["id"], None)
    for kept in (state._onload, state._loaded, state._change_callbacks, state._periodic):
        kept.pop(document, None)
    document.callbacks.session_destroyed_callbacks.clear()
    document.clear()
    return weakref.ref(app)


app = closed()
for _ in range(100):
    gc.collect()
    if app() is None:
        break
    time.sleep(0.1)  # a reader's thread may still be on its last look
else:
    held = [type(one).__name__ + ": " + repr(one)[:200] for one in gc.get_referrers(app().nav, app())]
    raise SystemExit("still held by " + "; ".join(held))
print("forgotten")
"""


def test_a_closed_session_is_forgotten() -> None:
    # A process of its own: a test runner keeps log records, and with them frames and what they know.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "forgotten", done.stderr[-2000:]
