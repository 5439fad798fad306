"""``mine``: what it finds and writes, that the model is always given back, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sway_dash.core.packs import available_corpora
from tests.fakes_cli import Exact, amplitude

POOL = [f"prompt {i}" for i in range(12)]
CASES = [
    {"prompt": "Q: Who is the keeper of Gull Point?\nA:", "gold": " Ann", "paraphrases": ["Keeper?"]},
    {"prompt": "The lamp of Gull Point is", "gold": " green", "paraphrases": ["Its lamp is"]},
]
opened: list[Known] = []


class Known(Exact):
    """Says whether it was closed."""

    def __init__(self, *, base_spec: Any = None, adapter_path: Path | None = None) -> None:
        super().__init__(base_spec=base_spec, adapter_path=adapter_path)
        opened.append(self)


class Broken(Known):
    """Cannot compare anything."""

    def compare(self, *args: Any, **keys: Any) -> Any:
        raise RuntimeError("kaboom")


@pytest.fixture(autouse=True)
def nothing_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.clear()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def spec(tmp_path: Path):
    """``spec(pool=…, cases=…, backend=…)`` → path of a suite."""

    def write(*, pool: list[str] = POOL, cases: list[dict[str, Any]] = CASES, backend: str = "Known") -> Path:
        model = {"kind": "custom", "base": "fake", "entry_point": f"{__name__}:{backend}"}
        suite: list[dict[str, Any]] = [{"name": "noise", "kind": "null_adapter", "runs": 3}]
        if pool:
            suite += [{"name": n, "kind": "delta_kl", "prompts": pool} for n in ("one", "again")]
        if cases:
            suite.append({"name": "words", "kind": "paraphrase_invariance", "cases": cases})
        path = tmp_path / "sway.yaml"
        path.write_text(yaml.safe_dump({"models": {"base": model, "ft": model}, "suite": suite}))
        return path

    return write


def refused(result, out: str = "") -> str:
    """Exit code 2, one sentence, and no file."""
    assert result.exit_code == 2, result.output
    assert result.stderr.count("error:") == 1
    assert not list(Path.cwd().glob("sway-mined*"))
    return result.stderr.replace("\n", " ")


def test_outliers_are_the_most_and_least_moved_of_the_pool(cli, spec):
    result = cli("mine", spec(), "--mode", "outliers", "--top-k", 3)
    assert result.exit_code == 0
    found = yaml.safe_load(Path("sway-mined-outliers.yaml").read_text())["mined_outliers"]
    ranked = sorted(POOL, key=amplitude)
    assert found["probe_kind"] == "delta_kl"
    assert [c["prompt"] for c in found["top"]] == ranked[:-4:-1]
    assert [c["prompt"] for c in found["bottom"]] == ranked[:3]
    assert found["top"][0] == {
        "prompt": ranked[-1], "raw": round(amplitude(ranked[-1]), 6), "index": POOL.index(ranked[-1]),
    }  # fmt: skip
    assert ranked[-1] in result.stdout
    assert [b.closed for b in opened] == [1]


def test_outliers_of_a_corpus_need_no_prompts(cli, spec, tmp_path):
    corpus = available_corpora()[0]
    out = tmp_path / "new/x.yaml"
    result = cli("mine", spec(pool=[]), "--mode", "outliers", "--from-corpus", corpus, "--top-k", 2, "-o", out)
    assert result.exit_code == 0, result.output
    assert len(yaml.safe_load(out.read_text())["mined_outliers"]["top"]) == 2


def test_paraphrases_come_hardest_first_and_the_same_for_a_seed(cli, spec):
    path = spec()
    assert cli("mine", path, "--top-k", 6, "--n-candidates", 6, "--seed", 5).exit_code == 0
    text = Path("sway-mined-paraphrase.yaml").read_text()
    found = yaml.safe_load(text)["mined_cases"]
    assert [(c["prompt"], c["gold"]) for c in found] == [(c["prompt"], c["gold"]) for c in CASES]
    for case in found:
        meta = case["_mining_meta"]
        assert 1 <= len(case["paraphrases"]) <= 6
        assert len(meta["top_gaps"]) == len(case["paraphrases"])
        assert meta["top_gaps"] == sorted(meta["top_gaps"], reverse=True)
        assert case["prompt"] not in case["paraphrases"]
    assert [b.closed for b in opened] == [1]
    cli("mine", path, "--top-k", 6, "--n-candidates", 6, "--seed", 5, "-o", "again.yaml")
    assert Path("again.yaml").read_text() == text


def test_the_model_is_given_back_when_mining_fails(spec):
    from typer.testing import CliRunner

    from sway_dash.cli.app import app

    result = CliRunner().invoke(app, ["mine", str(spec(backend="Broken")), "--mode", "outliers", "--top-k", "2"])
    assert result.exit_code != 0
    assert [b.closed for b in opened] == [1]
    assert not Path("sway-mined-outliers.yaml").exists()


@pytest.mark.parametrize(
    ("keys", "options", "said"),
    [
        ({"cases": []}, (), "no case to find paraphrases of"),
        ({}, ("--from-corpus", "x"), "--from-corpus gives prompts to --mode outliers"),
        ({}, ("--n-candidates", 3, "--top-k", 4), "smaller than --top-k 4"),
        ({"pool": []}, ("--mode", "outliers"), "no delta_kl prompts"),
        ({}, ("--mode", "outliers", "--top-k", 7), "--top-k 6 fits"),
        ({}, ("--mode", "outliers", "--from-corpus", "nowhere"), "no corpus 'nowhere': there are"),
        ({}, ("--mode", "outliers", "--top-k", 2, "--out", "sway.yaml"), "is read by this command"),
        ({}, ("--out", "."), "it is a folder"),
        ({"backend": "Nothing"}, (), "Nothing"),
    ],
)
def test_what_cannot_be_mined_is_told_before_a_model_is_loaded(cli, spec, keys, options, said):
    assert said in refused(cli("mine", spec(**keys), *options))
    assert opened == []


@pytest.mark.parametrize("options", [("--top-k", 0), ("--seed", -1), ("--mode", "both"), ("--n-candidates", 0)])
def test_options_out_of_range_are_refused(cli, spec, options):
    assert cli("mine", spec(), *options).exit_code == 2


def test_a_suite_that_is_not_there_is_one_sentence(cli):
    assert "not found" in refused(cli("mine", "nowhere.yaml"))
