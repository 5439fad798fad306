"""What ships for measuring harm is balanced, free of repeats, and cut where sentences end."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from sway_dash.core.packs import (
    MIN_CHUNK,
    PART_BREAK,
    available_corpora,
    calibration_items,
    chunk_corpus,
    chunks,
    load_corpus,
    pack,
    part_titles,
)


def test_the_facts_are_two_hundred_over_ten_even_topics():
    items = calibration_items()
    assert len(items) == 200
    assert set(Counter(i.topic for i in items).values()) == {20}
    assert len({i.prompt for i in items}) == 200
    assert {"german", "code", "arithmetic", "geography"} <= {i.topic for i in items}


@pytest.mark.parametrize("limit", [10, 20, 50])
def test_every_prefix_of_the_facts_is_balanced(limit):
    counts = Counter(i.topic for i in calibration_items()[:limit])
    assert len(counts) == 10
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_gold_answer_is_short_and_continues_its_prompt_as_it_stands():
    for item in calibration_items():
        assert item.gold.strip()
        assert len(item.gold) <= 16, item
        assert item.prompt == item.prompt.rstrip(" "), item
        # Between two words stands one space, and it belongs to the answer, as tokenizers have it.
        assert item.gold.startswith(" ") or item.prompt[-1] in "(\n", item
        assert item.gold.strip().lower() not in item.prompt.lower().split(), item


def test_arithmetic_holds():
    checked = 0
    for item in calibration_items():
        if found := re.fullmatch(r"(\d+) ([*+/-]) (\d+) =", item.prompt):
            a, sign, b = int(found[1]), found[2], int(found[3])
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] == int(item.gold), item
            checked += 1
    assert checked >= 6


def test_python_prints_what_the_facts_say(capsys):
    checked = 0
    for item in calibration_items():
        if item.topic == "code" and item.prompt.endswith("# prints"):
            exec(item.prompt)
            assert capsys.readouterr().out.strip() == item.gold.strip(), item
            checked += 1
    assert checked >= 8


def test_every_corpus_says_where_it_comes_from_and_loads_without_saying_so():
    assert {"public_domain_en", "code_python", "german", "dialogue"} <= set(available_corpora())
    for name in available_corpora():
        head = pack(f"corpora/{name}.txt").read_text(encoding="utf-8").splitlines()[0]
        assert head.startswith("#")
        assert "CC0" in head
        text = load_corpus(name)
        assert "# part:" not in text
        assert not any(line.startswith("#") for line in text.splitlines())
        assert len(part_titles(name)) == len(text.split(PART_BREAK)) >= 3


def test_the_english_corpus_fills_sixteen_pieces_from_nine_texts():
    found = chunks(load_corpus("public_domain_en"), chunk_chars=2048, max_chunks=16)
    assert len(found) == 16
    assert {c.part for c in found} == set(range(9))
    assert all(1000 < len(c.text) <= 2048 for c in found)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fewer_pieces_come_from_different_texts(count):
    found = chunks(load_corpus("public_domain_en"), chunk_chars=2048, max_chunks=count)
    assert [c.part for c in found] == list(range(count))


@pytest.mark.parametrize("name", ["public_domain_en", "german"])
@pytest.mark.parametrize("size", [300, 700, 2048])
def test_pieces_of_prose_end_with_a_sentence_and_lose_next_to_nothing(name, size):
    text = load_corpus(name)
    found = chunk_corpus(text, chunk_chars=size, max_chunks=10_000)
    assert all(len(c) <= size for c in found)
    # A letter ends with a name.
    assert sum(not re.search(r"[.!?][\"”«)]*$", c) for c in found) <= 1
    assert sum(map(len, found)) >= 0.98 * len(text)
    assert all(c in text for c in found)


def test_pieces_of_one_text_are_about_as_long():
    text = ("This is a sentence of some length. " * 80).strip()
    sizes = [len(c) for c in chunk_corpus(text, chunk_chars=1000, max_chunks=9)]
    assert len(sizes) == 3
    assert max(sizes) - min(sizes) <= 70


def test_what_has_no_sentences_is_cut_between_words_and_what_has_no_words_where_it_is_full():
    assert [len(c) for c in chunk_corpus("a" * 1000, chunk_chars=300, max_chunks=9)] == [300, 300, 300, 100]
    words = chunk_corpus("lorem ipsum " * 100, chunk_chars=250, max_chunks=9)
    assert all(c.split()[-1] in ("lorem", "ipsum") for c in words)


def test_short_pieces_are_dropped_and_no_piece_reaches_into_the_next_text():
    a, b = "Alpha beta gamma. " * 10, "Delta epsilon zeta. " * 10
    found = chunks(f"{a.strip()}{PART_BREAK}tiny{PART_BREAK}{b.strip()}", chunk_chars=4096, max_chunks=9)
    assert [c.part for c in found] == [0, 2]
    assert "Delta" not in found[0].text
    assert chunk_corpus("x" * (MIN_CHUNK - 1), chunk_chars=4096, max_chunks=9) == []


@pytest.mark.parametrize("numbers", [{"chunk_chars": 0, "max_chunks": 1}, {"chunk_chars": 10, "max_chunks": -1}])
def test_sizes_must_be_positive(numbers):
    with pytest.raises(ValueError, match="must be positive"):
        chunk_corpus("text", **numbers)


def test_an_unknown_corpus_is_a_key_error_that_names_the_known_ones():
    with pytest.raises(KeyError, match="public_domain_en"):
        load_corpus("gutenberg")
    with pytest.raises(FileNotFoundError, match="not complete"):
        pack("nothing.json")
