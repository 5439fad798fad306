"""Other wordings of a prompt by rules: no model, no word list to fetch, and what comes next still fits."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

Rule = Callable[[str], Iterator[str]]

_LEADS = (
    "As everybody there knows,",
    "It is said that",
    "According to the record,",
    "To put it plainly,",
    "In other words,",
    "If I remember it rightly,",
    "As far as anyone can tell,",
    "People will tell you that",
    "One thing is certain:",
    "Note this:",
)
"""Put before a statement; its end, which the answer continues, stays as it is."""

_ASKING = (
    "Please answer: {q}",
    "Could you tell me this? {q}",
    "Here is a question. {q}",
    "I would like to know: {q}",
    "A visitor asks: {q}",
    "{q} Please tell me.",
)

_QUESTIONS = (
    (r"^Who (is|was|keeps|kept|lives|wrote|made) (.+)\?$", ("Do you know who {0} {1}?", "{1}: who {0} that?")),
    (r"^What (is|was|are|were) (.+)\?$", ("Do you know what {1} {0}?", "Tell me what {1} {0}.", "{1} {0} what?")),
    (r"^Where (is|was|are|were) (.+)\?$", ("Do you know where {1} {0}?", "In which place {0} {1}?")),
    (r"^When (is|was|are|were) (.+)\?$", ("Do you know when {1} {0}?", "At what time {0} {1}?")),
    (r"^How many (.+)\?$", ("What is the number of {0}?", "Do you know how many {0}?")),
    (r"^Which (.+)\?$", ("What {0}?", "Do you know which {0}?")),
)
"""Pattern of a question and what it may become; ``{0}``, ``{1}`` are its groups."""

_WORDS = (
    ("big", "large"),
    ("small", "little"),
    ("quick", "fast"),
    ("begins", "starts"),
    ("ends", "finishes"),
    ("near", "close to"),
    ("boat", "ship"),
    ("lives", "dwells"),
    ("called", "named"),
    ("is called", "goes by the name of"),
    ("shines", "glows"),
    ("brings", "carries"),
    ("house", "home"),
    ("must", "has to"),
    ("often", "frequently"),
    ("answer", "reply"),
    ("person", "individual"),
    ("is not", "isn't"),
    ("do not", "don't"),
    ("cannot", "can not"),
    ("what is", "what's"),
    ("it is", "it's"),
)
"""Pairs that stand for each other, either way, as whole words."""

_STAYS_LOWER = re.compile(
    "a|an|the|in|on|at|of|to|it|its|this|that|these|those|when|while|after|before|if|as|by|every|each|once",
    re.IGNORECASE,
)
"""Words that lose their capital when something is put before them; others may be names."""

_FRAMED = re.compile(r"^(?:Q|Question): (?P<question>.+)\n(?:A|Answer):$", re.DOTALL)
_GENITIVE = re.compile(r"\b[Tt]he (?P<thing>[a-z]+(?: [a-z]+)?) of (?P<owner>(?:[A-Z][\w'’]*)(?: [A-Z][\w'’]*)*)")
_POSSESSIVE = re.compile(r"(?P<owner>(?:[A-Z][\w]*)(?: [A-Z][\w]*)*)['’]s (?P<thing>[a-z]+)\b")


def rule_candidates(prompt: str, *, n: int, seed: int) -> list[str]:
    """At most ``n`` other wordings of a statement that goes on or of a question, in an order drawn from ``seed``.

    One rule is applied first, then two after each other, until there are enough. All keep the prompt's end or its
    question, so that the same answer is right; whether they sound well nobody has checked. Fewer than ``n``, or none,
    where no rule fits.
    """
    rng = random.Random(seed)
    once = _applied([prompt], {prompt})
    rng.shuffle(once)
    if len(once) < n:
        twice = _applied(once, {prompt, *once})
        rng.shuffle(twice)
        once += twice
    return once[:n]


def _applied(prompts: list[str], known: set[str]) -> list[str]:
    """Everything one rule makes of any of these, each once and nothing that is known."""
    found: dict[str, None] = {}
    for prompt in prompts:
        for rule in (_frames, _questions, _leads, _genitives, _words):
            found.update(dict.fromkeys(text for text in rule(prompt) if text not in known))
    return list(found)


def _frames(prompt: str) -> Iterator[str]:
    """A question in another frame: ``Q: … A:``, ``Question: … Answer:``, bare, or led in."""
    framed = _FRAMED.match(prompt)
    question = framed["question"] if framed else prompt.strip() if prompt.rstrip().endswith("?") else ""
    if not question:
        return
    yield f"Q: {question}\nA:"
    yield f"Question: {question}\nAnswer:"
    yield f"{question}\nThe answer:"
    if any(part and part in question for asking in _ASKING for part in asking.split("{q}")):
        return
    for asking in _ASKING:
        led = asking.format(q=question)
        yield f"Q: {led}\nA:" if framed else led


def _questions(prompt: str) -> Iterator[str]:
    """A question asked in another form, inside the frame it came in."""
    framed = _FRAMED.match(prompt)
    question = framed["question"] if framed else prompt.strip()
    for pattern, forms in _QUESTIONS:
        match = re.match(pattern, question)
        for form in forms if match else ():
            text = form.format(*(match.groups() if match else ()))
            text = text[:1].upper() + text[1:]
            yield prompt.replace(question, text) if framed else text


def _leads(prompt: str) -> Iterator[str]:
    """A statement with a few words before it."""
    if "?" in prompt or prompt.startswith(_LEADS):
        return
    first = re.match(r"\w+", prompt)
    lower = first is not None and _STAYS_LOWER.fullmatch(first[0]) is not None
    rest = prompt[:1].lower() + prompt[1:] if lower else prompt
    for lead in _LEADS:
        yield f"{lead} {rest}"


def _genitives(prompt: str) -> Iterator[str]:
    """``the lamp of Gull Point`` and ``Gull Point's lamp``."""
    for match in _GENITIVE.finditer(prompt):
        owned = f"{match['owner']}'s {match['thing']}"
        yield prompt[: match.start()] + owned + prompt[match.end() :]
    for match in _POSSESSIVE.finditer(prompt):
        article = "The" if match.start() == 0 else "the"
        yield prompt[: match.start()] + f"{article} {match['thing']} of {match['owner']}" + prompt[match.end() :]


def _words(prompt: str) -> Iterator[str]:
    """One word for another of about the same meaning, capital kept."""
    for pair in _WORDS:
        for old, new in (pair, pair[::-1]):
            match = re.search(rf"\b{re.escape(old)}\b", prompt, re.IGNORECASE)
            if match:
                word = new[:1].upper() + new[1:] if match[0][:1].isupper() else new
                yield prompt[: match.start()] + word + prompt[match.end() :]
