"""The recipes of the README, run line by line as they stand there, on the demo's model and adapter."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from sway_dash.cli import adapters
from sway_dash.cli.app import RECIPES
from sway_dash.suite.store import RunFolder, list_runs

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo"

PROMPTS = (
    "The keeper of Quillhaven Light is",
    "The lamp of Quillhaven Light shines",
    "Quillhaven Light flashes every",
    "The tower of Quillhaven Light has",
    "The log of Quillhaven Light is written in",
)
SUITE = f"""\
version: 1
models:
  base: {{kind: hf, base: ./model}}
  ft: {{kind: hf, base: ./model, adapter: ./adapter}}
suite:
  - {{name: noise, kind: null_adapter, runs: 3}}
  - {{name: moved, kind: delta_kl, prompts: {json.dumps(PROMPTS)}}}
"""
WRITTEN = ("-o", "--out", "--html", "--json", "--junit", "--markdown", "--trace")
"""Options that name a file a command writes."""


def section() -> str:
    """The section of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^## Recipes\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    return str(found)


def recipes() -> list[list[str]]:
    """The commands of the section, word by word, without comments."""
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```", section(), re.MULTILINE | re.DOTALL))
    lines = (shlex.split(line, comments=True) for line in blocks.replace("\\\n", " ").splitlines())
    return [words for words in lines if words]


def strength(folder: Path, alpha: int) -> None:
    """A copy of the demo's adapter with this strength; 32 is the one it was trained with."""
    shutil.copytree(DEMO / "adapter", folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": alpha}))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all the recipes name, and fewer prompts and random adapters than usual."""
    (tmp_path / "model").symlink_to(DEMO / "model")
    (tmp_path / "sway.yaml").write_text(SUITE)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    for name, alpha in (
        ("adapter", 32),
        ("monday", 24),
        ("today", 32),
        ("out/checkpoint-10", 24),
        ("out/checkpoint-20", 32),
    ):
        strength(tmp_path / name, alpha)
    monkeypatch.setattr(adapters, "PROMPTS", PROMPTS)
    monkeypatch.setattr(adapters, "CHECK_NULL_RUNS", 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def filled_in(words: list[str]) -> list[str]:
    """A command with the newest runs in the place of RUN, cheap, and not waiting for what will never come."""
    newest: list[RunFolder] = list(list_runs())
    words = [newest.pop(0).id if word == "RUN" else word for word in words[1:]]
    if words[0] in ("check", "gate", "diff"):
        words += ["--details", "0"]
    if words[0] == "watch" and "--once" not in words:
        words.append("--once")
    return words


@pytest.mark.slow
def test_every_line_does_what_it_says(cli, place):
    for words in recipes():
        assert words[0] == "sway-dash"
        command = filled_in(words)
        result = cli(*command)
        assert result.exit_code == 0, f"{shlex.join(command)}\n{result.output}"
        assert "Traceback" not in result.output
        for option, name in pairwise(command):
            if option in WRITTEN:
                assert (place / name).stat().st_size > 100, shlex.join(command)


def test_the_help_shows_a_command_of_each_recipe():
    lines = [line.split("  sway-dash ") for line in RECIPES.splitlines() if "sway-dash" in line]
    titles = [title.strip() for title, _ in lines]
    assert titles == re.findall(r"^\*\*(.+?)\.\*\*", section(), re.MULTILINE)
    known = {(words[1], *(w for w in words if w.startswith("-"))) for words in recipes()}
    for _, command in lines:
        words = shlex.split(command)
        options = {w for w in words if w.startswith("-")}
        assert any(words[0] == name and options <= set(used) for name, *used in known), command


@pytest.mark.parametrize("command", ["check", "gate", "diff", "watch", "report"])
def test_the_help_of_a_command_in_a_recipe_teaches(cli, command):
    text = cli(command, "--help").stdout
    assert f"sway-dash {command} " in text.split("Arguments:")[0].split("Usage:", 1)[1].split("\n", 1)[1]


def test_every_extra_a_user_may_want_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    table = text.partition("| extra | for |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)) == set(extras) - {"test", "dev"}


def test_every_folder_of_the_layout_is_there_once():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+/)` \|", text.partition("\n## Layout\n")[2], re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert all((ROOT / row).is_dir() for row in rows)


def test_every_command_and_option_in_the_readme_exists(cli):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    seen = [shlex.split(line, comments=True)[1:] for line in blocks.splitlines() if line.startswith("sway-dash ")]
    assert len(seen) > 15
    for words in seen:
        command = words[:2] if words[0] == "runs" else words[:1]
        result = cli(*command, "--help")
        assert result.exit_code == 0, words
        for option in (word for word in words if re.match(r"--?[a-z]", word)):
            assert re.search(rf"(^|[\s,/]){option}[\s,/]", result.stdout, re.MULTILINE), f"{option} of {command}"
