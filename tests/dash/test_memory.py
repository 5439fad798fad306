"""Memory goes back when the last session has ended, and nobody who still looks waits for it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from sway_dash.dash import memory


def test_memory_is_given_back_after_the_last_session_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(memory, "SETTLE_S", 0)
    monkeypatch.setattr(memory, "_open", set())
    monkeypatch.setattr(memory, "give_back", lambda: given.append("back"))
    first, second = object(), object()

    async def visits() -> None:
        memory.entered(first)
        memory.entered(second)
        memory.left(first)
        await asyncio.sleep(0.01)
        assert given == []
        memory.left(second)
        memory.entered(first)
        await asyncio.sleep(0.01)
        assert given == [], "somebody came before the last one's memory was looked at"
        memory.left(first)
        await asyncio.sleep(0.01)

    # In a thread: a browser's driver may have left a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, visits()).result()
    assert given == ["back"]
