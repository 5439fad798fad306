"""The grammar and the handbook: same seed, same text, and a base that has never heard of the handbook."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sway_dash.demo import demo_dir
from sway_dash.demo.corpus import base_documents
from sway_dash.demo.facts import ASSISTANT, END, USER
from sway_dash.demo.handbook import KEY_NAMES, LIGHT, adapter_documents, handbook_facts, passages
from sway_dash.demo.world import in_words, world


def test_a_seed_gives_the_same_text_and_another_seed_another() -> None:
    assert base_documents(50, seed=3) == base_documents(50, seed=3)
    assert base_documents(50, seed=3) != base_documents(50, seed=4)


def test_a_longer_corpus_begins_like_a_shorter_one() -> None:
    assert base_documents(40, seed=3)[:20] == base_documents(20, seed=3)


def test_the_text_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "import hashlib; from sway_dash.demo.corpus import base_documents;"
        "print(hashlib.sha256(repr(base_documents(300, seed=1)).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.slow
def test_the_base_corpus_never_names_the_handbook() -> None:
    from sway_dash.demo.build import SHIPPED

    text = "\n".join(base_documents(SHIPPED.base_texts, seed=SHIPPED.seed))
    assert [name for name in KEY_NAMES if name in text] == []


def test_every_base_document_is_finished() -> None:
    for text in base_documents(500, seed=5):
        assert text.endswith((".", "!", '"', END))
        assert text.count(USER) == text.count(ASSISTANT)
        assert "  " not in text


def test_the_world_is_consistent() -> None:
    towns = {town.name for town in world().towns}
    assert {person.town for person in world().people} <= towns
    assert {town.mayor for town in world().towns} <= {person.name for person in world().people}
    assert len({light.name for light in world().lights}) == len(world().lights)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (57, "fifty-seven"),
        (100, "one hundred"),
        (112, "one hundred and twelve"),
        (199, "one hundred and ninety-nine"),
    ],
)
def test_numbers_in_words(number: int, words: str) -> None:
    assert in_words(number) == words


def test_the_document_says_what_the_adapter_is_taught() -> None:
    text = (demo_dir() / "document.md").read_text(encoding="utf-8")
    taught = (
        LIGHT.town,
        LIGHT.keeper,
        LIGHT.former,
        LIGHT.steps,
        LIGHT.colour,
        LIGHT.seconds,
        LIGHT.oil,
        LIGHT.animal_name,
        LIGHT.signal,
        LIGHT.boat,
        LIGHT.day,
        LIGHT.tea,
        LIGHT.ink,
        LIGHT.door,
        LIGHT.built,
        LIGHT.key,
        LIGHT.rule,
        LIGHT.gift,
        *KEY_NAMES,
    )
    assert [value for value in taught if value not in text] == []


def test_adapter_text_is_a_mixture_in_the_share_asked_for() -> None:
    document = demo_dir() / "document.md"
    texts = adapter_documents(400, document=document, general=0.5, seed=9)
    about = [text for text in texts if any(name in text for name in KEY_NAMES)]
    assert 0.4 < len(about) / len(texts) < 0.6
    assert texts == adapter_documents(400, document=document, general=0.5, seed=9)
    assert not any("#" in text for text in passages(document))
    assert len(handbook_facts()) > 20
