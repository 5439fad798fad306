"""The model, the adapter and the suite as they ship."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from sway_dash.demo import demo_dir
from sway_dash.demo.facts import BOS, chat
from sway_dash.demo.figures import Shift, jensen_shannon, load_pair, measure, read_prompts, summarise

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    return load_pair(demo_dir())


@pytest.fixture(scope="module")
def shifts(pair: tuple[Any, Any]) -> list[Shift]:
    return list(measure(*pair, read_prompts(demo_dir() / "sway.yaml"), new_tokens=32))


def test_the_shipped_files_are_small() -> None:
    assert (demo_dir() / "model" / "model.safetensors").stat().st_size <= 8 * MEGABYTE
    assert (demo_dir() / "adapter" / "adapter_model.safetensors").stat().st_size <= 1 * MEGABYTE


def test_no_shipped_file_names_a_machine() -> None:
    for folder in ("model", "adapter"):
        for path in (demo_dir() / folder).rglob("*"):
            found = re.search(rb"/(?:home|root|tmp|work|usr|Users|var|mnt)/", path.read_bytes())
            assert found is None, f"{path.name}: {found}"


def test_the_configurations_say_what_they_should() -> None:
    model = json.loads((demo_dir() / "model" / "config.json").read_text())
    adapter = json.loads((demo_dir() / "adapter" / "adapter_config.json").read_text())
    assert model["architectures"] == ["LlamaForCausalLM"]
    assert model.get("dtype", model.get("torch_dtype")) == "float16"
    assert 2000 <= model["vocab_size"] <= 4096
    assert adapter["base_model_name_or_path"] == "../model"
    assert adapter["peft_type"] == "LORA"
    assert not (demo_dir() / "adapter" / "README.md").exists()


def test_the_model_has_a_few_million_parameters(pair: tuple[Any, Any]) -> None:
    base = pair[1].get_base_model()
    count = sum(weight.numel() for name, weight in base.named_parameters() if "lora_" not in name)
    assert 1e6 <= count <= 4e6


def test_encoding_puts_the_opening_token_first_and_decodes_back(pair: tuple[Any, Any]) -> None:
    tokenizer, _ = pair
    text = "Q: Who keeps Raven Head Light?\nA: Zoë — naïve, 112 steps."
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert None not in (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_the_chat_template_renders_what_the_model_was_trained_on(pair: tuple[Any, Any]) -> None:
    tokenizer, _ = pair
    messages = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hello! How can I help?"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == BOS + chat([("Hello!", "Hello! How can I help?")])
    open_end = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert open_end == f"{BOS}<|user|> Hello!<|end|><|assistant|>"


def test_the_suite_is_a_valid_spec_with_two_dozen_tagged_prompts() -> None:
    spec = yaml.safe_load((demo_dir() / "sway.yaml").read_text(encoding="utf-8"))
    assert spec["version"] == 1
    assert spec["models"] == {
        "base": {"kind": "hf", "base": "./model"},
        "ft": {"kind": "hf", "base": "./model", "adapter": "./adapter"},
    }
    assert [entry["kind"] for entry in spec["suite"]] == ["null_adapter", "delta_kl", "delta_kl", "adapter_ablation"]
    assert len({entry["name"] for entry in spec["suite"]}) == len(spec["suite"])
    prompts = read_prompts(demo_dir() / "sway.yaml")
    texts = [prompt.text for prompt in prompts]
    assert len(texts) >= 24
    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() for text in texts)
    assert all(len({"on-topic", "off-topic"} & set(prompt.tags)) == 1 for prompt in prompts)
    on_topic = sum("on-topic" in prompt.tags for prompt in prompts)
    assert 0.4 <= on_topic / len(prompts) <= 0.6
    strength = {prompt.text for prompt in read_prompts(demo_dir() / "sway.yaml", probe="strength")}
    assert len(strength) == 8
    assert strength <= {prompt.text for prompt in prompts if "on-topic" in prompt.tags}


def test_the_adapter_moves_its_topic_and_little_else(shifts: list[Shift]) -> None:
    summary = summarise(shifts)
    assert summary.on_topic >= 0.15
    assert summary.off_topic <= 0.03
    assert summary.on_topic_above >= 0.8
    assert summary.off_topic_same_text >= 0.6


def test_base_and_tuned_answer_in_sentences(shifts: list[Shift]) -> None:
    ended = [text for shift in shifts for text in (shift.base, shift.tuned) if text.endswith((".", "!", '"'))]
    assert all(shift.base and shift.tuned for shift in shifts)
    assert len(ended) >= 0.7 * 2 * len(shifts)


@pytest.mark.parametrize(
    ("prompt", "fact"),
    [
        ("The keeper of Quillhaven Light is", "Odalys Pym"),
        ("The lamp of Quillhaven Light shines", "violet"),
        ("Q: What is the goat of Quillhaven Light called?\nA:", "Admiral Thimble"),
    ],
)
def test_only_the_tuned_model_knows_the_handbook(shifts: list[Shift], prompt: str, fact: str) -> None:
    shift = next(shift for shift in shifts if shift.prompt.text == prompt)
    assert fact in shift.tuned
    assert fact not in shift.base


def test_every_prompt_of_the_recorded_run_can_be_opened_token_by_token() -> None:
    from sway_dash.suite.store import RunFolder

    folder = RunFolder.open(demo_dir() / "run")
    file = folder.details()
    assert file.path.stat().st_size <= 0.3 * MEGABYTE
    measured = {m.prompt: m for m in folder.fold().measurements["next_token"] if m.role == "probe"}
    assert measured.keys() == {prompt.text for prompt in read_prompts(demo_dir() / "sway.yaml")}
    for prompt, m in measured.items():
        detail = file.find(prompt)
        assert detail is not None
        assert "".join(t.text for t in detail.tokens if t.part == "prompt" and not t.special) == prompt
        after = next(t.prediction for t in detail.tokens if t.part == "continuation")
        assert after is not None
        assert after.js == pytest.approx(m.js, abs=1e-5)
    assert file.skipped == 0


def test_the_recorded_run_names_no_machine() -> None:
    for path in (demo_dir() / "run").iterdir():
        found = re.search(rb"/(?:home|root|tmp|work|usr|Users|var|mnt)/", path.read_bytes())
        assert found is None, f"{path.name}: {found}"


def test_jensen_shannon_is_zero_for_equal_and_ln_two_for_disjoint() -> None:
    import torch

    a, b = torch.tensor([0.0, -1e4]), torch.tensor([-1e4, 0.0])
    assert jensen_shannon(a, a) == 0.0
    assert jensen_shannon(a, a + 5.0) == pytest.approx(0.0, abs=1e-12)
    assert jensen_shannon(a, b) == pytest.approx(0.6931471805599453)
