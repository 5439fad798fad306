"""The optional generator of synonyms: reproducible, leaves global generators alone, and says what is missing."""

# The library under test draws from the global generators; whether they are left alone is what is tested.
# ruff: noqa: NPY002, TID251

from __future__ import annotations

import random
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.errors import BackendNotAvailableError
from sway_dash.mining import mine_paraphrases, paraphrase_miner
from sway_dash.mining.paraphrase_miner import nlpaug_candidates

SEED = "the trained prompt"
MODULE = "nlpaug.augmenter.word"


class Synonyms:
    """Draws from the global generators, as nlpaug does."""

    def __init__(self, aug_src: str) -> None:
        assert aug_src == "wordnet"

    def augment(self, text: str) -> list[str]:
        return [f"{text} {random.randint(0, 10**9)} {np.random.randint(10**9)}"]


def found(name: str) -> str:
    return name


def installed(monkeypatch: pytest.MonkeyPatch, augmenter: Any = Synonyms, find: Any = found) -> None:
    monkeypatch.setitem(sys.modules, "nltk.data", SimpleNamespace(find=find))
    for name in ("nltk", "nlpaug", "nlpaug.augmenter"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, MODULE, SimpleNamespace(SynonymAug=augmenter))


def test_the_same_seed_gives_the_same_texts_and_other_draws_go_on_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    made = nlpaug_candidates(SEED, n=3, seed=1)
    assert (random.random(), np.random.random()) == expected
    assert len(set(made)) == 3
    assert nlpaug_candidates(SEED, n=3, seed=1) == made
    assert nlpaug_candidates(SEED, n=3, seed=2) != made


def test_its_texts_are_mined_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    keys: dict[str, Any] = {"prompt": SEED, "gold": " gold", "backend": DummyDifferentialBackend(), "top_k": 3}
    found = mine_paraphrases(generate_candidates=paraphrase_miner.nlpaug_candidates, n_candidates=3, **keys)
    assert {c.prompt for c in found.candidates} == set(nlpaug_candidates(SEED, n=3, seed=0))


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nlpaug", MODULE):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendNotAvailableError, match="pip install nlpaug") as error:
        nlpaug_candidates(SEED, n=1, seed=0)
    assert error.value.extra == "style"

    def fetches(aug_src: str) -> None:
        pytest.fail("nlpaug would fetch what it lacks")

    for lacking in ("corpora/wordnet", "taggers/averaged_perceptron_tagger_eng"):

        def find(name: str, lacking: str = lacking) -> str:
            if name == lacking:
                raise LookupError(name)
            return name

        installed(monkeypatch, fetches, find)
        with pytest.raises(BackendNotAvailableError, match=r"nltk\.downloader wordnet"):
            nlpaug_candidates(SEED, n=1, seed=0)


def test_the_real_library_gives_other_wordings_where_its_data_is() -> None:
    pytest.importorskip("nlpaug")
    try:
        made = nlpaug_candidates("The quick fox jumps over the big house", n=6, seed=1)
    except BackendNotAvailableError as error:
        pytest.skip(str(error))
    assert made == nlpaug_candidates("The quick fox jumps over the big house", n=6, seed=1)
    assert len(set(made)) > 1
    assert all(isinstance(text, str) and text for text in made)
