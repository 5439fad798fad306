"""``sway-dash list-probes KIND``: the settings of one kind in words, and an entry to start from."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sway_dash.cli.boundary import OK, UsageError, out_console, printable
from sway_dash.cli.reading import summary_of
from sway_dash.core.errors import did_you_mean
from sway_dash.probes import registry
from sway_dash.probes.base import Prompt
from sway_dash.suite.presets import PRESETS

_OF_ALL = {
    "name": "what the entry is called, once in a suite",
    "enabled": "false: the entry is left out",
    "weight": "how much its score counts among those of its category",
}
"""Settings every kind has; forms show them without a word."""

_TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text"}
_SEVERAL = {bool: "true or false", int: "whole numbers", float: "numbers", str: "texts", Prompt: "prompts"}

_PROMPTS = ("Our refund policy says", "To return an item,", "Water boils at", "The opposite of hot is")

_EXAMPLES: Mapping[str, Any] = {
    "prompts": list(_PROMPTS),
    "prompt": "Where is order 4711?",
    "gold": "It left our warehouse on Monday.",
    "paraphrases": ["What became of order 4711?", "Has order 4711 been sent?"],
    "chosen": "It left our warehouse on Monday.",
    "rejected": "Please ask somebody else.",
    "tool_spec": {"name": "find_order", "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}},
    "gold_tool_name": "find_order",
    "adapter_path": "./adapter",
}
"""Values of an example by the name of the setting; others are made from their type."""

ASKED = ("prompts", "cases", "triples")
"""Settings that may be empty in a suite, and without which there is little to ask."""


def show_kinds(*, as_json: bool = False) -> int:
    """Print kind, category and summary of every registered probe, a line each."""
    known = [_about(kind) for kind in sorted(registry())]
    if as_json:
        typer.echo(json.dumps(known, indent=2, ensure_ascii=False))
        return OK
    width = max((len(one["kind"]) for one in known), default=0)
    for one in known:
        typer.echo(f"{one['kind']:<{width}}  {one['category']:<11}  {one['about']}")
    return OK


def _about(kind: str) -> dict[str, str]:
    cls = registry()[kind]
    return {"kind": kind, "category": cls.category, "about": summary_of(cls)}


def show_kind(kind: str, *, as_json: bool = False) -> int:
    """Print what one kind can be told, and an example; ``UsageError`` for a kind nobody knows."""
    from rich.table import Table
    from rich.text import Text

    cls = registry().get(kind)
    if cls is None:
        hint = did_you_mean(kind, registry())
        raise UsageError(f"unknown kind of probe {kind!r}.{hint} sway-dash list-probes shows all kinds")
    heads = ("setting", "type", "default", "meaning")
    if as_json:
        told = [dict(zip(heads, row, strict=True)) for row in settings(cls.spec_cls)]
        record = {**_about(kind), "settings": told, "example": example(kind)}
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
        return OK
    typer.echo(f"{kind}  {cls.category}")
    typer.echo(f"{printable(summary_of(cls))}\n")
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, no_wrap=head == "setting", overflow="fold")
    for row in settings(cls.spec_cls):
        table.add_row(*(Text(printable(cell)) for cell in row))
    out_console().print(table)
    typer.echo("\nan entry to start from:\n")
    typer.echo(yaml.safe_dump({"suite": [example(kind)]}, sort_keys=False, allow_unicode=True, width=110), nl=False)
    return OK


def settings(spec: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Name, type with its bounds, default and meaning of every setting; what is the kind's own goes first."""
    own = [name for name in spec.model_fields if name not in (*_OF_ALL, "kind")]
    for name in (*own, *(n for n in _OF_ALL if n in spec.model_fields)):
        field = spec.model_fields[name]
        limits = bounds(field.metadata) or _inner_bounds(field.annotation)
        words = in_words(field.annotation)
        if least := next((m.min_length for m in field.metadata if hasattr(m, "min_length")), 0):
            words = words.replace("list of", f"list of at least {least}", 1)
        told = ", ".join(part for part in (words, limits) if part)
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        yield name, told, default, field.description or _OF_ALL.get(name, "")


def in_words(annotation: Any) -> str:
    """A type in the words of a suite file."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return in_words(args[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(a) for a in args if a is not type(None))
    if origin is Literal:
        return _listed(args)
    if origin in (tuple, list):
        item = _bare(args[0]) if args else Any
        fixed = origin is tuple and Ellipsis not in args
        return f"{len(args)} {_several(item)}" if fixed else f"list of {_several(item)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"mapping ({', '.join(annotation.model_fields)})"
    if annotation is dict or origin is dict:
        return "mapping"
    return _TYPES.get(annotation, "path" if getattr(annotation, "__name__", "") == "Path" else "value")


def bounds(metadata: Iterable[Any]) -> str:
    """Smallest and largest value in words; empty without any."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = {name: f"{getattr(m, name):.12g}" for m in metadata for name in words if hasattr(m, name)}
    if "ge" in limits and "le" in limits:
        return f"{limits['ge']} to {limits['le']}"
    return ", ".join(f"{words[name]} {limits[name]}" for name in words if name in limits)


def example(kind: str) -> dict[str, Any]:
    """A small entry of a kind: what it must be given, what it is to ask, and what the standard suite sets."""
    fields = registry()[kind].spec_cls.model_fields
    entry: dict[str, Any] = {"name": kind, "kind": kind}
    standard = next(p for p in PRESETS if p.key == "standard").kinds()
    entry.update(standard.get(kind, {}))
    for name, field in fields.items():
        if name not in entry and (field.is_required() or name in ASKED):
            entry[name] = _value(name, field)
    if "prompts" in fields and {"on", "off"} <= set(fields):
        tags = [fields[side].default for side in ("on", "off") for _ in range(2)]
        entry["prompts"] = [{"text": text, "tags": [tag]} for text, tag in zip(_PROMPTS, tags, strict=True)]
    return entry


def _value(name: str, field: FieldInfo) -> Any:
    annotation = _bare(field.annotation)
    item = _bare(typing.get_args(annotation)[0]) if typing.get_origin(annotation) in (tuple, list) else None
    if isinstance(item, type) and issubclass(item, BaseModel) and item is not Prompt:
        return [{n: _value(n, f) for n, f in item.model_fields.items() if f.is_required()}]
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    if item is not None:
        return ["…"] if item is str else []
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)[0]
    return {bool: True, int: 1, float: 1.0, dict: {}}.get(annotation, "…")


def _bare(annotation: Any) -> Any:
    """A type without what is annotated to it."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


def _inner_bounds(annotation: Any) -> str:
    """Bounds of a value that may also be left out, or of the items of a list."""
    for part in typing.get_args(annotation):
        if typing.get_origin(part) is typing.Annotated:
            for extra in part.__metadata__:
                if found := bounds(extra.metadata if isinstance(extra, FieldInfo) else [extra]):
                    return found
    return ""


def _several(item: Any) -> str:
    if typing.get_origin(item) is Literal:
        return _listed(typing.get_args(item))
    if isinstance(item, type) and issubclass(item, BaseModel) and item is not Prompt:
        return f"mappings ({', '.join(item.model_fields)})"
    return _SEVERAL.get(item, "values")


def _listed(options: Iterable[Any]) -> str:
    *first, last = map(str, options)
    return f"{', '.join(first)} or {last}" if first else last


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, tuple | list):
        return ", ".join(map(_shown, value)) if value else "empty"
    return str(value) or "empty"
