"""A probe that asks for answers tells how far it is, and a stopped one has a result over what both views answered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sway_dash.core.errors import RunCancelled
from sway_dash.core.events import Answered, ProbeFinished, RunCancelledEvent, RunStarted
from sway_dash.core.result import ProbeResult, SuiteResult, Verdict
from sway_dash.core.scoring import RollingLogprob, TokenDist
from sway_dash.core.sections import Section
from sway_dash.dash.progress import Progress
from sway_dash.probes.answers import CONTINUED, SCORED, ask_both
from sway_dash.probes.base import RunContext
from sway_dash.probes.tally import Tally
from sway_dash.suite.fold import Fold, fold, probe_to_dict
from sway_dash.suite.loader import from_dict
from sway_dash.suite.runner import run
from sway_dash.suite.status import settled

WORDS = ("the", "a", "of", "keeper", "light", "sea", "goat", "tea", "and", "is", "was", "with", "every", "nine", "ink")


def number(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "big")


class View:
    """Answers whatever it is asked, the same each time."""

    def __init__(self, name: str) -> None:
        self.id = name

    def generate(self, prompt: str, *, max_new_tokens: int, **_: Any) -> str:
        return " ".join(WORDS[number(self.id, prompt, i) % len(WORDS)] for i in range(24)) + "."

    def logprob_of(self, prompt: str, completion: str) -> float:
        return -1.0 - number(self.id, prompt, completion) % 100 / 50 - (0.0 if self.id == "ft" else 1.0)

    def rolling_logprob(self, text: str) -> RollingLogprob:
        n = len(text.split())
        logprobs = np.full(n - 1, self.logprob_of("", text), dtype=np.float32)
        return RollingLogprob(np.arange(n), logprobs, n, float(logprobs.sum()))

    def next_token_dist(self, prompt: str, *, top_k: int = 8) -> TokenDist:
        logits = np.array([number(self.id, prompt, i) % 100 / 50 for i in range(8)])
        logprobs = logits - np.log(np.exp(logits).sum())
        return TokenDist(np.arange(8), logprobs.astype(np.float32), 8, None)


class Backend:
    """Two of them, and a tokenizer that can hold a conversation."""

    def __init__(self) -> None:
        self._tokenizer = SimpleNamespace(
            chat_template="x",
            apply_chat_template=lambda messages, **_: "\n".join(f"{m['role']}: {m['content']}" for m in messages),
            encode=lambda text, **_: text.split(),
        )
        self.blocks: list[str] = []

    @contextmanager
    def _view(self, name: str) -> Iterator[View]:
        self.blocks.append(name)
        yield View(name)

    def as_base(self) -> Any:
        return self._view("base")

    def as_finetuned(self) -> Any:
        return self._view("ft")


TOOL = {"name": "find", "parameters": {"properties": {"name": {"type": "string"}}}}
CASES = [
    {"prompt": f"question {i}", "gold": " the answer", "paraphrases": [f"asked {i}", f"say {i}"]} for i in range(40)
]
PROMPTS = [f"It began on day {i}" for i in range(40)]

ENTRIES: dict[str, dict[str, Any]] = {
    "calibration_drift": {},
    "external_perplexity": {"texts": [f"{' '.join(WORDS)} number {i}. " * 8 for i in range(70)], "max_chunks": 128},
    "paraphrase_invariance": {"cases": CASES},
    "preference_flip": {"triples": [{"prompt": f"p{i}", "chosen": " yes", "rejected": f" no {i}"} for i in range(100)]},
    "section_internalization": {},
    "style_fingerprint": {"prompts": PROMPTS, "doc_reference": f"{' '.join(WORDS)}. " * 30},
    "leakage": {"prefix_chars": 40, "continuation_chars": 40},
    "adapter_revert": {"cases": CASES},
    "tool_use_fidelity": {
        "cases": [{"prompt": p, "tool_spec": TOOL, "gold_tool_name": "find", "max_new_tokens": 8} for p in PROMPTS]
    },
    "multi_turn_coherence_decay": {"prompts": PROMPTS, "max_turns": 3},
}

SECTIONS = tuple(Section(f"s{i}", "prose", f"{' '.join(WORDS)} in chapter {i}. " * 6) for i in range(90))


def suite(*entries: dict[str, Any]) -> Any:
    model = {"kind": "dummy", "base": "dummy"}
    return from_dict({"models": {"base": model, "ft": model}, "suite": list(entries)})


def stopped(kind: str, when: Callable[[Answered], bool]) -> tuple[SuiteResult, list[Any]]:
    """The result and the events of a run that is asked to stop at an event."""
    seen: list[Any] = []

    def over() -> bool:
        return any(isinstance(e, Answered) and when(e) for e in seen)

    entry = {"name": "probe", "kind": kind, **ENTRIES[kind]}
    result = run(suite(entry), Backend(), on_event=seen.append, cancel=over, sections=SECTIONS)
    return result, seen


@cache
def whole(kind: str) -> list[Any]:
    """Events of a run to its end."""
    result, events = stopped(kind, lambda e: False)
    assert "partial" not in result.probes[0].evidence
    assert result.probes[0].evidence.get("panels"), result.probes[0].message
    return events


@pytest.mark.parametrize("kind", ENTRIES)
def test_a_stopped_probe_is_judged_over_what_both_views_answered_and_asserts_nothing(kind: str) -> None:
    total = max(e.total for e in whole(kind) if isinstance(e, Answered))
    result, events = stopped(kind, lambda e: e.done >= 0.6 * total)
    (probe,) = result.probes
    assert result.status == "cancelled"
    assert isinstance(events[-1], RunCancelledEvent)
    part = probe.evidence["partial"]
    # Of two steps the first is whole by then; what counts is what was judged.
    assert 0 < part["done"] < part["planned"] or kind in ("leakage", "adapter_revert")
    how = ", though not in every step" if part["done"] == part["planned"] else ""
    assert probe.message.startswith(f"partial: {part['done']} of {part['planned']} items{how}; ")
    assert probe.verdict in (Verdict.WARN, Verdict.ERROR)
    assert probe.raw is not None or probe.evidence["per_turn_kls"]
    # The same is read from the events alone.
    assert fold(events).probes[0].message == probe.message


@pytest.mark.parametrize("kind", ENTRIES)
def test_the_answers_that_were_planned_are_those_that_come(kind: str) -> None:
    events = whole(kind)
    (planned,) = next(e for e in events if isinstance(e, RunStarted)).probes
    told = [e for e in events if isinstance(e, Answered)]
    assert [e.done for e in told] == list(np.cumsum([e.new for e in told]))
    assert told[-1].done == told[-1].total
    if kind not in ("section_internalization", "leakage"):  # their document is read later
        assert planned.answers >= told[-1].total
    if kind not in ("section_internalization", "leakage", "adapter_revert"):
        assert planned.answers == told[-1].total
    state, bar = Fold(), Progress()
    for event in events:
        state.add(event)
        bar.add(event)
        assert state.done <= state.total
    assert state.done == state.total == told[-1].total
    assert bar.whole.done == bar.whole.total == state.total


@pytest.mark.parametrize("done", [0, 64])
def test_a_stop_in_the_second_step_leaves_the_first(done: int) -> None:
    """Every paraphrase was answered by both views; of their likelihoods none, or a part, is known."""
    asked = 2 * sum(len(case["paraphrases"]) for case in CASES)
    result, _ = stopped("adapter_revert", lambda e: e.done >= asked + done)
    (probe,) = result.probes
    assert result.status == "cancelled"
    assert probe.evidence["partial"] == {"done": asked // 2, "planned": asked // 2}
    assert probe.evidence["total"] + probe.evidence["dropped_trivial"] == asked // 2
    assert probe.evidence["likelihood_total"] < probe.evidence["total"]


def test_a_stop_before_the_prompts_are_perturbed_leaves_what_was_recited() -> None:
    total = max(e.total for e in whole("leakage") if isinstance(e, Answered))
    result, _ = stopped("leakage", lambda e: e.done >= total)
    (probe,) = result.probes
    assert result.status == "cancelled"
    assert probe.evidence["num_windows"] == probe.evidence["partial"]["done"] == total // 4
    assert probe.evidence["exposure_nats_per_token"] is not None
    assert probe.evidence["mean_perturbed_recall"] is None


@pytest.mark.parametrize(
    ("kind", "portion"), [("leakage", CONTINUED), ("tool_use_fidelity", CONTINUED), ("paraphrase_invariance", SCORED)]
)
def test_what_was_not_asked_before_a_stop_is_not_told_as_failed(kind: str, portion: int) -> None:
    result, _ = stopped(kind, lambda e: e.done >= 2 * portion)
    (probe,) = result.probes
    assert probe.evidence["partial"]["done"] < probe.evidence["partial"]["planned"]
    assert not any(probe.evidence.get(key) for key in ("unanswered_windows", "dropped_cases"))
    assert not any(word in probe.message for word in ("could not be continued", "cases not scored"))


def test_conversations_held_before_a_stop_are_no_matter_of_where_they_stand() -> None:
    result, _ = stopped("multi_turn_coherence_decay", lambda e: e.done >= 200)
    (probe,) = result.probes
    told = [PROMPTS.index(text) for text in probe.evidence["prompts"]]
    assert len(told) == probe.evidence["num_prompts"] == probe.evidence["partial"]["done"] == CONTINUED
    assert told == sorted(told)
    assert told[-1] >= 2 * CONTINUED
    assert all(len(own) == CONTINUED for own in probe.evidence["replies"].values())


def test_a_probe_stopped_before_both_views_answered_anything_has_no_result() -> None:
    result, events = stopped("calibration_drift", lambda e: e.done == SCORED)
    assert not any(isinstance(e, ProbeFinished) for e in events)
    assert result.probes[0].verdict is Verdict.SKIP
    assert result.probes[0].message.startswith(f"partial: {SCORED} of {2 * 200} answers so far")


@pytest.mark.parametrize("kind", ["calibration_drift", "tool_use_fidelity"])
def test_a_killed_run_shows_how_much_was_answered(kind: str) -> None:
    """Nothing was told after the last answer: no result, no end."""
    events = whole(kind)
    last = max(i for i, e in enumerate(events) if isinstance(e, Answered) and e.done < e.total)
    killed = events[: last + 1]
    done, total = killed[-1].done, killed[-1].total

    def shown(some: list[Any]) -> None:
        found = Fold().extend(some)
        found.settle()
        (probe,) = settled(found.result(), alive=False).probes
        assert (probe.verdict, probe.raw) == (Verdict.SKIP, None)
        assert probe.evidence["partial"] == {"done": done, "planned": total}
        assert probe.message.startswith(f"partial: {done} of {total} answers so far")
        assert found.done == done

    shown(killed)
    # The same where it is resumed and killed again before it asked anything.
    again = killed[0].model_copy(update={"resumed": True})
    shown([*killed, again])
    # Whoever resumes it to the end has a result and no trace of that.
    rest = [again, *events[1:]]
    assert fold([*killed, *rest]).probes == fold(events).probes


def test_what_is_answered_first_is_no_matter_of_where_it_stands() -> None:
    found: list[int] = []

    def ask(view: Any, some: Any) -> list[int]:
        found.extend(some)
        return list(some)

    told = ask_both(RunContext(backend=Backend(), seed=3), range(4 * SCORED), ask)
    assert told.base == told.tuned == tuple(range(4 * SCORED))
    first = found[:SCORED]
    assert max(first) > 3 * SCORED > SCORED > min(first)
    again = list(found)
    found.clear()
    ask_both(RunContext(backend=Backend(), seed=3), range(4 * SCORED), ask)
    assert found == again


def test_only_a_probe_that_may_keep_a_part_changes_views_for_every_portion() -> None:
    backend = Backend()
    ask_both(RunContext(backend=backend), range(3 * CONTINUED), lambda view, some: list(some), portion=CONTINUED)
    assert backend.blocks == ["base", "ft"]
    backend.blocks.clear()
    keeping = RunContext(backend=backend, keeps_part=True)
    ask_both(keeping, range(3 * CONTINUED), lambda view, some: list(some), portion=CONTINUED)
    assert backend.blocks == ["base", "ft"] * 3


def test_a_random_adapter_that_was_measured_in_part_is_no_draw() -> None:
    tally = Tally()
    stops = iter([False, False, False, True])
    ctx = RunContext(backend=Backend(), tally=tally, cancelled=lambda: next(stops, True))
    with pytest.raises(RunCancelled):
        ask_both(ctx, range(4 * SCORED), lambda view, some: list(some))
    assert tally.short is None


def test_answers_of_a_probe_that_is_over_are_not_waited_for() -> None:
    seen = whole("calibration_drift")
    state, bar = Fold(), Progress()
    # Half of what was planned was enough.
    for event in [*seen[: next(i for i, e in enumerate(seen) if isinstance(e, Answered)) + 3]]:
        state.add(event)
        bar.add(event)
    assert state.done == 2 * SCORED < state.total == bar.whole.total == 400
    over = ProbeFinished(result=probe_to_dict(ProbeResult("probe", "calibration_drift", Verdict.PASS, 1.0)))
    state.add(over)
    bar.add(over)
    assert state.done == state.total == bar.whole.total == 2 * SCORED


def test_a_resumed_run_is_counted_and_judged_anew() -> None:
    _, first = stopped("calibration_drift", lambda e: e.done >= 200)
    begins, *rest = whole("calibration_drift")
    again = begins.model_copy(update={"resumed": True})
    state = Fold().extend([*first, again, *rest])
    assert "partial" not in state.result().probes[0].evidence
    assert state.done == state.total == 400
    # Stopped once more before it is reached, what the first attempt knew still stands.
    state = Fold().extend([*first, again, RunCancelledEvent()])
    assert state.result().probes[0].evidence["partial"] == {"done": 2 * SCORED, "planned": 200}
    assert state.done <= state.total
