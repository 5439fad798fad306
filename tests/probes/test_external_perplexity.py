"""external_perplexity: harm to text from outside is bounded, by texts, by corpora, in nats a token and bits a byte."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.packs import available_corpora, chunk_corpus, chunks, load_corpus
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import RollingLogprob
from sway_dash.core.stats import null_stats
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.external_perplexity import ExternalPerplexityProbe, ExternalPerplexitySpec
from sway_dash.suite.runner import run as run_suite

KIND = "external_perplexity"
Change = Callable[[str, int], float]


def scored(text: str, values: Any) -> RollingLogprob:
    n = max(2, len(text.split()))
    logprobs = np.broadcast_to(np.asarray(values, dtype=np.float32), (n - 1,)).copy()
    return RollingLogprob(np.arange(n, dtype=np.int64), logprobs, n, float(logprobs.astype(np.float64).sum()))


def backend(change: Change, *corpora: str, chars: int = 2048, count: int = 16) -> DummyDifferentialBackend:
    """Base at -2 nats a token; ``change(corpus, part)`` is added for the tuned side."""
    base, tuned = {}, {}
    for corpus in corpora or ("public_domain_en",):
        for c in chunks(load_corpus(corpus), chunk_chars=chars, max_chunks=count):
            base[c.text], tuned[c.text] = scored(c.text, -2.0), scored(c.text, -2.0 + change(corpus, c.part))
    return DummyDifferentialBackend(base=DummyResponses(rolling=base), ft=DummyResponses(rolling=tuned))


def measured(change: Change, *, null: Any = None, **keys: Any) -> ProbeResult:
    probe, spec = build_probe({"name": "text", "kind": KIND, **keys})
    made = backend(change, *spec.names, chars=spec.chunk_chars, count=spec.max_chunks)
    return probe.run(spec, RunContext(backend=made, null_stats={} if null is None else {KIND: null}))


@pytest.mark.parametrize("count", [2, 3, 4, 16])
@pytest.mark.parametrize(
    ("delta", "verdict"), [(0.0, Verdict.PASS), (0.5, Verdict.PASS), (-0.05, Verdict.PASS), (-0.5, Verdict.FAIL)]
)
def test_the_verdict_follows_an_even_change(delta, verdict, count):
    result = measured(lambda corpus, part: delta, max_chunks=count)
    assert result.verdict is verdict
    assert result.raw == pytest.approx(delta, abs=1e-5)
    assert result.evidence["num_chunks"] == count
    assert result.evidence["per_chunk_delta"] == pytest.approx([delta] * count, abs=1e-5)
    assert (result.base_value, result.ft_value) == pytest.approx((-2.0, -2.0 + delta), abs=1e-5)
    assert "no calibration for external_perplexity" in result.message


def test_the_pieces_are_those_of_the_public_function():
    texts = chunk_corpus(load_corpus("public_domain_en"), chunk_chars=2048, max_chunks=3)
    told = DummyResponses(rolling={t: scored(t, -1.0) for t in texts})
    probe, spec = build_probe({"name": "text", "kind": KIND, "max_chunks": 3})
    result = probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=told, ft=told)))
    assert result.base_value == pytest.approx(-1.0)


def test_a_mean_inside_the_margin_fails_when_its_bad_end_is_outside():
    # Two of nine texts lose 0.35 nats: the mean is -0.08, but other texts could well lose more than 0.1.
    result = measured(lambda corpus, part: -0.35 if part in (1, 4) else 0.0)
    assert -0.1 < result.raw < -0.05
    assert result.verdict is Verdict.FAIL
    assert "may be beyond -0.1" in result.message
    assert result.evidence["worst_delta"] < -0.1
    assert result.score < 0.6


def test_more_harm_never_scores_higher():
    scores = [measured(lambda c, p, d=d: d).score for d in (0.0, -0.03, -0.09, -0.12, -0.3)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    assert scores[2] >= 0.6 > scores[3]
    assert scores[-1] == 0.0


def test_every_corpus_must_pass_on_its_own():
    names = {"corpus": "public_domain_en", "corpora": ["german", "code_python"]}
    forgot = measured(lambda corpus, part: -0.6 if corpus == "german" else 0.01, **names)
    assert forgot.raw > -0.1
    assert forgot.verdict is Verdict.FAIL
    assert "on german the change is beyond -0.1" in forgot.message
    rows = {row["corpus"]: row for row in forgot.evidence["per_corpus"]}
    assert [rows[n]["passed"] for n in ("public_domain_en", "german", "code_python")] == [True, False, True]
    assert measured(lambda corpus, part: 0.01, **names).verdict is Verdict.PASS


def test_few_texts_are_compared_by_stretches_and_the_note_says_what_that_is_worth():
    result = measured(lambda corpus, part: -0.02 * part, corpus="german")
    assert result.evidence["num_texts"] == 3
    assert result.verdict is Verdict.PASS
    assert result.ci_95 is not None
    assert "it holds for these texts, not for others like them" in result.evidence["ci_note"]


def test_texts_are_the_unit_so_that_more_pieces_of_the_same_texts_are_no_more_evidence():
    def change(corpus: str, part: int) -> float:
        return -0.01 * part

    wide = measured(change, chunk_chars=2048, max_chunks=18)
    fine = measured(change, chunk_chars=400, max_chunks=128)
    assert fine.evidence["num_chunks"] > 3 * wide.evidence["num_chunks"]
    widths = [r.ci_95[1] - r.ci_95[0] for r in (wide, fine)]
    assert widths[1] > 0.8 * widths[0]


def test_bits_a_byte_count_bytes_of_utf_8():
    result = measured(lambda corpus, part: 0.0, corpus="german")
    texts = chunk_corpus(load_corpus("german"), chunk_chars=2048, max_chunks=16)
    nats = 2.0 * sum(max(2, len(t.split())) - 1 for t in texts)
    size = sum(len(t.encode()) for t in texts)
    assert size > sum(map(len, texts))
    assert result.evidence["base_bits_per_byte"] == pytest.approx(nats / math.log(2) / size)


def test_a_text_that_became_impossible_fails():
    made = backend(lambda corpus, part: 0.0)
    text = next(iter(made._ft_r.rolling))
    made._ft_r.rolling[text] = scored(text, -math.inf)
    probe, spec = build_probe({"name": "text", "kind": KIND})
    result = probe.run(spec, RunContext(backend=made))
    assert result.verdict is Verdict.FAIL
    assert "1 of 16 pieces have no finite log-probability" in result.message
    assert result.evidence["num_chunks"] == 15
    for t in made._ft_r.rolling:
        made._ft_r.rolling[t] = scored(t, math.nan)
    made.instrumentation.__init__()
    assert probe.run(spec, RunContext(backend=made)).verdict is Verdict.ERROR


def test_noise_is_context_and_decides_nothing():
    # Random adapters do no harm either: better than noise is not what is asked.
    null = null_stats([-0.01, 0.0, 0.01, 0.02] * 5)
    unharmed = measured(lambda corpus, part: 0.0, null=null)
    assert unharmed.z_score is not None
    assert unharmed.z_score < 3.0
    assert unharmed.verdict is Verdict.PASS
    assert "for context: z=" in unharmed.message
    null = null_stats([-2.0, -2.1, -2.2, -1.9] * 5)
    harmed = measured(lambda corpus, part: -0.5, null=null)
    assert harmed.z_score > 3.0
    assert harmed.verdict is Verdict.FAIL


def test_the_null_of_a_backend_whose_noise_leaves_texts_alone_is_degenerate(dummy_spec):
    suite = dummy_spec({"name": "null", "kind": "null_adapter", "runs": 3}, {"name": "text", "kind": KIND})
    result = run_suite(suite, DummyDifferentialBackend())
    found = next(p for p in result.probes if p.kind == KIND)
    assert found.z_score is None
    assert "no calibration for external_perplexity" in found.message


def test_the_settings_for_a_null_run_are_small():
    spec = ExternalPerplexityProbe.calibrate_spec(RunContext())
    assert spec.kind == KIND
    assert spec.max_chunks <= 4


def test_a_corpus_that_does_not_ship_is_refused_and_an_unchecked_one_is_an_error():
    with pytest.raises(Exception, match=r"unknown corpus 'public_domain'.*Did you mean 'public_domain_en'"):
        build_probe({"name": "text", "kind": KIND, "corpus": "public_domain"})
    with pytest.raises(Exception, match="unknown corpus 'latin'"):
        build_probe({"name": "text", "kind": KIND, "corpora": ["latin"]})
    spec = ExternalPerplexitySpec.model_construct(**{**ExternalPerplexitySpec(name="x").model_dump(), "corpus": "none"})
    result = ExternalPerplexityProbe().run(spec, RunContext(backend=DummyDifferentialBackend()))
    assert result.verdict is Verdict.ERROR
    assert "unknown corpus" in result.message


def test_the_evidence_is_json_and_draws_every_piece():
    result = measured(lambda corpus, part: -0.02 * part, corpora=[n for n in available_corpora() if n != "german"])
    json.dumps(result.evidence, allow_nan=False)
    groups, items = result.evidence["panels"]
    assert [g["label"] for g in groups["groups"]] == list(result.evidence["corpora"])
    assert len(items["rows"]) == result.evidence["num_chunks"]


def own(*texts: str, base: float = -2.0, delta: float = 0.0, **keys: Any) -> ProbeResult:
    probe, spec = build_probe({"name": "text", "kind": KIND, "corpus": "", "texts": list(texts), **keys})
    sides = [DummyResponses(rolling={t: scored(t, v) for t in texts}) for v in (base, base + delta)]
    return probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=sides[0], ft=sides[1])))


OWN = [f"Note {n} says that the {thing} was moved to the other side of the yard, and why." for n, thing in
       enumerate(("bench", "barrel", "ladder", "basket", "bucket"))]  # fmt: skip


def test_own_texts_are_a_corpus_of_independent_texts():
    result = own(*OWN, delta=-0.05)
    assert result.verdict is Verdict.PASS
    assert result.evidence["corpora"] == ["own texts"]
    assert result.evidence["num_texts"] == 5
    assert own(*OWN, delta=-0.3).verdict is Verdict.FAIL
    nothing = own()
    assert nothing.verdict is Verdict.ERROR
    assert "name a corpus or give texts" in nothing.message


def test_empty_lines_in_an_own_text_do_not_make_two_of_it():
    text = "A first part of the text, and long enough.\n\n\n\nA second part of the same text, and long enough."
    probe, spec = build_probe({"name": "text", "kind": KIND, "corpus": "", "texts": [text]})
    assert probe.run(spec, RunContext(backend=DummyDifferentialBackend())).evidence["num_texts"] == 1


def test_a_text_the_base_cannot_read_proves_nothing_good_but_harm_still_fails():
    # -30 nats a word are about 8 bits a byte; the bytes of these texts have about 4 bits of entropy.
    better, worse = own(*OWN, base=-30.0, delta=1.0), own(*OWN, base=-30.0, delta=-1.0)
    assert better.verdict is Verdict.WARN
    assert "own texts proves nothing" in better.message
    assert better.score < 0.6
    (row,) = better.evidence["per_corpus"]
    assert row["proves_nothing"] is True
    assert 3.0 < row["byte_entropy"] < 5.0 < row["base_bits_per_byte"]
    assert worse.verdict is Verdict.FAIL


def test_an_own_text_listed_twice_counts_once():
    texts = [f"Text {i} is long enough to be scored, for it has some eighty characters, all in all." for i in range(3)]
    told = DummyResponses(rolling={t: scored(t, -1.0) for t in texts})
    backend = DummyDifferentialBackend(base=told, ft=told)
    probe, spec = build_probe({"name": "text", "kind": KIND, "corpus": "", "texts": texts * 2})
    result = probe.run(spec, RunContext(backend=backend))
    assert (result.evidence["num_texts"], result.evidence["num_chunks"]) == (3, 3)
