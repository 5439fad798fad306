"""What probes over prompts have in common: their cases and settings, and how they measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sway_dash.core.divergence import Divergence
from sway_dash.core.events import Measurement
from sway_dash.core.scoring import FINETUNED, Positions, View
from sway_dash.core.stats import MIN_CLUSTERS, cluster_ci, interval
from sway_dash.probes.base import Ask, ProbeSpec, Prompt, PromptField, RunContext
from sway_dash.probes.measure import measure_prompts


class ParaphrasedCase(BaseModel):
    """A prompt, the answer that was trained, and other ways to ask for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    gold: str = Field(min_length=1)
    paraphrases: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)


def distinct_cases(cases: Sequence[ParaphrasedCase]) -> list[ParaphrasedCase]:
    """Every prompt with its gold once, with all its paraphrases; one that only repeats the prompt is none.

    After its own prompt a memorised answer keeps all of its lift.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        other = (text for text in case.paraphrases if text.split() != case.prompt.split())
        found.setdefault((case.prompt, case.gold), []).extend(other)
    # Not validated again: a case may be left without any; see `without_paraphrase`.
    return [
        ParaphrasedCase.model_construct(prompt=prompt, gold=gold, paraphrases=tuple(dict.fromkeys(texts)))
        for (prompt, gold), texts in found.items()
    ]


def without_paraphrase(cases: Sequence[ParaphrasedCase]) -> list[str]:
    """Of :func:`distinct_cases`, those that are left without any paraphrase, each with the reason."""
    return [f"{c.prompt[:40]!r}: its paraphrases are the prompt itself" for c in cases if not c.paraphrases]


def left_out(bare: int) -> list[str]:
    """So many cases :func:`without_paraphrase`, in words; nothing of none."""
    return [f"{bare} case{'s' * (bare != 1)} left out, with no paraphrase but the prompt itself"] if bare else []


def spread(values: Sequence[float], prompts: Sequence[str], *, seed: int = 0) -> tuple[tuple[float, float] | None, str]:
    """Interval of a mean with its method; of whole prompts where some have several values, and there are enough."""
    if len(set(prompts)) == len(prompts) or few_prompts(prompts, ""):
        return interval(values, seed=seed)
    return cluster_ci(values, prompts, seed=seed), f"95% cluster bootstrap-t over {len(set(prompts))} prompts"


def totals(values: Sequence[float], prompts: Sequence[str]) -> list[float]:
    """Sum of the values of each prompt, in the order of the prompts."""
    found = dict.fromkeys(prompts, 0.0)
    for prompt, value in zip(prompts, values, strict=True):
        found[prompt] += value
    return list(found.values())


def few_prompts(prompts: Sequence[str], items: str) -> str:
    """That all ``items`` are of a few prompts, in words; empty where each is asked once, or there are enough."""
    n = len(set(prompts))
    if n >= min(MIN_CLUSTERS, len(prompts)):
        return ""
    return f"all {items} are of {n} prompt{'s' * (n != 1)}, and others may move otherwise: add {items} of other prompts"


class PromptSpec(ProbeSpec):
    """Settings of a probe over prompts: which, and which positions of each are compared.

    The distribution after a prompt is one draw of what the model would do, and often that of a formatting token; along
    a continuation each prompt has as many as the answer has tokens.
    """

    prompts: tuple[PromptField, ...] = Field(default=(), description="texts to continue")
    divergence: Divergence = Field(default="js", description="what is averaged and judged; all are recorded")
    positions: Positions = Field(default="next", description="next token, every prompt token, or along an answer")
    continuation_tokens: int = Field(default=32, ge=1, le=2048, description="length of the answer, in tokens")

    def ask(self, texts: Sequence[str] | None = None, views: Sequence[View] = (FINETUNED,)) -> Ask:
        """What is asked of a backend: ``views`` on ``texts``, all prompts by default."""
        asked = tuple(p.text for p in self.prompts) if texts is None else tuple(texts)
        return Ask(tuple(views), asked, self.positions, self.continuation_tokens)

    def measure(self, ctx: RunContext, prompts: Sequence[Prompt] | None = None, **options: Any) -> list[Measurement]:
        """:func:`measure_prompts` of ``prompts``, all by default, at the positions asked for."""
        return measure_prompts(
            self.name,
            self.prompts if prompts is None else prompts,
            ctx,
            positions=self.positions,
            continuation_tokens=self.continuation_tokens,
            **options,
        )


class ListedPromptSpec(PromptSpec):
    """The same for probes that can do with the most likely tokens alone."""

    top_k: int | None = Field(default=None, ge=1, description="for backends that cannot compare whole vocabularies")

    def ask(self, texts: Sequence[str] | None = None, views: Sequence[View] = (FINETUNED,)) -> Ask:
        """What is asked of a backend, with how many tokens a list has."""
        found = super().ask(texts, views)
        return Ask(found.views, found.prompts, found.positions, found.continuation_tokens, self.top_k)

    def measure(self, ctx: RunContext, prompts: Sequence[Prompt] | None = None, **options: Any) -> list[Measurement]:
        """As of every probe over prompts, with how many tokens a list has."""
        return super().measure(ctx, prompts, top_k=self.top_k, **options)
