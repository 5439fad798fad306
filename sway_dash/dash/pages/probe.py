"""Type a prompt and see at once, on the loaded model, how base and tuned differ; move the adapter's strength."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.detail import PromptDetail
from sway_dash.core.errors import SwayError
from sway_dash.core.stats import percentiles
from sway_dash.dash import runs
from sway_dash.dash.components import body, column, grid, html, set_html
from sway_dash.dash.draft import Draft
from sway_dash.dash.looks import Look
from sway_dash.dash.pages.controls import bind_select
from sway_dash.dash.pages.distribution import Distribution
from sway_dash.dash.pages.generations import generations
from sway_dash.dash.pages.token_view import TokenView
from sway_dash.dash.probing import MAX_LAMBDA, Probing
from sway_dash.dash.state import RunState
from sway_dash.figures.markup import heading, toned
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import count, duration, esc, number
from sway_dash.figures.token_columns import default_token, scale_of
from sway_dash.probes.null_adapter import null_name
from sway_dash.suite.execute import folder_spec
from sway_dash.suite.loader import loads
from sway_dash.suite.spec import SwaySpec

STATES = {
    "none": ("muted", "no model loaded"),
    "waiting": ("warn", "waiting for the device"),
    "starting": ("accent", "loading"),
    "ready": ("good", "ready"),
    "busy": ("accent", "measuring"),
    "failed": ("bad", "failed"),
    "ended": ("warn", "ended"),
}

SOURCES = {"Models of the open run": "run", "Models of the new run": "draft"}

STEP = 0.05

TUNED = "The adapter"


def noise_name(style: str) -> str:
    """A distribution of random adapters, as something that stands beside the base."""
    return f"A random adapter, {null_name(style)}"


class ProbePage(pn.viewable.Viewer):
    """Follows ``probing``; ``added`` tells that the prompt was written into the new run's suite."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    draft: Draft = param.ClassSelector(class_=Draft)  # type: ignore[assignment]
    probing: Probing = param.ClassSelector(class_=Probing)  # type: ignore[assignment]
    source: str = param.Selector(default="run", objects=list(SOURCES.values()))  # type: ignore[assignment]
    added = param.Event(doc="The prompt is now part of the new run's suite.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._draw = 0
        """Which draw of the random adapter stands beside the base."""
        self._loaded = ("", "")
        """Run whose models were loaded, empty for those of the new run; their names."""
        self._source = pmui.Select(options=SOURCES, size="small", label="Model", width=230, margin=(6, 0, 0, 0))
        bind_select(self._source, self, "source")
        self._load = pmui.Button(label="Load the model", variant="contained", size="small", margin=0)
        self._unload = pmui.Button(label="Unload", variant="outlined", size="small", margin=0)
        self._load.on_click(lambda _: self.load())
        self._unload.on_click(lambda _: self.probing.unload())
        self._state = html(css_classes=["sway-hook-model"])
        self._text = pmui.TextAreaInput(
            label="Prompt", rows=4, max_rows=14, auto_grow=True, sizing_mode="stretch_width", margin=(8, 0, 0, 0)
        )
        # While typing, not only on leaving the field; the page asks on its next tick.
        self._text.param.watch(lambda e: setattr(self.probing, "text", e.new or ""), "value_input")
        self._text.param.watch(lambda e: setattr(self.probing, "text", e.new or ""), "value")
        self.probing.param.watch(self._typed, "text")
        self._lam = pmui.FloatSlider(
            label="Adapter strength λ (0 is the base, 1 as trained)",
            start=0.0,
            end=MAX_LAMBDA,
            step=STEP,
            value=1.0,
            sizing_mode="stretch_width",
            margin=(10, 8),
        )
        self._lam.param.watch(lambda e: setattr(self.probing, "lam", float(e.new)), "value")
        self.probing.param.watch(lambda e: self._lam.param.update(value=e.new), "lam")
        self._in_place = pmui.Select(options=[TUNED], value=TUNED, size="small", label="Beside the base", width=290)
        self._in_place.margin = 0
        self._in_place.param.watch(lambda _: self._place(0), "value")
        self._another = pmui.Button(label="Another draw", variant="outlined", size="small", margin=0, visible=False)
        self._another.on_click(lambda _: self._place(self._draw + 1))
        self._add = pmui.Button(label="Add to the new run's suite", variant="text", size="small", margin=0)
        self._add.on_click(lambda _: self.add())
        self._said = html(css_classes=["sway-hook-added"])
        self._answer = html(css_classes=["sway-hook-answer"])
        self._tokens, self._distribution, self._next = TokenView(local=True), Distribution(), html()
        self._tokens.param.watch(lambda e: self._open(e.new), "token")
        buttons = pn.FlexBox(self._source, self._load, self._unload, margin=0, gap="10px", align_items="center")
        left = column(
            html(heading("Ask a prompt", "Nothing is measured into a run here; the model is in its own process.")),
            buttons,
            self._state,
            self._text,
            pn.FlexBox(self._in_place, self._another, margin=(8, 0, 0, 0), gap="10px", align_items="center"),
            self._lam,
            pn.FlexBox(self._add, margin=0),
            self._said,
            self._answer,
            self._next,
            gap=8,
        )
        self._right = column(self._tokens, self._distribution, gap=18, visible=False)
        self._root = body(grid(left, self._right, even=True))
        self._shown: PromptDetail | None = None
        self._follow()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    @property
    def plots(self) -> list[Plot]:
        """Its figures."""
        return self._distribution.plots

    @property
    def look(self) -> Look:
        """What the address says of the page."""
        return {"of": (self, "source"), "text": (self.probing, "text"), "lam": (self.probing, "lam")}

    def load(self) -> None:
        """Load the chosen models; says why not."""
        try:
            spec = self._spec()
            self.probing.load(spec)
            ft = spec.models.ft
            self._loaded = (
                self.run.run_id if self.source == "run" else "",
                f"{runs.short(ft.base)} ↔ {runs.short(str(ft.adapter))}" if ft.adapter else runs.short(ft.base),
            )
        except SwayError as error:
            self.probing.param.update(state="failed", error=str(error))

    def _typed(self, event: Any) -> None:
        """Show a prompt that did not come from the field."""
        if event.new not in (self._text.value_input, self._text.value):
            self._text.param.update(value=event.new, value_input=event.new)

    def next_token(self) -> None:
        """Go to the next token of the answer."""
        self._step(1)

    def previous_token(self) -> None:
        """Go to the previous token."""
        self._step(-1)

    def _step(self, step: int) -> None:
        detail = self.probing.detail
        if detail is not None and detail.tokens:
            self._open(min(max(self._tokens.text.chosen + step, 0), len(detail.tokens) - 1))

    def _spec(self) -> SwaySpec:
        if self.source == "draft":
            from pathlib import Path

            return loads(self.draft.text, source="the new run", folder=Path(self.draft.base_dir or "."))
        if self.run.folder is None:
            raise SwayError("no run is open: choose the models of the new run")
        return folder_spec(self.run.folder)

    # -- reading state --------------------------------------------------------------------------

    @param.depends(
        "probing.state",
        "probing.error",
        "probing.note",
        "probing.memory",
        "probing.waited",
        "probing.detail",
        "probing.asked",
        "probing.facts",
        watch=True,
    )
    def _follow(self) -> None:
        probe = self.probing
        tone, word = STATES[probe.state]
        options = [TUNED, *map(noise_name, probe.noises)]
        if options != self._in_place.options:
            self._in_place.param.update(options=options, value=TUNED)
        self._load.visible, self._unload.visible = not probe.loaded, probe.loaded
        facts = [self._loaded[1]] if probe.loaded and self._loaded[1] else []
        facts += [str(probe.facts[k]) for k in ("device", "dtype") if probe.facts.get(k)]
        if probe.memory:
            facts.append(f"{probe.memory / 1e9:.2g} GB in its process")
        if probe.note:
            facts.append(probe.note)
        if probe.waited > 1:
            facts.append(f"for {probe.waited} s")
        state = toned(tone, "sway-state", word, tag="span")
        head = f'<p class="sway-kicker sway-num">{state} {esc(" · ".join(facts))}</p>'
        problem = toned("bad", "sway-banner", esc(probe.error), role="alert") if probe.error else ""
        set_html(self._state, head + problem)
        self._right.visible = self._next.visible = probe.detail is not None
        if probe.detail is None:
            hint = "Type a prompt; the answer comes while you type." if probe.loaded else "Load a model to begin."
            set_html(self._answer, f'<p class="sway-empty">{hint}</p>')
            return
        if probe.detail is not self._shown:
            self._shown = probe.detail
            self._show(probe.detail)

    def _show(self, detail: PromptDetail) -> None:
        index = default_token(detail)
        prediction = detail.tokens[index].prediction if detail.tokens else None
        strength = self.probing.asked[1]
        line = ""
        if prediction is not None:
            line = f"JS {number(prediction.js, 'nats')}, KL {number(prediction.kl, 'nats')} at the next token"
        cut = (
            f"; {count(detail.truncated_tokens, 'token')} left out at the beginning" if detail.truncated_tokens else ""
        )
        noise = self.probing.asked_noise
        what = f"λ = {strength:g}" if noise is None else f"{noise_name(noise.style)}, seed {noise.seed}"
        when = f"{what}, {duration(self.probing.seconds)}{cut}"
        set_html(
            self._answer,
            f'<p class="sway-sentence sway-num">{esc(line)}</p>'
            f'<p class="sway-caption">{esc(" · ".join(p for p in (when, self._beside()) if p))}.</p>',
        )
        self._tokens.show(detail, index, scale_of([detail]))
        self._distribution.show(detail, index)
        set_html(self._next, generations(detail))

    def _place(self, draw: int) -> None:
        """Put the adapter, or the ``draw``-th random one of a distribution, beside the base."""
        self._draw = draw
        named = {noise_name(style): view for style, view in self.probing.noises.items()}
        first = named.get(self._in_place.value)
        self._lam.disabled = self._another.visible = first is not None
        self.probing.noise = first and replace(first, seed=first.seed + draw)

    def _beside(self) -> str:
        """What the open run measured, to compare with."""
        series = next(iter(self.run.data.series.values()), None)
        # The open run may be another one than that whose models were loaded.
        if series is None or not series.rows or not self.run.run_id or self._loaded[0] != self.run.run_id:
            return ""
        median = percentiles([m.js for m in series.rows])["median"]
        draws = [r.hi for i in series.nulls if (r := series.null_range(i, "js"))]
        noise = f", random adapters reach {number(max(draws))}" if draws else ""
        return f"in the open run: median JS {number(median, 'nats')}{noise}"

    def _open(self, index: int | None) -> None:
        detail = self.probing.detail
        if detail is not None and index is not None and 0 <= index < len(detail.tokens):
            self._tokens.show(detail, index, scale_of([detail]))
            self._distribution.show(detail, index)

    # -- into the suite -------------------------------------------------------------------------

    def add(self) -> None:
        """Write the prompt into the first entry of the new run that measures prompts."""
        text = self.probing.text
        entries = self.draft.entries()
        at = next((i for i, e in enumerate(entries) if e.get("kind") == "delta_kl"), None)
        if not text.strip():
            said = "There is no prompt to add yet."
        elif at is None or not self.draft.readable:
            said = "The new run has no delta_kl probe to take the prompt: add one on the New run page."
        else:
            prompts = list(self.draft.get("suite", at, "prompts") or [])
            known = any((p.get("text") if isinstance(p, dict) else p) == text for p in prompts)
            if known:
                said = "The new run's suite has this prompt already."
            else:
                self.draft.set_values({("suite", at, "prompts"): [*prompts, text]})
                said = f"Added as prompt {len(prompts) + 1} of {entries[at].get('name', 'the probe')} in the new run."
                self.param.trigger("added")
        set_html(self._said, f'<p class="sway-caption" role="status">{esc(said)}</p>')
