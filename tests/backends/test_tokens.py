from __future__ import annotations

import json
from typing import Any

import pytest

from sway_dash.backends.tokens import Tokens
from sway_dash.core.errors import ProbeError
from tests.backends.conftest import make_tokenizer


@pytest.fixture(scope="module")
def llama_tokens() -> Tokens:
    return Tokens(make_tokenizer(), 32, 416)


@pytest.fixture(scope="module")
def gpt2_tokens() -> Tokens:
    return Tokens(make_tokenizer(bos=False), 32, 416)


def test_the_start_token_comes_once_even_when_the_text_has_it(llama_tokens: Tokens) -> None:
    assert llama_tokens.encode("hello").count(0) == 1
    assert llama_tokens.encode("<s>hello") == llama_tokens.encode("hello")


def test_an_end_token_the_tokenizer_appends_is_dropped() -> None:
    from tokenizers import processors

    raw = make_tokenizer()
    raw.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokens = Tokens(raw, 32, 416)
    assert tokens.encode("hello") == Tokens(make_tokenizer(), 32, 416).encode("hello")
    ids, start = tokens.encode_pair("hello", " there")
    assert (ids, start) == Tokens(make_tokenizer(), 32, 416).encode_pair("hello", " there")


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ("The quick", " brown fox"),
        ("The quick ", "brown fox"),
        ("The quick br", "own fox"),
        ("lett", "ers"),
        ("A harbour lies by the river, a", "nd the ferry"),
        ("číslo ", "žluť"),
    ],
)
def test_the_completion_is_every_token_that_reaches_beyond_the_prompt(
    llama_tokens: Tokens, prompt: str, completion: str
) -> None:
    ids, start = llama_tokens.encode_pair(prompt, completion)
    assert ids == llama_tokens.encode(prompt + completion)
    decode = llama_tokens.tokenizer.decode
    before, through = (decode(ids[1:n], clean_up_tokenization_spaces=False) for n in (start, start + 1))
    assert prompt.encode().startswith(before.encode("utf-8", "ignore").rstrip(b"\xef\xbf\xbd"))
    assert len(through) > len(prompt) or "\ufffd" in through
    assert decode(ids[start:]).strip().endswith(completion.strip())


def test_a_token_across_the_boundary_is_scored(llama_tokens: Tokens) -> None:
    text = "A harbour lies by the river"
    whole = llama_tokens.encode(text)
    last = llama_tokens.token_text(whole[-1])
    assert len(last) > 2, "the fixture's tokenizer must have merged something"
    prompt, completion = text[:-1], text[-1:]
    ids, start = llama_tokens.encode_pair(prompt, completion)
    assert (ids, start) == (whole, len(whole) - 1)
    assert len(llama_tokens.encode(prompt)) > start, "what a split by the prompt's length would have scored is not it"


@pytest.mark.parametrize("prompt", ["", "hello", "hello "])
def test_a_completion_without_tokens_is_refused(llama_tokens: Tokens, gpt2_tokens: Tokens, prompt: str) -> None:
    for tokens in (llama_tokens, gpt2_tokens):
        with pytest.raises(ProbeError, match="completion tokenized to zero"):
            tokens.encode_pair(prompt, "")


@pytest.mark.parametrize("completion", [" ", "  ", "\n"])
def test_a_completion_of_spaces_is_scored(llama_tokens: Tokens, gpt2_tokens: Tokens, completion: str) -> None:
    for tokens in (llama_tokens, gpt2_tokens):
        ids, start = tokens.encode_pair("hello", completion)
        assert start < len(ids)


def test_an_empty_prompt_has_the_start_or_the_end_token_as_context(llama_tokens: Tokens, gpt2_tokens: Tokens) -> None:
    ids, start = llama_tokens.encode_pair("", "hello")
    assert (ids[0], start) == (0, 1)
    ids, start = gpt2_tokens.encode_pair("", "hello")
    assert (ids[0], start) == (1, 1)
    assert ids[1:] == gpt2_tokens.encode("hello")


def test_an_empty_prompt_without_start_token_cannot_be_continued(gpt2_tokens: Tokens, llama_tokens: Tokens) -> None:
    assert llama_tokens.encode_prompt("") == ([0], 0)
    with pytest.raises(ProbeError, match="no tokens"):
        gpt2_tokens.encode_prompt("")


def test_a_tokenizer_without_offsets_falls_back_to_the_common_prefix(llama_tokens: Tokens) -> None:
    class Slow:
        is_fast = False

        def __init__(self, real: Any) -> None:
            self.real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def __call__(self, text: str, **options: Any) -> Any:
            return self.real(text)

    slow = Tokens(Slow(llama_tokens.tokenizer), 32, 416)
    assert slow.encode_pair("The quick", " brown fox") == llama_tokens.encode_pair("The quick", " brown fox")
    assert slow.encode_pair("letter", "s")[1] <= llama_tokens.encode_pair("letter", "s")[1]


def test_a_long_prompt_keeps_the_start_token_and_its_end(llama_tokens: Tokens) -> None:
    text = "the old dog sleeps by the sea " * 40
    full = llama_tokens.encode(text)
    ids, dropped = llama_tokens.encode_prompt(text, room=10)
    assert len(ids) == 22
    assert dropped == len(full) - 22
    assert ids == [0, *full[-21:]]


def test_tokens_the_model_has_no_row_for_are_refused(llama_tokens: Tokens) -> None:
    small = Tokens(llama_tokens.tokenizer, 32, 200)
    with pytest.raises(ProbeError, match="no embedding for token"):
        small.encode("The quick brown fox jumps")


def test_token_texts_keep_their_leading_space(llama_tokens: Tokens) -> None:
    texts = [llama_tokens.token_text(i) for i in llama_tokens.encode("hello the dog")[1:]]
    assert "".join(texts) == "hello the dog"
    assert llama_tokens.token_text(100_000) == "<100000>"
    half = llama_tokens.encode("ž")[1]
    assert "\ufffd" not in llama_tokens.token_text(half)
    assert llama_tokens.token_text(half)


# --- text of every token in its place ---------------------------------------------------------------------------------

TEXTS = (
    "hello the dog",
    "  two  spaces\n\n\ttab ",
    "číslo žluť naïve",
    "a🙂b 👩‍👩‍👧 end",
    "日本語のテキスト",
    "\ufffd replaced \ufffd\ufffd",
    "<s>hello</s> there<s>",
    "",
)


def sentencepiece_tokens() -> Tokens:
    """Like Llama 2's: spaces as ``▁``, one before the first word, unknown characters as bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    raw.train_from_iterator(["▁the▁quick▁brown▁fox▁hello▁the▁dog▁a▁b"], trainer)
    data = json.loads(raw.to_str())
    # The trainer takes the bytes for special tokens; in a real file they are ordinary ones.
    data["added_tokens"] = [t for t in data["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    return Tokens(tokenizer, 32, len(tokenizer))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("which", ["llama_tokens", "gpt2_tokens"])
def test_the_pieces_of_a_text_are_the_text(which: str, text: str, request: pytest.FixtureRequest) -> None:
    tokens: Tokens = request.getfixturevalue(which)
    ids = tokens.encode(text)
    pieces = tokens.pieces(ids)
    assert len(pieces) == len(ids)
    start = "<s>" if which == "llama_tokens" and not text.startswith("<s>") else ""
    assert "".join(pieces) == start + text


@pytest.mark.parametrize("text", ["the quick brown fox", "the číslo 🙂 dog", " a  b", "日本"])
def test_sentencepiece_pieces_keep_spaces_and_characters(text: str) -> None:
    tokens = sentencepiece_tokens()
    ids = tokens.encode(text)
    assert "".join(tokens.pieces(ids)) == text
    assert "".join(tokens.pieces([1, *ids, 2])) == f"<s>{text}</s>"


def test_a_character_of_several_tokens_belongs_to_the_last_of_them(llama_tokens: Tokens) -> None:
    ids = llama_tokens.encode("a🙂b")
    assert llama_tokens.pieces(ids) == ["<s>", "a", "", "", "", "🙂", "b"]
    assert llama_tokens.pieces(ids[:4]) == ["<s>", "a", "", "\ufffd"]
    # Between text and the rest of a character a special token may come in.
    assert llama_tokens.pieces([*ids[:3], 1, ids[-1]]) == ["<s>", "a", "\ufffd", "</s>", "b"]


def test_what_a_token_adds_does_not_depend_on_what_comes_later(llama_tokens: Tokens) -> None:
    ids = llama_tokens.encode("the žluť fox 🙂 ran")
    whole = llama_tokens.pieces(ids)
    for n in range(1, len(ids)):
        part = llama_tokens.pieces(ids[:n])
        assert part[:-1] == whole[: n - 1]
        assert part[-1] in (whole[n - 1], "\ufffd")


def test_broken_bytes_do_not_swallow_the_text_after_them(llama_tokens: Tokens) -> None:
    half = llama_tokens.encode("🙂")[1]
    after = llama_tokens.encode("hello the dog")[1:]
    pieces = llama_tokens.pieces([half] * 20 + after)
    assert "".join(pieces).endswith("hello the dog")
    assert sum(1 for p in pieces if p) > 1 + len(after)


def test_special_tokens_are_told_from_text(llama_tokens: Tokens) -> None:
    assert [llama_tokens.is_special(i) for i in llama_tokens.encode("<s>hello</s> a")] == [
        i in (0, 1) for i in llama_tokens.encode("<s>hello</s> a")
    ]
    assert llama_tokens.is_special(410)
    assert llama_tokens.pieces([410]) == ["<410>"]


def test_added_tokens_are_special_if_their_tokenizer_says_so() -> None:
    from tokenizers import AddedToken

    raw = make_tokenizer()
    raw.add_tokens([AddedToken("<|turn|>", special=True), AddedToken("<tool>", special=False)])
    tokens = Tokens(raw, 32, len(raw))
    ids = tokens.encode("hello<|turn|>the <tool> dog")
    marked = {p: tokens.is_special(i) for p, i in zip(tokens.pieces(ids), ids, strict=True)}
    assert marked["<|turn|>"]
    assert not marked["<tool>"]
    assert "".join(tokens.pieces(ids)) == "<s>hello<|turn|>the <tool> dog"
