"""What leaves of a probe's evidence, whatever its kind. Texts that are not known to be the program's own stay here.

Labels of panels are prompts: the same text has the same name as everywhere in the report. Notes are what was said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

from sway_dash.probes import registry

HIDDEN = "▮"

MEANT = frozenset(
    [
        "ci_note",
        "divergence",
        "divergence_kind",
        "fit_status",
        "intent",
        "kind",
        "method",
        "null_adapter",
        "positions",
        "primary_signal",
        "rank_multipliers",
        "saturation_reason",
        "sparkline",
        "unit",
    ]
)
"""Keys of evidence and entries whose texts are the engine's own words, not the user's."""

NAMED = frozenset(["tag", "tags"])

SAID = re.compile(
    r"answer|claim|complet|example|exemplar|excerpt|fact|generat|gold|output|paraphrase|prompt|question|quote|repl"
    r"|respon|said|sample|sentence|text|topic",
    re.IGNORECASE,
)
"""Keys under which prompts and answers are kept, however short."""

PLAIN = re.compile(r"[A-Za-z0-9_.:+-]{1,48}")
"""A name of the program's own making, such as ``rank_1.00`` or ``q_proj``."""

CUT = 12
"""A text of at least so many characters that a prompt begins with is that prompt, cut."""

NUMBERED = re.compile(r"[A-Za-z_]+[ #]?\d+(\.\d+)?|[\d.,λ= ×]+")
"""A label that says which one and nothing of what is in it: ``layer 3``, ``chunk 12``."""


class Veils(Protocol):
    """What is known of the run that is redacted."""

    level: Literal["full", "no-generations", "no-prompts", "numbers"]

    @property
    def hides(self) -> bool:
        """Whether prompts are hidden."""

    @property
    def aliases(self) -> Mapping[str, str]:
        """Prompt → its name."""

    @property
    def names(self) -> Mapping[str, str]:
        """The user's own names → what stands for them."""

    @property
    def kept(self) -> frozenset[str]:
        """Tags of prompts and names of probes, which stay where prompts go."""

    def text(self, text: str) -> str:
        """A text that is not a prompt, without the prompts in it."""


def contents(entry: Mapping[str, Any]) -> Iterator[str]:
    """Texts of a suite entry that are its user's: prompts, answers, cases; not its name and what it chooses from."""
    kind = registry().get(str(entry.get("kind")))
    for name, value in entry.items():
        field = kind.spec_cls.model_fields.get(name) if kind is not None else None
        chosen = field is not None and "Literal" in repr(field.annotation)
        if name in ("name", "kind", "prompts", *NAMED) or chosen:
            continue
        if isinstance(value, str):
            # One word at the top is what was chosen or where something lies.
            yield from [value] if len(value.split()) > 1 else []
        else:
            yield from (text for text in _texts(value) if text not in registry())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in NAMED:
                yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def labels(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Labels of a result's panels that may be prompts."""
    for panel in _panels(evidence):
        for line in _lines(panel):
            label = line.get("label")
            if isinstance(label, str) and label and not NUMBERED.fullmatch(label):
                yield label


def _panels(evidence: Any) -> list[Mapping[str, Any]]:
    found = evidence.get("panels") if isinstance(evidence, Mapping) else None
    return [p for p in found if isinstance(p, Mapping)] if isinstance(found, list | tuple) else []


def _lines(panel: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = panel.get("rows") or panel.get("groups")
    return [line for line in found if isinstance(line, Mapping)] if isinstance(found, list | tuple) else []


def redacted_evidence(
    evidence: Mapping[str, Any], kind: str, veil: Veils, numbers_only: Callable[[Any], Any]
) -> dict[str, Any]:
    """The evidence as it leaves; ``numbers_only`` is what the level of that name does to a value."""
    if veil.level == "full":
        return dict(numbers_only(evidence))
    rest = {k: v for k, v in evidence.items() if k != "panels"}
    out = dict(numbers_only(_keyed(rest, veil))) if veil.level == "numbers" else dict(_value(rest, "", veil))
    if "panels" in evidence:
        out["panels"] = [_panel(panel, kind, veil) for panel in _panels(evidence)]
    return out


def _panel(panel: Mapping[str, Any], kind: str, veil: Veils) -> dict[str, Any]:
    """A panel without what was said; its numbers, flags and gate stay."""
    own = (registry().get(kind) or object).__module__.startswith("sway_dash.")
    out = dict(panel)
    for name in ("title", "unit", "x_label", "y_label", "note"):
        if isinstance(text := panel.get(name), str):
            told = veil.text(text)
            # A plug-in may write anything there.
            bare = veil.level == "numbers" and (not own or told != text or name == "note")
            out[name] = "" if bare else told
    if out.get("title") == "":
        out["title"] = str(panel.get("form", "")).capitalize()
    for name in ("rows", "groups"):
        if name in panel:
            out[name] = [_line(line, veil) for line in _lines(panel)]
    return out


def _line(line: Mapping[str, Any], veil: Veils) -> dict[str, Any]:
    out = dict(line)
    label = line.get("label")
    if isinstance(label, str):
        if veil.level == "no-generations":
            out["label"] = veil.text(label)
        elif label in veil.names:
            out["label"] = veil.names[label]
        elif label not in veil.kept or veil.level == "numbers":
            out["label"] = veil.aliases.get(label, label if NUMBERED.fullmatch(label) else HIDDEN)
    if "note" in line:
        out["note"] = ""
    return out


def _value(value: Any, key: str, veil: Veils) -> Any:
    if isinstance(value, Mapping):
        out: dict[str, Any] = {}
        for name, inner in value.items():
            out[_key(str(name), len(out), veil)] = _value(inner, str(name), veil)
        return out
    if isinstance(value, list | tuple):
        return [_value(inner, key, veil) for inner in value]
    return _text(value, key, veil) if isinstance(value, str) else value


def _keyed(value: Any, veil: Veils) -> Any:
    """The value with keys that may leave."""
    if isinstance(value, Mapping):
        out: dict[str, Any] = {}
        for name, inner in value.items():
            out[_key(str(name), len(out), veil)] = _keyed(inner, veil)
        return out
    return [_keyed(inner, veil) for inner in value] if isinstance(value, list | tuple) else value


def _key(key: str, place: int, veil: Veils) -> str:
    if not veil.hides or PLAIN.fullmatch(key) or key in veil.kept:
        return key
    return veil.aliases.get(key, f"{HIDDEN} {place + 1}")


def _text(text: str, key: str, veil: Veils) -> str:
    """A text of evidence: the suite's own as far as the level lets it, the program's own, or a mark."""
    if text in veil.aliases:
        return veil.aliases[text] if veil.hides else veil.text(text)
    if not text or key in MEANT or text in veil.kept:
        return veil.text(text)
    if SAID.search(key):
        begins = len(text) >= CUT and any(whole.startswith(text.rstrip("…")) for whole in veil.aliases)
        return veil.text(text) if begins and not veil.hides else HIDDEN
    return veil.text(text) if PLAIN.fullmatch(text) or _remark(key) else HIDDEN


def _remark(key: str) -> bool:
    return key.endswith(("note", "reason", "reasons", "rule", "message", "warnings", "status"))
