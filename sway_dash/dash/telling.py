"""A word at the edge of the page."""

from __future__ import annotations

import panel as pn
from bokeh.document import Document
from panel.io.notifications import NotificationAreaBase


def tell(text: str, *, tone: str = "warning") -> None:
    """A word at the edge of the page; errors stay until they are dismissed."""
    if pn.state.notifications:
        pn.state.notifications.send(text, duration=0 if tone == "error" else 6000, type=tone)


def silence(document: Document) -> None:
    """Forget where words appear on a page that has gone: Panel itself keeps it, and all that hangs on it."""
    for ref, (shown, root, of, _) in list(pn.state._views.items()):
        if of is document and isinstance(shown, NotificationAreaBase):
            shown._cleanup(root)
            del pn.state._views[ref]
