"""What no model can be loaded from is refused in one sentence before anything is loaded, and leaves no run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sway_dash.suite.loader import load_spec
from sway_dash.suite.store import RunFolder, list_runs
from tests.fakes_sweep import adapter

DEMO = Path(__file__).parents[2] / "assets" / "demo"

HF = """\
models:
  base: {kind: hf, base: BASE}
  ft: {kind: hf, base: BASE, adapter: ./ADAPTER}
suite:
  - {name: moved, kind: delta_kl, prompts: [one, two, three, four]}
"""

STORED = """\
models:
  base: {kind: custom, base: fake, entry_point: "tests.fakes_sweep:ByAdapter"}
  ft: {kind: custom, base: fake, entry_point: "tests.fakes_sweep:ByAdapter"}
dlm_source: notes.md
suite:
  - {name: moved, kind: delta_kl, prompts: [one, two, three, four]}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's adapter as safetensors and as a pickle, its model, and suites of them; nothing can be opened."""
    for name in ("good", "other", "pickled", "torn"):
        shutil.copytree(DEMO / "adapter", tmp_path / "out" / name)
    weights = "adapter_model.safetensors"
    (tmp_path / "out" / "pickled" / weights).rename(tmp_path / "out" / "pickled" / "adapter_model.bin")
    (tmp_path / "out" / "torn" / weights).write_bytes(b"\x20\0\0")
    for suite, base, name in (
        ("good", DEMO / "model", "good"),
        ("pickled", DEMO / "model", "pickled"),
        ("gone", "./nowhere", "good"),
        ("hub", "org/model", "good"),
    ):
        text = HF.replace("BASE", str(base)).replace("ADAPTER", f"out/{name}")
        (tmp_path / f"{suite}.yaml").write_text(text)
    (tmp_path / "dtype.yaml").write_text(
        (tmp_path / "good.yaml").read_text().replace("kind: hf,", "kind: hf, dtype: fp64,")
    )
    monkeypatch.setattr("sway_dash.backends.build", None)
    monkeypatch.setattr("sway_dash.backends.swap.SharedBase.open", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


MODEL = str(DEMO / "model")
CUDA, PICKLE, GONE = "device 'cuda:7' is not available here", "a pickle", "nowhere does not exist"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"check out/good --base {MODEL} --device cuda:7", CUDA),
        (f"check out/good --base {MODEL} --device gpu", "unknown device 'gpu'"),
        (f"check out/pickled --base {MODEL}", PICKLE),
        ("check out/good --base ./nowhere", "no base model folder ./nowhere"),
        ("check out/good --base org/model", "org/model is not on this machine"),
        ("run good.yaml --device cuda:7", CUDA),
        ("run pickled.yaml", PICKLE),
        ("run gone.yaml", GONE),
        ("run hub.yaml", "HF_HUB_OFFLINE"),
        ("run dtype.yaml", "models.ft.dtype: "),
        ("gate good.yaml --device cuda:7", CUDA),
        ("gate pickled.yaml", PICKLE),
        ("gate gone.yaml", GONE),
        (f"diff out/good out/other --base {MODEL} --device cuda:7", CUDA),
        (f"diff out/good out/pickled --base {MODEL}", PICKLE),
        ("diff good.yaml --a out/good --b out/torn", "is no safetensors file, or only a part of one"),
        ("sweep good.yaml out/good out/other --device cuda:7", CUDA),
        ("sweep good.yaml out/pickled out/torn", PICKLE),
        ("sweep gone.yaml out/good", GONE),
        ("watch out --spec good.yaml --once --device cuda:7", CUDA),
        ("watch out --spec gone.yaml --once", GONE),
        ("mine pickled.yaml --mode outliers --top-k 2", PICKLE),
    ],
)
def test_what_cannot_be_measured_here_is_one_sentence_and_no_run(cli, place, command, said):
    refused = cli(*command.split())
    assert (refused.exit_code, refused.stdout) == (2, ""), refused.stderr
    assert said in refused.stderr
    assert sum("error:" in line for line in refused.stderr.splitlines()) == 1
    assert not list(list_runs())


def test_a_stopped_run_is_not_taken_up_on_a_device_that_is_not_there(cli, place):
    run = RunFolder.create((place / "good.yaml").read_text(), base_dir=place)
    files = sorted(run.path.iterdir())
    refused = cli("run", "--resume", run.id, "--device", "cuda:7")
    assert refused.exit_code == 2
    assert CUDA in refused.stderr
    assert sorted(run.path.iterdir()) == files


def test_a_suite_that_asks_no_model_needs_none(cli, place):
    text = (place / "gone.yaml").read_text().partition("suite:")[0]
    (place / "files.yaml").write_text(
        f"{text}suite:\n  - {{name: sound, kind: gradient_ghost, adapter_path: ./out/good}}\n"
    )
    assert cli("run", "files.yaml", "--device", "cuda:7").exit_code == 0


# -- the adapter of a document -----------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite whose document has a store with two versions; the folder of that store's adapters."""
    monkeypatch.setenv("DLM_HOME", str(tmp_path / "dlm"))
    (tmp_path / "notes.md").write_text("---\ndlm_id: 01ABC\n---\nA text.\n")
    (tmp_path / "sway.yaml").write_text(STORED)
    adapters = tmp_path / "dlm" / "store" / "01ABC" / "adapter"
    for name in ("v1", "v2"):
        adapter(adapters / "versions" / name, content=name)
    (adapters / "current.txt").write_text("versions/v1")
    return adapters


def test_a_suite_without_an_adapter_takes_the_current_one_of_its_document(cli, stored, tmp_path):
    suite = tmp_path / "sway.yaml"
    assert str(stored / "versions" / "v1") in cli("run", suite, "--dry-run").stdout
    known: set[str] = set()
    for command, version in (("run", "v1"), ("gate", "v2")):
        (stored / "current.txt").write_text(f"versions/{version}")
        assert cli(command, suite, "--details", "0").exit_code == 0
        (run,) = (folder for folder in list_runs() if folder.id not in known)
        known.add(run.id)
        assert run.result().adapter_id == str(stored / "versions" / version)
        # The suite stays as it was given; which adapter it was is kept beside it.
        assert run.spec_text() == STORED
    (stored / "current.txt").write_text("versions/v1")
    again = cli("run", "--resume", run.id, "--details", "0")
    assert again.exit_code == 0, again.stderr
    assert run.result().adapter_id == str(stored / "versions" / "v2")


def test_a_suite_that_names_an_adapter_keeps_it(cli, stored, tmp_path):
    own = adapter(tmp_path / "own")
    (tmp_path / "sway.yaml").write_text(STORED.replace("ft: {", "ft: {adapter: ./own, "))
    assert cli("run", tmp_path / "sway.yaml", "--details", "0").exit_code == 0
    assert next(list_runs()).result().adapter_id == str(own)


@pytest.mark.parametrize(
    ("document", "why"),
    [("---\ndlm_id: 01ABC\n---\nA text.\n", "01ABC points at none"), ("A text.\n", "names no dlm_id")],
)
def test_without_an_adapter_anywhere_it_is_said_where_it_was_looked_for(cli, stored, place, document, why):
    (stored / "current.txt").unlink()
    (place / "notes.md").write_text(document)
    text = (place / "good.yaml").read_text().replace(", adapter: ./out/good", "")
    (place / "sway.yaml").write_text(f"dlm_source: notes.md\n{text}")
    refused = cli("run", "sway.yaml")
    assert refused.exit_code == 2
    assert why in refused.stderr
    assert "give adapter: <folder>" in refused.stderr
    assert not list(list_runs())


def test_a_pack_takes_the_current_adapter_of_the_document_along(cli, stored, place):
    (stored / "current.txt").write_text(str(DEMO / "adapter"))
    text = (place / "good.yaml").read_text().replace(", adapter: ./out/good", "")
    (place / "sway.yaml").write_text(f"dlm_source: notes.md\n{text}")
    packed = cli("pack", "sway.yaml", "-o", "pack.tar.gz")
    assert packed.exit_code == 0, packed.stderr
    assert cli("unpack", "pack.tar.gz", "-o", "there").exit_code == 0
    there = place / "there" / "swaypack"
    assert load_spec(there / "sway.yaml").models.ft.adapter == there / "adapter"
    assert (there / "adapter" / "adapter_model.safetensors").is_file()
