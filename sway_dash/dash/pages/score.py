"""The composite score: what it is made of, and what it would be with other thresholds and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.result import ProbeResult, SwayScore
from sway_dash.dash.components import column, figure, html, set_html
from sway_dash.dash.copy_button import CopyButton
from sway_dash.dash.fields import FormField, read, show
from sway_dash.dash.off_loop import off_loop
from sway_dash.dash.pages.form_widgets import Fold
from sway_dash.dash.state import RunState
from sway_dash.dash.what_if import WhatIf
from sway_dash.figures.evidence import SIGNS
from sway_dash.figures.markup import table
from sway_dash.figures.plots.score import score_bar, set_score
from sway_dash.figures.score_columns import BANDS, Part, left_out, partial, parts
from sway_dash.figures.theme import DASH, count, esc, number, percent, var, visible

MADE_OF = (
    "A probe's score, 0 to 1, says how far it is from doing nothing to doing what was asked. A category is the mean of"
    " its probes by weight, the composite the mean of the categories by weight. It is a summary and no test: the"
    " verdict above does not come from it."
)


class ScoreView(pn.viewable.Viewer):
    """One line; behind it the parts of the score, and behind another one fields to try other settings in."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.what = WhatIf(run=self.run, background=off_loop)
        self.plot = score_bar()
        self._sentence = html(css_classes=["sway-hook-score"])
        self._table = html(css_classes=["sway-hook-score-parts"])
        self._left_out = html(css_classes=["sway-hook-score-left-out"])
        self._try = Fold("Try other thresholds and weights", self._fields)
        self._editor = column(gap=0)
        self._outcome = html(css_classes=["sway-hook-score-outcome"], margin=(14, 0, 6, 0))
        self._waiting = html('<p class="sway-caption" role="status">Judging again…</p>', visible=False)
        self._copy = CopyButton(make=self.what.snippet, label="Copy for sway.yaml")
        self._reset = pmui.Button(label="Reset", variant="text", size="small", margin=0)
        self._reset.on_click(lambda _: self.what.reset())
        self._buttons = pn.FlexBox(self._reset, self._copy, margin=0, gap="10px", align_items="center", visible=False)
        self._inputs: dict[tuple[str, str], Any] = {}
        self._fold = Fold("", self._parts)
        self._fold.param.watch(lambda _: self._refresh(), "open")
        self._root = column(self._fold, css_classes=["sway-hook-score-section"])
        self.what.param.watch(lambda _: self._refresh(), "version")
        self.what.param.watch(lambda _: self._anew(), "epoch")
        self.what.param.watch(lambda e: self._waiting.param.update(visible=e.new), "busy")
        self.what.param.watch(lambda e: self._fill() if e.new and self._try.open else None, "looked")
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def _parts(self) -> Sequence[Any]:
        return [self._sentence, figure(self.plot), self._table, self._left_out, self._try]

    # -- what it is made of ---------------------------------------------------------------------

    def _refresh(self) -> None:
        what = self.what
        self._root.visible = what.there
        if not what.there:
            return
        self._fold.title = self._title()
        if not self._fold.open:
            return
        run = parts(what.recorded, what.recorded_score)
        other = parts(what.result, what.score) if what.changed else None
        with pn.io.hold():
            set_score(self.plot, run, other)
            self.plot.describe(_words(run, what.recorded_score, other, what.score))
            set_html(self._sentence, _sentence(what.recorded_score, bool(run)))
            set_html(self._table, _table(what, other if other is not None else run))
            set_html(self._left_out, self._missing())
            self._show()

    def _title(self) -> str:
        what = self.what
        title = f"Composite score {_headed(what.recorded_score, parts(what.recorded, what.recorded_score))}"
        if what.changed:
            title += f"; with your settings {_headed(what.score, parts(what.result, what.score))}"
        out, n = left_out(what.recorded, what.recorded_score, self._planned()), self._n()
        return f"{title} · {len(out)} of {count(n, 'probe')} not counted" if out else title

    def _planned(self) -> Any:
        return self.run.data.fold.planned

    def _n(self) -> int:
        return len({p.name for p in (*self._planned(), *self.what.recorded.probes)})

    def _missing(self) -> str:
        what = self.what
        out = left_out(what.result, what.score, self._planned())
        some = partial(what.result)
        text = ""
        if out:
            rows = "".join(f"<li>{esc(o.probe)} ({esc(o.kind)}): {esc(o.reason)}</li>" for o in out)
            head = f"{len(out)} of {count(self._n(), 'probe')} not counted; unknown is not zero."
            text = f'<p class="sway-caption">{head}</p><ul class="sway-remarks">{rows}</ul>'
        if some:
            names = ", ".join(map(esc, some))
            text += f'<p class="sway-caption">Over part of their prompts only: {names}.</p>'
        return text

    # -- other settings -------------------------------------------------------------------------

    def _fields(self) -> Sequence[Any]:
        self._fill()
        return [self._editor, self._waiting, self._outcome, self._buttons]

    def _anew(self) -> None:
        """Fields for another run."""
        self._inputs = {}
        self._editor.objects = []
        if self._try.open:
            self._fill()
        self._refresh()

    def _fill(self) -> None:
        """Make the fields of this run, once it is known which there are."""
        if not self.what.looked:
            text = "Looking which verdicts can be given anew…"
            self._editor.objects = [html(f'<p class="sway-caption" role="status">{text}</p>')]
            self.what.look()
            return
        items: list[Any] = [html(f'<p class="sway-caption">{_HOW}</p>')]
        for result in self.what.recorded.probes:
            fields = self.what.fields(result)
            reason = self.what.why_not(result)
            head = f"<b>{esc(result.name)}</b> {esc(result.kind)}"
            if reason:
                head += f". Its verdict stays: {esc(reason)}."
            items.append(html(f'<p class="sway-caption">{head}</p>', margin=(8, 0, 0, 0)))
            made = [self._input(result, field) for field in fields]
            items.append(_row(made))
        categories = self.what.categories()
        if categories:
            items.append(html('<p class="sway-caption"><b>Categories</b></p>', margin=(8, 0, 0, 0)))
            made = [self._weight(category) for category in categories]
            items.append(_row(made))
        self._editor.objects = items
        self._show()

    def _input(self, result: ProbeResult, field: FormField) -> Any:
        value, named = self.what.said(result.name, field)
        says = f"{'spec says' if named else 'default'} {visible(show(value, field))}"
        widget = pmui.TextInput(label=field.label, placeholder=visible(show(value, field)), **LOOK)
        key = (result.name, field.name)
        self._inputs[key] = (widget, "; ".join(p for p in (says, field.help) if p))
        widget.param.watch(lambda event: self.what.set(*key, read(event.new, field)), "value")
        return widget

    def _weight(self, category: str) -> Any:
        used = number(self.what.used.get(category, 0.0))
        widget = pmui.TextInput(label=f"weight of {category}", placeholder=used, **LOOK)
        self._inputs["", category] = (widget, f"the run was scored with {used}")
        field = FormField(category, "value", category)
        widget.param.watch(lambda event: self.what.set_weight(category, read(event.new, field)), "value")
        return widget

    def _show(self) -> None:
        """Bring fields and outcome in line with what is set."""
        what = self.what
        for key, (widget, words) in self._inputs.items():
            known = key in what.settings or (not key[0] and key[1] in what.weights)
            wrong = what.problems.get(key, "")
            changes = {"error_state": bool(wrong), "helper_text": visible(wrong or words)}
            if not known and str(widget.value).strip():
                changes |= {"value": "", "value_input": ""}
            changes = {name: v for name, v in changes.items() if getattr(widget, name) != v}
            if changes:
                widget.param.update(**changes)
        self._buttons.visible = bool(what.settings or what.weights)
        self._copy.visible = what.changed
        set_html(self._outcome, _outcome(what))


_HOW = (
    "Judged again from the stored measurements, by the probes themselves; nothing is measured and nothing is written to"
    " the run. An empty field is as in the run. Thresholds that are chosen after the numbers are known prove nothing:"
    " try them here, and run again with other prompts to be sure."
)


LOOK = {"size": "small", "width": 264, "margin": (6, 0, 0, 0), "max_length": 200, "description": ""}


def _row(widgets: Sequence[Any]) -> pn.FlexBox:
    return pn.FlexBox(*widgets, margin=0, gap="4px 18px", sizing_mode="stretch_width")


def _headed(score: SwayScore, found: Sequence[Part]) -> str:
    return f"{number(score.overall)}, {score.band}" if found else f"{DASH}, no probe counts"


def _sentence(score: SwayScore, counted: bool) -> str:
    if not counted:
        return '<p class="sway-caption">No probe counts, so there is no composite score.</p>'
    span, meaning = BANDS.get(score.band, ("", ""))
    head = f"<b>{number(score.overall)}, {esc(score.band)}</b> ({esc(span)}): {esc(meaning)}."
    return f'<p>{head}</p><p class="sway-caption">{esc(MADE_OF)}</p>'


def _words(run: Sequence[Part], score: SwayScore, other: Sequence[Part] | None, changed: SwayScore) -> str:
    def of(found: Sequence[Part], s: SwayScore) -> str:
        each = "; ".join(f"{visible(p.probe)} ({visible(p.category)}) adds {number(p.adds)}" for p in found)
        return f"{_headed(s, found)}. {each}".strip()

    text = f"Composite score {of(run, score)}."
    return text if other is None else f"{text} With your settings {of(other, changed)}."


def _table(what: WhatIf, found: Sequence[Part]) -> str:
    """The bar in numbers; with other settings those, beside what every part adds in the run."""
    before = {p.probe: p.adds for p in parts(what.recorded, what.recorded_score)} if what.changed else {}
    head = ["Part", "Score", "Weight", "Share", "Adds", *(["In the run"] if what.changed else [])]
    score = what.score
    rows: list[tuple[str, ...]] = []
    for i, category in enumerate(dict.fromkeys(p.category for p in found), 1):
        own = [p for p in found if p.category == category]
        share, adds = sum(p.share for p in own), sum(p.adds for p in own)
        weight, value = number(score.weights.get(category)), number(score.components.get(category))
        was = [number(sum(before.get(p.probe, 0.0) for p in own))] if what.changed else []
        cells = [f"{i} {esc(category)}", value, weight, percent(share), number(adds), *was]
        rows.append(tuple(f"<b>{c}</b>" for c in cells))
        for p in own:
            was = [number(before.get(p.probe))] if what.changed else []
            of = f"{number(p.weight)} of {number(p.of)}"
            rows.append((f"&emsp;{esc(p.probe)}", number(p.score), of, percent(p.share), number(p.adds), *was))
    numbers = table(head, rows, right=range(1, len(head)))
    return f'<div class="sway-numbers">{numbers}</div>' if rows else ""


def _outcome(what: WhatIf) -> str:
    """What is set, and what becomes of verdicts, score and answer."""
    if not what.changed:
        return ""
    old, new = ({p.name: p for p in suite.probes} for suite in (what.recorded, what.result))
    rows: list[tuple[str, ...]] = []
    for (name, field_name), value in what.settings.items():
        if (name, field_name) in what.problems or name not in new:
            continue
        field = next((f for f in what.fields(old[name]) if f.name == field_name), None)
        if field is None:
            continue
        says, named = what.said(name, field)
        told = f"{esc(show(says, field))}{'' if named else ' (default)'}"
        verdict = _verdict(old[name])
        if old[name].verdict is not new[name].verdict:
            verdict += f" → {_verdict(new[name])}"
        score = _became(old[name].score, new[name].score)
        rows.append(
            (esc(name), esc(field.label), told, esc(show(value, field)), verdict, score, esc(new[name].message))
        )
    for category, value in what.weights.items():
        if ("", category) not in what.problems:
            told, label = number(what.used.get(category)), f"weight of {esc(category)}"
            rows.append(("", label, told, number(float(value)), "", "", ""))
    head = ("Probe", "Setting", "Spec says", "You set", "Verdict", "Score", "What it says then")
    before, after = parts(what.recorded, what.recorded_score), parts(what.result, what.score)
    composite = f"Composite score: {_headed(what.recorded_score, before)} → {_headed(what.score, after)}."
    word, then = what.run.word, what.answer
    answer = f"The answer: {word} → {then.word}. {then.sentence}" if then.word != word else f"The answer stays {word}."
    lines = "\n".join(esc(line) for line in what.snippet().split("\n"))
    told = f'<p class="sway-settle" role="status">{esc(composite)} {esc(answer)}</p>'
    note = '<p class="sway-caption sway-settle">The lines of sway.yaml that differ, each in the entry of that name:</p>'
    return f"{table(head, rows, right=(5,))}{told}{note}<pre>{lines}</pre>"


def _verdict(result: ProbeResult) -> str:
    sign, tone, word = SIGNS[result.verdict]
    return f'<span style="color: {var(tone)}; white-space: nowrap">{sign} {word}</span>'


def _became(old: float | None, new: float | None) -> str:
    return number(old) if old == new else f"{number(old)} → {number(new)}"
