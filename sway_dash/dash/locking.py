"""Answers to events of the browser are whole: they wait for the page and hold the document's lock.

Panel answers an event at once, with the lock, unless a change of some widget is still waiting for its turn, as it is
when somebody types and then clicks. Then it answers later and without the lock, where a change of a Bokeh model is an
error and half of the answer is lost. Its scheduler takes the lock for what carries a mark.

A page can be used a moment before it has told the server that it is ready. Until then Panel takes it that nobody has
the document yet and drops changes that are made together, as part of what would be sent later anyway.

Messages to the browser leave in the order they were made. What Panel has gathered while the socket was taken waits in a
line of its own, and a change that Bokeh sends by itself would go past it: to a model that the browser has not got yet.

Whatever a browser says is noted: what may wait waits while somebody is at work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

from bokeh.document import Document
from bokeh.document.events import DocumentPatchedEvent
from bokeh.server.session import ServerSession
from panel.io import document as panel_document
from panel.io.state import set_curdoc, state
from panel.reactive import Syncable

from sway_dash.dash import memory

Answer = Callable[..., Awaitable[None]]


def _whole(answer: Answer) -> Answer:
    @wraps(answer)
    async def when_ready(self: Syncable, doc: Document, *args: Any, **kwargs: Any) -> None:
        if doc.session_context is None or state._connected.get(doc):
            await answer(self, doc, *args, **kwargs)
            return
        again = partial(when_ready, self, doc, *args, **kwargs)
        with set_curdoc(doc):
            state.onload(lambda: state.execute(again, schedule=True))

    when_ready.lock = True  # type: ignore[attr-defined]
    return when_ready


def _in_line(send: Callable[[ServerSession, DocumentPatchedEvent], None]) -> Callable[..., None]:
    @wraps(send)
    def behind(self: ServerSession, event: DocumentPatchedEvent) -> None:
        document = self.document
        if document not in panel_document._WRITE_BLOCK and document not in panel_document._WRITE_MSGS:
            send(self, event)
            return
        known = self._current_patch_connection if event.setter is self else None
        others = [one for one in self._subscribed_connections if one is not known]
        panel_document.schedule_write_events(document, others, [event])

    return behind


def _noted(take: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(take)
    def heard(*args: Any, **kwargs: Any) -> Any:
        memory.heard()
        return take(*args, **kwargs)

    return heard


ServerSession._handle_patch = _noted(ServerSession._handle_patch)
ServerSession._document_patched = _in_line(ServerSession._document_patched)
Syncable._event_coroutine = _whole(Syncable._event_coroutine)
Syncable._change_coroutine = _whole(Syncable._change_coroutine)
