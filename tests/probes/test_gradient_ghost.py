"""gradient_ghost: what the optimizer remembers is read safely, matched with layers, and judged."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sway_dash.backends.training_state import adapter_matrices, load_training_state
from sway_dash.core.errors import MissingTrainingStateError
from sway_dash.core.panels import read_panels
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.training import ParamMappingError, TrainingStateError, layer_of, map_params
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.layer_outliers import standing_out

R, WIDE = 4, 12
NAMES = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"


def judged(folder: Path, **keys: Any) -> ProbeResult:
    probe, spec = build_probe({"name": "ghost", "kind": "gradient_ghost", "adapter_path": str(folder), **keys})
    result = probe.run(spec, RunContext())
    json.dumps(result.evidence, allow_nan=False)
    return result


def trained(
    folder: Path,
    *,
    layers: int = 8,
    steps: int = 60,
    scale: Callable[[int, str], float] = lambda layer, role: 1.0,
    drift: float = 0.0,
    names: str = NAMES,
    zero_b: tuple[int, ...] = (),
    order: str = "layers",
    extra: bool = False,
    **facts: Any,
) -> Path:
    """AdamW on made-up LoRA matrices whose gradients are noise of a given scale, plus a constant ``drift``."""
    torch.manual_seed(0)
    sizes = {"A": (R, WIDE), "B": (2 * WIDE, R)}
    params = {(k, role): torch.nn.Parameter(torch.randn(sizes[role])) for k in range(layers) for role in "AB"}
    for k in zero_b:
        params[k, "B"].data.zero_()
    listed = [params[k, r] for k in range(layers) for r in "AB"]
    groups: Any = [{"params": listed}]
    if order == "roles":
        groups = [{"params": [params[k, r] for k in range(layers)], "lr": 1e-3} for r in "AB"]
    if extra:
        before = torch.nn.Parameter(torch.randn(5, 5))
        groups[0]["params"] = [before, *groups[0]["params"]]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    for _ in range(steps):
        for (k, role), p in params.items():
            p.grad = scale(k, role) * (torch.randn_like(p) + drift)
            if k in zero_b:
                p.grad.zero_()
        if extra:
            before.grad = torch.randn_like(before)
        optimizer.step()
    for k in zero_b:
        params[k, "B"].data.zero_()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {names.format(k, role): p.detach().clone() for (k, role), p in params.items()},
        str(folder / "adapter_model.safetensors"),
    )
    state = {"optimizer_state_dict": optimizer.state_dict(), "global_step": steps, "epoch": 2.0, "best_val_loss": 1.5}
    torch.save({**state, **facts}, folder / "training_state.pt")
    return folder


def test_layers_trained_alike_pass_with_the_gradient_of_each_shown(tmp_path):
    result = judged(trained(tmp_path))
    assert result.verdict is Verdict.PASS
    assert result.score > 0.6
    assert (result.raw, result.evidence["num_layers"], result.evidence["params_per_layer"]) == (0.0, 8, 2)
    assert [len(p.groups) for p in read_panels(result.evidence)] == [8, 8]
    assert result.evidence["update_to_weight"]["A"]["0"] == pytest.approx(1e-3 * 0.23, rel=0.5)
    assert result.evidence["weight"] == 1.0


def test_a_gradient_that_grows_with_depth_or_differs_between_a_and_b_is_no_fault(tmp_path):
    result = judged(trained(tmp_path, scale=lambda k, role: 1.6**k * (30.0 if role == "B" else 1.0)))
    assert result.verdict is Verdict.PASS
    # Eight layers grow 27 times: against the least layer nearly all would be wrong.
    assert result.evidence["frac_layers_undertrained_public"] > 0.7


def test_one_layer_off_is_warned_of_and_many_fail(tmp_path):
    one = judged(trained(tmp_path / "one", scale=lambda k, role: 9.0 if (k, role) == (5, "B") else 1.0))
    assert one.verdict is Verdict.WARN
    assert one.evidence["worst_layers"][0]["layer"] == 5
    assert one.evidence["worst_layers"][0]["ratio"] == pytest.approx(9, rel=0.3)
    assert "B in layer 5" in one.message
    flags = [g.flag for g in read_panels(one.evidence)[1].groups]
    assert flags == ["", "", "", "", "", "bad", "", ""]
    many = judged(trained(tmp_path / "many", scale=lambda k, role: 0.01 if k in (1, 4, 6) else 1.0))
    assert many.verdict is Verdict.FAIL
    assert many.raw == pytest.approx(3 / 8)


def test_layers_whose_b_is_still_zero_are_untrained(tmp_path):
    few = judged(trained(tmp_path / "few", zero_b=(2,)))
    assert few.verdict is Verdict.WARN
    assert "B is zero in layer 2" in few.message
    assert few.evidence["layers_without_gradient"] == [2]
    assert judged(trained(tmp_path / "most", zero_b=(0, 1, 2))).verdict is Verdict.FAIL


def test_a_gradient_that_still_points_one_way_is_a_warning(tmp_path):
    result = judged(trained(tmp_path, drift=5.0))
    assert result.verdict is Verdict.WARN
    assert "more to learn" in result.message
    assert result.evidence["steadiness"] > 3
    assert judged(trained(tmp_path / "calm")).evidence["steadiness"] == pytest.approx(1.0, abs=0.3)


def test_too_few_steps_fail_before_anything_else(tmp_path):
    result = judged(trained(tmp_path, steps=10))
    assert (result.verdict, result.score, result.raw) == (Verdict.FAIL, 0.0, 10.0)
    assert "severely undertrained" in result.message
    assert result.evidence["primary_signal"] == "global_step_below_threshold"
    assert result.evidence["best_val_loss"] == 1.5
    assert judged(tmp_path, min_steps_threshold=10).verdict is Verdict.PASS


def test_moments_of_nan_fail(tmp_path):
    folder = trained(tmp_path, layers=2)
    state = torch.load(folder / "training_state.pt", weights_only=True)
    for entry in state["optimizer_state_dict"]["state"].values():
        entry["exp_avg_sq"].fill_(math.nan)
    torch.save(state, folder / "training_state.pt")
    result = judged(folder)
    assert (result.verdict, result.evidence["primary_signal"]) == (Verdict.FAIL, "all_optimizer_state_nan")
    assert result.evidence["num_nonfinite_exp_avg_sq"] == 4


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("plain", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, plain):
    traces = tmp_path / "ran"
    folder = trained(tmp_path / "adapter", layers=1)
    evil = {"optimizer_state_dict": {"state": {}}, "extra": Evil(traces)}
    if plain:
        (folder / "training_state.pt").write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, folder / "training_state.pt")
    result = judged(folder)
    assert result.verdict is Verdict.ERROR
    assert "failed to torch.load" in result.message
    assert "weights_only" not in result.message
    assert "\n" not in result.message
    assert not traces.exists()


def test_states_of_numpy_generators_are_read(tmp_path):
    import numpy as np

    folder = trained(tmp_path, layers=2, numpy_rng_state=np.random.RandomState(0).get_state())
    assert load_training_state(folder).global_step == 60


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello", "failed to torch.load"),
        ([1, 2], "not a dict"),
        ({"global_step": 3}, "missing 'optimizer_state_dict'"),
        ({"optimizer_state_dict": {"state": [1]}}, "'state' is not a dict"),
        ({"optimizer_state_dict": {"state": {"a": {}}}}, "no parameter numbers"),
    ],
)
def test_what_is_no_training_state_is_named(tmp_path, content, words):
    path = tmp_path / "training_state.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(TrainingStateError, match=words):
        load_training_state(tmp_path)
    assert judged(tmp_path).verdict is Verdict.ERROR


def test_an_optimizer_without_adams_moments_is_a_skip_and_an_empty_one_fails(tmp_path):
    folder = trained(tmp_path, layers=1)
    entry = {"step": 60, "state1": torch.zeros(4, dtype=torch.uint8)}
    for state, verdict in (({0: entry}, Verdict.SKIP), ({}, Verdict.FAIL)):
        torch.save({"optimizer_state_dict": {"state": state}, "global_step": 60}, folder / "training_state.pt")
        assert judged(folder).verdict is verdict


def test_without_any_state_it_is_a_skip(tmp_path):
    with pytest.raises(MissingTrainingStateError):
        load_training_state(tmp_path)
    result = judged(tmp_path)
    assert result.verdict is Verdict.SKIP
    assert "training_state.pt" in result.message


def test_broken_entries_are_left_out_and_missing_facts_are_zero(tmp_path):
    folder = trained(tmp_path, layers=2)
    state = torch.load(folder / "training_state.pt", weights_only=True)
    entries = state["optimizer_state_dict"]["state"]
    entries[7], entries[8] = {"step": 1}, "no"
    torch.save({"optimizer_state_dict": state["optimizer_state_dict"]}, folder / "training_state.pt")
    found = load_training_state(folder)
    assert (found.global_step, found.epoch, found.skipped) == (0, 0.0, 2)
    assert [p.param_id for p in found.per_param] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        "base_model.model.transformer.h.{}.attn.c_attn.lora_{}.weight",
        "base_model.model.gpt_neox.layers.{}.attention.dense.lora_{}.weight",
        "base_model.model.model.blocks.{}.mlp.experts.7.w1.lora_{}.weight",
    ],
)
@pytest.mark.parametrize("order", ["layers", "roles"])
@pytest.mark.parametrize("extra", [False, True])
def test_entries_are_matched_with_layers_by_shape(tmp_path, names, order, extra):
    folder = trained(
        tmp_path, names=names, order=order, extra=extra, scale=lambda k, role: 9.0 if (k, role) == (6, "A") else 1.0
    )
    result = judged(folder)
    assert result.evidence["worst_layers"] == [{"layer": 6, "matrix": "A", "ratio": pytest.approx(9, rel=0.3)}]


def test_a_state_that_is_not_this_adapters_is_not_forced_upon_it(tmp_path):
    folder = trained(tmp_path, layers=3)
    wrong = {NAMES.format(k, role): torch.ones(3, 3) for k in range(3) for role in "AB"}
    save_file(wrong, str(folder / "adapter_model.safetensors"))
    result = judged(folder)
    assert result.verdict is Verdict.WARN
    assert "adapter / state mismatch" in result.message
    state = load_training_state(folder)
    more = {NAMES.format(k, role): torch.ones(3, 3) for k in range(9) for role in "AB"}
    save_file(more, str(folder / "adapter_model.safetensors"))
    with pytest.raises(ParamMappingError, match="adapter / state mismatch"):
        map_params(state.per_param, adapter_matrices(folder))
    save_file({"head.lora_A.weight": torch.ones(3, 3)}, str(folder / "adapter_model.safetensors"))
    with pytest.raises(ParamMappingError, match="no layers"):
        map_params(state.per_param, adapter_matrices(folder))
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ParamMappingError, match="missing"):
        adapter_matrices(folder)


def test_layer_numbers_are_found_whatever_the_architecture_calls_them():
    names = ("model.layers.3.mlp", "transformer.h.3.attn", "blocks.3", "layers.3.mlp.experts.5.w1")
    assert [layer_of(n) for n in names] == [3, 3, 3, 3]
    assert layer_of("model.embed_tokens") is None


def test_a_layer_stands_out_only_if_it_is_off_by_the_ratio_and_beyond_the_spread():
    assert standing_out(dict.fromkeys(range(5), 2.0), ratio=2.0) == {}
    assert standing_out({0: 1, 1: 1, 2: 1, 3: 1.9}, ratio=2.0) == {}
    assert standing_out({0: 1, 1: 1, 2: 1, 3: 4}, ratio=2.0) == {3: pytest.approx(4.0)}
    wide = {0: 0.2, 1: 1, 2: 4, 3: 1, 4: 0.3}
    assert standing_out(wide, ratio=2.0) == {}
    assert standing_out({}, ratio=2.0) == {}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's base with a fresh LoRA, trained for 60 steps as a Trainer would and saved as one saves."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    base = demo_dir() / "model"
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    text = (demo_dir() / "document.md").read_text("utf-8")
    ids = tokenizer(text, return_tensors="pt")["input_ids"][0]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for step in range(60):
        start = (step * 37) % (len(ids) - 33)
        batch = ids[start : start + 32][None]
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("run") / "checkpoint-60"
    model.save_pretrained(folder)
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 60, "epoch": 1.5, "log_history": []}))
    return folder


def test_the_checkpoint_of_a_trainer_on_a_real_model_is_read(checkpoint):
    for folder in (checkpoint, checkpoint.parent):
        result = judged(folder)
        assert result.verdict in (Verdict.PASS, Verdict.WARN)
        assert result.evidence["num_layers"] == 4
        assert result.evidence["params_per_layer"] == 6
        assert result.evidence["mapping_note"] == ""
        assert result.raw <= 0.25
        assert result.evidence["epoch"] == 1.5
    assert judged(checkpoint, min_steps_threshold=100).verdict is Verdict.FAIL


def test_layers_of_a_real_model_that_were_never_trained_are_found(checkpoint, tmp_path):
    from safetensors.torch import load_file

    tensors = load_file(checkpoint / "adapter_model.safetensors")
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    for name, tensor in tensors.items():
        if layer_of(name) in (1, 3) and ".lora_B." in name:
            tensor.zero_()
    save_file(tensors, str(tmp_path / "adapter_model.safetensors"))
    torch.save(state, tmp_path / "optimizer.pt")
    result = judged(tmp_path)
    assert result.verdict is Verdict.FAIL
    assert result.evidence["global_step"] == 60  # counted by the optimizer
    assert result.evidence["layers_with_zero_b"] == [1, 3]


def test_a_folder_in_the_home_of_nobody_is_one_sentence():
    probe, spec = build_probe({"name": "ghost", "kind": "gradient_ghost", "adapter_path": "~no-such-user-here/a"})
    result = probe.run(spec, RunContext())
    assert result.verdict is Verdict.ERROR
    assert "home folder of a user who is not known" in result.message
