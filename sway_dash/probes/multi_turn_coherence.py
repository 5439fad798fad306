"""Does the adapter's influence last through a conversation, or does it fade from turn to turn?

A falling divergence alone does not say that the adapter fades. Reading the tuned model's own answers, the base comes to
imitate them, and the two agree more. So every conversation is held twice, answered by the tuned model and by the base,
and both models score both (a 2 × 2 design). A third one, with answers about nothing of the same length, shows what the
length of the context does by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat

from sway_dash.core.bands import simultaneous
from sway_dash.core.divergence import LN2, Divergence
from sway_dash.core.errors import ProbeError, RunCancelled
from sway_dash.core.panels import Curve, panels
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import ScoringModel
from sway_dash.core.stats import interval, mean, ratio_ci, score_from_anchors
from sway_dash.probes.answers import CONTINUED, ask_both, continuations, finite, score_completions
from sway_dash.probes.base import Probe, ProbeSpec, Prompt, PromptField, RunContext, Work
from sway_dash.probes.chat import chat_template_of, tokenizer_of
from sway_dash.probes.conversations import Conversation, Say, hold, neutral_replies
from sway_dash.probes.measure import divergence_values, few_failures, measure_prompts, measuring_order
from sway_dash.probes.turn_fit import fit_half_life_turns, relative_slopes, sparkline

FOLLOW_UPS = (
    "Continue.",
    "Tell me more.",
    "Can you elaborate?",
    "What else?",
    "Go deeper.",
    "Expand on that.",
    "And then?",
)

HISTORIES = {"tuned": "the tuned model's answers", "base": "the base's answers", "neutral": "answers about nothing"}

Held = dict[str, list[Conversation]]
"""Conversations by whose answers they hold."""

Curves = dict[str, list[list[float]]]
"""Divergence by turn (2, 3, …) of every conversation, nats, by whose answers it holds."""

Lifts = dict[str, list[list[float]]]
"""By who wrote the answers and by turn: how much likelier each is to the tuned model than to the base, nats a token."""


@dataclass(frozen=True, slots=True)
class _Portion:
    """Conversations that were held together and could be measured at every turn."""

    places: Sequence[int]
    """Where their first messages stand among the prompts."""
    held: Held
    curves: Curves
    lifts: Lifts
    truncated: int
    """Texts, also of other conversations, that lost their beginning."""
    texts: int
    """Texts that were to be measured, also of other conversations."""


class MultiTurnCoherenceSpec(ProbeSpec):
    """Settings of ``multi_turn_coherence_decay``."""

    kind: Literal["multi_turn_coherence_decay"] = "multi_turn_coherence_decay"
    prompts: tuple[PromptField, ...] = Field(default=(), description="what the user says first")
    max_turns: int = Field(default=4, ge=2, le=8, description="turns of the user in a conversation")
    assert_half_life_turns: Annotated[FiniteFloat, Field(gt=0)] = Field(
        default=2.0, description="smallest number of turns in which the difference may halve"
    )
    assert_mean_gte: Annotated[FiniteFloat, Field(ge=0.0)] = Field(
        default=0.005, description="smallest mean, at the turn where it is largest, that is enough to last at all, nats"
    )
    follow_ups: tuple[str, ...] = Field(default=FOLLOW_UPS, min_length=1, description="what the user says next")
    max_new_tokens: int = Field(default=96, ge=1, le=2048, description="longest answer, in tokens")
    divergence: Divergence = Field(default="kl", description="kl: KL(tuned‖base)")
    top_k: int | None = Field(default=None, ge=1, description="for backends that cannot compare whole vocabularies")


class MultiTurnCoherenceProbe(Probe):
    """Next-token divergence before each answer of a conversation, over whose answers the conversation holds."""

    kind = "multi_turn_coherence_decay"
    spec_cls = MultiTurnCoherenceSpec
    category = "adherence"

    def run(self, spec: MultiTurnCoherenceSpec, ctx: RunContext) -> ProbeResult:
        """Hold the conversations, compare the models at every turn, judge how the difference changes."""
        if not spec.prompts:
            return self._short(spec, Verdict.ERROR, "no prompts: add at least one")
        tokenizer = tokenizer_of(ctx.require_backend)
        if chat_template_of(tokenizer) is None:
            message = "the model has no chat_template, so there are no turns to compare: use a chat model"
            return self._short(spec, Verdict.SKIP, message)
        prompts = list(dict.fromkeys(p.text for p in spec.prompts))
        order: Sequence[int] = range(len(prompts))
        if len(prompts) > CONTINUED:
            # Those that are held before a stop are a fair sample of all.
            order = measuring_order(len(prompts), ctx.seed)
        # A conversation that not everything is known of is none: only whole portions of them are kept.
        own = replace(ctx, keeps_part=False)
        parts: list[_Portion] = []
        failed: list[ProbeError] = []
        done = 0
        try:
            for done in range(0, len(prompts), CONTINUED):
                places = sorted(order[done : done + CONTINUED])
                held = self._held(spec, own, tokenizer, [prompts[i] for i in places])
                parts.append(self._measured(spec, own, places, held, failed))
        except RunCancelled:
            if not (parts and ctx.keeps_part):
                raise
            ctx.tally.short = done, len(prompts)
        few_failures(spec.name, failed, sum(p.texts for p in parts))
        whole = [who for who in parts[0].held if all(who in p.held for p in parts)]
        found = sorted((place, at, row) for at, p in enumerate(parts) for row, place in enumerate(p.places))
        return self._judge(
            spec,
            ctx,
            [prompts[place] for place, _, _ in found],
            {who: [parts[at].curves[who][row] for _, at, row in found] for who in whole},
            {who: _by_turn([p.lifts[who] for p in parts]) for who in whole if who in parts[0].lifts},
            {who: [parts[at].held[who][row] for _, at, row in found] for who in whole},
            sum(p.truncated for p in parts),
        )

    def work(self, spec: MultiTurnCoherenceSpec, ctx: RunContext) -> Work:
        """Answers of every turn but the last, and twice as many scored; the comparisons of three histories beside."""
        replies = len({p.text for p in spec.prompts}) * (spec.max_turns - 1)
        return Work(6 * replies, replies * spec.max_new_tokens)

    def answers(self, spec: MultiTurnCoherenceSpec, ctx: RunContext) -> int:
        """Both views answer, and then score what both have answered."""
        return 6 * len({p.text for p in spec.prompts}) * (spec.max_turns - 1)

    def _held(self, spec: MultiTurnCoherenceSpec, ctx: RunContext, tokenizer: Any, prompts: Sequence[str]) -> Held:
        """Conversations by who answers; without the base's where it cannot answer."""
        ctx.tally.expect(2 * len(prompts) * (spec.max_turns - 1))

        def by(view: ScoringModel) -> list[Conversation]:
            def say(texts: list[str]) -> list[str]:
                ctx.checkpoint()
                said = continuations(spec.max_new_tokens, ctx.seed)(view, texts)
                ctx.tally.took(len(texts))
                return said

            return hold(tokenizer, prompts, spec.follow_ups, spec.max_turns, lambda turn: say)

        out: Held = {}
        backend = ctx.require_backend
        try:
            with backend.as_base() as view:
                out["base"] = by(view)
        except (ProbeError, KeyError):
            pass  # Half of the design is missing then, and the message says so.
        with backend.as_finetuned() as view:
            out["tuned"] = by(view)

        def nobody(turn: int) -> Say:
            replies = [c.replies[turn - 1] for c in out["tuned"]]
            return lambda texts: [neutral_replies(tokenizer, r) for r in replies]

        out["neutral"] = hold(tokenizer, prompts, spec.follow_ups, spec.max_turns, nobody)
        return out

    def _measured(
        self, spec: MultiTurnCoherenceSpec, ctx: RunContext, places: Sequence[int], held: Held, failed: list[ProbeError]
    ) -> _Portion:
        """Divergences at turns 2 and later; all texts in one go, so that each view is entered once."""
        asked = [(who, i, t) for who, cs in held.items() for i, c in enumerate(cs) for t in range(1, len(c.asked))]
        prompts = [Prompt(text=held[who][i].asked[t]) for who, i, t in asked]
        # The texts are the probe's own, not prompts of the suite: they are no rows of the screen.
        quiet = replace(ctx, emit=lambda event: None)
        measured = measure_prompts(spec.name, prompts, quiet, top_k=spec.top_k, failures=failed)
        values = dict(zip((m.item for m in measured), divergence_values(measured, spec.divergence), strict=True))
        found = {asked[item]: value for item, value in values.items()}
        turns = range(1, spec.max_turns)
        complete = [i for i in range(len(places)) if all((who, i, t) in found for who in held for t in turns)]
        return _Portion(
            places=[places[i] for i in complete],
            held={who: [cs[i] for i in complete] for who, cs in held.items()},
            curves={who: [[found[who, i, t] for t in turns] for i in complete] for who in held},
            lifts=_reply_lifts(ctx, held),
            truncated=sum(1 for m in measured if m.truncated_tokens),
            texts=len(prompts),
        )

    def _judge(
        self,
        spec: MultiTurnCoherenceSpec,
        ctx: RunContext,
        prompts: Sequence[str],
        curves: Curves,
        lifts: dict[str, list[float]],
        held: Held,
        truncated: int,
    ) -> ProbeResult:
        axis = [float(t) for t in range(2, spec.max_turns + 1)]
        means = {who: [mean(c[t] for c in rows) for t in range(len(axis))] for who, rows in curves.items() if rows}
        if "tuned" not in means:
            return self._short(spec, Verdict.ERROR, "no conversation could be measured at every turn")
        public, public_status = fit_half_life_turns(axis, means["tuned"], max_turns=spec.max_turns)
        # Over both histories, so that neither side's own words decide alone.
        sides = [who for who in ("tuned", "base") if who in means]
        paired = len(curves["tuned"])
        both = [[mean(curves[who][i][t] for who in sides) for t in range(len(axis))] for i in range(paired)]
        overall = [mean(means[who][t] for who in sides) for t in range(len(axis))]
        half_life, status = fit_half_life_turns(axis, overall, max_turns=spec.max_turns)
        slopes, levels = relative_slopes(both)
        change = mean(slopes) / mean(levels) if mean(levels) > 0 else None
        band = ratio_ci(slopes, levels, seed=ctx.seed) if change is not None and len(axis) > 1 else None
        idle, idle_levels = relative_slopes(curves["neutral"])
        control = mean(idle) / mean(idle_levels) if mean(idle_levels) > 0 else None
        excess = [a / b if b > 0 else None for a, b in zip(overall, means["neutral"], strict=True)]
        net = [v for v in excess if v is not None]
        lasts = False
        if len(net) == len(axis):
            # Over what the same turns do after answers about nothing: what is left is due to what was said.
            net_half_life, net_status = fit_half_life_turns(axis, net, max_turns=spec.max_turns)
            lasts = net_status != "degenerate" and (
                net_half_life is None or net_half_life >= spec.assert_half_life_turns
            )
        verdict, score, sentence = _verdict(spec, half_life, status, band, overall, axis, lasts)
        notes = [sentence]
        if change is not None and len(axis) > 1:
            shown = f" [{band[0]:+.3g}, {band[1]:+.3g}]" if band else ""
            notes.append(f"change a turn {change:+.3g}{shown} of the mean")
            if control is not None:
                notes[-1] += f", {control:+.3g} after answers about nothing"
        if "base" not in means:
            notes.append("the base gave no answers, so its imitation of the tuned model's is not controlled for")
        if truncated:
            notes.append(f"{truncated} texts were longer than the context and lost their beginning")
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=score,
            raw=half_life,
            message=f"{'; '.join(notes)}; {paired} conversations",
            evidence={
                "per_turn_kls": means["tuned"],
                "turns_axis": axis,
                "fit_status": public_status,
                "half_life_public": public,
                "public_note": "per_turn_kls and fit_status are of the tuned model's own history, as in the public"
                " format; there the base imitates what it reads, so the probe judges both histories together",
                "fit_status_both": status,
                "per_turn_by_history": means,
                "per_conversation": both,
                "over_neutral": excess,
                "change_per_turn": change,
                "change_per_turn_neutral": control,
                "change_per_turn_ci_95": list(band) if band else None,
                "reply_lift_per_turn": lifts,
                "reply_lift_note": "log-probability of the answers, tuned minus base, nats a token; by who wrote them",
                "divergence_kind": spec.divergence,
                "unit": "turns",
                "max_turns": spec.max_turns,
                "num_prompts": paired,
                "truncated_texts": truncated,
                "prompts": list(prompts),
                "replies": {who: [list(c.replies) for c in cs] for who, cs in held.items()},
                "sparkline": sparkline(means["tuned"]),
                "weight": spec.weight,
                "panels": self._panels(spec, ctx, axis, curves),
            },
        )

    def _panels(
        self, spec: MultiTurnCoherenceSpec, ctx: RunContext, axis: Sequence[float], curves: Curves
    ) -> list[dict[str, Any]]:
        name = "JS" if spec.divergence == "js" else "KL(tuned‖base)"
        bounds = (0.0, LN2 if spec.divergence == "js" else float("inf"))
        parts = []
        for who, rows in curves.items():
            if not rows:
                continue
            columns = [[row[t] for row in rows] for t in range(len(axis))]
            points = [interval(c, seed=ctx.seed, bounds=bounds)[0] for c in columns]
            bands, note = simultaneous(np.array(rows), points, seed=ctx.seed, bounds=bounds)
            parts.append(
                Curve(
                    title=f"Difference by turn, after {HISTORIES[who]}",
                    x_label="turn",
                    y_label=f"mean {name} (nats)",
                    x=tuple(axis),
                    y=tuple(mean(c) for c in columns),
                    lo=tuple(b[0] if b else None for b in bands),
                    hi=tuple(b[1] if b else None for b in bands),
                    note=note,
                )
            )
        return panels(*parts)

    def _short(self, spec: MultiTurnCoherenceSpec, verdict: Verdict, message: str) -> ProbeResult:
        evidence = {"weight": spec.weight}
        return safe_finalize(name=spec.name, kind=spec.kind, verdict=verdict, message=message, evidence=evidence)


def _verdict(
    spec: MultiTurnCoherenceSpec,
    half_life: float | None,
    status: str,
    band: tuple[float, float] | None,
    overall: Sequence[float],
    axis: Sequence[float],
    lasts_beside_neutral: bool,
) -> tuple[Verdict, float, str]:
    """FAIL when there is next to no difference or it halves too fast; WARN when that is not sure or not due to what was
    said, and for a single turn; else PASS.
    """
    course = f"{' → '.join(f'{v:.3g}' for v in overall)} nats at turns {axis[0]:g} to {axis[-1]:g}"
    if status == "degenerate":
        return Verdict.FAIL, 0.0, f"the models hardly differ at any turn but one: {course}"
    # What has faded was there at first: the turn with the largest mean decides.
    if (most := max(overall)) < spec.assert_mean_gte:
        least = f"{most:.3g} nats at most are below {spec.assert_mean_gte:g}"
        return Verdict.FAIL, 0.0, f"the models hardly differ, there is nothing to last: {least}; {course}"
    if len(axis) < 2:
        few = "one turn alone cannot show whether it lasts: set max_turns to 3 or more"
        return Verdict.WARN, 0.5, f"{overall[0]:.3g} nats at turn {axis[0]:g}; {few}"
    if half_life is None:
        return Verdict.PASS, 1.0, f"the difference does not fade, it grows: {course}"
    if status == "stable":
        # A follow-up that any model answers alike is no fading, and yet no turn at which it held.
        held = (
            "held coherence over all turns" if min(overall) > most / 2.0 else "no fading, but not alike at every turn"
        )
        return Verdict.PASS, 1.0, f"{held}: {course}"
    gate = spec.assert_half_life_turns
    score = score_from_anchors(half_life, none=0.0, gate=gate, target=max(float(spec.max_turns), 2.0 * gate))
    text = f"half-life={half_life:.2f} turns, {course}"
    if half_life >= gate:
        return Verdict.PASS, score, text
    text += f", shorter than the gate of {gate:g}"
    if band is not None and band[1] >= 0:
        return Verdict.WARN, score, f"{text}, but the fall is within what conversations differ by"
    if lasts_beside_neutral:
        why = "the length of the context (see prompt_collapse) or the wording of the follow-ups, not what was said"
        return Verdict.WARN, score, f"{text}, but it falls as fast after answers about nothing: it is {why}"
    return Verdict.FAIL, min(score, 0.59), text


def _reply_lifts(ctx: RunContext, held: Held) -> Lifts:
    """How much likelier each side's answers are to the tuned model than to the base."""
    sides = [who for who in ("tuned", "base") if who in held]
    places = [
        (who, t, c.asked[t], reply) for who in sides for c in held[who] for t, reply in enumerate(c.replies) if reply
    ]
    answers = ask_both(ctx, [(asked, reply) for _, _, asked, reply in places], score_completions).keeping(finite)
    found: Lifts = {who: [[] for _ in held[who][0].replies] for who in sides}
    for place, base, tuned in zip(answers.kept, answers.base, answers.tuned, strict=True):
        who, turn = places[place][:2]
        found[who][turn].append(tuned.per_token - base.per_token)
    return found


def _by_turn(parts: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    """Mean over all conversations of every turn that has an answer."""
    merged = [[v for part in parts for v in part[turn]] for turn in range(len(parts[0]))]
    return [mean(values) for values in merged if values]
