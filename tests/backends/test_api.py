"""Models behind a completions server: what they answer, in every dialect, and how two of them are compared."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sway_dash.backends import TwoModelDifferential, build, build_two_separate
from sway_dash.backends.api import ApiScoringBackend
from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.divergence import KL_COVERED, compare_dists, divergence
from sway_dash.core.errors import ModelLoadError, ProbeError, SpecValidationError
from sway_dash.core.kept import root
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import Describable, DifferentialBackend, PreflightCheckable, ScoringBackend
from tests.api_server import ELSEWHERE, ApiServer, Handler, ToyModel, serving, status

PROMPTS = [f"The keeper reads chapter {i} of the book by the" for i in range(40)]
STYLES = ["vllm", "python", "llama.cpp", "openai"]
MODELS = {"base": ToyModel(), "tuned": ToyModel(moved=1.0), "twin": ToyModel(), "swap": ToyModel(swap=True)}


OPENED: list[Any] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Every backend of a test is closed after it."""
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with serving(models=MODELS) as found:
        yield found


def side(server: ApiServer, name: str = "base", **options: Any) -> ApiScoringBackend:
    options = {"api_key": "none", "max_retries": 0, **options}
    made = ApiScoringBackend(base_url=server.url, model_name=name, **options)
    OPENED.append(made)
    return made


def paired(both: Any) -> Any:
    OPENED.append(build_two_separate(both))
    return OPENED[-1]


def specs(server: ApiServer, base: str = "base", ft: str = "tuned") -> Any:
    return SimpleNamespace(
        base=ModelSpec(kind="api", base=base, endpoint=server.url),
        ft=ModelSpec(kind="api", base=ft, endpoint=server.url),
    )


def test_a_spec_opens_the_model_without_asking_anybody() -> None:
    made: Any = build(ModelSpec(kind="api", base="m", endpoint="http://127.0.0.1:1/v1/"))
    assert made.id == "api:m"
    assert made.cache_identity() == "api:http://127.0.0.1:1/v1:m"
    assert made.safe_for_concurrent_views
    for protocol in (ScoringBackend, DifferentialBackend, PreflightCheckable, Describable):
        assert isinstance(made, protocol)
    with made.as_base() as base, made.as_finetuned() as tuned:
        assert base is tuned is made
    with pytest.raises(ProbeError, match="cannot be loaded"):
        made.load()
    made.close()
    made.close()


@pytest.mark.parametrize("style", STYLES)
def test_every_dialect_gives_the_models_own_probabilities(style: str) -> None:
    limit = 5 if style == "openai" else 20
    with serving(style=style, limit=limit, echo=style != "llama.cpp") as server:
        backend = side(server)
        facts = backend.describe()
        assert facts["effective_top_k"] == limit
        assert facts["prompts_per_request"] == (1 if style == "python" else 16)
        assert facts["text_logprobs"] is (style != "llama.cpp")
        truth = ToyModel().next(PROMPTS[0])
        dist = backend.next_token_dist(PROMPTS[0])
        assert len(dist.token_ids) == limit
        likely = sorted(truth.values(), reverse=True)[:limit]
        assert [math.exp(x) for x in dist.logprobs] == pytest.approx(likely, rel=1e-5)
        assert dist.tail_logprob == pytest.approx(math.log(1 - sum(likely)), abs=1e-4)
        assert dist.texts[0].encode() == max(truth, key=lambda t: truth[t])


def test_a_score_is_the_sum_over_the_completions_tokens(server: ApiServer) -> None:
    backend, model = side(server), ToyModel()
    want = model.logprob("The keeper", b" sea") + model.logprob("The keeper sea", b" the")
    assert backend.logprob_of("The keeper", " sea the") == pytest.approx(want)
    (score,) = backend.completion_scores([("The keeper", " sea the")])
    assert score.n_tokens == 2
    assert score.per_token == pytest.approx(want / 2)
    # The boundary lies within " sea": the whole token is scored.
    assert backend.logprob_of("The keeper s", "ea the") == pytest.approx(want)
    assert backend.logprob_of("The keeper", " zebra") == pytest.approx(math.log(ELSEWHERE))
    with pytest.raises(ProbeError, match="tokenized to zero"):
        backend.logprob_of("The keeper", "")
    with pytest.raises(ProbeError, match="no context"):
        backend.logprob_of("", "The keeper")


def test_a_boundary_among_bytes_is_refused_and_beside_them_it_is_not(server: ApiServer) -> None:
    backend = side(server)
    assert backend.logprob_of("The ", "東京") == pytest.approx(6 * math.log(ELSEWHERE), abs=20)
    with pytest.raises(ProbeError, match="boundary"):
        backend.logprob_of("The 東", "京")


def test_a_text_has_a_number_for_every_token_after_its_first(server: ApiServer) -> None:
    rolling = side(server).rolling_logprob("The keeper sea the")
    model = ToyModel()
    assert rolling.num_tokens == 4
    assert rolling.logprobs[2] == pytest.approx(model.logprob("The keeper sea", b" the"))
    assert rolling.total_logprob == pytest.approx(float(rolling.logprobs.sum()))


def test_answers_come_in_the_order_of_the_prompts(server: ApiServer) -> None:
    backend = side(server)
    many = backend.next_token_dist_batch([*PROMPTS, PROMPTS[0]])
    asked = [r for r in server.requests if isinstance(r.get("prompt"), list)]
    # One of the lists is how the server is found to take lists.
    assert sorted(len(r["prompt"]) for r in asked[1:]) == [8, 16, 16]
    alone = side(server)
    for prompt, dist in zip(PROMPTS, many, strict=False):
        truth = ToyModel().next(prompt)
        assert dist.texts[0].encode() == max(truth, key=lambda t: truth[t])
    assert (
        many[0].token_ids.tolist()
        == many[-1].token_ids.tolist()
        == alone.next_token_dist(PROMPTS[0]).token_ids.tolist()
    )
    assert backend.next_token_dist_batch([]) == []


def test_a_busy_moment_while_meeting_takes_no_ability_away(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from sway_dash.backends import api_client

    monkeypatch.setattr(api_client, "FIRST_WAIT_S", 0.01)
    busy = status(429, "busy")
    server.faults = [busy, lambda _: False, busy, lambda _: False, busy, lambda _: False, busy, lambda _: False, busy]
    facts = side(server, max_retries=2).describe()
    assert server.faults == []
    assert (facts["prompts_per_request"], facts["text_logprobs"]) == (16, True)
    assert facts["token_identity"] == "token ids"


def test_lists_in_another_order_are_not_used(server: ApiServer) -> None:
    server.setup.noise = 0.7
    backend = side(server)
    assert backend.describe()["prompts_per_request"] == 1


def test_answers_are_counted_and_remembered(server: ApiServer) -> None:
    backend = side(server)
    seen: list[Any] = []
    with backend.instrumentation.attached(seen.append) as stats:
        backend.next_token_dist_batch(PROMPTS[:3])
        sent = len(server.requests)
        backend.next_token_dist(PROMPTS[1])
        backend.generate(PROMPTS[0], max_new_tokens=3)
        assert backend.generate(PROMPTS[0], max_new_tokens=3)
        assert len(server.requests) == sent + 1
        assert (stats.cache_misses, stats.cache_hits) == (4, 2)
    assert [e.op for e in seen] == ["next_token_dist"] * 4 + ["generate"] * 2
    assert {e.top_k for e in seen} == {20, 3}


def test_generating_passes_every_setting_on(server: ApiServer) -> None:
    backend = side(server)
    text = backend.generate("The keeper", max_new_tokens=4, temperature=0.7, top_p=0.9, seed=5)
    assert len(text.split()) <= 4
    last = server.requests[-1]
    assert (last["max_tokens"], last["temperature"], last["top_p"], last["seed"]) == (4, 0.7, 0.9, 5)
    assert last["prompt"] == "The keeper"


def test_no_request_ever_asks_for_no_tokens(server: ApiServer) -> None:
    """Some servers take 0 for no limit."""
    backend = side(server)
    backend.logprob_of("The", " sea")
    backend.rolling_logprob("The sea")
    assert {r["max_tokens"] for r in server.requests if "max_tokens" in r} == {1}


# --- servers that say what is not so --------------------------------------------------------------------------------


def test_fewer_tokens_than_asked_for_are_said_to_be_fewer(server: ApiServer) -> None:
    server.setup.fewer = 3
    backend = side(server)
    assert backend.describe()["effective_top_k"] == 3
    assert len(backend.next_token_dist("The").token_ids) == 3


@pytest.mark.parametrize(
    ("warp", "words"),
    [
        (lambda x: float("nan"), "non-finite"),
        (lambda x: -x, "positive"),
        (lambda x: x / 8, "sum to"),
        (lambda x: float("-inf"), "non-finite|told from others"),
    ],
)
def test_numbers_that_are_no_probabilities_fail_the_preflight(server: ApiServer, warp: Any, words: str) -> None:
    server.setup.warp = warp
    with pytest.raises(ProbeError, match=words):
        side(server).next_token_dist("The")
    ok, reason = side(server).preflight_finite_check()
    assert not ok
    assert reason


def test_a_server_without_log_probabilities_is_refused(server: ApiServer) -> None:
    def none(handler: Any) -> bool:
        handler.asked.pop("logprobs")
        return False

    server.always = none
    with pytest.raises(ProbeError, match=r"gives no log-probabilities.*logits_all"):
        side(server).next_token_dist("The")


def test_probabilities_after_sampling_are_refused(server: ApiServer) -> None:
    server.setup.fewer = 1
    server.setup.warp = lambda x: 0.0
    with pytest.raises(ProbeError, match="after sampling"):
        side(server).next_token_dist("The")


@pytest.mark.parametrize("flaw", ["echo", "shifted"])
def test_a_server_that_cannot_score_a_text_says_so_and_still_compares(server: ApiServer, flaw: str) -> None:
    setattr(server.setup, flaw, flaw == "shifted")
    backend = side(server)
    for ask in (lambda: backend.logprob_of("The", " sea"), lambda: backend.rolling_logprob("The sea")):
        with pytest.raises(ProbeError, match=r"cannot score a given text.*probes that compare next tokens work here"):
            ask()
    assert len(backend.next_token_dist("The").token_ids) == 20


def test_a_model_that_is_not_served_is_named_with_those_that_are(server: ApiServer) -> None:
    with pytest.raises(ProbeError, match=r"serves no model 'tuend'\. Did you mean 'tuned'.*Served there: base, tuned"):
        side(server, "tuend").next_token_dist("The")


# --- two models -----------------------------------------------------------------------------------------------------


def dists(pair: Any, prompt: str) -> tuple[Any, Any]:
    with pair.as_base() as view:
        base = view.next_token_dist(prompt)
    with pair.as_finetuned() as view:
        return base, view.next_token_dist(prompt)


@pytest.mark.parametrize("style", STYLES)
def test_two_tokens_that_change_places_are_a_difference(style: str) -> None:
    with serving(models=MODELS, style=style) as server:
        pair = paired(specs(server, ft="swap"))
        prompt = max(PROMPTS, key=lambda p: _lead(ToyModel().next(p)))
        truth, swapped = ToyModel().next(prompt), ToyModel(swap=True).next(prompt)
        p, q = (sorted(m.values(), reverse=True) for m in (truth, swapped))
        assert p == q
        want = sum(
            0.5 * x * math.log(2 * x / (x + y))
            for m, n in ((truth, swapped), (swapped, truth))
            for t in m
            for x, y in [(m[t], n[t])]
        )
        found = compare_dists(*dists(pair, prompt))
        assert want > 0.01
        assert found.js == pytest.approx(want, abs=1e-5)
        assert found.same_top == 0.0
        assert found.base_top[0].text == found.tuned_top[1].text


def _lead(found: dict[bytes, float]) -> float:
    first, second = sorted(found.values())[:-3:-1]
    return first - second


def test_equal_models_differ_in_nothing(server: ApiServer) -> None:
    pair = paired(specs(server, ft="twin"))
    assert compare_dists(*dists(pair, PROMPTS[0])).js == 0.0
    assert pair.identical_views() == ()
    same = paired(specs(server, ft="base"))
    assert "both name 'base'" in same.identical_views()[0]


def test_a_truncated_comparison_is_never_called_exact(server: ApiServer) -> None:
    server.setup.models = {"base": ToyModel(), "tuned": ToyModel(moved=2.0)}
    pair = paired(specs(server))
    base, tuned = dists(pair, PROMPTS[0])
    found = compare_dists(base, tuned)
    p, q = (server.setup.models[n].next(PROMPTS[0]) for n in ("base", "tuned"))
    truth = sum(0.5 * x * math.log(2 * x / (p[t] + q[t])) for t in p for x in (p[t], q[t]))
    assert not found.exact
    # What the toy models give to no token of their vocabulary is 2 %.
    assert abs(found.js - truth) <= found.error_bound + 0.02 * math.log(2)
    assert found.top_k == 20
    assert 0 < found.covered < KL_COVERED
    with pytest.raises(ProbeError, match=r"share .*%.*raise the number of log-probabilities.*--max-logprobs"):
        divergence(base, tuned, "kl")


def test_both_sides_are_counted_each_for_itself(server: ApiServer) -> None:
    pair = paired(specs(server))
    seen: list[Any] = []
    with pair.instrumentation.attached(seen.append) as stats:
        dists(pair, PROMPTS[0])
        dists(pair, PROMPTS[0])
    assert [e.view_id for e in seen] == ["base", "ft", "base", "ft"]
    assert (stats.cache_misses, stats.cache_hits) == (2, 2)


def test_ids_name_tokens_only_where_both_sides_mean_the_same_by_them(server: ApiServer) -> None:
    pair = paired(specs(server))
    assert pair.describe()["token_identity"] == "token ids"
    assert max(dists(pair, "The")[0].token_ids) < 100
    assert {r.get("return_tokens_as_token_ids") for r in server.requests[-2:]} <= {True, None}
    with serving(models=MODELS) as other:
        apart = specs(server)
        apart.ft = ModelSpec(kind="api", base="tuned", endpoint=other.url)
        found = paired(apart)
        assert found.describe()["token_identity"] == "token texts"
        assert "shown" in found.describe()["same_tokenizer"]


def test_what_was_answered_before_both_sides_met_is_not_compared_with_what_comes_after(server: ApiServer) -> None:
    server.setup.models = MODELS
    pair: Any = TwoModelDifferential(side(server), side(server, "twin"))
    with pair.as_base() as view:
        before = view.next_token_dist("The")
    pair.meet()
    found = dists(pair, "The")
    assert max(before.token_ids) > 100 > max(found[0].token_ids)
    assert compare_dists(*found).js == 0.0


def test_numbers_of_choices_that_are_texts_are_numbers(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = side(server)
    choices = [{"index": str(i)} for i in range(12)]
    monkeypatch.setattr(backend.client, "post", lambda *_, **__: {"choices": choices[::-1]})
    assert backend.request(["x"] * 12, {"max_tokens": 1})[0] == choices


def test_different_tokenizers_are_refused_with_what_differs(server: ApiServer) -> None:
    server.setup.models = {"base": ToyModel(), "tuned": ToyModel(cut=r" ?[A-Za-z]{1,4}| ?\d+|\s|[^\x00-\x7f]+|.")}
    with pytest.raises(ModelLoadError, match="base cuts a text into ' quick', ft into ' quic'"):
        build_two_separate(specs(server))


def test_tokens_written_in_two_ways_are_refused_where_no_text_can_be_cut(server: ApiServer) -> None:
    server.setup.echo, server.setup.mangled = False, "tuned"
    with pytest.raises(ModelLoadError, match="list no common token"):
        build_two_separate(specs(server))
    server.setup.mangled = ""
    assert paired(specs(server)).describe()["same_tokenizer"].startswith("not shown")


def test_a_server_and_a_local_model_are_not_compared(server: ApiServer) -> None:
    both = specs(server)
    for wrong in ({"base": ModelSpec(base="x")}, {"ft": ModelSpec(base="x")}):
        with pytest.raises(SpecValidationError, match="one side is behind a server"):
            build_two_separate(SimpleNamespace(**{"base": both.base, "ft": both.ft, **wrong}))
    with pytest.raises(ModelLoadError, match="one side is behind a server"):
        TwoModelDifferential(side(server), DummyDifferentialBackend())


def test_an_adapter_is_not_left_out_in_silence(server: ApiServer) -> None:
    both = specs(server)
    both.ft = both.ft.model_copy(update={"adapter": "adapter"})
    with pytest.raises(SpecValidationError, match=r"models\.ft: a server loads no adapter.*--lora-modules"):
        build_two_separate(both)


def test_a_server_that_is_down_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    from sway_dash.backends import api_client

    monkeypatch.setattr(api_client, "FIRST_WAIT_S", 0.01)
    both = SimpleNamespace(
        **{n: ModelSpec(kind="api", base=n, endpoint="http://127.0.0.1:9/v1") for n in ("base", "ft")}
    )
    with pytest.raises(ModelLoadError, match=r"no answer from http://127\.0\.0\.1:9/v1/completions after 4 attempts"):
        build_two_separate(both)


def test_the_preflight_checks_both_sides(server: ApiServer) -> None:
    pair: Any = TwoModelDifferential(side(server), side(server, "tuned"))
    assert pair.preflight_finite_check() == (True, "")
    server.faults = [status(400, "no"), status(400, "no")]
    again: Any = TwoModelDifferential(side(server), side(server, "nobody"))
    ok, reason = again.preflight_finite_check()
    assert not ok
    server.faults = []
    ok, reason = again.preflight_finite_check()
    assert not ok
    assert "nobody" in reason


def test_the_noise_of_a_server_is_measured(server: ApiServer) -> None:
    pair = paired(specs(server))
    assert pair.noise_floor(PROMPTS[:3]).js == 0.0
    server.setup.noise = 0.1
    noise = pair.noise_floor(PROMPTS[:3])
    assert noise.prompts == 3
    assert noise.js > 1e-4


def test_another_model_under_the_same_name_has_another_fingerprint(server: ApiServer) -> None:
    first = paired(specs(server)).describe()["fingerprint"]
    assert first == paired(specs(server)).describe()["fingerprint"]
    # Trained a little further.
    server.setup.models = {**MODELS, "tuned": ToyModel(moved=1.1)}
    assert first != paired(specs(server)).describe()["fingerprint"]
    server.setup.models = MODELS
    assert first == paired(specs(server)).describe()["fingerprint"]
    server.setup.facts = {"root": "/models/tuned-2"}
    told = paired(specs(server)).describe()
    assert first != told["fingerprint"]
    assert told["served"] == {"root": "/models/tuned-2"}


def test_a_busy_server_keeps_its_fingerprint(server: ApiServer) -> None:
    first = paired(specs(server)).describe()["fingerprint"]
    # What others ask at the same time moves every answer, each time in another way, now and then by a step of 16 bits.
    rng = random.Random(3)
    server.setup.warp = lambda v: v + rng.uniform(-0.02, 0.02) - (0.125 if rng.random() < 0.1 else 0.0)
    pair = paired(specs(server))
    assert pair.describe()["fingerprint"] == first
    before = dists(pair, "The")
    sent = len(server.requests)
    assert pair.describe()["fingerprint"] == first
    assert len(server.requests) == sent + 4
    assert compare_dists(dists(pair, "The")[1], before[1]).js == 0.0, "what was answered before still stands"
    # A line that is no answer costs nothing.
    (path, *_) = (root() / "servers").glob("*.jsonl")
    path.write_text('{"a": 1}\n[[["cut of' + path.read_text())
    assert paired(specs(server)).describe()["fingerprint"] == first


def test_what_a_server_says_of_one_request_is_no_part_of_its_fingerprint(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, count = Handler.send, itertools.count()

    def told(self: Handler, status: int, body: Any, headers: Any = None) -> None:
        send(self, status, {**body, "system_fingerprint": f"fp_{next(count)}"}, headers)

    monkeypatch.setattr(Handler, "send", told)
    pair = paired(specs(server))
    first = pair.describe()["fingerprint"]
    assert pair.describe()["fingerprint"] == first
    assert paired(specs(server)).describe()["fingerprint"] == first


def test_answers_of_a_model_that_was_exchanged_are_not_used_in_the_next_run(server: ApiServer) -> None:
    pair = paired(specs(server))
    pair.describe()
    before = dists(pair, "The")
    sent = len(server.requests)
    pair.describe()
    assert compare_dists(dists(pair, "The")[1], before[1]).js == 0.0
    # Two questions to each side: nothing was measured anew.
    assert len(server.requests) == sent + 4
    server.setup.models = {**MODELS, "tuned": ToyModel(moved=3.0)}
    pair.describe()
    after = dists(pair, "The")
    assert compare_dists(after[0], before[0]).js == 0.0
    assert compare_dists(after[1], before[1]).js > 0.01
    assert after[1].token_ids.max() < 100


def test_the_number_of_requests_at_once_is_a_setting(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_API_CONCURRENCY", "2")
    assert side(server).describe()["requests_at_once"] == 2
    for wrong in ("0", "many", "65", "-1"):
        monkeypatch.setenv("SWAY_API_CONCURRENCY", wrong)
        with pytest.raises(SpecValidationError, match="1 to 64"):
            side(server)


def test_requests_run_side_by_side(server: ApiServer) -> None:
    import threading

    gate = threading.Barrier(3, timeout=300)

    def together(handler: Any) -> bool:
        gate.wait()
        return False

    backend = side(server, concurrency=3)
    assert backend.abilities.lists
    server.faults = [together] * 3
    assert len(backend.next_token_dist_batch(PROMPTS)) == len(PROMPTS)
