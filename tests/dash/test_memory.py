"""Memory goes back when the last session has ended, and nobody who still looks waits for it."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from bokeh.server.session import ServerSession

import sway_dash.dash.locking  # noqa: F401  (it is what notes it)
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


class _Loop:
    """An object that only a walk through all objects frees."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only what is asked for is collected, and that is worth while at once; thresholds are put back."""
    before = gc.get_threshold()
    monkeypatch.setattr(memory, "_open", set())
    monkeypatch.setattr(memory, "DUE", 0)
    monkeypatch.setattr(memory, "_rested", time.monotonic())
    gc.disable()
    yield
    gc.enable()
    gc.set_threshold(*before)


def test_objects_are_looked_through_between_answers_only(quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = weakref.ref(_Loop())
    memory.heard()
    memory.tidy()
    assert found() is not None, "somebody is at work"
    monkeypatch.setattr(memory, "QUIET_S", 0.0)
    memory.tidy()
    assert found() is None
    again = weakref.ref(_Loop())
    memory.tidy()
    assert again() is not None, "it would go on all the time"
    monkeypatch.setattr(memory, "_rested", time.monotonic())
    memory.tidy()
    assert again() is None


def test_many_readers_who_never_rest_put_it_off_for_a_while_only(quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_rested", time.monotonic() - 0.9 * memory.LATEST_S)
    found = weakref.ref(_Loop())
    memory.heard()
    memory.tidy()
    assert found() is not None
    monkeypatch.setattr(memory, "_rested", time.monotonic() - 1.1 * memory.LATEST_S)
    memory.tidy()
    assert found() is None


def test_python_walks_through_all_objects_by_itself_only_while_nobody_looks(quiet: None) -> None:
    usual = gc.get_threshold()
    session = object()
    memory.entered(session)
    assert gc.get_threshold()[:2] == usual[:2]
    assert gc.get_threshold()[2] == memory.NEVER
    memory.left(session)
    memory._when_nobody_looks()
    assert gc.get_threshold() == usual


def test_what_a_browser_says_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_heard", 0.0)
    with suppress(AttributeError, TypeError):
        # There is no such session: what matters is that it was noted before anything else.
        ServerSession._handle_patch(None, None, None).close()  # type: ignore[arg-type]
    assert memory._heard > 0.0
