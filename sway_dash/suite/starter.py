"""A first suite for an adapter: models, prompts and probes of a preset as YAML, with a word on what each is for.

Plain text comes out; nothing is loaded. What a document brings along (sections, questions with their answers,
preferences) becomes entries of its own, and its sentences become the prompts on the topic.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sway_dash import __version__
from sway_dash.core.sections import evenly
from sway_dash.probes import registry
from sway_dash.suite.document import FIELD, Document
from sway_dash.suite.presets import Preset, apply

MOST_PROMPTS = 16
"""Prompts taken from a document, and as many that are about something else: the contract's number of questions."""

MOST_CASES = 6
"""Questions of a document that are asked in other words."""

REWORDINGS = 3

MIN_CLUSTERED = 20
"""Prompts from which topics can be told apart; the default of ``cluster_kl.min_prompts``."""

ON, OFF = "on-topic", "off-topic"

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_MARK = "# made by sway-dash init "

Prompts = Sequence[Mapping[str, Any]]
"""``{text, tags}`` each; tags may be missing."""

Reword = Callable[[str], list[str]]
"""Other wordings of a question."""

_WHY = {
    "null_adapter": "What noise looks like: adapters of random weights on the same prompts. It goes first.",
    "delta_kl": "The main measurement: how far the next-token distribution moves, prompt by prompt.",
    "adapter_ablation": "The adapter from off (0) to full strength (1) and beyond: does its effect grow evenly?",
    "topic_contrast": "Does it move its topic and leave the rest alone? The tags of the prompts say which is which.",
    "cluster_kl": "Are there topics it moves more than others? Found by grouping the prompts.",
    "section_internalization": "Section by section of the document: which of them did it take in?",
    "paraphrase_invariance": "Does an answer hold when the question is asked in other words? Read the wordings first.",
    "adapter_revert": "Does it fall back to the base's answer when asked in other words?",
    "preference_flip": "Does it prefer what the document prefers?",
    "leakage": "Does it recite the document word for word?",
    "style_fingerprint": "Does it write more like the document?",
    "calibration_drift": "Did it break anything? 200 everyday facts that the base knows.",
    "external_perplexity": "Did it break anything? How surprised it is by ordinary English.",
}
"""What an entry is for, in the words of a suite file; other kinds say it in their own."""


@dataclass(frozen=True, slots=True)
class Starter:
    """What a suite is made of. Paths are absolute; ``base`` may be a hub id."""

    base: str
    adapter: Path
    preset: Preset
    prompts: Prompts
    """What to ask; from :func:`suggest` where the user has none."""
    document: Document | None = None
    reword: Reword | None = None


def suggest(neutral: Sequence[str], document: Document | None) -> list[dict[str, Any]]:
    """Prompts for an adapter: the neutral ones; with a document, as many on its topic and off it, and tagged so."""
    if document is None:
        return [{"text": text} for text in neutral]
    own = on_topic(document)
    if not own:
        return [{"text": text} for text in neutral]
    others = [text for text in neutral if text not in own][:MOST_PROMPTS]
    return [{"text": t, "tags": [ON]} for t in own] + [{"text": t, "tags": [OFF]} for t in others]


def on_topic(document: Document) -> list[str]:
    """The questions of a document, else its sentences, cut where the model is to go on; evenly over the sections."""
    asked = [p.prompt for s in document.sections for p in s.probes]
    if asked:
        return list(dict.fromkeys(asked))[:MOST_PROMPTS]
    waiting = [_openings(s.content) for s in evenly(document.sections, MOST_PROMPTS) if s.kind == "prose"]
    longest = max((len(openings) for openings in waiting), default=0)
    # One of each section in turn, so that no long one takes all places.
    found = [openings[n] for n in range(longest) for openings in waiting if n < len(openings)]
    return list(dict.fromkeys(found))[:MOST_PROMPTS]


def _openings(text: str) -> list[str]:
    """The beginnings of sentences: two thirds of the words, so that what comes next is for the model to know."""
    found = []
    for sentence in _SENTENCE.split(" ".join(text.split())):
        words = sentence.strip("*_#> ").split(" ")
        if len(words) >= 6 and len(sentence) <= 300:
            found.append(" ".join(words[: max(4, (2 * len(words)) // 3)]).rstrip(",;:"))
    return found


def entries(starter: Starter) -> list[dict[str, Any]]:
    """The entries of the suite, as the preset has them, without those that these prompts cannot serve."""
    prompts = [dict(p) if p.get("tags") else p["text"] for p in starter.prompts]
    data = apply(starter.preset, {"suite": [{"name": "next_token", "kind": "delta_kl", "prompts": prompts}]})
    kept = [e for e in data["suite"] if _fits(str(e["kind"]), starter.prompts)]
    if starter.document is None or starter.preset.key == "quick":
        return kept
    return kept + list(_of_document(starter, starter.document))


def _fits(kind: str, prompts: Prompts) -> bool:
    if kind == "topic_contrast":
        tags = [set(p.get("tags") or ()) & {ON, OFF} for p in prompts]
        return all(sum(tag in found for found in tags) >= 2 for tag in (ON, OFF)) and {ON, OFF} not in tags
    if kind == "cluster_kl":
        return len({p["text"] for p in prompts}) >= MIN_CLUSTERED
    return True


def _of_document(starter: Starter, document: Document) -> Iterator[dict[str, Any]]:
    prose = any(s.kind == "prose" and s.content.strip() for s in document.sections)
    if len(document.sections) >= 2:
        yield {"name": "sections", "kind": "section_internalization"}
    asked = [p for s in document.sections for p in s.probes]
    worded = [(p, starter.reword(p.prompt)[:REWORDINGS]) for p in asked] if starter.reword else []
    cases = [{"prompt": p.prompt, "gold": p.gold, "paraphrases": texts} for p, texts in worded if texts][:MOST_CASES]
    if cases:
        yield {"name": "in_other_words", "kind": "paraphrase_invariance", "cases": cases}
    if any(s.preferences for s in document.sections):
        yield {"name": "preferences", "kind": "preference_flip"}
    if prose:
        yield {"name": "recital", "kind": "leakage"}
    if starter.preset.key == "full":
        if cases:
            yield {"name": "revert", "kind": "adapter_revert", "cases": cases}
        if prose:
            texts = [p["text"] for p in starter.prompts if ON not in (p.get("tags") or ())][:8]
            yield {
                "name": "style",
                "kind": "style_fingerprint",
                "prompts": texts or [p["text"] for p in starter.prompts],
            }


# -- text -----------------------------------------------------------------------------------------


def render(starter: Starter, target: Path) -> str:
    """The suite as YAML for a file ``target``: its paths are relative to it."""
    folder = target.parent.resolve()
    base = near(Path(starter.base), folder) if Path(starter.base).is_absolute() else starter.base
    name = shlex.quote(_plain(target.name))
    lines = [
        "# What did this adapter do to its model?",
        "#",
        f"#   sway-dash run {name} --dry-run   what will be measured",
        f"#   sway-dash run {name}             measure it",
        f"#   sway-dash gate {name}            the same for CI: exit code 1 if it may not pass",
        "#",
        "# Paths are relative to this file. Change what you like; entries and prompts may come and go.",
        "version: 1",
        "",
        "models:",
        "  # The model the adapter was trained on, and the same with the adapter. It is loaded once.",
        f"  base: {_flow({'kind': 'hf', 'base': base})}",
        f"  ft: {_flow({'kind': 'hf', 'base': base, 'adapter': near(starter.adapter, folder)})}",
        "",
        "defaults: {seed: 0}",
        "",
    ]
    if starter.document is not None:
        where = near(Path(starter.document.path), folder)
        lines.append("# What the adapter was trained on, for the probes that ask what of it was learned.")
        lines += [_flow({FIELD: where})[1:-1], ""]
    lines.append("suite:")
    lines += _entry_lines(starter)
    body = "\n".join(lines) + "\n"
    return f"{_MARK}{__version__}, unchanged while this fits: {_digest(body)}\n{body}"


def unedited(text: str) -> bool:
    """Whether a suite is still as :func:`render` made it."""
    first, _, body = text.partition("\n")
    return first.startswith(_MARK) and first.endswith(f" {_digest(body)}")


def near(path: Path, folder: Path) -> str:
    """A path relative to a folder, with ``./`` before it; in full where the two have only the root in common."""
    path = Path(os.path.abspath(path))
    common = os.path.commonpath([path, folder])
    if Path(common) == Path(common).parent:
        return str(path)
    relative = Path(os.path.relpath(path, folder)).as_posix()
    return relative if relative.startswith(".") else f"./{relative}"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _entry_lines(starter: Starter) -> Iterator[str]:
    shared: list[Any] | None = None
    for entry in entries(starter):
        kind = str(entry["kind"])
        yield f"  # {_why(kind)}"
        prompts, simple = entry.get("prompts"), {k: v for k, v in entry.items() if k not in ("prompts", "cases")}
        listed = entry.get("cases") or prompts
        if not listed:
            yield f"  - {_flow(simple)}"
        elif prompts is not None and prompts == shared:
            yield f"  - {_flow(simple)[:-1]}, prompts: *prompts}}"
        else:
            first = prompts is not None and shared is None
            shared = prompts if first else shared
            for n, (key, value) in enumerate(simple.items()):
                yield f"  {'- ' if n == 0 else '  '}{_flow({key: value})[1:-1]}"
            yield f"    {'cases' if prompts is None else 'prompts'}:{' &prompts' if first else ''}"
            yield from (f"      - {_flow(item)}" for item in listed)
        yield ""


def _why(kind: str) -> str:
    own = _WHY.get(kind) or next(iter((registry()[kind].__doc__ or kind).strip().splitlines()))
    return _plain(own)


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.dump(value, Dumper=_OneLine, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return str(text).strip().removesuffix("\n...").strip()


class _OneLine(yaml.SafeDumper):
    """Writes line ends inside a text as an escape; in quotes they would start a line of the file."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    lines = any(mark in text for mark in "\n\r\x85\u2028\u2029")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if lines else None)


_OneLine.add_representer(str, _text)


def _plain(text: str) -> str:
    """Text for a comment: one line."""
    return " ".join(text.split())
