"""The New run page without a browser: what its widgets do to the draft, and the draft to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash import jobs
from sway_dash.dash.costs import Cost
from sway_dash.dash.draft import Draft
from sway_dash.dash.pages.form_server import key_words
from sway_dash.dash.pages.new_run import NewRunView
from sway_dash.dash.pages.plan_card import plan_html, run_label, what
from sway_dash.suite.estimate import Memory, Pace
from sway_dash.suite.forecast import EntryForecast, Forecast
from tests.dash.conftest import suite_text
from tests.processes import loaded


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path))


def view(text: str = "") -> NewRunView:
    draft = Draft()
    if text:
        draft.load(text, base_dir=Path("/tmp"))
    return NewRunView(draft=draft)


def widget(found: NewRunView, label: str) -> Any:
    group = found.form_probes._group
    assert group is not None
    return next(f.widget for f in group.fields if f.widget.label == label)


def test_it_opens_with_the_entry_that_measures_prompts() -> None:
    found = view()
    assert found.form_probes.entry == 1
    assert widget(found, "name").value == "next_token"
    assert len(found.form_prompts._table.value) == 28


def test_a_widget_writes_its_place_and_a_problem_stands_at_it() -> None:
    found = view()
    widget(found, "continuation tokens").value = "0"
    assert found.draft.get("suite", 1, "continuation_tokens") == 0
    box = widget(found, "continuation tokens")
    assert box.error_state
    assert "greater than or equal to 1" in box.helper_text
    assert found.plan.button.label == "Run: show the first problem"
    box.value = ""
    assert not box.error_state
    assert found.draft.get("suite", 1, "continuation_tokens") is None


def test_the_document_is_chosen_in_the_form_and_a_missing_one_is_told_there() -> None:
    found = view()
    box = found.form_models._document.widget
    box.value = "nowhere.md"
    assert found.draft.get("dlm_source") == "nowhere.md"
    assert box.error_state
    assert "nowhere.md" in box.helper_text
    box.value = "document.md"
    assert not box.error_state
    box.value = ""
    assert found.draft.get("dlm_source") is None


def test_models_behind_a_server_are_written_in_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SWAY_API_KEY", "OPENAI_API_KEY", "SWAY_API_KEY_LAB"):
        monkeypatch.delenv(name, raising=False)
    found = view()
    form = found.form_models
    server = form.server
    assert not form._server_part.visible
    form._served.value = True
    assert form._server_part.visible
    assert not any(part.visible for part in (form._base_part, form._adapter_part, form._group_part))
    assert server.base_endpoint.widget.error_state
    assert "SWAY_API_KEY and OPENAI_API_KEY are not set" in server._caption.object
    server.base.widget.value, server.tuned.widget.value = "qwen", "support"
    server.base_endpoint.widget.value = "http://127.0.0.1:8000/v1"
    assert not found.draft.problems
    server.key.widget.value = "SWAY_API_KEY_LAB"
    assert "not set here" in server.key.widget.helper_text
    monkeypatch.setenv("SWAY_API_KEY_LAB", "sk-secret")
    found.draft.set_text(found.draft.text + "\n")
    assert not found.draft.problems
    assert "taken from SWAY_API_KEY_LAB" in server._caption.object
    url = "http://127.0.0.1:8000/v1"
    side = {"kind": "api", "endpoint": url, "key_env": "SWAY_API_KEY_LAB"}
    assert found.draft.data["models"] == {"base": {**side, "base": "qwen"}, "ft": {**side, "base": "support"}}
    server.tuned_endpoint.widget.value = "http://127.0.0.1:8001/v1"
    server.base_endpoint.widget.value = "http://127.0.0.1:8002/v1"
    assert found.draft.get("models", "ft", "endpoint") == "http://127.0.0.1:8001/v1"
    assert found.plan.button.label.startswith("Run: ")
    assert found.plan.button.label.endswith("answers")
    assert "sk-secret" not in found.draft.text + server._caption.object
    form._served.value = False
    assert found.draft.data["models"] == {"base": {"base": "qwen"}, "ft": {"base": "support"}}


def test_a_key_is_taken_from_no_other_variable() -> None:
    found = view()
    found.form_models._served.value = True
    found.form_models.server.key.widget.value = "AWS_SECRET_ACCESS_KEY"
    assert found.form_models.server.key.widget.error_state
    assert any("key_env" in line for line in found.draft.lines())
    assert "AWS_SECRET" not in " ".join([found.form_models.server.key.widget.helper_text, *found.draft.lines()])


def test_what_is_no_name_of_a_key_is_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_API_KEY_LAB", "sk-secret")
    monkeypatch.delenv("SWAY_API_KEY_FT", raising=False)
    draft = view().draft
    for side, text in (("base", "HOME"), ("base", "sk-pasted"), ("ft", "sk-pasted")):
        draft.set_values({("models", s, "key_env"): text if s == side else None for s in ("base", "ft")})
        words = key_words(draft)
        assert words.startswith("Give the name of a variable, SWAY_API_KEY or")
        assert text not in words
    draft.set_values(
        {("models", "base", "key_env"): "SWAY_API_KEY_LAB", ("models", "ft", "key_env"): "SWAY_API_KEY_FT"}
    )
    words = key_words(draft)
    assert "Base model: The key is taken from SWAY_API_KEY_LAB" in words
    assert "Tuned model: No key is sent: SWAY_API_KEY_FT is not set" in words


def test_run_opens_the_entry_and_the_fold_of_the_first_problem() -> None:
    found = view()
    found.draft.set_values({("suite", 3, "assert_z_gte"): "much"})
    assert found.form_probes.entry == 1
    before = found._jump.target
    found.start()
    assert (found.form_probes.entry, found._jump.target) == (3, before + 1)
    assert widget(found, "assert z gte").error_state
    assert found.started == ""


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("models", "base", "dtype"), "fp12"),
        (("models", "ft", "adapter"), "nowhere"),
        (("models", "ft", "kind"), "ollama"),
        (("suite", 1, "prompts"), []),
        (("suite", 0, "kind"), "unheard_of"),
        (("suite",), []),
        (("defaults", "seed"), -1),
    ],
)
def test_every_problem_has_a_place_to_go_to(place: Any, value: Any) -> None:
    found = view()
    found.draft.set_values({place: value})
    assert found.draft.problems
    found.start()
    assert found._jump.target == 1


def test_a_problem_of_the_text_is_in_the_editor() -> None:
    found = view()
    found.draft.set_text("version: 1\nmodels: [")
    found.start()
    assert found._editor.spot["row"] >= 1
    assert found._editor.marks


def test_what_was_typed_on_an_older_text_is_left_out() -> None:
    found = view(suite_text())
    editor = found._editor
    old = editor.content["number"]
    editor._handle_msg({"type": "text", "text": "# typed\n" + suite_text(), "number": old})
    assert found.draft.text.startswith("# typed\n")
    assert editor.content["number"] == old
    found.draft.set_values({("suite", 1, "name"): "form"})
    editor._handle_msg({"type": "text", "text": "# late\n" + suite_text(), "number": old})
    assert "name: form" in found.draft.text
    found.draft.undo()
    assert editor.content["text"] == found.draft.text


def test_entries_are_handled_in_the_list() -> None:
    found = view(suite_text())
    probes = found.form_probes
    probes._buttons["copy"].param.trigger("clicks")
    assert [e["name"] for e in found.draft.entries()] == ["noise", "moved", "moved_2", "strength"]
    assert probes.entry == 2
    probes._buttons["up"].param.trigger("clicks")
    assert [e["name"] for e in found.draft.entries()] == ["noise", "moved_2", "moved", "strength"]
    assert widget(found, "name").value == "moved_2"
    probes._buttons["remove"].param.trigger("clicks")
    assert [e["name"] for e in found.draft.entries()] == ["noise", "moved", "strength"]
    probes._add.value = "delta_kl"
    assert (probes.entry, probes._add.value) == (3, "")
    probes._on.value = False
    assert found.draft.get("suite", 3, "enabled") is False
    assert "off" in list(probes._list.options)[3]


def test_prompts_are_edited_tagged_and_removed() -> None:
    found = view(suite_text(prompts=3))
    prompts = found.form_prompts
    prompts._edited(type("E", (), {"row": 0, "column": "text", "value": "one\ntwo"}))
    prompts._edited(type("E", (), {"row": 0, "column": "tags", "value": "a; b"}))
    assert found.draft.get("suite", 1, "prompts", 0) == {"text": "one\ntwo", "tags": ["a", "b"]}
    prompts._table.selection = [0, 2]
    prompts._tag.value_input = "x"
    prompts._tagged(on=True)
    assert [p["tags"] for p in found.draft.get("suite", 1, "prompts")] == [["a", "b", "x"], ["odd"], ["even", "x"]]
    prompts._pick_tag("x")
    assert prompts._table.selection == [0, 2]
    prompts._remove()
    assert len(found.draft.get("suite", 1, "prompts")) == 1
    prompts._add()
    assert found.draft.get("suite", 1, "prompts", 1) == "New prompt"


def test_prompts_of_a_broken_entry_cannot_be_overwritten_by_accident() -> None:
    found = view(suite_text())
    found.draft.set_values({("suite", 1, "prompts"): "no list"})
    assert found.form_prompts._buttons["add"].disabled
    assert found.draft.messages(("suite", 1, "prompts"))


def test_it_starts_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def start(text: str, **options: Any) -> Any:
        seen.append((text, options))
        return type("F", (), {"id": "r-1"})

    monkeypatch.setattr(jobs, "start", start)
    found = view(suite_text())
    found._title.value = "Named"
    found.start()
    assert found.started == "r-1"
    assert seen == [(suite_text(), {"base_dir": Path("/tmp"), "name": "Named"})]

    def refuse(text: str, **options: Any) -> Any:
        raise OSError("disk <full>")

    monkeypatch.setattr(jobs, "start", refuse)
    found.start()
    assert "disk &lt;full&gt;" in found.plan.failure.object


def test_hostile_text_is_shown_as_text() -> None:
    evil = "<img src=x onerror=1>"
    found = view(suite_text())
    found.draft.set_values({("suite", 1, "name"): evil, ("suite", 1, "kind"): evil})
    shown = found.form_probes._head.object + found.plan._say.object
    assert "<img" not in shown
    assert "&lt;img" in shown


# -- the plan -----------------------------------------------------------------------------------


def cost(**changes: Any) -> Cost:
    entries = [
        EntryForecast("n", "null_adapter", 24, 20, 504, 48, 504.0),
        EntryForecast("a", "delta_kl", 24, 1, 24, 24, 24.0),
        EntryForecast("s", "adapter_ablation", 8, 6, 40, 16, 40.0),
        EntryForecast("off", "delta_kl"),
    ]
    options: dict[str, Any] = {"forecast": Forecast(entries, 8), "pace": None, "memory": None, **changes}
    return Cost(**options)


PACE = Pace("r-1", "cpu", "fp32", seconds=0.05, load_s=2.0, fingerprint="")


def test_the_button_repeats_the_plan() -> None:
    assert run_label(cost()) == "Run 576 passes"
    assert run_label(cost(pace=PACE)) == "Run 576 passes (≈ 31 s)"


def test_the_plan_is_told_in_words() -> None:
    words = [what(e) for e in cost().forecast.entries]
    assert words[:3] == ["24 prompts × base + 20 random adapters", "24 prompts × base + tuned", "8 prompts × 6 λ"]
    html = plan_html(cost(), 480)
    assert "no estimate of the time yet: nothing of this model was measured on this machine" in html.lower()
    assert "nothing to do for off" in html
    # What the run's own bar will show.
    assert "its progress counts to 480, measurements and answers" in html
    known = plan_html(cost(pace=PACE, memory=Memory(10**9, 10**8, "cuda", "bf16")), 480)
    assert "About 31 s, 2.0 s of it loading" in known
    assert "About 1.1 GB on the GPU: 1 GB of weights in bf16 and up to 100 MB to work with" in known


def test_the_plan_of_models_behind_a_server_counts_requests_and_no_memory() -> None:
    plan = Forecast([EntryForecast("moved", "delta_kl", 40, 1, 80, 0, 80.0, requests=6)], 2, served=True)
    served = Cost(plan, None, None)
    assert run_label(served) == "Run: 82 answers"
    html = plan_html(served, 40)
    assert "82 answers, 0 more look-ups from the cache; 8 requests where the server takes 16 prompts at once" in html
    assert "1 prompt × base + tuned" in html
    assert "pass" not in html.replace("password", "")
    assert "memory" not in html


@pytest.mark.parametrize(
    ("bounds", "button", "time"),
    [
        (["at least"], "Run at least 584 passes (≥ 31 s)", "At least 31 s"),
        (["at most"], "Run at most 584 passes (≤ 31 s)", "At most 31 s"),
        (["at least", "at most"], "Run about 592 passes (≈ 32 s)", "About 32 s"),
    ],
)
def test_a_number_that_is_no_more_than_a_bound_is_called_one(bounds: list[Any], button: str, time: str) -> None:
    more = [EntryForecast(bound, "k", 4, 1, 8, 0, 8.0, bound=bound) for bound in bounds]
    planned = cost(forecast=Forecast([*cost().forecast.entries, *more], 8), pace=PACE)
    assert run_label(planned) == button
    html = plan_html(planned, 0)
    assert time in html
    for bound in bounds:
        assert f">{bound} 8<" in html


def test_opening_the_page_loads_no_model_library(tmp_path: Path) -> None:
    code = (
        "from sway_dash.dash.draft import Draft; from sway_dash.dash.pages.new_run import NewRunView;"
        "NewRunView(draft=Draft())"
    )
    assert loaded(code, ("torch", "transformers", "peft", "safetensors")) == []
