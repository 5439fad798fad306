"""A suite result on a terminal. Every text from outside is shown as it is, never read as rich markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore, Verdict
from sway_dash.report import formats as f
from sway_dash.suite.headline import headline
from sway_dash.suite.multiplicity import RULE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

BAR_CELLS = 10
WIDE = 140
"""Columns from which the notes fit beside the numbers."""
_BAND_STYLE = {"noise": "red", "partial": "yellow", "healthy": "green", "suspicious": "cyan"}
_VERDICT_STYLE = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.WARN: "yellow",
    Verdict.SKIP: "dim",
    Verdict.ERROR: "bold magenta",
}


def to_terminal(suite: SuiteResult, score: SwayScore, *, console: Console | None = None) -> None:
    """Print the report of one suite result to ``console``, or to standard output."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    out = console if console is not None else Console()

    def say(text: str, style: str = "") -> None:
        out.print(Text(f.printable(text), style=style), soft_wrap=False)

    answer = headline(suite)
    out.print(Text.assemble((f"{answer.word}: ", "bold"), f.one_line(answer.sentence)))
    for reason in (*answer.reasons, *filter(None, [answer.settle])):
        say(f"  {f.one_line(reason)}", "dim")
    names = f"base: {f.one_line(suite.base_model_id)}\nadapter: {f.one_line(f.adapter_label(suite.adapter_id))}"
    out.print(Panel(Text(names), title=Text("sway report"), title_align="left"))
    if suite.status != "finished":
        say(f"{suite.status}: the numbers cover only what was measured until then", "bold yellow")
    for warning in suite.warnings:
        say(f"! {f.one_line(warning)}", "yellow")
    out.print(_overall(score))
    out.print()
    out.print(_components(score))
    out.print()
    wide = out.width >= WIDE
    out.print(_probes(suite, notes=wide))
    if not wide:
        # A note column would be a few letters wide: the notes follow the table instead.
        for name, note in _notes(suite):
            out.print(Text.assemble((f"{name}: ", "bold"), note))
    if tests := list(f.effect_rows(suite)):
        out.print()
        out.print(_tests(tests))
        say(f"{len(tests)} probes were tested together. {RULE}", "dim")
    if score.findings:
        out.print()
        say("top findings:", "bold")
        for i, finding in enumerate(score.findings, start=1):
            say(f"  {i}. {f.one_line(finding)}")
    for text in _roll_ups(suite):
        say(text, "dim")
    out.print()
    say("  |  ".join(_footer(suite)), "dim")
    if suite.determinism is not None and suite.determinism.class_ in f.REPEATS:
        say(f"{f.printable(suite.determinism.class_)}: {f.REPEATS[suite.determinism.class_]}", "dim")


def _overall(score: SwayScore) -> Text:
    """The composite and its band; without a single score there is none."""
    from rich.text import Text

    if not score.components:
        return Text(f"overall: {f.EM_DASH}")
    band = f.printable(score.band)
    line = Text.assemble("overall: ", (f.format_score(score.overall), "bold"))
    line.append(f"  [ {band} ]", style=_BAND_STYLE.get(band, ""))
    if words := f.band_words(band):
        line.append(f"  {words}", style="dim")
    return line


def bar(value: float | None) -> str:
    """Ten cells, filled in proportion to a value in [0, 1]; empty when there is none."""
    share = min(max(value, 0.0), 1.0) if value is not None and f.format_score(value) != f.EM_DASH else 0.0
    full = round(share * BAR_CELLS)
    return "█" * full + "░" * (BAR_CELLS - full)


def _components(score: SwayScore) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for category, value, weight in f.component_rows(score):
        remark = f.NOT_COUNTED if weight == 0 else ""
        cells = (f.one_line(category), f.format_score(value), bar(value), remark)
        grid.add_row(*(Text(cell) for cell in cells))
    return grid


def _notes(suite: SuiteResult) -> list[tuple[str, str]]:
    return [(f.one_line(p.name), note) for p in suite.probes if (note := f.one_line(f.note(p)))]


def _probes(suite: SuiteResult, *, notes: bool) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("name", overflow="fold", min_width=6)
    table.add_column("kind", overflow="fold", min_width=6)
    table.add_column("verdict", no_wrap=True)
    for name in ("score", "raw", "ci95", "z"):
        table.add_column(name, justify="right", no_wrap=True)
    if notes:
        table.add_column("note", overflow="fold", ratio=1)
    for probe in suite.probes:
        table.add_row(*_cells(probe)[: len(table.columns)])
    return table


def _tests(rows: list[tuple[str, ...]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("test of", overflow="fold", min_width=6)
    for name in ("effect", "ci95", "p", "p (Holm)", "q"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(f.one_line(cell)) for cell in row))
    return table


def _cells(probe: ProbeResult) -> tuple[Text, ...]:
    from rich.text import Text

    return (
        Text(f.one_line(probe.name)),
        Text(f.one_line(probe.kind)),
        Text(probe.verdict.value, style=_VERDICT_STYLE[probe.verdict]),
        Text(f.format_score(probe.score)),
        Text(f.format_raw(probe.raw)),
        Text(f.format_ci(probe.ci_95)),
        Text(f.format_z(probe.z_score)),
        Text(f.one_line(f.note(probe))),
    )


def _roll_ups(suite: SuiteResult) -> list[str]:
    lines = []
    if extras := f.collect_missing_extras(suite):
        lines.append(f"{f.skipped_sentence(suite)} {f.install_line(extras)}")
    if reasons := f.null_opt_out_reasons(suite):
        kinds = (f"{kind} ({reasons[kind]})" if reasons[kind] else kind for kind in sorted(reasons))
        lines.append(f"not compared with random adapters: {f.one_line(', '.join(kinds))}")
    if degenerate := f.collect_degenerate_null_kinds(suite):
        text = "random adapters that do not differ from each other, so no z; raise `runs:` of null_adapter"
        lines.append(f"{text}: {f.one_line(', '.join(degenerate))}")
    return ["", *lines] if lines else []


def _footer(suite: SuiteResult) -> list[str]:
    parts = [f"wall: {f.format_duration_s(suite.wall_seconds)}", f"sway {suite.sway_version}"]
    if suite.determinism is not None:
        parts.append(f"det: {suite.determinism.class_} (seed={suite.determinism.seed})")
    if cache := f.cache_line(suite):
        parts.append(cache)
    return parts
