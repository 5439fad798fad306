"""What is known of a draft's models, and what the plan makes of it; without a browser, everything at once."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash.costs import Costs
from sway_dash.dash.draft import Draft
from sway_dash.dash.latest import Latest
from sway_dash.dash.model_facts import ADAPTER_AT, BASE_AT, ModelFacts
from sway_dash.dash.pages.plan_card import PlanCard
from sway_dash.dash.token_chips import chips, said, warnings
from tests.dash.conftest import suite_text


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def wide(folder: Path) -> Path:
    """A base whose matrices are larger than the example's."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 4}))
    tensors = {f"model.layers.{i}.self_attn.q_proj.weight": [512, 512] for i in range(4)}
    header = json.dumps({n: {"dtype": "F32", "shape": s, "data_offsets": [0, 0]} for n, s in tensors.items()}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * len(header))
    return folder


def test_the_example_is_described() -> None:
    facts = ModelFacts(Draft())
    assert facts.adapter is not None
    assert facts.base is not None
    assert (facts.adapter.rank, facts.base.layers) == ("16", 4)
    assert facts.tokenizer is not None
    assert facts.remark == ""
    assert {f.value for f in facts.found.found} >= {"./model", "./adapter"}


def test_a_base_that_does_not_fit_is_a_problem_until_it_is_changed(tmp_path: Path) -> None:
    draft = Draft()
    ModelFacts(draft)
    draft.set_values(dict.fromkeys((BASE_AT, ("models", "ft", "base")), str(wide(tmp_path / "wide"))))
    assert [where for where, _ in draft.problems] == [ADAPTER_AT]
    assert "does not fit" in draft.messages(ADAPTER_AT)[0]
    draft.undo()
    assert not draft.problems


def test_what_the_text_says_already_is_not_said_twice(tmp_path: Path) -> None:
    draft = Draft()
    ModelFacts(draft)
    draft.set_values({ADAPTER_AT: str(tmp_path / "nowhere")})
    assert len(draft.messages(ADAPTER_AT)) == 1


def test_a_pickle_is_refused_in_the_engines_words(tmp_path: Path) -> None:
    draft = Draft()
    ModelFacts(draft)
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.bin").write_bytes(b"x")
    draft.set_values({ADAPTER_AT: str(folder)})
    assert "a pickle, which can run any code" in draft.messages(ADAPTER_AT)[0]


def test_a_hub_id_that_is_not_here_yet_is_no_problem() -> None:
    draft = Draft()
    facts = ModelFacts(draft)
    draft.set_values(dict.fromkeys((BASE_AT, ("models", "ft", "base")), "org/not-here"))
    assert not draft.problems
    assert facts.base is None
    assert "not on this disk" in facts.no_tokenizer


def test_other_kinds_are_not_looked_into() -> None:
    draft = Draft()
    facts = ModelFacts(draft)
    draft.load(suite_text(), base_dir=Path("/tmp"))
    assert not draft.problems
    assert (facts.base, facts.adapter) == (None, None)


def test_two_models_are_both_described() -> None:
    draft = Draft()
    facts = ModelFacts(draft)
    draft.set_values({("defaults", "differential"): False})
    assert facts.tuned is not None
    assert facts.tuned.layers == 4


def test_only_the_newest_question_is_answered() -> None:
    waiting: list[Any] = []
    latest = Latest(lambda work, then: waiting.append((work, then)))
    seen: list[int] = []
    for n in range(4):
        latest.ask(lambda n=n: n, seen.append)
    while waiting:
        work, then = waiting.pop()
        then(work())
    assert seen == [3]


def test_work_that_fails_does_not_stop_the_next() -> None:
    latest = Latest()
    seen: list[int] = []
    latest.ask(lambda: 1 // 0, seen.append)
    latest.ask(lambda: 2, seen.append)
    assert seen == [2]


def test_a_failure_is_told_unless_it_is_out_of_date() -> None:
    waiting: list[Any] = []
    latest = Latest(lambda work, then: waiting.append((work, then)))
    seen: list[Any] = []
    latest.ask(lambda: 1 // 0, seen.append, lambda error: seen.append(("first", error)))
    latest.ask(lambda: 1 // 0, seen.append, lambda error: seen.append(("second", type(error))))
    assert latest.busy
    while waiting:
        work, then = waiting.pop()
        then(work())
    assert seen == [("second", ZeroDivisionError)]
    assert not latest.busy


def test_work_with_a_pause_is_not_begun_when_more_is_asked_meanwhile() -> None:
    threads: list[threading.Thread] = []
    results: list[Any] = []

    def background(work: Any, then: Any) -> None:
        threads.append(threading.Thread(target=lambda: results.append((then, work())), daemon=True))
        threads[-1].start()

    latest, worked, seen = Latest(background), [], []
    for n in range(3):
        # Longer than any test waits, except for what is asked last.
        latest.ask(lambda n=n: worked.append(n) or n, seen.append, pause_s=3600 if n < 2 else 0)
    for i in range(2):
        threads[i].join(30)
        assert not threads[i].is_alive()
        then, answer = results[i]
        then(answer)
    assert (worked, seen) == ([2], [2])


def test_a_cost_that_cannot_be_told_takes_the_earlier_one_away(monkeypatch: pytest.MonkeyPatch) -> None:
    draft = Draft()
    costs = Costs(draft, ModelFacts(draft))
    card = PlanCard(draft=draft, costs=costs)
    assert costs.cost is not None

    def fail(*_: Any) -> None:
        raise RuntimeError("<b>no pace</b>")

    with monkeypatch.context() as broken:
        broken.setattr("sway_dash.dash.costs.measured_pace", fail)
        draft.set_values({("suite", 0, "enabled"): False})
    assert costs.cost is None
    assert "no pace" in costs.failure
    assert "&lt;b&gt;no pace" in card._say.object
    assert card.button.label == "Run"
    draft.undo()
    assert costs.cost is not None
    assert costs.failure == ""
    assert "no pace" not in card._say.object


def test_models_that_cannot_be_read_leave_nothing_of_the_last_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = Draft()
    facts = ModelFacts(draft)
    assert facts.base is not None

    def fail(_: str) -> None:
        raise RuntimeError("unheard of")

    monkeypatch.setattr("sway_dash.dash.model_facts.look_at_base", fail)
    draft.set_values(dict.fromkeys((BASE_AT, ("models", "ft", "base")), str(wide(tmp_path / "wide"))))
    assert not facts.looking
    assert facts.base is None
    assert "unheard of" in facts.no_tokenizer


def test_the_cost_follows_the_draft() -> None:
    draft = Draft()
    costs = Costs(draft, ModelFacts(draft))
    assert costs.cost is not None
    assert costs.cost.forecast.passes == 524
    assert costs.cost.memory is not None
    draft.set_values({("suite", 0, "enabled"): False})
    assert costs.cost.forecast.passes == 524 - 428 + 28
    draft.set_text("models: [")
    assert costs.cost is None
    draft.undo()
    assert costs.cost is not None


# -- tokens -------------------------------------------------------------------------------------


def tokenizer() -> Any:
    return ModelFacts(Draft()).tokenizer


def test_chips_show_specials_spaces_and_line_breaks() -> None:
    html = chips(tokenizer().cut("The lamp\n<b>"))
    assert '<span class="sway-chip sway-special" title="special token 1">&lt;|begin|&gt;</span>' in html
    assert ">·lamp</span>" in html
    assert ">⏎</span>" in html
    assert "<b>" not in html


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The lamp ", "ends with a space"),
        ("<|begin|>The lamp", "the second is left out"),
        ("The lamp", "chat template"),
        ("a " * 300, "the model reads 256"),
    ],
)
def test_what_is_odd_about_a_prompt_is_said(text: str, words: str) -> None:
    file = tokenizer()
    assert any(words in w for w in warnings(text, file.cut(text), file, 256))


def test_nothing_is_said_of_a_prompt_that_is_a_chat_turn() -> None:
    file = tokenizer()
    text = "<|user|> Who keeps the light?<|assistant|>"
    assert warnings(text, file.cut(text), file, 256) == []
    assert said(file.cut(text), file).endswith("<|begin|> first")


def test_a_very_long_prompt_shows_its_end() -> None:
    html = chips(tokenizer().cut("a b " * 600))
    assert "tokens before …" in html
    assert html.count("sway-chip") < 500
