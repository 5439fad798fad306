"""Does the tuned model still call tools as their schemas ask, and only tools that exist?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from sway_dash.core.margins import Margin, fallen_rate
from sway_dash.core.numbers import p_text, said
from sway_dash.core.panels import Items, Row, panels
from sway_dash.core.rates import mcnemar_exact, newcombe_paired, wilson
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import ScoringModel, View
from sway_dash.core.stats import MIN_ITEMS, mean, score_from_anchors
from sway_dash.probes.answers import CONTINUED, Answers, ask_both, continuations
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, Work, enter
from sway_dash.probes.chat import render_with_tool, tokenizer_of
from sway_dash.probes.null_adapter import calibration
from sway_dash.probes.tool_calls import Call, Outcome, field_disagreement, function_of, outcome
from sway_dash.probes.tool_cases import SENTINEL_CASES, ToolUseCase, asked_once

ABOUT_NONE = 0.05
"""Up to this rate of valid calls on both sides there is nothing to compare."""

CONFIDENCE = 0.95
"""Of the one-sided bounds of the change."""

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class ToolUseFidelitySpec(ProbeSpec):
    """Settings of ``tool_use_fidelity``."""

    kind: Literal["tool_use_fidelity"] = "tool_use_fidelity"
    cases: tuple[ToolUseCase, ...] = Field(default=(), description="questions, each with the tool it needs")
    assert_validity_delta_gte: Annotated[FiniteFloat, Field(ge=-1, le=1)] = Field(
        default=-0.05, description="smallest change of the rate of valid calls, tuned minus base"
    )
    assert_hallucination_lte: Share = Field(
        default=0.10, description="largest share of valid calls that name a tool that was not offered"
    )
    allowed_tools: tuple[str, ...] | None = Field(
        default=None, description="names that may be called; not set: only the right one"
    )
    show_tool: Literal["auto", "plain", "no"] = Field(
        default="auto", description="by the chat template, as plain text, or not at all (the prompt holds it)"
    )
    assert_z_gte: FiniteFloat = Field(
        default=3.0, description="of the public format; noise is shown beside the rate and decides nothing"
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one view answered to one case."""

    text: str
    outcome: Outcome
    call: Call | None

    @property
    def valid(self) -> bool:
        return self.outcome == "valid"

    @property
    def name(self) -> str:
        return str(self.call.get("name")) if self.call else ""


Question = tuple[str, int]


class ToolUseFidelityProbe(Probe):
    """Rates of calls that fit the tool's schema, paired over cases, and of calls of tools that do not exist."""

    kind = "tool_use_fidelity"
    spec_cls = ToolUseFidelitySpec
    category = "attribution"

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> ToolUseFidelitySpec:
        """Two everyday tools."""
        return ToolUseFidelitySpec(name="calibration", cases=SENTINEL_CASES)

    def work(self, spec: ToolUseFidelitySpec, ctx: RunContext) -> Work:
        """An answer to every case."""
        cases = asked_once(spec.cases)
        return Work(len(cases), sum(c.max_new_tokens for c in cases))

    def draw_answers(self, spec: ToolUseFidelitySpec, ctx: RunContext) -> int:
        """Those of the random adapter alone."""
        return len(asked_once(spec.cases))

    def run(self, spec: ToolUseFidelitySpec, ctx: RunContext) -> ProbeResult:
        """Let both views answer every case and compare."""
        if not spec.cases:
            return safe_finalize(
                name=spec.name,
                kind=spec.kind,
                verdict=Verdict.SKIP,
                message="no cases: add questions with the tool each needs",
                evidence={"weight": spec.weight},
            )
        asked = asked_once(spec.cases)
        questions, shown = _questions(spec, ctx, asked)
        answers = ask_both(ctx, questions, _ask(ctx.seed), portion=CONTINUED).required(spec.name)
        cases = [asked[i] for i in answers.kept]
        base = [_read(text, case) for text, case in zip(answers.base, cases, strict=True)]
        tuned = [_read(text, case) for text, case in zip(answers.tuned, cases, strict=True)]
        return self._judge(spec, ctx, cases, base, tuned, shown, answers)

    def draw_null(self, spec: ToolUseFidelitySpec, ctx: RunContext, views: Sequence[View]) -> dict[View, float]:
        """Rate of valid calls of every null view on these cases; the base is not needed for it."""
        cases = asked_once(spec.cases)
        questions, _ = _questions(spec, ctx, cases)
        out: dict[View, float] = {}
        for view in views:
            ctx.checkpoint()
            ctx.tally.expect(len(questions))
            with enter(ctx.require_backend, view) as scorer:
                texts = _ask(view.seed)(scorer, questions)
            ctx.tally.took(len(questions))
            out[view] = mean(float(_read(t, c).valid) for t, c in zip(texts, cases, strict=True))
        return out

    def _judge(
        self,
        spec: ToolUseFidelitySpec,
        ctx: RunContext,
        cases: Sequence[ToolUseCase],
        base: Sequence[_Answer],
        tuned: Sequence[_Answer],
        shown: str,
        answers: Answers[str],
    ) -> ProbeResult:
        n = len(cases)
        found = _Table(cases, base, tuned)
        raw, before = found.tuned_valid / n, found.base_valid / n
        delta = raw - before
        invented = [a.name for a, c in zip(tuned, cases, strict=True) if a.valid and not _allowed(a.name, c, spec)]
        hallucination = len(invented) / found.tuned_valid if found.tuned_valid else 0.0
        p = mcnemar_exact(found.base_only, found.tuned_only)
        ci = wilson(found.tuned_valid, n)
        delta_ci = newcombe_paired(found.both, found.tuned_only, found.base_only, found.neither)
        null = calibration(ctx, spec, raw)
        repeats = len(spec.cases) - len(asked_once(spec.cases))
        harm = found.harm(-spec.assert_validity_delta_gte)
        verdict, reasons_failed = _verdict(spec, n, found, harm, before, raw, hallucination)
        score = min(
            score_from_anchors(raw, none=0.0, gate=max(before + spec.assert_validity_delta_gte, 1e-6), target=1.0)
            if before + spec.assert_validity_delta_gte < 1.0
            else raw,
            score_from_anchors(
                hallucination, none=1.0, gate=min(max(spec.assert_hallucination_lte, 1e-6), 1 - 1e-6), target=0.0
            ),
        )
        nothing = verdict is Verdict.WARN and max(before, raw) <= ABOUT_NONE
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=None if nothing else min(score, 0.59) if verdict is not Verdict.PASS else score,
            raw=raw,
            base_value=before,
            ft_value=raw,
            z_score=null.z if null else None,
            ci_95=ci,
            message=_sentence(n, found, delta, delta_ci, p, hallucination, reasons_failed, shown, repeats),
            evidence={
                "unit": "share of cases",
                "json_valid_rate_base": before,
                "json_valid_rate_ft": raw,
                "base_ci_95": _listed(wilson(found.base_valid, n)),
                "validity_delta": delta,
                "validity_delta_ci_95": _listed(delta_ci),
                "mcnemar_p": p,
                # Where neither side calls tools there is no harm to be told of.
                "p_harm": None if nothing else harm.p,
                "validity_delta_worst": None if harm.upper is None else 0.0 - harm.upper,
                "harm_note": harm.note,
                "only_base_valid": found.base_only,
                "only_tuned_valid": found.tuned_only,
                "mean_arg_disagreement": mean(found.disagreements) if found.disagreements else 0.0,
                "num_arg_pairs_compared": len(found.disagreements),
                "hallucination_rate": hallucination,
                "hallucination_ci_95": _listed(wilson(len(invented), found.tuned_valid)),
                "invented_names": sorted(set(invented))[:20],
                "right_tool_rate_base": _right_tool_rate(base, cases),
                "right_tool_rate_ft": _right_tool_rate(tuned, cases),
                "right_arguments_rate_base": _argument_rate(base, cases),
                "right_arguments_rate_ft": _argument_rate(tuned, cases),
                "abstention_rate_base": _rate(a.outcome == "abstained" for a in base),
                "abstention_rate_ft": _rate(a.outcome == "abstained" for a in tuned),
                "malformed_rate_base": _rate(a.outcome == "malformed" for a in base),
                "malformed_rate_ft": _rate(a.outcome == "malformed" for a in tuned),
                "num_cases": n,
                "repeated_cases": repeats,
                "dropped_cases": len(answers.dropped),
                "dropped_reasons": answers.reasons,
                "tool_shown": shown,
                "null": null.evidence if null else None,
                "z_by_rank": null.z_by_rank if null else None,
                "raw_ci_95": _listed(ci),
                "weight": spec.weight,
                "panels": panels(_panel(spec, cases, base, tuned)),
            },
        )


class _Table:
    """The paired table of valid calls, and what the arguments of those valid on both sides share."""

    def __init__(self, cases: Sequence[ToolUseCase], base: Sequence[_Answer], tuned: Sequence[_Answer]) -> None:
        pairs = [(b.valid, t.valid) for b, t in zip(base, tuned, strict=True)]
        self.both = pairs.count((True, True))
        self.base_only = pairs.count((True, False))
        self.tuned_only = pairs.count((False, True))
        self.neither = pairs.count((False, False))
        self.base_valid, self.tuned_valid = self.both + self.base_only, self.both + self.tuned_only
        self.same = all(b.text == t.text for b, t in zip(base, tuned, strict=True))
        self.abstained = sum(1 for a in tuned if a.outcome == "abstained")
        self.disagreements = [
            field_disagreement(b.call, t.call)
            for b, t in zip(base, tuned, strict=True)
            if b.valid and t.valid and b.call and t.call
        ]

    def harm(self, margin: float) -> Margin:
        """Whether the rate fell by less than ``margin``.

        Answers that are the same to the letter show that nothing changed, not that nothing happened to so many.
        """
        n = self.both + self.base_only + self.tuned_only + self.neither
        if self.same and n >= MIN_ITEMS:
            return Margin(0.0, 0.0, margin >= 0.0, None, f"all {n} answers are the same to the letter")
        return fallen_rate(self.both, self.tuned_only, self.base_only, self.neither, margin, confidence=CONFIDENCE)


def _questions(spec: ToolUseFidelitySpec, ctx: RunContext, cases: Sequence[ToolUseCase]) -> tuple[list[Question], str]:
    """Prompts as they are sent, with the length of their answers, and how the tool was shown."""
    tokenizer = tokenizer_of(ctx.backend)
    if spec.show_tool == "no" or (spec.show_tool == "auto" and tokenizer is None):
        # Without a tokenizer the form of a prompt is its author's business.
        return [(c.prompt, c.max_new_tokens) for c in cases], "not shown"
    known = tokenizer if spec.show_tool == "auto" else None
    texts = [render_with_tool(known, c.prompt, function_of(c.tool_spec)) for c in cases]
    questions = [(text, case.max_new_tokens) for (text, _), case in zip(texts, cases, strict=True)]
    return questions, ", ".join(sorted({how for _, how in texts}))


def _ask(seed: int) -> Any:
    """Continue every prompt, those of one length together."""

    def ask(view: ScoringModel, questions: Sequence[Question]) -> list[str]:
        out: dict[int, str] = {}
        for length in dict.fromkeys(n for _, n in questions):
            at = [i for i, (_, n) in enumerate(questions) if n == length]
            said = continuations(length, seed)(view, [questions[i][0] for i in at])
            out.update(zip(at, said, strict=True))
        return [out[i] for i in range(len(questions))]

    return ask


def _read(text: str, case: ToolUseCase) -> _Answer:
    kind, call = outcome(text, case.tool_spec)
    return _Answer(text, kind, call)


def _allowed(name: str, case: ToolUseCase, spec: ToolUseFidelitySpec) -> bool:
    return name in spec.allowed_tools if spec.allowed_tools is not None else name == case.gold_tool_name


def _verdict(
    spec: ToolUseFidelitySpec,
    n: int,
    found: _Table,
    harm: Margin,
    before: float,
    raw: float,
    hallucination: float,
) -> tuple[Verdict, list[str]]:
    """A fall beyond the gate fails when chance does not explain it; what cannot be ruled out is a warning."""
    if before <= ABOUT_NONE and raw <= ABOUT_NONE:
        return Verdict.WARN, ["neither model calls tools here, so there is nothing to compare"]
    wrong: list[str] = []
    doubtful: list[str] = []
    gate, fallen = spec.assert_validity_delta_gte, found.base_only - found.tuned_only
    if raw - before < gate - 1e-12:
        text = f"the rate fell by more than {-gate:g}" if gate <= 0 else f"the rate did not rise by {gate:g}"
        # The exact test is two-sided, the question is not.
        if fallen > 0 and mcnemar_exact(found.base_only, found.tuned_only) / 2.0 <= 1.0 - CONFIDENCE:
            wrong.append(text)
        else:
            doubtful.append(
                f"{text}: fewer by {'a single case' if fallen == 1 else f'{fallen} cases'}, which may be chance"
            )
    elif not harm.passed:
        most = "" if harm.upper is None else f" of {harm.upper:.2g}"
        doubtful.append(f"{n} cases do not rule out a fall{most}, {-gate:g} is allowed: add cases")
    if hallucination > spec.assert_hallucination_lte:
        wrong.append(f"{hallucination:.3g} of its calls name another tool, above {spec.assert_hallucination_lte:g}")
    if wrong:
        return Verdict.FAIL, wrong + doubtful
    return (Verdict.WARN if doubtful else Verdict.PASS), doubtful


def _sentence(
    n: int,
    found: _Table,
    delta: float,
    delta_ci: tuple[float, float] | None,
    p: float,
    hallucination: float,
    wrong: Sequence[str],
    shown: str,
    repeats: int,
) -> str:
    band = f" [{delta_ci[0]:+.3g}, {delta_ci[1]:+.3g}]" if delta_ci else ""
    parts = [
        f"valid calls: base {found.base_valid}, tuned {found.tuned_valid} of {n}, change {delta:+.3g}{band}, "
        f"McNemar {said('p', p_text(p))}",
        f"hallucination rate {hallucination:.3g}",
        f"{found.abstained} answers without any call",
    ]
    if shown == "not shown":
        parts.append("the tool's schema was not shown to the model")
    if repeats:
        parts.append(f"{repeats} of the cases listed are repeats and count once")
    return "; ".join([*parts, *wrong])


def _panel(
    spec: ToolUseFidelitySpec, cases: Sequence[ToolUseCase], base: Sequence[_Answer], tuned: Sequence[_Answer]
) -> Items:
    def row(case: ToolUseCase, b: _Answer, t: _Answer) -> Row:
        good = t.valid and _allowed(t.name, case, spec)
        note = f"tuned: {t.outcome}" + (f", calls {t.name}" if t.call else "") + f"; base: {b.outcome}"
        return Row(
            label=case.prompt, base=float(b.valid), tuned=float(t.valid), flag="good" if good else "bad", note=note
        )

    rows = [row(*each) for each in zip(cases, base, tuned, strict=True)]
    # The worst first, so that a bounded panel keeps what is worth reading.
    rows.sort(key=lambda r: (r.flag != "bad", (r.tuned or 0.0) - (r.base or 0.0)))
    return Items(title="Valid tool calls", unit="1 valid, 0 not", better="higher", rows=tuple(rows[:500]))


def _right_tool_rate(answers: Sequence[_Answer], cases: Sequence[ToolUseCase]) -> float:
    return _rate(a.valid and a.name == c.gold_tool_name for a, c in zip(answers, cases, strict=True))


def _argument_rate(answers: Sequence[_Answer], cases: Sequence[ToolUseCase]) -> float | None:
    """Share of the cases with known arguments that were answered with exactly these."""
    known = [(a, c.gold_arguments) for a, c in zip(answers, cases, strict=True) if c.gold_arguments is not None]
    if not known:
        return None
    right = [a.valid and a.call is not None and field_disagreement(a.call, {"arguments": g}) == 0.0 for a, g in known]
    return sum(right) / len(right)


def _rate(flags: Any) -> float:
    found = [bool(f) for f in flags]
    return sum(found) / len(found)


def _listed(pair: tuple[float, float] | None) -> list[float] | None:
    return None if pair is None else list(pair)
