"""Tool calls in a model's answer: found, brought into one form, checked against the tool's schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

Call = dict[str, Any]
Outcome = Literal["valid", "invalid", "malformed", "abstained"]

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
_FUNCTION_TAG = re.compile(r"<function=([\w.:-]+)>(.*?)(?:</function>|$)", re.DOTALL)
_WRAPPED = re.compile(r"<(tool_call|function_call|tool)>(.*?)(?:</\1>|$)", re.DOTALL)
_MARKERS = ("[TOOL_CALLS]", "<|python_tag|>", "<|tool_call|>")


def parse_tool_call(text: str) -> Call | None:
    """The first call in an answer, as ``{"name": …, "arguments": {…}}`` where it has these parts; else ``None``.

    Read are, in this order: the whole answer as a JSON object; what stands in a wrapper (``<tool_call>``,
    ``<function=name>``, ``[TOOL_CALLS]`` and their like); a fenced block; the first balanced braces. Arguments may be
    a JSON text, as in OpenAI's format, may be called ``parameters``, and a call may stand in ``function`` or be the
    first in a list ``tool_calls``. An answer that is a JSON value but no object is no call.
    """
    whole = _loaded(text.strip())
    if whole is not None:
        return normalised(whole) if isinstance(whole, dict) else None
    if tag := _FUNCTION_TAG.search(text):
        arguments = _loaded(tag[2].strip() or "{}")
        return {"name": tag[1], "arguments": arguments} if isinstance(arguments, dict) else None
    for part in _parts(text):
        found = _loaded(part)
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict):
            return normalised(found)
    return None


def _parts(text: str) -> Iterator[str]:
    if match := _WRAPPED.search(text):
        yield match[2].strip()
    for marker in _MARKERS:
        if marker in text:
            yield text.split(marker, 1)[1].strip()
    for found in (extract_fenced_json(text), first_balanced_braces(text)):
        if found is not None:
            yield found


def extract_fenced_json(text: str) -> str | None:
    """Body of the first fenced block, its ``json`` tag left out; ``None`` without one or if it is not closed."""
    match = re.search(r"```(?:json\b)?(.*?)```", text, re.DOTALL)
    return match[1].strip() if match else None


def first_balanced_braces(text: str) -> str | None:
    """The first ``{…}`` whose braces balance, those inside JSON texts not counted; ``None`` without one."""
    start = text.find("{")
    depth, quoted, escaped = 0, False, False
    for at in range(start, len(text)) if start >= 0 else ():
        c = text[at]
        if quoted:
            quoted, escaped = (c != '"' or escaped), (c == "\\" and not escaped)
        elif c == '"':
            quoted, escaped = True, False
        elif c == "{":
            depth += 1
        elif c == "}":
            depth -= 1
            if depth == 0:
                return text[start : at + 1]
    return None


def normalised(call: Mapping[str, Any]) -> Call:
    """A call in the form ``{"name", "arguments"}``; what has no such form is returned as it is."""
    calls = call.get("tool_calls")
    if isinstance(calls, list) and calls and isinstance(calls[0], dict):
        return normalised(calls[0])
    for key in ("function", "function_call"):
        if isinstance(call.get(key), dict):
            return normalised(call[key])
    out = dict(call)
    if isinstance(out.get("function"), str) and "name" not in out:
        out["name"] = out.pop("function")
    if "arguments" not in out and isinstance(out.get("parameters"), dict | str):
        out["arguments"] = out.pop("parameters")
    if isinstance(out.get("arguments"), str):
        read = _loaded(out["arguments"].strip() or "{}")
        if isinstance(read, dict):
            out["arguments"] = read
    return out


def function_of(tool_spec: Mapping[str, Any]) -> dict[str, Any]:
    """The ``{name, description, parameters}`` of a tool, out of OpenAI's wrapper if it stands in one."""
    inner = tool_spec.get("function")
    return dict(inner) if isinstance(inner, Mapping) else dict(tool_spec)


def matches_schema(call: Mapping[str, Any], tool_spec: Mapping[str, Any]) -> bool:
    """Whether a call has a name and arguments that fit the tool's parameters.

    Checked are required fields, types (a boolean is no number), ``enum``, and the same inside objects and lists.
    Fields the schema does not declare and types it does not know are accepted; the name is not compared.
    """
    arguments = call.get("arguments")
    if not isinstance(call.get("name"), str) or not isinstance(arguments, dict):
        return False
    parameters = function_of(tool_spec).get("parameters")
    schema = parameters if isinstance(parameters, Mapping) else {}
    return _fits(arguments, {**schema, "type": "object"})


def _fits(value: Any, schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return True
    wanted = schema.get("type")
    kinds = wanted if isinstance(wanted, list) else [wanted]
    known = [k for k in kinds if isinstance(k, str) and k in _TYPES]
    if known and len(known) == len(kinds) and not any(_is_a(value, k) for k in known):
        return False
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        return False
    if isinstance(value, dict):
        required = schema.get("required")
        if isinstance(required, list) and any(name not in value for name in required):
            return False
        properties = schema.get("properties")
        declared = properties if isinstance(properties, Mapping) else {}
        return all(_fits(v, declared[k]) for k, v in value.items() if k in declared)
    if isinstance(value, list):
        return all(_fits(v, schema.get("items")) for v in value)
    return True


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def outcome(text: str, tool_spec: Mapping[str, Any]) -> tuple[Outcome, Call | None]:
    """What an answer is: a call that fits the schema, one that does not, a broken attempt at one, or no attempt."""
    call = parse_tool_call(text)
    if call is not None:
        return ("valid" if matches_schema(call, tool_spec) else "invalid"), call
    tried = any(mark in text for mark in ("{", "```", "<function=", "<tool_call>", *_MARKERS))
    return ("malformed" if tried else "abstained"), None


def field_disagreement(base_call: Mapping[str, Any], ft_call: Mapping[str, Any]) -> float:
    """Share of the argument fields of two calls that differ or that only one has; 0 when neither has any.

    Objects are looked into, lists are compared as they are, and a field that is null is not one that is missing.
    Arguments that are no objects disagree wholly.
    """
    a, b = base_call.get("arguments"), ft_call.get("arguments")
    if not isinstance(a, Mapping) or not isinstance(b, Mapping):
        return 1.0
    left, right = dict(_leaves(a)), dict(_leaves(b))
    paths = left.keys() | right.keys()
    if not paths:
        return 0.0
    same = sum(1 for p in paths if p in left and p in right and _same(left[p], right[p]))
    return 1.0 - same / len(paths)


def _same(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _leaves(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, (*path, str(key)))
        else:
            yield (*path, str(key)), inner


def _loaded(text: str) -> Any:
    """JSON, or ``None`` for what is none; NaN and infinity, which JSON does not have, count as none."""
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None


def _refused(name: str) -> Any:
    raise ValueError(name)
