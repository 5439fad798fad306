"""The open prompt: where it stands, its text token by token, what both models expected and said, its numbers."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.detail import PromptDetail
from sway_dash.core.events import Measurement
from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.copy_button import CopyButton
from sway_dash.dash.looks import Look
from sway_dash.dash.pages.distribution import Distribution
from sway_dash.dash.pages.generations import generations, readable
from sway_dash.dash.pages.token_view import TokenView
from sway_dash.dash.prompt_list import PromptList, Row
from sway_dash.dash.state import RunState, Selection
from sway_dash.dash.token_details import TokenDetails
from sway_dash.figures.columns import MARKS, WORDS
from sway_dash.figures.markup import heading, table
from sway_dash.figures.plots import Plot
from sway_dash.figures.snippets import as_json, as_python
from sway_dash.figures.theme import count, esc, interval, number, percent

LONGEST = 20_000
"""Characters of a prompt that are shown when its tokens are not known; the copy buttons have all of it."""


class DetailPane(pn.viewable.Viewer):
    """Follows ``choice.item`` and ``choice.token``; shows nothing when no prompt is open."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown: PromptList = param.ClassSelector(class_=PromptList)  # type: ignore[assignment]
    wanted = param.String(default="", doc="Prompt whose tokens somebody asked for; answered by `show_detail`.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        small: dict[str, Any] = {"size": "small", "margin": 0}
        self._back = pmui.IconButton(icon="arrow_upward", description="Previous prompt (K)", **small)
        self._forth = pmui.IconButton(icon="arrow_downward", description="Next prompt (J)", **small)
        self._close = pmui.IconButton(icon="close", description="Close (Esc)", **small)
        self._back.on_click(lambda _: self.previous())
        self._forth.on_click(lambda _: self.next())
        self._close.on_click(lambda _: self.shown.open(None))
        self._head = html(css_classes=["sway-hook-detail"])
        self._words = html(css_classes=["sway-hook-prompt"])
        self._look = pmui.Button(label="Look at every token", size="small", variant="outlined", margin=(4, 0))
        self._look.on_click(lambda _: self._ask())
        self._state = html(css_classes=["sway-hook-look"])
        self._unknown = column(self._words, self._look, self._state)
        self._text = TokenView()
        self._distribution = Distribution()
        self._known, self._next = column(self._text), column(self._distribution)
        self._said = html(css_classes=["sway-hook-generations"])
        self._numbers = html(css_classes=["sway-hook-numbers"])
        self._copies = pn.FlexBox(
            CopyButton(self.python, label="Copy as Python"),
            CopyButton(self.json, label="Copy as JSON"),
            margin=0,
            gap="10px",
            sizing_mode="stretch_width",
        )
        bar = pn.Row(self._head, self._back, self._forth, self._close, sizing_mode="stretch_width", margin=0)
        self._root = column(
            bar, self._unknown, self._known, self._next, self._said, self._numbers, self._copies, gap=18
        )
        self._details: TokenDetails | None = None
        self._of: tuple[Any, ...] = ()
        self._asked = ""
        self._problems: dict[str, str] = {}
        """Why there is no answer, by prompt."""
        self._open: int | None = None
        self._text.param.watch(lambda e: self._chosen(e.new), "token")
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        return self._distribution.plots

    @property
    def look(self) -> Look:
        """What the address says of the page."""
        return {
            "colour": (self._text, "layer"),
            "own": (self._text, "local"),
            "tokens": (self._distribution, "by"),
        }

    # -- moving ---------------------------------------------------------------------------------

    def next(self) -> None:
        """Open the next prompt in the order shown."""
        self.shown.open(self.shown.next_item(1))

    def previous(self) -> None:
        """Open the previous prompt in the order shown."""
        self.shown.open(self.shown.next_item(-1))

    def next_token(self) -> None:
        """Go to the next token of the text."""
        self._step(1)

    def previous_token(self) -> None:
        """Go to the previous token of the text."""
        self._step(-1)

    def _step(self, step: int) -> None:
        detail = self._text.detail
        if self._open is not None and detail is not None:
            self.choice.token = min(max(self._open + step, 0), len(detail.tokens) - 1)

    def _chosen(self, token: int | None) -> None:
        if token is not None:
            self.choice.token = token

    # -- copies ---------------------------------------------------------------------------------

    def python(self) -> str:
        """A program that measures the open prompt again; empty when it is not measured."""
        row = self.shown.row(self.choice.item)
        if row is None or row.m is None or self.run.folder is None:
            return ""
        entry = self.run.data.entries().get(row.m.probe, {})
        return as_python(self.run.folder.path, row.m, entry, seed=self.shown.series.seed)

    def json(self) -> str:
        """Everything that is known of the open prompt; empty when it is not measured."""
        row = self.shown.row(self.choice.item)
        if row is None or row.m is None:
            return ""
        return as_json(self.run.run_id, row.m, self._details.find(row.prompt) if self._details else None)

    # -- tokens that were asked for -------------------------------------------------------------

    def show_detail(self, detail: PromptDetail) -> None:
        """Take the answer to ``wanted``; it stays known as long as this run is open."""
        if self._details is not None:
            self._details.add(detail)
        self._problems.pop(detail.prompt, None)
        if detail.prompt == self._asked:
            self._asked = ""
        self._refresh()

    def show_problem(self, text: str) -> None:
        """Say why there is no answer to ``wanted``."""
        self._problems[self._asked], self._asked = text, ""
        self._refresh()

    def poll(self) -> None:
        """Look whether more was recorded; for ticks in which nothing else has changed."""
        if self.choice.item is not None:
            self._refresh()

    def _ask(self) -> None:
        row = self.shown.row(self.choice.item)
        if row is not None:
            self._asked = row.prompt
            self._problems.pop(row.prompt, None)
            self._refresh()
            if self.wanted == row.prompt:
                self.param.trigger("wanted")
            else:
                self.wanted = row.prompt

    # -- reading state --------------------------------------------------------------------------

    @param.depends("shown.version", "choice.item", "choice.token", watch=True)
    def _refresh(self) -> None:
        self._follow_run()
        row = self.shown.row(self.choice.item)
        if row is None:
            self._of = ()
            return
        self._heading(row)
        detail = self._details.find(row.prompt) if self._details else None
        place = self.shown.standing(row)
        recorded = self._details.version if self._details else 0
        state = (self._asked, self._problems.get(row.prompt), self.choice.query, self.choice.regex)
        of = (self.run.epoch, self.shown.series.name, row, place, recorded, *state)
        if of != self._of:
            self._of = of
            self._whole(row, detail)
        if detail is not None and self._details is not None:
            prompts = [r.prompt for r in self.shown.all_rows()]
            self._open = self._text.show(detail, self.choice.token, self._details.scale(prompts))
            self._distribution.show(detail, self._open)

    def _follow_run(self) -> None:
        folder = self.run.folder
        if folder is None:
            self._details = None
        elif self._details is None or self._details.folder.path != folder.path:
            self._details = TokenDetails(folder)
            self._asked = ""
            self._problems.clear()

    def _heading(self, row: Row) -> None:
        place = self.shown.place(row.item)
        where = "not among the prompts shown" if place is None else f"{place + 1:,} of {len(self.shown.rows):,}"
        standing = self.shown.standing(row)
        sign = f"{MARKS[standing.place]} {WORDS[standing.place]}"
        tags = f" · {esc(', '.join(row.tags))}" if row.tags else ""
        set_html(self._head, heading(f"Prompt {row.item + 1}", f"{where} · {esc(sign)}{tags}"))
        self._back.disabled = place == 0
        self._forth.disabled = place is not None and place == len(self.shown.rows) - 1

    def _whole(self, row: Row, detail: PromptDetail | None) -> None:
        """Everything but the open token."""
        m = row.m
        self._known.visible = detail is not None
        self._unknown.visible = detail is None
        self._next.visible = m is not None or detail is not None
        if detail is None:
            self._open = None
            self._text.detail = None
            set_html(self._words, _prompt(row))
            self._look.disabled = self._asked == row.prompt
            set_html(self._state, self._look_state(row.prompt))
            if m is not None:
                self._distribution.show_measured(m)
        sought = self.choice.expression() if self.choice.query else None
        set_html(self._said, generations(detail, sought) if detail else "")
        set_html(self._numbers, self._facts(m, detail) if m else "")
        self._copies.visible = m is not None

    def _look_state(self, prompt: str) -> str:
        if problem := self._problems.get(prompt):
            return f'<p class="sway-caption" role="alert">{esc(problem)}</p>'
        if self._asked == prompt:
            return '<p class="sway-caption" role="status">The model is loaded and reads the prompt …</p>'
        words = "The run did not record this prompt token by token. Looking loads the model once more."
        return f'<p class="sway-caption">{words}</p>'

    def _facts(self, m: Measurement, detail: PromptDetail | None) -> str:
        row = Row(m.item, m.prompt, m.tags, m)
        rows = [
            ("JS", number(m.js, "nats")),
            ("KL(tuned‖base)", number(m.kl, "nats")),
            ("KL(base‖tuned)", number(m.kl_reverse, "nats")),
        ]
        for metric, name in (("js", "JS"), ("kl", "KL")):
            of = self.shown.standing(row, "js" if metric == "js" else "kl")
            if of.null:
                null = of.null
                rows.append(
                    (
                        f"Random adapters, {name}",
                        f"{number(null.lo)} to {number(null.hi)} nats;"
                        f" above {of.below} of {null.n} ({percent(of.below / null.n)})",
                    )
                )
        rows.append(("Positions", f"{m.n_positions:,}" + (" (the next token)" if m.n_positions == 1 else "")))
        if m.n_positions > 1:
            rows.append(("Same top token", f"on {percent(m.same_top)} of the positions"))
        unknown = "none: one position" if m.n_positions == 1 else "none: too few positions"
        rows.append(("95 % interval of JS over positions", f"{interval(m.ci)} nats" if m.ci else unknown))
        exact = "over the whole vocabulary" if m.exact else f"from the likeliest tokens, ± {number(m.error_bound)} nats"
        rows.append(("Computed", exact))
        cut = max(m.truncated_tokens, detail.truncated_tokens if detail else 0)
        if cut:
            rows.append(("Left out", f"{count(cut, 'token')} from the beginning: the prompt is too long for the model"))
        return heading("Numbers") + table(
            ("", ""), [(esc(a), f'<span class="sway-num">{esc(b)}</span>') for a, b in rows]
        )


def _prompt(row: Row) -> str:
    text = row.prompt if len(row.prompt) <= LONGEST else row.prompt[:LONGEST] + "…"
    out = f'<div class="sway-prompt sway-long" dir="auto" tabindex="0">{readable(text)}</div>'
    if len(row.prompt) > LONGEST:
        out += f'<p class="sway-caption">The first {LONGEST:,} of {len(row.prompt):,} characters.</p>'
    if row.m is not None and row.m.continuation:
        out += '<p class="sway-caption">Measured along this continuation:</p>'
        out += f'<div class="sway-prompt" dir="auto">{readable(row.m.continuation)}</div>'
    if row.error:
        out += f'<p class="sway-caption" role="alert">{esc(f"Not measured: {row.error}")}</p>'
    return out
