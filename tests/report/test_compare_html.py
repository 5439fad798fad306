"""The comparison report: the numbers of the library, the same names for the same prompts, nothing that was to stay."""

from __future__ import annotations

import pytest
import yaml
from typer.testing import CliRunner

from sway_dash.cli.app import app
from sway_dash.core.errors import SwayError
from sway_dash.demo import demo_dir
from sway_dash.report.compared import of_runs
from sway_dash.report.html.compare import compare_html, preview
from sway_dash.report.html.compare_elsewhere import Asked
from sway_dash.report.html.page import unpacked
from sway_dash.report.html.sides import called
from sway_dash.suite.comparison import compare, open_side
from tests.dash.conftest import suite_text

HOSTILE = "</script><script>window.__hit=1</script><img src=x onerror=window.__hit=1>"


@pytest.fixture
def runs(record):
    texts = [suite_text(base, prompts=n, ablation=False) for base, n in (("plain", 9), ("strong2", 10), ("strong3", 9))]
    # Names and prompts come from outside.
    return [record(text.replace("Prompt 3", f"Prompt 3 {HOSTILE}")) for text in texts]


def test_the_page_carries_the_librarys_numbers_in_full(runs):
    data = unpacked(compare_html(runs, baseline=1))["data"]
    known = compare([open_side(run.path) for run in runs], baseline=1)
    assert data["baseline"] == 1
    assert data["prompts"] == [text for text, _ in known.alignment.keys]
    for column, wanted in zip(data["values"], known.values.T, strict=True):
        assert [float("nan") if v is None else v for v in column] == pytest.approx(wanted.tolist(), abs=0, nan_ok=True)
    for found, contrast in zip(data["contrasts"], known.contrasts, strict=True):
        assert found["way"] == contrast.direction.tolist()
        assert [v for v in found["deltas"] if v is not None] == [v for v in contrast.deltas.tolist() if v == v]
    text = compare_html(runs, baseline=1)
    for contrast in known.contrasts:
        assert f'data-value="{contrast.stats.mean!r}"' in text
        assert f'data-value="{contrast.mean_floor!r}"' in text


def test_the_same_runs_give_the_same_bytes(runs):
    assert compare_html(runs) == compare_html(runs)


def test_the_order_of_redacted_prompts_is_that_of_the_pairs(record):
    """A prompt is called the same in every run, also where the suites list their prompts in another order."""
    raw = yaml.safe_load(suite_text(prompts=8, ablation=False))
    first = record(yaml.safe_dump(raw, sort_keys=False))
    raw["suite"][-1]["prompts"].reverse()
    raw["suite"][-1]["prompts"].pop(2)
    second = record(yaml.safe_dump(raw, sort_keys=False))
    whole, hidden = (unpacked(compare_html([first, second], redact=level))["data"] for level in ("full", "no-prompts"))
    assert hidden["values"] == whole["values"]
    assert hidden["contrasts"] == whole["contrasts"]
    assert [text[0] for text in hidden["prompts"]] == ["P"] * 8


@pytest.mark.parametrize("level", ["no-prompts", "numbers"])
def test_what_is_hidden_is_nowhere_in_the_file(runs, level):
    text = compare_html(runs, redact=level)
    whole = text + repr(unpacked(text))
    assert "about light" not in whole
    assert "Prompt 3" not in whole
    assert str(runs[0].path) not in whole
    assert "about light" not in preview(runs, level)
    if level == "numbers":
        assert "moved" not in repr(unpacked(text))


def test_the_probe_that_is_asked_for_is_found_under_the_name_it_leaves_with():
    run = demo_dir() / "run"
    pair, chosen = [run, run], {"probe": "next_token", "redact": "numbers"}
    text = compare_html(pair, **chosen)
    carried, rows = unpacked(text), of_runs(Asked(pair, probe="next_token"), "numbers")
    assert len(carried["data"]["prompts"]) == len(rows) == 28
    lines = preview(pair, **chosen, lines=40)
    assert lines.count("P0") == 28
    for told in (text, repr(carried), lines, rows.to_csv()):
        assert "next_token" not in told
    # A name that no run has does not leave, either.
    assert [called([], "Quetzal", level) for level in ("no-prompts", "numbers")] == ["Quetzal", ""]


def test_untrusted_text_is_never_markup(runs):
    text = compare_html(runs)
    assert HOSTILE not in text
    assert text.count("<script") == 1 + 3
    assert "window.__hit=1</script>" not in text


def test_the_preview_begins_with_the_runs(runs):
    lines = preview(runs, "full", 8).splitlines()
    assert len(lines) == 8
    assert [line[:2] for line in lines[:3]] == ["A:", "B:", "C:"]
    assert "about bread" in lines[3]


def test_what_cannot_be_compared_is_said(runs, tmp_path):
    with pytest.raises(SwayError, match="2 to 8 runs"):
        compare_html(runs[:1])
    with pytest.raises(SwayError, match="baseline"):
        compare_html(runs, baseline=3)
    with pytest.raises(SwayError, match="is not there"):
        compare_html([runs[0], tmp_path / "nothing"])


@pytest.mark.slow
def test_another_process_writes_the_same_file(runs, tmp_path):
    paths = [run.path for run in runs]
    written = Asked(paths, baseline=2).write(tmp_path / "comparison.html", "no-prompts")
    assert written.read_text(encoding="utf-8") == compare_html(runs, baseline=2, redact="no-prompts")
    with pytest.raises(SwayError, match="2 to 8 runs"):
        Asked(paths[:1]).write(tmp_path / "none.html")
    assert Asked(paths, metric="kl").preview("numbers", 6) == preview(runs, "numbers", 6, metric="kl")


def test_the_command_compares_several_runs(runs, tmp_path):
    paths = [str(run.path) for run in runs]
    out = tmp_path / "comparison.html"
    args = ["report", *paths, "--format", "html", "-o", str(out), "--baseline", paths[2], "--redact", "no-prompts"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert out.read_text(encoding="utf-8") == compare_html(runs, baseline=2, redact="no-prompts")
    wrong = CliRunner().invoke(app, ["report", *paths])
    assert wrong.exit_code != 0
    assert "--format html" in wrong.output
    assert "none of the runs" in CliRunner().invoke(app, [*args[:-4], "--baseline", "x"]).output
    assert "A: " in CliRunner().invoke(app, ["report", *paths, "--format", "html", "--preview"]).output
