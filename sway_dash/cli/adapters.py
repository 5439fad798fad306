"""What ``check`` needs to know about an adapter folder and a file of prompts, without loading a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sway_dash.cli.boundary import UsageError, os_sentence

CONFIG = "adapter_config.json"
STDIN = Path("-")

PROMPTS = (
    "The most important thing to remember is",
    "To get started, first",
    "In my opinion, the best way to",
    "The history of this place begins",
    "Q: What do you recommend?\nA:",
    "Q: Who are you?\nA:",
    "Once upon a time, there was",
    "The results show that",
    "My name is",
    "The answer to your question is",
    "Here is a short summary:",
    "Dear customer,",
    "For example, consider",
    "The main difference between the two is",
    "She looked at him and said",
    "Q: How does it work?\nA:",
    "The following steps are required:",
    "It was a cold morning when",
    "According to the report,",
    "I am writing to",
    "The capital of the country is",
    "def main():",
    "1.",
    "Yesterday we went to",
)
"""Neutral openings that leave a model room: an adapter of any subject shows on some of them."""

CHECK_NULL_RUNS = 20
CHECK_GATE = 0.01
"""Smallest mean divergence, in nats, that a check calls a change (the public value)."""


def read_config(adapter: Path) -> dict[str, Any]:
    """What ``adapter_config.json`` says; ``UsageError`` with how to mend it if there is none."""
    if not adapter.exists():
        raise UsageError(f"no such adapter folder: {adapter}")
    if not adapter.is_dir():
        raise UsageError(f"{adapter} is a file: give the folder that holds {CONFIG}")
    path = adapter / CONFIG
    if not path.is_file():
        raise UsageError(f"{adapter} holds no {CONFIG}: give the folder that PEFT's save_pretrained wrote")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(os_sentence(error)) from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON ({error}): save the adapter again") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path} must hold a JSON object, not {type(data).__name__}: save the adapter again")
    return data


def base_in_config(adapter: Path) -> str | None:
    """Name of the base model in ``adapter_config.json``; ``None`` if it says none or cannot be read."""
    try:
        named = read_config(adapter).get("base_model_name_or_path")
    except UsageError:
        return None
    return named.strip() or None if isinstance(named, str) else None


def find_base(adapter: Path) -> str:
    """Base model of an adapter: a folder beside it or below the current one, else a model id of a hub."""
    read_config(adapter)
    named = base_in_config(adapter)
    if named is None:
        raise UsageError(f"{adapter / CONFIG} names no base model: give it with --base MODEL_ID_OR_FOLDER")
    return resolve_base(named, adapter)


def resolve_base(named: str, adapter: Path | None = None) -> str:
    """Absolute path if ``named`` is a folder relative to the adapter or to here; a hub id stays as it is."""
    path = Path(named).expanduser()
    tried = [] if adapter is None else [adapter / path]
    tried.append(Path.cwd() / path)
    for candidate in tried:
        if candidate.is_dir():
            return str(candidate.resolve())
    if named.startswith(("/", "./", "../", "~")):
        who = "" if adapter is None else f", which {adapter / CONFIG} names"
        raise UsageError(f"no base model folder {named}{who}: give the base with --base MODEL_ID_OR_FOLDER")
    return named


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """Prompts of a file: its non-empty lines, or for ``.jsonl`` the field ``text`` or ``prompt`` of every record.

    ``-`` is standard input, one prompt a line.
    """
    name = "standard input" if path == STDIN else path
    try:
        text = (sys.stdin.buffer.read() if path == STDIN else path.read_bytes()).decode("utf-8-sig")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise UsageError(f"cannot read prompts: {os_sentence(error)}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    rows = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if path.suffix.lower() == ".jsonl":
        prompts = [_record(line, f"{name}, line {number}") for number, line in rows]
    else:
        prompts = [{"text": line} for _, line in rows]
    if not prompts:
        raise UsageError(f"{name} holds no prompts: write one a line")
    return prompts


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{where}: not valid JSON ({error})") from None
    if isinstance(raw, str):
        raw = {"text": raw}
    text = raw.get("text", raw.get("prompt")) if isinstance(raw, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f'{where}: needs a field "text" or "prompt" that holds text')
    tags = raw.get("tags")
    if tags is None:
        return {"text": text}
    if not isinstance(tags, list) or not all(isinstance(t, str) for t in tags):
        raise UsageError(f'{where}: "tags" must be a list of texts')
    return {"text": text, "tags": tags}


def check_suite(*, base: str, adapter: Path, prompts: list[dict[str, Any]], seed: int = 0) -> str:
    """The suite of ``check`` as YAML, so that its run can be opened, changed and repeated like any other."""
    import yaml

    texts: list[Any] = [p if "tags" in p else p["text"] for p in prompts]
    suite = {
        "version": 1,
        "models": {"base": {"base": base}, "ft": {"base": base, "adapter": str(adapter.resolve())}},
        "defaults": {"seed": seed},
        "suite": [
            {"name": "noise", "kind": "null_adapter", "runs": CHECK_NULL_RUNS},
            {"name": "change", "kind": "delta_kl", "prompts": texts, "assert_mean_gte": CHECK_GATE},
            {"name": "strength", "kind": "adapter_ablation", "prompts": texts},
        ],
    }
    return str(yaml.safe_dump(suite, sort_keys=False, allow_unicode=True, width=110))
