"""What a probe wants shown of its evidence: a list of panels under ``evidence["panels"]``.

The dashboard and the reports draw panels without knowing the probe, so a new kind is drawn as soon as it says what
it found in one of three forms: single items, a curve, or groups side by side. Everything is JSON-ready.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_ROWS = 500
"""Rows of a panel at most; a probe with more keeps the most telling ones and says so in ``note``."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Part):
    """One item: a prompt, a section, a question. Either side may be unknown."""

    label: str
    """What it is, as text; untrusted."""
    base: float | None = None
    tuned: float | None = None
    flag: Literal["", "good", "bad"] = ""
    """How the probe judged it, if it judges single items."""
    note: str = ""
    """One line: the answers, the reason."""


class Items(_Part):
    """Single items under base and tuned; drawn as dumbbells and as a table."""

    form: Literal["items"] = "items"
    title: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""
    gate: float | None = None
    """Where the gate of the tuned value lies, if there is one for single items."""
    rows: tuple[Row, ...]
    note: str = ""


class Curve(_Part):
    """A quantity along an axis, with its interval; all lists have one length, ``lo`` and ``hi`` may be empty."""

    form: Literal["curve"] = "curve"
    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    lo: tuple[float | None, ...] = ()
    hi: tuple[float | None, ...] = ()
    gate: float | None = None
    note: str = ""


class Group(_Part):
    """One bar: a layer, a cluster, a tag."""

    label: str
    value: float | None
    lo: float | None = None
    hi: float | None = None
    n: int | None = None
    flag: Literal["", "good", "bad"] = ""


class Groups(_Part):
    """Groups side by side; drawn as points with intervals."""

    form: Literal["groups"] = "groups"
    title: str
    unit: str = ""
    gate: float | None = None
    groups: tuple[Group, ...]
    note: str = ""


Panel = Annotated[Items | Curve | Groups, Field(discriminator="form")]


class _Panels(BaseModel):
    panels: tuple[Panel, ...] = ()


def panels(*parts: Items | Curve | Groups) -> list[dict[str, Any]]:
    """JSON-ready form of these panels, for ``evidence["panels"]``."""
    return [part.model_dump(mode="json") for part in parts]


def read_panels(evidence: Any) -> list[Items | Curve | Groups]:
    """Panels of some evidence; what is not a panel, as in results of other programs, is left out."""
    found = evidence.get("panels") if isinstance(evidence, dict) else None
    out: list[Items | Curve | Groups] = []
    for part in found if isinstance(found, Iterable) and not isinstance(found, str | dict) else ():
        try:
            out += _Panels.model_validate({"panels": [part]}).panels
        except ValueError:
            continue
    return out
