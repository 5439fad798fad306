"""layer_attribution: layers are switched exactly and put back exactly; who carries the change is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.errors import ProbeError
from sway_dash.core.events import Measurement
from sway_dash.core.model import ModelSpec
from sway_dash.core.panels import read_panels
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import BASE, FINETUNED, OUTSIDE, Comparison, NoiseFloor, View
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.layer_attribution import grouped, label
from tests.adapters import made

NAMES = [f"p{i}" for i in range(6)]
DEMO_PROMPTS = [
    "The keeper of Quillhaven Light is",
    "The lamp of Quillhaven Light shines",
    "The tower of Quillhaven Light has",
    "Quillhaven Light flashes every",
    "The log of Quillhaven Light is written in",
]


class Layered(DummyDifferentialBackend):
    """JS of a view: the sum of what its layers carry, times a factor of the prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.carried = {OUTSIDE: 0.0, 0: 0.01, 1: 0.02, 2: 0.06, 3: 0.01}
        self.refuses = ""

    def adapter_layers(self) -> tuple[int, ...]:
        if self.refuses:
            raise ProbeError("layer view", self.refuses)
        return tuple(sorted(self.carried))

    def compare(
        self, reference: View, views: Sequence[View], prompts: Sequence[str], **options: Any
    ) -> Iterator[tuple[int, View, Comparison]]:
        assert reference == BASE
        for view in views:
            for at, prompt in enumerate(prompts):
                held = {k: v for k, v in self.carried.items() if view == FINETUNED or (k in view.layers) == view.keep}
                js = sum(held.values()) * (1.0 + 0.1 * int(prompt[1:]))
                yield at, view, Comparison(js=js, kl=2 * js, kl_reverse=2 * js, same_top=1.0)


def judged(backend: Any, ctx: dict[str, Any] | None = None, **keys: Any) -> ProbeResult:
    entry = {"name": "layers", "kind": "layer_attribution", "prompts": NAMES, **keys}
    probe, spec = build_probe(entry)
    result = probe.run(spec, RunContext(backend=backend, **(ctx or {})))
    json.dumps(result.evidence, allow_nan=False)
    return result


def test_the_layer_that_carries_most_is_named_with_its_share():
    result = judged(Layered())
    assert (result.verdict, result.score) == (Verdict.PASS, None)
    assert result.raw == pytest.approx(0.6)
    rows = {row["label"]: row for row in result.evidence["groups"]}
    assert list(rows) == ["embeddings and head", "layer 0", "layer 1", "layer 2", "layer 3"]
    assert rows["layer 2"]["alone"] == pytest.approx(0.06 * 1.25)
    assert rows["layer 2"]["drop"] == pytest.approx(0.06 * 1.25)
    assert rows["layer 2"]["without"] == pytest.approx(0.04 * 1.25)
    lo, hi = rows["layer 2"]["alone_ci_95"]
    assert 0 < lo < 0.075 < hi
    assert result.evidence["sum_alone"] == pytest.approx(result.evidence["full_divergence"])
    alone, lost = read_panels(result.evidence)
    assert [g.label for g in alone.groups] == list(rows)
    assert alone.groups[3].value == lost.groups[3].value == pytest.approx(0.075)
    assert "layer 2 alone" in result.message
    assert judged(Layered(), divergence="kl").evidence["full_divergence"] == pytest.approx(0.25)


def test_a_gate_on_the_largest_share_can_fail():
    failed = judged(Layered(), assert_largest_share_lte=0.5)
    assert failed.verdict is Verdict.FAIL
    assert failed.score < 0.6
    assert "above the gate of 0.5" in failed.message
    assert judged(Layered(), assert_largest_share_lte=0.7).score > 0.6


def test_layers_can_be_switched_several_at_a_time():
    result = judged(Layered(), layers_per_group=2)
    assert [row["label"] for row in result.evidence["groups"]] == [
        "embeddings and head",
        "layers 0 to 1",
        "layers 2 to 3",
    ]
    assert result.raw == pytest.approx(0.7)
    assert grouped([0, 1, 2, 5], 3) == [(0, 1, 2), (5,)]
    assert label((4,)) == "layer 4"


def test_an_adapter_that_does_nothing_has_nothing_to_share():
    backend = Layered()
    backend.carried = dict.fromkeys(range(3), 0.0)
    result = judged(backend)
    assert (result.verdict, result.raw, result.score) == (Verdict.WARN, None, None)
    assert "no change that layers could carry" in result.message


def test_a_change_no_larger_than_rounding_has_nothing_to_share():
    result = judged(Layered(), {"noise": NoiseFloor(prompts=4, js=0.5, kl=2.0)})
    assert (result.verdict, result.raw) == (Verdict.WARN, None)
    assert "no more than the model's own rounding (0.5): there is no change that layers could carry" in result.message


def test_what_cannot_switch_layers_is_skipped_with_the_reason():
    assert judged(Layered(), prompts=[]).verdict is Verdict.ERROR
    plain = judged(DummyDifferentialBackend())
    assert (plain.verdict, "cannot switch single layers" in plain.message) == (Verdict.SKIP, True)
    backend = Layered()
    backend.refuses = "it trains biases"
    refused = judged(backend)
    assert (refused.verdict, "it trains biases" in refused.message) == (Verdict.SKIP, True)


def test_a_stopped_run_is_judged_over_the_prompts_measured_under_every_view():
    seen: list[Any] = []
    whole = judged(Layered(), {"emit": seen.append})
    measured = [m for m in seen if isinstance(m, Measurement)]
    assert {m.role for m in measured} == {"probe", "ablation"}
    # Layers are no strength of the adapter: nothing that draws λ may take them for one.
    assert {m.lam for m in measured if m.role == "ablation"} == {None}
    probe, spec = build_probe({"name": "layers", "kind": "layer_attribution", "prompts": NAMES})
    assert probe.judge(spec, RunContext(), measured).raw == whole.raw
    part = [m for m in measured if not (m.view == "only_layers_3" and m.item in (4, 5))]
    assert probe.judge(spec, RunContext(), part).evidence["num_prompts"] == 4
    assert probe.judge(spec, RunContext(), []).verdict is Verdict.ERROR


def test_views_of_layers_are_values_with_names_of_their_own():
    assert View.without_layers([]) == FINETUNED
    assert View.only_layers([]) == BASE
    assert View.only_layers([2, 1, 2]) == View.only_layers((1, 2))
    ids = {v([k]).id for v in (View.only_layers, View.without_layers) for k in (OUTSIDE, 0, 1)}
    assert len(ids) == 6
    assert View.only_layers([0]).content != View.without_layers([0]).content
    assert "layers" not in FINETUNED.content


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend

    held: list[Any] = []

    def open_(adapter: Path) -> Any:
        spec = ModelSpec(base=str(demo_dir() / "model"), device="cpu", dtype="fp32")
        held.append(HuggingFaceDifferentialBackend(base_spec=spec, adapter_path=adapter))
        return held[-1]

    yield open_
    for backend in held:
        backend.close()


def rows(backend: Any, view: View) -> Any:
    with backend.activate(view) as lm:
        ids = [lm.tokens.encode_prompt(p)[0] for p in DEMO_PROMPTS]
        return lm.rows(ids, [[len(i) - 1] for i in ids])


def test_switching_is_exact_and_nothing_is_left_of_it(opened):
    import torch

    from tests.backends.conftest import fingerprint

    backend = opened(made("targeted"))
    before, base, tuned = fingerprint(backend), rows(backend, BASE), rows(backend, FINETUNED)
    layers = backend.adapter_layers()
    assert layers == (0, 1, 2, 3)
    assert torch.equal(rows(backend, View.without_layers(layers)), base)
    assert torch.equal(rows(backend, View.only_layers(layers)), tuned)
    one = rows(backend, View.without_layers([2]))
    assert not torch.equal(one, tuned)
    assert not torch.equal(one, base)
    assert torch.equal(one, rows(backend, View.only_layers([0, 1, 3])))
    with pytest.raises(KeyError), backend.activate(View.only_layers([1])):
        raise KeyError
    assert fingerprint(backend) == before
    assert torch.equal(rows(backend, FINETUNED), tuned)
    assert torch.equal(rows(backend, BASE), base)
    norms = backend.layer_update_norms()
    assert sum(v**2 for v in norms.values()) ** 0.5 == pytest.approx(backend.update_norm(FINETUNED))
    with pytest.raises(ProbeError, match="not \\[7\\]"), backend.activate(View.only_layers([7])):
        pass


def test_on_a_real_adapter_the_layer_that_holds_the_change_is_found(opened, tmp_path):
    from safetensors.torch import load_file, save_file

    whole = judged(opened(made("targeted")), prompts=DEMO_PROMPTS)
    assert whole.verdict is Verdict.PASS
    assert whole.raw < 1.0
    assert whole.evidence["full_divergence"] > 0.05
    tensors = load_file(made("targeted") / "adapter_model.safetensors")
    for name, tensor in tensors.items():
        if ".layers.1." not in name and "lora_B" in name:
            tensor.zero_()
    save_file(tensors, str(tmp_path / "adapter_model.safetensors"))
    (tmp_path / "adapter_config.json").write_text((made("targeted") / "adapter_config.json").read_text())
    one = judged(opened(tmp_path), prompts=DEMO_PROMPTS, assert_largest_share_lte=0.5)
    assert (one.verdict, one.raw) == (Verdict.FAIL, pytest.approx(1.0))
    found = {row["label"]: row for row in one.evidence["groups"]}
    assert found["layer 1"]["without"] == 0.0
    assert found["layer 0"]["drop"] == 0.0
    assert one.evidence["layer_update_norms"]["0"] == 0.0


def test_an_adapter_with_trained_biases_is_refused_and_a_dora_is_not(opened, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for name, options in (("bias", {"bias": "lora_only"}), ("dora", {"use_dora": True})):
        base = AutoModelForCausalLM.from_pretrained(demo_dir() / "model", dtype=torch.float32)
        config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, **options)
        get_peft_model(base, config).save_pretrained(tmp_path / name)
    biased = opened(tmp_path / "bias")
    dora = opened(tmp_path / "dora")
    assert torch.equal(rows(dora, View.without_layers(dora.adapter_layers())), rows(dora, BASE))
    refused = judged(biased, prompts=DEMO_PROMPTS)
    assert refused.verdict is Verdict.SKIP
    assert "biases" in refused.message


def test_single_layers_are_no_ablation_curve_on_the_screen():
    from sway_dash.core.events import RunStarted
    from sway_dash.figures.derive import RunData

    seen: list[Any] = []
    judged(Layered(), {"emit": seen.append})
    data = RunData()
    for event in (RunStarted(), *seen):
        data.add(event)
    assert data.ablations == {}
    assert len(data.series["layers"].rows) == len(NAMES)
