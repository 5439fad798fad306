"""Finding prompts worth a suite: those an adapter moves most and least, and paraphrases it does not know."""

from sway_dash.mining.outlier_miner import OutlierCandidate, OutlierResult, corpus_prompts, mine_outliers
from sway_dash.mining.paraphrase_miner import MiningResult, ParaphraseCandidate, mine_paraphrases
from sway_dash.mining.rewording import rule_candidates
from sway_dash.mining.synonyms import nlpaug_candidates

__all__ = [
    "MiningResult",
    "OutlierCandidate",
    "OutlierResult",
    "ParaphraseCandidate",
    "corpus_prompts",
    "mine_outliers",
    "mine_paraphrases",
    "nlpaug_candidates",
    "rule_candidates",
]
