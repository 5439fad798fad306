"""A recorded event stream, folders to record into, and workers that can find the fake backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sway_dash.core.events import Event
from sway_dash.dash import live
from sway_dash.suite.loader import loads
from sway_dash.suite.runner import run
from sway_dash.suite.store import RunFolder
from tests import fakes as fakes_module

ROOT = Path(__file__).resolve().parents[2]


def suite_text(base: str = "plain", *, prompts: int = 8, nulls: int = 10, ablation: bool = True, **delta: Any) -> str:
    """A suite on the fake backend."""
    texts = [
        {"text": f"Prompt {i} about {'light' if i % 4 else 'bread'}", "tags": [("odd" if i % 2 else "even")]}
        for i in range(prompts)
    ]
    entries: list[dict[str, Any]] = []
    if nulls:
        entries.append({"name": "noise", "kind": "null_adapter", "runs": nulls, "cache": False})
    entries.append({"name": "moved", "kind": "delta_kl", "prompts": texts, **delta})
    if ablation:
        entries.append(
            {"name": "strength", "kind": "adapter_ablation", "prompts": ["a", "b", "c", "light d", "light e"]}
        )
    side = {"kind": "custom", "base": base, "entry_point": "tests.fakes:FakeBackend"}
    return yaml.safe_dump({"version": 1, "models": {"base": side, "ft": side}, "suite": entries}, sort_keys=False)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fake backend, here and in workers."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FAKE_DELAY_S", "0.01")
    return fakes_module


@pytest.fixture
def record(fakes: Any, tmp_path: Path) -> Callable[..., RunFolder]:
    """Run a suite in this process and leave a run folder."""

    def make(text: str, *, keep: Callable[[list[Event]], list[Event]] = lambda events: events) -> RunFolder:
        folder = RunFolder.create(text, root=tmp_path / "runs", name="recorded")
        spec = loads(text)
        events: list[Event] = []
        run(
            spec,
            fakes.FakeBackend(base_spec=spec.models.ft),
            trace_path=folder.path / "trace.jsonl",
            on_event=events.append,
        )
        for event in keep(events):
            folder.append(event)
        folder.close()
        return folder

    return make


@pytest.fixture(autouse=True)
def _no_feeds_left() -> Iterator[None]:
    yield
    live._feeds.clear()
