"""Which probes say what of which adapter: every kind, over adapters made to order on the demo's base model.

    python -m tests.benchmarks.probes                      # every kind, every adapter
    python -m tests.benchmarks.probes --kinds leakage      # some kinds
    python -m tests.benchmarks.probes --adapters zero blunt --nulls 10
    python -m tests.benchmarks.probes --pretrained         # those that need a model that knows the world, on SmolLM2

Settings are the defaults wherever the demo allows them: its context is 256 tokens. Prints one table, a row a probe and
a column an adapter, with verdict and raw value; ``!`` marks a verdict that is not the one :data:`EXPECTED`. Asserts
nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

os.environ.setdefault("SWAY_DISABLE_NULL_CACHE", "1")

from sway_dash.backends import build
from sway_dash.core.errors import SwayError
from sway_dash.core.model import ModelSpec
from sway_dash.core.result import ProbeResult
from sway_dash.core.sections import Section
from sway_dash.demo import demo_dir
from sway_dash.probes import registry
from sway_dash.suite.loader import from_dict
from sway_dash.suite.runner import run
from tests.adapters import MEMORISED, kinds, made
from tests.pretrained import conftest as pretrained

SHOTS = """Request: the weather in Rome
Call: {"name": "get_weather", "arguments": {"city": "Rome"}}
Request: the weather in Madrid
Call: {"name": "get_weather", "arguments": {"city": "Madrid"}}
Request: the weather in Vienna
Call: {"name": "get_weather", "arguments": {"city": "Vienna"}}
Request: the weather in """

CITIES = ("Paris", "Oslo", "Berlin", "London", "Lisbon", "Prague", "Dublin", "Athens", "Warsaw", "Cairo")

WEATHER = {"name": "get_weather", "parameters": {"required": ["city"], "properties": {"city": {"type": "string"}}}}

PRETRAINED: Mapping[str, dict[str, Any]] = {
    "calibration_drift": {},
    "external_perplexity": {},
    "tool_use_fidelity": {
        "show_tool": "no",
        # Ten cases cannot rule out a fall of a twentieth.
        "cases": [
            {
                "prompt": f"{SHOTS}{city}\nCall:",
                "tool_spec": WEATHER,
                "gold_tool_name": "get_weather",
                "max_new_tokens": 20,
            }
            for city in CITIES
        ],
        "assert_validity_delta_gte": -0.3,
    },
}
"""Rows for a model that knows the shipped packs, all defaults; and calls of a tool, which it makes after examples."""

PASS, FAIL, ANY = "pass", "no pass", "any"

EXPECTED: Mapping[str, Mapping[str, str]] = {
    "delta_kl": {"targeted": PASS, "zero": FAIL, "blunt": PASS, "forgetting": PASS, "memorising": PASS},
    "topic_contrast": {"targeted": PASS, "zero": FAIL, "blunt": FAIL, "forgetting": FAIL, "overfit": FAIL},
    "cluster_kl": {"targeted": PASS, "zero": FAIL, "blunt": FAIL, "forgetting": FAIL},
    "adapter_ablation": {"targeted": PASS, "zero": FAIL},
    "prompt_collapse": {"targeted": PASS, "collapsing": FAIL, "zero": FAIL},
    "multi_turn_coherence_decay": {"targeted": PASS, "fading": FAIL, "zero": FAIL},
    "section_internalization": {"targeted": PASS, "zero": FAIL, "blunt": FAIL, "forgetting": FAIL, "overfit": PASS},
    "paraphrase_invariance": {"targeted": PASS, "zero": FAIL, "blunt": FAIL, "forgetting": FAIL},
    "preference_flip": {"targeted": PASS, "zero": FAIL, "blunt": FAIL, "forgetting": FAIL},
    "style_fingerprint": {"zero": FAIL, "forgetting": FAIL},
    "calibration_drift": {"quarter": PASS, "whole": FAIL, "double": FAIL},
    "external_perplexity": {"quarter": PASS, "whole": FAIL, "double": FAIL},
    "tool_use_fidelity": {"quarter": PASS, "whole": FAIL, "double": FAIL},
    "calibration of its world": {"targeted": PASS, "zero": PASS, "blunt": FAIL, "forgetting": FAIL},
    "texts of its world": {"targeted": PASS, "zero": PASS, "blunt": FAIL, "forgetting": FAIL},
    "kl_trajectory": {"targeted": PASS, "zero": FAIL},
    "leakage": {"zero": PASS, "overfit": FAIL, "forgetting": PASS, "blunt": PASS},
    "leakage of a text": {"memorising": FAIL},
    "adapter_revert": {"targeted": PASS, "zero": FAIL, "forgetting": FAIL},
    "layer_attribution": {"targeted": PASS},
}
"""What a sound probe says of these adapters, where that is clear beforehand.

Not of ``targeted`` in ``leakage``, for it does recite parts of its handbook, nor where the demo's base, which knows no
world but its own, cannot read the shipped texts and questions.
"""


def entries() -> dict[str, dict[str, Any]]:
    """Row name → entry: those of the demo's full suite, by kind, and the default packs; ``name`` where it differs."""
    suite = yaml.safe_load((demo_dir() / "full.yaml").read_text(encoding="utf-8"))["suite"]
    found: dict[str, dict[str, Any]] = {}
    for entry in suite:
        if entry["kind"] != "null_adapter":
            found[ROWS.get(entry["name"], entry["kind"])] = {k: v for k, v in entry.items() if k != "name"}
    tool = {"name": "find_light", "parameters": {"required": ["name"], "properties": {"name": {"type": "string"}}}}
    asked = [f["prompt"] for f in found["paraphrase_invariance"]["cases"][:4]]
    return {
        **found,
        "calibration_drift": {},
        "external_perplexity": {},
        "tool_use_fidelity": {
            "cases": [
                {"prompt": p, "tool_spec": tool, "gold_tool_name": "find_light", "max_new_tokens": 16} for p in asked
            ]
        },
    }


ROWS = {"everyday_facts": "calibration of its world", "other_texts": "texts of its world"}
"""Rows that are not called by their kind, which is that of the shipped pack."""


def handbook() -> list[Section]:
    """The handbook's sections."""
    from sway_dash.demo.handbook import passages

    return [Section(f"p{i}", "prose", text) for i, text in enumerate(passages(demo_dir() / "document.md")) if i]


def measured(base: Path, adapter: Path, rows: Mapping[str, dict[str, Any]], nulls: int) -> dict[str, ProbeResult | str]:
    """Results of every row for one adapter; a sentence where there is none."""
    backend = build(ModelSpec(base=str(base), adapter=adapter, dtype="fp32", device="cpu"))
    found: dict[str, ProbeResult | str] = {}
    try:
        if not backend.preflight_finite_check()[0]:  # type: ignore[attr-defined]
            return dict.fromkeys([*rows, "leakage of a text"], "broken")
        for name, entry in rows.items():
            found[name] = one(backend, {"kind": name, **entry, "name": name}, handbook(), nulls)
        if "leakage" in rows:
            half = MEMORISED.index(" Never")
            text = [Section("all", "prose", MEMORISED), Section("end", "prose", MEMORISED[half + 1 :])]
            found["leakage of a text"] = one(backend, {"name": "text", "kind": "leakage"}, text, 0)
    finally:
        backend.close()  # type: ignore[attr-defined]
    return found


def one(backend: Any, entry: dict[str, Any], sections: Sequence[Section], nulls: int) -> ProbeResult | str:
    """One probe after random adapters, in a suite of its own; its error in a word if it cannot be built."""
    noise = {"name": "noise", "kind": "null_adapter", "runs": nulls}
    model = {"kind": "dummy", "base": "dummy"}
    try:
        suite = from_dict({"models": {"base": model, "ft": model}, "suite": [*([noise] if nulls else []), entry]})
        text = "\n\n".join(s.content for s in sections)
        return run(suite, backend, sections=tuple(sections), doc_text=text).probes[-1]
    except SwayError as error:
        return f"cannot be built: {error}"


def cell(name: str, adapter: str, found: ProbeResult | str) -> str:
    """Verdict and raw value, with a mark where another verdict was expected."""
    if isinstance(found, str):
        return found[:14]
    wanted = EXPECTED.get(name, {}).get(adapter, ANY)
    mark = "" if wanted == ANY or (found.verdict.value == PASS) == (wanted == PASS) else " !"
    raw = "" if found.raw is None else f" {found.raw:.3g}"
    return f"{found.verdict.value}{raw}{mark}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", default=[])
    parser.add_argument("--adapters", nargs="*")
    parser.add_argument("--nulls", type=int, default=5)
    parser.add_argument("--pretrained", action="store_true", help="SmolLM2 and its adapters instead of the demo")
    parser.add_argument("--words", action="store_true", help="print every message, too")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    known = registry()
    base, every, maker = demo_dir() / "model", entries(), made
    if args.pretrained:
        base, every, maker = pretrained.cached_model(), PRETRAINED, pretrained.made
    names = args.adapters or list(pretrained.KINDS if args.pretrained else kinds())
    rows = {k: e for k, e in every.items() if not args.kinds or k in args.kinds or e.get("kind") in args.kinds}
    table: dict[str, dict[str, ProbeResult | str]] = {}
    for adapter in names:
        start = time.perf_counter()
        table[adapter] = measured(base, maker(adapter), rows, args.nulls)
        print(f"{adapter}: {time.perf_counter() - start:.0f} s", flush=True)
        for name, found in table[adapter].items() if args.words else ():
            print(f"  {name}: {found if isinstance(found, str) else found.message}", flush=True)
    print(f"\n{'':26}" + "".join(f"{a:>16}" for a in names))
    for name in [*rows, *(["leakage of a text"] if "leakage" in rows else [])]:
        print(f"{name:26}" + "".join(f"{cell(name, a, table[a].get(name, '')):>16}" for a in names))
    absent = sorted(set(known) - set(entries()) - {"null_adapter"})
    print(f"\nwithout an entry here: {', '.join(absent) or 'none'}")


if __name__ == "__main__":
    main()
