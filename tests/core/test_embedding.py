"""Texts as vectors: without a sentence model wording is compared, nothing is fetched, and the name says which."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sway_dash.core import embedding
from sway_dash.core.embedding import DEFAULT_MODEL, cosine, embedder, kmeans
from sway_dash.core.errors import BackendNotAvailableError

BREAD = ["bake the bread in the oven", "the bread in the oven is baked", "bread from the oven"]
BOATS = ["the boats sail out of the harbour", "boats sail to the harbour", "in the harbour lie boats"]


@pytest.fixture(autouse=True)
def _no_model_is_remembered() -> Any:
    embedding._sentence_model.cache_clear()
    yield
    embedding._sentence_model.cache_clear()


@pytest.fixture
def no_sentence_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setattr(embedding.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("no_sentence_models")
def test_like_wordings_are_near_and_the_name_says_that_it_is_wordings() -> None:
    found = embedder(DEFAULT_MODEL, BREAD + BOATS)
    vectors = found.encode(BREAD + BOATS)
    assert "TF-IDF" in found.name
    assert not found.semantic
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert cosine(vectors[0], vectors[1]) > 3 * cosine(vectors[0], vectors[3])
    assert cosine(vectors[0], vectors[0]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.usefixtures("no_sentence_models")
def test_texts_without_features_are_like_nothing() -> None:
    found = embedder(DEFAULT_MODEL, ["  ", ""])
    vectors = found.encode(["  ", "something"])
    assert cosine(vectors[0], vectors[1]) == 0.0
    assert cosine(vectors[0], vectors[0]) == 0.0
    unknown = embedder(DEFAULT_MODEL, BREAD).encode(["", "zzz"])
    assert not unknown.any()


def test_a_sentence_model_is_used_when_it_is_here_and_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    class Model:
        def __init__(self, name: str, **options: Any) -> None:
            asked.append((name, options))
            if name == "not-here":
                raise OSError("not on this machine")

        def encode(self, texts: list[str], **options: Any) -> Any:
            return np.array([[3.0, 4.0 * len(t)] for t in texts])

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr(embedding.importlib.util, "find_spec", lambda name: object())
    found = embedder("here", BREAD)
    assert (found.name, found.semantic) == ("here", True)
    assert found.encode(["a"])[0] == pytest.approx([0.6, 0.8])
    assert not embedder("not-here", BREAD).semantic
    assert all(options["local_files_only"] is True for _, options in asked)
    assert [name for name, _ in asked] == ["here", "not-here"]


def test_the_real_library_reads_a_model_from_a_folder(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for t in BREAD for w in t.lower().split()})]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path / "bert")
    BertTokenizerFast(vocab_file=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    library.SentenceTransformer(str(tmp_path / "bert"), device="cpu").save(str(tmp_path / "whole"))
    found = embedder(str(tmp_path / "whole"), BREAD)
    assert found.semantic
    vectors = found.encode([*BREAD, BREAD[0]])
    assert vectors.shape == (len(BREAD) + 1, 16)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert vectors[0] == pytest.approx(vectors[-1], abs=1e-5)
    assert not embedder(str(tmp_path / "nowhere"), BREAD).semantic


@pytest.mark.usefixtures("no_sentence_models")
def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(BackendNotAvailableError, match=r"\[semsim\](.|\n)*scikit-learn"):
        embedder(DEFAULT_MODEL, BREAD)
    with pytest.raises(BackendNotAvailableError, match=r"\[semsim\](.|\n)*scikit-learn"):
        kmeans(np.eye(4, dtype=np.float32), 2)


@pytest.mark.usefixtures("no_sentence_models")
def test_clusters_follow_the_topics_and_are_the_same_for_the_same_seed() -> None:
    texts = [*BREAD, *BOATS]
    vectors = embedder(DEFAULT_MODEL, texts).encode(texts)
    labels = kmeans(vectors, 2, seed=3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert labels.tolist() == kmeans(vectors, 2, seed=3).tolist()
