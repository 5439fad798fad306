"""Reading YAML that anybody may have written: every text gives data or an error with a sentence, and fast."""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_NESTED = 100
"""Levels of lists and mappings within each other. The fast reader recurses in C and would end the process."""

_INDENTED = re.compile(rf"(?:\A|[\n\r\x85\u2028\u2029])[ ?\-]{{{MOST_NESTED // 2}}}")

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The fast reader, where PyYAML was built with it."""


def load_yaml(text: str) -> Any:
    """The data of a text. Raises ``yaml.YAMLError``, or ``ValueError`` with a sentence for what cannot be a value."""
    _check_nesting(text)
    try:
        return yaml.load(text, Loader=LOADER)
    except (AttributeError, LookupError, TypeError) as error:
        # So PyYAML says that a text does not fit the tag before it, such as !!bool.
        msg = f"a value does not fit its tag ({type(error).__name__}: {error})"
        raise ValueError(msg) from None
    except RecursionError:
        msg = "lists and mappings are nested too deep"
        raise ValueError(msg) from None


def _check_nesting(text: str) -> None:
    # Every level takes a bracket or at least half a column of indentation: most texts need no second look.
    if text.count("[") + text.count("{") < MOST_NESTED // 2 and not _INDENTED.search(text):
        return
    depth = 0
    try:
        for event in yaml.parse(text, Loader=LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MOST_NESTED:
                    raise _too_deep(event.start_mark)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.MarkedYAMLError as error:
        # LibYAML has a limit of its own and meets it while it looks ahead, before we have counted so far.
        if "nesting depth" not in (error.problem or ""):
            raise
        raise _too_deep(error.problem_mark) from None


def _too_deep(mark: Any) -> ValueError:
    where = f" (line {mark.line + 1})" if mark else ""
    return ValueError(f"lists and mappings are nested more than {MOST_NESTED} deep{where}")


def plain(data: Any) -> Any:
    """Copy in which nothing is shared: what aliases share in YAML would otherwise change in two places at once."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [plain(value) for value in data]
    return data
