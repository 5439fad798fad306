"""Words that the shipped probes write themselves: labels of panels, and names of what they bring along.

Whatever is not listed here may be the user's text and is treated as such.
"""

from __future__ import annotations

import re
from functools import cache

from sway_dash.core.packs import available_corpora, part_titles
from sway_dash.probes import registry
from sway_dash.probes.style_features import RHYTHM, function_words

_NOUNS = (
    "case|chunk|cluster|conversation|draw|example|feature|group|head|item|lag|layer|pair|part|passage|piece|position"
    "|prompt|question|random|rank|section|seed|step|text|token|topic|triple|turn|window"
)
_NUMBER = r"(?:λ ?= ?|×)?\d{1,6}(?:[.,]\d{1,6})?×?"
NUMBERED = re.compile(rf"(?:own )?(?:{_NOUNS})s?[ _#]*\d+(?:\.\d+)?(?: to \d+)?|{_NUMBER}", re.IGNORECASE)
"""Says which one and nothing of what is in it: ``layer 3``, ``chunk 12``."""

UNITS = frozenset(
    [
        "bits",
        "nats",
        "nats a token",
        "nats per token",
        "percent",
        "%",
        "points",
        "ratio",
        "s",
        "share",
        "tokens",
        "words",
    ]
)
"""Units that say nothing but what was counted, whoever writes them."""

_LABELS = {
    "calibration_drift": frozenset(["no topic"]),
    "layer_attribution": frozenset(["embeddings and head"]),
    "leakage": frozenset(["base", "tuned"]),
    "preference_flip": frozenset(["wrong set right", "right set wrong", "net"]),
}


def shipped(kind: str) -> bool:
    """Whether a kind of probe is the program's own; texts of a plug-in may be anything."""
    return (registry().get(kind) or object).__module__.startswith("sway_dash.")


def own_label(kind: str, text: str) -> bool:
    """Whether the program and not its user has written a label of this kind."""
    if NUMBERED.fullmatch(text):
        return True
    if not shipped(kind):
        return False
    if kind == "style_fingerprint":
        return text in _style()
    if kind == "external_perplexity":
        return text in _corpora() or text.partition(": ")[0] in _titles()
    return text in _LABELS.get(kind, ())


@cache
def _style() -> frozenset[str]:
    kinds = ("all features", "rhythm", "function words", "trigrams")
    return frozenset([*kinds, *RHYTHM, *function_words()]).union(*function_words().values())


@cache
def _corpora() -> frozenset[str]:
    return frozenset([*available_corpora(), "all corpora"])


@cache
def _titles() -> frozenset[str]:
    """Titles of the texts that ship; own texts are called by their number."""
    return frozenset(title for name in available_corpora() for title in part_titles(name))


@cache
def settings() -> frozenset[str]:
    """Names of the kinds of probes and of what they can be told."""
    known = registry()
    return frozenset([*known, *(field for kind in known.values() for field in kind.spec_cls.model_fields)])
