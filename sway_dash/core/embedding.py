"""Texts as vectors of length 1, for clusters and similarities. Nothing is ever downloaded.

A sentence model is used when ``sentence-transformers`` is installed and the model lies on this machine. Otherwise texts
are compared by their character n-grams (TF-IDF over the texts at hand): wording, not meaning. The name of what was used
belongs into the evidence, since numbers of different embedders do not compare.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sway_dash.core.errors import BackendNotAvailableError

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

NGRAMS = (3, 5)
MAX_FEATURES = 20_000

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedder:
    """Turns texts ``(n,)`` into vectors ``(n, d)`` of length 1; a text without features is all zeros."""

    name: str
    encode: Callable[[Sequence[str]], Vectors]
    semantic: bool
    """Whether it was trained to tell meanings apart; n-grams tell wordings apart."""


def embedder(model: str, texts: Sequence[str]) -> Embedder:
    """The sentence model if it is here, else character n-grams fitted on ``texts``.

    Raises
    ------
    BackendNotAvailableError
        If neither can be had: scikit-learn is missing.
    """
    found = _sentence_model(model)
    if found is not None:
        return Embedder(model, lambda items: _unit(found(list(items))), True)
    return _ngrams(texts)


def cosine(a: Vectors, b: Vectors) -> float:
    """Cosine of two vectors; 0.0 when either is all zeros."""
    length = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.dot(a, b)) / length if length > 0 else 0.0


def kmeans(vectors: Vectors, k: int, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Cluster of every vector, 0 to ``k`` − 1, by k-means with ten starts; the same for the same seed.

    Raises
    ------
    BackendNotAvailableError
        If scikit-learn is missing.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise _missing("k-means") from error
    found = KMeans(n_clusters=k, random_state=seed, n_init=10).fit_predict(vectors.astype(np.float32))
    # Clusters are numbered as they first appear: a number says nothing about how the search began.
    order: dict[int, int] = {}
    return np.array([order.setdefault(int(c), len(order)) for c in found], dtype=np.int64)


def _missing(what: str) -> BackendNotAvailableError:
    hint = "scikit-learn is needed for it: pip install scikit-learn"
    return BackendNotAvailableError(what, extra="semsim", hint=hint)


@lru_cache(maxsize=4)
def _sentence_model(model: str) -> Callable[[list[str]], Any] | None:
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    try:
        from sentence_transformers import SentenceTransformer

        # Without local_files_only a missing model would be fetched from the network. The device is left to the model
        # that is measured, and the numbers are the same whatever it is.
        loaded = SentenceTransformer(model, local_files_only=True, device="cpu")
    except Exception:  # whatever keeps it from loading, the n-grams take its place and say so
        return None
    return lambda texts: loaded.encode(texts, show_progress_bar=False, convert_to_numpy=True)


def _ngrams(texts: Sequence[str]) -> Embedder:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise _missing("text similarity") from error
    options: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": NGRAMS, "sublinear_tf": True}
    vectors = TfidfVectorizer(**options, lowercase=True, max_features=MAX_FEATURES, dtype=np.float32)
    name = f"character {NGRAMS[0]}- to {NGRAMS[1]}-gram TF-IDF"
    try:
        vectors.fit(list(texts))
    except ValueError:  # nothing but white space
        return Embedder(name, lambda items: np.zeros((len(items), 1), dtype=np.float32), False)
    return Embedder(name, lambda items: _unit(vectors.transform(list(items)).toarray()), False)


def _unit(found: Any) -> Vectors:
    vectors = np.asarray(found, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0), dtype=np.float32)
