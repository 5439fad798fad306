"""The help: every key, and the words the pages use. A dialog over the page."""

from __future__ import annotations

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.dash.browser import KEYS
from sway_dash.dash.components import column, dialog, html
from sway_dash.figures.markup import heading, table
from sway_dash.figures.theme import esc
from sway_dash.suite.store import runs_root

WORDS: tuple[tuple[str, str], ...] = (
    ("KL(tuned‖base)", "How surprised the base would be by what the tuned model expects; nats, no upper bound."),
    ("JS divergence", "How different the two predictions are, the same both ways; 0 to ln 2 = 0.693 nats."),
    (
        "random adapter",
        "An adapter of the same shape filled with noise: what a change without any learning looks like.",
    ),
    ("z", "How many standard deviations of the random adapters the tuned mean lies above their mean."),
    ("λ", "Strength of the adapter: 0 is the base, 1 the model as trained, more than 1 overshoots."),
    ("interval", "95 % confidence interval of a mean over prompts like these, bootstrap-t."),
    ("hit rate", "Share of scoring calls answered by the cache instead of the model."),
    ("same top token", "Share of places where both models find the same token likeliest."),
)


class Help(pn.viewable.Viewer):
    """Opened by ``?`` and by the button in the head of the page."""

    open = param.Boolean(default=False)
    letters = param.Boolean(default=True, doc="Single letters are keys; remembered by the browser.")

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        keys = table(("Key", "What it does"), [(f"<kbd>{esc(_shown(k))}</kbd>", esc(w)) for k, _, w in KEYS])
        words = table(("Word", "What it means"), [(f"<b>{esc(w)}</b>", esc(text)) for w, text in WORDS])
        where = (
            f'<p class="sway-caption">Runs are kept in {esc(runs_root())}. Nothing on this page leaves the machine.</p>'
        )
        letters = pmui.Switch.from_param(
            self.param.letters, label="Single letters are keys", description="", margin=(0, 0, 6, 0)
        )
        inner = column(html(heading("Keys")), letters, html(keys), html(heading("Words") + words + where), gap=8)
        self._dialog = dialog(inner, "Help")
        self.param.watch(lambda e: setattr(self._dialog, "open", e.new), "open")
        self._dialog.param.watch(lambda e: setattr(self, "open", e.new), "open")

    def __panel__(self) -> pn.viewable.Viewable:
        return self._dialog


def _shown(key: str) -> str:
    return {"ArrowRight": "→", "ArrowLeft": "←", "Escape": "Esc"}.get(key, key.upper() if len(key) == 1 else key)
