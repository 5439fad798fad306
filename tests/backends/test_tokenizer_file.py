"""A tokenizer file cuts a prompt as the engine does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sway_dash.backends.tokenizer_file import TokenizerFile, tokenizer_folder
from sway_dash.backends.tokens import Tokens
from sway_dash.core.errors import ModelLoadError
from sway_dash.demo import demo_dir
from tests.backends.conftest import PROMPTS, make_tokenizer

TEXTS = (*PROMPTS, "<s>hello", " lead and trail ", "two\nlines\n", "é 😀 ü", "a</s>")


@pytest.mark.parametrize("bos", [True, False])
def test_the_ids_are_those_the_run_scores(bos: bool, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(bos=bos)
    tokenizer.save_pretrained(tmp_path)
    engine, file = Tokens(tokenizer, 96, 10_000), TokenizerFile(tmp_path)
    for text in TEXTS:
        cut = file.cut(text)
        assert [t.id for t in cut.tokens] == engine.encode(text)
        assert bool(cut.tokens[0].special) == (bos or text.startswith("</s>"))
        assert cut.second_start == (bos and text.startswith("<s>"))


def test_the_demo_is_cut_as_transformers_cuts_it() -> None:
    from transformers import AutoTokenizer

    folder = demo_dir() / "model"
    engine, file = Tokens(AutoTokenizer.from_pretrained(folder), 256, 2048), TokenizerFile(folder)
    for text in (*TEXTS, "<|begin|>The lamp", "The lamp<|end|>"):
        assert [t.id for t in file.cut(text).tokens] == engine.encode(text)
    assert (file.start, file.end, file.has_template) == ("<|begin|>", "<|end|>", True)
    assert file.specials("<|user|> hi") == ["<|user|>"]


def test_the_tokens_are_the_text() -> None:
    file = TokenizerFile(demo_dir() / "model")
    text = "The lamp shines.\n\tAnd  again"
    assert "".join(t.text for t in file.cut(text).tokens if not t.special) == text


def test_an_end_token_the_tokenizer_appends_is_left_out(tmp_path: Path) -> None:
    from tokenizers import processors

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.save_pretrained(tmp_path)
    assert [t.text for t in TokenizerFile(tmp_path).cut("hello").tokens if t.special] == ["<s>"]


def test_the_adapters_tokenizer_comes_first(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    make_tokenizer().save_pretrained(base)
    adapter.mkdir()
    assert tokenizer_folder(base, adapter) == base
    make_tokenizer().save_pretrained(adapter)
    assert tokenizer_folder(base, adapter) == adapter
    (adapter / "tokenizer.json").unlink()
    assert tokenizer_folder(base, adapter) is None
    assert tokenizer_folder(None, None) is None


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        TokenizerFile(tmp_path)


def test_records_of_special_tokens_are_understood(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": {"content": "<s>"}, "eos_token": None}))
    file = TokenizerFile(tmp_path)
    assert (file.start, file.end, file.has_template) == ("<s>", "", False)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert TokenizerFile(tmp_path).has_template
