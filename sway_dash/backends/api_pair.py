"""Two models of completions servers as the two sides of a comparison: a base and its LoRA module at one vLLM, say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sway_dash.backends.api import ApiScoringBackend
from sway_dash.backends.two_model import TwoModelDifferential
from sway_dash.core.divergence import compare_dists
from sway_dash.core.errors import ModelLoadError, ProbeError
from sway_dash.core.scoring import BASE, FINETUNED, DifferentialBackend, NoiseFloor
from sway_dash.core.steps import step

NOISE_PROMPTS = 4


class ApiPair(TwoModelDifferential):
    """Tokens of both sides get their numbers in one way, so that equal numbers mean equal tokens.

    By the server's ids where both models live at one endpoint and cut texts alike, else by the bytes of the tokens.
    """

    base: ApiScoringBackend
    ft: ApiScoringBackend

    def __init__(self, base: DifferentialBackend, ft: DifferentialBackend) -> None:
        super().__init__(base, ft)
        self._compatible = False
        for side, view in ((self.base, BASE), (self.ft, FINETUNED)):
            side.instrumentation, side.view_id = self.instrumentation, view.id
            # Until both sides are known, ids might mean different tokens.
            side.ids_allowed = False

    def meet(self) -> None:
        """Ask both servers what they can do and whether they cut texts alike; ``ModelLoadError`` if they do not."""
        if self._compatible:
            return
        one, other = self.base.abilities, self.ft.abilities
        both = one.cut and other.cut
        if both and one.cut != other.cut:
            at = next((i for i, (a, b) in enumerate(zip(one.cut, other.cut, strict=False)) if a != b), -1)
            a, b = (repr(c[at]) if at >= 0 else f"{len(c)} tokens" for c in (one.cut, other.cut))
            raise ModelLoadError(f"the two models have different tokenizers: base cuts a text into {a}, ft into {b}")
        if not both and one.names.isdisjoint(other.names):
            a, b = (repr(min(c.names)) for c in (one, other))
            raise ModelLoadError(
                "the two models list no common token after a sample prompt: different tokenizers, or servers that"
                f" write tokens in different ways (base: {a}, ft: {b})"
            )
        same = bool(both) and self.base.base_url == self.ft.base_url and one.ids == other.ids
        self.base.ids_allowed = self.ft.ids_allowed = same
        if same:
            # What was answered before has numbers made of the tokens' texts.
            self.instrumentation.cache.clear()
        self._compatible = True

    def preflight_finite_check(self) -> tuple[bool, str]:
        """Check that both sides answer, with numbers, and cut texts alike."""
        try:
            self.meet()
        except (ProbeError, ModelLoadError) as error:
            return False, str(error)
        return super().preflight_finite_check()

    def describe(self) -> dict[str, Any]:
        """As for any pair; tokens that were not shown to be the same are said to be so by their texts alone.

        Every run begins with it, so the servers are asked whether they still have the models of the run before.
        """
        if not all([self.base.renew(), self.ft.renew()]):
            self._compatible = self.base.ids_allowed = self.ft.ids_allowed = False
        self.meet()
        shown = bool(self.base.abilities.cut and self.ft.abilities.cut)
        return {
            **super().describe(),
            "effective_top_k": min(self.base.abilities.top_k, self.ft.abilities.top_k),
            "same_tokenizer": "shown on sample texts" if shown else "not shown: the servers tell no tokens of a text",
        }

    def identical_views(self) -> tuple[str, ...]:
        """The likely cause when both sides are one model."""
        if (self.base.base_url, self.base.model_name) != (self.ft.base_url, self.ft.model_name):
            return ()
        return (f"models.base and models.ft both name {self.base.model_name!r} at one endpoint",)

    def noise_floor(self, prompts: Sequence[str]) -> NoiseFloor | None:
        """What a server's answer differs from itself by: some prompts are asked for together, then each alone."""
        self.meet()
        asked = list(dict.fromkeys(prompts))[:NOISE_PROMPTS]
        js = kl = 0.0
        for side in (self.base, self.ft):
            try:
                together = side.fresh_dists(asked)
                alone = [side.fresh_dists([p])[0] for p in asked]
            except ProbeError:
                return None
            for p, q in zip(together, alone, strict=True):
                found = compare_dists(p, q)
                js, kl = max(js, found.js), max(kl, found.kl)
        return NoiseFloor(prompts=len(asked), js=js, kl=kl) if asked else None


def connect(pair: TwoModelDifferential) -> None:
    """Meet both servers while models are being loaded; ``ModelLoadError`` when they cannot be measured."""
    if not isinstance(pair, ApiPair):
        return
    step("asking the server")
    try:
        pair.meet()
    except ProbeError as error:
        raise ModelLoadError(str(error).removeprefix("api: ")) from error
