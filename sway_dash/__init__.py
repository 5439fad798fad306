"""Differential testing of fine-tuned language models.

Public names are imported on first use, so that ``import sway_dash`` loads neither torch nor Panel.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "core.errors": ("BackendNotAvailableError", "ProbeError", "SpecValidationError", "SwayError"),
    "core.model": ("LoadedModel", "Model", "ModelSpec"),
    "core.result": ("ProbeResult", "SuiteResult", "SwayScore", "Verdict", "safe_finalize"),
    "core.scoring": (
        "DifferentialBackend",
        "NullCalibratedBackend",
        "PreflightCheckable",
        "RollingLogprob",
        "ScalableDifferentialBackend",
        "ScoringBackend",
        "TokenDist",
    ),
    "dash.notebook": ("SwayDash", "show"),
    "integrations.trainer": ("SwayCallback",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted([*_WHERE, "__version__"])

if TYPE_CHECKING:
    from sway_dash.core.errors import BackendNotAvailableError as BackendNotAvailableError
    from sway_dash.core.errors import ProbeError as ProbeError
    from sway_dash.core.errors import SpecValidationError as SpecValidationError
    from sway_dash.core.errors import SwayError as SwayError
    from sway_dash.core.model import LoadedModel as LoadedModel
    from sway_dash.core.model import Model as Model
    from sway_dash.core.model import ModelSpec as ModelSpec
    from sway_dash.core.result import ProbeResult as ProbeResult
    from sway_dash.core.result import SuiteResult as SuiteResult
    from sway_dash.core.result import SwayScore as SwayScore
    from sway_dash.core.result import Verdict as Verdict
    from sway_dash.core.result import safe_finalize as safe_finalize
    from sway_dash.core.scoring import DifferentialBackend as DifferentialBackend
    from sway_dash.core.scoring import NullCalibratedBackend as NullCalibratedBackend
    from sway_dash.core.scoring import PreflightCheckable as PreflightCheckable
    from sway_dash.core.scoring import RollingLogprob as RollingLogprob
    from sway_dash.core.scoring import ScalableDifferentialBackend as ScalableDifferentialBackend
    from sway_dash.core.scoring import ScoringBackend as ScoringBackend
    from sway_dash.core.scoring import TokenDist as TokenDist
    from sway_dash.dash.notebook import SwayDash as SwayDash
    from sway_dash.dash.notebook import show as show
    from sway_dash.integrations.trainer import SwayCallback as SwayCallback


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
