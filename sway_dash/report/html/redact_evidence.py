"""What leaves of a probe's evidence, whatever its kind. Texts that are not known to be the program's own stay here.

Labels of panels are prompts: the same text has the same name as everywhere in the report. Notes are what was said.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sway_dash.probes import registry
from sway_dash.report.html.own_labels import UNITS, own_label, shipped
from sway_dash.report.html.own_words import HIDDEN

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
    r"answer|chosen|claim|complet|example|exemplar|excerpt|fact|generat|gold|name|output|paraphrase|passage|prompt"
    r"|question|quote|rejected|repl|respon|said|sample|sentence|text|topic",
    re.IGNORECASE,
)
"""Keys under which prompts and answers are kept, however short and however deep."""

PLAIN = re.compile(r"[A-Za-z0-9_.:+-]{1,48}")
"""A name of the program's own making, such as ``rank_1.00`` or ``q_proj``."""

CUT = 12
"""A text of at least so many characters that a prompt begins with is that prompt, cut."""

TOP = frozenset(["null", "z_by_rank"])
"""Evidence that the engine adds to that of every kind."""

_FIRST = re.compile(r"""('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"): """)


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
        """A name, without the prompts in it."""

    def told(self, text: str) -> str:
        """A sentence, without the prompts in it; where they are hidden in the program's own words."""

    def owned(self, text: str) -> bool:
        """Whether a name is one that the program has made."""

    def own_field(self, key: str) -> bool:
        """Whether a key is one that the program's own probes write."""


def contents(entry: Mapping[str, Any]) -> Iterator[str]:
    """Texts of a suite entry that are its user's: prompts, answers, cases; not its name and what it chooses from."""
    kind = registry().get(str(entry.get("kind")))
    for name, value in entry.items():
        field = kind.spec_cls.model_fields.get(name) if kind is not None else None
        chosen = field is not None and "Literal" in repr(field.annotation)
        if name in ("name", "kind", "prompts", *NAMED) or chosen:
            continue
        if isinstance(value, str):
            # One word at the top is what was chosen or where something lies; of a plug-in nobody knows.
            yield from [value] if len(value.split()) > 1 or (value and not shipped(str(entry.get("kind")))) else []
        else:
            kind_name = str(entry.get("kind"))
            yield from (t for t in _texts(value) if t not in registry() and not own_label(kind_name, t))


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


def labels(evidence: Mapping[str, Any], kind: str) -> Iterator[str]:
    """Labels of a result's panels that may be prompts."""
    for panel in _panels(evidence):
        for line in _lines(panel):
            label = line.get("label")
            if isinstance(label, str) and label and not own_label(kind, label):
                yield label


def dropped(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Beginnings of texts with which a result names what it left out."""
    found = evidence.get("dropped_reasons") if isinstance(evidence, Mapping) else None
    for reason in found if isinstance(found, list | tuple) else ():
        if isinstance(reason, str) and (first := _FIRST.match(reason)):
            with suppress(ValueError, SyntaxError):
                text = str(ast.literal_eval(first[1]))
                if text.strip():
                    yield text


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
    strict = _Strict(kind, veil)
    if veil.hides and not strict.own and str(rest.get("unit")) not in UNITS:
        rest.pop("unit", None)
    out = dict(numbers_only(strict.keyed(rest))) if veil.level == "numbers" else dict(strict.value(rest))
    if "panels" in evidence:
        out["panels"] = [_panel(panel, kind, veil) for panel in _panels(evidence)]
    return out


def _panel(panel: Mapping[str, Any], kind: str, veil: Veils) -> dict[str, Any]:
    """A panel without what was said; its numbers, flags and gate stay."""
    own = shipped(kind)
    out = dict(panel)
    for name in ("title", "unit", "x_label", "y_label", "note"):
        if isinstance(text := panel.get(name), str):
            told = veil.told(text)
            # A plug-in may write anything there.
            bare = veil.hides and not own and not (name == "unit" and text in UNITS)
            bare |= veil.level == "numbers" and (told != text or name == "note")
            out[name] = "" if bare else told
    if out.get("title") == "":
        out["title"] = str(panel.get("form", "")).capitalize()
    for name in ("rows", "groups"):
        if name in panel:
            out[name] = [_line(line, kind, veil) for line in _lines(panel)]
    return out


def _line(line: Mapping[str, Any], kind: str, veil: Veils) -> dict[str, Any]:
    out = dict(line)
    label = line.get("label")
    if isinstance(label, str):
        if veil.level == "no-generations":
            out["label"] = veil.text(label)
        elif label in veil.names:
            out["label"] = veil.names[label]
        elif label not in veil.kept or veil.level == "numbers":
            out["label"] = veil.aliases.get(label, label if own_label(kind, label) else HIDDEN)
    if "note" in line:
        out["note"] = ""
    return out


@dataclass(frozen=True)
class _Strict:
    """Rewrites the evidence of one kind, apart from its panels."""

    kind: str
    veil: Veils

    @property
    def own(self) -> bool:
        """Whether the program's own probe has written it."""
        return shipped(self.kind)

    def value(self, value: Any, key: str = "", said: bool = False, depth: int = 0) -> Any:
        """A value as it leaves; ``said``: it stands, however deep, under a key of prompts and answers."""
        said = said or bool(SAID.search(key))
        if isinstance(value, Mapping):
            out: dict[str, Any] = {}
            for name, inner in value.items():
                out[self._key(str(name), len(out), said, not depth)] = self.value(inner, str(name), said, depth + 1)
            return out
        if isinstance(value, list | tuple):
            return [self.value(inner, key, said, depth + 1) for inner in value]
        return self._text(value, key, said) if isinstance(value, str) else value

    def keyed(self, value: Any, key: str = "", said: bool = False, depth: int = 0) -> Any:
        """The value with keys that may leave where only numbers do; those of a plug-in below the top may be names."""
        said = said or bool(SAID.search(key))
        if isinstance(value, Mapping):
            out: dict[str, Any] = {}
            for name, inner in value.items():
                text = str(name)
                free = self.own or not depth or key in TOP or text in self.veil.names or own_label(self.kind, text)
                told = self._key(text, len(out), said, not depth) if free else f"{HIDDEN} {len(out) + 1}"
                out[told] = self.keyed(inner, key if key in TOP else text, said, depth + 1)
            return out
        return [self.keyed(inner, key, said, depth) for inner in value] if isinstance(value, list | tuple) else value

    def _key(self, key: str, place: int, said: bool, top: bool) -> str:
        """A key as it leaves; those at the top are fields that the probe's author has named."""
        veil, known = self.veil, self.veil.aliases.get(key)
        if key in veil.kept or not (veil.hides or said) or (top and self.own):
            return key
        if known is not None:
            return known if veil.hides else key
        # A bare number among answers may be one.
        if own_label(self.kind, key) and (not said or any(map(str.isalpha, key))):
            return key
        ours = (self.own and veil.own_field(key)) if said else top or (veil.owned if self.own else veil.own_field)(key)
        return key if ours and PLAIN.fullmatch(key) else f"{HIDDEN} {place + 1}"

    def _text(self, text: str, key: str, said: bool) -> str:
        """A text of evidence: the suite's own as far as the level lets it, the program's own, or a mark."""
        veil = self.veil
        if text in veil.aliases:
            return veil.aliases[text] if veil.hides else veil.text(text)
        if not text or text in veil.kept or (not said and own_label(self.kind, text)):
            return veil.text(text)
        if said:
            begins = len(text) >= CUT and any(whole.startswith(text.rstrip("…")) for whole in veil.aliases)
            return veil.text(text) if begins and not veil.hides else HIDDEN
        if key in MEANT or _remark(key):
            return veil.told(text)
        return text if self.own and PLAIN.fullmatch(text) and (not veil.hides or veil.owned(text)) else HIDDEN


def _remark(key: str) -> bool:
    return key.endswith(("note", "reason", "reasons", "rule", "message", "warnings", "status"))
