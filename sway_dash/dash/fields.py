"""From the fields of a pydantic model to the fields of a form, and back from text to values. No widgets here."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from sway_dash.core.yaml_text import load_yaml
from sway_dash.dash import yaml_render
from sway_dash.probes.base import ProbeSpec, Prompt

Kind = Literal["choice", "flag", "text", "list", "lines", "yaml", "prompts", "value"]

BASIC = 3
"""How many fields of its own a model shows at once; the rest is one click away."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a form."""

    name: str
    kind: Kind
    label: str
    help: str = ""
    default: Any = None
    options: tuple[str, ...] = ()
    basic: bool = True

    @property
    def wide(self) -> bool:
        """Whether it wants several lines."""
        return self.kind in ("lines", "yaml")


def form_fields(model: type[BaseModel], *, skip: Sequence[str] = ()) -> list[FormField]:
    """Fields of a model in order, without those in ``skip``; what must be given and the first few are basic."""
    found = []
    # What every probe has is not what one is about; what it has from a base it shares with others may be.
    common = ProbeSpec.model_fields if issubclass(model, ProbeSpec) else {}
    own = [n for n in model.model_fields if n not in common and n not in skip and n != "prompts"]
    for name, info in model.model_fields.items():
        if name in skip:
            continue
        kind, options = _kind(info.annotation)
        default = None if info.default is PydanticUndefined else info.default
        basic = info.is_required() or name in own[:BASIC]
        label = name.replace("_", " ")
        found.append(FormField(name, kind, label, info.description or "", default, options, basic))
    return found


def show(value: Any, field: FormField) -> Any:
    """What the widget of a field shows for a value; nothing (empty text) for the default."""
    if field.kind == "flag":
        return bool(field.default if value is None else value)
    if field.kind == "choice":
        found = field.default if value is None else value
        return "" if found is None else str(found)
    if value is None:
        return ""
    if field.kind == "lines" and isinstance(value, list | tuple) and all(_is_line(v) for v in value):
        return "\n".join(value)
    if field.wide and isinstance(value, list | tuple | dict):
        return yaml_render.block(list(value) if isinstance(value, tuple) else value, "\n", 0)
    if field.kind == "list" and isinstance(value, list | tuple):
        return ", ".join(_scalar(v) for v in value)
    return value if isinstance(value, str) else _scalar(value)


def read(shown: Any, field: FormField) -> Any:
    """Value for what a widget shows; ``None`` means the default. What cannot be read stays text: the check says so."""
    if field.kind in ("flag", "choice"):
        return None if shown == show(None, field) else shown
    text = str(shown).strip()
    if not text:
        return None
    if field.kind == "text":
        return text
    if field.kind == "lines" and not text.startswith(("- ", "[")):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        return load_yaml(f"[{text}]" if field.kind == "list" and not text.startswith("[") else text)
    except (yaml.YAMLError, ValueError):
        return text


def hint(field: FormField) -> str:
    """What stands in an empty field: the default."""
    if field.default in (None, "", ()):
        return "not set"
    default = field.default
    if isinstance(default, tuple):
        return ", ".join(_scalar(v) for v in default)
    return _scalar(default)


def helper(field: FormField) -> str:
    """What a field means, and what it is when left empty."""
    default = "" if field.kind in ("choice", "flag") else hint(field)
    text = f"default {default}" if default and default != "not set" else ""
    return "; ".join(p for p in (field.help, text) if p)


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in args if a is not type(None)]
        kind, options = _kind(inner[0]) if len(inner) == 1 else ("value", ())
        # Nothing is a choice of its own.
        return kind, ("", *options) if kind == "choice" and len(inner) < len(args) else options
    if origin is typing.Annotated:
        return _kind(args[0])
    if origin is Literal:
        return "choice", tuple(str(a) for a in args)
    if annotation is bool:
        return "flag", ()
    if annotation is str or getattr(annotation, "__name__", "") == "Path":
        return "text", ()
    if origin in (tuple, list):
        return _list_kind(args[0] if args else Any), ()
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "yaml", ()
    return "value", ()


def _list_kind(item: Any) -> Kind:
    while typing.get_origin(item) is typing.Annotated:
        item = typing.get_args(item)[0]
    if item is Prompt:
        return "prompts"
    if item is str:
        return "lines"
    nested = typing.get_origin(item) is not None or (isinstance(item, type) and issubclass(item, BaseModel))
    return "yaml" if nested else "list"


def _is_line(value: Any) -> bool:
    # A text that begins like a list would be read as one.
    plain = isinstance(value, str) and value == value.strip() and not value.startswith(("- ", "["))
    return plain and value.splitlines() == [value]


def _scalar(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)
