"""Probes of other packages: found by their entry point, shown wherever probes are, harmless when they are broken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

BROKEN = """
from sway_dash.probes import Probe

class Half(Probe):
    kind = "half"
    def run(self, spec, ctx): ...

raise RuntimeError("no such lamp\\nand more")
"""
TWICE = """
from sway_dash.probes import Probe

class Twice(Probe):
    kind = "delta_kl"
    def run(self, spec, ctx): ...
"""


def section() -> str:
    """The README's section about own probes."""
    found = re.search(r"^## Your own probe\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", section(), re.DOTALL)
    assert found is not None
    return found[1]


def install(folder: Path, name: str, code: str, points: str) -> None:
    """What an installer leaves of a package with one module."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[sway_dash.probes]\n{points}\n", encoding="utf-8")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "SWAY_RUNS_DIR": str(folder / "runs")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, encoding="utf-8", check=False, cwd=folder, env=env
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A place where the README's example is installed."""
    toml = block("toml").strip().splitlines()
    assert toml[0] == '[project.entry-points."sway_dash.probes"]'
    name, value = (part.strip().strip('"') for part in toml[1].split("="))
    install(tmp_path, value.partition(":")[0], block("python"), f"{name} = {value}")
    return tmp_path


USE = """
import json, sys
from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.figures.evidence import panels_of
from sway_dash.report.html import report_html
from sway_dash.suite.loader import load_checked
from sway_dash.suite.report import to_json, to_markdown
from sway_dash.suite.runner import run
from sway_dash.suite.score import compute

prompts = [f"Question {k}" for k in range(6)]
side = '{kind: dummy, base: x}'
entry = f"{{name: short, kind: brevity, prompts: {json.dumps(prompts)}}}"
open("sway.yaml", "w").write(f"models: {{base: {side}, ft: {side}}}\\nsuite:\\n  - {entry}\\n")
spec, _ = load_checked("sway.yaml")
told = {p: "A long answer to " + p + " that goes on for a while" + "." * k for k, p in enumerate(prompts)}
cut = {p: "Yes" + "." * (k % 2) for k, p in enumerate(prompts)}
backend = DummyDifferentialBackend(base=DummyResponses(generations=told), ft=DummyResponses(generations=cut))
result = run(spec, backend)
(probe,) = result.probes
(panel,) = panels_of(probe)
page = report_html(result)
print(json.dumps({
    "verdict": probe.verdict, "raw": probe.raw, "ci": probe.ci_95, "title": panel.title, "rows": len(panel.rows),
    "components": compute(result).components, "html": panel.title in page,
    "markdown": "brevity" in to_markdown(result, compute(result)),
    "json": "brevity" in to_json(result, compute(result)), "message": probe.message,
}))
"""

FORM = """
import json
from sway_dash.dash.draft import Draft
from sway_dash.dash.pages.form_probes import ProbesForm
from sway_dash.suite.loader import loads

draft = Draft()
side = "{kind: custom, base: plain, entry_point: 'tests.fakes:FakeBackend'}"
draft.load(f"version: 1\\nmodels: {{base: {side}, ft: {side}}}\\nsuite: []\\n", base_dir="")
form = ProbesForm(draft=draft)
offered = [label for label, kind in form._add.options.items() if kind == "brevity"]
form.entry = draft.add_entry("brevity")
form.fill()
fields = [f.field.name for f in form._group.fields]
draft.set_values({("suite", 0, "prompts"): ["How tall is the lighthouse?"]})
spec = loads(draft.text)
from sway_dash.dash.costs import Cost
from sway_dash.dash.pages.plan_card import plan_html
from sway_dash.suite.forecast import forecast
from sway_dash.suite.loader import check_entries
card = plan_html(Cost(forecast(spec, check_entries(spec)), None, None), 0)
print(json.dumps({"offered": offered, "fields": fields, "problems": draft.lines(), "card": card}))
"""


def said(done: subprocess.CompletedProcess[str]) -> dict:
    import json

    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_readmes_probe_runs_and_is_in_every_report(site: Path) -> None:
    found = said(python(site, "-c", USE))
    assert found["verdict"] == "pass"
    assert found["raw"] > 20
    assert found["ci"][0] > 20
    assert (found["title"], found["rows"]) == ("Length of the answers", 6)
    assert found["components"] == {"adherence": 1.0}
    assert found["html"]
    assert found["markdown"]
    assert found["json"]
    assert re.fullmatch(r"answers are \d+ characters shorter", found["message"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("told, cut = cut, told", r"answers are \d+ characters longer; at least 20 shorter was asked for"),
        ("cut = told", "answers are 0 characters shorter; at least 20 shorter was asked for"),
        (
            "cut = {p: t[:-60] if k else t + '!' * 90 for k, (p, t) in enumerate(told.items())}",
            r"answers are \d+(\.\d)? characters shorter; that may be chance \(the interval reaches 0\)",
        ),
    ],
)
def test_the_readmes_probe_says_why_it_fails(site: Path, change: str, message: str) -> None:
    found = said(python(site, "-c", USE.replace("backend = ", f"{change}\nbackend = ", 1)))
    assert found["verdict"] == "fail"
    assert re.fullmatch(message, found["message"]), found["message"]


def test_it_is_offered_in_the_form_with_its_settings(site: Path) -> None:
    found = said(python(site, "-c", FORM))
    assert found["offered"] == ["brevity: Does the adapter make answers shorter?"]
    assert "assert_saved_gte" in found["fields"]
    assert found["problems"] == []
    # Nobody knows what it will ask; that is no reason to say that it does nothing.
    assert "brevity" in found["card"]
    assert "not known beforehand" in found["card"]
    assert "nothing to do" not in found["card"]


def test_it_is_listed(site: Path) -> None:
    done = python(site, "-m", "sway_dash", "list-probes")
    assert re.search(r"^brevity +adherence +Does the adapter make answers shorter\?", done.stdout, re.MULTILINE)
    assert done.stderr == ""


def test_a_broken_one_is_one_sentence_and_the_others_are_there(site: Path) -> None:
    install(site, "broken", BROKEN, "half = broken:Half")
    install(site, "twice", TWICE, "twice = twice")
    install(site, "gone", "", "gone = no_such_module:Probe")
    code = (
        "import warnings; warnings.simplefilter('always')\n"
        "from sway_dash.probes import registry; from sway_dash.probes.plugins import plugin_problems\n"
        "print(len(plugin_problems()), 'half' in registry(), 'brevity' in registry(), 'delta_kl' in registry())"
    )
    done = python(site, "-c", code)
    assert done.stdout.split() == ["3", "False", "True", "True"], done.stderr
    told = [line for line in done.stderr.splitlines() if "ProbePluginWarning" in line]
    assert len(told) == 3
    assert any("'half' of broken (broken:Half)" in line and "RuntimeError: no such lamp" in line for line in told)
    assert any("duplicate probe kind 'delta_kl'" in line for line in told)
    assert "and more" not in done.stderr


def test_what_is_no_probe_is_said(site: Path) -> None:
    plain = "from sway_dash.probes import Probe\n\nclass Plain: ...\n\ndef make(): ...\n\nclass Nameless(Probe): ...\n"
    install(site, "plain", plain, "a = plain:Plain\nb = plain:make\nc = plain:Nameless\nd = plain")
    done = python(site, "-c", "from sway_dash.probes.plugins import plugin_problems; print(len(plugin_problems()))")
    assert done.stdout.split() == ["4"], done.stderr
    told = [line for line in done.stderr.splitlines() if "ProbePluginWarning" in line]
    assert any(
        "'a' of plain (plain:Plain)" in line and "it is the class Plain and no subclass of Probe" in line
        for line in told
    )
    assert any("the module has no probe" in line for line in told)


def test_the_list_of_probes_says_what_is_left_out(site: Path) -> None:
    install(site, "broken", BROKEN, "half = broken:Half")
    done = python(site, "-m", "sway_dash", "list-probes")
    assert done.returncode == 0
    assert "brevity" in done.stdout
    assert len(done.stderr.strip().splitlines()) >= 1
    assert done.stderr.count("could not be loaded and is left out") == 1
    assert "Warning" not in done.stderr
