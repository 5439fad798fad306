"""The public formats, written down as checks that know nothing of this program: suite, result, trace."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

NUMBER = (int, float)
OPS = {"next_token_dist", "rolling_logprob", "logprob_of"}
VERDICTS = {"pass", "fail", "warn", "skip", "error"}
CATEGORIES = {"adherence", "attribution", "calibration", "ablation", "baseline"}

RESULT: dict[str, tuple[type, ...]] = {
    "schema_version": (int,),
    "sway_version": (str,),
    "spec_path": (str,),
    "base_model_id": (str,),
    "adapter_id": (str,),
    "started_at": (str,),
    "finished_at": (str,),
    "wall_seconds": (float,),
    "determinism": (dict, type(None)),
    "backend_stats": (dict,),
    "score": (dict,),
    "null_stats": (dict,),
    "probes": (list,),
}
SCORE: dict[str, tuple[type, ...]] = {
    "overall": NUMBER,
    "band": (str,),
    "components": (dict,),
    "weights": (dict,),
    "findings": (list,),
}
PROBE: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "kind": (str,),
    "verdict": (str,),
    **{k: (*NUMBER, type(None)) for k in ("score", "raw", "z_score", "base_value", "ft_value")},
    "evidence": (dict,),
    "message": (str,),
    "duration_s": NUMBER,
    "ci_95": (list, type(None)),
}
TRACE: dict[str, tuple[type, ...]] = {
    "ts": (float,),
    "probe": (str, type(None)),
    "view_id": (str,),
    "prompt_hash": (str,),
    "top_k": (int,),
    "op": (str,),
    "wall_ms": (float,),
    "hit": (bool,),
}
EVIDENCE: dict[str, dict[str, tuple[type, ...]]] = {
    "null_adapter": {
        "null_stats": (dict,),
        "null_stats_by_rank": (dict,),
        "per_kind_raw_samples": (dict,),
        "skipped_kinds": (list,),
        "calibrated_kinds": (list,),
        "runs": (int,),
        "init_scale": NUMBER,
        "seed_base": (int,),
        "rank_multipliers": (list,),
        "weight": NUMBER,
        "from_cache": (bool,),
    },
    "delta_kl": {
        "divergence_kind": (str,),
        "per_prompt": (list,),
        "max": NUMBER,
        "num_prompts": (int,),
        "weight": NUMBER,
        "z_by_rank": (dict, type(None)),
        "raw_ci_95": (list, type(None)),
    },
    "adapter_ablation": {
        "lambdas": (list,),
        "mean_divergence_per_lambda": (list,),
        "linearity": NUMBER,
        "saturation_lambda": (*NUMBER, type(None)),
        "saturation_reason": (str,),
        "overshoot": NUMBER,
        "passed_linearity": (bool,),
        "passed_saturation": (bool,),
        "passed_overshoot": (bool,),
        "weight": NUMBER,
        "z_by_rank": (dict, type(None)),
    },
}
"""Keys of the evidence that other programs read, by kind; more may stand beside them."""

_MODEL = {"kind", "base", "adapter", "dtype", "device", "trust_remote_code", "entry_point", "endpoint"}
_DEFAULTS = {"seed", "top_k", "differential", "coverage_threshold", "concurrent_probes", "score_weights"}
_ENTRY = {"name", "kind", "enabled", "weight"}
_Z = {"assert_z_gte"}
KINDS: dict[str, set[str]] = {
    "null_adapter": {"runs", "init_scale", "seed_base", "calibrate_kinds", "cache", "rank_multipliers"},
    "delta_kl": {"prompts", "divergence", "top_k", "assert_mean_gte"} | _Z,
    "adapter_ablation": {
        *("prompts", "lambdas", "divergence", "top_k", "assert_linearity_gte"),
        *("assert_saturation_between", "assert_overshoot_gte"),
    }
    | _Z,
    "adapter_revert": {
        *("cases", "max_new_tokens", "embedding_model", "base_gold_similarity_cap", "assert_revert_rate_lt"),
    }
    | _Z,
    "prompt_collapse": {
        *("prompts", "context_lengths", "divergence", "top_k", "assert_half_life_tokens", "legacy_stuffing"),
    }
    | _Z,
    "cluster_kl": {
        *("prompts", "num_clusters", "embedding_model", "divergence", "top_k", "min_prompts"),
        "assert_specificity_gte",
    }
    | _Z,
    "section_internalization": {
        *("include_kinds", "per_section_threshold", "assert_passing_section_frac", "max_prose_chars"),
    }
    | _Z,
    "paraphrase_invariance": {
        *("cases", "intent", "min_verbatim_lift", "min_generalization_ratio"),
        "max_generalization_ratio_if_memorize",
    }
    | _Z,
    "preference_flip": {"triples", "assert_flip_rate_gte", "min_triples_for_decision"} | _Z,
    "style_fingerprint": {"prompts", "doc_reference", "max_new_tokens", "assert_shift_gte", "extended"} | _Z,
    "calibration_drift": {
        *("pack", "items_limit", "assert_fraction_regressed_lt", "assert_mean_delta_gte", "regression_nats", "items"),
    }
    | _Z,
    "leakage": {
        *("prefix_chars", "continuation_chars", "max_new_tokens", "perturbations", "assert_recall_lt"),
        "min_fragility",
    }
    | _Z,
    "external_perplexity": {"corpus", "chunk_chars", "max_chunks", "assert_mean_delta_gte"} | _Z,
    "tool_use_fidelity": {"cases", "allowed_tools", "assert_validity_delta_gte", "assert_hallucination_lte"} | _Z,
    "multi_turn_coherence_decay": {
        *("prompts", "max_turns", "max_new_tokens", "follow_ups", "divergence", "top_k", "assert_half_life_turns"),
    },
    "gradient_ghost": {"adapter_path", "min_steps_threshold", "undertrained_layer_ratio", "layer_failure_frac"},
    "training_drift": {
        *("store_path", "min_steps", "rolling_window", "spike_sigma", "assert_smoothness_gte"),
        *("assert_convergence_ratio_lte", "assert_instability_events_lte"),
    },
}
"""Fields of an entry beyond those that every entry has; unknown ones are refused."""


def suite_problems(data: Any) -> Iterator[str]:
    """Every place at which a parsed suite is not of the public format, which refuses unknown keys."""
    yield from _surplus("", data, {"version", "models", "defaults", "suite", "dlm_source"})
    if data.get("version", 1) != 1:
        yield "version"
    for side in ("base", "ft"):
        yield from _surplus(f"models.{side}", data["models"][side], _MODEL)
    yield from _surplus("defaults", data.get("defaults", {}), _DEFAULTS)
    for entry in data.get("suite", []):
        at = entry["name"]
        if entry["kind"] not in KINDS:
            yield f"{at}: kind {entry['kind']}"
            continue
        yield from _surplus(at, entry, _ENTRY | KINDS[entry["kind"]])
        if not all(isinstance(p, str) for p in entry.get("prompts", [])):
            yield f"{at}.prompts"
        if entry["kind"] == "null_adapter" and not 1 <= entry.get("runs", 3) <= 10:
            yield f"{at}.runs"


def result_problems(data: Any) -> Iterator[str]:
    """Every place at which a parsed result is not of the public format; keys of its own may stand at the top only."""
    yield from _typed("", data, RESULT)
    if data["schema_version"] != 1:
        yield "schema_version"
    for key in ("started_at", "finished_at"):
        if datetime.fromisoformat(data[key]).tzinfo is None:
            yield f"{key}: no offset"
    if (d := data["determinism"]) is not None:
        yield from _typed("determinism", d, {"class": (str,), "seed": (int,), "notes": (list,)}, exact=True)
    yield from _typed("score", data["score"], SCORE, exact=True)
    for part in ("components", "weights"):
        yield from (f"score.{part}.{k}" for k in data["score"][part] if k not in CATEGORIES)
    for kind, stats in data["null_stats"].items():
        yield from _typed(f"null_stats.{kind}", stats, dict.fromkeys(("mean", "std", "n", "degenerate"), (float,)))
    for probe in data["probes"]:
        at = probe["name"]
        yield from _typed(at, probe, PROBE, exact=True)
        if probe["verdict"] not in VERDICTS:
            yield f"{at}.verdict"
        ci = probe["ci_95"]
        if ci is not None and not (len(ci) == 2 and all(_is(v, NUMBER) for v in ci)):
            yield f"{at}.ci_95"
        if probe["verdict"] in ("pass", "fail"):
            yield from _typed(f"{at}.evidence", probe["evidence"], EVIDENCE.get(probe["kind"], {}))
    yield from _non_finite("", data)


def trace_problems(line: Any) -> Iterator[str]:
    """Every key at which a parsed line of a trace is not of the public format; more keys are passed over."""
    yield from _typed("", line, TRACE)
    if line["op"] not in OPS:
        yield "op"
    if not re.fullmatch(r"[0-9a-f]{12}", line["prompt_hash"]):
        yield "prompt_hash"


def _surplus(at: str, data: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    yield from (f"{at}.{key}".lstrip(".") for key in data if key not in known)


def _typed(
    at: str, data: Mapping[str, Any], wanted: Mapping[str, tuple[type, ...]], *, exact: bool = False
) -> Iterator[str]:
    for key, kinds in wanted.items():
        if key not in data:
            yield f"{at}.{key} is missing"
        elif not _is(data[key], kinds):
            yield f"{at}.{key} is {type(data[key]).__name__}"
    if exact:
        yield from _surplus(at, data, set(wanted))


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _non_finite(at: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _non_finite(f"{at}.{key}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _non_finite(f"{at}[{index}]", inner)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{at} is not finite"
