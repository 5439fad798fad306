"""Messages to the browser leave in the order they were made."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bokeh.document import Document
from bokeh.models import ColumnDataSource
from bokeh.protocol import Protocol
from bokeh.server.session import ServerSession
from panel.io import document as panel_document

from sway_dash.dash import locking  # noqa: F401 - what is tested


class Connection:
    """A browser as far as a session sees one."""

    def __init__(self) -> None:
        self.protocol = Protocol()
        self._socket = self
        self.sent: list[Any] = []

    def send_patch_document(self, event: Any) -> Any:
        self.sent.append(event)
        return asyncio.sleep(0)


@pytest.mark.parametrize("waiting", [True, False])
def test_a_change_does_not_go_past_messages_that_wait(waiting: bool) -> None:
    async def changed() -> tuple[list[Any], list[Any]]:
        document, source, connection = Document(), ColumnDataSource(), Connection()
        document.add_root(source)
        session = ServerSession("one", document)
        session._subscribed_connections.add(connection)  # type: ignore[arg-type]
        session._pending_writes = []
        earlier = object()
        if waiting:
            panel_document._WRITE_MSGS[document] = {connection: [earlier]}  # type: ignore[dict-item]
        try:
            source.data = {"x": [1.0]}
            return connection.sent, list(panel_document._WRITE_MSGS.get(document, {}).get(connection, []))  # type: ignore[call-overload]
        finally:
            panel_document._WRITE_MSGS.pop(document, None)
            panel_document._WRITE_BLOCK.pop(document, None)
            for pending in session._pending_writes:
                await pending
            session.destroy()

    # In a thread: a browser's driver may have left a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        sent, line = pool.submit(asyncio.run, changed()).result()
    if waiting:
        assert not sent
        assert len(line) == 2, "the change stands behind what waits"
        assert "ColumnDataChanged" in line[1].content_json
    else:
        assert len(sent) == 1
        assert not line
