"""Answers to events of the browser are whole: they wait for the page and hold the document's lock.

Panel answers an event at once, with the lock, unless a change of some widget is still waiting for its turn, as it is
when somebody types and then clicks. Then it answers later and without the lock, where a change of a Bokeh model is an
error and half of the answer is lost. Its scheduler takes the lock for what carries a mark.

A page can be used a moment before it has told the server that it is ready. Until then Panel takes it that nobody has
the document yet and drops changes that are made together, as part of what would be sent later anyway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

from bokeh.document import Document
from panel.io.state import set_curdoc, state
from panel.reactive import Syncable

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


Syncable._event_coroutine = _whole(Syncable._event_coroutine)
Syncable._change_coroutine = _whole(Syncable._change_coroutine)
