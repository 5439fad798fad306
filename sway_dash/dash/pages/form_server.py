"""The part of the form about models behind a completions server: their names, where they are, and where its key is."""

from __future__ import annotations

import os
from typing import Any

import panel as pn
from pydantic import ValidationError

from sway_dash.core.model import ModelSpec
from sway_dash.dash.components import column, grid, html, set_html
from sway_dash.dash.draft import Draft
from sway_dash.dash.fields import form_fields
from sway_dash.dash.model_facts import ADAPTER_AT, BASE_AT, TUNED_AT
from sway_dash.dash.pages.form_widgets import FieldWidget
from sway_dash.dash.yaml_tree import Place
from sway_dash.figures.theme import esc

OWN = ("endpoint", "key_env")
"""Fields of a model that are for servers alone."""

USUAL_KEYS = ("SWAY_API_KEY", "OPENAI_API_KEY")
"""Where a key is looked for when the suite names no variable."""

_FIELDS = {f.name: f for f in form_fields(ModelSpec)}


def is_served(draft: Draft) -> bool:
    """Whether a model of the draft is behind a server."""
    return "api" in (draft.get("models", side, "kind") for side in ("base", "ft"))


def serve(draft: Draft, served: bool) -> None:
    """Say of both models that they are behind a server, or that they are loaded here."""
    kind = "api" if served else None
    changes: dict[Place, Any] = {("models", side, "kind"): kind for side in ("base", "ft")}
    if served:
        # A server has loaded its adapters: they are models of their own there.
        changes[ADAPTER_AT] = None
    else:
        changes |= {("models", side, name): None for side in ("base", "ft") for name in OWN}
    draft.set_values(changes)


class ServerForm(pn.viewable.Viewer):
    """Writes both models; what is written of the base's server stands for the other model's until that differs."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft
        name, endpoint, key = (_FIELDS[f] for f in ("base", *OWN))
        self.base = FieldWidget(draft, name, [BASE_AT], "base model, as its server calls it", brief=True)
        self.tuned = FieldWidget(draft, name, [TUNED_AT], "tuned model, as its server calls it", brief=True)
        self.base_endpoint = FieldWidget(draft, endpoint, _both("endpoint"), "endpoint", brief=True)
        self.tuned_endpoint = FieldWidget(
            draft, endpoint, _both("endpoint")[1:], "endpoint of the tuned model", brief=True
        )
        self.key = FieldWidget(draft, key, _both("key_env"), "key from the environment variable")
        self._caption = html(css_classes=["sway-hook-server"])
        self._root = column(
            grid(self.base.widget, self.base_endpoint.widget, even=True),
            grid(self.tuned.widget, self.tuned_endpoint.widget, even=True),
            self.key.widget,
            self._caption,
            gap=6,
        )
        for field in (self.base_endpoint, self.tuned_endpoint):
            field.widget.placeholder = "http://localhost:8000/v1"
        self.key.widget.placeholder = USUAL_KEYS[0]
        self.fill()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def fill(self) -> None:
        """Show what the draft says."""
        for field, name in ((self.base_endpoint, "endpoint"), (self.key, "key_env")):
            base, tuned = _both(name)
            same = self.draft.get(*base) == self.draft.get(*tuned)
            field.places = (base, tuned) if same else (base,)
        for field in (self.base, self.tuned, self.base_endpoint, self.tuned_endpoint, self.key):
            field.fill()
        set_html(self._caption, f'<p class="sway-caption">{esc(key_words(self.draft))} {esc(SERVED)}</p>')


SERVED = (
    "Prompts are sent as plain text. A server lists the likeliest next tokens only, so divergences are estimates with a"
    " stated bound; random adapters and strengths need kind: hf."
)


def key_words(draft: Draft) -> str:
    """Where the key comes from; never the key."""
    named = [draft.get(*place) for place in _both("key_env")]
    # What is not such a name may be the key itself: it is not said again.
    if not all(n in (None, "") or _allowed(n) for n in named):
        return "Give the name of a variable, SWAY_API_KEY or one that begins SWAY_API_KEY_, never the key itself."
    base, tuned = map(_key_from, named)
    return f"{base}." if base == tuned else f"Base model: {base}. Tuned model: {tuned}."


def _allowed(name: object) -> bool:
    try:
        return ModelSpec(base="any", key_env=name).key_env == name
    except ValidationError:
        return False


def _key_from(named: str | None) -> str:
    looked = [named] if named else list(USUAL_KEYS)
    found = [name for name in looked if os.environ.get(name)]
    if found:
        return f"The key is taken from {found[0]}; it is written nowhere"
    return f"No key is sent: {' and '.join(looked)} {'are' if len(looked) > 1 else 'is'} not set where this page runs"


def _both(name: str) -> list[Place]:
    return [("models", side, name) for side in ("base", "ft")]
