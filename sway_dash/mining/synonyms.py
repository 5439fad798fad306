"""Other wordings of a prompt by synonyms from WordNet, through the optional nlpaug."""

from __future__ import annotations

import random
from importlib import import_module

import numpy as np

from sway_dash.core.errors import BackendNotAvailableError

DATA = ("corpora/wordnet", "taggers/averaged_perceptron_tagger_eng")
"""What nlpaug reads through NLTK."""


def nlpaug_candidates(prompt: str, *, n: int, seed: int) -> list[str]:
    """``n`` texts in which nlpaug has put synonyms for words; repeats and the prompt itself may be among them.

    Pass it as ``generate_candidates`` of :func:`~sway_dash.mining.mine_paraphrases`. A synonym out of its context often
    means something else, so what is found is to be read; the rules of this package need no data and are the default.
    nlpaug draws from the global generators of ``random`` and NumPy: they are seeded for it and then put back. It would
    fetch missing data from the network; it is not let come to that.

    Raises
    ------
    BackendNotAvailableError
        If nlpaug or the WordNet data it needs are not installed.
    """
    kept, kept_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002, TID251 - the only ones nlpaug draws from
    try:
        find = import_module("nltk.data").find
        for name in DATA:
            find(name)
        augmenter = import_module("nlpaug.augmenter.word").SynonymAug(aug_src="wordnet")
        made = [augmenter.augment(prompt) for _ in range(n)]
    except ImportError as error:
        raise BackendNotAvailableError("nlpaug", extra="style", hint="and nlpaug: pip install nlpaug nltk") from error
    except LookupError as error:
        hint = "and WordNet: python -m nltk.downloader wordnet averaged_perceptron_tagger_eng"
        raise BackendNotAvailableError("nlpaug", extra="style", hint=hint) from error
    finally:
        random.setstate(kept)
        np.random.set_state(kept_numpy)  # noqa: NPY002
    return [str(text) for texts in made for text in ([texts] if isinstance(texts, str) else texts)]
