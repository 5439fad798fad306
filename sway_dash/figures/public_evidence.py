"""Panels for results that bring none: evidence of the public format, by kind. A function a kind; none: a plain table.

Evidence comes from files of other programs: whatever is not as the format says is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sway_dash.core.foreign import number
from sway_dash.core.panels import MAX_ROWS, Curve, Group, Groups, Items, Row

Panel = Items | Curve | Groups
Evidence = Mapping[str, Any]


def from_public(kind: str, evidence: Evidence) -> list[Panel]:
    """What the evidence of a public kind can be drawn as; empty where it cannot."""
    draw = _BY_KIND.get(kind)
    if draw is None:
        return []
    try:
        return [panel for panel in draw(evidence) if _holds(panel)]
    except (TypeError, ValueError, AttributeError, OverflowError):
        return []


def _holds(panel: Panel) -> bool:
    if isinstance(panel, Items):
        return any(r.base is not None or r.tuned is not None for r in panel.rows)
    return any(v is not None for v in (panel.y if isinstance(panel, Curve) else [g.value for g in panel.groups]))


# -- reading ------------------------------------------------------------------------------------


def _list(evidence: Evidence, key: str) -> Sequence[Any]:
    found = evidence.get(key)
    return found[:MAX_ROWS] if isinstance(found, list | tuple) else ()


def _records(evidence: Evidence, key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return ((k, item) for k, item in enumerate(_list(evidence, key)) if isinstance(item, Mapping))


def _text(value: Any, fallback: str = "") -> str:
    return value if isinstance(value, str) and value else fallback


def _curve(evidence: Evidence, x: str, y: str, **words: Any) -> list[Panel]:
    points = [(a, number(b)) for a, b in zip(_list(evidence, x), _list(evidence, y), strict=False)]
    known = [(float(a), b) for a, b in points if number(a) is not None]
    return [Curve(x=tuple(a for a, _ in known), y=tuple(b for _, b in known), **words)]


def _name(evidence: Evidence) -> str:
    return "KL" if evidence.get("divergence_kind") == "kl" else "JS"


# -- kinds --------------------------------------------------------------------------------------


def _delta_kl(e: Evidence) -> list[Panel]:
    prompts = _list(e, "prompts")
    values = [number(v) for v in _list(e, "per_prompt")]
    rows = tuple(
        Row(label=_text(prompts[k] if k < len(prompts) else None, f"prompt {k + 1}"), tuned=v)
        for k, v in enumerate(values)
    )
    return [Items(title=f"{_name(e)} divergence of every prompt", unit="nats", better="higher", rows=rows)]


def _ablation(e: Evidence) -> list[Panel]:
    words = {"title": "Divergence by adapter strength", "x_label": "λ", "y_label": f"mean {_name(e)}, nats"}
    return _curve(e, "lambdas", "mean_divergence_per_lambda", **words)


def _revert(e: Evidence) -> list[Panel]:
    rows = []
    for k, case in _records(e, "per_case"):
        gold, base = number(case.get("cos_ft_gold")), number(case.get("cos_ft_base"))
        lead = None if gold is None or base is None else gold - base
        reverted = case.get("reverted")
        flag = "bad" if reverted is True else "good" if reverted is False else ""
        rows.append(Row(label=_text(case.get("prompt"), f"case {k + 1}"), tuned=lead, flag=flag))
    unit = "cosine to the gold answer less cosine to the base's"
    return [Items(title="Nearer to the gold answer than to the base's", unit=unit, better="higher", rows=tuple(rows))]


def _collapse(e: Evidence) -> list[Panel]:
    words = {"title": "Divergence behind a longer context", "x_label": "tokens before the prompt"}
    return _curve(e, "context_lengths", "mean_divergence_per_length", y_label=f"mean {_name(e)}, nats", **words)


def _clusters(e: Evidence) -> list[Panel]:
    sizes, named = _list(e, "per_cluster_size"), _list(e, "cluster_exemplars")
    groups = []
    for k, value in enumerate(_list(e, "per_cluster_mean_kl")):
        own = named[k] if k < len(named) and isinstance(named[k], list | tuple) else ()
        n = sizes[k] if k < len(sizes) and isinstance(sizes[k], int) else None
        groups.append(Group(label=_text(own[0] if own else None, f"cluster {k + 1}"), value=number(value), n=n))
    title = f"Mean {_name(e)} divergence of every cluster"
    return [Groups(title=title, unit="nats", groups=tuple(groups), note="named by their first prompt")]


def _sections(e: Evidence) -> list[Panel]:
    rows = tuple(
        Row(
            label=" ".join(filter(None, (_text(s.get("section_id"), f"section {k + 1}"), _text(s.get("tag"))))),
            base=number(s.get("base_nll")),
            tuned=number(s.get("ft_nll")),
            flag="good" if s.get("passed") is True else "bad" if s.get("passed") is False else "",
            note=_text(s.get("kind")),
        )
        for k, s in _records(e, "per_section")
    )
    return [Items(title="Surprise at every section", unit="nats a token", better="lower", rows=rows)]


def _paraphrases(e: Evidence) -> list[Panel]:
    found = {"as trained": e.get("verbatim_lift_mean"), "paraphrased": e.get("paraphrase_lift_mean")}
    groups = tuple(Group(label=label, value=number(v)) for label, v in found.items())
    return [Groups(title="How much likelier the gold answer got", unit="nats a token", groups=groups)]


_STYLE = (
    "words a sentence",
    "spread of sentence length",
    "distinct words",
    "word length",
    "punctuation",
    "paragraphs",
    "passive voice",
    "part-of-speech entropy",
    "syllables",
)


def _style(e: Evidence) -> list[Panel]:
    base, tuned, doc = (_list(e, key) for key in ("base_fp", "ft_fp", "doc_fp"))
    rows = []
    for k, values in enumerate(zip(base, tuned, strict=False)):
        own = number(doc[k]) if k < len(doc) else None
        note = "" if own is None else f"document {own:.3g}"
        label = _STYLE[k] if k < len(_STYLE) else f"feature {k + 1}"
        rows.append(Row(label=label, base=number(values[0]), tuned=number(values[1]), note=note))
    return [Items(title="Features of style", unit="scaled", rows=tuple(rows))]


def _drift(e: Evidence) -> list[Panel]:
    threshold = number(e.get("regression_nats_threshold"))
    rows = tuple(
        Row(label=_text(i.get("prompt"), f"item {k + 1}"), tuned=number(i.get("delta")), note=_text(i.get("gold")))
        for k, i in _records(e, "worst_offenders")
    )
    gate = None if threshold is None else -threshold
    title, unit = "Facts that lost most", "change of the log-probability, nats a token"
    return [Items(title=title, unit=unit, better="higher", gate=gate, rows=rows)]


def _leakage(e: Evidence) -> list[Panel]:
    rows = []
    for k, section in _records(e, "per_section"):
        perturbed = number(section.get("perturbed_recall"))
        note = "" if perturbed is None else f"{perturbed:.3g} from a perturbed beginning"
        label = _text(section.get("section_id"), f"section {k + 1}")
        rows.append(Row(label=label, tuned=number(section.get("clean_recall")), note=note))
    return [Items(title="Recited from the beginning of a section", unit="share", better="lower", rows=tuple(rows))]


def _perplexity(e: Evidence) -> list[Panel]:
    values = _list(e, "per_chunk_delta")
    rows = tuple(Row(label=f"chunk {k + 1}", tuned=number(v)) for k, v in enumerate(values))
    unit = "change of the log-probability, nats a token"
    return [Items(title="Every chunk of foreign text", unit=unit, better="higher", rows=rows)]


def _tools(e: Evidence) -> list[Panel]:
    valid = Row(
        label="valid calls", base=number(e.get("json_valid_rate_base")), tuned=number(e.get("json_valid_rate_ft"))
    )
    wrong = Row(label="calls of a wrong tool", tuned=number(e.get("hallucination_rate")))
    return [Items(title="Tool calls", unit="share", rows=(valid, wrong))]


def _turns(e: Evidence) -> list[Panel]:
    words = {"title": "Divergence by turn", "x_label": "turn", "y_label": f"mean {_name(e)}, nats"}
    return _curve(e, "turns_axis", "per_turn_kls", **words)


def _layers(e: Evidence) -> list[Panel]:
    groups = tuple(
        Group(label=f"layer {w.get('layer', k)}", value=number(w.get("ratio")), flag="bad")
        for k, w in _records(e, "worst_layers")
    )
    return [Groups(title="Layers furthest behind", unit="times the steadiest layer", groups=groups)]


def _loss(e: Evidence) -> list[Panel]:
    pairs = [p for p in _list(e, "curve_sampled") if isinstance(p, list | tuple) and len(p) == 2]
    steps = {"step": [p[0] for p in pairs], "loss": [p[1] for p in pairs]}
    return _curve(steps, "step", "loss", title="Training loss", x_label="step", y_label="loss")


_BY_KIND: dict[str, Callable[[Evidence], list[Panel]]] = {
    "delta_kl": _delta_kl,
    "adapter_ablation": _ablation,
    "adapter_revert": _revert,
    "prompt_collapse": _collapse,
    "cluster_kl": _clusters,
    "section_internalization": _sections,
    "paraphrase_invariance": _paraphrases,
    "style_fingerprint": _style,
    "calibration_drift": _drift,
    "leakage": _leakage,
    "external_perplexity": _perplexity,
    "tool_use_fidelity": _tools,
    "multi_turn_coherence_decay": _turns,
    "gradient_ghost": _layers,
    "training_drift": _loss,
}
