"""The report of one run: the numbers of the library, the same bytes, and nothing that was to stay."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from sway_dash.core.errors import SwayError
from sway_dash.core.events import Measurement
from sway_dash.demo import demo_dir
from sway_dash.figures.derive import value_of
from sway_dash.figures.opened import open_run
from sway_dash.figures.prompt_stats import by_tag, summary
from sway_dash.report.html import preview, report_html
from sway_dash.report.html.build import write_elsewhere
from sway_dash.report.html.page import unpacked
from sway_dash.report.html.paths import without_paths
from sway_dash.report.html.redact import LEVELS, Redaction, redacted
from sway_dash.report.html.source import source_of
from sway_dash.suite.report import load_result
from tests.dash.conftest import suite_text
from tests.processes import loaded

DEMO = demo_dir() / "run"
HOSTILE = "</script><script>window.__hit=1</script><img src=x onerror=window.__hit=1>"


@cache
def demo_at(level: Redaction) -> str:
    """The report of the recorded example."""
    return report_html(DEMO, redact=level)


@pytest.fixture
def demo() -> str:
    return demo_at("full")


def carried(text: str) -> str:
    """Everything a report says, as one text: its HTML and what is compressed in it."""
    return text + json.dumps(unpacked(text), ensure_ascii=False)


# -- numbers ------------------------------------------------------------------------------------


def test_every_prompt_carries_the_librarys_numbers_to_the_last_digit(demo: str) -> None:
    data = open_run(DEMO).data
    found = {s["name"]: s for s in unpacked(demo)["data"]["prompts"]["series"]}
    assert list(found) == list(data.series)
    for name, series in data.series.items():
        rows = sorted(series.rows, key=lambda m: m.item)
        own = found[name]
        assert own["item"] == [m.item for m in rows]
        assert own["klr"] == [m.kl_reverse for m in rows]
        for metric in ("js", "kl"):
            assert own[metric]["value"] == [value_of(m, metric) for m in rows]
            ranges = [series.null_range(m.item, metric) for m in rows]
            assert own[metric]["lo"] == [r.lo for r in ranges if r]
            assert own[metric]["hi"] == [r.hi for r in ranges if r]
            whole = summary(rows, metric, series.seed)
            assert whole is not None
            assert whole.ci is not None
            assert (own[metric]["all"]["mean"], own[metric]["all"]["ci"]) == (whole.mean, list(whole.ci))
            tagged = {tag: s.mean for tag, s in by_tag(rows, metric, series.seed).items()}
            assert {tag: s["mean"] for tag, s in own[metric]["tagged"]} == tagged


def test_every_recorded_token_carries_its_numbers(demo: str) -> None:
    prompts = unpacked(demo)["data"]["prompts"]
    source = source_of(DEMO)
    assert len(prompts["details"]) == len(source.details) == 28
    for found, detail in zip(prompts["details"], source.details, strict=True):
        assert prompts["texts"][found["text"]] == detail.prompt
        assert [prompts["words"][w] for w in found["w"]] == [t.text for t in detail.tokens]
        assert found["js"] == [t.prediction.js if t.prediction else None for t in detail.tokens]
        choices = [c for t in detail.tokens if t.prediction for c in t.prediction.choices]
        assert [prompts["ids"][w] for w in found["c"]] == [c.id for c in choices]
        for name in ("base", "tuned"):
            digits, exponents = found[name[0]]
            told = [float(f"{m}e{e}") for m, e in zip(digits, exponents, strict=True)]
            assert told == [getattr(c, name) for c in choices]
        assert found["k"] == [len(t.prediction.choices) if t.prediction else 0 for t in detail.tokens]


def test_the_answer_of_the_run_stands_in_the_page_without_scripts(demo: str) -> None:
    body = demo[demo.index("<main") : demo.index("</main>")]
    assert "The adapter changed the model" in body
    for probe in open_run(DEMO).result.probes:
        assert f'data-value="{probe.raw!r}"' in body or probe.raw is None
    draws = open_run(DEMO).data.series["next_token"].null_means("js")
    assert all(f'data-value="{v!r}"' in body for v in draws)


# -- the file -----------------------------------------------------------------------------------


def test_the_same_run_gives_the_same_bytes_here_and_in_another_process(demo: str, tmp_path: Path) -> None:
    assert report_html(DEMO) == demo
    path = write_elsewhere(DEMO, tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == demo


def test_the_policy_lets_only_the_pages_own_scripts_run(demo: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', demo)
    assert policy is not None
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in rules["script-src"]
    # One more than is written out: Bokeh travels compressed.
    assert rules["script-src"].count("sha256-") == demo.count("<script>") + 1
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?!data:)", demo[: demo.index("<main")])


def test_the_building_process_never_imports_panel_or_a_model_library() -> None:
    code = "import sys; from sway_dash.report.html import report_html; report_html(sys.argv[1])"
    assert loaded(code, ("panel", "torch", "transformers", "param", "pandas"), DEMO) == []


def test_hostile_text_is_never_markup(record) -> None:
    text = (
        suite_text(prompts=6, ablation=True).replace("Prompt 3", f"Prompt 3 {HOSTILE}").replace("odd", f"odd {HOSTILE}")
    )
    page = report_html(record(text.replace("name: moved", f"name: 'moved {HOSTILE}'")))
    assert HOSTILE not in page
    assert "<img src=x" not in page


# -- other sources ------------------------------------------------------------------------------


def test_a_result_alone_gives_a_report_of_what_it_holds(tmp_path: Path) -> None:
    result, _ = load_result(DEMO / "result.json")
    path = result.to_html(tmp_path / "a.html")
    assert report_html(DEMO / "result.json") == path.read_text(encoding="utf-8")
    (first, *_) = unpacked(path.read_text(encoding="utf-8"))["data"]["prompts"]["series"]
    assert first["js"]["value"] == result.probes[1].evidence["per_prompt"]
    assert set(first["kl"]["value"]) == {None}
    assert "10 random adapters: mean JS" in path.read_text(encoding="utf-8")
    assert "The adapter changed the model" in path.read_text(encoding="utf-8")


def test_a_run_that_measured_nothing_still_has_a_report(record) -> None:
    folder = record(suite_text("nan"))
    page = report_html(folder)
    assert "so nothing was measured" in page
    assert "This run has measured no prompt." in page
    assert unpacked(page)["figures"] == []


def test_no_run_and_no_level_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SwayError, match="is not there"):
        report_html(tmp_path / "nothing")
    with pytest.raises(SwayError, match="no redaction"):
        report_html(DEMO, redact="ful")  # type: ignore[arg-type]


# -- what leaves --------------------------------------------------------------------------------


def texts_of(folder: Path) -> tuple[set[str], set[str]]:
    """Prompts of a run, and longer texts that the models said."""
    source = source_of(folder)
    prompts = {m.prompt for m in source.events if isinstance(m, Measurement)}
    said = {"".join(d.tuned_says) for d in source.details} | {
        m.continuation for m in source.events if isinstance(m, Measurement)
    }
    return prompts, {text for text in said if len(text) > 12}


def test_full_has_the_prompts_and_what_was_said(demo: str) -> None:
    prompts, _ = texts_of(DEMO)
    told = set(unpacked(demo)["data"]["prompts"]["texts"])
    assert prompts <= told


@pytest.mark.parametrize("level", ["no-generations", "no-prompts", "numbers"])
def test_generations_stay_at_home(level) -> None:
    _, said = texts_of(DEMO)
    page = demo_at(level)
    everything = carried(page)
    prompts = unpacked(page)["data"]["prompts"]
    assert not [text for text in said if text in everything]
    assert all(d["says"] == [[], []] for d in prompts["details"])
    assert {text for s in prompts["series"] for text in s["said"]} == {""}


@pytest.mark.parametrize("level", ["no-prompts", "numbers"])
def test_prompts_and_tokens_stay_at_home(level) -> None:
    prompts, _ = texts_of(DEMO)
    page = demo_at(level)
    everything = carried(page)
    assert not [text for text in prompts if text in everything]
    assert "Quillhaven" not in everything
    words = unpacked(page)["data"]["prompts"]["words"]
    assert all(re.fullmatch(r"▮|token \d+", word) for word in words)


def test_numbers_only_also_leaves_names_at_home(record) -> None:
    folder = record(suite_text(prompts=6).replace("moved", "secret_probe").replace("even", "secret_tag"))
    everything = carried(report_html(folder, redact="numbers"))
    assert "secret" not in everything
    assert folder.id not in everything
    assert "recorded" not in re.sub(
        r"recorded (prompt|token)|not recorded", "", everything[: everything.index("<script")]
    )


@pytest.mark.parametrize("level", LEVELS)
def test_numbers_do_not_depend_on_what_is_hidden(demo: str, level) -> None:
    plain, other = (unpacked(text)["data"]["prompts"] for text in (demo, demo_at(level)))
    for a, b in zip(plain["series"], other["series"], strict=True):
        for metric in ("js", "kl"):
            assert {k: v for k, v in a[metric].items() if k != "tagged"} == {
                k: v for k, v in b[metric].items() if k != "tagged"
            }


def test_aliases_are_those_of_the_suite_and_the_same_in_every_probe() -> None:
    source = redacted(source_of(DEMO), "no-prompts")
    suite = yaml.safe_load((DEMO / "spec.yaml").read_text(encoding="utf-8"))
    wanted = [p["text"] for p in suite["suite"][1]["prompts"]]
    plain = source_of(DEMO)
    for before, after in zip(plain.events, source.events, strict=True):
        if isinstance(before, Measurement) and isinstance(after, Measurement):
            assert after.prompt == f"P{wanted.index(before.prompt) + 1:03d}"
            assert (after.js, after.kl) == (before.js, before.kl)


def test_the_trace_of_hidden_prompts_has_no_digest_one_could_try_texts_against() -> None:
    before = {c.prompt_hash for c in source_of(DEMO).calls}
    after = {c.prompt_hash for c in redacted(source_of(DEMO), "no-prompts").calls}
    assert not before & after


def test_a_message_that_quotes_a_prompt_is_hidden_with_it(record) -> None:
    from sway_dash.core.events import Warned

    folder = record(
        suite_text(prompts=5),
        keep=lambda events: [*events[:-1], Warned(message="odd: 'Prompt 1 about light' again"), events[-1]],
    )
    assert "Prompt 1 about light" in carried(report_html(folder))
    assert "Prompt 1 about light" not in carried(report_html(folder, redact="no-prompts"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/anna/models/base", "base"),
        ("~/adapters/mine", "mine"),
        ("C:\\Users\\anna\\base", "base"),
        ("cannot read /home/anna/x/y.json: gone", "cannot read …/y.json: gone"),
        ("see file:///home/anna/x.txt.", "see …/x.txt."),
        ("on/off, 3/4 and https://hub.example/org/model", "on/off, 3/4 and https://hub.example/org/model"),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        ("key: ~anna/x", "key: …/x"),
        ("\\\\server\\share\\dir\\file", "file"),
    ],
)
def test_of_a_path_only_its_end_leaves(text: str, left: str) -> None:
    assert without_paths(text) == left


@pytest.mark.parametrize("level", LEVELS)
def test_paths_and_users_leave_only_when_asked(record, level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "annalena")  # what getpass.getuser reads first, also in another process
    from sway_dash.core.events import ModelReady, Phase, Warned

    def told(events):
        at = next(i for i, e in enumerate(events) if isinstance(e, ModelReady))
        ready = events[at].model_copy(update={"environment": {"base": "/data/annalena/base", "device": "cpu"}})
        warned = Warned(message="cannot keep /data/annalena/cache/x.bin", causes=("annalena has no rights",))
        # As runs of the dashboard are written: the base model by its folder.
        loading = Phase(phase="loading", name="/data/annalena/base", detail="/data/annalena/adapter")
        return [*events[:at], loading, ready, warned, *events[at + 1 :]]

    folder = record(suite_text(prompts=5) + "# see /data/annalena/notes\n", keep=told)
    text = carried(report_html(folder, redact=level))
    assert "annalena" not in text
    assert "/data" not in text
    if level == "full":
        assert "/data/annalena/base" in carried(report_html(folder, paths=True))


def test_the_preview_shows_what_leaves_and_nothing_else() -> None:
    full, hidden = preview(DEMO), preview(DEMO, "no-prompts", lines=5)
    assert "The keeper of Quillhaven Light is" in full
    assert len(full.splitlines()) == 20
    assert len(hidden.splitlines()) == 5
    assert "Quillhaven" not in hidden
    assert "P0" in hidden


def test_what_cannot_be_known_is_not_a_number(demo: str) -> None:
    def walk(value):
        if isinstance(value, dict):
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
        else:
            assert not isinstance(value, float) or math.isfinite(value)

    walk(unpacked(demo))


# -- the command --------------------------------------------------------------------------------


def test_the_command_writes_one_file_or_shows_what_would_leave(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from sway_dash.cli.app import app

    def run(*args: object):
        return CliRunner().invoke(app, ["report", str(DEMO), "--format", "html", *map(str, args)])

    shown = run("--preview", "--redact", "no-prompts")
    assert shown.exit_code == 0
    assert "P0" in shown.stdout
    assert "Quillhaven" not in shown.stdout
    nowhere = run()
    assert nowhere.exit_code == 2
    assert "--out" in nowhere.stderr
    out = tmp_path / "sub" / "report.html"
    written = run("-o", out, "--redact", "numbers")
    assert written.exit_code == 0, written.stderr
    assert "numbers only" in written.stderr
    assert out.read_text(encoding="utf-8") == demo_at("numbers")
