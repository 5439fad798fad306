"""tool_use_fidelity: valid calls are counted in pairs; where nobody calls tools there is nothing to pass."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.events import Answered, RunStarted
from sway_dash.core.panels import read_panels
from sway_dash.core.result import ProbeResult, SuiteResult, Verdict, utcnow
from sway_dash.core.scoring import View
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.chat import render, render_with_tool
from sway_dash.suite.loader import from_dict
from sway_dash.suite.multiplicity import adjusted
from sway_dash.suite.runner import run
from tests.adapters import opened

PROSE = "It is sunny."


def call(city: Any = "Hartwell", name: str = "get_weather") -> str:
    return json.dumps({"name": name, "arguments": {"city": city}})


def tool(name: str = "get_weather") -> dict[str, Any]:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"name": name, "description": "Weather in a city", "parameters": schema}


def entry(n: int, **keys: Any) -> dict[str, Any]:
    cases = [{"prompt": f"q{i}", "tool_spec": tool(), "gold_tool_name": "get_weather"} for i in range(n)]
    return {"name": "tools", "kind": "tool_use_fidelity", "cases": cases, **keys}


def backend(base: list[str], tuned: list[str]) -> DummyDifferentialBackend:
    sides = [DummyResponses(generations={f"q{i}": text for i, text in enumerate(texts)}) for texts in (base, tuned)]
    return DummyDifferentialBackend(base=sides[0], ft=sides[1])


def judged(base: list[str], tuned: list[str], *, ctx: dict[str, Any] | None = None, **keys: Any) -> ProbeResult:
    probe, spec = build_probe(entry(len(base), **keys))
    result = probe.run(spec, RunContext(backend=backend(base, tuned), **(ctx or {})))
    json.dumps(result.evidence, allow_nan=False)
    return result


def test_random_adapters_are_planned_and_counted_as_they_answer():
    model = {"kind": "dummy", "base": "dummy"}
    noise = {"name": "noise", "kind": "null_adapter", "runs": 3}
    spec = from_dict({"models": {"base": model, "ft": model}, "suite": [noise, entry(4)]})
    seen: list[Any] = []
    run(spec, backend([call()] * 4, [call()] * 4), on_event=seen.append)
    planned = next(e for e in seen if isinstance(e, RunStarted)).probes[0]
    told = [e for e in seen if isinstance(e, Answered) and e.probe == "noise"]
    assert [(e.done, e.new) for e in told if e.new] == [(4, 4), (8, 4), (12, 4)]
    assert planned.answers == told[-1].total == 12


def test_no_cases_is_a_skip():
    probe, spec = build_probe(entry(0))
    assert probe.run(spec, RunContext()).verdict is Verdict.SKIP


def test_calls_that_stay_valid_pass():
    result = judged([call()] * 8, [call()] * 8)
    assert (result.verdict, result.raw, result.base_value, result.score) == (Verdict.PASS, 1.0, 1.0, 1.0)
    assert result.evidence["validity_delta"] == 0.0
    assert result.evidence["hallucination_rate"] == 0.0
    assert result.evidence["num_arg_pairs_compared"] == 8
    lo, hi = result.ci_95
    assert (round(lo, 4), hi) == (0.6756, 1.0)  # Wilson's interval of 8 of 8
    (panel,) = read_panels(result.evidence)
    assert {row.flag for row in panel.rows} == {"good"}


def test_where_neither_calls_tools_there_is_nothing_to_pass():
    result = judged([PROSE] * 8, [PROSE] * 8)
    assert (result.verdict, result.score) == (Verdict.WARN, None)
    assert "nothing to compare" in result.message
    assert result.evidence["abstention_rate_ft"] == 1.0


def test_calls_that_are_lost_fail_with_the_exact_p_value():
    result = judged([call()] * 8, [call()] * 2 + [PROSE] * 6)
    assert result.verdict is Verdict.FAIL
    assert result.evidence["mcnemar_p"] == pytest.approx(2 * 0.5**6)
    assert result.evidence["validity_delta"] == -0.75
    lo, hi = result.evidence["validity_delta_ci_95"]
    assert lo < -0.75 < hi < 0
    assert result.score < 0.6
    assert judged([call()] * 5, [PROSE] * 5).verdict is Verdict.FAIL
    few = judged([call()] * 2, [PROSE] * 2)
    assert (few.verdict, few.score) == (Verdict.WARN, 0.0)
    assert "fewer by 2 cases, which may be chance" in few.message


def test_few_cases_that_stay_valid_do_not_rule_out_a_fall():
    one = judged([call()], [call()])
    assert (one.verdict, one.score) == (Verdict.WARN, 0.59)
    assert "1 cases do not rule out a fall, 0.05 is allowed" in one.message
    # The same to the letter is no change; another answer may have been another outcome.
    other = [call("Oakdale")]
    assert judged([call()] * 8, other * 8).verdict is Verdict.WARN
    assert judged([call()] * 60, other * 60).verdict is Verdict.PASS


def test_one_case_of_many_is_a_doubt_and_no_finding():
    result = judged([call()] * 8, [call()] * 7 + ['{"name": "get_wea'])
    assert result.verdict is Verdict.WARN
    assert "single case" in result.message
    assert result.evidence["malformed_rate_ft"] == 0.125
    assert judged([call()] * 8, [call()] * 7 + [PROSE], assert_validity_delta_gte=-0.5).verdict is Verdict.PASS


def test_the_p_of_harm_tells_what_is_shown_harmless_from_what_may_be_chance():
    other = [call("Oakdale")]
    kept, fallen = judged([call()] * 60, other * 60), judged([call()] * 10, other * 8 + [PROSE] * 2)
    assert kept.evidence["p_harm"] == pytest.approx(0.95**60)
    # Ten became eight: neither a fall beyond chance nor shown to be none.
    assert (fallen.verdict, fallen.evidence["p_harm"] > 0.5) == (Verdict.WARN, True)
    allowed = judged([call()] * 10, other * 8 + [PROSE] * 2, assert_validity_delta_gte=-0.3)
    assert allowed.verdict is Verdict.WARN
    assert "10 cases do not rule out a fall of 0.51, 0.3 is allowed" in allowed.message
    assert allowed.evidence["p_harm"] == pytest.approx(
        sum(math.comb(10, k) * 0.3**k * 0.7 ** (10 - k) for k in (0, 1, 2))
    )
    ruined = judged([call()] * 10, other + [PROSE] * 9, assert_validity_delta_gte=-0.3)
    assert (ruined.verdict, ruined.evidence["p_harm"] > 0.99) == (Verdict.FAIL, True)
    # Nothing happened at all, and nothing to compare: no test.
    assert judged([call()] * 8, [call()] * 8).evidence["p_harm"] is None
    assert judged([PROSE] * 8, ["Rain."] * 8).evidence["p_harm"] is None


def test_the_p_of_harm_is_adjusted_with_the_other_tests_of_the_suite():
    kept = judged([call()] * 60, [call("Oakdale")] * 60)
    found = adjusted(SuiteResult("", utcnow(), utcnow(), "b", "a", "0", probes=(kept, replace(kept, name="again"))))
    assert [t.p_holm for t in found] == pytest.approx([2 * 0.95**60] * 2)


def test_a_case_listed_again_counts_once_and_that_is_said():
    again = [entry(3)["cases"][i] for i in (0, 1, 2, 0, 1, 2, 0, 1, 2)]
    once = judged([call()] * 3, [PROSE] * 3)
    result = judged([call()] * 3, [PROSE] * 3, cases=again)
    # Three times the same three falls would be p = 0.004.
    assert (result.verdict, result.evidence["mcnemar_p"]) == (Verdict.WARN, once.evidence["mcnemar_p"])
    assert result.evidence["num_cases"] == 3
    assert "6 of the cases listed are repeats and count once" in result.message
    assert "repeats" not in once.message
    other = [*again[:3], {**again[0], "tool_spec": tool("get_forecast")}]
    assert judged([call()] * 3, [PROSE] * 3, cases=other).evidence["num_cases"] == 4


def test_a_model_that_learnt_to_call_tools_scores_more_than_one_that_did_not_change():
    learnt = judged([PROSE] * 6 + [call()] * 2, [call()] * 8)
    same = judged([PROSE] * 6 + [call()] * 2, [PROSE] * 6 + [call()] * 2)
    assert learnt.verdict is same.verdict is Verdict.PASS
    assert learnt.score > same.score


def test_tools_that_do_not_exist_fail_however_well_formed():
    invented = [call(name="fetch_rain")] * 2 + [call()] * 6
    result = judged([call()] * 8, invented)
    assert result.verdict is Verdict.FAIL
    assert result.evidence["hallucination_rate"] == 0.25
    assert result.evidence["invented_names"] == ["fetch_rain"]
    assert result.evidence["right_tool_rate_ft"] == 0.75
    assert "above 0.1" in result.message
    keys = {"allowed_tools": ["get_weather", "fetch_rain"], "assert_validity_delta_gte": -0.5}
    allowed = judged([call()] * 8, invented, **keys)
    assert allowed.verdict is Verdict.PASS


def test_arguments_are_compared_with_the_base_and_with_what_is_right():
    cases = entry(2)["cases"]
    for case in cases:
        case["gold_arguments"] = {"city": "Hartwell"}
    result = judged([call()] * 2, [call(), call("Oakdale")], cases=cases)
    assert result.evidence["mean_arg_disagreement"] == 0.5
    assert (result.evidence["right_arguments_rate_base"], result.evidence["right_arguments_rate_ft"]) == (1.0, 0.5)


def test_noise_that_calls_tools_as_well_is_no_reason_to_fail():
    stats = {"tool_use_fidelity": {"mean": 0.99, "std": 0.01, "n": 5.0}}
    result = judged([call()] * 8, [call()] * 8, ctx={"null_stats": stats})
    assert result.verdict is Verdict.PASS
    assert result.z_score == pytest.approx(1.0)


def test_nulls_are_drawn_on_the_same_cases_without_the_base():
    probe, spec = build_probe(entry(4))
    views = [View.null(s) for s in (1, 2)]
    found = probe.draw_null(spec, RunContext(backend=backend([call()] * 3 + [PROSE], [PROSE] * 4)), views)
    assert found == dict.fromkeys(views, 0.75)
    assert len(type(probe).calibrate_spec(RunContext()).cases) == 2


class Tokenizer:
    """Has a template that knows tools, or not."""

    def __init__(self, knows: bool = True, template: str | None = "yes") -> None:
        self.knows, self.chat_template = knows, template

    def apply_chat_template(self, messages: Any, *, tokenize: bool, add_generation_prompt: bool, **extra: Any) -> str:
        shown = json.dumps(extra.get("tools")) if self.knows and extra.get("tools") else ""
        return shown + "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def test_the_tool_is_shown_by_the_template_or_in_words():
    text, how = render_with_tool(Tokenizer(), "q", tool())
    assert (how, '"get_weather"' in text, text.endswith("<user>q<assistant>")) == ("template", True, True)
    text, how = render_with_tool(Tokenizer(knows=False), "q", tool())
    assert (how, text.startswith("<system>You can call")) == ("system message", True)
    # A question that names the tool is not yet a template that shows it.
    assert render_with_tool(Tokenizer(knows=False), "call get_weather", tool())[1] == "system message"
    text, how = render_with_tool(Tokenizer(template=None), "q", tool())
    assert (how, "get_weather" in text, text.endswith("User: q\nAssistant:")) == ("plain", True, True)


def test_what_is_shown_is_what_is_asked():
    asked: list[str] = []

    def opened(tokenizer: Any) -> DummyDifferentialBackend:
        found = backend([], [])
        found._tokenizer = tokenizer
        for side in (found._base_r, found._ft_r):
            side.generations = Always(asked)
        return found

    probe, spec = build_probe(entry(1))
    shown = probe.run(spec, RunContext(backend=opened(Tokenizer()))).evidence["tool_shown"]
    assert (shown, "get_weather" in asked[0]) == ("template", True)
    probe, spec = build_probe(entry(1, show_tool="no"))
    result = probe.run(spec, RunContext(backend=opened(Tokenizer())))
    assert (asked[-1], result.evidence["tool_shown"]) == ("q0", "not shown")
    assert "was not shown" in result.message


class Always(dict[str, str]):
    """Answers everything with a call, and remembers what it was asked."""

    def __init__(self, asked: list[str]) -> None:
        super().__init__()
        self.asked = asked

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> str:
        self.asked.append(key)
        return call()


QUESTIONS = tuple(
    (f"Q: What is the weather in {city}?\nA:", {"city": city})
    for city in ("Hartwell", "Oakdale", "Raven", "Gull", "Elm", "Stone")
)


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's base after it has learnt to answer six questions with a call."""
    import torch

    from sway_dash.demo.figures import load_base
    from sway_dash.demo.training import reproducible

    with reproducible(seed=5, threads=1):
        tokenizer, model = load_base(demo_dir())
        model = model.float().train()
        pairs = [(tokenizer(q)["input_ids"], tokenizer(call(a["city"]))["input_ids"][1:]) for q, a in QUESTIONS]
        rows = [[*q, *a, tokenizer.eos_token_id] for q, a in pairs]
        width = max(map(len, rows))
        ids = torch.tensor([r + [0] * (width - len(r)) for r in rows])
        labels = torch.tensor(
            [[-100] * len(q) + r[len(q) :] + [-100] * (width - len(r)) for (q, _), r in zip(pairs, rows, strict=True)]
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        for _ in range(80):
            optimizer.zero_grad()
            loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            optimizer.step()
            if float(loss.detach()) < 0.01:
                break
    folder = tmp_path_factory.mktemp("caller")
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def run_on(caller: Path) -> Callable[[str], ProbeResult]:
    cases = [
        {"prompt": q, "tool_spec": tool(), "gold_tool_name": "get_weather", "max_new_tokens": 48, "gold_arguments": a}
        for q, a in QUESTIONS
    ]

    def run(kind: str) -> ProbeResult:
        probe, settings = build_probe(entry(0, cases=cases, show_tool="no"))
        with opened(kind, caller) as backend:
            return probe.run(settings, RunContext(backend=backend))

    return run


def test_a_real_model_that_calls_tools_passes_unchanged_and_fails_when_ruined(run_on):
    same = run_on("zero")
    assert (same.verdict, same.raw, same.score) == (Verdict.PASS, 1.0, 1.0)
    ruined = run_on("forgetting")
    assert (ruined.verdict, ruined.base_value) == (Verdict.FAIL, 1.0)
    assert ruined.raw <= 0.5


def test_the_demo_calls_no_tools_and_the_template_without_tools_gets_a_system_message():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_dir() / "model")
    text, how = render_with_tool(tokenizer, "What is the weather?", tool())
    assert (how, "<|system|>" in text, text.endswith("<|assistant|>")) == ("system message", True, True)
    assert render(tokenizer, [{"role": "user", "content": "Hello"}]).startswith("<|begin|><|user|>")
