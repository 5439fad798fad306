"""A session that was closed is forgotten: nothing of the program keeps it."""

from __future__ import annotations

import gc
import weakref

from bokeh.document import Document
from panel.io.state import set_curdoc, state

from sway_dash.dash.app import App


def closed() -> weakref.ref[App]:
    document = Document()
    with set_curdoc(document):
        app = App()
        app.session.start("run=demo")
        root = app.page.get_root(document)
        document.add_root(root)
    # As Panel does it when the browser has gone.
    app.session._destroyed(None)
    app.page._cleanup(root)
    state._views.pop(root.ref["id"], None)
    for kept in (state._onload, state._loaded, state._change_callbacks, state._periodic):
        kept.pop(document, None)
    document.callbacks.session_destroyed_callbacks.clear()
    document.clear()
    return weakref.ref(app)


def test_a_closed_session_is_forgotten() -> None:
    app = closed()
    gc.collect()
    assert app() is None
