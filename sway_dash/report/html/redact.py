"""What leaves with a report. A run is redacted as records, before anything is drawn: nothing later knows more.

- **full**: prompts, generations, token texts, the suite.
- **no-generations**: what the models said is left out; the distributions after the prompts stay.
- **no-prompts**: prompts become P001, P002, … in suite order, the same text always the same name; tokens lose their
  texts and their numbers in the vocabulary; tags and names stay.
- **numbers**: names of probes, tags, models and messages go, too.

Paths become their last part and the name of the user goes in all of them, unless ``paths`` is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal, get_args

import yaml

from sway_dash.backends.instrumentation import prompt_digest
from sway_dash.core.detail import Choice, Prediction, PromptDetail, TokenDetail
from sway_dash.core.errors import SwayError, did_you_mean
from sway_dash.core.events import (
    Answered,
    Event,
    ItemFailed,
    Measurement,
    ModelReady,
    Phase,
    PlannedProbe,
    ProbeFinished,
    RunCancelledEvent,
    RunFailed,
    RunStarted,
    Warned,
)
from sway_dash.core.result import jsonable
from sway_dash.core.yaml_text import load_yaml
from sway_dash.report.html.own_labels import settings
from sway_dash.report.html.own_words import HIDDEN, Phrases, only_own, own_field, own_name, phrases
from sway_dash.report.html.paths import without_paths
from sway_dash.report.html.quotes import Quotes
from sway_dash.report.html.redact_evidence import MEANT, contents, dropped, labels, redacted_evidence
from sway_dash.report.html.source import Source
from sway_dash.suite.trace_file import TraceEvent

Redaction = Literal["full", "no-generations", "no-prompts", "numbers"]
LEVELS: Final[tuple[Redaction, ...]] = get_args(Redaction)

WORDS: Final[Mapping[Redaction, str]] = {
    "full": "nothing hidden",
    "no-generations": "generations left out",
    "no-prompts": "prompts and tokens hidden",
    "numbers": "numbers only",
}

KEPT = frozenset(
    [
        "adapter_alpha",
        "adapter_r",
        "backend",
        "device",
        "dtype",
        "max_context",
        "noise_floor",
        "packages",
        "parameters",
        "peft",
        "platform",
        "python",
        "torch",
        "transformers",
        "update_norm",
        "vocab_size",
    ]
)
"""What stays of an environment where only numbers leave."""


def checked(level: str) -> Redaction:
    """The level, or ``SwayError`` naming those there are."""
    for known in LEVELS:
        if level == known:
            return known
    raise SwayError(f"{level!r} is no redaction: {', '.join(LEVELS)}.{did_you_mean(level, LEVELS)}")


def redacted(source: Source, level: Redaction, *, paths: bool = False) -> Source:
    """The part of a run that leaves at a level."""
    veil = Veil(source, level, paths=paths)
    events = tuple(found for event in source.events if (found := veil.event(event)) is not None)
    return Source(
        id=source.id if level != "numbers" else "run",
        name=veil.name(source.name),
        events=events,
        calls=tuple(map(veil.call, source.calls)),
        details=tuple(map(veil.detail, source.details)),
        spec=veil.suite(source.spec),
        alive=source.alive,
    )


@dataclass
class Veil:
    """Rewrites the records of one run."""

    source: Source
    level: Redaction
    paths: bool = False
    _digests: dict[str, str] = field(default_factory=dict)

    @property
    def hides(self) -> bool:
        """Whether prompts are hidden."""
        return self.level in ("no-prompts", "numbers")

    # -- names ----------------------------------------------------------------------------------

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Prompt → P001 and so on, in suite order: the same suite gives the same names."""
        texts = dict.fromkeys(_prompts(self.source.events))
        for cut in _dropped(self.source.events):
            if not any(text.startswith(cut) for text in texts):
                texts[cut] = None
        width = max(3, len(str(len(texts))))
        return {text: f"P{n:0{width}d}" for n, text in enumerate(texts, 1)}

    @cached_property
    def names(self) -> dict[str, str]:
        """Names that are the user's own, where only numbers leave."""
        if self.level != "numbers":
            return {}
        started = [e for e in self.source.events if isinstance(e, RunStarted)]
        probes = dict.fromkeys(p.name for e in started for p in e.probes)
        tags = dict.fromkeys(t for e in self.source.events if isinstance(e, Measurement) for t in e.tags)
        found = {name: f"probe {n}" for n, name in enumerate(probes, 1)}
        return found | {tag: f"T{n:02d}" for n, tag in enumerate(tags, 1) if tag not in found}

    @cached_property
    def kept(self) -> frozenset[str]:
        """Tags of prompts and names of probes."""
        events = self.source.events
        tags = {tag for e in events if isinstance(e, Measurement) for tag in e.tags}
        planned = [p for e in events if isinstance(e, RunStarted) for p in e.probes]
        for entry in (p.entry for p in planned):
            listed = (p.get("tags") or () for p in entry.get("prompts") or () if isinstance(p, Mapping))
            tags.update(str(tag) for own in listed for tag in own)
        return frozenset(tags | {p.name for p in planned})

    @cached_property
    def _names(self) -> Phrases:
        """What may be named in a sentence where prompts are hidden: probes, tags, models, settings."""
        events = self.source.events
        models = [name for e in events if isinstance(e, RunStarted) for name in (e.base_model_id, e.adapter_id)]
        return phrases([*self.kept, *map(without_paths, models), *settings()])

    def name(self, text: str) -> str:
        """Title of the run."""
        return "Run" if self.level == "numbers" else self.text(text)

    # -- texts ----------------------------------------------------------------------------------

    @cached_property
    def _quoted(self) -> Callable[[str], str]:
        """Replaces what is quoted inside other text."""
        if not self.hides:
            return lambda text: text
        prompts = {*_prompts(self.source.events, own=False), *_dropped(self.source.events)}
        return Quotes(self.aliases, prompts, self.kept | settings())

    def text(self, text: str) -> str:
        """A name: of a run, a model, a probe."""
        if self.hides and text in self.aliases:
            return self.aliases[text]
        if text in self.names:
            return self.names[text]
        text = self._quoted(text)
        return text if self.paths else without_paths(text)

    def told(self, text: str) -> str:
        """A sentence: of the engine, or of whatever it has called."""
        text = self.text(text)
        return only_own(text, self._names, self.aliases.values()) if self.hides else text

    def owned(self, text: str) -> bool:
        """Whether the program has made a name."""
        return own_name(text)

    def own_field(self, key: str) -> bool:
        """Whether a key is one that the program's own probes write."""
        return own_field(key) or key in settings() or key in Measurement.model_fields

    def value(self, value: Any, key: str = "") -> Any:
        """Anything JSON-ready, texts and keys rewritten."""
        if isinstance(value, Mapping):
            return {self.names.get(str(k), str(k)): self.value(v, str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(v, key) for v in value]
        if not isinstance(value, str):
            return value
        if self.hides and value in self.aliases:
            return self.aliases[value]
        if key in MEANT:
            return self.told(value)
        return "" if self.level == "numbers" and value not in self.names else self.text(value)

    def message(self, text: str) -> str:
        """What the engine says; where only numbers leave it may hold more than numbers."""
        return "" if self.level == "numbers" else self.told(text)

    def suite(self, text: str) -> str:
        """The suite as text."""
        if not text or self.level == "numbers":
            return ""
        if not self.hides:
            return text if self.paths else without_paths(text)
        try:
            loaded = load_yaml(text)
        except (ValueError, yaml.YAMLError):
            return ""
        # Aliases of YAML would stand for prompts: everything is written out.
        dumper = type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
        return yaml.dump(self.value(jsonable(loaded)), Dumper=dumper, sort_keys=False, allow_unicode=True)

    # -- records --------------------------------------------------------------------------------

    def event(self, event: Event) -> Event | None:
        """The event as it leaves; ``None`` for one that does not."""
        if isinstance(event, Measurement):
            return self._measurement(event)
        if isinstance(event, RunStarted):
            return event.model_copy(
                update={
                    "run_id": event.run_id if self.level != "numbers" else "run",
                    "spec_path": event.spec_path if self.paths else "",
                    "base_model_id": self._model(event.base_model_id, "base"),
                    "adapter_id": self._model(event.adapter_id, "adapter"),
                    "probes": tuple(map(self._planned, event.probes)),
                }
            )
        if isinstance(event, ModelReady):
            known = event.environment
            if self.level == "numbers":
                known = {k: v for k, v in known.items() if k in KEPT}
                return event.model_copy(update={"environment": jsonable(known)})
            return event.model_copy(update={"environment": self.value(jsonable(known))})
        if isinstance(event, Phase):
            if event.phase == "loading":
                # Named after the files that are loaded.
                found = {"name": self._model(event.name, "base"), "detail": self._model(event.detail, "adapter")}
                return event.model_copy(update=found)
            name = self.names.get(event.name, event.name)
            return event.model_copy(update={"name": name, "detail": self.message(event.detail)})
        if isinstance(event, ProbeFinished):
            return event.model_copy(update={"result": self._result(event.result)})
        if isinstance(event, ItemFailed):
            said = self.message(event.message) or "not told"
            changed = {"prompt": self._prompt(event.prompt), "probe": self.names.get(event.probe, event.probe)}
            return event.model_copy(update={**changed, "message": said})
        if isinstance(event, Answered):
            return event.model_copy(update={"probe": self.names.get(event.probe, event.probe)})
        if isinstance(event, Warned):
            if self.level == "numbers":
                return None
            causes = tuple(map(self.told, event.causes))
            return event.model_copy(update={"message": self.told(event.message), "causes": causes})
        if isinstance(event, RunFailed):
            return event.model_copy(update={"message": self.message(event.message), "traceback": ""})
        if isinstance(event, RunCancelledEvent):
            return event.model_copy(update={"reason": self.message(event.reason)})
        return event

    def _model(self, name: str, alias: str) -> str:
        return alias if self.level == "numbers" and name else self.text(name)

    def _prompt(self, prompt: str) -> str:
        return self.aliases.get(prompt, HIDDEN) if self.hides else prompt

    def _planned(self, planned: PlannedProbe) -> PlannedProbe:
        name = self.names.get(planned.name, planned.name)
        return planned.model_copy(update={"name": name, "entry": self._entry(planned.entry)})

    def _entry(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(self.value({k: v for k, v in entry.items() if k != "prompts"}))
        if "prompts" in entry:
            found["prompts"] = [self._listed(p) for p in entry["prompts"] or ()]
        return found

    def _listed(self, prompt: Any) -> Any:
        if not isinstance(prompt, Mapping):
            return self._prompt(str(prompt))
        tags = [self.names.get(str(t), str(t)) for t in prompt.get("tags") or ()]
        return {"text": self._prompt(str(prompt.get("text", ""))), "tags": tags}

    def _result(self, result: Mapping[str, Any]) -> dict[str, Any]:
        out = dict(result)
        out["name"] = self.names.get(str(out.get("name")), str(out.get("name")))
        out["message"] = self.message(str(out.get("message") or ""))
        evidence = out.get("evidence") or {}
        out["evidence"] = redacted_evidence(evidence, str(out.get("kind")), self, self.value)
        return out

    def _measurement(self, m: Measurement) -> Measurement:
        if self.level == "full":
            return m
        changed: dict[str, Any] = {"key": "", "continuation": ""}
        if self.hides:
            base, tuned = _unnamed(m.base_top, m.tuned_top)
            changed |= {"prompt": self._prompt(m.prompt), "base_top": base, "tuned_top": tuned}
        if self.names:
            changed |= {
                "probe": self.names.get(m.probe, m.probe),
                "tags": tuple(self.names.get(t, t) for t in m.tags),
            }
        return m.model_copy(update=changed)

    def call(self, call: TraceEvent) -> TraceEvent:
        """A line of the trace; hidden prompts have no digest that one could try texts against."""
        probe = call.probe if call.probe is None else self.names.get(call.probe, call.probe)
        if not self.hides:
            return replace(call, probe=probe)
        if not self._digests:
            self._digests = {prompt_digest(text): prompt_digest(alias) for text, alias in self.aliases.items()}
        return replace(call, probe=probe, prompt_hash=self._digests.get(call.prompt_hash, ""))

    def detail(self, detail: PromptDetail) -> PromptDetail:
        """A prompt token by token."""
        if self.level == "full":
            return detail
        tokens = list(detail.tokens)
        after = next((i for i, t in enumerate(tokens) if t.part == "continuation"), len(tokens))
        tokens = tokens[:after] + [replace(t, text=HIDDEN, id=-1, special=False) for t in tokens[after : after + 1]]
        if self.hides:
            seen: dict[int, int] = {}
            tokens = [_hidden(t, seen) for t in tokens]
        return replace(detail, prompt=self._prompt(detail.prompt), tokens=tuple(tokens), base_says=(), tuned_says=())


def _prompts(events: Iterable[Event], *, own: bool = True) -> Iterator[str]:
    """Prompt texts, first those of the suite in its order.

    With ``own`` also the other texts of its entries, and what probes have named the items they show by.
    """
    later: list[str] = []
    found: list[str] = []
    for event in events:
        if isinstance(event, RunStarted):
            for planned in event.probes:
                for prompt in planned.entry.get("prompts") or ():
                    yield str(prompt.get("text", "")) if isinstance(prompt, Mapping) else str(prompt)
                found += contents(planned.entry) if own else ()
        elif isinstance(event, Measurement | ItemFailed):
            later.append(event.prompt)
        elif isinstance(event, ProbeFinished) and own:
            found += labels(event.result.get("evidence") or {}, str(event.result.get("kind")))
    yield from (*later, *found)


def _dropped(events: Iterable[Event]) -> Iterator[str]:
    """Beginnings of texts that a probe could not use; those of a document are nowhere else."""
    for event in events:
        if isinstance(event, ProbeFinished):
            yield from dropped(event.result.get("evidence") or {})


_Top = tuple[tuple[str, int, float], ...]


def _unnamed(base: _Top, tuned: _Top) -> tuple[_Top, _Top]:
    """Likely tokens without their texts; one that both sides name keeps one name."""
    seen: dict[int, int] = {}

    def side(top: _Top) -> _Top:
        return tuple((f"token {_place(seen, i)}", _place(seen, i), p) for _, i, p in top)

    return side(base), side(tuned)


def _place(seen: dict[int, int], token_id: int) -> int:
    return seen.setdefault(token_id, len(seen) + 1)


def _hidden(token: TokenDetail, seen: dict[int, int]) -> TokenDetail:
    p = token.prediction
    if p is not None:
        named = ((_place(seen, c.id), c) for c in p.choices)
        p = Prediction(p.js, p.kl, p.kl_reverse, tuple(Choice(f"token {k}", k, c.base, c.tuned) for k, c in named))
    return replace(token, text=HIDDEN, id=-1, prediction=p)
