"""Many adapters by one suite: the numbers of single runs, nothing twice, and no failure takes the others with it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sway_dash.core import events as ev
from sway_dash.core.errors import SpecValidationError, SwayError
from sway_dash.core.yaml_text import load_yaml
from sway_dash.demo import demo_dir
from sway_dash.suite.adapted import SuiteText
from sway_dash.suite.checkpoints import ordered
from sway_dash.suite.comparison import open_side
from sway_dash.suite.execute import execute
from sway_dash.suite.fold import PREFLIGHT, probe_to_dict
from sway_dash.suite.loader import loads
from sway_dash.suite.queue import device_name
from sway_dash.suite.report import load_result
from sway_dash.suite.store import RESULT, RunFolder, list_runs
from sway_dash.suite.sweep import Sweep, find_adapters, targets
from tests.adapters import made
from tests.fakes_sweep import SUITE, ByAdapter, adapter, write_weights


@pytest.fixture
def suite(tmp_path: Path) -> SuiteText:
    ByAdapter.opened.clear()
    path = tmp_path / "sway.yaml"
    path.write_text(SUITE)
    return SuiteText.read(path)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    for step in (1000, 200, 300):
        adapter(tmp_path / "out" / f"checkpoint-{step}", content=f"weights of {step}")
    return tmp_path / "out"


# -- which adapters -----------------------------------------------------------------------------------------------


def test_checkpoints_are_found_in_the_order_of_their_steps(training):
    adapter(training / "other" / "lora")
    (training / "empty").mkdir()
    found = targets(find_adapters(training))
    assert [t.label for t in found if t.step is not None] == ["checkpoint-200", "checkpoint-300", "checkpoint-1000"]
    assert {t.step for t in found} == {200, 300, 1000, None}


def test_labels_tell_adapters_of_one_name_apart(tmp_path):
    found = targets([tmp_path / "a" / "lora", tmp_path / "b" / "lora", tmp_path / "b" / ".." / "a" / "lora"])
    assert [t.label for t in found] == ["a/lora", "b/lora"]


def test_a_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(SwayError, match="does not exist"):
        find_adapters(tmp_path / "nowhere")


# -- the suite for another adapter --------------------------------------------------------------------------------

BLOCK = """\
# a comment
models:
  base: {base: ./model}
  ft:
    base: ./model   # the same
    kind: hf
suite:
  - {name: ghost, kind: gradient_ghost, adapter_path: ./mine/../mine}
  - {name: other, kind: gradient_ghost, adapter_path: ./elsewhere}
"""


@pytest.mark.parametrize(
    "text",
    [
        SUITE,
        BLOCK,
        BLOCK.replace("    kind: hf\n", "    adapter: './mine'  # here\n"),
        BLOCK.replace("    kind: hf\n", "    adapter: >-\n      ./mine\n    kind: hf\n"),
        BLOCK.replace("base: {base: ./model}", "base: &m {base: ./model, adapter: ./mine}").replace(
            "  ft:\n    base: ./model   # the same\n    kind: hf\n", "  ft: *m\n"
        ),
    ],
    ids=["flow", "no adapter", "block", "folded", "alias"],
)
def test_only_the_adapter_of_a_suite_changes(tmp_path, text):
    path = tmp_path / "sway.yaml"
    path.write_text(text)
    new = tmp_path / 'an "odd" name: # ☃'
    before = SuiteText.read(path)
    after = loads(before.with_adapter(new), folder=tmp_path)
    assert after.models.ft.adapter == new
    assert after.models.base == before.spec.models.base
    assert after.models.ft.model_copy(update={"adapter": None}) == before.spec.models.ft.model_copy(
        update={"adapter": None}
    )
    if "&m" not in text:
        assert "# " in before.with_adapter(new)
    if before.spec.models.ft.adapter and "gradient_ghost" in text:
        assert [e["adapter_path"] for e in after.suite] == [str(new), str(tmp_path / "elsewhere")]


def test_the_digest_is_of_what_is_measured_and_not_of_how_it_is_written(tmp_path):
    path = tmp_path / "sway.yaml"
    path.write_text(SUITE)
    first = SuiteText.read(path).digest()
    path.write_text(SUITE.replace("# what", "# who").replace("./mine", "./yours"))
    assert SuiteText.read(path).digest() == first
    assert SuiteText.read(path).digest(device="cuda:1") != first
    path.write_text(SUITE.replace("four", "five"))
    assert SuiteText.read(path).digest() != first


def test_the_digest_is_of_the_programs_that_measure_and_of_the_device_they_take(tmp_path, monkeypatch):
    path = tmp_path / "sway.yaml"
    path.write_text(SUITE)
    suite = SuiteText.read(path)
    assert len({suite.digest(device=d) for d in (None, "auto", device_name("auto"))}) == 1
    first = suite.digest()
    for place, value in (
        ("sway_dash.suite.adapted.__version__", "9.9"),
        ("sway_dash.suite.adapted.MEASURE_VERSION", 99),
        ("sway_dash.suite.adapted.software", lambda: {"packages": {"torch": "9.9"}}),
        ("sway_dash.suite.adapted.device_name", lambda _: "mps"),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(place, value)
            assert suite.digest() != first, place


def test_the_digest_is_of_the_kind_of_device_and_not_of_the_card(tmp_path, monkeypatch):
    path = tmp_path / "sway.yaml"
    path.write_text(SUITE)
    suite = SuiteText.read(path)
    first = suite.digest(device="cuda")
    assert suite.digest(device="cuda:3") == first
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-abc,GPU-def")
    assert {suite.digest(device=d) for d in ("cuda", "cuda:0", "cuda:1")} == {first}
    assert suite.digest(device="cpu") != first


def test_the_digest_is_of_what_the_document_holds(tmp_path):
    path, document = tmp_path / "sway.yaml", tmp_path / "handbook.md"
    path.write_text(f"dlm_source: ./handbook.md\n{SUITE}")
    document.write_text("The tower is red.")
    first = SuiteText.read(path).digest()
    assert SuiteText.read(path).digest() == first
    document.write_text("The tower is blue.")
    suite = SuiteText.read(path)
    changed = suite.digest()
    document.unlink()
    assert len({first, changed, suite.digest()}) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("suite:", "defaults: {differential: false}\nsuite:"), "no adapter to exchange"),
        (("[one, two, three, four]", "[]"), "no prompts"),
        (("delta_kl", "delta_kll"), "delta_kl"),
    ],
)
def test_a_suite_that_could_not_run_is_refused_at_once(tmp_path, change, said):
    (tmp_path / "sway.yaml").write_text(SUITE.replace(*change))
    with pytest.raises(SpecValidationError, match=said):
        SuiteText.read(tmp_path / "sway.yaml")


# -- measuring ----------------------------------------------------------------------------------------------------


def test_every_adapter_is_a_run_of_its_own(suite, training):
    sweep = Sweep(suite, find_adapters(training), name="night")
    found = list(sweep.run())
    assert [o.target.step for o in found] == [200, 300, 1000]
    assert all(o.complete and not o.error and not o.reused for o in found)
    assert sweep.remaining == []
    for outcome in found:
        saved, score = load_result(outcome.folder.path / RESULT)
        assert (saved, score.overall) == (outcome.result, outcome.score.overall)
        assert outcome.folder.meta()["tags"] == ["night"]
        assert saved.adapter_id == str(outcome.target.adapter)
        assert "# what is asked of every adapter" in outcome.folder.spec_text()
    course = ordered([open_side(o.folder.path) for o in found])
    assert [step for step, _ in course.steps] == [200, 300, 1000]


def test_what_is_measured_is_not_measured_again(suite, training):
    list(Sweep(suite, find_adapters(training), name="night").run())
    write_weights(training / "checkpoint-300", "trained on")
    shutil.move(training / "checkpoint-200", training / "checkpoint-250")
    again = list(Sweep(suite, find_adapters(training), name="night").run())
    assert [(o.target.step, o.reused) for o in again] == [(250, True), (300, False), (1000, True)]
    assert len(ByAdapter.opened) == 4
    other = list(Sweep(suite, find_adapters(training), name="day").run())
    assert not any(o.reused for o in other)
    assert all(o.reused for o in Sweep(suite, find_adapters(training), name="x", anywhere=True).run())


def test_another_suite_measures_everything_again(suite, training):
    list(Sweep(suite, find_adapters(training), name="night").run())
    suite.path.write_text(SUITE.replace("four", "five"))
    assert not any(o.reused for o in Sweep(SuiteText.read(suite.path), find_adapters(training), name="night").run())


def test_an_adapter_that_fails_is_a_run_with_an_error_and_the_others_go_on(suite, training, tmp_path):
    broken = adapter(tmp_path / "out" / "checkpoint-500", broken=True)
    sweep = Sweep(suite, [tmp_path / "nowhere", broken, training / "checkpoint-200"], name="night")
    found = list(sweep.run())
    assert [bool(o.error) for o in found] == [True, True, False]
    assert "made for another base" in found[1].error
    assert load_result(found[1].folder.path / RESULT)[0].status == "failed"
    assert sweep.remaining == []
    # A failure is no measurement: it is tried again.
    assert [o.reused for o in Sweep(suite, [broken, training / "checkpoint-200"], name="night").run()] == [False, True]


def test_a_stopped_sweep_says_what_remains_and_goes_on_there(suite, training):
    seen: list[ev.Measurement] = []

    def listen(event: Any) -> None:
        if isinstance(event, ev.Measurement):
            seen.append(event)

    sweep = Sweep(suite, find_adapters(training), name="night")
    found = list(sweep.run(on_event=listen, cancel=lambda: len(seen) > 14))
    assert [o.result.status for o in found] == ["finished", "cancelled"]
    assert [t.step for t in sweep.remaining] == [300, 1000]
    again = list(Sweep(suite, find_adapters(training), name="night").run())
    assert [o.reused for o in again] == [True, False, False]
    assert all(o.complete for o in again)
    # The stopped run went on in its folder: three adapters, three runs.
    assert len(list(list_runs())) == 3
    assert any(m.reused for m in again[1].folder.fold().measurements["moved"])


def test_a_run_whose_adapter_was_written_anew_meanwhile_is_not_taken_for_the_new_one(suite, training):
    says = adapter(training / "checkpoint-400", says="of the newer one")
    (outcome,) = Sweep(suite, [says], name="night").run()
    assert outcome.folder.meta()["sweep"]["adapter_sha256"] == "of the newer one"


# -- over one base ------------------------------------------------------------------------------------------------

DEMO = """\
models:
  base: {{base: {model}, device: cpu}}
  ft: {{base: {model}, adapter: ./none, device: cpu}}
suite:
  - {{name: noise, kind: null_adapter, runs: 2}}
  - name: next_token
    kind: delta_kl
    prompts: [The keeper of Quillhaven Light is, The opposite of hot is, A bee lives in a, Two and three make]
  - name: along
    kind: delta_kl
    positions: continuation
    continuation_tokens: 6
    prompts: [The keeper of Quillhaven Light is, The opposite of hot is]
  - {{name: facts, kind: calibration_drift, items_limit: 12}}
"""


@pytest.fixture(scope="module")
def over_one_base(tmp_path_factory) -> Any:
    """A sweep over the demo's base: a good adapter, one that is broken, one of which a file is gone, a random one."""
    root = tmp_path_factory.mktemp("sweep")
    (root / "sway.yaml").write_text(DEMO.format(model=demo_dir() / "model"))
    missing = shutil.copytree(made("targeted"), root / "missing")
    (missing / "adapter_model.safetensors").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWAY_RUNS_DIR", str(root / "runs"))
        # Draws that are read from the disk would be no test.
        patch.setenv("SWAY_DISABLE_NULL_CACHE", "1")
        sweep = Sweep(SuiteText.read(root / "sway.yaml"), [made("targeted"), made("nan"), missing, made("blunt")])
        found = list(sweep.run())
        alone = RunFolder.create(sweep.suite.with_adapter(made("blunt")), base_dir=root)
        execute(alone, details=0)
        yield sweep, found, alone
        sweep.close()


def told(folder: RunFolder) -> list[dict[str, Any]]:
    """What a run measured and concluded, without times."""
    state = folder.fold()
    rows = sorted((m for own in state.measurements.values() for m in own), key=lambda m: (m.probe, m.view, m.item))
    measured = [m.model_dump(exclude={"ts", "seq"}) for m in rows]
    judged = [{k: v for k, v in probe_to_dict(p).items() if k != "duration_s"} for p in state.finished()]
    environment = {k: v for k, v in state.environment.items() if not k.startswith("gpu")}
    return [*measured, *judged, environment]


def test_numbers_over_a_shared_base_are_those_of_a_single_run(over_one_base):
    _, found, alone = over_one_base
    assert told(found[-1].folder) == told(alone)
    assert found[-1].result.determinism == alone.result().determinism


def test_the_base_is_loaded_once_and_broken_adapters_do_not_stop_it(over_one_base):
    sweep, found, _ = over_one_base
    good, nan, missing, blunt = found
    assert sweep._base.loads == 1
    assert (good.error, blunt.error) == ("", "")
    assert "NaN" in nan.error
    assert [p.name for p in nan.result.probes] == [PREFLIGHT]
    assert "adapter_model.safetensors" in missing.error
    assert blunt.result.backend_stats["cache_hits"] > good.result.backend_stats["cache_hits"]


def test_the_environment_names_the_adapter_that_was_measured(over_one_base):
    _, found, _ = over_one_base
    assert [o.result.environment["adapter"] for o in (found[0], found[3])] == [
        os.fspath(made("targeted")),
        os.fspath(made("blunt")),
    ]


def test_a_base_that_cannot_be_loaded_ends_the_sweep_at_once(tmp_path):
    (tmp_path / "sway.yaml").write_text(DEMO.format(model=tmp_path / "nowhere"))
    sweep = Sweep(SuiteText.read(tmp_path / "sway.yaml"), [made("targeted"), made("blunt")])
    with pytest.raises(SwayError, match="nowhere"):
        list(sweep.run())
    assert len(sweep.outcomes) == 1


def test_the_text_of_the_demo_keeps_all_but_its_adapter(tmp_path):
    suite = SuiteText.read(demo_dir() / "sway.yaml")
    before, after = suite.text, suite.with_adapter(tmp_path)
    assert after.replace(json.dumps(str(tmp_path)), "./adapter") == before
    assert load_yaml(after)["models"]["ft"]["adapter"] == str(tmp_path)
