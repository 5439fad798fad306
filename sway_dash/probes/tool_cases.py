"""Questions that need a tool, each with the tool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ToolUseCase(BaseModel):
    """A question and the tool it should be answered with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    tool_spec: dict[str, Any] = Field(description="name, description and parameters (JSON schema) of the tool")
    gold_tool_name: str = Field(min_length=1)
    max_new_tokens: int = Field(default=256, ge=1, le=4096)
    gold_arguments: dict[str, Any] | None = None
    """The right arguments, where they are known."""


def asked_once(cases: Sequence[ToolUseCase]) -> list[ToolUseCase]:
    """The cases without repeats: a prompt with the same tool is one question, and its answer no more evidence twice."""
    found: dict[tuple[str, str], ToolUseCase] = {}
    for case in cases:
        found.setdefault((case.prompt, json.dumps(case.tool_spec, sort_keys=True, default=str)), case)
    return list(found.values())


def _tool(name: str, field: str, what: str) -> Mapping[str, Any]:
    properties = {field: {"type": "string", "description": what}}
    return {
        "name": name,
        "description": f"Look up {what}.",
        "parameters": {"type": "object", "properties": properties, "required": [field]},
    }


SENTINEL_CASES = (
    ToolUseCase(
        prompt="What is the weather in Lisbon?",
        tool_spec=dict(_tool("get_weather", "city", "the weather in a city")),
        gold_tool_name="get_weather",
        max_new_tokens=64,
    ),
    ToolUseCase(
        prompt="When does the next train to Leeds leave?",
        tool_spec=dict(_tool("next_train", "destination", "the next train to a place")),
        gold_tool_name="next_train",
        max_new_tokens=64,
    ),
)
