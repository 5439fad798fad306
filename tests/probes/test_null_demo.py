"""Kinds of noise on the demo's model: what each says of the shipped adapter, and of one that is nothing but noise."""

from __future__ import annotations

from typing import Any

import pytest

from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import NULL_STYLES
from sway_dash.core.stats import null_stats, prediction_interval
from sway_dash.demo import demo_dir
from sway_dash.demo.figures import read_prompts
from sway_dash.suite.loader import from_dict
from sway_dash.suite.runner import run
from tests.adapters import opened

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = 10


def judged(adapter: str, *styles: str) -> dict[str, ProbeResult]:
    """The demo's prompts against random adapters of these styles, by entry name."""
    texts = [p.text for p in read_prompts(demo_dir() / "sway.yaml")]
    nulls = [{"name": s, "kind": "null_adapter", "runs": RUNS, "distribution": s, "cache": False} for s in styles]
    model = {"kind": "dummy", "base": "dummy"}
    suite = [*nulls, {"name": "moved", "kind": "delta_kl", "prompts": texts}]
    with opened(adapter) as backend:
        result = run(from_dict({"models": {"base": model, "ft": model}, "suite": suite}), backend)
    return {p.name: p for p in result.probes}


@pytest.fixture(scope="module")
def shipped() -> dict[str, ProbeResult]:
    return judged("targeted", *NULL_STYLES)


def told(results: dict[str, ProbeResult]) -> dict[str, Any]:
    found: dict[str, Any] = results["moved"].evidence["null"]["by_distribution"]
    for style, facts in found.items():
        draws = results[style].evidence["null_draws"]["moved"]["rank_1.00"]
        norms = results[style].evidence["update_norms"]
        facts["interval"] = prediction_interval(null_stats(draws))
        print(style, f"raw {results['moved'].raw:.4g}", facts, norms)
    return found


def test_every_kind_of_noise_is_drawn_and_stored(shipped: dict[str, ProbeResult]) -> None:
    facts = told(shipped)
    assert [facts[style]["n"] for style in NULL_STYLES] == [RUNS] * 3
    for style in NULL_STYLES:
        assert len(set(shipped[style].evidence["null_draws"]["moved"]["rank_1.00"])) == RUNS
        assert shipped[style].evidence["left_out"] == []


def test_matched_noise_is_as_large_as_the_shipped_adapter(shipped: dict[str, ProbeResult]) -> None:
    norms = {style: shipped[style].evidence["update_norms"] for style in NULL_STYLES}
    trained = norms["gaussian"]["trained"]
    assert norms["norm_matched"]["null"]["rank_1.00"] == pytest.approx(trained, rel=1e-4)
    assert norms["spectrum"]["null"]["rank_1.00"] == pytest.approx(trained, rel=1e-4)
    assert norms["gaussian"]["null"]["rank_1.00"] < 0.1 * trained


def test_noise_as_large_as_the_adapter_is_the_closest(shipped: dict[str, ProbeResult]) -> None:
    facts = told(shipped)
    assert facts["gaussian"]["p_prediction"] < 0.001
    assert shipped["moved"].evidence["null"]["distribution"] != "gaussian"


def test_an_adapter_that_is_noise_passes_for_more_only_against_smaller_noise() -> None:
    """Against Gaussian noise of a fixed size, size alone wins; against noise of its own size it is what it is."""
    alone = judged("blunt", "gaussian")
    matched = judged("blunt", "gaussian", "norm_matched")
    told(matched)
    assert alone["moved"].verdict is Verdict.PASS
    assert matched["moved"].verdict is Verdict.FAIL
    assert matched["moved"].evidence["null"]["p_prediction"] > 0.05
