"""The words of a report: answer, probes, null, strength, what was measured on what and how. HTML without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from sway_dash.core.numbers import said, z_text
from sway_dash.core.result import SuiteResult, Verdict
from sway_dash.figures import ablation_columns as ac
from sway_dash.figures import null_columns as nc
from sway_dash.figures.derive import RunData
from sway_dash.figures.derive_ablation import shape
from sway_dash.figures.environment import rows as known
from sway_dash.figures.evidence import OWN_PAGE, SIGNS, tests_of, value_text
from sway_dash.figures.markup import legend, table, toned
from sway_dash.figures.theme import DASH, GLYPH, TONE, duration, esc, interval, number, visible
from sway_dash.report.html.drawn import Drawn
from sway_dash.report.html.evidence import section_of
from sway_dash.report.html.parts import caption, choices, exact, figure, folded, heading, words
from sway_dash.suite.headline import headline


def answer(result: SuiteResult, data: RunData, out: Drawn) -> str:
    """Word, sentence and reasons, beside the tuned mean among random adapters."""
    said = headline(result, entries=data.entries())
    word = f"{GLYPH.get(said.word, '')} {said.word[:1].upper()}{said.word[1:]}"
    text = f'<p class="sway-word">{esc(word)}</p><p class="sway-sentence">{esc(said.sentence)}</p>'
    if said.reasons:
        text += f'<ul class="sway-reasons">{"".join(f"<li>{esc(r)}</li>" for r in said.reasons)}</ul>'
    if said.settle:
        text += f'<p class="sway-settle"><b>What would settle it:</b> {esc(said.settle)}</p>'
    left = toned(TONE.get(said.word, "muted"), "sway-verdict", text)
    if "strip" not in out.words:
        return left
    marks = legend(
        ("●", "null", "one random adapter"), ("◆", "tuned", "tuned, 95 % interval"), ("dash", "threshold", "gate")
    )
    strip = f"<div>{heading('Against noise')}{figure('strip')}{marks}{words('strip', out.first('strip'))}</div>"
    return f'<div class="two wide-left">{left}{strip}</div>'


def probes(result: SuiteResult) -> str:
    """One row a probe."""
    rows = []
    for place, p in enumerate(result.probes):
        sign, tone, word = SIGNS[p.verdict]
        name = esc(p.name)
        if p.kind not in OWN_PAGE or p.verdict not in (Verdict.SKIP, Verdict.ERROR):
            name = f'<a class="sway-go" href="#{section_of(place, p.kind)}">{name}</a>'
        told = p.evidence.get("null")
        null = told if isinstance(told, Mapping) else {}
        z = "" if p.z_score is None else said("z", z_text(p.z_score))
        rows.append(
            (
                f'{name}<br><span class="sway-caption">{esc(p.kind)}</span>',
                f'<span style="color: var(--sway-{tone})">{sign} {word}</span>',
                exact(value_text(p), p.raw),
                esc(interval(p.ci_95)),
                esc(f"{z}, n = {null.get('n', '?')}") if z else DASH,
                esc(duration(p.duration_s)),
                esc(p.message),
            )
        )
    head = ("Probe", "Ended", "Value", "95 % interval", "Against null", "Time", "What it says")
    return table(head, rows, right=(2, 3, 5), css_class="probes") + _tests(result)


def _tests(result: SuiteResult) -> str:
    """p-values adjusted for how many there are; empty below two tests."""
    twin, told = tests_of(result)
    return f'<div class="tests"><div>{heading("Tests")}{caption(told)}</div>{twin}</div>' if twin else ""


def strength(data: RunData, out: Drawn) -> str:
    """The λ curve and the numbers its shape is judged by; empty without one."""
    if "strength" not in out.figures:
        return ""
    found = ""
    for k, (name, series) in enumerate(data.ablations.items()):
        result = data.finished.get(name)
        rows = [
            (
                f"<b>{esc(n.name)}</b>{caption('. '.join(filter(None, (n.words, n.note))))}",
                exact(number(n.value), n.value),
                esc(ac.ends(n)),
                esc(n.verdict),
            )
            for n in shape(series, data.entries().get(name, {}), result.evidence if result else {})
        ]
        told = result.message if result and result.message else ""
        shapes = table(("Shape", "Value", "Passes from", ""), rows, right=(1, 2), css_class="shape")
        html = (f'<p class="sway-sentence">{esc(told[:1].upper() + told[1:])}</p>' if told else "") + shapes
        for state in (f"{k}/nats", f"{k}/relative"):
            out.tell("shape", state, html)
        found = found or html
    names = [(str(k), visible(name)) for k, name in enumerate(data.ablations)]
    scales = (("nats", "divergence, nats"), ("relative", "relative to λ = 1"))
    marks = legend(
        ("line", "tuned", "mean"),
        ("bar", "tuned", "95 % interval, pointwise"),
        ("dot", "tuned", "95 % band, all λ at once"),
        ("dash", "threshold", "straight line"),
        ("dot", "accent", "fitted curve"),
        ("bar", "good", "where it passes"),
    )
    controls = choices("strength-of", "Probe", names) + choices("strength-scale", "Scale", scales)
    left = (
        f'<div class="controls">{controls}</div>{figure("strength")}{marks}{words("strength", out.first("strength"))}'
    )
    left += words("strength-table", out.first("strength-table"))
    return f'<div class="two wide-left"><div>{left}</div><div>{words("shape", found)}</div></div>'


def null(data: RunData, out: Drawn, entries: Sequence[str]) -> str:
    """Random adapters beside the tuned one."""
    if not entries:
        return f'<p class="sway-empty">{esc(nc.why_none(data, False))}</p>'
    controls = choices("null-of", "Null entry", [(str(k), name) for k, name in enumerate(entries)])
    controls += choices("null-scale", "Scale", (("all", "tuned and random"), ("random", "random only")))
    marks = legend(
        ("●", "null", "one random adapter"),
        ("◆", "tuned", "tuned"),
        ("bar", "null", "where the next one would fall, 95 %"),
        ("hatch", "muted", "rounding: the same model twice"),
        ("dash", "threshold", "gate"),
    )
    left = f'<div class="controls">{controls}</div>{figure("null")}{figure("null-ecdf")}{marks}'
    left += words("null-caption", out.first("null-caption")) + words("null-draws", out.first("null-draws"))
    floor = nc.same_twice(data)
    right = f"<div>{heading('How large they are')}{figure('norms')}{words('norms', out.first('norms'))}</div>"
    right += words("own-null", out.first("own-null"))
    right += words("ranks", out.first("ranks"))
    right += f"<div>{heading('The same model twice')}<p>{esc(floor)}</p></div>" if floor else ""
    head = words("null", out.first("null"))
    return f'{head}<div class="two wide-left"><div>{left}</div><div class="stack">{right}</div></div>'


# -- what was measured on what, and how ---------------------------------------------------------


def environment(result: SuiteResult, data: RunData) -> str:
    """Models, device and software."""
    about = asdict(result.determinism) if result.determinism is not None else {}
    about["class"] = about.pop("class_", "")
    rows = [("Status", result.status), ("Started", stamp(result.started_at)), ("Time", duration(result.wall_seconds))]
    if "base" not in result.environment:
        rows += [("Base model", visible(result.base_model_id)), ("Adapter", visible(result.adapter_id))]
    rows += known(result.environment, data.started, about if result.determinism is not None else None)
    return table(("", ""), [(esc(name), esc(value)) for name, value in rows if value], css_class="facts")


def stamp(moment: datetime) -> str:
    """A time of the run, in the zone that every reader knows."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment.timestamp() > 0 else DASH


def spec(text: str) -> str:
    """The suite as it was given."""
    return f'<pre tabindex="0">{esc_lines(text)}</pre>' if text else ""


def esc_lines(text: str) -> str:
    """Untrusted text of many lines."""
    return "\n".join(esc(line) for line in text.replace("\r\n", "\n").split("\n"))


def story(data: RunData) -> str:
    """What happened, in order; seconds since the start."""
    origin = data.started.ts if data.started else 0.0
    signs = {"info": "", "warning": "⚠ ", "error": "✕ "}
    rows = [(number(max(line.ts - origin, 0.0)), f"{signs[line.level]}{esc(line.text)}") for line in data.log]
    return folded(f"{len(rows):,} lines", table(("s", "What happened"), rows, right=(0,))) if rows else ""


def methods(result: SuiteResult, data: RunData) -> str:
    """How the numbers were made, in sentences that hold for this run."""
    return "<ul class='notes'>" + "".join(f"<li>{esc(note)}</li>" for note in _notes(result, data)) + "</ul>"


def _notes(result: SuiteResult, data: RunData) -> Iterator[str]:
    yield "JS: Jensen-Shannon divergence of the two next-token distributions, 0 to ln 2 = 0.693 nats."
    yield "KL(tuned‖base): Kullback-Leibler divergence of the tuned distribution from the base; no upper bound."
    rows = [m for s in data.series.values() for m in s.rows]
    if rows:
        rough = sum(not m.exact for m in rows)
        yield (
            f"{rough:,} of {len(rows):,} values come from the likeliest tokens alone and are known up to a bound."
            if rough
            else "Divergences are computed over the whole vocabulary."
        )
        if any(m.n_positions > 1 for m in rows):
            yield "A prompt measured at several positions has the mean over them; its interval is over the positions."
        if any(m.n_positions == 1 for m in rows):
            yield "A prompt measured at one position has no interval of its own: there is nothing it could vary over."
    yield (
        "Intervals of means: 95 % bootstrap-t over prompts (beyond some hundred of them t corrected for skewness, after"
        " Hall), clamped to the range of the divergence; none below 4 prompts. They are about prompts like these."
    )
    if any(s.null_sets for s in data.series.values()):
        yield (
            "Random adapters: the same matrices filled with noise. A prompt is above them if it moved more than under"
            " every one of them; ranks need 20 of them to reach p < 0.05."
        )
    if data.noise is not None:
        yield "Rounding: the largest divergence of a model from itself, once in a batch and once alone."
    if data.ablations:
        yield "λ scales the adapter: 0 is the base, 1 the adapter as trained."
    if any(p.kind == "delta_kl" for p in result.probes):
        yield "Token colours: how differently the two models predicted that token from the text before it."
    if tests_of(result)[0]:
        yield "Verdicts are of each probe alone; the table of tests adjusts the p-values for how many there are."
    else:
        yield "Verdicts are of each probe alone: there is one test at most, so no p-value needs to be adjusted."


def folded_log(data: RunData) -> str:
    """Heading and lines of the log; empty without any."""
    told = story(data)
    return f"<div class='screen'>{heading('Log')}{told}</div>" if told else ""


def no_prompts() -> str:
    """What stands in the prompts' place when there are none."""
    return '<p class="sway-empty">This run has measured no prompt.</p>'
