"""Which model: the description in a suite file, and what a loaded one offers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, field_validator

BackendKind = Literal["hf", "mlx", "api", "dummy", "custom"]


class ModelSpec(BaseModel):
    """One side of a comparison, as written in ``sway.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: BackendKind = "hf"
    base: str = Field(min_length=1, description="model id on a hub, or a local folder")
    adapter: Path | None = Field(default=None, description="folder of the PEFT adapter")
    dtype: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    trust_remote_code: bool = Field(default=False, description="run Python code that ships with the model")
    entry_point: str | None = Field(default=None, description="module:Class, for kind custom")
    endpoint: str | None = Field(default=None, description="base URL, for kind api")
    # No other variable can be named: a suite from elsewhere must not have any secret it likes sent to its server. Where
    # it names none the server gets SWAY_API_KEY, else OPENAI_API_KEY, whoever it is: the public format has it so.
    key_env: str | None = Field(
        default=None,
        pattern=r"^SWAY_API_KEY(_[A-Z0-9_]+)?$",
        description="variable with the server's key, for kind api: SWAY_API_KEY, or a name that begins SWAY_API_KEY_",
    )

    @field_validator("adapter")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().resolve()


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory together with the description it was loaded from."""

    id: str
    spec: ModelSpec
    model: Any
    tokenizer: Any
    meta: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Model(Protocol):
    """Something that generates text."""

    id: str

    def generate(
        self, prompt: str, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        """Return only the new text; greedy when ``temperature`` is 0."""
        ...

    def close(self) -> None:
        """Give memory back; may be called twice."""
        ...
