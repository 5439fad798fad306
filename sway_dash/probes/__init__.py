"""The probes. Importing this package registers every one that ships (every module in it), then those of plug-ins."""

from importlib import import_module
from pkgutil import iter_modules

from sway_dash.probes.base import Probe, ProbeSpec, RunContext, build_probe, registry, validate_all_probes
from sway_dash.probes.plugins import load_plugins

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
load_plugins()

__all__ = ["Probe", "ProbeSpec", "RunContext", "build_probe", "registry", "validate_all_probes"]
