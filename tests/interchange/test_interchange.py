"""Files of other programs of the public format are read here, and what is written here is of that format."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sway_dash.cli.app import app
from sway_dash.core.result import Verdict
from sway_dash.report.json_io import from_json, load_result, to_json
from sway_dash.suite.fold import fold
from sway_dash.suite.loader import check_entries, load_spec
from sway_dash.suite.replay import events_of
from sway_dash.suite.report import (
    collect_degenerate_null_kinds,
    collect_missing_extras,
    collect_null_opt_outs,
    to_junit,
    to_markdown,
)
from sway_dash.suite.score import compute
from sway_dash.suite.trace_analysis import build_report, load
from tests.interchange.formats import KINDS, result_problems, suite_problems, trace_problems

HERE = Path(__file__).parent
DEMO = HERE.parents[1] / "assets" / "demo"
RESULTS = ["result_full.json", "result_minimal.json", "result_variants.json"]


def command(*args: object):
    result = CliRunner().invoke(app, [str(a) for a in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


# -- their files, read here -----------------------------------------------------------------------


def test_a_suite_with_every_kind_and_field_is_read():
    path = HERE / "sway.yaml"
    data = yaml.safe_load(path.read_text())
    assert list(suite_problems(data)) == []
    # The fixture really names every field there is.
    for entry in data["suite"]:
        assert KINDS[entry["kind"]] <= set(entry), entry["name"]
    assert {e["kind"] for e in data["suite"]} == set(KINDS)
    assert len(KINDS) == 17
    spec = load_spec(path)
    built = check_entries(spec)
    assert [s.name for _, s in built] == [e["name"] for e in data["suite"]]
    assert spec.defaults.score_weights == {
        "adherence": 0.4, "attribution": 0.3, "calibration": 0.2, "ablation": 0.15, "baseline": 0.0,
    }  # fmt: skip
    for entry, (_, settings) in zip(data["suite"], built, strict=True):
        given = json.loads(settings.model_dump_json())
        for key, value in entry.items():
            if isinstance(value, str | int | float):
                kept = given[key]
                assert kept == value or kept.endswith(value.removeprefix(".")), f"{entry['name']}.{key}"


def test_a_full_result_is_read_with_every_number():
    raw = json.loads((HERE / "result_full.json").read_text())
    assert list(result_problems(raw)) == []
    suite, score = from_json(raw)
    assert suite.wall_seconds == 42.5
    assert suite.determinism.class_ == "best_effort"
    assert suite.null_stats == raw["null_stats"]
    for probe, told in zip(suite.probes, raw["probes"], strict=True):
        own = json.loads(json.dumps(asdict(probe)))
        assert own == told
    assert score.overall == 0.58
    assert score.components == raw["score"]["components"]
    # Nothing is lost on the way back, and nothing is added.
    assert json.loads(to_json(suite, score)) == raw


def test_a_minimal_result_is_read():
    suite, score = load_result(HERE / "result_minimal.json")
    assert suite.wall_seconds == 0.0
    assert suite.started_at.tzinfo is not None
    assert suite.sway_version == "?"
    assert score.weights["attribution"] == 0.35
    assert [p.verdict for p in suite.probes] == [Verdict.PASS]


def test_variants_of_a_result_are_read():
    suite, _ = load_result(HERE / "result_variants.json")
    by_name = {p.name: p for p in suite.probes}
    assert by_name["pair"].ci_95 == (0.005, 0.02)
    assert by_name["ints"].ci_95 == (0.0, 1.0)
    assert {by_name[n].ci_95 for n in ("none", "one", "words", "text")} == {None}
    assert by_name["unknown"].raw is None
    assert by_name["unknown"].z_score is None
    assert suite.wall_seconds == 60.0


@pytest.mark.parametrize("name", RESULTS)
def test_what_was_read_and_written_is_read_the_same(name):
    # Other programs write NaN into evidence, which is no JSON: it becomes null.
    once = from_json(json.loads((HERE / name).read_text().replace("NaN", "null")))
    assert from_json(json.loads(to_json(*once), parse_constant=pytest.fail)) == once
    assert to_json(*load_result(HERE / name)) == to_json(*once)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_the_fold_of_the_events_made_of_it(name):
    suite, _ = load_result(HERE / name)
    again = fold(events_of(suite))
    assert [p.name for p in again.probes] == [p.name for p in suite.probes]
    assert [p.verdict for p in again.probes] == [p.verdict for p in suite.probes]


def test_opt_outs_are_told_as_texts_and_as_reasons():
    full, _ = load_result(HERE / "result_full.json")
    variants, _ = load_result(HERE / "result_variants.json")
    assert collect_null_opt_outs(full) == ["adapter_revert"]
    assert collect_null_opt_outs(variants) == ["adapter_revert", "prompt_collapse"]
    assert collect_missing_extras(full) == ["semsim"]
    assert collect_degenerate_null_kinds(full) == ["paraphrase_invariance"]


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("form", ["terminal", "md", "junit", "json"])
def test_every_report_is_made_of_every_result(name, form):
    result = command("report", HERE / name, "--format", form)
    assert result.exit_code == 0, result.output
    assert "moved" in result.stdout or "pair" in result.stdout
    assert "nan" not in result.stdout.lower()


def test_the_page_of_a_result_is_made(tmp_path):
    suite, _ = load_result(HERE / "result_full.json")
    text = suite.to_html(tmp_path / "r.html").read_text("utf-8")
    assert "moved" in text


def test_results_are_compared():
    result = command("compare", HERE / "result_full.json", HERE / "result_minimal.json", "--format", "md")
    assert result.exit_code == 0, result.output
    assert "sway compare" in result.stdout
    assert "moved" in result.stdout


def test_a_trace_is_read_and_reported():
    events = load(HERE / "trace.jsonl")
    assert len(events) == 6
    assert events.skipped == 2
    report = build_report(events)
    assert report.overall_hit_rate == 1 / 6
    moved = next(p for p in report.per_probe if p.probe == "moved")
    assert round(moved.total_ms, 1) == round(175.2 + 0.1 + 172.8, 1)
    assert (moved.n_events, moved.cache_hits, moved.cache_misses) == (3, 1, 2)
    shown = command("trace", HERE / "trace.jsonl", "--format", "md")
    assert shown.exit_code == 0
    for line in ("# sway trace", "## per-probe", "## per-view", "<unassigned>"):
        assert line in shown.stdout


# -- our files, as others read them ---------------------------------------------------------------

OWN_KEYS = {"run_id", "status", "warnings", "environment", "null_stats_by_rank", "multiplicity", "gate"}
"""What stands in a result beside the public keys; readers of the format pass over keys they do not know."""


def test_the_recorded_run_is_of_the_public_format():
    suite, score = load_result(DEMO / "run" / "result.json")
    for raw in (json.loads((DEMO / "run" / "result.json").read_text()), json.loads(to_json(suite, score))):
        assert list(result_problems(raw)) == []
        assert set(raw) - OWN_KEYS <= set(json.loads((HERE / "result_full.json").read_text()))


def test_the_recorded_trace_is_of_the_public_format():
    lines = (DEMO / "run" / "trace.jsonl").read_text().splitlines()
    assert len(lines) > 100
    for line in lines:
        assert list(trace_problems(json.loads(line))) == []


def test_what_of_the_demo_suite_is_beyond_the_public_format_is_known():
    """Prompts with tags, and positions along an answer: other programs refuse a suite that uses them."""
    data = yaml.safe_load((DEMO / "sway.yaml").read_text())
    assert set(suite_problems(data)) == {
        "next_token.prompts",
        "along_the_answer.positions",
        "along_the_answer.continuation_tokens",
        "along_the_answer.prompts",
        "strength.prompts",
    }


def test_a_run_of_a_public_suite_is_of_the_public_format(dummy_spec, tmp_path):
    from sway_dash.backends.dummy import DummyDifferentialBackend
    from sway_dash.suite.runner import run

    spec = dummy_spec(
        {"name": "noise", "kind": "null_adapter", "runs": 3, "rank_multipliers": [0.5, 1.0]},
        {"name": "moved", "kind": "delta_kl", "prompts": ["one", "two"]},
        {"name": "shape", "kind": "adapter_ablation", "prompts": ["one"]},
        {"name": "flips", "kind": "preference_flip", "triples": [{"prompt": "p", "chosen": "a", "rejected": "b"}]},
        {"name": "prices", "kind": "external_perplexity", "max_chunks": 2},
    )
    trace = tmp_path / "trace.jsonl"
    suite = run(spec, DummyDifferentialBackend(), trace_path=trace)
    text = to_json(suite, compute(suite))
    raw = json.loads(text)
    assert list(result_problems(raw)) == []
    assert set(raw["null_stats_by_rank"]) == {"rank_0.50", "rank_1.00"}
    assert raw["null_stats_by_rank"]["rank_1.00"] == raw["null_stats"]
    assert from_json(raw)[0] == from_json(json.loads(to_json(*from_json(raw))))[0]
    assert text == json.dumps(raw, indent=2, sort_keys=True)
    ops = set()
    for line in trace.read_text().splitlines():
        event = json.loads(line)
        assert list(trace_problems(event)) == []
        assert event["top_k"] == 0 or event["op"] == "next_token_dist"
        ops.add(event["op"])
    assert ops == {"next_token_dist", "logprob_of", "rolling_logprob"}
    assert "moved" in to_markdown(suite, compute(suite))
    assert 'name="moved"' in to_junit(suite, compute(suite))
