"""What every test gets: folders of its own for runs and null draws, and suites for backends without a model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from sway_dash.suite.loader import from_dict
from sway_dash.suite.spec import SwaySpec

# As the backend does itself, but some tests import torch before it: threads must not spin on busy machines.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# How long an example takes says more of the machine than of the code.
settings.register_profile("sway", deadline=None)
settings.load_profile("sway")

_COUNTER = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first: tests are dealt out file by file, and the workers should end together."""
    items.sort(key=lambda item: (item.get_closest_marker("ui") is None, item.get_closest_marker("slow") is None))


@pytest.fixture(autouse=True)
def isolated_folders(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and null draws go below a folder of this test (made on first use), never to the user's home."""
    home = tmp_path_factory.getbasetemp() / "sway" / str(next(_COUNTER))
    monkeypatch.setenv("SWAY_RUNS_DIR", str(home / "runs"))
    monkeypatch.setenv("SWAY_NULL_CACHE_DIR", str(home / "null-draws"))
    monkeypatch.delenv("SWAY_DISABLE_NULL_CACHE", raising=False)
    return home


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one processor, for a file of many small passes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def dummy_spec() -> Callable[..., SwaySpec]:
    """``dummy_spec(entry, …, seed=3)``: a suite of these entries for backends a test makes itself."""

    def make(*entries: dict[str, Any], **defaults: Any) -> SwaySpec:
        model = {"kind": "dummy", "base": "dummy"}
        return from_dict({"models": {"base": model, "ft": model}, "defaults": defaults, "suite": list(entries)})

    return make
