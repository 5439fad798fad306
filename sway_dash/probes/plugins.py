"""Probes of other packages: classes named under the entry-point group ``sway_dash.probes``.

One that cannot be loaded is named in a warning and left out; everything else goes on.
"""

from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from sway_dash.probes.base import _REGISTRY

GROUP = "sway_dash.probes"

_PROBLEMS: list[str] = []


class ProbePluginWarning(UserWarning):
    """A probe of another package could not be loaded."""


def load_plugins() -> None:
    """Register the probes of all installed packages; a warning for each that cannot be loaded."""
    _PROBLEMS.clear()
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        problem = _load(point)
        if problem:
            _PROBLEMS.append(problem)
            warnings.warn(problem, ProbePluginWarning, stacklevel=2)


def plugin_problems() -> tuple[str, ...]:
    """What could not be loaded, a sentence each."""
    return tuple(_PROBLEMS)


def _load(point: EntryPoint) -> str:
    """Import an entry point; why it could not be, or nothing."""
    before = set(_REGISTRY)
    try:
        found = point.load()
    except Exception as error:
        # What a half-imported module has registered would fail later, and less clearly.
        for kind in set(_REGISTRY) - before:
            del _REGISTRY[kind]
        return _left_out(point, f"{type(error).__name__}: {error}".splitlines()[0])
    if set(_REGISTRY) - before or _registered(found):
        return ""
    if isinstance(found, ModuleType):
        # Another entry point may have imported it before.
        return "" if any(map(_registered, vars(found).values())) else _left_out(point, "the module has no probe")
    what = f"the class {found.__qualname__}" if isinstance(found, type) else f"a {type(found).__name__}"
    return _left_out(point, f"it is {what} and no subclass of Probe with a kind")


def _registered(found: object) -> bool:
    return isinstance(found, type) and found in _REGISTRY.values()


def _left_out(point: EntryPoint, reason: str) -> str:
    owner = f" of {point.dist.name}" if point.dist is not None else ""
    return f"the probe {point.name!r}{owner} ({point.value}) could not be loaded and is left out: {reason}"
