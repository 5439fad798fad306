"""Seeding repeats, and says how far it goes."""

import importlib.util
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from sway_dash.core.determinism import DeterminismSummary, seed_everything
from tests.processes import loaded

VARIABLE = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    # Without torch: seeding would switch the whole test process to deterministic algorithms.
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


def draws():
    return random.random(), float(np.random.random())  # noqa: NPY002 - the global generator is what is seeded


def test_the_same_seed_gives_the_same_draws():
    seed_everything(5)
    first = draws()
    seed_everything(5)
    assert draws() == first
    seed_everything(6)
    assert draws() != first


def test_the_summary_holds_class_seed_and_what_limits_it():
    found = seed_everything(5)
    assert isinstance(found, DeterminismSummary)
    assert found.seed == 5
    assert found.class_ == "best_effort"
    assert any("torch" in note for note in found.notes)


def test_seeds_beyond_32_bits_are_taken():
    assert seed_everything(2**40 + 1).seed == 2**40 + 1


def test_strict_seeding_configures_cublas_unless_the_user_did(monkeypatch):
    seed_everything(0)
    assert os.environ[VARIABLE] == ":4096:8"
    monkeypatch.setenv(VARIABLE, ":16:8")
    seed_everything(0)
    assert os.environ[VARIABLE] == ":16:8"


def test_loose_seeding_leaves_the_environment_alone():
    seed_everything(0, strict=False)
    assert VARIABLE not in os.environ


def test_seeding_does_not_load_torch():
    code = "from sway_dash.core.determinism import seed_everything; seed_everything(0)"
    assert loaded(code, ["torch"]) == []


def test_with_torch_its_generator_is_seeded_too():
    # In a process of its own, for the same reason as above.
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    code = (
        "import torch; from sway_dash.core.determinism import seed_everything; found = seed_everything(3); "
        "a = torch.rand(2).tolist(); seed_everything(3); again = torch.rand(2).tolist() == a; "
        "print(again, torch.are_deterministic_algorithms_enabled(), found.seed, found.class_); "
        "print(torch.cuda.is_available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    again, deterministic, seed, class_, cuda = done.stdout.split()
    assert (again, deterministic, seed) == ("True", "True", "3")
    assert class_ == ("strict" if cuda == "True" else "best_effort")
