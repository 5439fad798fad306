"""The open prompt in a notebook: its tokens, what both models expected at one of them, what they say, its numbers."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

from sway_dash.dash.components import column, figure, html, set_html
from sway_dash.dash.notebook_design import WIDGETS
from sway_dash.dash.pages.distribution import Distribution
from sway_dash.dash.pages.generations import generations, readable
from sway_dash.dash.pages.token_view import TokenView
from sway_dash.dash.prompt_list import PromptList, Row
from sway_dash.dash.state import RunState, Selection
from sway_dash.dash.token_details import TokenDetails
from sway_dash.figures.columns import MARKS, WORDS, shortened
from sway_dash.figures.markup import heading, legend
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import DASH, esc, number

MOST_OPTIONS = 500
NONE = "no prompt"


class _Tokens(TokenView):
    """Coloured by JS, without the controls."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._root = column(self.text, self._legend, gap=6)


class _Expected(Distribution):
    """Largest change first, without the control."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        marks = legend(("●", "base", "base"), ("◆", "tuned", "tuned"))
        self._dumbbell = column(figure(self.tokens), html(marks), gap=2)
        self._root = column(self._head, self._dumbbell, self._twin, gap=10)


class NotebookDetail(pn.viewable.Viewer):
    """A list to choose a prompt from, and below it everything that was recorded of that prompt."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    shown: PromptList = param.ClassSelector(class_=PromptList)  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._pick = pn.widgets.Select(
            options={NONE: -1}, sizing_mode="stretch_width", margin=(4, 0), stylesheets=[WIDGETS]
        )
        self._pick.param.watch(self._picked, "value")
        self._head, self._said = html(css_classes=["sway-hook-detail"]), html()
        self._text, self._expected = _Tokens(), _Expected()
        self._text.param.watch(lambda e: self.choice.param.update(token=e.new), "token")
        self._known = column(self._text)
        self._below = column(self._head, self._known, self._expected, self._said, gap=12, visible=False)
        words = "Choose a prompt here, or click its dot."
        self._root = column(html(heading("One prompt", words)), self._pick, self._below, gap=6)
        self._details: TokenDetails | None = None
        self._options: tuple[Any, ...] = ()
        self._refresh()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        return self._expected.plots

    def poll(self) -> None:
        """Look whether more was recorded of the open prompt: that comes after the end of a run."""
        if self.choice.item is not None and self._text.detail is None:
            self._refresh()

    def _picked(self, event: Any) -> None:
        item = None if event.new is None or event.new < 0 else int(event.new)
        if item != self.choice.item:
            self.shown.open(item)

    @param.depends("shown.version", "choice.item", "choice.token", watch=True)
    def _refresh(self) -> None:
        self._offer()
        row = self.shown.row(self.choice.item)
        self._below.visible = row is not None
        if row is None:
            return
        folder = self.run.folder
        if self._details is None or folder is None or self._details.folder.path != folder.path:
            self._details = TokenDetails(folder) if folder is not None else None
        detail = self._details.find(row.prompt) if self._details else None
        set_html(self._head, self._heading(row))
        self._known.visible = detail is not None
        if detail is not None and self._details is not None:
            scale = self._details.scale([r.prompt for r in self.shown.all_rows()])
            self._expected.show(detail, self._text.show(detail, self.choice.token, scale))
        elif row.m is not None:
            self._text.detail = None
            self._expected.show_measured(row.m)
        set_html(self._said, generations(detail) if detail else "")

    def _offer(self) -> None:
        """Prompts in the order shown; the list is replaced only when there is another."""
        rows = [r for r in self.shown.rows if r.m is not None][:MOST_OPTIONS]
        options = tuple(r.item for r in rows)
        if options != self._options:
            self._options = options
            named = {f"{r.item + 1}  {shortened(r.prompt, 90)}": r.item for r in rows}
            self._pick.param.update(options={NONE: -1, **named}, value=self._value(options))
        elif self._pick.value != self._value(options):
            self._pick.value = self._value(options)

    def _value(self, options: tuple[int, ...]) -> int:
        return self.choice.item if self.choice.item in options else -1

    def _heading(self, row: Row) -> str:
        standing = self.shown.standing(row)
        tags = f" · {esc(', '.join(row.tags))}" if row.tags else ""
        facts = [f"{MARKS[standing.place]} {WORDS[standing.place]}"]
        if row.m is not None:
            facts += [f"JS {number(row.m.js, 'nats')}", f"KL(tuned‖base) {number(row.m.kl, 'nats')}"]
        if standing.null is not None:
            null = standing.null
            facts.append(f"random adapters {number(null.lo)} to {number(null.hi)} nats, n = {null.n}")
        line = esc("; ".join(facts) or DASH)
        text = readable(row.prompt if len(row.prompt) <= 2000 else f"{row.prompt[:2000]}…")
        error = f'<p class="sway-caption" role="alert">{esc(row.error)}</p>' if row.error else ""
        return heading(f"Prompt {row.item + 1}", line + tags) + f'<div class="sway-prompt">{text}</div>' + error
