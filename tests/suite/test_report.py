"""Reports of a result: exact layouts, untrusted text, files that are not what they should be."""

import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.result import (
    DEFAULT_COMPONENT_WEIGHTS,
    DeterminismReport,
    ProbeResult,
    SuiteResult,
    SwayScore,
    Verdict,
)
from sway_dash.suite import report

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


def suite(*probes, **kwargs):
    fields = {
        "spec_path": "sway.yaml",
        "started_at": T0,
        "finished_at": T0 + timedelta(seconds=2.5),
        "base_model_id": "org/base",
        "adapter_id": "runs/adapter",
        "sway_version": "0.1.0",
        "probes": probes,
    }
    return SuiteResult(**(fields | kwargs))


def probe(name="p", kind="delta_kl", verdict=Verdict.PASS, score=0.9, **kwargs):
    return ProbeResult(name, kind, verdict, score, **kwargs)


FULL = suite(
    probe(score=0.87, raw=1234.5678, z_score=4.2, ci_95=(0.1, 0.25), duration_s=1.234, message="moved"),
    probe("flip", "preference_flip", Verdict.FAIL, 0.25, message="one\ntwo"),
    probe("style", "style_fingerprint", Verdict.SKIP, None, message="install the [semsim] extra"),
    probe("leak", "leakage", Verdict.ERROR, None),
    determinism=DeterminismReport("best_effort", 0, ("a note",)),
    backend_stats={"cache_hits": 5, "cache_misses": 10},
)
SCORE = SwayScore(0.65, {"adherence": 0.87, "baseline": 1.0}, band="healthy", findings=("flip did not",))


def terminal(result, score=SCORE, width=120):
    out = io.StringIO()
    report.to_terminal(result, score, console=Console(file=out, width=width))
    return out.getvalue()


# --- numbers ------------------------------------------------------------------------------------------------------

UNKNOWN = [None, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("unknown", UNKNOWN)
@pytest.mark.parametrize("write", [report.format_score, report.format_raw, report.format_z, report.format_duration_s])
def test_an_unknown_number_is_a_dash(write, unknown):
    assert write(unknown) == "—"


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (report.format_score, 0.654, "0.65"),
        (report.format_score, 1, "1.00"),
        (report.format_score, 0.0, "0.00"),
        (report.format_raw, 1234.56789, "1,234.568"),
        (report.format_z, 12.3456, "+12.35σ"),
        (report.format_z, 1234.5649, "≥ +99σ"),
        (report.format_z, -0.5, "-0.50σ"),
        (report.format_z, -0.001, "+0.00σ"),
        (report.format_z, 99.0, "≥ +99σ"),
        (report.format_z, -99.0, "≤ -99σ"),
        (report.format_raw, 9.07e-5, "9.07×10⁻⁵"),
        (report.format_raw, -0.0, "0.000"),
        (report.format_ci, (-0.0, 0.0000131), "[0.000, 1.31×10⁻⁵]"),
        (report.format_ci, (0.1, 0.25), "[0.100, 0.250]"),
        (report.format_ci, None, "—"),
        (report.format_ci, (0.1, math.nan), "—"),
        (report.format_duration_s, 0.0, "0.00s"),
        (report.format_duration_s, 9.99, "9.99s"),
        (report.format_duration_s, 10.0, "10.0s"),
        (report.format_duration_s, 99.94, "99.9s"),
        (report.format_duration_s, 100.4, "100s"),
        (report.format_duration_s, 12345.6, "12,346s"),
    ],
)
def test_numbers_are_written_like_this(write, value, text):
    assert write(value) == text


@pytest.mark.parametrize(
    ("adapter", "label"),
    [
        ("", "(base only)"),
        ("a/b/c", "a/b/c"),
        ("a/b/c/d", "b/c/d"),
        ("/b/c/d", "b/c/d"),
        ("/c/d", "/c/d"),
        ("a/b/c/d/", "b/c/d"),
        ("x/a b/c/d", '"a b/c/d"'),
    ],
)
def test_an_adapter_is_named_by_its_last_three_parts(adapter, label):
    assert report.adapter_label(adapter) == label


@pytest.mark.parametrize(
    ("stats", "line"),
    [
        ({}, None),
        ({"cache_hits": 0, "cache_misses": 0}, None),
        ({"cache_hits": 5, "cache_misses": 10}, "cache: 5/15 = 33%"),
        (
            {"cache_hits": 5, "cache_misses": 10, "batches_sent": 3, "avg_batch_size": 6.0},
            "cache: 5/15 = 33% | batches: 3 (avg=6.0)",
        ),
    ],
)
def test_the_cache_line_says_hits_of_lookups(stats, line):
    assert report._cache_line(suite(backend_stats=stats)) == line


# --- roll-ups -----------------------------------------------------------------------------------------------------


def test_missing_extras_come_from_skipped_probes_only():
    found = report.collect_missing_extras(
        suite(
            probe("a", verdict=Verdict.SKIP, message="Install the [style] extra; install the [semsim] EXTRA"),
            probe("b", verdict=Verdict.SKIP, message="install the [style] extra"),
            probe("c", verdict=Verdict.SKIP, evidence={"missing_extra": "gguf"}),
            probe("d", verdict=Verdict.FAIL, message="install the [never] extra"),
        )
    )
    assert found == ["gguf", "semsim", "style"]


def test_null_opt_outs_are_read_as_names_and_as_objects_with_reasons():
    found = suite(
        probe("n1", "null_adapter", evidence={"skipped_kinds": ["leakage", "adapter_revert"]}),
        probe("n2", "null_adapter", evidence={"skipped_kinds": [{"kind": "leakage", "reason": "generates"}, {}, 3]}),
        probe("x", "delta_kl", evidence={"skipped_kinds": ["not_this"]}),
    )
    assert report.collect_null_opt_outs(found) == ["adapter_revert", "leakage"]
    assert report.null_opt_out_reasons(found) == {"leakage": "generates", "adapter_revert": ""}
    for text in (report.to_markdown(found, SCORE), terminal(found)):
        assert "adapter_revert" in text
        assert "generates" in text


def test_degenerate_nulls_need_a_null_probe():
    null = {"b": {"degenerate": 1.0}, "a": {"degenerate": 0.5}, "c": {"degenerate": 0.0}, "d": {}, "e": 3}
    with_probe = suite(probe(kind="null_adapter"), null_stats=null)
    assert report.collect_degenerate_null_kinds(with_probe) == ["a", "b"]
    assert report.collect_degenerate_null_kinds(suite(probe(), null_stats=null)) == []


# --- JSON ---------------------------------------------------------------------------------------------------------


def test_json_has_the_public_keys_and_no_others_for_a_plain_result():
    text = report.to_json(FULL, SCORE)
    document = json.loads(text)
    assert list(document) == sorted(document)
    assert document.keys() == {
        *("schema_version", "sway_version", "spec_path", "base_model_id", "adapter_id", "started_at", "finished_at"),
        *("wall_seconds", "determinism", "backend_stats", "score", "null_stats", "probes"),
    }
    assert document["schema_version"] == 1
    assert document["started_at"] == "2026-01-01T12:00:00+00:00"
    assert document["wall_seconds"] == 2.5
    assert document["determinism"] == {"class": "best_effort", "seed": 0, "notes": ["a note"]}
    assert document["score"] == {
        "overall": 0.65,
        "band": "healthy",
        "components": {"adherence": 0.87, "baseline": 1.0},
        "weights": DEFAULT_COMPONENT_WEIGHTS,
        "findings": ["flip did not"],
    }
    assert document["probes"][0] == {
        "name": "p",
        "kind": "delta_kl",
        "verdict": "pass",
        "score": 0.87,
        "raw": 1234.5678,
        "z_score": 4.2,
        "base_value": None,
        "ft_value": None,
        "evidence": {},
        "message": "moved",
        "duration_s": 1.234,
        "ci_95": [0.1, 0.25],
    }
    assert document["probes"][3]["ci_95"] is None


def test_json_is_indented_ascii_without_a_last_line_break():
    text = report.to_json(suite(probe(message="4σ")), SCORE)
    assert text.isascii()
    assert '\n  "adapter_id"' in text
    assert not text.endswith("\n")


def test_json_holds_what_evidence_brings_as_plain_values():
    evidence = {1: np.float32(0.5), "n": np.arange(2), "bad": [math.nan, np.inf], "deep": {(1, 2): {"s"}}}
    (found,) = json.loads(report.to_json(suite(probe(evidence=evidence, raw=math.nan)), SCORE))["probes"]
    assert found["evidence"] == {"1": 0.5, "n": [0, 1], "bad": [None, None], "deep": {"(1, 2)": ["s"]}}
    assert found["raw"] is None


def test_a_result_is_read_back_as_it_was_written():
    full = replace(FULL, run_id="r1", status="cancelled", warnings=("w",), environment={"torch": "2.6"})
    for original in (FULL, full):
        assert report.from_json(json.loads(report.to_json(original, SCORE))) == (original, SCORE)


def test_extra_keys_are_written_for_a_run():
    document = json.loads(report.to_json(replace(FULL, run_id="r1"), SCORE))
    assert (document["run_id"], document["status"], document["warnings"], document["environment"]) == (
        *("r1", "finished", [], {}),
    )


def test_the_smallest_document_takes_defaults():
    result, score = report.from_json({"probes": [{"name": "p", "kind": "k", "verdict": "warn"}]})
    assert result.probes == (ProbeResult("p", "k", Verdict.WARN, None),)
    assert result.wall_seconds == 0.0
    assert result.started_at.tzinfo is not None
    assert (result.sway_version, result.base_model_id, result.status) == ("?", "", "finished")
    assert result.determinism is None
    assert score == SwayScore(0.0, {})
    assert report.from_json({"determinism": {}})[0].determinism == DeterminismReport("best_effort", 0)
    assert report.from_json({"score": {"weights": {}}})[1].weights == DEFAULT_COMPONENT_WEIGHTS


@pytest.mark.parametrize("bad", ["x", [1], [1, 2, 3], [1, None], [math.nan, 1], {"lo": 1}])
def test_an_interval_that_is_no_pair_of_numbers_is_unknown(bad):
    result, _ = report.from_json({"probes": [{"name": "p", "kind": "k", "verdict": "pass", "ci_95": bad}]})
    assert result.probes[0].ci_95 is None


@pytest.mark.parametrize("key", ["name", "kind", "verdict"])
def test_a_probe_needs_name_kind_and_verdict(key):
    raw = {"name": "p", "kind": "k", "verdict": "pass"}
    del raw[key]
    with pytest.raises(KeyError, match=rf"probes\[0\]\.{key}"):
        report.from_json({"probes": [raw]})


def test_an_unknown_verdict_is_a_value_error():
    with pytest.raises(ValueError, match=r"probes\[0\]\.verdict: unknown verdict 'great'"):
        report.from_json({"probes": [{"name": "p", "kind": "k", "verdict": "great"}]})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1, 2]", ["must be a JSON object", "a list"]),
        ("null", ["must be a JSON object", "null"]),
        ('{"probes": [', ["not valid JSON", "cut short"]),
        ("", ["not valid JSON"]),
        ('{"schema_version": 2}', ["result format 2", "up to 1"]),
        ('{"schema_version": "1"}', ["schema_version"]),
        ('{"probes": {}}', ["probes must be a list"]),
        ('{"probes": [5]}', ["probes[0] must be an object"]),
        ('{"probes": [{"name": "p", "kind": "k"}]}', ["probes[0].verdict is missing"]),
        ('{"probes": [{"name": "p", "kind": "k", "verdict": "great"}]}', ["probes[0].verdict", "great", "pass"]),
        ('{"probes": [{"name": "p", "kind": "k", "verdict": []}]}', ["probes[0].verdict"]),
        ('{"probes": [{"name": "p", "kind": "k", "verdict": "pass", "score": "high"}]}', ["probes[0].score", "number"]),
        ('{"score": {"components": {"a": "x"}}}', ["score.components.a"]),
        ('{"started_at": "yesterday"}', ["started_at"]),
        ("[" * 100_000, ["nested"]),
    ],
)
def test_a_file_that_is_no_result_is_refused_in_one_sentence(tmp_path, content, words):
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(SpecValidationError) as caught:
        report.load_result(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    for word in words:
        assert word in text


def test_files_that_cannot_be_read_are_refused_too(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x01\x99")
    for path in (tmp_path / "missing.json", tmp_path, tmp_path / "bytes"):
        with pytest.raises(SpecValidationError) as caught:
            report.load_result(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_a_stored_result_is_loaded(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(report.to_json(FULL, SCORE))
    assert report.load_result(path) == (FULL, SCORE)


# --- JUnit --------------------------------------------------------------------------------------------------------


def test_junit_has_exactly_this_form():
    assert report.to_junit(FULL, SCORE) == (
        '<testsuite name="sway" tests="4" failures="1" errors="1" skipped="1" time="2.500">'
        '<properties><property name="overall" value="0.6500" /><property name="band" value="healthy" />'
        '<property name="component.adherence" value="0.8700" />'
        '<property name="component.baseline" value="1.0000" /></properties>'
        '<testcase classname="delta_kl" name="p" time="1.234" />'
        '<testcase classname="preference_flip" name="flip" time="0.000"><failure message="one&#10;two" /></testcase>'
        '<testcase classname="style_fingerprint" name="style" time="0.000">'
        '<skipped message="install the [semsim] extra" /></testcase>'
        '<testcase classname="leakage" name="leak" time="0.000"><error message="errored" /></testcase></testsuite>'
    )


@pytest.mark.parametrize(
    ("verdict", "tag", "text"),
    [(Verdict.FAIL, "failure", "failed"), (Verdict.ERROR, "error", "errored"), (Verdict.SKIP, "skipped", "skipped")],
)
def test_an_empty_message_has_a_word_instead(verdict, tag, text):
    root = ET.fromstring(report.to_junit(suite(probe(verdict=verdict)), SCORE))
    assert root.find(f"testcase/{tag}").attrib == {"message": text}


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.WARN])
def test_a_warning_is_no_failure(verdict):
    root = ET.fromstring(report.to_junit(suite(probe(verdict=verdict, message="m")), SCORE))
    assert len(root.find("testcase")) == 0


def test_a_run_that_was_stopped_is_not_green():
    root = ET.fromstring(report.to_junit(suite(probe(), status="cancelled"), SCORE))
    assert root.attrib["errors"] == "1"
    assert root.attrib["tests"] == "2"
    assert "cancelled" in root.find("testcase/error").attrib["message"]


def test_control_characters_do_not_break_the_xml():
    root = ET.fromstring(report.to_junit(suite(probe("a\x00b\x1b", message="\x07", verdict=Verdict.FAIL)), SCORE))
    assert root.find("testcase").attrib["name"] == "a\ufffdb\ufffd"


# --- Markdown -----------------------------------------------------------------------------------------------------

# ␠ stands for the blanks at the end of a line, which editors like to remove.
MARKDOWN = """\
# sway report

**Overall:** 0.65 (`healthy`)␠␠
**Base:** `org/base`␠␠
**Adapter:** `runs/adapter`␠␠
**Wall:** 2.50s␠␠
**Determinism:** `best_effort` (seed=0)␠␠
**Backend:** cache: 5/15 = 33%␠␠

## Components

| category | score | weight | |
|---|---:|---:|---|
| adherence | 0.87 | 0.30 |  |
| baseline | 1.00 | 0.00 | (informational, weight=0) |

## Probes

| name | kind | verdict | score | raw | ci95 | z | duration | note |
|---|---|---|---:|---:|---:|---:|---:|---|
| p | `delta_kl` | pass | 0.87 | 1,234.568 | [0.100, 0.250] | +4.20σ | 1.23s | moved |
| flip | `preference_flip` | fail | 0.25 | — | — | — | 0.00s | one two |
| style | `style_fingerprint` | skip | — | — | — | — | 0.00s | install the [semsim] extra |
| leak | `leakage` | error | — | — | — | — | 0.00s |  |

## Top findings

- flip did not

## Skipped probes

1 probe was skipped, 1 for want of a package that can be installed:

```
pip install 'sway-dash[semsim]'
```
""".replace("␠", " ")


def test_markdown_has_exactly_this_layout():
    assert report.to_markdown(FULL, SCORE) == MARKDOWN


def test_how_many_were_skipped_for_want_of_a_package_is_said_apart():
    wanting = probe("a", verdict=Verdict.SKIP, evidence={"missing_extra": "gguf"})
    found = suite(wanting, probe("b", verdict=Verdict.SKIP, message="disabled"), probe("c", verdict=Verdict.SKIP))
    for text in (report.to_markdown(found, SCORE), " ".join(terminal(found).split())):
        assert "3 probes were skipped, 1 for want of a package that can be installed:" in text


def test_markdown_without_the_optional_parts_has_none_of_them():
    text = report.to_markdown(suite(probe()), SwayScore(0.9, {"adherence": 0.9}, band="suspicious"))
    for part in (
        "Determinism",
        "Backend",
        "findings",
        "Skipped",
        "opt-outs",
        "Degenerate",
        "Cluster",
        "Status",
        "Warn",
    ):
        assert part not in text


def test_components_come_in_the_usual_order_and_missing_ones_are_absent():
    score = SwayScore(0.5, {"own": 0.1, "ablation": 0.2, "adherence": 0.3})
    rows = [
        line.split("|")[1].strip() for line in report.to_markdown(suite(), score).splitlines() if line.startswith("| ")
    ]
    assert rows[1:4] == ["adherence", "ablation", "own"]
    assert "attribution" not in rows


def test_a_rank_profile_is_appended_when_there_are_several_ranks():
    ranks = {"rank_0.50": 6.8, "rank_1.00": 4.2}
    two = suite(probe(message="m", evidence={"z_by_rank": ranks}), probe(evidence={"z_by_rank": ranks}))
    lines = report.to_markdown(two, SCORE).splitlines()
    profile = "rank profile: +6.80σ @ 0.5x / +4.20σ @ 1x"
    assert any(line.endswith(f"| m \\| {profile} |") for line in lines)
    assert any(line.endswith(f"| {profile} |") and "m \\|" not in line for line in lines)
    one = suite(probe(evidence={"z_by_rank": {"rank_1.00": 4.2}}))
    assert "rank profile" not in report.to_markdown(one, SCORE)


def cells(line):
    """Cells of a table row as GitHub splits it: a backslash takes the next character along."""
    found, i = [""], 0
    while i < len(line):
        if line[i] == "\\":
            found[-1] += line[i : i + 2]
            i += 2
        elif line[i] == "|":
            found.append("")
            i += 1
        else:
            found[-1] += line[i]
            i += 1
    return found[1:-1]


NASTY = "a|b\n| c \\| d <script>x</script> [l](javascript:0) `tick` ``two`` \x1b[31m"


def test_untrusted_text_breaks_no_table():
    bad = suite(
        probe(NASTY, NASTY, message=NASTY),
        probe("n", "null_adapter", evidence={"skipped_kinds": [{"kind": NASTY, "reason": NASTY}]}),
        probe("c", "cluster_kl", evidence={"per_cluster_mean_kl": [0.1], "cluster_exemplars": [[NASTY]]}),
        adapter_id=NASTY,
        base_model_id=NASTY,
        warnings=(NASTY,),
    )
    text = report.to_markdown(bad, replace(SCORE, components={NASTY: 0.5}, findings=(NASTY,)))
    widths = [len(cells(line)) for line in text.splitlines() if line.startswith("|")]
    assert widths == [4, 4, 4] + [9] * 5 + [4] * 3
    assert "\x1b" not in text


def test_html_and_links_in_a_finding_are_text():
    text = report.to_markdown(suite(), replace(SCORE, findings=("<img src=x> 0 < 1 [a](b)",)))
    assert "- \\<img src=x> 0 < 1 [a]\\(b)" in text


def test_opt_outs_degenerate_nulls_and_clusters_have_their_sections():
    text = report.to_markdown(
        suite(
            probe("n", "null_adapter", evidence={"skipped_kinds": ["leakage"]}),
            probe(
                "clusters",
                "cluster_kl",
                evidence={
                    "per_cluster_mean_kl": [0.12345, None],
                    "per_cluster_size": [3, 2],
                    "cluster_exemplars": [["a|b", "c"], []],
                },
            ),
            null_stats={"delta_kl": {"degenerate": 1.0}},
        ),
        SCORE,
    )
    assert "## Null-calibration opt-outs" in text
    assert "- `leakage`" in text
    assert "## Degenerate null calibration" in text
    assert "bump `runs:`" in text
    assert "- `delta_kl`" in text
    assert "## Cluster breakdown (cluster_kl)\n\n### clusters\n" in text
    assert "| 0 | 3 | 0.123 | a\\|b; c |\n| 1 | 2 | — | — |" in text


def test_a_partial_result_says_so_everywhere():
    partial = suite(probe(), status="cancelled", warnings=("only three prompts",))
    for text in (report.to_markdown(partial, SCORE), terminal(partial), report.to_junit(partial, SCORE)):
        assert "cancelled" in text
        assert "only three prompts" in text


# --- terminal -----------------------------------------------------------------------------------------------------


def test_the_terminal_report_has_its_parts():
    text = terminal(FULL)
    for part in (
        *("sway report", "org/base", "runs/adapter", "overall: 0.65  [ healthy ]", "top findings:", "1. flip did not"),
        *("█████████░", "(informational, weight=0)", "1,234.568", "[0.100, 0.250]", "+4.20σ"),
        "pip install 'sway-dash[semsim]'",
        "wall: 2.50s  |  sway 0.1.0  |  det: best_effort (seed=0)  |  cache: 5/15 = 33%",
    ):
        assert part in text


def test_words_of_the_format_are_explained_where_people_read():
    skipped = [{"kind": "leakage", "reason": "this kind has no null"}]
    null = probe("n", "null_adapter", evidence={"skipped_kinds": skipped})
    high = suite(null, run_id="r", determinism=FULL.determinism)
    score = SwayScore(0.9, {"adherence": 0.9}, band="suspicious")
    for text in (" ".join(terminal(high, score).split()), report.to_markdown(high, score)):
        assert "the numbers may differ in their last digits" in text
        assert "not a fault that was seen" in text
    assert json.loads(report.to_json(high, score))["score"]["band"] == "suspicious"
    assert "not compared with random adapters: leakage" in map(str.strip, terminal(high).splitlines())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_verdicts_stand_alone_only_as_cells(width):
    words = terminal(FULL, width=width).split()
    assert sorted(w for w in words if w in {"pass", "fail", "skip", "error", "warn"}) == [
        "error",
        "fail",
        "pass",
        "skip",
    ]


def test_user_text_is_never_read_as_markup():
    odd = suite(
        probe("a[b]c", message="install the [semsim] extra [/red] [bold]x"),
        base_model_id="[red]base[/red]",
        adapter_id="[/]",
        warnings=("[w]",),
    )
    text = terminal(odd, replace(SCORE, findings=("use [style]",), components={"[cat]": 0.5}, band="[odd]"), width=200)
    for part in (
        "a[b]c",
        "[semsim]",
        "[/red] [bold]x",
        "[red]base[/red]",
        "[/]",
        "[w]",
        "use [style]",
        "[cat]",
        "[odd]",
    ):
        assert part in text


def test_user_text_cannot_steer_the_terminal():
    text = terminal(suite(probe("a\x1b[2Jb", message="\x9b31m\x07")), SCORE)
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    assert "\x9b" not in text
