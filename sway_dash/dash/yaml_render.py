"""Values as YAML text the way a person would write a suite: short things on one line, prompts one a line."""

from __future__ import annotations

from typing import Any

import yaml

WIDTH = 110
"""A collection of mappings is written on one line while it fits."""

ONE_LINE = ("tags",)
"""Keys whose list stays on their line, whatever is in it."""

_ODD = frozenset("\n\r\x85\u2028\u2029")


class _Dumper(yaml.SafeDumper):
    """Writes shared parts out instead of naming them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _ODD & set(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)


def inline(value: Any, *, flow: bool = False, style: str = "") -> str:
    """A value on one line; ``flow`` when it will stand inside brackets, ``style`` are the quotes it had."""
    if isinstance(value, str) and style in ("'", '"') and not (style == "'" and _ODD & set(value)):
        return _dump(value, default_style=style)
    if isinstance(value, dict | list):
        return _dump(value)
    # A bare scalar may be plain where it could not be inside brackets.
    return _dump([value])[1:-1] if flow else _dump(value)


def block(value: Any, newline: str, column: int) -> str:
    """A collection over several lines; the first line without indentation, the others indented to ``column``."""
    lines = _lines(value)
    return (newline + " " * column).join(lines)


def literal(value: str, old_header: str, newline: str, column: int) -> str | None:
    """A text of several lines in the literal style it had; ``None`` where that style cannot hold it."""
    body = value.rstrip("\n")
    tail = len(value) - len(body)
    lines = body.split("\n")
    odd = any(c in value for c in "\r\x85\u2028\u2029\ufeff") or any(ord(c) < 32 and c != "\n" for c in value)
    if not old_header.startswith("|") or odd or not body or lines[0][:1] in (" ", ""):
        return None
    if tail > 1:
        return None
    head = "|" if tail else "|-"
    return newline.join([head, *((" " * column + line) if line else "" for line in lines)])


def document(data: Any) -> str:
    """A whole suite as text."""
    return block(data, "\n", 0) + "\n" if data else inline(data) + "\n"


def fits_inline(value: Any) -> bool:
    """Whether a value is written on one line where nothing else is known of its style."""
    if not isinstance(value, dict | list) or not value:
        return True
    if isinstance(value, list):
        short = all(not isinstance(v, dict | list) and (not isinstance(v, str) or " " not in v) for v in value)
        return short and len(inline(value)) <= WIDTH
    nested = any(isinstance(v, dict) and v for v in value.values())
    lists = all(fits_inline(v) for k, v in value.items() if k not in ONE_LINE)
    return not nested and lists and len(inline(value)) <= WIDTH


def _lines(value: Any) -> list[str]:
    lines: list[str] = []
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            name = inline(key)
            if _one_line(inner, root=False):
                lines.append(f"{name}: {inline(inner)}")
            else:
                lines += [f"{name}:", *("  " + line for line in _lines(inner))]
    elif isinstance(value, list) and value:
        for inner in value:
            if _one_line(inner, root=True):
                lines.append(f"- {inline(inner)}")
            else:
                first, *rest = _lines(inner)
                lines += [f"- {first}", *("  " + line for line in rest)]
    else:
        lines = [inline(value)]
    return lines


def _one_line(value: Any, *, root: bool) -> bool:
    """Whether a nested value stands on the line of its key or dash."""
    return fits_inline(value) and (root or not isinstance(value, dict) or len(value) <= 6)


def _dump(value: Any, **options: Any) -> str:
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, sort_keys=False, width=2**30, **options
    )
    return text.removesuffix("\n").removesuffix("\n...").strip("\n")
