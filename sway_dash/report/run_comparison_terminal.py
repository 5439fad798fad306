"""Several runs against their baselines, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sway_dash.core.numbers import p_text
from sway_dash.core.result import Verdict
from sway_dash.report.compare import SIGNS, change_words, step_text
from sway_dash.report.formats import EM_DASH, adapter_label, format_score, one_line
from sway_dash.report.long_names import fit, lines
from sway_dash.report.paired import NAMES, signed, three_digits
from sway_dash.report.run_comparison import (
    LISTED,
    because,
    changed,
    listed,
    movers,
    notes,
    only_in_one,
    pair_labels,
    sentence,
    unchanged,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sway_dash.suite.compare import ProbeChange
    from sway_dash.suite.comparison import Comparison
    from sway_dash.suite.run_comparison import RunComparison, Step

BESIDE = 4
"""So many runs stand beside each other as columns of a table; more are its rows."""

SPELT_OUT = 6
"""So many paired comparisons are told in sentences on a terminal; more are rows of a table."""

PROMPT_CHARS = 70

OF_NUMBERS = 84
"""Columns that the numbers of a paired comparison take, and the gaps."""

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.WARN: "yellow",
    Verdict.SKIP: "dim",
    Verdict.ERROR: "bold magenta",
}


def to_terminal(
    found: RunComparison,
    *,
    console: Console,
    regression_threshold: float,
    display_threshold: float,
    top: int = LISTED,
) -> None:
    """Print the comparison. Text from outside is never read as markup."""
    from rich.padding import Padding
    from rich.text import Text

    def say(text: str, style: str = "", *, indent: str = "") -> None:
        console.print(Text(f"{indent}{one_line(text)}", style=style))

    matrix = found.matrix
    say(f"sway compare: {matrix.n_runs} runs", "bold")
    console.print(_runs(found, console.width))
    warned, told = notes(found)
    for text in warned:
        say(f"! {text}", "yellow")
    for text in told:
        say(text, "dim")
    console.print()
    wide = matrix.n_runs > BESIDE
    for at, table in enumerate(
        _by_run(found, console.width, display_threshold)
        if wide
        else [_by_probe(found, console.width, display_threshold)]
    ):
        if at:
            console.print()
        console.print(table)
    say(_falls(found), "dim")
    if fell := matrix.latest_regressions(regression_threshold):
        console.print()
        say(f"regressions (≥{regression_threshold:.2f} drop vs previous run)", "bold red")
        for name, delta in fell:
            say(f"{name}  {delta:+.3f}", indent="  ")
    for step in found.steps:
        if moved := list(changed(step)):
            base, run = pair_labels(found, step)
            console.print()
            say(f"{run} against {base}", "bold")
            for c in moved:
                say(f"{SIGNS[c.change]} {c.probe}  {change_words(c)}", "red" if c.worse else "", indent="  ")
                if said := because(found, step, c).removeprefix("; "):
                    console.print(Padding(Text(one_line(said), style="dim"), (0, 0, 0, 4)))
            if same := unchanged(step):
                say(f"{SIGNS['same']} {same}", "dim", indent="  ")
    _print_prompts(found, console, top)


def _falls(found: RunComparison) -> str:
    base, run = pair_labels(found, found.judged)
    changes = [c for c in found.judged.changes if c.probe in found.matrix.scores]
    some, more = (sum(c.fell(by) for c in changes) for by in (0.1, 0.2))
    return f"{run} against {base}: of {len(changes)} probes {some} fell by 0.10 or more, {more} by 0.20 or more"


def _print_prompts(found: RunComparison, console: Console, top: int) -> None:
    from rich.padding import Padding
    from rich.text import Text

    pairs = [(step, c) for step in found.steps for c in step.prompts]
    if not pairs:
        return
    console.print()
    console.print(Text("prompts", style="bold"))
    if len(pairs) > SPELT_OUT:
        console.print(_paired_table(found, pairs, console.width))
    else:
        for step, comparison in pairs:
            base, run = pair_labels(found, step)
            told = f"{run} against {base}, {sentence(found, step, comparison)}"
            console.print(Padding(Text(one_line(told)), (0, 0, 0, 2)))
    step = found.judged
    for comparison in step.prompts:
        if largest := list(movers(comparison, top)):
            console.print(_movers(found, comparison, largest, console.width))
        for label, prompts in only_in_one(found, step, comparison):
            shown = [f"“{_short(p)}”" for p in prompts]
            console.print(Text(f"  only in {one_line(label)}: {listed(shown, top)}", style="dim"))


def _runs(found: RunComparison, width: int) -> Table:
    from rich.text import Text

    table = _table("run", "ended", "state", "adapter", "base")
    names = [
        [one_line(run.label) for run in found.runs],
        [one_line(adapter_label(run.adapter)) if run.adapter else EM_DASH for run in found.runs],
        [one_line(adapter_label(run.side.base)) if run.side.base else EM_DASH for run in found.runs],
    ]
    for run, label, adapter, base in zip(found.runs, *fit(names, width - 36), strict=True):
        ended = f"{run.result.finished_at:%Y-%m-%d %H:%M}" if run.result.finished_at.year > 1970 else EM_DASH
        table.add_row(*map(Text, (label, ended, run.side.status, adapter, base)))
    return table


def _by_probe(found: RunComparison, width: int, threshold: float) -> Table:
    """Probes in rows, runs beside each other, and what became of each from its baseline."""
    from rich.text import Text

    matrix = found.matrix
    steps = [f"Δ {'→'.join(pair_labels(found, step))}" for step in found.steps]
    rows = [one_line(name) for name in (*matrix.probe_names, "composite")]
    heads = [[one_line(head)] for head in (*matrix.labels, *steps)]
    rows, *shown = fit([rows, *heads], width - 2 * (len(heads) + 1))
    table = _table("probe", *(head for (head,) in shown), right=len(heads))
    for at, name in enumerate((*matrix.probe_names, "composite")):
        composite = at == len(matrix.probe_names)
        scores = matrix.composite_series if composite else matrix.scores[name]
        verdicts = [None] * matrix.n_runs if composite else matrix.verdicts[name]
        cells = [_score_text(s, v) for s, v in zip(scores, verdicts, strict=True)]
        changes = (step.changes[at] for step in found.steps)
        label = Text(rows[at], style="bold" if composite else "")
        table.add_row(label, *cells, *(_change_text(c, threshold) for c in changes))
    return table


def _by_run(found: RunComparison, width: int, threshold: float) -> Iterator[Table]:
    """Runs in rows, probes beside each other as far as they fit, in as many tables as it takes."""
    from rich.text import Text

    matrix = found.matrix
    (labels,) = fit([list(map(one_line, matrix.labels))], width // 3)
    room = max(1, (width - min(width // 3, max(map(len, matrix.labels))) - 26) // 14)
    names = list(matrix.probe_names)
    by_run = {step.run: step for step in found.steps}
    for start in range(0, max(len(names), 1), room):
        own = names[start : start + room]
        table = _table("run", "composite", "Δ", *(lines(one_line(name), 12) for name in own), right=len(own) + 2)
        for i, label in enumerate(labels):
            change = by_run[i].changes[-1] if i in by_run else None
            table.add_row(
                Text(label),
                format_score(matrix.composite_series[i]),
                _change_text(change, threshold) if change else EM_DASH,
                *(_score_text(matrix.scores[n][i], matrix.verdicts[n][i]) for n in own),
            )
        yield table


def _paired_table(found: RunComparison, pairs: Sequence[tuple[Step, Comparison]], width: int) -> Table:
    from rich.text import Text

    heads = ("probe", "run", "against", "n", "mean Δ (nats)", "95 % CI", "more", "same", "less", "p (Holm)")
    table = _table(*heads, left=3)
    names = [(c.probe or EM_DASH, *reversed(pair_labels(found, step))) for step, c in pairs]
    columns = fit([list(map(one_line, column)) for column in zip(*names, strict=True)], width - OF_NUMBERS)
    for (_, comparison), *named in zip(pairs, *columns, strict=True):
        stats = comparison.contrasts[0].stats
        ci = f"{signed(stats.ci[0])} to {signed(stats.ci[1])}" if stats.ci else EM_DASH
        counts = (f"{n:,}" for n in (stats.up, stats.same, stats.down))
        cells = (f"{stats.n:,}", signed(stats.mean), ci, *counts, p_text(stats.p_holm))
        table.add_row(*map(Text, (*named, *cells)))
    return table


def _movers(
    found: RunComparison, comparison: Comparison, largest: Sequence[tuple[float, float, float, str]], width: int
) -> Table:
    from rich.text import Text

    prompts = max(len(_short(prompt)) for *_, prompt in largest)
    labels = [[one_line(label)] for label in pair_labels(found, found.judged)]
    (base,), (run,) = fit(labels, width - prompts - 16)
    table = _table(f"Δ{NAMES[comparison.metric]}", base, run, f"largest differences of {comparison.probe}")
    for column in table.columns[:3]:
        column.justify = "right"
    for delta, before, after, prompt in largest:
        table.add_row(signed(delta), three_digits(before), three_digits(after), Text(_short(prompt)))
    return table


def _table(*heads: str, right: int = 0, left: int | None = None) -> Table:
    """A plain table; the last ``right`` columns, or all after the first ``left``, are numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    first = len(heads) - right if left is None else left
    for i, head in enumerate(heads):
        table.add_column(
            Text("\n".join(map(one_line, head.split("\n")))), justify="right" if i >= first else "left", overflow="fold"
        )
    return table


def _score_text(score: float | None, verdict: Verdict | None) -> Text:
    from rich.text import Text

    if verdict is None:
        return Text(format_score(score))
    return Text.assemble(f"{format_score(score)} ", (f"{verdict.value:<5}", _STYLES[verdict]))


def _change_text(change: ProbeChange, threshold: float) -> Text:
    """A difference of scores; only one that somebody would act on has a colour."""
    from rich.text import Text

    large = change.delta is not None and abs(change.delta) >= max(threshold, 5e-5) - 1e-9
    style = ("red" if (change.delta or 0.0) < 0 else "green") if large else ""
    return Text(f"{step_text(change.delta)} {SIGNS[change.change]}", style="red" if change.worse else style)


def _short(prompt: str) -> str:
    text = one_line(prompt)
    return text if len(text) <= PROMPT_CHARS else f"{text[: PROMPT_CHARS - 1]}…"
