"""The demo's tokenizer, and text packed into rows of token ids. Must not know models or training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sway_dash.demo.facts import ASSISTANT, BOS, END, PAD, SPECIAL_TOKENS, SYSTEM, USER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|> ' + message['content'] | trim + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '" + ASSISTANT + "' }}{% endif %}"
)


def train_tokenizer(texts: Sequence[str], *, vocab_size: int, row: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE tokenizer of ``vocab_size`` tokens for rows of ``row`` tokens; encoding puts BOS first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL_TOKENS),
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bpe.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=row,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` so that transformers 4 and 5 read them alike."""
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config.pop("backend", None)
    config.pop("extra_special_tokens", None)  # a list here is what transformers 4 stumbles over
    config["additional_special_tokens"] = [SYSTEM, USER, ASSISTANT]
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["chat_template"] = CHAT_TEMPLATE
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def pack(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], *, row: int) -> npt.NDArray[np.int64]:
    """Token ids of ``texts``, packed into rows that each begin with a new text.

    Returns
    -------
    ``(rows, row)`` token ids. Each text is opened by BOS and closed by the end token. The last text of a row is
    cut where the row ends; its rest is dropped, and so is a last row that is not full.
    """
    end = tokenizer.eos_token_id
    rows: list[list[int]] = []
    current: list[int] = []
    for ids in tokenizer(list(texts), verbose=False)["input_ids"]:
        current += ids if ids[-1] == end else [*ids, end]
        if len(current) >= row:
            rows.append(current[:row])
            current = []
    return np.array(rows, dtype=np.int64).reshape(len(rows), row)
