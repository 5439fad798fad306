"""``compare``: scores, verdicts and prompts of several runs, the gate, and what cannot be compared."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from sway_dash.suite.execute import execute
from sway_dash.suite.store import EVENTS, META, RESULT, RunFolder
from tests.suite.test_comparison import PROMPTS, suite

SHIFTED = [*PROMPTS[3:], "One of its own", "[bold]Another[/bold]"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """Three runs: the same prompts twice, and once with others among them."""
    root = tmp_path_factory.mktemp("runs")
    texts = {
        "plain": suite(base="plain"),
        "strong": suite(base="strong2"),
        "shifted": suite(SHIFTED, base="plain"),
    }
    folders = {}
    for name, text in texts.items():
        folders[name] = RunFolder.create(text, root=root, name=name)
        execute(folders[name], details=0)
    return folders


def document(**probes: tuple[Any, Any]) -> dict[str, Any]:
    """A result as dlm-sway 0.1.0 writes it, without values of single prompts."""
    scores = [s for s, _ in probes.values() if isinstance(s, float)]
    return {
        "schema_version": 1,
        "sway_version": "0.1.0",
        "finished_at": "2026-01-02T03:04:05+00:00",
        "score": {"overall": sum(scores) / len(scores) if scores else 0.0},
        "probes": [{"name": n, "kind": "delta_kl", "verdict": v, "score": s} for n, (s, v) in probes.items()],
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """``write("a.json", moved=(0.9, "pass"))`` → path of a result file."""

    def make(name: str, **probes: tuple[Any, Any]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document(**probes)))
        return path

    return make


def refused(result: Any) -> str:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return str(result.stderr)


# -- what is said ---------------------------------------------------------------------------------


def test_two_runs_are_compared_by_score_by_verdict_and_by_prompt(cli, measured):
    result = cli("compare", measured["plain"].path, measured["strong"].path)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "sway compare: 2 runs" in text
    assert "Δ plain→strong" in text
    assert "▲ moved improved: 0.75 →" in text
    assert "different base model, plain: plain; strong: strong2 (differences mix the bases with the adapters)" in text
    assert "moved: mean ΔJS = +" in text
    assert "more changed" in text
    assert "Wilcoxon signed-rank" in text
    assert "largest differences of moved" in text


def test_every_prompt_and_what_is_only_in_one_run_is_in_the_json(cli, measured):
    data = json.loads(cli("compare", *(measured[n].path for n in measured), "--format", "json").stdout)
    assert data["labels"] == ["plain", "strong", "shifted"]
    assert list(data)[:8] == [
        "labels", "timestamps", "probe_names", "scores", "deltas", "composite_series", "regression_threshold",
        "latest_regressions",
    ]  # fmt: skip
    first, second = (step["prompts"][0] for step in data["steps"])
    assert (first["run"], second["run"]) == ("strong", "shifted")
    assert (first["n"], first["only_in_run"]) == (len(PROMPTS), [])
    assert second["only_in_baseline"] == PROMPTS[:3]
    assert second["only_in_run"] == SHIFTED[-2:]
    # Two runs are tested against their baselines: both p are adjusted for two.
    assert first["tests"] == second["tests"] == 2
    assert first["p_holm"] >= first["p"]
    assert len(data["prompts"]) == len(PROMPTS) + 2
    own = next(p for p in data["prompts"] if p["prompt"] == SHIFTED[-1])
    assert own["values"]["plain"] is None
    assert own["values"]["shifted"] > 0


def test_the_numbers_are_those_of_the_comparison_of_the_library(cli, measured):
    from sway_dash.suite.comparison import compare, open_side

    data = json.loads(cli("compare", measured["plain"].path, measured["strong"].path, "--format", "json").stdout)
    (known,) = compare([open_side(measured[n].path) for n in ("plain", "strong")]).contrasts
    (found,) = data["steps"][0]["prompts"]
    assert found["mean_delta"] == pytest.approx(known.stats.mean, abs=0)
    assert found["ci_95"] == pytest.approx(known.stats.ci, abs=0)
    assert (found["more_changed"], found["same"], found["less_changed"]) == (
        known.stats.up, known.stats.same, known.stats.down,
    )  # fmt: skip


def test_text_from_outside_is_never_markup(cli, measured):
    paths = measured["plain"].path, measured["shifted"].path
    assert "[bold]Another[/bold]" in cli("compare", *paths).stdout
    assert "only in shifted" in cli("compare", *paths).stdout


@pytest.mark.parametrize("form", ["md", "markdown", "json", "html"])
def test_every_format_goes_to_a_file(cli, measured, tmp_path, form):
    out = tmp_path / "deep" / "compare.out"
    result = cli("compare", measured["plain"].path, measured["strong"].path, "--format", form, "--out", out)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "→" in result.stderr
    text = out.read_text()
    start = {"json": "{", "html": "<!doctype html>"}.get(form, "# sway compare — 2 runs")
    assert text.lower().startswith(start)
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_markdown_has_a_table_for_every_question(cli, measured):
    text = cli("compare", measured["plain"].path, measured["shifted"].path, "--format", "md").stdout
    for part in ("| probe |", "| **composite** |", "## Verdicts", "## Remarks", "## shifted against plain", "Only in"):
        assert part in text or part == "## Remarks"
    assert "Only in plain: Prompt 0" in text


# -- which run against which ----------------------------------------------------------------------


def steps(cli: Any, *args: object) -> list[tuple[str, str]]:
    result = cli("compare", *args, "--format", "json")
    assert result.exit_code == 0, result.output
    return [(s["run"], s["baseline"]) for s in json.loads(result.stdout)["steps"]]


def test_the_baseline_can_be_chosen(cli, write):
    files = [write(f"{n}.json", moved=(s, "pass")) for n, s in (("a", 0.5), ("b", 0.9), ("c", 0.7))]
    assert steps(cli, *files) == [("b", "a"), ("c", "b")]
    assert steps(cli, *files, "--baseline", "first") == [("b", "a"), ("c", "a")]
    assert steps(cli, *files, "--baseline", "best") == [("a", "b"), ("c", "b")]
    assert steps(cli, *files, "--baseline", files[2]) == [("a", "c"), ("b", "c")]
    # One that was not named among the runs stands before them.
    assert steps(cli, files[1], "--baseline", files[0]) == [("b", "a")]


def test_runs_are_found_by_folder_by_id_and_by_the_result_in_their_folder(cli, measured, runs_dir):
    shutil.copytree(measured["plain"].path, runs_dir / measured["plain"].id)
    pairs = steps(cli, measured["plain"].id, measured["strong"].path / RESULT)
    assert pairs == [(measured["strong"].id, "plain")]


def test_labels_are_unique_when_names_collide(cli, write, measured, tmp_path):
    files = [write(f"{folder}/run.json", moved=(0.5, "pass")) for folder in "ab"]
    assert steps(cli, *files) == [("b/run", "a/run")]
    copy = tmp_path / "copy"
    shutil.copytree(measured["plain"].path, copy)
    result = cli("compare", measured["plain"].path, copy)
    assert measured["plain"].id in result.stdout
    assert "are one and the same run" in result.stdout
    assert "Nothing changed: all 12 prompts have the same JS" in " ".join(result.stdout.split())


def test_many_runs_are_rows_and_their_prompts_a_table(cli, write, measured):
    files = [write(f"r{i}.json", moved=(i / 20, "warn"), other=(0.5, "pass")) for i in range(12)]
    lines = cli("compare", *files).stdout.splitlines()
    assert sum(line.startswith("r11 ") and "0.55 warn" in line for line in lines) == 1
    runs = [measured[n].path for n in measured]
    result = cli("compare", *runs, *files[:6], "--baseline", runs[0])
    assert "compared by score only" in result.stdout


def test_every_line_about_prompts_says_which_pair_it_is_about(cli, measured):
    text = " ".join(cli("compare", *(measured[n].path for n in measured)).stdout.split())
    prompts = text.partition(" prompts ")[2]
    assert "strong against plain, moved: mean ΔJS = +" in prompts
    assert "shifted against strong, moved: mean ΔJS = " in prompts


@pytest.mark.parametrize("many", [2, 3, 8])
def test_long_names_of_runs_are_never_broken_in_a_word(cli, measured, tmp_path, monkeypatch, many):
    monkeypatch.setenv("COLUMNS", "120")
    names = [f"sweep-20991231-1455/checkpoint-{i + 1}00" for i in range(many)]
    for i, name in enumerate(names):
        shutil.copytree(measured[("plain", "strong")[i % 2]].path, tmp_path / f"r{i}")
        RunFolder(tmp_path / f"r{i}").write_meta(name=name)
    lines = cli("compare", *(tmp_path / f"r{i}" for i in range(many))).stdout.splitlines()
    words = set(re.findall(r"\w+", "\n".join(lines)))
    # What a break within a word would leave.
    whole = {"sweep", "20991231", "1455", "checkpoint"}
    assert not {w for w in words - whole if len(w) > 3 and any(w in part for part in whole)}
    assert max(map(len, lines)) <= 120


def test_a_verdict_that_changed_comes_with_what_the_probe_said(cli, write):
    a = write("a.json", fell=(0.9, "pass"), rose=(0.1, "fail"), lost=(0.9, "pass"), same=(0.9, "pass"))
    b = write("b.json", fell=(0.2, "fail"), rose=(0.9, "pass"), lost=(None, "error"), same=(0.9, "pass"))
    for path, which in ((a, "first"), (b, "second")):
        data = json.loads(path.read_text())
        for probe in data["probes"]:
            probe["message"] = f"{probe['name']} in the {which}"
        path.write_text(json.dumps(data))
    said = ("it said now: fell in the second", "it said before: rose in the first", "it said now: lost in the second")
    for form in ("terminal", "md"):
        text = cli("compare", a, b, "--format", form).stdout
        assert [text.count(words) for words in said] == [1, 1, 1]
        assert text.count("it said") == 3
    gated = cli("compare", a, b, "--fail-on-regression", "0.1", "--format", "json")
    assert "fell: pass → fail" in gated.stderr
    assert "it said now: fell in the second" in gated.stderr
    changes = {c["probe"]: c["reason"] for c in json.loads(gated.stdout)["steps"][0]["changes"]}
    assert changes == {
        "fell": "fell in the second",
        "lost": "lost in the second",
        "rose": "rose in the first",
        "same": None,
        "composite": None,
    }


# -- the gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ((0.9, "pass"), (0.8, "pass"), 1),  # 0.9 - 0.8 is less than 0.1 in binary
        ((0.9, "pass"), (0.85, "pass"), 0),
        ((0.9, "pass"), (0.89, "fail"), 1),
        ((0.9, "pass"), (None, "error"), 1),
        ((0.9, "pass"), (None, "skip"), 1),
        ((0.9, "pass"), None, 1),
        ((0.5, "fail"), (0.9, "pass"), 0),
        (None, (0.9, "pass"), 0),
    ],
)
def test_a_gate_stops_at_what_became_worse_or_was_lost(cli, write, before, after, code):
    keep = {"keep": (0.9, "pass")}
    a = write("a.json", **keep, **({"moved": before} if before else {}))
    b = write("b.json", **keep, **({"moved": after} if after else {}))
    assert cli("compare", a, b).exit_code == 0
    result = cli("compare", a, b, "--fail-on-regression", "0.1")
    assert result.exit_code == code
    assert "sway compare" in result.stdout  # printed first
    assert ("regression: b is worse than a" in result.stderr) == bool(code)
    assert ("moved: " in result.stderr) == bool(code)
    data = json.loads(cli("compare", a, b, "--fail-on-regression", "0.1", "--format", "json").stdout)
    assert data["gate"]["passed"] == (not code)


def test_the_gate_looks_at_the_last_run_and_the_composite_and_not_at_what_is_displayed(cli, write):
    files = [write(f"{n}.json", moved=(s, "pass")) for n, s in (("a", 0.9), ("b", 0.5), ("c", 0.6))]
    assert cli("compare", *files, "--fail-on-regression", "0.1").exit_code == 0
    assert cli("compare", *files, "--fail-on-regression", "0.1", "--baseline", "first").exit_code == 1
    assert cli("compare", *files[1:], "--threshold", "0").exit_code == 0
    low = document(moved=(0.9, "pass"))
    low["score"]["overall"] = 0.4
    files[1].write_text(json.dumps(low))
    result = cli("compare", *files[:2], "--fail-on-regression", "0.1")
    assert result.exit_code == 1
    assert "composite: 0.900 → 0.400" in result.stderr


# -- what cannot be compared, or not wholly ---------------------------------------------------------


def test_results_without_single_prompts_are_compared_by_score_and_it_is_said(cli, write, measured):
    old = write("old.json", moved=(0.9, "pass"), gone=(0.5, "pass"))
    result = cli("compare", old, measured["plain"].path)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "old keeps no values of single prompts: compared by score only." in text
    assert "✕ gone lost: 0.50 → —, pass → not there" in text
    assert "+ noise new" in text


def test_runs_without_a_common_prompt_still_have_their_table(cli, measured, tmp_path):
    other = RunFolder.create(suite([f"Quite another {i}" for i in range(6)]), root=tmp_path, name="other")
    execute(other, details=0)
    result = cli("compare", measured["plain"].path, other.path)
    assert result.exit_code == 0
    assert "other has no prompt in common with plain" in " ".join(result.stdout.split())
    assert "composite" in result.stdout


def test_a_run_that_still_goes_on_is_compared_on_what_it_has(cli, measured, tmp_path):
    copy = RunFolder(tmp_path / "going")
    shutil.copytree(measured["strong"].path, copy.path)
    (copy.path / RESULT).unlink()
    lines = (copy.path / EVENTS).read_bytes().splitlines(keepends=True)
    measurements = [i for i, line in enumerate(lines) if b'"view":"ft"' in line]
    (copy.path / EVENTS).write_bytes(b"".join(lines[: measurements[-5] + 1]))
    copy.claim()
    result = cli("compare", measured["plain"].path, copy.path)
    copy.release()
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "strong is still being measured" in text
    assert f"n = {len(PROMPTS) - 4}" in text


def test_what_is_not_known_is_no_regression_to_zero(cli, write):
    a, b = write("a.json", moved=(0.9, "pass")), write("b.json", moved=(None, "error"))
    data = json.loads(cli("compare", a, b, "--format", "json").stdout, parse_constant=pytest.fail)
    assert data["scores"]["moved"] == [0.9, None]
    assert data["composite_series"] == [0.9, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "must be a JSON object, not a list"),
        ('{"probes": [', "cut short"),
        ('{"schema_version": 99}', "update sway-dash"),
        ('{"probes": [{"name": "p", "kind": "delta_kl", "verdict": "maybe"}]}', "unknown verdict"),
        ('{"probes": [{"name": "p"}]}', "is missing"),
        ('{"score": {"overall": NaN}, "probes": []}', "must be a finite number"),
    ],
)
def test_a_broken_result_is_one_sentence_with_its_file(cli, write, tmp_path, text, said):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    error = refused(cli("compare", write("a.json", moved=(0.9, "pass")), bad))
    assert said in error
    assert str(bad) in error


def test_what_is_no_comparison_is_refused(cli, write, measured, tmp_path):
    a, b = (write(f"{n}.json", moved=(0.9, "pass")) for n in "ab")
    assert "at least two" in refused(cli("compare", a))
    assert "given twice" in refused(cli("compare", a, a))
    assert "are the same run" in refused(cli("compare", measured["plain"].path, measured["plain"].path / RESULT))
    assert "no such file" in refused(cli("compare", a, tmp_path / "c.json"))
    assert "no run" in refused(cli("compare", a, "r-nothing"))
    assert "neither previous, best or first" in refused(cli("compare", a, b, "--baseline", "bset"))
    assert "does not support --out" in refused(cli("compare", a, b, "--out", tmp_path / "x.txt"))
    assert "requires --out" in refused(cli("compare", a, b, "--format", "html"))
    assert "it is a folder" in refused(cli("compare", a, b, "--format", "md", "--out", tmp_path))
    assert cli("compare", a, b, "--fail-on-regression", "-1").exit_code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert META in refused(cli("compare", a, empty))
