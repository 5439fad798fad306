"""The probes. Importing this package registers every one that ships."""

from sway_dash.probes import adapter_ablation, delta_kl, null_adapter
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, build_probe, registry, validate_all_probes

__all__ = [
    "Probe",
    "ProbeSpec",
    "RunContext",
    "adapter_ablation",
    "build_probe",
    "delta_kl",
    "null_adapter",
    "registry",
    "validate_all_probes",
]
