"""What base and tuned expected at one position, and which tokens the KL there is made of."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.detail import PromptDetail
from sway_dash.core.events import Measurement
from sway_dash.dash.components import column, figure, html, set_html
from sway_dash.dash.pages.controls import bind_select
from sway_dash.figures import columns, plots
from sway_dash.figures.markup import heading, table
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import count, esc, number, token_text
from sway_dash.figures.token_columns import REST, By, default_token, distribution, kl_terms, sendable

ORDERS = {"largest change first": "change", "likeliest first": "probability", "largest part of KL first": "kl"}
HEAD = ("Token", "Id", "Base", "Tuned", "Change", "Rank base → tuned", "Part of KL")


class Distribution(pn.viewable.Viewer):
    """Shows the prediction of a token, or of the next token where only that was recorded."""

    by: By = param.Selector(default="change", objects=list(ORDERS.values()))  # type: ignore[assignment]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.tokens, self.terms = plots.next_tokens(), plots.kl_bars()
        self._head = html(css_classes=["sway-hook-position"])
        self._order = pmui.Select(options=ORDERS, size="small", width=210, margin=(6, 0, 0, 0), label="Order")
        bind_select(self._order, self, "by")
        self._why, self._twin = html(), html(css_classes=["sway-hook-distribution"])
        marks = self.tokens.legend(("●", "base", "base"), ("◆", "tuned", "tuned"))
        self._dumbbell = column(self._order, figure(self.tokens), html(marks), gap=2)
        parts = self.terms.legend(
            ("■", "tuned", "tuned makes it likelier"), ("■", "base", "tuned makes it less likely"), ("■", "null", REST)
        )
        title = html(heading("Why the KL is this large"))
        self._parts = column(title, figure(self.terms), html(parts), self._why, gap=2)
        self._root = column(self._head, self._dumbbell, self._parts, self._twin, gap=10)
        self._shown: tuple[PromptDetail, int] | None = None

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        return [self.tokens, self.terms]

    def show(self, detail: PromptDetail, index: int) -> None:
        """Show how a token was predicted."""
        self._shown = (detail, index)
        token = detail.tokens[index]
        prediction = token.prediction
        name = f"Token {index + 1} of {len(detail.tokens)}: {token_text(sendable(token.text))}"
        first = index == default_token(detail) and token.part == "continuation"
        self._visible(prediction is not None, prediction is not None and bool(prediction.choices))
        if prediction is None:
            set_html(self._head, heading(name, "Nothing stands before this token: there is no prediction of it."))
            return
        facts = [
            "the next token after the prompt" if first else "",
            f"JS {number(prediction.js, 'nats')}",
            f"KL(tuned‖base) {number(prediction.kl, 'nats')}",
            f"KL(base‖tuned) {number(prediction.kl_reverse, 'nats')}",
        ]
        if token.base_logprob is not None and token.tuned_logprob is not None:
            change = columns.signed(token.tuned_logprob - token.base_logprob, "nats")
            facts.append(f"log-probability of this token {change}")
        set_html(self._head, heading(name, esc("; ".join(f for f in facts if f))))
        rows = distribution(prediction, self.by)
        plots.set_tokens(self.tokens, rows)
        self.tokens.describe(f"Probabilities of {count(len(rows['y']), 'row')} under base and tuned. {name}.")
        terms = kl_terms(prediction)
        plots.set_terms(self.terms, terms, prediction.kl)
        pairs = list(zip(terms["label"], terms["text"], strict=True))
        sum_up = f"Parts of the KL of {number(prediction.kl, 'nats')}: " + "; ".join(f"{a} {b}" for a, b in pairs)
        self.terms.describe(sum_up)
        why = "Each bar is p(tuned) · ln(p(tuned) / p(base)) of one token and begins where the sum so far ends."
        set_html(self._why, f'<p class="sway-caption">{why} The dashed line is the KL.</p>')
        set_html(self._twin, _twin(rows))

    def show_measured(self, m: Measurement) -> None:
        """Show the next token of a prompt of which nothing else was recorded."""
        self._shown = None
        known = bool(m.base_top or m.tuned_top)
        self._visible(known, False)
        self._order.visible = False
        facts = f"Likeliest next token: {columns.top_change(m)}." if known else "No likely tokens were recorded."
        set_html(self._head, heading("Next token", esc(facts)))
        if known:
            rows = columns.next_tokens(m)
            plots.set_tokens(self.tokens, rows)
            self.tokens.describe(f"{facts} Probabilities of {count(len(rows['y']), 'token')} under base and tuned.")
            set_html(self._twin, _twin(rows))

    @param.depends("by", watch=True)
    def _again(self) -> None:
        if self._shown is not None:
            self.show(*self._shown)

    def _visible(self, dumbbell: bool, parts: bool) -> None:
        self._dumbbell.visible = self._twin.visible = dumbbell
        self._parts.visible = self._order.visible = parts


def _twin(rows: columns.Columns) -> str:
    """The same as a table."""
    parts = rows.get("term", [""] * len(rows["label"]))
    names = ("label", "id", "base_text", "tuned_text", "change", "rank")
    cells = [
        [*(esc(rows[name][k]) for name in names), *([esc(parts[k])] if "term" in rows else [])]
        for k in range(len(rows["label"]))
    ]
    head = HEAD if "term" in rows else HEAD[:-1]
    return f"<details><summary>As a table</summary>{table(head, cells, right=range(1, len(head)))}</details>"
