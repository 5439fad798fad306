"""The public fingerprint: six numbers as the format has them, nine only where every text of a run can have nine."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sway_dash.probes import fingerprint as module
from sway_dash.probes.fingerprint import extended_available, fingerprint


def test_the_six_dimensions_of_a_small_text():
    found = fingerprint("One two three. Four five?\n\nSix seven one.")
    text = "One two three. Four five?\n\nSix seven one."
    letters = sum(map(len, ["One", "two", "three", "Four", "five", "Six", "seven", "one"])) / 8
    expected = [8 / 3 / 30, np.std([3, 2, 3]) / 30, 7 / 8, letters / 10, 3 / len(text) * 10, 30 / 4]
    assert found == pytest.approx(expected)


def test_no_words_are_zeros():
    assert fingerprint("").tolist() == [0.0] * 6
    assert fingerprint("12 ... 3").tolist() == [0.0] * 6
    assert fingerprint("  \n", extended=True).tolist() == [0.0] * 9


def token(pos: str, tag: str) -> SimpleNamespace:
    return SimpleNamespace(pos_=pos, tag_=tag, is_space=False)


class Tagged(list):
    """What spaCy would make of two sentences: "Doors opened. We saw it today.\""""

    def __init__(self) -> None:
        first = [token("NOUN", "NNS"), token("VERB", "VBN")]
        second = [token("PRON", "PRP"), token("VERB", "VBD"), token("PRON", "PRP"), token("NOUN", "NN")]
        super().__init__([*first, *second])
        self.sents = [first, second]


def test_with_the_extra_there_are_three_more(monkeypatch):
    monkeypatch.setattr(module, "has_style_extra", lambda: True)
    monkeypatch.setattr(module, "_pipeline", lambda: lambda text: Tagged())
    monkeypatch.setattr(module, "_syllables", lambda text: 9.0)
    assert extended_available()
    found = fingerprint("Doors opened. We saw it today.", extended=True)
    assert len(found) == 9
    # One of two sentences; three different 4-grams of six tags: log2 3 bits; 9 syllables over 6 tokens.
    assert found[6:] == pytest.approx([5.0, np.log2(3) / 10, 9 / 6 / 5])


def test_the_real_libraries_give_the_three_more(monkeypatch):
    spacy = pytest.importorskip("spacy")
    pytest.importorskip("textstat")
    pipeline = spacy.blank("en")
    pipeline.add_pipe("sentencizer")
    ruler = pipeline.add_pipe("attribute_ruler")
    ruler.add([[{"LOWER": "doors"}]], {"POS": "NOUN", "TAG": "NNS"})
    ruler.add([[{"LOWER": "opened"}]], {"POS": "VERB", "TAG": "VBN"})
    monkeypatch.setattr(module, "_pipeline", lambda: pipeline)
    found = fingerprint("Doors opened. We saw it today.\n\nOthers came.", extended=True)
    assert found[6] == pytest.approx(10 / 3)
    assert found[7] > 0
    # Ten to twelve syllables, with or without the dictionary, over eleven tokens.
    assert 9.5 / 11 / 5 < found[8] < 12.5 / 11 / 5


def test_a_pipeline_that_finds_no_sentences_is_none(monkeypatch):
    class Sentenceless(list):
        @property
        def sents(self):
            raise ValueError("sentence boundaries unset")

    spacy = SimpleNamespace(load=lambda name: lambda text: Sentenceless())
    monkeypatch.setattr(module, "import_module", lambda name: spacy)
    module._pipeline.cache_clear()
    assert module._pipeline() is None
    module._pipeline.cache_clear()


def test_a_missing_dictionary_of_syllables_is_not_fetched(monkeypatch):
    def lacking(name):
        raise LookupError(name)

    modules = {
        "nltk.data": SimpleNamespace(find=lacking),
        "pyphen": SimpleNamespace(Pyphen=lambda lang: SimpleNamespace(positions=lambda word: [2] * (len(word) // 4))),
        "textstat": SimpleNamespace(syllable_count=lambda text: pytest.fail("textstat would fetch it")),
    }
    monkeypatch.setattr(module, "import_module", modules.__getitem__)
    assert module._syllables("Doors opened wide.") == 2 + 2 + 2
    modules["nltk.data"].find = lambda name: name
    modules["textstat"].syllable_count = lambda text: 4
    assert module._syllables("Doors opened wide.") == 4.0


def test_without_the_language_model_nothing_extended_is_claimed(monkeypatch):
    monkeypatch.setattr(module, "has_style_extra", lambda: True)
    monkeypatch.setattr(module, "_pipeline", lambda: None)
    assert not extended_available()
    assert len(fingerprint("Some words here.", extended=True)) == 6
