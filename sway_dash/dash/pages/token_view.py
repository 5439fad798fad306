"""The open prompt as a text of coloured tokens."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.detail import PromptDetail
from sway_dash.dash.components import HIDDEN_LABEL, column, html, set_html
from sway_dash.dash.pages.controls import bind_select
from sway_dash.dash.token_text import TokenText
from sway_dash.figures.theme import count, esc, number, var
from sway_dash.figures.token_columns import WINDOW, HeatScale, Layer, default_token, heat, scale_of

LAYERS = {"JS": "js", "KL": "kl", "Δ log-prob": "delta"}

MEANING = {
    "js": "Colour on a token: how differently the two models predicted this token from the text before it (JS).",
    "kl": "Colour on a token: how differently the two models predicted this token from the text before it"
    " (KL of tuned from base).",
    "delta": "Colour on a token: how much likelier this very token became with the adapter,"
    " as the change of its log-probability.",
}


class TokenView(pn.viewable.Viewer):
    """Shows a detail; ``token`` is what the reader chooses."""

    token = param.Integer(default=None, allow_None=True, doc="Index of the token that was chosen here.")
    layer: Layer = param.Selector(default="js", objects=list(LAYERS.values()))  # type: ignore[assignment]
    local = param.Boolean(default=False, doc="The colours end at this prompt's largest values, not at the run's.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.text = TokenText(self._chosen, css_classes=["sway-hook-tokens"])
        self._legend = html(css_classes=["sway-hook-heat"])
        whole = {"& .MuiToggleButton-root": {"whiteSpace": "nowrap"}}
        layers = pmui.RadioButtonGroup(
            options=LAYERS,
            size="small",
            margin=(0, 12, 0, 0),
            label="Colour",
            sx=whole,
            width=330,
            stylesheets=[HIDDEN_LABEL],
        )
        local = pmui.Checkbox(label="scale of this prompt only", size="small", margin=0)
        bind_select(layers, self, "layer")
        bind_select(local, self, "local")
        controls = pn.FlexBox(layers, local, margin=0, sizing_mode="stretch_width", align_items="center")
        self._root = column(controls, self.text, self._legend, gap=6)
        self.detail: PromptDetail | None = None
        self._run_scale = HeatScale()
        self._start = 0

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def show(self, detail: PromptDetail, token: int | None, scale: HeatScale) -> int:
        """Show a prompt with one of its tokens open, by default the first of the continuation; return its index."""
        index = default_token(detail) if token is None or not 0 <= token < len(detail.tokens) else token
        same = detail is self.detail and scale == self._run_scale
        self.detail, self._run_scale = detail, scale
        self.text.said = f"{'Tuned' if detail.view == 'ft' else detail.view} goes on (greedy):"
        moved = not self._start <= index < self._start + WINDOW
        if moved or not same:
            self._start = index // WINDOW * WINDOW
            self._draw(index)
        self.text.chosen = index
        return index

    @param.depends("layer", "local", watch=True)
    def _draw(self, index: int | None = None) -> None:
        if self.detail is None:
            return
        scale = scale_of([self.detail]) if self.local else self._run_scale
        chosen = self.text.chosen if index is None else index
        self.text.view = heat(self.detail, self.layer, scale.end(self.layer), self._start, chosen)
        set_html(self._legend, _legend(self.layer, scale, self.local))

    def _chosen(self, index: int) -> None:
        self.token = index


def _legend(layer: Layer, scale: HeatScale, local: bool) -> str:
    end = number(scale.end(layer), "nats")
    if local:
        of = f"99th percentile of {count(scale.tokens, 'token')} of this prompt"
    else:
        of = f"99th percentile of {count(scale.tokens, 'token')} in {count(scale.prompts, 'recorded prompt')}"
    if layer == "delta":
        ends, sides = (f"−{end}", f"+{end}"), [var("base"), "transparent", var("tuned")]
        bars = "Bar above: less likely with the adapter, bar below: more likely."
    else:
        ends, sides = ("0", end), ["transparent", var("heat")]
        bars = "The bar below a token grows with it."
    ramp = f'<span class="sway-ramp" style="background: linear-gradient(90deg, {", ".join(sides)})"></span>'
    words = f"{esc(MEANING[layer])} {bars} The scale ends at the {esc(of)}; hatched: no prediction."
    return (
        f'<p class="sway-caption sway-num">{esc(ends[0])} {ramp} {esc(ends[1])}</p><p class="sway-caption">{words}</p>'
    )
