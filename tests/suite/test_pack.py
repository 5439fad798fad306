"""Packing a suite: what goes in, what does not, and the same bytes every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sway_dash.core.errors import SpecValidationError, SwayError
from sway_dash.core.events import Measurement, ModelReady, RunStarted
from sway_dash.probes.null_cache import NullCache
from sway_dash.suite.loader import load_checked, load_spec
from sway_dash.suite.pack import PackReport, pack_spec
from sway_dash.suite.pack_draws import draw_keys
from sway_dash.suite.pack_layout import PackError, sha256_of
from sway_dash.suite.pack_paths import with_paths
from sway_dash.suite.pack_read import UnpackReport, unpack_swaypack
from sway_dash.suite.pack_use import adopt
from sway_dash.suite.store import RunFolder

ROOT = Path(__file__).parents[2]

SUITE = """\
# What was learned — and where
models:
  base: &base {kind: hf, base: ./bäse, dtype: fp32}  # small
  ft:
    <<: *base
    adapter: &adapter ../trained/v3   # the last one
dlm_source: 'handbook.md'
suite:
  - {name: noise, kind: null_adapter, runs: 2}
  - {name: moved, kind: delta_kl, prompts: [one, "zwö"]}
  - {name: ghost, kind: gradient_ghost, adapter_path: *adapter}
  - name: curve
    kind: training_drift
    store_path: ../trained/v3
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite with all that it may name; of the model there are files, but nothing that could be loaded."""
    folder = tmp_path / "mine"
    adapter = tmp_path / "trained" / "v3"
    for path in (folder / "bäse", adapter / "logs"):
        path.mkdir(parents=True)
    (folder / "sway.yaml").write_text(SUITE, "utf-8")
    (folder / "handbook.md").write_text("# Keeper\n\nAda keeps the light.\n", "utf-8")
    (folder / "bäse" / "config.json").write_text("{}")
    (folder / "bäse" / "model.safetensors").write_bytes(b"base weights")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (adapter / "adapter_model.safetensors").write_bytes(os.urandom(2000))
    (adapter / "tokenizer_config.json").write_text("{}")
    (adapter / "training_state.pt").write_bytes(b"a pickle")
    (adapter / "secret.txt").write_text("nothing to do with it")
    (adapter / "logs" / "train-1.jsonl").write_text('{"type": "step", "step": 1, "loss": 2.0}\n')
    return folder / "sway.yaml"


def members(report: PackReport) -> list[str]:
    return [name for name, _ in report.members]


def test_a_pack_holds_the_suite_and_what_it_names_and_nothing_else(suite, tmp_path):
    report = pack_spec(suite)
    assert report.out_path == suite.parent / "sway.swaypack.tar.gz"
    assert members(report) == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/logs/train-1.jsonl",
        "adapter/tokenizer_config.json",
        "manifest.json",
        "source.md",
        "sway.yaml",
    ]
    assert report.section_bytes == (suite.parent / "handbook.md").stat().st_size
    said = " ".join(report.remarks)
    assert "the base is not part of a pack" in said
    assert "ghost reads the optimizer's state, which is left out" in said
    with tarfile.open(report.out_path) as archive:
        for info in archive:
            assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)
            assert info.name.startswith("swaypack/")
        text = archive.extractfile("swaypack/sway.yaml").read().decode()
        manifest = json.load(archive.extractfile("swaypack/manifest.json"))
    for comment in ("# What was learned — and where", "# small", "# the last one"):
        assert comment in text
    assert str(tmp_path) not in text + json.dumps(manifest)
    assert set(manifest["members"]) == set(members(report)) - {"manifest.json"}
    assert manifest["base"]["id"] == "bäse"


def test_an_unpacked_suite_names_the_files_that_came_with_it(suite, tmp_path):
    report = unpack_swaypack(pack_spec(suite).out_path, target_dir=tmp_path / "there")
    assert report.verified
    remarks = adopt(report, base=str(suite.parent / "bäse"))
    assert remarks == []
    spec = load_spec(report.spec_path)
    assert spec.models.ft.adapter == report.out_dir / "adapter"
    assert spec.models.ft.base == spec.models.base.base == str(suite.parent / "bäse")
    assert Path(spec.dlm_source) == report.out_dir / "source.md"
    assert spec.suite[2]["adapter_path"] == str(report.out_dir / "adapter")
    assert (Path(spec.suite[3]["store_path"]) / "logs" / "train-1.jsonl").is_file()


def test_another_base_or_adapter_than_packed_is_said(suite, tmp_path):
    packed = pack_spec(suite, include_adapter=False)
    assert "the adapter is left out" in " ".join(packed.remarks)
    other, retrained = tmp_path / "other", tmp_path / "retrained"
    other.mkdir()
    retrained.mkdir()
    (other / "config.json").write_text("{}")
    (other / "model.safetensors").write_bytes(b"y")
    (retrained / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (retrained / "adapter_model.safetensors").write_bytes(b"x")
    report = unpack_swaypack(packed.out_path, target_dir=tmp_path / "there")
    lacking = " ".join(adopt(report))
    assert "base ./base/bäse is not here" in lacking
    assert "adapter ./adapter is not here" in lacking
    said = " ".join(adopt(report, base=str(other), adapter=retrained))
    assert "is not the base this was packed with" in said
    assert "is not the adapter this was packed with" in said


def test_a_base_in_the_hub_s_cache_goes_by_its_hub_id(suite, tmp_path):
    snapshot = tmp_path / "hub" / "models--org--tiny" / "snapshots" / "0a1b2c"
    snapshot.parent.mkdir(parents=True)
    (suite.parent / "bäse").rename(snapshot)
    suite.write_text(SUITE.replace("./bäse", str(snapshot)), "utf-8")
    report = unpack_swaypack(pack_spec(suite).out_path, target_dir=tmp_path / "there")
    assert load_spec(report.spec_path).models.ft.base == "org/tiny"
    assert (report.manifest["base"]["id"], report.manifest["base"]["revision"]) == ("org/tiny", "0a1b2c")


def test_the_same_input_gives_the_same_bytes_in_another_process_and_later(suite, tmp_path):
    first = pack_spec(suite, out_path=tmp_path / "first.tar.gz").out_path.read_bytes()
    for path in sorted(suite.parent.parent.rglob("*")):
        if path.is_file():
            os.utime(path, (1, 1))
    code = "import sys; from sway_dash.suite.pack import pack_spec; pack_spec(sys.argv[1], out_path=sys.argv[2])"
    other = tmp_path / "second.tar.gz"
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(suite), str(other)], check=True, env=env, cwd=tmp_path)
    assert other.read_bytes() == first


# -- suites that others packed --------------------------------------------------------------------


def foreign(tmp_path: Path, text: str) -> UnpackReport:
    """An unpacked pack with this suite, as another program may have made it."""
    folder = tmp_path / "swaypack"
    folder.mkdir()
    (folder / "sway.yaml").write_text(text, "utf-8")
    (folder / "source.dlm").write_text("a document")
    return UnpackReport(folder, folder / "sway.yaml", None, {"swaypack_version": 1})


def test_the_document_in_a_pack_of_another_program_is_used(tmp_path):
    report = foreign(
        tmp_path, "models: {base: {base: org/m}, ft: {base: org/m, adapter: /else/v3}}\ndlm_source: ../docs/a.dlm\n"
    )
    said = adopt(report)
    assert load_spec(report.spec_path).dlm_source == str(report.out_dir / "source.dlm")
    assert said == [f"the adapter /else/v3 is not here: unpack with --adapter, or write it into {report.spec_path}"]


def test_code_and_addresses_of_others_are_said(tmp_path):
    text = (
        "models: {base: {kind: custom, base: b, entry_point: evil:Model}, ft: {kind: api, base: b, endpoint: http://x}}"
    )
    said = " ".join(adopt(foreign(tmp_path, text)))
    assert "Python code of its own (evil:Model)" in said
    assert "sends its prompts to http://x" in said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "models: [",
        "models: !!python/object/apply:os.system [true]",
        "models: &m {base: *m}",
        "models: {base: {base: 5}, ft: []}",
        "suite: [1, {adapter_path: []}]",
        "dlm_source: {a: b}",
        "[" * 5000,
        "models: {base: {base: ./a}, ft: {base: ./a}}\nsuite: [{name: a, kind: made_up}]",
        "\x00",
    ],
)
def test_a_suite_of_others_that_is_none_gives_a_sentence(tmp_path, text):
    report = foreign(tmp_path, text)
    try:
        said = adopt(report, base="org/other")
    except SwayError as error:
        said = [str(error)]
    assert said
    assert all(said)


# -- null draws -----------------------------------------------------------------------------------


def draw(key: str, **about) -> Measurement:
    return Measurement(
        probe="moved", item=0, prompt="one", key=key, js=0.1, kl=0.2, kl_reverse=0.3, same_top=1, **about
    )


def leave_draws(fingerprint: str, keys) -> None:
    cache = NullCache(fingerprint)
    for key in keys:
        cache.put(draw(key, role="null"))
    cache.close()


def leave_run(spec, environment) -> None:
    folder = RunFolder.create("suite: []")
    folder.append(RunStarted(seq=1, ts=1.0, base_model_id=spec.models.base.base))
    folder.append(ModelReady(seq=2, ts=2.0, environment=environment))
    folder.close()


def test_only_draws_of_this_model_and_these_prompts_are_taken_along(suite, tmp_path):
    from sway_dash.backends.adapter_files import adapter_fingerprint
    from sway_dash.backends.loading import base_identity

    spec, built = load_checked(suite)
    ours = {
        "adapter_sha256": adapter_fingerprint(spec.models.ft.adapter),
        "base_identity": base_identity(spec.models.base.base),
        "fingerprint": "f" * 64,
    }
    keys = draw_keys(spec, built, ours["fingerprint"])
    leave_draws("f" * 64, [*sorted(keys), "k-of-another-suite"])
    leave_draws("e" * 64, draw_keys(spec, built, "e" * 64))
    leave_run(spec, ours)
    leave_run(spec, {**ours, "adapter_sha256": "retrained", "fingerprint": "e" * 64})
    report = pack_spec(suite)
    assert report.null_draws == len(keys)
    assert [n for n in members(report) if n.startswith("null-stats/")] == [f"null-stats/{'f' * 32}.jsonl"]
    unpacked = unpack_swaypack(report.out_path, target_dir=tmp_path / "there")
    text = (unpacked.null_stats_dir / f"{'f' * 32}.jsonl").read_text()
    assert "k-of-another-suite" not in text
    assert report.null_draws == len(text.splitlines())
    without = pack_spec(suite, out_path=tmp_path / "w.tar.gz", include_null_cache=False)
    assert without.null_draws == 0
    assert not [n for n in members(without) if n.startswith("null-stats/")]


# -- what cannot be packed ------------------------------------------------------------------------


def test_nothing_is_overwritten_and_nothing_is_left_of_a_pack_that_is_too_large(suite, tmp_path):
    out = tmp_path / "new" / "pack.tar.gz"
    with pytest.raises(PackError, match="exceeds the cap") as caught:
        pack_spec(suite, out_path=out, max_size_bytes=1000)
    assert "--no-adapter" in str(caught.value)
    assert "--max-size-mb" in str(caught.value)
    assert list(out.parent.iterdir()) == []
    pack_spec(suite, out_path=out)
    before = out.read_bytes()
    with pytest.raises(PackError, match="refusing to overwrite"):
        pack_spec(suite, out_path=out)
    assert out.read_bytes() == before


def test_a_file_that_changes_while_it_is_packed_is_said(suite, monkeypatch):
    from sway_dash.suite import pack

    weights = suite.parent.parent / "trained" / "v3" / "adapter_model.safetensors"

    def hashed_too_early(path):
        found = sha256_of(path)
        if path == weights:
            weights.write_bytes(weights.read_bytes()[::-1])
        return found

    monkeypatch.setattr(pack, "sha256_of", hashed_too_early)
    with pytest.raises(PackError, match="changed while it was packed"):
        pack_spec(suite)
    assert not [p for p in suite.parent.iterdir() if p.suffix in (".gz", ".tmp")]


def test_a_golden_result_must_be_one(suite, tmp_path):
    with pytest.raises(PackError, match="--include-golden"):
        pack_spec(suite, include_golden=tmp_path / "no.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(SpecValidationError, match="must be a JSON object"):
        pack_spec(suite, include_golden=tmp_path / "list.json")
    assert not list(suite.parent.glob("*.tar.gz"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s.unlink(), "not found"),
        (lambda s: s.write_bytes(b"\xff"), "not UTF-8"),
        (lambda s: s.write_text("models: ["), "invalid YAML"),
        (lambda s: s.write_text(SUITE.replace("delta_kl", "delta_kll")), "unknown probe kind"),
        (lambda s: (s.parent.parent / "trained/v3/adapter_model.safetensors").unlink(), "adapter_model.safetensors"),
    ],
)
def test_a_suite_that_cannot_be_used_is_refused_in_a_sentence(suite, spoil, said):
    spoil(suite)
    with pytest.raises(SwayError, match=said):
        pack_spec(suite)
    assert not list(suite.parent.glob("*.tar.gz"))


def test_a_document_that_is_missing_is_said(suite):
    (suite.parent / "handbook.md").unlink()
    report = pack_spec(suite)
    assert report.section_bytes == 0
    assert "handbook.md cannot be read and is missing in the pack" in " ".join(report.remarks)


# -- other paths in a text ------------------------------------------------------------------------


def test_a_path_that_cannot_be_written_anew_is_refused():
    text = "models:\n  base: {base: &p ./m}\n  ft: {base: m, adapter: *p}\n"
    with pytest.raises(SpecValidationError, match=r"models\.ft\.adapter"):
        with_paths(text, lambda place, path: f"./{place[-1]}" if path == "./m" else path)


@pytest.mark.parametrize("path", ["plain/path", "with space", "yes", "1.5", "a: b", "#x", 'qu"ote', "ünï", "~", "null"])
def test_any_path_can_be_written(path):
    text = with_paths("models:\n  base: {base: 'x', dtype: auto}  # kept\n", lambda place, old: path)
    import yaml

    assert yaml.safe_load(text) == {"models": {"base": {"base": path, "dtype": "auto"}}}
    assert text.endswith("# kept\n")
