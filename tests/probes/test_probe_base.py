"""What every probe obeys: registration, settings, views, measuring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core import events as ev
from sway_dash.core.errors import ProbeError, RunCancelled, SpecValidationError
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import BASE, FINETUNED, NullCalibratedBackend, ScalableDifferentialBackend, View
from sway_dash.probes import build_probe, registry, validate_all_probes
from sway_dash.probes.base import Probe, ProbeSpec, Prompt, RunContext, ViewPair, enter
from sway_dash.probes.measure import divergence_values, measure_prompts, measurement_key
from tests.fakes_cli import UNMEASURABLE, Exact, amplitude, null_js


def prompts(*texts: str) -> tuple[Prompt, ...]:
    return tuple(Prompt(text=t) for t in texts)


def context(backend: Any, **fields: Any) -> tuple[RunContext, list[Any]]:
    seen: list[Any] = []
    return RunContext(backend=backend, fingerprint="f", emit=seen.append, **fields), seen


# -- registry and settings ------------------------------------------------------------------------


def test_importing_the_probes_registers_all_that_ship():
    assert {"delta_kl", "null_adapter", "adapter_ablation"} <= set(registry())


def test_the_registry_cannot_be_changed_through_its_copy():
    registry().clear()
    assert registry()


def test_a_taken_kind_is_refused_with_both_names():
    with pytest.raises(ValueError, match=r"duplicate probe kind 'delta_kl': DeltaKLProbe and .*Again"):

        class Again(Probe):
            kind = "delta_kl"


def test_a_subclass_without_a_kind_of_its_own_is_not_registered():
    class Special(registry()["delta_kl"]):
        pass

    assert registry()["delta_kl"] is not Special


@pytest.mark.parametrize("kind", sorted(registry()))
def test_every_probe_says_what_it_does_and_takes_no_unknown_keys(kind):
    cls = registry()[kind]
    assert cls.__doc__
    assert cls.category in ("adherence", "attribution", "calibration", "ablation", "baseline")
    with pytest.raises(SpecValidationError, match="unknown key"):
        build_probe({"name": "p", "kind": kind, "no_such_key": 1})


@pytest.mark.parametrize("raw", [{}, {"kind": None}, {"kind": 3}, {"name": "x", "kind": ["delta_kl"]}])
def test_an_entry_without_a_kind_is_told_the_known_ones(raw):
    with pytest.raises(SpecValidationError, match=r"missing string 'kind'.*delta_kl"):
        build_probe(raw)


def test_all_wrong_entries_are_named_by_name_or_place():
    entries = [{"name": "good", "kind": "delta_kl"}, {"name": "bad", "kind": "x"}, {"kind": "delta_kl", "y": 1}]
    with pytest.raises(SpecValidationError) as caught:
        validate_all_probes(entries)
    text = str(caught.value)
    assert "bad: unknown probe kind 'x'" in text
    assert "entry #2: " in text
    assert "good" not in text
    validate_all_probes(entries[:1])


def test_a_context_needs_no_arguments_and_says_when_a_backend_is_missing():
    with pytest.raises(RuntimeError, match="without a backend"):
        _ = RunContext().require_backend


def test_a_checkpoint_raises_what_no_fence_for_errors_catches():
    with pytest.raises(RunCancelled):
        RunContext(cancelled=lambda: True).checkpoint()
    assert not issubclass(RunCancelled, Exception)


# -- views ----------------------------------------------------------------------------------------


def test_a_pair_of_views_is_a_backend_that_can_neither_scale_nor_draw_nulls():
    pair = ViewPair(DummyDifferentialBackend(), BASE, View.null(7))
    assert not isinstance(pair, ScalableDifferentialBackend)
    assert not isinstance(pair, NullCalibratedBackend)
    with pair.as_finetuned() as view:
        assert view.id == "null_7"
    with pair.as_base() as view:
        assert view.id == "base"


@pytest.mark.parametrize("view", [BASE, FINETUNED, View.scaled(0.5), View.null(3, init_scale=0.1, rank_scale=2.0)])
def test_every_view_is_entered_through_the_public_protocol(view):
    backend = DummyDifferentialBackend()
    with enter(backend, view) as scorer:
        assert scorer.id == view.id
        with pytest.raises(RuntimeError, match="view already active"), backend.as_base():
            pass
    with backend.as_base():
        pass


def test_a_view_the_backend_does_not_have_is_said():
    pair = ViewPair(DummyDifferentialBackend(), BASE, FINETUNED)
    with pytest.raises(TypeError, match="ViewPair has no scaled view"), enter(pair, View.scaled(0.5)):
        pass


# -- measuring ------------------------------------------------------------------------------------


def test_equal_prompts_are_measured_once_and_reported_each():
    backend = Exact()
    ctx, seen = context(backend)
    found = measure_prompts("p", prompts("a", "b", "a"), ctx)
    assert backend.calls == [("ft", "a"), ("ft", "b")]
    assert [(m.item, m.prompt) for m in found] == [(0, "a"), (1, "b"), (2, "a")]
    assert found[0].js == found[2].js == amplitude("a")
    assert len([e for e in seen if isinstance(e, ev.Measurement)]) == 3


def test_both_directions_of_the_divergence_are_recorded_and_kl_means_tuned_from_base():
    ctx, _ = context(Exact())
    (m,) = measure_prompts("p", prompts("a"), ctx)
    assert (m.kl, m.kl_reverse) == (2 * m.js, 3 * m.js)
    assert divergence_values([m], "js") == [m.js]
    assert divergence_values([m], "kl") == [m.kl]


def test_kl_of_the_dummy_has_the_closed_form_in_both_directions():
    ctx, _ = context(DummyDifferentialBackend())
    (m,) = measure_prompts("p", prompts("a"), ctx)
    base = np.exp(np.array([-0.1] + [-5.0] * 7))
    rest = 1.0 - base.sum()
    # The tuned side is uniform over the same 8 ids and has no mass elsewhere.
    uniform = np.full(8, 1 / 8)
    assert m.kl == pytest.approx(float((uniform * np.log(uniform / base)).sum()), rel=1e-3)
    assert rest > 0.04
    assert m.kl != pytest.approx(m.kl_reverse, rel=0.1)


def test_tags_and_the_order_of_views_and_prompts_are_kept():
    ctx, _ = context(Exact())
    tagged = (Prompt(text="a", tags=("x", "y")), Prompt(text="b"))
    found = measure_prompts("p", tagged, ctx, views=[View.scaled(0.5), FINETUNED], role="ablation")
    assert [(m.view, m.item, m.lam) for m in found] == [
        ("scaled_0.5", 0, 0.5), ("scaled_0.5", 1, 0.5), ("ft", 0, 1.0), ("ft", 1, 1.0),
    ]  # fmt: skip
    assert found[0].tags == ("x", "y")


def test_up_to_a_tenth_may_fail_and_more_is_an_error():
    ten = [f"p{i}" for i in range(9)]
    ctx, seen = context(Exact())
    assert len(measure_prompts("p", prompts(*ten, UNMEASURABLE), ctx)) == 9
    assert [e.prompt for e in seen if isinstance(e, ev.ItemFailed)] == [UNMEASURABLE]
    with pytest.raises(ProbeError, match=r"p: .*non-finite.*\(1 of 9 measurements failed\)"):
        measure_prompts("p", prompts(*ten[:8], UNMEASURABLE), ctx)


def test_what_is_known_is_not_measured_again_and_carries_the_new_labels():
    first = Exact()
    ctx, seen = context(first)
    measure_prompts("old", prompts("a", "b"), ctx)
    known = {m.key: m for m in seen}
    second = Exact()
    ctx, _ = context(second, recall=known.get)
    found = measure_prompts("new", (Prompt(text="b", tags=("t",)), Prompt(text="c")), ctx)
    assert second.calls == [("ft", "c")]
    assert [(m.probe, m.item, m.tags, m.reused) for m in found] == [("new", 0, ("t",), True), ("new", 1, (), False)]


def test_the_key_of_a_measurement_covers_everything_that_changes_the_number():
    ctx, _ = context(DummyDifferentialBackend())
    exact, _ = context(Exact())

    def key(ctx=ctx, reference=BASE, view=FINETUNED, prompt="a", positions="next", tokens=32, top_k=256):
        return measurement_key(ctx, reference, view, prompt, positions, tokens, top_k)

    keys = [
        key(),
        key(prompt="b"),
        key(view=View.scaled(0.5)),
        key(view=View.scaled(0.5000001)),
        key(view=View.null(1)),
        key(view=View.null(1, init_scale=0.021)),
        key(reference=View.null(1)),
        key(positions="prompt"),
        key(positions="continuation"),
        key(positions="continuation", tokens=33),
        key(top_k=10),
        key(ctx=exact),
    ]
    assert len(set(keys)) == len(keys)
    assert key(tokens=33) == key()
    assert key(ctx=exact, top_k=10) == key(ctx=exact)
    assert key(ctx=RunContext(backend=Exact())) == ""
    assert key(ctx=RunContext(backend=DummyDifferentialBackend(), fingerprint="g")) != key()


def test_positions_that_need_logits_are_refused_by_a_backend_without():
    ctx, _ = context(DummyDifferentialBackend())
    with pytest.raises(ProbeError, match="positions: prompt needs a backend with logits"):
        measure_prompts("p", prompts("a"), ctx, positions="prompt")


def test_a_backend_without_exact_comparison_is_asked_one_view_after_the_other():
    entered: list[str] = []

    class Spy(DummyDifferentialBackend):
        def activate(self, view):
            entered.append(view.id)
            return super().activate(view)

    ctx, _ = context(Spy())
    measure_prompts("p", prompts("a", "b", "c"), ctx, views=[FINETUNED, View.null(1)])
    assert entered == ["base", "ft", "null_1"]


def test_every_probe_gives_no_effect_for_identical_sides():
    class Same(DummyDifferentialBackend):
        def as_finetuned(self):
            return self.as_base()

        def as_scaled_adapter(self, lam):
            return self.as_base()

    for kind in ("delta_kl", "adapter_ablation"):
        probe, spec = build_probe({"name": "p", "kind": kind, "prompts": ["a", "b", "c", "d"]})
        result = probe.run(spec, RunContext(backend=Same()))
        assert result.verdict in (Verdict.FAIL, Verdict.WARN)
        assert result.raw in (0.0, None)


def test_the_generic_null_path_runs_the_probe_on_every_view_with_its_own_seed():
    contexts: list[RunContext] = []

    class Seen(Probe):
        """Records its contexts."""

        kind = "test_seen"
        spec_cls = ProbeSpec

        def run(self, spec: ProbeSpec, ctx: RunContext) -> ProbeResult:
            contexts.append(ctx)
            raw = None if ctx.seed == 2 else float(ctx.seed)
            return ProbeResult(spec.name, spec.kind, Verdict.PASS, 1.0, raw=raw)

    views = [View.null(s) for s in (1, 2, 3)]
    ctx = RunContext(backend=DummyDifferentialBackend(), seed=9, top_k=5, null_stats={"x": {}}, downstream_kinds=("y",))
    values = Seen().draw_null(ProbeSpec(name="s", kind="test_seen"), ctx, views)
    assert values == {views[0]: 1.0, views[2]: 3.0}
    for inner, view in zip(contexts, views, strict=True):
        assert inner.pair == (BASE, view)
        assert (inner.seed, inner.top_k) == (view.seed, 5)
        assert (dict(inner.null_stats), inner.downstream_kinds) == ({}, ())


def test_the_fakes_closed_forms_are_what_the_backend_says():
    ctx, _ = context(Exact())
    (m,) = measure_prompts("p", prompts("a"), ctx, views=[View.null(5, rank_scale=2.0)], role="null")
    assert m.js == null_js("a", 5, 2.0)
    assert m.tuned_top == ()
