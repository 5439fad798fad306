"""``report``, ``trace``, ``list-probes``, ``doctor``, ``--version``, ``--help``; and that they are quick."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
import yaml

from sway_dash import __version__
from sway_dash.cli.boundary import fenced
from sway_dash.cli.doctor import BUCKETS
from sway_dash.cli.progress import Pace, RunProgress, clock
from sway_dash.core import events as ev
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.probes import build_probe, registry
from sway_dash.suite.fold import probe_to_dict
from sway_dash.suite.store import EVENTS, RESULT, TRACE, list_runs
from tests.cli.conftest import ROOT

TRACE_LINE = json.dumps(
    {
        "ts": 1.0, "probe": "moved", "view_id": "ft", "prompt_hash": "0" * 12, "top_k": 8,
        "op": "next_token_dist", "wall_ms": 2.5, "hit": False,
    }
)  # fmt: skip


def refused(result, code: int = 2) -> str:
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return result.stderr


@pytest.fixture
def done(cli, suite):
    """The folder of a finished run with a trace."""
    suite.write_text(suite.read_text().replace("tests.fakes_cli:Slow", "tests.fakes_cli:Looked"))
    assert cli("run", suite).exit_code == 0
    (folder,) = list_runs()
    return folder


# -- report ---------------------------------------------------------------------------------------


def test_a_result_is_rendered_from_its_file_its_folder_and_its_id(cli, done):
    said = {cli("report", source, "--format", "md").stdout for source in (done.path / RESULT, done.path, done.id)}
    assert len(said) == 1
    assert said.pop().startswith("# sway report")


@pytest.mark.parametrize("form", ["terminal", "md", "markdown", "json", "junit"])
def test_every_format_is_printed(cli, done, form):
    result = cli("report", done.path, "--format", form, *(["--paths"] if form == "json" else []))
    assert result.exit_code == 0
    if form == "json":
        assert json.loads(result.stdout) == json.loads((done.path / RESULT).read_text())
    elif form == "junit":
        assert ET.fromstring(result.stdout).tag == "testsuite"
    else:
        assert "sway report" in result.stdout


def test_a_report_goes_to_a_file_and_says_so(cli, done, tmp_path):
    out = tmp_path / "new" / "r.md"
    result = cli("report", done.path, "--format", "md", "--out", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"wrote Markdown → {out}" in result.stderr
    assert out.read_text().startswith("# sway report")


def test_a_terminal_report_does_not_go_to_a_file(cli, done, tmp_path):
    assert "does not support --out" in refused(cli("report", done.path, "--out", tmp_path / "x"))


@pytest.mark.parametrize("form", ["terminal", "md", "json", "junit"])
@pytest.mark.parametrize("option", [("--redact", "numbers"), ("--paths",), ("--preview",)])
def test_what_a_format_does_not_heed_is_refused(cli, tmp_path, form, option):
    out = () if form == "terminal" else ("-o", tmp_path / "out")
    if form != "terminal" and option != ("--preview",):
        assert cli("report", "demo", "--format", form, *option, *out).exit_code == 0
        return
    said = refused(cli("report", "demo", "--format", form, *option, *out))
    which = "what leaves: choose --format html, md, json" if form == "terminal" else "--format html only"
    assert f"{option[0]} is for {which}" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_refused_by_the_parser(cli, done):
    result = cli("report", done.path, "--format", "html")
    assert result.exit_code == 2
    assert "html" in result.stderr


def test_a_run_that_was_cut_off_is_reported_as_far_as_it_went(cli, done):
    (done.path / RESULT).unlink()
    path = done.path / EVENTS
    path.write_bytes(path.read_bytes()[:-400])
    done.write_meta(host="a machine that is gone")
    result = cli("report", done.path)
    assert result.exit_code == 0
    assert "interrupted" in result.stdout


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "neither a folder nor the id of a run"),
        (b"", "is not valid JSON"),
        (b'{"probes": [', "is not valid JSON, or was cut short"),
        (b"[1]", "a result must be a JSON object"),
        (b'{"schema_version": 99}', "update sway-dash"),
        (b'{"probes": [{"name": "a"}]}', "probes[0].kind is missing"),
        (b'{"probes": [{"name": "a", "kind": "k", "verdict": "maybe"}]}', "unknown verdict 'maybe'"),
        (b"\xff\xfe", "is not valid JSON"),
    ],
)
def test_a_bad_result_is_one_error(cli, tmp_path, data, says):
    path = tmp_path / "result"
    if data is not None:
        path.write_bytes(data)
    assert says in refused(cli("report", path))


def test_a_missing_json_file_is_called_a_file(cli, tmp_path):
    assert "cannot be read" in refused(cli("report", tmp_path / "nope.json"))


def test_a_folder_without_a_run_is_refused(cli, tmp_path):
    assert "is no run folder" in refused(cli("report", tmp_path))


@pytest.mark.parametrize("command", [("report",), ("report", "--format", "md"), ("gate",), ("export",)])
@pytest.mark.parametrize("value", ["odd", 7, [1, "a", None, {}], {"a": [1]}])
def test_what_another_program_put_into_a_result_never_ends_in_a_traceback(cli, done, tmp_path, command, value):
    stored = json.loads((done.path / RESULT).read_text())
    for probe in stored["probes"]:
        probe["evidence"] = dict.fromkeys([*probe["evidence"], "null", "partial", "update_norms", "lambdas"], value)
    stored["backend_stats"] = dict.fromkeys(["cache_hits", "cache_misses", "batches_sent", "avg_batch_size"], value)
    (path := tmp_path / "other.json").write_text(json.dumps(stored))
    result = cli(*command, path)
    assert result.exit_code in (0, 1), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("command", [("export",), ("export", "--format", "trace"), ("report", "--format", "html")])
def test_what_cannot_be_written_whole_leaves_what_was_there(cli, done, tmp_path, monkeypatch, command):
    # Where Panel is loaded a report is built by another process, with files of its own.
    monkeypatch.setattr("sway_dash.report.html.build.report_html", lambda *_, **__: "x" * 1000)
    (out := tmp_path / "out" / "file").parent.mkdir()
    out.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        said = refused(cli(command[0], done.path, *command[1:], "-o", out))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{out}: File too large" in said
    assert [(p.name, p.read_text()) for p in out.parent.iterdir()] == [("file", "old")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"wall_seconds": 10**400, "probes": [{"name": "p", "kind": "k", "verdict": "pass", "raw": 10**400}]}, "large"),
        ({"started_at": "9999-12-31T23:59:59-12:00", "probes": []}, "started_at must be a time that every calendar"),
    ],
)
def test_numbers_and_times_that_nothing_can_hold_are_one_sentence(cli, tmp_path, wrong, said):
    (path := tmp_path / "result.json").write_text(json.dumps(wrong))
    assert said in refused(cli("report", path))


# -- trace ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "holds"),
    [("terminal", "sway trace"), ("md", "# sway trace"), ("markdown", "## per-probe"), ("json", '"total_events"')],
)
def test_a_trace_is_analysed_from_its_file_and_from_a_run(cli, done, form, holds):
    for source in (done.path / TRACE, done.path, done.id):
        result = cli("trace", source, "--format", form)
        assert result.exit_code == 0
        assert holds in result.stdout
        assert "moved" in result.stdout


@pytest.mark.parametrize(("asked", "given"), [(2, 2), (0, 0), (-5, 0)])
def test_the_slowest_are_as_many_as_asked(cli, done, asked, given):
    report = json.loads(cli("trace", done.path, "--format", "json", "--slowest", asked).stdout)
    assert len(report["slowest"]) == given
    assert report["total_events"] > 0


def test_more_of_the_slowest_than_fit_into_a_report_are_refused(cli, done):
    result = cli("trace", done.path, "--slowest", 10_001)
    assert result.exit_code == 2
    assert "--slowest" in result.stderr


def test_a_torn_last_line_is_counted_and_the_rest_is_shown(cli, tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(f"{TRACE_LINE}\n[1, 2]\n{TRACE_LINE[:30]}")
    result = cli("trace", path, "--format", "md")
    assert result.exit_code == 0
    assert "2 unreadable lines left out" in result.stdout


@pytest.mark.parametrize("data", ["", "\n\n", "{torn"])
def test_a_trace_without_events_is_exit_code_1(cli, tmp_path, data):
    path = tmp_path / "t.jsonl"
    path.write_text(data)
    assert "no events in" in refused(cli("trace", path), 1)


@pytest.mark.parametrize(
    "command",
    [
        ("report", "{}"),
        ("report", "{}", "--format", "html", "--preview"),
        ("gate", "{}", "--threshold", "0", "--fail-on", "never"),
        ("trace", "{}"),
        ("export", "{}"),
        ("compare", "{}", "demo"),
        ("compare", "demo", "{}", "--baseline", "{}"),
        ("report", "demo", "{}", "--format", "html", "--baseline", "{}", "--preview"),
    ],
)
def test_every_command_finds_a_run_by_the_beginning_of_its_id_and_the_example_by_its_name(cli, done, command):
    def asked(name):
        return cli(*(part.format(name) for part in command))

    short = done.id[:-3]
    for name in (done.id, short) if "demo" in command else (done.id, short, "demo"):
        result = asked(name)
        assert result.exit_code == 0, result.output
        assert result.stdout
    shutil.copytree(done.path, done.path.with_name(f"{short}zzz"))
    said = refused(asked(short))
    assert f"{short!r} is the beginning of 2 runs: " in said
    assert f"{short}zzz" in said
    assert done.id in said


def test_the_recorded_example_is_not_gone_on_with(cli):
    before = sorted(p.name for p in (ROOT / "assets/demo/run").iterdir())
    assert "is part of the program" in refused(cli("run", "--resume", "demo"))
    assert sorted(p.name for p in (ROOT / "assets/demo/run").iterdir()) == before


def test_a_trace_that_cannot_be_read_is_exit_code_2(cli, tmp_path):
    assert "neither a folder nor the id of a run" in refused(cli("trace", "r-nowhere"))
    assert "No such file or directory" in refused(cli("trace", tmp_path / "nope"))
    # A folder without a trace, and without a run.
    assert "error: " in refused(cli("trace", tmp_path))


def test_names_in_a_trace_are_no_markup(cli, tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(TRACE_LINE.replace("moved", "[red]x[/red] [/"))
    assert "[red]x[/red] [/" in cli("trace", path).stdout


# -- the small ones -------------------------------------------------------------------------------


def test_every_probe_is_listed_with_what_it_does(cli):
    text = cli("list-probes").stdout
    for kind in registry():
        line = next(line for line in text.splitlines() if kind in line)
        assert len(line.split(kind, 1)[1].split()) >= 2


@pytest.mark.parametrize("kind", sorted(registry()))
def test_one_kind_is_told_with_all_its_settings_and_an_entry_that_is_right(cli, kind):
    text = cli("list-probes", kind).stdout
    told, _, entry = text.partition("an entry to start from:\n")
    for name in registry()[kind].spec_cls.model_fields:
        assert name == "kind" or re.search(rf"^{name}  +\S", told, re.MULTILINE), name
    (found,) = yaml.safe_load(entry)["suite"]
    probe, settings = build_probe(found)
    assert (probe.kind, settings.name) == (kind, kind)
    for name in ("prompts", "cases", "triples"):
        assert getattr(settings, name, ("none needed",))


def test_a_setting_has_type_bounds_default_and_meaning(cli):
    text = cli("list-probes", "null_adapter").stdout
    assert re.search(r"^runs +whole number, 1 to 100 +3 +random adapters; 20 or more", text, re.MULTILINE)
    assert re.search(r"^name +text +required ", text, re.MULTILINE)
    assert re.search(r"^init_scale +number, above 0 +0\.02 ", text, re.MULTILINE)
    assert "gaussian, norm_matched or spectrum" in text
    assert "list of at least 2 whole numbers, 0 to 1000000" in cli("list-probes", "prompt_collapse").stdout


def test_an_unknown_kind_gets_the_nearest_one(cli):
    said = refused(cli("list-probes", "delta-kl"))
    assert "unknown kind of probe 'delta-kl'. Did you mean 'delta_kl'?" in said


def test_the_doctor_reads_versions_from_metadata(cli):
    facts = json.loads(cli("doctor", "--json").stdout)
    assert set(facts) >= {"sway_version", "python", "platform", "extras"}
    assert {bucket: tuple(found) for bucket, found in facts["extras"].items()} == BUCKETS
    import numpy

    assert facts["extras"]["engine"]["numpy"] == numpy.__version__
    text = cli("doctor").stdout
    assert f"sway {__version__}" in text
    assert "backends" in text


def test_the_doctor_names_what_is_missing(cli, monkeypatch):
    import importlib.metadata

    real = importlib.metadata.version

    def version(name):
        if name == "gguf":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert json.loads(cli("doctor", "--json").stdout)["extras"]["gguf"] == {"gguf": None}
    assert "not installed: gguf" in cli("doctor").stdout


def test_the_version(cli):
    result = cli("--version")
    assert (result.exit_code, result.stdout) == (0, f"sway {__version__}\n")


def test_help_names_every_command_and_comes_without_arguments_too(cli):
    for args in (["--help"], []):
        text = cli(*args).output
        for command in ("run", "check", "trace", "report", "list-probes", "doctor"):
            assert f"\n  {command} " in text


def test_an_unknown_option_is_a_usage_error_and_no_markup(cli):
    result = cli("run", "--[bold]x")
    assert result.exit_code == 2
    assert "--[bold]x" in result.stderr


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("doctor",), ("run", "--help")])
def test_what_needs_no_model_loads_nothing_heavy(args):
    heavy = {"torch", "transformers", "peft", "numpy", "pandas", "panel", "bokeh", "scipy", "sklearn"}
    code = (
        "import sys\nfrom sway_dash.cli.app import app\n"
        f"try:\n    app({list(args)!r}, prog_name='sway-dash')\n"
        f"except SystemExit as end:\n    assert not end.code\n"
        f"print('heavy:', sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines()[-1:] == ["heavy: []"], done.stderr


def test_a_reader_that_goes_away_is_no_traceback(start, done):
    process = start("report", done.path, "--format", "json")
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=300)
    assert "Traceback" not in err


def test_a_defect_of_ours_keeps_its_traceback():
    @fenced
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()


def test_control_characters_do_not_reach_the_terminal(cli, tmp_path):
    said = refused(cli("run", tmp_path / "a\x1b[31mb.yaml"))
    assert "\x1b" not in said


# -- progress -------------------------------------------------------------------------------------


def test_the_pace_is_that_of_the_last_seconds():
    pace = Pace()
    assert pace.rate(0.0) is None
    pace.start(0.0)
    assert pace.rate(1.0) is None
    for i in range(1, 11):
        pace.add(i * 1.0)
    assert pace.rate(10.0) == pytest.approx(1.0)
    assert pace.left(5, 10.0) == pytest.approx(5.0)
    # A stall shows.
    assert pace.rate(20.0) == pytest.approx(0.5)


def test_the_first_batch_counts_with_the_time_it_took():
    pace = Pace()
    pace.start(0.0)
    for i in range(230):
        pace.add(10.0 + i * 1e-4)
    # Not while it is coming in: one of many would look like a crawl.
    assert pace.rate(10.0) is None
    assert pace.rate(11.0) == pytest.approx(230 / 11)


def test_batches_that_come_in_bursts_give_the_rate_between_them_however_rare_they_are():
    pace = Pace()
    pace.start(0.0)
    for end in (50.0, 100.0, 150.0):
        for i in range(8):
            pace.add(end + i * 0.001)
    assert pace.rate(150.0) == pytest.approx(8 / 50, rel=0.01)


def test_the_time_left_does_not_jump_with_the_last_seconds():
    pace = Pace()
    pace.start(0.0)
    for i in range(1, 101):
        pace.add(i * 1.0)
    for i in range(1, 401):
        pace.add(100.0 + i * 0.05)
    # 500 in 120 s, although the last 20 s had 20 a second.
    assert pace.rate(120.0) == pytest.approx(20.0, rel=0.05)
    assert pace.left(500, 120.0) == pytest.approx(120.0, rel=0.01)


def test_old_measurements_do_not_count():
    pace = Pace()
    pace.start(0.0)
    for i in range(100):
        pace.add(i * 0.2)
    for i in range(30):
        pace.add(20.0 + i * 2.0)
    assert pace.rate(78.0) == pytest.approx(0.5, rel=0.05)


def test_a_steady_stream_has_its_rate_at_any_moment():
    pace = Pace()
    pace.start(0.0)
    for i in range(1, 2001):
        pace.add(i * 0.01)
    assert pace.rate(20.0) == pytest.approx(100.0, rel=0.02)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.4, "0:00"), (7, "0:07"), (59.7, "1:00"), (750, "12:30"), (3723, "1:02:03")]
)
def test_a_time_left_is_read_like_a_clock(seconds, text):
    assert clock(seconds) == text


def plan(*names: str) -> ev.RunStarted:
    probes = tuple(ev.PlannedProbe(name=n, kind="delta_kl", category="adherence", measurements=4) for n in names)
    return ev.RunStarted(seq=1, ts=1.0, probes=probes)


@pytest.mark.parametrize("live", [False, True])
def test_progress_shows_warnings_and_failed_prompts_and_keeps_the_fold(capsys, live):
    with RunProgress(live=live) as progress:
        progress.add(plan("a", "b"))
        progress.add(ev.Phase(phase="probe", name="a"))
        progress.add(ev.Warned(message="careful [red]", causes=("because",)))
        for i in range(5):
            progress.add(ev.ItemFailed(probe="a", item=i, prompt="x", message="no logits"))
        progress.add(ev.Measurement(probe="a", item=0, prompt="x", js=0, kl=0, kl_reverse=0, same_top=1))
        progress.add(ev.CacheAccess())
    err = capsys.readouterr().err
    assert "warning: careful [red]" in err
    assert "because" in err
    assert err.count("not measured: a, prompt") == 3
    assert "2 more measurements failed" in err
    assert (progress.state.done, progress.state.total) == (6, 8)


def test_a_total_that_nobody_can_know_is_said_to_be_the_least(capsys):
    silent = ev.PlannedProbe(name="layers", kind="layer_attribution", category="ablation", open_ended=True)
    started = plan("a")
    with RunProgress(live=False) as progress:
        progress.add(started.model_copy(update={"probes": (silent, *started.probes)}))
        progress.add(ev.Phase(phase="probe", name="layers"))
        for i in range(3):
            row = ev.Measurement(probe="layers", item=i, prompt="x", js=0, kl=0, kl_reverse=0, same_top=1)
            progress.state.add(row)
        assert progress._numbers(0.0) == "3 of at least 7"
        done = ProbeResult("layers", "layer_attribution", Verdict.PASS, 1.0)
        progress.state.add(ev.ProbeFinished(result=probe_to_dict(done)))
        assert progress._numbers(0.0) == "3/7"


def test_without_a_terminal_a_line_now_and_then_has_rate_and_time_left(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("sway_dash.cli.progress.time.time", lambda: now[0])
    with RunProgress(live=False) as progress:
        progress.add(plan("a", "b"))
        progress.add(ev.Phase(phase="probe", name="a"))
        for i in range(4):
            now[0] += 4.0
            row = ev.Measurement(probe="a", item=i, prompt="x", js=0, kl=0, kl_reverse=0, same_top=1, ts=now[0])
            progress.add(row)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "a (1/2)"
    assert lines[1:] == ["a (1/2): 2/8  0.2/s  0:24 left", "a (1/2): 4/8  0.2/s  0:16 left"]
