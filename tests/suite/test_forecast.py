"""What is forecast is what a run then counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sway_dash.core.events import RunFinished
from sway_dash.demo import demo_dir
from sway_dash.probes.null_cache import NullCache
from sway_dash.suite.execute import open_backend
from sway_dash.suite.forecast import PREFLIGHT, Forecast, forecast
from sway_dash.suite.loader import check_entries, load_spec, loads
from sway_dash.suite.plan import plan
from sway_dash.suite.runner import run
from tests.fakes import FakeBackend


def of(text: str, folder: Path | None = None, **options: Any) -> Forecast:
    spec = loads(text, folder=folder)
    return forecast(spec, check_entries(spec), **options)


def suite(entries: list[dict[str, Any]], **defaults: Any) -> str:
    side = {"kind": "custom", "base": "plain", "entry_point": "tests.fakes:FakeBackend"}
    data = {"version": 1, "models": {"base": side, "ft": side}, "defaults": defaults, "suite": entries}
    return yaml.safe_dump(data, sort_keys=False)


def test_the_recorded_example_cost_what_is_forecast() -> None:
    folder = demo_dir() / "run"
    found = of((folder / "spec.yaml").read_text(encoding="utf-8"))
    last = json.loads((folder / "events.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    stats = last["backend_stats"]
    assert (found.passes, found.hits) == (stats["cache_misses"], stats["cache_hits"])
    calibration = stats["by_phase"]["calibration"]
    assert (found.entries[0].passes, found.entries[0].hits) == (calibration["cache_misses"], calibration["cache_hits"])
    assert found.exact


@pytest.mark.parametrize(
    "entries",
    [
        [{"name": "a", "kind": "delta_kl", "prompts": ["one", "two", "one"]}],
        [
            {"name": "n", "kind": "null_adapter", "runs": 3, "cache": False},
            {"name": "a", "kind": "delta_kl", "prompts": ["one", "two"]},
            {"name": "b", "kind": "delta_kl", "prompts": ["two", "three"]},
            {"name": "c", "kind": "adapter_ablation", "prompts": ["one", "four"], "lambdas": [0.5, 1, 1.5]},
        ],
        [
            {"name": "n", "kind": "null_adapter", "runs": 2, "rank_multipliers": [1.0, 2.0], "cache": False},
            {"name": "a", "kind": "delta_kl", "prompts": ["one"], "enabled": False},
            {"name": "b", "kind": "delta_kl", "prompts": ["two"]},
        ],
    ],
)
def test_passes_are_those_a_run_makes(entries: list[dict[str, Any]]) -> None:
    text = suite(entries)
    spec = loads(text)
    backend = FakeBackend(base_spec=spec.models.ft)
    seen: list[Any] = []
    run(spec, backend, on_event=seen.append)
    stats = next(e for e in seen if isinstance(e, RunFinished)).backend_stats
    assert of(text).passes == stats["forward_passes"]


@pytest.mark.parametrize(
    ("kinds", "bound"),
    [
        ([{"kind": "delta_kl"}], "exact"),
        ([{"kind": "delta_kl", "stop_when_decided": True}], "at most"),
        ([{"kind": "layer_attribution"}], "at least"),
        ([{"kind": "layer_attribution"}, {"kind": "delta_kl", "stop_when_decided": True}], "about"),
        ([{"kind": "layer_attribution", "enabled": False}, {"kind": "delta_kl"}], "exact"),
    ],
)
def test_what_is_known_only_in_part_is_not_called_exact(kinds: list[dict[str, Any]], bound: str) -> None:
    entries = [{"name": f"e{i}", "prompts": ["one", "two"], **entry} for i, entry in enumerate(kinds)]
    found = of(suite(entries))
    assert found.bound == bound
    assert found.exact == (bound == "exact")


def test_an_entry_that_stops_early_makes_at_most_the_passes_that_are_forecast() -> None:
    prompts = [f"prompt {i}" for i in range(200)]
    gate = {"assert_mean_gte": 0.6, "stop_when_decided": True}
    text = suite([{"name": "a", "kind": "delta_kl", "prompts": prompts, **gate}])
    spec = loads(text)
    seen: list[Any] = []
    run(spec, FakeBackend(base_spec=spec.models.ft), on_event=seen.append)
    passes = next(e for e in seen if isinstance(e, RunFinished)).backend_stats["forward_passes"]
    assert passes < of(text).passes


def test_what_probes_without_measurements_ask_is_counted_roughly_and_so_are_their_draws() -> None:
    entries = [
        {"name": "n", "kind": "null_adapter", "runs": 3, "cache": False},
        {"name": "a", "kind": "delta_kl", "prompts": ["one", "two"]},
        {"name": "harm", "kind": "calibration_drift", "items_limit": 12},
        {"name": "text", "kind": "external_perplexity", "max_chunks": 4},
        {
            "name": "words",
            "kind": "paraphrase_invariance",
            "cases": [{"prompt": f"p{i}", "gold": "g", "paraphrases": [f"a{i}", f"b{i}", f"q{i}"]} for i in range(3)],
        },
        {
            "name": "liked",
            "kind": "preference_flip",
            "triples": [{"prompt": f"r{i}", "chosen": "y", "rejected": "n"} for i in range(5)],
        },
    ]
    text = suite(entries)
    found = of(text)
    alone = {e.name: e.passes for e in of(suite([entries[0], entries[1]])).entries}
    harm, outside = found.entries[2], found.entries[3]
    assert (harm.passes, outside.passes) == (2 * 12, 2 * 4)
    assert [e.passes for e in found.entries[4:]] == [2 * 3 * 4, 2 * 2 * 5]
    # Every draw asks one side again.
    assert found.entries[0].passes == alone["n"] + 3 * (12 + 4 + 3 * 4 + 2 * 5)
    assert found.bound == "about"
    spec = loads(text)
    seen: list[Any] = []
    run(spec, FakeBackend(base_spec=spec.models.ft), on_event=seen.append)
    stats = next(e for e in seen if isinstance(e, RunFinished)).backend_stats
    assert found.passes == pytest.approx(stats["forward_passes"], rel=0.1)


def test_the_plan_counts_what_probes_ask_of_the_document() -> None:
    spec = load_spec(demo_dir() / "full.yaml")
    planned = {p.name: p for p in plan(spec, check_entries(spec))}
    assert all(planned[name].answers for name in ("sections", "style", "recites"))
    # What a run of this suite asks for its random adapters; the draws of those three are among them.
    assert planned["noise"].answers == 2_560


def test_the_plan_tells_which_entries_take_time_beside_their_measurements() -> None:
    delta = {"name": "a", "kind": "delta_kl", "prompts": ["one"]}
    null = {"name": "n", "kind": "null_adapter", "runs": 2}
    drift = {"name": "d", "kind": "training_drift", "store_path": "logs"}
    harm = {"name": "h", "kind": "calibration_drift", "items_limit": 12}
    style = {"name": "s", "kind": "style_fingerprint", "prompts": ["one"], "doc_reference": "a text"}

    def open_ended(*entries: dict[str, Any]) -> list[bool]:
        spec = loads(suite(list(entries)))
        return [p.open_ended for p in plan(spec, check_entries(spec))]

    assert open_ended(null, delta, drift) == [False, False, False]
    # Scoring an answer takes about as long as a measurement and is counted; writing one takes as long as it is.
    assert open_ended(null, delta, harm) == [False, False, False]
    assert open_ended(null, delta, style) == [True, False, True]
    assert open_ended(null, delta, {**style, "enabled": False}) == [False, False, False]
    layers = {"name": "l", "kind": "layer_attribution", "prompts": ["one"]}
    assert open_ended(null, layers) == [False, True]


@pytest.mark.parametrize("kind", ["delta_kl", "calibration_drift", "style_fingerprint"])
def test_of_two_models_no_random_adapter_is_planned(kind: str) -> None:
    keys = {"calibration_drift": {"items_limit": 12}, "style_fingerprint": {"doc_reference": "a text"}}.get(kind, {})
    entry = {"name": "a", "kind": kind, **keys, **({} if kind == "calibration_drift" else {"prompts": ["one"]})}

    def planned(**settings: Any) -> tuple[int, int, bool]:
        spec = loads(suite([{"name": "n", "kind": "null_adapter", "runs": 9}, entry], **settings))
        null = plan(spec, check_entries(spec))[0]
        return null.measurements, null.answers, null.open_ended

    assert planned() != (0, 0, False)
    assert planned(differential=False) == (0, 0, False)


def test_texts_that_are_written_weigh_as_much_as_their_tokens(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    text = " ".join(f"Lighthouse {i} stands on the northern cape." for i in range(30))
    document.write_text(text, encoding="utf-8")
    text = suite(
        [
            {"name": "n", "kind": "null_adapter", "runs": 2, "cache": False},
            {"name": "style", "kind": "style_fingerprint", "prompts": ["one", "two"], "max_new_tokens": 10},
            {"name": "in", "kind": "section_internalization"},
            {"name": "by_heart", "kind": "leakage", "max_new_tokens": 16},
        ]
    )
    without = {e.name: e.passes for e in of(text).entries}
    assert without == {"n": 0, "style": 0, "in": 0, "by_heart": 0}
    found = {e.name: e for e in of(text + f"dlm_source: {document}\n").entries}
    assert (found["style"].passes, found["style"].weight) == (4, 4 + 2 * 2 * 10)
    places = found["by_heart"].passes // 4
    assert places > 1
    assert found["by_heart"].weight == 2 * (2 * places + 16 * places)
    assert found["in"].passes > 4
    single = sum(found[name].weight for name in ("style", "in", "by_heart"))
    assert found["n"].weight == single


@pytest.mark.slow
def test_a_real_run_of_the_demo_costs_what_is_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_NULL_CACHE_DIR", str(tmp_path))
    entries = [
        {"name": "n", "kind": "null_adapter", "runs": 11},
        {"name": "a", "kind": "delta_kl", "prompts": ["The lamp of", "Once upon a time", "A bee"]},
        {"name": "p", "kind": "delta_kl", "prompts": ["The lamp of", "A bee lives"], "positions": "prompt"},
        {
            "name": "c",
            "kind": "delta_kl",
            "prompts": ["A bee lives"],
            "positions": "continuation",
            "continuation_tokens": 3,
        },
        {"name": "s", "kind": "adapter_ablation", "prompts": ["A bee", "Two and"]},
    ]
    folder = demo_dir()
    data = {
        "models": {
            "base": {"base": str(folder / "model"), "device": "cpu"},
            "ft": {"base": str(folder / "model"), "adapter": str(folder / "adapter"), "device": "cpu"},
        },
        "suite": entries,
    }
    text = yaml.safe_dump(data, sort_keys=False)
    spec = loads(text)

    def measured() -> tuple[int, int, str]:
        backend: Any = open_backend(spec)
        seen: list[Any] = []
        try:
            run(spec, backend, on_event=seen.append)
            stats = next(e for e in seen if isinstance(e, RunFinished)).backend_stats
            return stats["cache_misses"], stats["cache_hits"], backend.describe()["fingerprint"]
        finally:
            backend.close()

    first, again = of(text), None
    passes, hits, fingerprint = measured()
    assert (first.passes, first.hits) == (passes, hits)
    # The draws are on disk now.
    again = of(text, fingerprint=fingerprint)
    assert again.on_disk == 11 * (3 + 2 + 1)
    assert (again.passes, again.hits) == measured()[:2]
    assert again.passes < first.passes


def test_draws_on_disk_are_those_of_the_same_model_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_NULL_CACHE_DIR", str(tmp_path))
    text = suite([{"name": "n", "kind": "null_adapter"}, {"name": "a", "kind": "delta_kl", "prompts": ["one"]}])
    NullCache("other")
    assert of(text, fingerprint="mine").on_disk == 0


def test_two_models_have_no_nulls_and_no_strengths() -> None:
    entries = [
        {"name": "n", "kind": "null_adapter", "runs": 9},
        {"name": "a", "kind": "delta_kl", "prompts": ["one"]},
        {"name": "s", "kind": "adapter_ablation", "prompts": ["one"]},
    ]
    found = of(suite(entries, differential=False))
    assert [e.passes for e in found.entries] == [0, 2, 0]


def test_models_behind_a_server_are_asked_for_answers_in_requests() -> None:
    side = {"kind": "api", "endpoint": "http://127.0.0.1:1/v1"}
    entries = [
        {"name": "n", "kind": "null_adapter", "runs": 9},
        {"name": "a", "kind": "delta_kl", "prompts": [f"the number {i} is" for i in range(40)]},
        {"name": "s", "kind": "adapter_ablation", "prompts": ["one"]},
    ]
    models = {"base": {**side, "base": "b"}, "ft": {**side, "base": "t"}}
    found = of(yaml.safe_dump({"models": models, "suite": entries}))
    # What a run of it counts: tests/backends/test_api_runs.py.
    assert [e.passes for e in found.entries] == [0, 80, 0]
    assert (found.passes, found.requests, found.served) == (82, 2 + 2 * 3, True)
    assert of(suite(entries)).requests == 0


def test_continuations_weigh_more_than_single_tokens() -> None:
    entry = {"name": "a", "kind": "delta_kl", "prompts": ["one"]}
    plain = of(suite([entry]))
    long = of(suite([{**entry, "positions": "continuation", "continuation_tokens": 15}]))
    assert (plain.weight, long.weight) == (2.0, 32.0)
    assert plain.passes == long.passes


def test_the_check_of_the_model_counts_where_there_is_one() -> None:
    text = "models: {base: {base: a}, ft: {base: a, adapter: b}}\nsuite: [{name: a, kind: delta_kl, prompts: [x]}]\n"
    assert of(text).preflight == PREFLIGHT
    assert of(suite([{"name": "a", "kind": "delta_kl", "prompts": ["x"]}])).preflight == 0


def test_an_enormous_suite_is_counted_roughly_and_fast() -> None:
    entries = [
        {"name": "n", "kind": "null_adapter", "runs": 100},
        {"name": "a", "kind": "delta_kl", "prompts": [f"p{i}" for i in range(20)]},
    ]
    assert of(suite(entries), most=10).passes == 20 * 101 + 20 * 2
