"""The Null page without a browser: every number is that of the result, and what is drawn depends on how many draws."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import yaml

from sway_dash.core.events import Measurement, NoiseMeasured, Phase, PlannedProbe, ProbeFinished, RunStarted
from sway_dash.core.scoring import BASE, View
from sway_dash.core.stats import mean, null_stats
from sway_dash.dash import runs
from sway_dash.dash.pages.null import NullPage
from sway_dash.dash.pages.prompt_chart import PromptChart
from sway_dash.dash.pages.trend import MeanView
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import null_columns as nc
from sway_dash.figures.derive import RunData
from sway_dash.figures.derive_null import own_null, stand
from sway_dash.figures.null_more import more
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text

Record = Callable[..., RunFolder]


def opened(folder: RunFolder) -> tuple[RunState, NullPage]:
    run = RunState()
    run.open(folder)
    return run, NullPage(run=run, choice=Selection())


def changed(text: str, change: Callable[[list[dict[str, Any]]], Any]) -> str:
    spec = yaml.safe_load(text)
    change(spec["suite"])
    return yaml.safe_dump(spec, sort_keys=False)


def words(page: NullPage) -> str:
    return str(page._words.object)


# --- numbers ------------------------------------------------------------------------------------------------------


def same_as_the_result(run: RunState) -> int:
    compared = 0
    for found in nc.calibrated(run.data):
        result = run.data.finished[found.entry]
        told, s = result.evidence["null"], found.standing
        draws = run.data.finished[found.null].evidence["null_draws"][found.entry]
        assert s.raw == pytest.approx(result.raw, abs=1e-9)
        assert s.draws == pytest.approx(draws[found.draws.primary], abs=1e-9)
        assert (s.n, s.z) == (told["n"], pytest.approx(result.z_score, abs=1e-9))
        assert s.p == pytest.approx(told["p_prediction"], abs=1e-9)
        assert s.rank_p == pytest.approx(told["p_rank"], abs=1e-9)
        assert max(s.draws) == pytest.approx(told["largest_draw"], abs=1e-9)
        # What the screen shows before the entry is finished is derived from its measurements.
        live = found.draws.draws(found.metric, found.series.planned)
        assert live == pytest.approx(list(s.draws), abs=1e-9)
        assert found.series.running(found.metric)[-1].mean == pytest.approx(result.raw, abs=1e-9)
        compared += 1
    return compared


@pytest.mark.parametrize("delta", [{}, {"divergence": "kl"}])
def test_numbers_are_those_of_the_result(record: Record, delta: dict[str, Any]) -> None:
    run, page = opened(record(suite_text(ablation=False, **delta)))
    assert same_as_the_result(run) == 1
    assert sorted(page._draws.sources["draws"].data["x"]) == sorted(nc.calibrated(run.data)[0].standing.draws)
    assert page._draws.sources["tuned"].data["x"] == [run.data.finished["moved"].raw]


def test_numbers_of_the_recorded_example_are_those_of_its_result() -> None:
    folder = runs.demo_folder()
    if folder is None:
        pytest.skip("the recorded example is not here")
    run, page = opened(folder)
    assert same_as_the_result(run) >= 2
    n = run.data.finished["next_token"].evidence["null"]["n"]
    assert f"above all {n} random adapters" in words(page)
    assert f"n = {n}, the smallest that {n} draws can give (1 in {n + 1})" in words(page)
    assert "times less: being above them is a weak test" in page._norm_text.object
    assert "At most" in page._floor.object or "at most" in page._floor.object


def test_repeated_prompts_count_once(record: Record) -> None:
    def repeat(suite: list[dict[str, Any]]) -> None:
        prompts = suite[1]["prompts"]
        suite[1]["prompts"] = [prompts[2], *prompts, prompts[0], prompts[0]]

    run, _ = opened(record(changed(suite_text(ablation=False), repeat)))
    assert same_as_the_result(run) == 1
    last = run.data.series["moved"].running("js")[-1]
    result = run.data.finished["moved"]
    assert (last.n, last.distinct) == (11, 8)
    assert last.interval == result.ci_95


def test_the_expected_range_is_that_of_the_next_draw(record: Record) -> None:
    run, page = opened(record(suite_text(ablation=False, nulls=5)))
    s = nc.calibrated(run.data)[0].standing
    logs = np.log(s.draws)
    half = scipy.stats.t.ppf(0.975, 4) * np.std(logs, ddof=1) * math.sqrt(1 + 1 / 5)
    box = page._draws.parts["expected"]
    assert box.visible
    assert (box.left, box.right) == pytest.approx(
        (math.exp(logs.mean() - half), math.exp(logs.mean() + half)), abs=1e-12
    )


# --- how many draws -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_draws_cannot_calibrate(record: Record, n: int) -> None:
    _, page = opened(record(suite_text(ablation=False, nulls=n)))
    assert "cannot calibrate" in words(page)
    assert len(page._draws.sources["draws"].data["x"]) == n
    assert not page._draws.parts["expected"].visible
    assert not page._ecdf_pane.visible


def test_three_draws_have_a_rank_and_the_real_tail_of_their_z(record: Record) -> None:
    run, page = opened(record(suite_text(ablation=False, nulls=3)))
    s = nc.calibrated(run.data)[0].standing
    assert "p=0.25, n = 3, the smallest that 3 draws can give (1 in 4)" in words(page)
    assert "Student&#x27;s t of the logarithms, 2 degrees of freedom" in words(page)
    if abs(s.z) < 99:
        assert "a normal tail would say" in words(page)
    assert page._draws.parts["expected"].visible
    assert not page._ecdf_pane.visible
    assert set(page._draws.sources["draws"].data["y"]) == {0.0}


def test_ten_draws_are_stacked_and_have_a_distribution(record: Record) -> None:
    run, page = opened(record(suite_text(ablation=False, nulls=10)))
    assert page._ecdf_pane.visible
    steps = page._ecdf.sources["steps"].data
    draws = nc.calibrated(run.data)[0].standing.draws
    assert steps["x"][1:-1] == sorted(draws)
    assert steps["share"] == pytest.approx([0.0, *(k / 10 for k in range(1, 11)), 1.0])
    assert "From 20 random adapters on" in words(page)


def test_from_thirty_draws_on_the_tail_is_read_off(record: Record) -> None:
    run, page = opened(record(suite_text(ablation=False, nulls=30, prompts=4)))
    s = nc.calibrated(run.data)[0].standing
    assert page._ecdf.sources["tuned"].data["share"] == [sum(d <= s.raw for d in s.draws) / 30]
    assert "normal tail" not in words(page)
    assert "From 20 random adapters" not in words(page)


def test_draws_all_alike_cannot_calibrate() -> None:
    found = nc.Calibrated("a", "b", "js", stand(0.5, [0.1] * 5), {}, None, None, final=True)  # type: ignore[arg-type]
    assert "hardly differ" in nc.verdict(found)[0]
    assert not found.standing.calibrates


def test_a_next_draw_almost_without_a_bound_neither_flattens_the_dots_nor_leaves_the_axis() -> None:
    js = stand(0.2, [0.01, 0.03, 0.1], positive=True, most=math.log(2))
    assert js.expected is not None
    assert js.expected[1] == math.log(2)
    kl = stand(0.2, [0.01, 0.03, 0.1], positive=True)
    assert kl.expected is not None
    assert kl.expected[1] > 9.0
    for whole, end in ((True, 0.21), (False, 0.1045)):
        ends = nc.reach(kl, all_of_it=whole)
        assert ends[1] == pytest.approx(end, rel=1e-2)
        assert nc.shaded(kl, ends) == (kl.expected[0], ends[1])
    # What is not far is on the axis as a whole.
    near = stand(0.2, [0.1, 0.11, 0.12], positive=True)
    assert near.expected is not None
    assert nc.shaded(near, nc.reach(near, all_of_it=False)) == near.expected
    assert nc.shaded(stand(0.5, [0.1] * 5), (0.0, 1.0)) is None


def test_words_name_no_upper_end_of_the_next_draw_that_few_draws_cannot_know() -> None:
    def said(draws: list[float], **bound: float) -> str:
        standing = stand(0.2, draws, positive=True, **bound)
        found = nc.Calibrated("a", "b", "kl", standing, {}, None, None, final=True)  # type: ignore[arg-type]
        return " ".join(nc.verdict(found)[1])

    for bound in ({}, {"most": math.log(2)}):
        text = said([0.01, 0.03, 0.1], **bound)
        assert "would lie above 0.000102 nats with 97.5 %; 3 that differ so much do not say how far above" in text
        assert "fall within" not in text
    assert "would fall within 0.0697 to 0.173 nats with 95 %" in said([0.1, 0.11, 0.12])


def test_dots_that_would_overlap_are_stacked() -> None:
    dots = nc.stacked([0.1] * 6 + [0.9] * 6, (0.0, 1.0), [str(k) for k in range(12)])
    assert sorted(dots["y"]) == sorted([0.0, 1.0, 2.0, 3.0, 4.0, 5.0] * 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda suite: suite.pop(0), "no null_adapter entry"),
        (lambda suite: suite[0].update(enabled=False), "turned off"),
        (lambda suite: suite.append(suite.pop(0)), "Nothing comes after"),
        (lambda suite: suite.pop(1), "this kind has no null"),
    ],
)
def test_without_draws_the_page_says_why(record: Record, change: Callable[..., Any], says: str) -> None:
    _, page = opened(record(changed(suite_text(), change)))
    assert page._none.visible
    assert says in page._none.object
    assert not page._all.visible


def test_a_tuned_value_off_the_axis_is_an_arrow(record: Record) -> None:
    run, page = opened(record(suite_text(ablation=False)))
    s = nc.calibrated(run.data)[0].standing
    assert s.raw > 2 * max(s.draws)
    page.whole = False
    assert page._draws.sources["tuned"].data["x"] == []
    assert page._draws.sources["beyond"].data["text"][0].endswith("→")
    assert page._draws.figure.x_range.end < s.raw
    page.whole = True
    assert page._draws.sources["beyond"].data["text"] == []
    assert page._draws.figure.x_range.end > s.raw


# --- several entries ----------------------------------------------------------------------------------------------


def two_nulls(suite: list[dict[str, Any]]) -> None:
    suite.insert(1, {**suite[0], "name": "other", "seed_base": 5000, "runs": 3})


def test_draws_of_two_null_entries_are_kept_apart(record: Record, fakes: Any) -> None:
    run, page = opened(record(changed(suite_text(ablation=False), two_nulls)))
    series = run.data.series["moved"]
    assert list(series.null_sets) == ["noise", "other"]
    for m in series.rows:
        draws = [fakes.comparison(m.prompt, BASE, View.null(5000 + k)).js for k in range(3)]
        null = series.null_range(m.item, "js")
        assert (null.lo, null.hi, null.n) == (min(draws), max(draws), 3)
    # The later entry is the one the result was judged by.
    assert run.data.finished["moved"].evidence["null"]["n"] == 3
    assert "n = 3" in words(page)
    assert len(page._entries.options) == 2
    page.entry = next(key for label, key in page._entries.options.items() if label.endswith("noise"))
    assert "n = 10" in words(page)


def three_kinds(suite: list[dict[str, Any]]) -> None:
    for style in ("spectrum", "norm_matched"):
        suite.insert(1, {**suite[0], "name": style, "runs": 5, "distribution": style})


def test_kinds_of_noise_stand_apart_and_the_closest_is_shown_first(record: Record, fakes: Any) -> None:
    run, page = opened(record(changed(suite_text(ablation=False), three_kinds)))
    assert same_as_the_result_by_kind(run) == 3
    told = run.data.finished["moved"].evidence["null"]
    assert told["distribution"] != "gaussian"
    assert run.data.series["moved"].null.distribution == told["distribution"]
    assert f"n = {told['n']}" in words(page)
    assert page._kind_part.visible
    names = page._kinds.figure.yaxis[0].major_label_overrides
    assert [names[y] for y in sorted(names, reverse=True)] == [
        "Gaussian",
        "of the trained size",
        "of the trained spectrum",
    ]
    rows = page._kinds.sources["draws"].data
    for y, style, n in ((0.0, "gaussian", 10), (-1.0, "norm_matched", 5), (-2.0, "spectrum", 5)):
        drawn = [x for x, at in zip(rows["x"], rows["y"], strict=True) if at == y]
        views = [View.null(1000 + k, style=style) for k in range(n)]  # type: ignore[arg-type]
        prompts = [m.prompt for m in run.data.series["moved"].rows]
        want = [mean(fakes.comparison(p, BASE, v).js for p in prompts) for v in views]
        assert drawn == pytest.approx(want)
    assert "judged by the random adapters that come closest" in page._kind_text.object
    assert "spectrum, judged<" in page._kind_text.object or "size, judged<" in page._kind_text.object
    labels = list(page._entries.options)
    assert [label for label in labels if label.endswith("(of the trained spectrum)")]
    page.entry = next(key for label, key in page._entries.options.items() if label.endswith("(Gaussian)"))
    assert "n = 10" in words(page)
    assert "random 1000" in page._list.object


def same_as_the_result_by_kind(run: RunState) -> int:
    told = run.data.finished["moved"].evidence["null"]["by_distribution"]
    found = nc.calibrated(run.data)
    for f in found:
        facts, s = told[f.draws.distribution], f.standing
        assert (s.n, s.z) == (facts["n"], pytest.approx(facts["z"], abs=1e-9))
        assert s.p == pytest.approx(facts["p_prediction"], abs=1e-9)
        assert s.rank_p == pytest.approx(facts["p_rank"], abs=1e-9)
    assert [f.counts for f in found].count(True) == 1
    return len(found)


def test_one_kind_of_noise_has_no_comparison_of_kinds(record: Record) -> None:
    _, page = opened(record(suite_text(ablation=False)))
    assert not page._kind_part.visible


def test_sizes_of_every_kind_of_noise_stand_beside_the_trained_one(record: Record) -> None:
    run, page = opened(record(changed(suite_text(ablation=False), three_kinds)))
    for name, size in (("noise", 3.6), ("norm_matched", 58.0), ("spectrum", 58.0)):
        made = run.data.finished[name].evidence
        made["update_norms"] = {"trained": 58.0, "null": {"rank_1.00": size}}
        made["left_out"] = ["biases"] if name == "noise" else []
    run.epoch += 1
    page._refresh()
    names = page._norms.figure.yaxis[0].major_label_overrides
    assert [names[y] for y in sorted(names, reverse=True)] == [
        "tuned",
        "Gaussian",
        "of the trained size",
        "of the trained spectrum",
    ]
    assert page._norms.sources["nulls"].data["x"] == [3.6, 58.0, 58.0]
    assert "Gaussian: ‖ΔW‖: tuned 58, random 3.6, 16.1 times less" in page._norm_text.object
    assert "Of the trained size: ‖ΔW‖: tuned 58, random 58: of like size" in page._norm_text.object
    assert "leave out what else was trained: biases" in page._norm_text.object


def test_kinds_of_noise_have_names_in_the_trace() -> None:
    from sway_dash.figures.trace_columns import view_name

    assert view_name("null_1000_norm_matched_rank0.5") == "random 1000, of the trained size, rank ×0.5"
    assert view_name("null_7_spectrum") == "random 7, of the trained spectrum"


def test_two_probes_have_a_null_each(record: Record) -> None:
    def second(suite: list[dict[str, Any]]) -> None:
        suite.append({**suite[1], "name": "again", "prompts": suite[1]["prompts"][:5]})

    run, page = opened(record(changed(suite_text(ablation=False), second)))
    assert same_as_the_result(run) == 2
    assert list(page._entries.options) == ["moved", "again"]
    page.choice.probe = "again"
    raw = run.data.finished["again"].raw
    assert page._draws.sources["tuned"].data["x"] == [raw]


def test_ranks_are_shown_one_a_row(record: Record) -> None:
    run, page = opened(
        record(changed(suite_text(ablation=False), lambda s: s[0].update(rank_multipliers=[2.0, 1.0, 0.5], runs=4)))
    )
    assert same_as_the_result(run) == 1
    found = nc.calibrated(run.data)[0]
    assert found.standing.n == 4
    evidence = run.data.finished["noise"].evidence["null_draws"]["moved"]
    for rank, draws in evidence.items():
        assert found.draws.draws("js", 8, rank) == pytest.approx(draws, abs=1e-12)
    assert page._rank_part.visible
    names = page._ranks.figure.yaxis[0].major_label_overrides
    assert [names[y] for y in sorted(names, reverse=True)] == ["rank × 0.5", "rank × 1", "rank × 2"]
    assert len(page._ranks.sources["draws"].data["x"]) == 12
    z = run.data.finished["moved"].evidence["z_by_rank"]
    shown = {rank: s.z for rank, s in found.by_rank.items()}
    assert shown == {rank: pytest.approx(min(v, 99.0)) for rank, v in z.items()}


# --- prompt by prompt, size, more ---------------------------------------------------------------------------------


def test_prompts_above_their_own_null_are_counted_by_the_next_draw(record: Record, fakes: Any) -> None:
    run, page = opened(record(suite_text(ablation=False)))
    series = run.data.series["moved"]
    above = above_all = 0
    for m in series.rows:
        draws = [fakes.comparison(m.prompt, BASE, View.null(1000 + k)).js for k in range(10)]
        t = (m.js - np.mean(draws)) / (np.std(draws, ddof=1) * math.sqrt(1 + 1 / 10))
        above += scipy.stats.t.sf(t, 9) <= 0.05
        above_all += m.js > max(draws)
    own = own_null(series.rows, series.null, "js")
    assert (own.above, own.judged, own.above_all, own.drawn) == (above, 8, above_all, 8)
    assert f"{above} of 8 prompts above their own null 95 %" in page._own.object


def test_sizes_of_the_updates_stand_side_by_side() -> None:
    tuned, nulls, names = nc.norm_rows(58.0, {"rank_2.00": 5.0, "rank_1.00": 3.6})
    assert (tuned["x"], nulls["x"], names) == ([58.0], [3.6, 5.0], ["tuned", "random, rank × 1", "random, rank × 2"])
    text = nc.norms_text(58.0, {"rank_1.00": 3.6}, "rank_1.00")
    assert "16.1 times less" in text
    assert "weak test" in text
    assert "hard test" in nc.norms_text(1.0, {"rank_1.00": 4.0}, "rank_1.00")
    assert "of like size" in nc.norms_text(1.0, {"rank_1.00": 1.5}, "rank_1.00")
    assert "does not tell" in nc.norms_text(None, {}, "rank_1.00")


def test_more_random_adapters_are_asked_for_as_often_as_wanted(record: Record) -> None:
    _, page = opened(record(suite_text(ablation=False, nulls=20, prompts=4)))
    asked = []
    page.param.watch(lambda event: asked.append(event.new), "more")
    assert [n for n, b in page._buttons.items() if b.visible] == [40]
    page._buttons[40].clicks += 1
    page._buttons[40].clicks += 1
    assert asked == [40, 40]
    assert "cache: false" in page._kept.object


@pytest.mark.parametrize(
    ("entry", "environment", "says", "to_measure"),
    [
        ({}, {"fingerprint": "abc"}, "kept by content and used again", 17),
        ({}, {}, "no draw was kept", 20),
        ({"cache": False}, {"fingerprint": "abc"}, "cache: false", 20),
    ],
)
def test_whether_draws_are_used_again_is_said(
    entry: dict[str, Any], environment: Any, says: str, to_measure: int
) -> None:
    made = SimpleNamespace(evidence={"measured": 12, "reused": 0}, duration_s=6.0)
    data: Any = SimpleNamespace(finished={"noise": made}, fold=SimpleNamespace(environment=environment))
    known = more(data, PlannedProbe(name="noise", kind="null_adapter", category="baseline", entry=entry))
    assert says in known.kept
    assert (known.have, known.seconds(20)) == (3, pytest.approx(2.0 * to_measure))


def test_a_run_with_more_random_adapters_measures_only_the_others(
    fakes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sway_dash.suite.loader import loads
    from sway_dash.suite.runner import run as run_suite

    monkeypatch.setenv("SWAY_NULL_CACHE_DIR", str(tmp_path))

    class Known(fakes.FakeBackend):  # type: ignore[misc, name-defined]
        def describe(self) -> dict[str, Any]:
            return {"fingerprint": "f" * 64}

    def evidence(n: int) -> dict[str, Any]:
        text = changed(suite_text(ablation=False, nulls=n, prompts=4), lambda suite: suite[0].pop("cache"))
        spec = loads(text)
        result = run_suite(spec, Known(base_spec=spec.models.ft))
        return next(p.evidence for p in result.probes if p.name == "noise")

    first, second = evidence(5), evidence(20)
    assert (first["measured"], first["reused"]) == (5 * 4, 0)
    assert (second["measured"], second["reused"]) == (15 * 4, 5 * 4)
    assert second["null_draws"]["moved"]["rank_1.00"][:5] == first["null_draws"]["moved"]["rank_1.00"]


# --- live ---------------------------------------------------------------------------------------------------------


def test_while_it_runs_complete_draws_are_shown_and_the_value_is_so_far(record: Record) -> None:
    def until_third(events: list[Any]) -> list[Any]:
        own = [i for i, e in enumerate(events) if isinstance(e, Measurement) and e.role == "probe"]
        return events[: own[2] + 1]

    folder = record(suite_text(ablation=False), keep=until_third)
    folder.claim()
    folder.write_meta(claimed_at=folder.meta()["created_at"])
    run, page = opened(folder)
    assert run.live
    assert "so far: " in words(page)
    values = [m.js for m in run.data.series["moved"].rows]
    assert page._draws.sources["tuned"].data["x"] == [pytest.approx(mean(values))]
    assert not page._ask.visible
    assert "Told when" not in page._norm_text.object


def test_a_draw_over_part_of_the_prompts_is_no_draw() -> None:
    data = RunData()
    planned = [
        PlannedProbe(name="noise", kind="null_adapter", category="baseline", entry={"runs": 3}, measurements=6),
        PlannedProbe(
            name="moved", kind="delta_kl", category="adherence", entry={"prompts": ["a", "b"]}, measurements=2
        ),
    ]
    data.add(RunStarted(probes=tuple(planned)))
    data.add(Phase(phase="probe", name="noise"))
    values = {"null_1001": {0: 0.1}, "null_1000": {0: 0.2, 1: 0.4}}
    for view, found in values.items():
        for item, js in found.items():
            data.add(
                Measurement(
                    probe="moved",
                    item=item,
                    prompt="ab"[item],
                    view=view,
                    role="null",
                    js=js,
                    kl=0,
                    kl_reverse=0,
                    same_top=1,
                )
            )
    assert data.series["moved"].null_means("js") == [pytest.approx(0.3)]
    assert data.series["moved"].null_range(0, "js").n == 2
    assert nc.calibrated(data)[0].standing.stats == pytest.approx(null_stats([0.3]))


@pytest.mark.parametrize("metric", ["js", "kl"])
def test_only_a_divergence_that_has_a_bound_ends_the_range_of_the_next_draw(metric: str) -> None:
    data = RunData()
    entry = {"prompts": ["a"], "divergence": metric}
    planned = PlannedProbe(name="moved", kind="delta_kl", category="adherence", entry=entry, measurements=1)
    data.add(RunStarted(probes=(planned,)))
    for seed, value in enumerate((0.01, 0.03, 0.1)):
        drawn = Measurement(probe="moved", item=0, prompt="a", js=value, kl=value, kl_reverse=value, same_top=1)
        data.add(drawn.model_copy(update={"view": f"null_{seed}", "role": "null"}))
    data.add(Measurement(probe="moved", item=0, prompt="a", js=0.2, kl=0.2, kl_reverse=0.2, same_top=1))
    (found,) = nc.calibrated(data)
    assert found.metric == metric
    assert found.standing.expected is not None
    assert (found.standing.expected[1] == math.log(2)) is (metric == "js")


def test_the_result_of_a_null_entry_stands_even_where_prompts_failed() -> None:
    """The engine averages over the prompts that could be measured; the page shows what was judged."""
    data = RunData()
    entry = {"prompts": ["a", "b"], "name": "moved"}
    data.add(
        RunStarted(
            probes=(
                PlannedProbe(name="noise", kind="null_adapter", category="baseline", entry={"runs": 1}),
                PlannedProbe(name="moved", kind="delta_kl", category="adherence", entry=entry, measurements=2),
            )
        )
    )
    data.add(Phase(phase="probe", name="noise"))
    data.add(
        Measurement(
            probe="moved", item=0, prompt="a", view="null_1000", role="null", js=0.2, kl=0, kl_reverse=0, same_top=1
        )
    )
    assert nc.calibrated(data)[0].standing.draws == ()
    result = {
        "name": "noise",
        "kind": "null_adapter",
        "verdict": "pass",
        "score": 1.0,
        "evidence": {"null_draws": {"moved": {"rank_1.00": [0.2]}}},
    }
    data.add(ProbeFinished(result=json.loads(json.dumps(result))))
    assert nc.calibrated(data)[0].standing.draws == (0.2,)


# --- results without their events ---------------------------------------------------------------------------------


def imported(evidence: dict[str, Any], *, z: float | None = 2.0) -> RunData:
    data = RunData()
    data.add(
        RunStarted(
            probes=(
                PlannedProbe(name="noise", kind="null_adapter", category="baseline"),
                PlannedProbe(name="moved", kind="delta_kl", category="adherence"),
            )
        )
    )
    made = {"name": "noise", "kind": "null_adapter", "verdict": "pass", "score": 1.0, "evidence": evidence}
    judged = {"name": "moved", "kind": "delta_kl", "verdict": "pass", "score": 1.0, "raw": 0.5, "z_score": z}
    data.add(ProbeFinished(result=made))
    data.add(ProbeFinished(result=judged))
    return data


def test_draws_of_a_result_alone_are_shown() -> None:
    found = nc.calibrated(imported({"null_draws": {"moved": {"rank_1.00": [0.1, 0.2, 0.3]}}}))
    assert [(f.entry, f.null, f.standing.draws) for f in found] == [("moved", "noise", (0.1, 0.2, 0.3))]
    assert nc.verdict(found[0])[0].startswith("Mean JS 0.5 nats: above all 3 random adapters")


def test_values_of_other_kinds_are_shown_in_their_own_words_and_units() -> None:
    data = RunData()
    plan = [("noise", "null_adapter", "baseline"), ("harm", "leakage", "attribution")]
    data.add(RunStarted(probes=tuple(PlannedProbe(name=n, kind=k, category=c) for n, k, c in plan)))  # type: ignore[arg-type]
    made = {"null_draws": {"harm": {"rank_1.00": [0.4, 0.5, 0.45]}}, "distribution": "norm_matched"}
    told = {"n": 3, "sign": -1, "distribution": "norm_matched"}
    for name, kind, raw, evidence in (
        ("noise", "null_adapter", None, made),
        ("harm", "leakage", 0.1, {"null": told, "unit": "of a passage"}),
    ):
        result = {"name": name, "kind": kind, "verdict": "pass", "score": 1.0, "raw": raw, "evidence": evidence}
        data.add(ProbeFinished(result=json.loads(json.dumps(result))))
    assert nc.calibrated(data) == []
    (found,) = nc.every(data)
    assert (found.counts, found.draws.distribution) == (True, "norm_matched")
    # Smaller is better: p says how far below the draws it is.
    assert found.standing.p < 0.05
    assert found.standing.z > 0
    assert found.standing.rank_p == 0.25
    sentence = nc.verdict(found)[0]
    assert sentence == "Value of harm 0.1 of a passage: below all 3 random adapters (0.4 to 0.5 of a passage)."
    assert found.axis == "harm (leakage), of a passage"

    class Held(RunState):
        @property
        def data(self) -> RunData:
            return data

    page = NullPage(run=Held(), choice=Selection())
    assert page._draws.figure.xaxis.axis_label == found.axis
    assert not page._own_part.visible


def test_a_null_of_which_only_mean_and_spread_were_kept_has_no_rank() -> None:
    stats = null_stats([0.1, 0.2, 0.3, 0.25, 0.15])
    found = nc.calibrated(imported({"null_stats": {"delta_kl": stats}}))
    sentence, facts = nc.verdict(found[0])
    assert "5 random adapters with a mean of 0.2 nats" in sentence
    assert "not stored" in sentence
    assert any("4 degrees of freedom" in fact for fact in facts)
    s = found[0].standing
    assert (s.draws, s.n, s.rank_p) == ((), 5, None)
    assert s.expected == stand(0.5, [0.1, 0.2, 0.3, 0.25, 0.15]).expected
    assert nc.calibrated(imported({"null_stats": {"delta_kl": stats}}, z=None)) == []


def test_what_the_model_lies_from_itself_is_drawn_and_told(record: Record) -> None:
    folder = record(suite_text(ablation=False))
    run, page = opened(folder)
    assert not page._draws.parts["noise"].visible
    assert not page._floor.visible
    run.data.fold.add(NoiseMeasured(prompts=8, js=1e-13, kl=1e-12))
    chart, trend = (made(run=run, choice=Selection()) for made in (PromptChart, MeanView))
    # Less than a pixel: told, not drawn, and not in the legend.
    assert not chart.dots.parts["noise"].visible
    assert "Rounding alone makes" in str(chart._caption.object)
    for plot in (chart.dots, trend.plot):
        assert "rounding" not in [words for _, _, words in plot.marks]
    run.data.fold.add(NoiseMeasured(prompts=8, js=0.0123, kl=0.0456))
    page, chart, trend = (made(run=run, choice=Selection()) for made in (NullPage, PromptChart, MeanView))
    assert (page._draws.parts["noise"].right, page._draws.parts["noise"].visible) == (0.0123, True)
    assert "8 prompts in one batch and each alone" in str(page._floor.object)
    assert "0.0123 nats JS, 0.0456 nats KL" in str(page._floor.object)
    # The dots are on a square-root axis by default.
    assert chart.dots.parts["noise"].right == pytest.approx(chart.scale.to(0.0123))
    assert "Rounding alone makes up to 0.0123 nats" in str(chart._caption.object)
    assert trend.plot.parts["noise"].top == 0.0123
    chart.choice.metric = "kl"
    assert chart.dots.parts["noise"].right == pytest.approx(chart.scale.to(0.0456))
