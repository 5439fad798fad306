"""Two to eight runs against one of them as one HTML file: the numbers and figures of the Compare page.

The runs are redacted as records before they are compared, all of them with the same names: a prompt that two runs share
is the same P001 in both, and every number is that of the runs as they are.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sway_dash.core.divergence import Divergence
from sway_dash.core.events import Measurement
from sway_dash.figures import compare_columns as columns
from sway_dash.figures import compare_drawing as drawing
from sway_dash.figures.markup import legend, table, toned
from sway_dash.figures.plots import Plot
from sway_dash.figures.plots import paired as plots
from sway_dash.figures.plots.checkpoints import checkpoint_course
from sway_dash.figures.theme import DASH, count, esc, number, visible
from sway_dash.report.html import compare_tables as tables
from sway_dash.report.html.compare_elsewhere import Asked
from sway_dash.report.html.page import page
from sway_dash.report.html.parts import caption, choices, figure, heading, section
from sway_dash.report.html.process import on_disk
from sway_dash.report.html.redact import WORDS, Redaction, checked
from sway_dash.report.html.sides import called, sides_of
from sway_dash.report.html.source import Source, source_of
from sway_dash.report.paired import NAMES, letters, mismatch_line, remarks, significance, summary
from sway_dash.suite.checkpoints import Checkpoints, course, ordered
from sway_dash.suite.comparable import mismatches
from sway_dash.suite.comparison import Comparison, Contrast, Side, compare
from sway_dash.suite.fold import Fold

if TYPE_CHECKING:
    from sway_dash.figures.opened import Run

LABEL_CHARS = 34


def compare_html(
    runs: Sequence[Run],
    *,
    baseline: int = 0,
    probe: str = "",
    metric: Divergence | None = None,
    redact: Redaction = "full",
    paths: bool = False,
) -> str:
    """The comparison report. The same runs give the same bytes.

    Parameters
    ----------
    runs
        Run folders, paths to them or to result files, or results; in the order of their letters.
    baseline
        Place of the run the others are compared with.
    probe, metric
        What is compared; by default the probe that most runs share, and the divergence the baseline judges it by.

    Raises
    ------
    SwayError
        For a path that is no run, fewer than 2 or more than 8 runs, or a baseline that is none of them.
    """
    if "panel" in sys.modules:
        # Panel changes what Bokeh writes: another process does the work.
        with tempfile.TemporaryDirectory() as folder:
            places = [on_disk(run, Path(folder) / str(i)) for i, run in enumerate(runs)]
            asked = Asked(places, baseline=baseline, probe=probe, metric=metric, paths=paths)
            return asked.write(Path(folder) / "compare.html", checked(redact)).read_text(encoding="utf-8")
    sources = [source_of(run) for run in runs]
    sides = sides_of(sources, checked(redact), paths=paths)
    comparison = compare(sides, baseline=baseline, probe=called(sources, probe, checked(redact)), metric=metric)
    labels = letters(len(sides))
    # By the paths of their adapters, which may not leave.
    report = _Report(comparison, labels, ordered([_unmeasured(source) for source in sources]))
    title = "Comparison: " + ", ".join(
        f"{label} {visible(side.name)}" for label, side in zip(labels, sides, strict=True)
    )
    return page(
        title,
        report.body(checked(redact)),
        report.figures,
        report.data(),
        scripts=("compare.js",),
        styles=("compare.css",),
        kicker=f"{count(len(sides), 'run')}, baseline {labels[baseline]} · {WORDS[checked(redact)]}",
        nav=report.nav,
    )


def preview(
    runs: Sequence[Run],
    redact: Redaction = "full",
    lines: int = 20,
    *,
    baseline: int = 0,
    probe: str = "",
    metric: Divergence | None = None,
    paths: bool = False,
) -> str:
    """The first lines of what would leave: the runs, then prompts with their values."""
    sources = [source_of(run) for run in runs]
    sides = sides_of(sources, checked(redact), paths=paths)
    comparison = compare(sides, baseline=baseline, probe=called(sources, probe, checked(redact)), metric=metric)
    labels = letters(len(sides))
    found = [
        f"{label}: {visible(side.name)}; base {visible(side.base) or DASH}; adapter {visible(side.adapter) or DASH}"
        for label, side in zip(labels, sides, strict=True)
    ]
    for (text, _), tags, values in zip(
        comparison.alignment.keys, comparison.alignment.tags, comparison.values, strict=True
    ):
        if len(found) >= lines:
            break
        listed = f" [{', '.join(map(visible, tags))}]" if tags else ""
        known = ", ".join(f"{label} {number(float(v))}" for label, v in zip(labels, values, strict=True))
        found.append(f"{visible(text)}{listed}: {NAMES[comparison.metric]} {known}")
    return "\n".join(found[:lines])


def _unmeasured(source: Source) -> Side:
    """A run as it is, without its measurements."""
    fold = Fold().extend(event for event in source.events if not isinstance(event, Measurement))
    return Side(source.id, source.name, fold=fold)


@dataclass
class _Report:
    """Sections of the page, with the figures they hold."""

    comparison: Comparison
    labels: Sequence[str]
    checkpoints: Checkpoints | None

    def __post_init__(self) -> None:
        self.figures: dict[str, Plot] = {}
        self.nav: list[tuple[str, str]] = []

    def body(self, level: Redaction) -> str:
        """All sections in order."""
        found = [self._answer(), self._differences(), *map(self._pair, self.comparison.contrasts), self._course()]
        found += [self._table(), self._unpaired(), self._probes(), self._settings(), self._method(level)]
        return "".join(found)

    def data(self) -> dict[str, Any]:
        """What the table reads: every prompt with its values, differences and noise, at full precision."""
        comparison = self.comparison
        keys = comparison.alignment.keys
        return {
            "labels": list(self.labels),
            "baseline": comparison.baseline,
            "prompts": [text for text, _ in keys],
            "occurrence": [occurrence + 1 for _, occurrence in keys],
            "tags": [list(tags) for tags in comparison.alignment.tags],
            "values": [_known(column) for column in comparison.values.T],
            "contrasts": [
                {
                    "run": c.run,
                    "deltas": _known(c.deltas),
                    "way": c.direction.tolist(),
                    "floors": _known(c.floors),
                }
                for c in comparison.contrasts
            ],
        }

    def _section(self, name: str, title: str, inner: str, *, link: str = "", note: str = "") -> str:
        self.nav.append((name, link or title))
        return section(name, title, inner, caption=esc(note))

    def _answer(self) -> str:
        comparison, labels = self.comparison, self.labels
        sides = comparison.sides
        wrong = [mismatch_line(m, labels) for m in mismatches(sides, comparison.probe)]
        warning = ""
        if wrong:
            items = "".join(f"<li>{esc(line[:1].upper() + line[1:])}.</li>" for line in wrong)
            warning = toned("warn", "sway-banner", f"<b>Not quite comparable</b><ul>{items}</ul>")
        lines = "".join(
            f'<p class="sway-sentence sway-num"><b>{labels[c.run]}</b> {esc(sides[c.run].name)}:'
            f" {esc(summary(comparison, c, labels, number))}</p>"
            for c in comparison.contrasts
        )
        against = f"against {labels[comparison.baseline]}, {sides[comparison.baseline].name}"
        what = f"{comparison.probe}, {against}" if comparison.probe else against
        notes = " ".join(remarks(sides, labels))
        rows = [
            (f"{label}{' ★' if i == comparison.baseline else ''}", *tables.about(sides[i]))
            for i, label in enumerate(labels)
        ]
        runs = table(("Run", "Name", "Status", "Base", "Adapter", "Seed"), rows)
        return self._section("answer", "Answer", warning + caption(what) + lines + caption(notes) + runs)

    def _differences(self) -> str:
        comparison, labels = self.comparison, self.labels
        plot = self.figures["differences"] = plots.mean_differences()
        drawing.draw_differences(plot, comparison, labels)
        marks = legend(
            ("◆", "accent", "mean difference, 95 % interval"),
            ("bar", "null", "as far as random adapters' means lie apart"),
        )
        rows = [
            (
                labels[c.run],
                tables.precise(c.stats.mean, signed=True),
                tables.interval_cell(c.stats.ci, c.stats.ci_note),
                f"± {tables.precise(c.mean_floor)}",
                f"{c.stats.up:,} / {c.stats.same:,} / {c.stats.down:,}",
                esc(significance(c.stats, number)),
            )
            for c in comparison.contrasts
        ]
        head = ("Run", "Mean Δ, nats", "95 % interval", "Noise of a mean", "More / same / less", "Test and effect size")
        words = "Interval of the mean over these prompts; right of 0 the run moved them further from the base model."
        inner = figure("differences") + marks + caption(words) + table(head, rows, right=(1, 2, 3, 4))
        return self._section("differences", "Against the baseline", inner)

    def _pair(self, contrast: Contrast) -> str:
        comparison, labels = self.comparison, self.labels
        mode = columns.mode(comparison, contrast)
        name = f"pair-{labels[contrast.run]}"
        plot = self.figures[name] = {"slope": plots.slopes, "rows": plots.rows, "cloud": plots.cloud}[mode]()
        rows = drawing.pair_rows(mode, comparison, contrast)
        drawing.draw_pair(plot, mode, rows, comparison, contrast, labels, limit=LABEL_CHARS)
        marks = legend(
            ("▲", "tuned", "more changed than in the baseline"),
            ("▼", "base", "less changed"),
            ("●", "null", "same: within noise"),
        )
        inner = figure(name) + marks
        if mode == "cloud":
            bins = self.figures[f"bins-{labels[contrast.run]}"] = plots.difference_histogram()
            drawing.draw_histogram(bins, comparison, contrast)
            inner += figure(f"bins-{labels[contrast.run]}")
        told = f"{drawing.counts(comparison, contrast, labels)}. {drawing.noise_rule(comparison, mode)}"
        run, base = labels[contrast.run], labels[comparison.baseline]
        sides = comparison.sides
        note = f"{visible(sides[contrast.run].name)} against {visible(sides[comparison.baseline].name)}"
        title = f"{run} against {base}, prompt by prompt"
        return self._section(name, title, inner + caption(told), link=f"{run} against {base}", note=note)

    def _course(self) -> str:
        comparison = self.comparison
        found = course(comparison, self.checkpoints) if self.checkpoints is not None else None
        if found is None:
            return ""
        plot = self.figures["course"] = checkpoint_course()
        text = drawing.draw_course(plot, found, comparison, self.labels)
        marks = legend(
            ("line", "tuned", "mean"), ("bar", "tuned", "95 % interval, pointwise"), ("bar", "null", "random adapters")
        )
        note = "Every run is a checkpoint of one training run."
        return self._section("course", "Over training", figure("course") + marks + caption(text), note=note)

    def _table(self) -> str:
        comparison, labels = self.comparison, self.labels
        base = labels[comparison.baseline]
        pairs = [(str(k), f"{labels[c.run]} − {base}") for k, c in enumerate(comparison.contrasts)]
        menu = choices("contrast", "Difference", pairs)
        tags = comparison.alignment.tag_counts
        chips = "".join(
            f'<button type="button" class="chip" data-tag="{esc(tag)}" aria-pressed="false">{esc(tag)} {n:,}</button>'
            for tag, n in tags.items()
        )
        controls = (
            f'<div class="controls">{menu}<label class="control">Search <input type="search" data-search></label>'
            '<label class="control"><input type="checkbox" data-outside> only outside noise</label>'
            '<span role="status" data-count></span></div>'
            f'<div class="chips" role="group" aria-label="Tags">{chips}</div>'
        )
        inner = f'{controls}<div class="compared" data-compared></div>'
        return self._section("prompts", "All prompts", inner, note="Largest difference first; a click on a head sorts.")

    def _unpaired(self) -> str:
        comparison, labels = self.comparison, self.labels
        lacking = np.flatnonzero(np.isnan(comparison.values).any(axis=1)).tolist()
        if not lacking:
            return ""
        rows = []
        for place in lacking[: tables.MOST_UNPAIRED]:
            absent = np.isnan(comparison.values[place]).tolist()
            has = " ".join(label for label, lacks in zip(labels, absent, strict=True) if not lacks)
            why = "; ".join(f"{labels[i]}: {comparison.missing(i, place)}" for i, lacks in enumerate(absent) if lacks)
            rows.append((f"<bdi>{esc(comparison.alignment.keys[place][0])}</bdi>", has, esc(why)))
        more = len(lacking) - len(rows)
        rest = caption(f"{count(more, 'more prompt')} not listed.") if more else ""
        title = f"{count(len(lacking), 'prompt')} not in every run"
        note = "Listed, not dropped: no difference can be formed of them."
        inner = f'<div class="sway-long">{table(("Prompt", "In", "Not in"), rows)}</div>{rest}'
        return self._section("unpaired", title, inner, link="Not in every run", note=note)

    def _probes(self) -> str:
        note = (
            "Better or worse than the baseline by verdict, and where that is the same by score, from a difference of"
            " 0.10 on. A higher score is better."
        )
        return self._section("probes", "Probes", tables.probes(self.comparison, self.labels), note=note)

    def _settings(self) -> str:
        inner = tables.settings(self.comparison, self.labels)
        note = "Suites and environments, differences only."
        return self._section("settings", "What differs in the settings", inner, link="Settings", note=note)

    def _method(self, level: Redaction) -> str:
        items = "".join(f"<li>{esc(line)}</li>" for line in tables.METHOD)
        hidden = caption(f"Of the runs there is in this file: {WORDS[level]}.")
        return self._section("method", "How it was compared", heading("Method") + f"<ul>{items}</ul>" + hidden)


def _known(values: Any) -> list[float | None]:
    return [v if v == v else None for v in values.tolist()]
