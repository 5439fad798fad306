"""Runs prompt by prompt: pairing, differences, what cannot be compared, and the order of checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sway_dash.core.events import Measurement, PlannedProbe, RunFinished, RunStarted
from sway_dash.core.paired import NUMERIC_FLOOR, paired
from sway_dash.core.scoring import BASE, FINETUNED, View
from sway_dash.report import paired as say
from sway_dash.suite.checkpoints import checkpoint_of, ordered
from sway_dash.suite.comparable import differing_settings, flatten, mismatches
from sway_dash.suite.comparison import CompareError, Side, compare, open_side, shared_probes
from sway_dash.suite.fold import Fold
from sway_dash.suite.loader import loads
from sway_dash.suite.pairing import SeriesReader
from sway_dash.suite.runner import run
from sway_dash.suite.store import RunFolder
from tests import fakes

PROMPTS = [f"Prompt {i} about {'light' if i % 2 else 'bread'}" for i in range(12)]


def suite(prompts: list[Any] = PROMPTS, *, nulls: int = 6, base: str = "plain", **delta: Any) -> str:
    entries: list[dict[str, Any]] = [{"name": "moved", "kind": "delta_kl", "prompts": prompts, **delta}]
    if nulls:
        entries.insert(0, {"name": "noise", "kind": "null_adapter", "runs": nulls, "cache": False})
    side = {"kind": "custom", "base": base, "entry_point": "tests.fakes:FakeBackend"}
    return yaml.safe_dump({"version": 1, "models": {"base": side, "ft": side}, "suite": entries})


def fold(text: str) -> Fold:
    spec = loads(text)
    found = Fold()
    run(spec, fakes.FakeBackend(base_spec=spec.models.ft), on_event=lambda e: found.add(e) if _kept(e) else None)
    return found


def _kept(event: Any) -> bool:
    return event.type != "cache_access"


def side(name: str, text: str | None = None, *, base: str = "plain", **kwargs: Any) -> Side:
    state = fold(text or suite(base=base, **kwargs))
    return Side(name, name, state.status, {p.name: p for p in state.result().probes}, state)


@pytest.fixture(scope="module")
def plain() -> Side:
    return side("plain")


@pytest.fixture(scope="module")
def strong() -> Side:
    return side("strong", base="strong2")


def js(prompt: str, strong: float = 1.0) -> float:
    return fakes.comparison(prompt, BASE, FINETUNED, strong).js


# --- pairing --------------------------------------------------------------------------------------------------------


def test_differences_are_those_of_the_backend(plain: Side, strong: Side) -> None:
    found = compare([plain, strong])
    assert (found.probe, found.metric, found.baseline) == ("moved", "js", 0)
    (contrast,) = found.contrasts
    want = np.array([js(p, 2.0) - js(p) for p in PROMPTS])
    assert [key[0] for key in found.alignment.keys] == PROMPTS
    assert contrast.deltas == pytest.approx(want, abs=1e-12)
    assert contrast.stats == paired(want, floor=contrast.floors, bounds=(-np.log(2), np.log(2)))


def test_the_floor_is_what_random_adapters_differ_by_on_the_prompt(plain: Side, strong: Side) -> None:
    contrast = compare([plain, strong]).contrasts[0]
    for i, prompt in enumerate(PROMPTS):
        draws = [fakes.comparison(prompt, BASE, View.null(1000 + k)).js for k in range(6)]
        assert contrast.floors[i] == pytest.approx(max(draws) - min(draws), abs=1e-12)
    means = [np.mean([fakes.comparison(p, BASE, View.null(1000 + k)).js for p in PROMPTS]) for k in range(6)]
    assert contrast.mean_floor == pytest.approx(max(means) - min(means), abs=1e-12)


def test_a_prompt_without_draws_leaves_the_noise_of_the_mean_to_the_others(plain: Side) -> None:
    state = fold(suite())
    state.measurements["moved"] = [m for m in state.measurements["moved"] if m.role != "null" or m.item]
    (contrast,) = compare([plain, Side("less", "less", fold=state)], baseline=1).contrasts
    means = [np.mean([fakes.comparison(p, BASE, View.null(1000 + k)).js for p in PROMPTS[1:]]) for k in range(6)]
    (alone,) = compare([Side("less", "less", fold=state)] * 2).contrasts
    assert alone.mean_floor == pytest.approx(max(means) - min(means), abs=1e-12)
    assert contrast.mean_floor >= alone.mean_floor


def test_without_nulls_only_float_noise_is_the_same() -> None:
    contrast = compare([side("a", nulls=0), side("b", nulls=0, base="strong2")]).contrasts[0]
    assert set(contrast.floors) == {NUMERIC_FLOOR}
    assert contrast.stats.same == 0


def test_another_baseline_turns_the_signs_round(plain: Side, strong: Side) -> None:
    there, back = compare([plain, strong]), compare([plain, strong], baseline=1)
    assert back.contrasts[0].run == 0
    assert back.contrasts[0].deltas == pytest.approx(-there.contrasts[0].deltas)
    assert back.contrasts[0].stats.up == there.contrasts[0].stats.down
    assert back.contrast(1) is None


def test_order_and_index_of_prompts_do_not_matter(plain: Side) -> None:
    turned = side("turned", suite(PROMPTS[::-1]))
    found = compare([plain, turned])
    assert found.contrasts[0].stats.identical
    assert found.item_of(0, 2) == 2
    assert found.item_of(1, 2) == len(PROMPTS) - 3


def test_prompts_of_one_run_are_listed_and_not_dropped(plain: Side) -> None:
    other = side("other", suite([*PROMPTS[3:], "only here"], base="strong2"))
    found = compare([plain, other])
    contrast = found.contrasts[0]
    keys = [key[0] for key in found.alignment.keys]
    assert [keys[i] for i in contrast.only_baseline] == PROMPTS[:3]
    assert [keys[i] for i in contrast.only_run] == ["only here"]
    assert contrast.stats.n == 9
    assert found.missing(1, 0) == "not in its suite"
    assert "3 prompts only in A, 1 only in B" in say.summary(found, contrast, "AB")
    assert found.item_of(0, keys.index("only here")) is None


def test_a_repeated_prompt_is_paired_by_occurrence_and_counts_once() -> None:
    twice = [*PROMPTS[:5], PROMPTS[0], PROMPTS[0]]
    found = compare([side("a", suite(twice)), side("b", suite(twice[:6], base="strong2"))])
    contrast = found.contrasts[0]
    assert [key for key in found.alignment.keys if key[0] == PROMPTS[0]] == [(PROMPTS[0], i) for i in range(3)]
    assert (contrast.stats.n, contrast.repeats, contrast.only_baseline.size) == (5, 1, 1)
    assert found.missing(1, 6) == "measured with other settings, or repeated less often"


def test_other_settings_are_another_quantity(plain: Side) -> None:
    changed = side("changed")
    start = changed.fold.started  # type: ignore[union-attr]
    probes = tuple(
        p.model_copy(update={"entry": {**p.entry, "positions": "prompt"}}) if p.name == "moved" else p
        for p in start.probes  # type: ignore[union-attr]
    )
    changed.fold.started = start.model_copy(update={"probes": probes})  # type: ignore[union-attr]
    found = compare([plain, changed])
    assert found.contrasts[0].stats.n == 0
    assert found.contrasts[0].only_run.size == found.contrasts[0].only_baseline.size == len(PROMPTS)
    assert "no prompt in common" in say.summary(found, found.contrasts[0], "AB")
    assert [m.what for m in mismatches([plain, changed], "moved")] == ["positions"]


def test_a_filter_leaves_prompts_out_of_the_numbers(plain: Side, strong: Side) -> None:
    whole = compare([plain, strong])
    let = np.array(["light" in key[0] for key in whole.alignment.keys])
    part = compare([plain, strong], alignment=whole.alignment, admitted=let)
    want = paired(whole.contrasts[0].deltas[let], floor=whole.contrasts[0].floors[let], bounds=(-np.log(2), np.log(2)))
    assert part.contrasts[0].stats == want
    assert part.contrasts[0].stats.n == 6


def test_runs_without_the_probe_have_nothing_to_pair(plain: Side) -> None:
    text = suite().replace("name: moved", "name: other")
    found = compare([plain, side("renamed", text)])
    assert found.probe == "moved"
    assert found.contrasts[0].stats.n == 0
    assert found.missing(1, 0) == "no probe moved"
    assert shared_probes([plain, side("renamed", text), plain]) == ["moved", "other"]


@pytest.mark.parametrize("n", [0, 1, 9])
def test_how_many_runs_can_be_compared_is_said(plain: Side, n: int) -> None:
    with pytest.raises(CompareError, match="2 to 8 runs"):
        compare([plain] * n)


def test_a_baseline_that_is_no_run_is_refused(plain: Side) -> None:
    with pytest.raises(CompareError, match="baseline"):
        compare([plain, plain], baseline=2)


def test_many_runs_share_the_adjustment(plain: Side, strong: Side) -> None:
    found = compare([plain, strong, side("weak", base="strong0.5"), strong])
    ps = [c.stats.p for c in found.contrasts]
    assert [c.run for c in found.contrasts] == [1, 2, 3]
    assert {c.stats.tests for c in found.contrasts} == {3}
    assert all(c.stats.p_holm >= p for c, p in zip(found.contrasts, ps, strict=True))  # type: ignore[operator]
    assert "Holm" in say.significance(found.contrasts[0].stats)


# --- growing, stopped, from files -------------------------------------------------------------------------------------


def test_a_run_that_grows_is_read_once_and_gives_what_a_finished_one_gives(plain: Side) -> None:
    events: list[Any] = []
    spec = loads(suite())
    run(spec, fakes.FakeBackend(base_spec=spec.models.ft), on_event=lambda e: events.append(e) if _kept(e) else None)
    growing = Fold()
    reader = SeriesReader(growing, "moved")
    for event in events:
        growing.add(event)
        if isinstance(event, Measurement):
            before = reader.read()
            assert reader.read() is before
    whole = plain.series("moved")
    found = reader.read()
    assert whole is not None
    assert found.keys == whole.keys
    assert np.array_equal(found.values["js"], whole.values["js"])
    assert np.array_equal(found.spread["kl"], whole.spread["kl"])
    growing.add(events[0])  # another attempt
    assert len(reader.read()) == 0


def test_a_stopped_run_is_compared_on_what_it_has(plain: Side) -> None:
    events: list[Any] = []
    spec = loads(suite(base="strong2"))
    run(
        spec,
        fakes.FakeBackend(base_spec=spec.models.ft),
        on_event=lambda e: events.append(e) if _kept(e) else None,
        cancel=lambda: sum(e.type == "measurement" and e.role == "probe" for e in events) >= 5,
    )
    state = Fold().extend(events)
    stopped = Side("stopped", "stopped", state.status, {}, state)
    found = compare([plain, stopped])
    n = found.contrasts[0].stats.n
    assert state.status == "cancelled"
    assert 0 < n < len(PROMPTS)
    missing = found.contrasts[0].only_baseline
    assert missing.size == len(PROMPTS) - n
    assert found.missing(1, int(missing[0])) == "not measured"
    (remark,) = say.remarks([plain, stopped], "AB")
    assert remark.startswith("B was cancelled after")


def test_runs_whose_probes_have_other_names_say_so(plain: Side) -> None:
    events: list[Any] = []
    spec = loads(suite().replace("name: moved", "name: drift"))
    run(spec, fakes.FakeBackend(base_spec=spec.models.ft), on_event=events.append)
    other = Side("other", "other", "finished", {}, Fold().extend(events))
    found = compare([plain, other])
    told = say.summary(found, found.contrasts[0], "AB")
    assert told.startswith("B has no probe named moved")
    assert "drift" in told


def test_result_files_are_compared_by_the_divergence_they_kept(tmp_path: Path, plain: Side, strong: Side) -> None:
    from sway_dash.core.result import SwayScore
    from sway_dash.report.json_io import to_json

    paths = []
    for one in (plain, strong):
        path = tmp_path / f"{one.name}.json"
        path.write_text(to_json(one.fold.result(), SwayScore(0.5, {})))  # type: ignore[union-attr]
        paths.append(path)
    found = compare([open_side(path) for path in paths])
    assert found.contrasts[0].deltas == pytest.approx(compare([plain, strong]).contrasts[0].deltas, abs=1e-12)
    assert set(found.contrasts[0].floors) == {NUMERIC_FLOOR}
    assert [s.name for s in found.sides] == ["plain", "strong"]
    assert compare([open_side(paths[0]), strong], metric="kl").contrasts[0].stats.n == 0


def test_a_folder_is_opened_with_its_name_and_status(tmp_path: Path) -> None:
    folder = RunFolder.create(suite(), root=tmp_path, name="first try")
    spec = loads(suite())
    run(spec, fakes.FakeBackend(base_spec=spec.models.ft), on_event=folder.append)
    folder.close()
    found = open_side(folder.path)
    assert (found.id, found.name, found.status) == (folder.id, "first try", "finished")
    assert found.results["moved"].score is not None


# --- sentences --------------------------------------------------------------------------------------------------------


def test_nothing_changed_is_said_plainly(plain: Side) -> None:
    same = compare([plain, side("again")])
    text = say.summary(same, same.contrasts[0], "AB")
    assert text == "Nothing changed: all 12 prompts have the same JS in B and A."
    near = compare([plain, side("near", base="strong1.001")])
    assert not near.contrasts[0].stats.identical
    assert say.summary(near, near.contrasts[0], "AB").startswith("Nothing changed beyond noise: mean ΔJS = +")


def test_the_summary_has_every_number(plain: Side, strong: Side) -> None:
    found = compare([plain, strong])
    stats = found.contrasts[0].stats
    text = say.summary(found, found.contrasts[0], "AB")
    assert f"mean ΔJS = {say.signed(stats.mean)} nats, 95 % CI {say.signed(stats.ci[0])} to" in text  # type: ignore[index]
    assert "paired bootstrap-t, n = 12" in text
    assert f"{stats.up} more changed, {stats.same} same, {stats.down} less changed" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0312, "+0.0312"), (-0.5, "−0.5"), (0.0, "0"), (None, "—"), (float("nan"), "—")]
)
def test_a_difference_has_its_sign(value: float | None, text: str) -> None:
    assert say.signed(value) == text


def test_the_data_of_a_comparison_is_json(plain: Side) -> None:
    other = side("other", suite(PROMPTS[2:], base="strong2"))
    document = json.loads(json.dumps(say.to_dict(compare([plain, other])), allow_nan=False))
    assert document["prompts"][0]["values"] == {"A": pytest.approx(js(PROMPTS[0])), "B": None}
    assert document["contrasts"][0]["only_in_baseline"] == PROMPTS[:2]


# --- comparable -------------------------------------------------------------------------------------------------------


def test_like_runs_have_no_warning(plain: Side, strong: Side) -> None:
    text = suite(base="plain")
    assert mismatches([side("a", text), side("b", text)], "moved") == []
    assert [m.what for m in mismatches([plain, strong], "moved")] == ["base model"]


def test_what_is_not_the_same_is_named_with_its_values(plain: Side) -> None:
    other = side("other", suite(PROMPTS[1:], nulls=3, divergence="kl"))
    assert other.fold is not None
    other.fold.environment = {**other.fold.environment, "dtype": "bf16", "device": "cuda:0"}
    other.fold.started = other.fold.started.model_copy(update={"sway_version": "9.9", "seed": 7})  # type: ignore[union-attr]
    found = {m.what: m.values for m in mismatches([plain, other], "moved")}
    assert found == {
        "dtype": ("fp32", "bf16"),
        "device": ("cpu", "cuda"),
        "engine version": (plain.version, "9.9"),
        "seed": ("0", "7"),
        "random adapters": ("6", "3"),
        "judged divergence": ("js", "kl"),
        "prompts": ("12", "11"),
    }
    line = say.mismatch_line(mismatches([plain, other, plain], "moved")[0], "ABC")
    assert line == "different dtype, A C: fp32, B: bf16 (rounding differs)"


def test_values_from_the_likeliest_tokens_are_told_apart_and_widen_the_floor(plain: Side) -> None:
    rough = side("rough")
    assert rough.fold is not None
    own = rough.fold.measurements["moved"]
    rough.fold.measurements["moved"] = [m.model_copy(update={"exact": False, "error_bound": 0.3}) for m in own]
    assert "top k" in {m.what for m in mismatches([plain, rough], "moved")}
    assert (compare([plain, rough]).contrasts[0].floors >= 0.3).all()


def test_rounding_of_the_runs_widens_the_floor(plain: Side) -> None:
    noisy = side("noisy", base="strong1.05")
    before = compare([plain, noisy]).contrasts[0]
    noise = {"prompts": 8, "js": 1e-4, "kl": 5e-4}
    noisy.fold.environment = {**noisy.fold.environment, "noise_floor": noise}  # type: ignore[union-attr]
    after = compare([plain, noisy]).contrasts[0]
    values = [js(p, 1.05) for p, _ in compare([plain, noisy]).alignment.keys]
    # Where either end of the distance lies within √noise, the square root of JS is a metric.
    far = [(v**0.5 + 2 * 1e-4**0.5) ** 2 - v for v in values]
    assert after.floors == pytest.approx(np.maximum(before.floors, far), abs=1e-12)
    assert after.stats.same > before.stats.same
    # It says something about the numbers of a run, not about what was asked.
    assert not [d for d in differing_settings([plain, noisy]) if "noise_floor" in d.place]


def test_only_what_differs_is_listed(tmp_path: Path) -> None:
    texts = [suite(), suite(PROMPTS[:-1], positions="prompt").replace("runs: 6", "runs: 9")]
    sides = []
    for text in texts:
        folder = RunFolder.create(text, root=tmp_path)
        one = side("x", suite())
        one.folder = folder
        sides.append(one)
    rows = {s.place: s.values for s in differing_settings(sides)}
    assert rows.pop("suite.moved.prompts")[0].startswith("12 (")
    assert rows == {"suite.noise.runs": ("6", "9"), "suite.moved.positions": ("", "prompt")}
    assert differing_settings([sides[0], sides[0]]) == []


def test_a_suite_is_flattened_by_the_names_of_its_entries() -> None:
    spec = {"defaults": {"seed": 1}, "suite": [{"name": "a", "x": [1, 2]}, {"name": "a"}, "broken"]}
    assert flatten(spec) == {
        "defaults.seed": "1",
        "suite.a.name": "a",
        "suite.a.x": "[1, 2]",
        "suite.a (2).name": "a",
        "suite.?": "broken",
    }


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/out/run/checkpoint-500", ("/out/run/", 500)),
        ("/out/run/checkpoint-500/", ("/out/run/", 500)),
        ("C:\\out\\checkpoint-20", ("C:/out/", 20)),
        ("out/global_step1200", ("out/", 1200)),
        ("out/lora-step-30", ("out/lora-", 30)),
        ("checkpoint-7", ("/", 7)),
        ("/out/run", None),
        ("/out/v2", None),
        ("", None),
    ],
)
def test_a_step_is_read_from_the_name(path: str, found: Any) -> None:
    assert checkpoint_of(path) == found


def test_the_last_adapter_has_its_step_from_the_trainer(tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text('{"global_step": 900}')
    assert checkpoint_of(str(tmp_path)) == (f"{tmp_path}/", 900)
    for broken in ("[]", '{"global_step": "9"}', "{", '{"global_step": true}'):
        (tmp_path / "trainer_state.json").write_text(broken)
        assert checkpoint_of(str(tmp_path)) is None


def at(adapter: str) -> Side:
    start = RunStarted(adapter_id=adapter, probes=(PlannedProbe(name="p", kind="delta_kl", category="adherence"),))
    return Side(adapter, adapter, fold=Fold().extend([start, RunFinished()]))


def test_checkpoints_of_one_training_run_are_put_in_order() -> None:
    runs = [at(f"/a/checkpoint-{n}") for n in (1000, 50, 400)] + [at("/b/checkpoint-70"), at("/other")]
    found = ordered(runs)
    assert found is not None
    assert found.steps == ((50, 1), (400, 2), (1000, 0))
    assert found.training == "/a"
    assert ordered(runs[:2]) is None
    assert ordered([*runs[:2], at("/b/checkpoint-70")]) is None


def test_two_runs_of_one_checkpoint_are_one_point() -> None:
    runs = [at(f"/a/checkpoint-{n}") for n in (10, 10, 20, 30)]
    found = ordered(runs)
    assert found is not None
    assert found.steps == ((10, 0), (20, 2), (30, 3))
