"""How repeatable a run is, said in one word and with reasons."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

DeterminismClass = Literal["strict", "best_effort", "loose"]


@dataclass(frozen=True, slots=True)
class DeterminismSummary:
    """The class of repeatability reached, the seed, and what limits it."""

    class_: DeterminismClass
    seed: int
    notes: tuple[str, ...] = ()


def seed_everything(seed: int, *, strict: bool = True) -> DeterminismSummary:
    """Seed ``random``, numpy's global generator and torch (when it is already installed), and say how far that goes.

    Libraries we call may use the global generators, so they are seeded; our own code draws from
    ``numpy.random.Generator`` objects only.

    Parameters
    ----------
    strict
        Also ask torch for deterministic algorithms (a warning where there is none) and, unless it is set,
        set ``CUBLAS_WORKSPACE_CONFIG=:4096:8``, which cuBLAS needs for repeatable results.
    """
    if strict:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002, TID251 - for libraries that draw from the global generator
    # A run without a torch backend must not pay for the import: what is not loaded cannot draw numbers.
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return DeterminismSummary("best_effort", seed, ("torch is not loaded: only Python and numpy are seeded",))
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if strict:
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False
        except (RuntimeError, AttributeError) as error:
            return DeterminismSummary("loose", seed, (f"deterministic algorithms are not available: {error}",))
    if torch.cuda.is_available():
        return DeterminismSummary("strict", seed)
    if torch.backends.mps.is_available():
        return DeterminismSummary("best_effort", seed, ("mps has no deterministic mode",))
    return DeterminismSummary("best_effort", seed, ("on a CPU the last bits depend on the BLAS and its threads",))


def leave_everything(seed: int) -> DeterminismSummary:
    """Seed nothing and say how far that goes: global generators and settings belong to the program around us.

    Our own code draws from generators of its own, which ``seed`` seeds.
    """
    note = "in the memory of another program: its generators and settings were left alone"
    return DeterminismSummary("best_effort", seed, (note,))
