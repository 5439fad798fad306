"""Work that may take a while (disks, tokenizers) away from the server's loop, so that no session waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import panel as pn
from bokeh.document.locking import without_document_lock
from panel.io.state import set_curdoc

T = TypeVar("T")


def off_loop(work: Callable[[], T], then: Callable[[T], None]) -> None:
    """Do ``work`` in a thread and hand its result to ``then`` on the session's own loop, with its document locked.

    ``work`` must not touch anything of a session. Without a served session (a notebook, a test) both happen at once.
    """
    document = pn.state.curdoc
    if document is None or document.session_context is None:
        then(work())
        return

    def take(found: T) -> None:
        # What it changes reaches the browser in one message.
        with set_curdoc(document), pn.io.hold(document):
            then(found)

    async def run() -> None:
        found = await asyncio.to_thread(work)
        # The session may have ended meanwhile; then nobody waits for this any more.
        if document.session_context is None or document.session_context.destroyed:
            return
        with set_curdoc(document):
            # What changes after the browser has fetched the document and before it is ready never reaches it.
            pn.state.onload(lambda: document.add_next_tick_callback(lambda: take(found)))

    document.add_next_tick_callback(without_document_lock(run))
