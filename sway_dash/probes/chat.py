"""Conversations as text, in the words of the model's own chat template where it has one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, str]


def tokenizer_of(backend: Any) -> Any:
    """The tokenizer of a backend; ``None`` where it has or shows none."""
    found = getattr(backend, "_tokenizer", None)
    return getattr(backend, "tokenizer", None) if found is None else found


def chat_template_of(tokenizer: Any) -> str | None:
    """The chat template, ``None`` without one; of several the one called ``default``."""
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, Mapping):
        found = found.get("default")
    return found if isinstance(found, str) and found.strip() else None


def render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """A conversation up to where the model is to answer.

    The text may begin with the start token: backends drop the second one that a tokenizer puts before it.
    """
    return _templated(tokenizer, messages, None) or fallback_format(messages, add_generation_prompt=True)


def render_with_tool(tokenizer: Any, prompt: str, tool: Mapping[str, Any]) -> tuple[str, str]:
    """A question with one tool the model may call, and how the tool was shown.

    ``template``: by the chat template. ``system message``: the template leaves tools out, so they are described in a
    system message, or before the question where the template knows no such message. ``plain``: there is no template.
    """
    user: list[Message] = [{"role": "user", "content": prompt}]
    described = describe_tool(tool)
    if chat_template_of(tokenizer) is None:
        return f"{described}\n\nUser: {prompt}\nAssistant:", "plain"
    name = str(tool.get("name", ""))
    shown = _templated(tokenizer, user, [{"type": "function", "function": dict(tool)}])
    if shown is not None and name and name in shown.replace(prompt, ""):
        return shown, "template"
    shown = _templated(tokenizer, [{"role": "system", "content": described}, *user], None)
    if shown is not None and described in shown:
        return shown, "system message"
    return render(tokenizer, [{"role": "user", "content": f"{described}\n\n{prompt}"}]), "system message"


def describe_tool(tool: Mapping[str, Any]) -> str:
    """A tool and how to call it, in plain words."""
    schema = json.dumps(dict(tool), ensure_ascii=False)
    return (
        f"You can call this tool:\n{schema}\n"
        'To call it, answer with one JSON object and nothing else: {"name": the tool, "arguments": {...}}.'
    )


def fallback_format(messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    """``ROLE: content`` line by line, for tokenizers whose template cannot be applied."""
    lines = [f"{m['role'].upper()}: {m['content']}" for m in messages]
    return "\n".join([*lines, "ASSISTANT:"] if add_generation_prompt else lines)


def _templated(tokenizer: Any, messages: Sequence[Message], tools: list[dict[str, Any]] | None) -> str | None:
    extra = {} if tools is None else {"tools": tools}
    try:
        # A template is a program of the model's author: whatever it raises, it cannot be used for this.
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, **extra))
    except Exception:
        return None
