"""Style is counted in windows of equal length, with features that say how a text is written, not what about."""

from __future__ import annotations

import numpy as np
import pytest

from sway_dash.core.packs import PART_BREAK, load_corpus
from sway_dash.probes.style_features import (
    RHYTHM_SPREAD,
    WORD,
    clean,
    count_words,
    function_words,
    language_of,
    mattr,
    rhythm,
    space_of,
    trigrams,
    windows,
)

TEXTS = load_corpus("public_domain_en").split(PART_BREAK)


def words(text: str) -> list[str]:
    return [w.lower() for w in WORD.findall(text)]


def test_windows_have_equal_words_and_keep_what_stands_between():
    assert windows("One two, three. Four five six; seven", 3) == ["One two, three. ", "Four five six; "]
    assert windows("one two three", 3) == ["one two three"]
    assert windows("one two", 3) == []
    assert {count_words(w) for w in windows(TEXTS[0], 50)} == {50}
    assert TEXTS[0].startswith("".join(windows(TEXTS[0], 50)))


def test_variety_does_not_fall_with_length_as_the_plain_ratio_does():
    text = words(TEXTS[3])
    plain = [len(set(text[:n])) / n for n in (60, 400)]
    moving = [mattr(text[:n]) for n in (60, 400)]
    assert plain[0] - plain[1] > 0.2
    assert abs(moving[0] - moving[1]) < 0.05
    assert mattr(["a"] * 30) == 1 / 20
    assert mattr(["a", "b"]) == 1.0
    assert mattr([]) == 0.0


def test_rhythm_of_a_small_text_is_as_counted_by_hand():
    found = rhythm("One, two three. Four five - six? Seven eight!")
    assert found[0] == pytest.approx(8 / 3)
    assert found[1] == pytest.approx(1 / 8)
    assert found[2] == pytest.approx(4 / 8)
    assert found[3] == pytest.approx(
        sum(map(len, ["one", "two", "three", "four", "five", "six", "seven", "eight"])) / 8
    )
    assert found[4] == 1.0


def test_the_usual_spread_is_that_of_the_shipped_prose():
    tables = [np.array([rhythm(w) for w in windows(clean(t), 50)]) for t in TEXTS]
    free = sum(len(t) - 1 for t in tables)
    spread = np.sqrt(sum(((t - t.mean(axis=0)) ** 2).sum(axis=0) for t in tables) / free)
    assert np.allclose(spread, RHYTHM_SPREAD, rtol=0.1)


def test_trigrams_are_those_at_edges_and_marks():
    found = trigrams("Salt, 42 boats")
    assert found[" sa"] == 1
    assert found["lt,"] == 1
    assert "alt" not in found
    assert not any(c.isdigit() for g in found for c in g)


def test_a_language_is_told_by_its_function_words():
    assert language_of(words(TEXTS[1])) == "english"
    assert language_of(words(load_corpus("german"))) == "german"
    assert language_of(["kolme", "neljä", "viisi", "kuusi"]) == ""
    assert {"french", "spanish"} <= set(function_words())


def test_a_text_without_a_known_language_is_described_by_what_both_sides_use():
    a, b = "mina olen taalla nyt ja " * 30, "sina olet taalla nyt ja " * 30
    space = space_of(a, b, 20)
    assert space.language == ""
    assert set(space.words) == {"taalla", "nyt", "ja"}


def test_topic_words_are_no_features():
    document = ("The lighthouse has a lamp, and the lamp of the lighthouse is violet. " * 12).strip()
    space = space_of(document, TEXTS[2], 40)
    assert "lighthouse" not in space.words
    assert not any("lig" in g for g in space.grams)


def test_kinds_count_alike_whatever_their_number_of_features():
    space = space_of(TEXTS[0], TEXTS[2], 50)
    for _, at in space.kinds:
        assert float((space.weight[at] ** 2).sum()) == pytest.approx(1.0)


def test_two_halves_of_one_text_are_as_far_apart_as_counting_noise_and_other_kinds_of_text_farther():
    halves, others = [], []
    for text in TEXTS:
        middle = text.index("\n\n", len(text) // 2)
        a, b = text[:middle], text[middle:]
        gap = (space := space_of(a, b, 50)).of(a) - space.of(b)
        noise = len(space.kinds) * (1 / len(windows(a, 50)) + 1 / len(windows(b, 50)))
        halves.append(float(gap @ gap) / noise)
        other = load_corpus("dialogue")
        gap = (space := space_of(text, other, 50)).of(text) - space.of(other)
        noise = len(space.kinds) * (1 / len(windows(text, 50)) + 1 / len(windows(other, 50)))
        others.append(float(gap @ gap) / noise)
    assert 0.5 < np.mean(halves) < 1.5
    assert min(others) > 2.0


def test_markdown_marks_are_no_style():
    assert clean("# Title\n\nSome *plain* `words`.\n\n## More\n\nEnd.") == "Some plain words.\n\n\n\nEnd."
