"""The suite file ``sway.yaml``, version 1, as pydantic models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from sway_dash.core.model import ModelSpec
from sway_dash.core.result import DEFAULT_COMPONENT_WEIGHTS

SUPPORTED_VERSION = 1

_CONFIG = ConfigDict(frozen=True, extra="forbid")


class SuiteModels(BaseModel):
    """The two sides of the comparison."""

    model_config = _CONFIG

    base: ModelSpec
    ft: ModelSpec


class SuiteDefaults(BaseModel):
    """Settings that hold for every probe."""

    model_config = _CONFIG

    seed: int = Field(default=0, ge=0, description="seeds sampling, bootstraps and the order of prompts")
    top_k: int = Field(default=256, ge=1, description="for backends that cannot compare whole vocabularies")
    differential: bool = Field(default=True, description="false: two models instead of one with an adapter")
    coverage_threshold: FiniteFloat = Field(default=0.6, ge=0.0, le=1.0, description="smallest score of a gate")
    concurrent_probes: int = Field(default=1, ge=1, le=32, description="accepted; probes run in turn")
    score_weights: dict[str, FiniteFloat] | None = Field(default=None, description="weight per category")

    @field_validator("score_weights")
    @classmethod
    def _merged(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        return None if value is None else merge_weights(value)


class SwaySpec(BaseModel):
    """A whole suite. Probe entries stay mappings here: a plug-in may bring their kind later."""

    model_config = _CONFIG

    version: int = SUPPORTED_VERSION
    models: SuiteModels
    defaults: SuiteDefaults = Field(default_factory=SuiteDefaults)
    suite: list[dict[str, Any]] = Field(default_factory=list)
    dlm_source: str | None = Field(
        default=None, description="document the adapter was trained on: Markdown, text, JSONL, YAML or .dlm"
    )

    @property
    def separate(self) -> bool:
        """Whether two models stand beside each other: a server, too, has no adapter to switch off or to replace."""
        return not self.defaults.differential or "api" in (self.models.base.kind, self.models.ft.kind)

    def check_version(self) -> None:
        """Raise ``ValueError`` unless this program reads the file's version."""
        if wrong := version_problem(self.version):
            raise ValueError(wrong)


def version_problem(version: int) -> str | None:
    """Say why a version cannot be read, or ``None``."""
    if version == SUPPORTED_VERSION:
        return None
    newer = "; a newer sway-dash may read it" if version > SUPPORTED_VERSION else ""
    return f"unsupported sway spec version {version}: this program reads version {SUPPORTED_VERSION}{newer}"


def merge_weights(given: dict[str, float]) -> dict[str, float]:
    """Lay ``given`` over the default category weights; ``ValueError`` for unknown names, negatives, or all zero."""
    unknown = sorted(set(given) - set(DEFAULT_COMPONENT_WEIGHTS))
    if unknown:
        msg = f"unknown category keys {unknown}; known: {', '.join(DEFAULT_COMPONENT_WEIGHTS)}"
        raise ValueError(msg)
    if negative := sorted(k for k, v in given.items() if v < 0):
        msg = f"weights must be non-negative, but {', '.join(negative)} is not"
        raise ValueError(msg)
    merged = {**DEFAULT_COMPONENT_WEIGHTS, **given}
    if sum(merged.values()) <= 0:
        msg = "at least one positive weight is needed"
        raise ValueError(msg)
    return merged
