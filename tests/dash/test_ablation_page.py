"""The Ablation page without a browser: the curve and its shape are those of the result, raw and relative."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from sway_dash.core.divergence import LN2
from sway_dash.core.events import Measurement, PlannedProbe, ProbeFinished, RunStarted
from sway_dash.dash import runs
from sway_dash.dash.pages.ablation import AblationPage
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures import ablation_columns as ac
from sway_dash.figures.derive import AblationSeries, RunData
from sway_dash.figures.derive_ablation import fitted, shape
from sway_dash.figures.plots.shape import pass_strip, set_strip
from sway_dash.probes.adapter_ablation import saturation_lambda
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text

Record = Callable[..., RunFolder]


def opened(folder: RunFolder) -> tuple[RunState, AblationPage]:
    run = RunState()
    run.open(folder)
    return run, AblationPage(run=run, choice=Selection())


def source(page: AblationPage, name: str) -> dict[str, Any]:
    return dict(page._plot.sources[name].data)


@pytest.fixture
def folder(record: Record) -> RunFolder:
    """A suite whose ablation has the prompts of its main probe."""
    spec = yaml.safe_load(suite_text(nulls=0))
    texts = [p["text"] for p in spec["suite"][0]["prompts"]]
    spec["suite"][1]["prompts"] = [*texts[1:7], "only here"]
    return record(yaml.safe_dump(spec, sort_keys=False))


def series_of(
    curves: list[list[float]], lambdas: tuple[float, ...] = (0.0, 0.5, 1.0, 1.25), *, texts: int = 99
) -> AblationSeries:
    """Curves of prompts that repeat after so many ``texts``."""
    series = AblationSeries("s", planned=lambdas)
    for item, curve in enumerate(curves):
        for lam, js in zip(lambdas, curve, strict=False):
            series.add(
                Measurement(
                    probe="s",
                    item=item,
                    prompt=f"p{item % texts}",
                    role="ablation",
                    lam=lam,
                    js=js,
                    kl=js,
                    kl_reverse=js,
                    same_top=1,
                )
            )
    return series


# --- against the result -------------------------------------------------------------------------------------------


def same_as_the_result(run: RunState, page: AblationPage, name: str) -> None:
    evidence = run.data.finished[name].evidence
    line, band = source(page, "line"), source(page, "band")
    assert line["lam"] == evidence["lambdas"]
    assert line["mean"] == pytest.approx(evidence["mean_divergence_per_lambda"], abs=1e-12)
    assert band["lo"] == pytest.approx([ci[0] for ci in evidence["ci_95_per_lambda"]], abs=1e-12)
    assert band["hi"] == pytest.approx([ci[1] for ci in evidence["ci_95_per_lambda"]], abs=1e-12)
    assert source(page, "each")["ys"] == evidence["per_prompt_curves"]
    entry = run.data.entries()[name]
    judged = shape(run.data.ablations[name], entry, evidence)
    so_far = shape(run.data.ablations[name], entry, {})
    assert [n.value for n in judged] == [evidence[k] for k in ("linearity", "saturation_lambda", "overshoot")]
    assert [n.passed for n in judged] == [evidence[f"passed_{k}"] for k in ("linearity", "saturation", "overshoot")]
    assert [(n.value, n.passed) for n in so_far] == [(pytest.approx(n.value), n.passed) for n in judged]


def test_the_curve_is_that_of_the_result(folder: RunFolder) -> None:
    run, page = opened(folder)
    assert run.status == "finished"
    same_as_the_result(run, page, "strength")


def test_the_curve_of_the_recorded_example_is_that_of_its_result() -> None:
    demo = runs.demo_folder()
    if demo is None:
        pytest.skip("the recorded example is not here")
    run, page = opened(demo)
    same_as_the_result(run, page, "strength")
    assert "base is compared with itself" in page._zero.object
    assert [word.object.count("passes") for word in page._words.values()] == [2, 2, 2]


def test_ticks_are_the_measured_strengths(folder: RunFolder) -> None:
    _, page = opened(folder)
    assert page._plot.figure.xaxis[0].ticker.ticks == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    assert page._plot.parts["bound"].visible
    assert page._plot.parts["bound"].location == LN2


# --- relative -----------------------------------------------------------------------------------------------------


def test_relative_is_the_ratio_of_means_and_certain_at_one(folder: RunFolder) -> None:
    run, page = opened(folder)
    raw = source(page, "line")
    page.relative = True
    line, band = source(page, "line"), source(page, "band")
    at_one = raw["mean"][raw["lam"].index(1.0)]
    assert line["mean"] == pytest.approx([m / at_one for m in raw["mean"]])
    one = band["lam"].index(1.0)
    assert (band["lo"][one], band["hi"][one]) == pytest.approx((1.0, 1.0))
    assert line["mean"][-1] == pytest.approx(run.data.finished["strength"].evidence["overshoot"])
    assert not page._plot.parts["bound"].visible
    assert "that at λ = 1" in page._plot.figure.yaxis[0].axis_label
    for xs, ys in zip(source(page, "each")["xs"], source(page, "each")["ys"], strict=True):
        assert ys[xs.index(1.0)] == pytest.approx(1.0)
    page.relative = False
    assert source(page, "line") == raw


def test_prompts_that_hardly_move_have_no_shape_of_their_own() -> None:
    series = series_of([[0.0, 0.2, 0.4, 0.5]] * 4 + [[0.0, 0.0, 1e-6, 0.3]])
    each, left_out = ac.each(series, relative=True)
    assert (len(each["xs"]), left_out) == (4, 1)
    assert ac.each(series, relative=False)[1] == 0


def test_without_lambda_one_there_is_nothing_to_be_relative_to() -> None:
    series = series_of([[0.0, 0.1, 0.2]] * 4, (0.0, 0.5, 0.75))
    assert series.relative() == []
    assert ac.references(series, relative=True)[0] == {"x": [], "y": []}
    assert ac.judged(series, shape(series, {}, {}), relative=False) == (
        {"x0": [], "y0": [], "x1": [], "y1": [], "text": []},
        {"x": [], "y": [], "marker": [], "text": []},
    )


# --- shape --------------------------------------------------------------------------------------------------------


def test_a_quadratic_curve_is_the_fit_itself() -> None:
    series = series_of([[0.0, 0.05, 0.2, 0.3125]] * 5)
    linear, saturation, over = shape(series, {}, {})
    assert linear.value == pytest.approx(1.0)
    assert (saturation.value, saturation.passed) == (1.0, True)
    assert (over.value, over.passed) == (pytest.approx(1.5625), True)
    assert [y for _, y in fitted(series.points())][-1] == pytest.approx(0.2)


def test_a_curve_of_rounding_has_no_shape_while_it_is_measured_either() -> None:
    series = series_of([[0.0, 1e-14, 2e-14, 1.2e-14]] * 5)
    assert [(n.passed, n.verdict) for n in shape(series, {}, {})] == [(None, "not known")] * 3
    assert fitted(series.points()) == []


def test_gates_of_the_entry_are_what_is_drawn() -> None:
    series = series_of([[0.0, 0.19, 0.2, 0.2]] * 5)
    entry = {"assert_linearity_gte": 0.5, "assert_saturation_between": [0.6, 0.9], "assert_overshoot_gte": 1.1}
    linear, saturation, over = numbers = shape(series, entry, {})
    assert (linear.lo, saturation.lo, saturation.hi, over.lo) == (0.5, 0.6, 0.9, 1.1)
    assert (saturation.value, saturation.passed, over.passed) == (0.5, False, False)
    assert saturation.verdict == "✕ fails"
    passed, found = ac.judged(series, numbers, relative=False)
    assert (passed["x0"][0], passed["x1"][0], passed["y0"][0]) == (0.6, 0.9, pytest.approx(0.18))
    assert passed["y0"][1] == pytest.approx(1.1 * 0.2)
    assert found["marker"] == ["x", "x"]


def test_close_to_ln_2_no_overshoot_is_asked_for() -> None:
    over = shape(series_of([[0.0, 0.3, 0.65, 0.65]] * 5), {}, {})[2]
    assert (over.value, over.passed) == (1.0, True)
    assert "ln 2" in over.note
    # What passes lies in the range that is drawn, and the words name that range.
    strip = pass_strip("Overshoot")
    set_strip(strip, over, least=0.8, most=1.3)
    assert strip.parts["inside"].left <= over.value <= strip.parts["inside"].right
    assert ac.ends(over) == "at any value"


def test_a_flat_curve_has_no_shape() -> None:
    assert [n.passed for n in shape(series_of([[0.0] * 4] * 5), {}, {})] == [None, None, None]


@pytest.mark.parametrize(
    ("zero", "says"), [(0.0, "exactly zero"), (1e-13, "which is rounding"), (0.05, "λ = 0 is not zero")]
)
def test_a_divergence_at_zero_is_pointed_out(zero: float, says: str) -> None:
    from sway_dash.dash.pages.ablation import _at_zero

    text = _at_zero(series_of([[zero, 0.1, 0.4, 0.5]] * 4))
    assert says in text
    assert ("sway-banner" in text) == (zero > 0.01)


def test_the_mean_is_over_prompts_measured_everywhere_as_in_the_result() -> None:
    series = series_of([[0.0, 0.1, 0.2, 0.3], [0.0, 0.3, 0.4, 0.5], [0.0, 9.0]])
    assert series.items() == [0, 1]
    assert [m for _, m, _, _ in series.points()] == pytest.approx([0.0, 0.2, 0.3, 0.4])
    # Until there is one, whatever there is.
    assert series_of([[0.0, 0.1], [0.0, 0.3, 0.4]]).items() == [0, 1]
    # A prompt that is listed twice counts once.
    assert series_of([[0.0, 0.1, 0.2, 0.3], [0.0, 0.3, 0.4, 0.5]] * 2, texts=2).items() == [0, 1]


def test_a_band_needs_four_prompts() -> None:
    assert ac.curve(series_of([[0.0, 0.1, 0.2, 0.3]] * 3), relative=False)[1]["lam"] == []
    rng = np.random.default_rng(0)
    series = series_of((np.outer(rng.gamma(2, 0.1, 8), [0.0, 0.25, 1.0, 1.4])).tolist())
    band = ac.curve(series, relative=False)[1]
    assert band["hi"][2] / band["hi"][1] == pytest.approx(4.0)  # the same prompts are drawn at every λ


def test_the_band_over_the_whole_curve_is_wider_than_that_of_each_strength() -> None:
    rng = np.random.default_rng(0)
    rows = rng.gamma(2, 0.05, (12, 1)) * [0.0, 0.25, 1.0, 1.4] * rng.uniform(0.5, 1.5, (12, 4))
    series = series_of(rows.tolist())
    single, whole = ac.curve(series, relative=False)[1], ac.whole(series, relative=False)
    assert whole["lam"] == single["lam"]
    assert whole["lo"][0] == whole["hi"][0] == 0.0
    for k in (1, 2, 3):
        assert whole["hi"][k] > single["hi"][k]
        assert whole["lo"][k] < single["lo"][k]
    # In times of λ = 1 there is no interval of the same kind, and with few prompts none at all.
    assert ac.whole(series, relative=True)["lam"] == []
    assert ac.whole(series_of(rows[:7].tolist()), relative=False)["lam"] == []


def test_the_page_says_what_the_outer_lines_are(folder: RunFolder) -> None:
    demo = runs.demo_folder()
    assert demo is not None
    _, page = opened(demo)
    drawn = page._plot.sources["whole"].data
    assert drawn["lam"] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    assert max(drawn["hi"]) <= LN2
    assert "all λ lie between these lines at once" in page._caption.object


# --- entries, prompts, the open one -------------------------------------------------------------------------------


def test_without_an_ablation_the_page_says_how_to_add_one(record: Record) -> None:
    _, page = opened(record(suite_text(nulls=0, ablation=False)))
    assert page._empty.visible
    assert not page._all.visible
    assert "kind: adapter_ablation" in page._empty.object


def test_the_example_of_the_empty_page_is_a_valid_entry() -> None:
    from sway_dash.probes import build_probe

    entry = AblationPage(run=RunState())._empty.object.partition("<pre>")[2].partition("</pre>")[0]
    assert build_probe(yaml.safe_load(entry)[0])[1].kind == "adapter_ablation"


def test_several_probes_are_chosen_from(record: Record) -> None:
    spec = yaml.safe_load(suite_text(nulls=0))
    spec["suite"].append({**spec["suite"][1], "name": "weak", "lambdas": [0, 0.1, 1]})
    _, page = opened(record(yaml.safe_dump(spec, sort_keys=False)))
    assert page._probes.visible
    assert source(page, "line")["lam"][1] == 0.25
    page._probes.value = "weak"
    assert source(page, "line")["lam"] == [0.0, 0.1, 1.0]


def test_the_table_has_every_prompt_largest_first(folder: RunFolder) -> None:
    run, page = opened(folder)
    frame, series = page._table.value, run.data.ablations["strength"]
    assert len(frame) == len(series.prompts)
    assert list(frame["at_one"]) == sorted(frame["at_one"], reverse=True)
    for item, saturation in zip(page._items, frame["saturation"], strict=True):
        lams, values = zip(*series.curve(item), strict=True)
        assert saturation == saturation_lambda(lams, values)[0]


def test_a_click_opens_the_same_prompt_of_the_main_probe(folder: RunFolder) -> None:
    run, page = opened(folder)
    asked = []
    page.param.watch(lambda event: asked.append(event.new), "goto")
    series = run.data.ablations["strength"]
    row = next(k for k, item in enumerate(page._items) if series.prompts[item] == "Prompt 3 about light")
    page._row_clicked(SimpleNamespace(row=row))
    assert (page.choice.probe, page.choice.item, asked) == ("moved", 3, ["prompts"])
    assert source(page, "open")["ys"] == [[v for _, v in series.curve(page._items[row])]]
    only = next(k for k, item in enumerate(page._items) if series.prompts[item] == "only here")
    page._row_clicked(SimpleNamespace(row=only))
    assert (page.choice.item, asked) == (3, ["prompts"])


def test_a_click_on_a_line_opens_its_prompt_here(folder: RunFolder) -> None:
    _, page = opened(folder)
    lines = page._plot.sources["each"]
    lines.selected.indices = [list(lines.data["prompt"]).index("Prompt 5 about light")]
    assert (page.choice.item, page.goto) == (5, "")
    assert lines.selected.indices == []
    page.choice.item = 0  # not among the prompts of the ablation
    assert source(page, "open") == {"xs": [], "ys": []}


def test_while_it_runs_the_axis_only_grows_and_the_figure_stays(folder: RunFolder) -> None:
    run, page = opened(folder)
    figure, end = page._plot.figure, page._plot.figure.y_range.end
    series = run.data.ablations["strength"]
    series.add(
        Measurement(
            probe="strength", item=90, prompt="new", role="ablation", lam=1.0, js=0.01, kl=0, kl_reverse=0, same_top=1
        )
    )
    run.version += 1
    assert page._plot.figure is figure
    assert page._plot.figure.y_range.end == end
    assert len(source(page, "each")["xs"]) == 8


def test_kl_curves_are_in_kl() -> None:
    data = RunData()
    entry = {"divergence": "kl", "lambdas": [0, 1, 2]}
    data.add(RunStarted(probes=(PlannedProbe(name="s", kind="adapter_ablation", category="ablation", entry=entry),)))
    data.add(
        Measurement(probe="s", item=0, prompt="p", role="ablation", lam=1.0, js=0.1, kl=0.7, kl_reverse=0, same_top=1)
    )
    series = data.ablations["s"]
    assert (series.metric, series.planned, series.at_one()) == ("kl", (0.0, 1.0, 2.0), 0.7)


# --- results without their events ---------------------------------------------------------------------------------


def imported(evidence: dict[str, Any]) -> RunData:
    data = RunData()
    data.add(RunStarted(probes=(PlannedProbe(name="s", kind="adapter_ablation", category="ablation"),)))
    result = {"name": "s", "kind": "adapter_ablation", "verdict": "pass", "score": 1.0, "evidence": evidence}
    data.add(ProbeFinished(result=result))
    return data


def test_the_curve_of_a_result_alone_is_shown(folder: RunFolder) -> None:
    run, _ = opened(folder)
    series = imported(run.data.finished["strength"].evidence).ablations["s"]
    assert ac.curve(series, relative=False) == ac.curve(run.data.ablations["strength"], relative=False)
    assert sorted(series.prompts.values()) == sorted(run.data.ablations["strength"].prompts.values())


def test_a_result_that_kept_means_only_has_a_curve_without_a_band() -> None:
    evidence = {"lambdas": [0.0, 0.5, 1.0, 1.25], "mean_divergence_per_lambda": [0.0, 0.05, 0.2, 0.3]}
    series = imported(evidence).ablations["s"]
    line, band = ac.curve(series, relative=False)
    assert (line["lam"], line["mean"], band["lam"]) == ([0.0, 0.5, 1.0, 1.25], [0.0, 0.05, 0.2, 0.3], [])
    assert ac.curve(series, relative=True)[0]["mean"] == pytest.approx([0.0, 0.25, 1.0, 1.5])
    assert ac.each(series, relative=False)[0]["xs"] == []
    assert shape(series, {}, {})[0].value == pytest.approx(1.0)
    assert imported({}).ablations == {}
