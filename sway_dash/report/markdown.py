"""A suite result as Markdown: a fixed layout, so that two reports can be compared line by line.

Names, messages and findings are untrusted: pipes, line breaks, HTML tags and links in them are made harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore
from sway_dash.report import formats as f
from sway_dash.suite.headline import headline
from sway_dash.suite.multiplicity import RULE

if TYPE_CHECKING:
    from sway_dash.suite.gate import Gate

_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_PIPE = re.compile(r"(\\*)\|")


def to_markdown(suite: SuiteResult, score: SwayScore, *, gate: Gate | None = None) -> str:
    """Return the report of one suite result as Markdown text, with the decision of a ``gate`` where there is one."""
    return "\n".join(_lines(suite, score, gate)) + "\n"


def md_text(text: object) -> str:
    """Untrusted text for a line or a table cell: one line, no pipes, no HTML tags, no links."""
    return _TAG.sub(r"\\<", _no_pipes(f.one_line(text)).replace("](", r"]\("))


def md_code(text: object) -> str:
    """Untrusted text in code quotes, longer ones if it holds backticks itself; safe in a table cell."""
    inner = _no_pipes(f.one_line(text))
    if not inner:
        return f.EM_DASH
    ticks = "`" * (max((len(run) for run in re.findall(r"`+", inner)), default=0) + 1)
    blank = " " if inner.startswith("`") or inner.endswith("`") else ""
    return f"{ticks}{blank}{inner}{blank}{ticks}"


def md_table(header: Sequence[str], rule: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; cells must be escaped already."""
    yield _row(header)
    yield f"|{'|'.join(rule)}|"
    for row in rows:
        yield _row(row)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _no_pipes(text: str) -> str:
    # A backslash before the pipe would undo the escape: it is doubled.
    return _PIPE.sub(lambda m: m[1] * 2 + r"\|", text)


def _lines(suite: SuiteResult, score: SwayScore, gate: Gate | None) -> Iterator[str]:
    yield from ("# sway report", "")
    for label, text in _header(suite, score, gate):
        yield f"**{label}:** {text}  "
    yield ""
    if suite.warnings:
        yield from ("## Warnings", "", *(f"- {md_text(w)}" for w in suite.warnings), "")
    yield from ("## Components", "")
    yield "| category | score | weight | |"
    yield "|---|---:|---:|---|"
    for category, value, weight in f.component_rows(score):
        informational = "(informational, weight=0)" if weight == 0 else ""
        yield f"| {md_text(category)} | {f.format_score(value)} | {f.format_score(weight)} | {informational} |"
    yield from ("", "## Probes", "")
    header = ("name", "kind", "verdict", "score", "raw", "ci95", "z", "duration", "note")
    rule = ("---", "---", "---", "---:", "---:", "---:", "---:", "---:", "---")
    yield from md_table(header, rule, map(_probe_row, suite.probes))
    yield from _tests(suite)
    if score.findings:
        yield from ("", "## Top findings", "", *(f"- {md_text(x)}" for x in score.findings))
    yield from _roll_ups(suite)
    yield from _clusters(suite)


def _header(suite: SuiteResult, score: SwayScore, gate: Gate | None) -> Iterator[tuple[str, str]]:
    if gate is not None:
        yield "Gate", md_text(f.gate_words(gate))
    if suite.run_id:
        said = headline(suite)
        yield (
            "Answer",
            " ".join(md_text(part) for part in (f"{said.word}.", said.sentence, *said.reasons, said.settle) if part),
        )
    # Of a run of ours with the words in ours; a bare result keeps the lines of the public format.
    meaning = f.band_words(score.band) if suite.run_id and score.components else ""
    yield "Overall", f"{f.format_score(score.overall)} ({md_code(score.band)}) {meaning}".rstrip()
    if suite.status != "finished":
        yield "Status", f"{md_code(suite.status)}, the numbers cover only what was measured until then"
    yield "Base", md_code(suite.base_model_id)
    yield "Adapter", md_code(f.adapter_label(suite.adapter_id))
    yield "Wall", f.format_duration_s(suite.wall_seconds)
    if suite.determinism is not None:
        repeats = f.REPEATS.get(suite.determinism.class_, "") if suite.run_id else ""
        told = f"{md_code(suite.determinism.class_)} (seed={suite.determinism.seed})"
        yield "Determinism", f"{told}: {repeats}" if repeats else told
    if cache := f.cache_line(suite):
        yield "Backend", cache


def _probe_row(probe: ProbeResult) -> tuple[str, ...]:
    return (
        md_text(probe.name),
        md_code(probe.kind),
        probe.verdict.value,
        f.format_score(probe.score),
        f.format_raw(probe.raw),
        f.format_ci(probe.ci_95),
        f.format_z(probe.z_score),
        f.format_duration_s(probe.duration_s),
        md_text(f.note(probe)),
    )


def _tests(suite: SuiteResult) -> Iterator[str]:
    rows = list(f.effect_rows(suite))
    if not rows:
        return
    yield from ("", "## Tests", "", f"{len(rows)} probes were tested together. {RULE}", "")
    header, rule = ("name", "effect", "ci95", "p", "p (Holm)", "q"), ("---", *["---:"] * 5)
    yield from md_table(header, rule, ([md_text(cell) for cell in row] for row in rows))


def _roll_ups(suite: SuiteResult) -> Iterator[str]:
    if extras := f.collect_missing_extras(suite):
        yield from ("", "## Skipped probes", "", f.skipped_sentence(suite), "", "```", f.install_line(extras), "```")
    if reasons := f.null_opt_out_reasons(suite):
        text = "These kinds of probe were not compared with random adapters:"
        yield from ("", "## Null-calibration opt-outs", "", text, "")
        for kind in sorted(reasons):
            yield f"- {md_code(kind)}" + (f": {md_text(reasons[kind])}" if reasons[kind] else "")
    if degenerate := f.collect_degenerate_null_kinds(suite):
        text = (
            "The null draws of these kinds do not vary, so no z can be formed; bump `runs:` of the null_adapter entry:"
        )
        yield from ("", "## Degenerate null calibration", "", text, "", *(f"- {md_code(k)}" for k in degenerate))


def _clusters(suite: SuiteResult) -> Iterator[str]:
    found = [p for p in suite.probes if p.kind == "cluster_kl" and p.evidence.get("per_cluster_mean_kl")]
    if found:
        yield from ("", "## Cluster breakdown (cluster_kl)")
    for probe in found:
        yield from ("", f"### {md_text(probe.name)}", "")
        rule = ("---:", "---:", "---:", "---")
        yield from md_table(("cluster", "size", "mean KL", "exemplars"), rule, _cluster_rows(probe.evidence))


def _cluster_rows(evidence: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    means, sizes, exemplars = (
        _as_list(evidence.get(key)) for key in ("per_cluster_mean_kl", "per_cluster_size", "cluster_exemplars")
    )
    for i, value in enumerate(means):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        size = md_text(sizes[i]) if i < len(sizes) else f.EM_DASH
        examples = "; ".join(md_text(x) for x in _as_list(exemplars[i])) if i < len(exemplars) else ""
        yield str(i), size, f.format_raw(value) if number else f.EM_DASH, examples or f.EM_DASH


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
