"""How long and how large, from what is known before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sway_dash.backends.adapter_files import adapter_fingerprint
from sway_dash.backends.model_files import BaseFacts, Tensor, look_at_adapter, look_at_base
from sway_dash.core.events import ModelReady, Phase, RunFinished, RunStarted
from sway_dash.demo import demo_dir
from sway_dash.suite.estimate import measured_pace, memory
from sway_dash.suite.forecast import forecast
from sway_dash.suite.loader import check_entries, loads
from sway_dash.suite.spec import SwaySpec
from sway_dash.suite.store import RunFolder

PROMPTS = "[a, b, c, d]"


def text(device: str = "auto", dtype: str = "auto", prompts: str = PROMPTS, base: Path | None = None) -> str:
    folder = demo_dir()
    common = f"base: {base or folder / 'model'}, device: {device}, dtype: {dtype}"
    ft = f"{{{common}, adapter: {folder / 'adapter'}}}"
    return f"models: {{base: {{{common}}}, ft: {ft}}}\nsuite: [{{name: a, kind: delta_kl, prompts: {prompts}}}]\n"


def recorded(root: Path, suite: str, *, seconds: float = 4.0, passes: int | None = None, **changes: Any) -> SwaySpec:
    """A run folder as a finished run leaves it."""
    spec = loads(suite)
    folder = RunFolder.create(suite, root=root)
    found = forecast(spec, check_entries(spec)).passes if passes is None else passes
    sha = adapter_fingerprint(demo_dir() / "adapter")
    environment = {"device": "cpu", "device_name": "cpu", "dtype": "fp32", "fingerprint": "f", "adapter_sha256": sha}
    ft = str(spec.models.ft.adapter)
    for event in (
        RunStarted(seq=1, ts=100.0, base_model_id=spec.models.base.base, adapter_id=ft, **changes),
        Phase(seq=2, ts=100.5, phase="loading"),
        ModelReady(seq=3, ts=103.0, environment=environment),
        RunFinished(seq=4, ts=103.0 + seconds, backend_stats={"forward_passes": found}),
    ):
        folder.append(event)
    folder.close()
    return spec


def test_the_time_follows_from_the_pace_of_an_earlier_run(tmp_path: Path) -> None:
    spec = recorded(tmp_path, text(), seconds=4.0)
    pace = measured_pace(spec, tmp_path)
    assert pace is not None
    cost = forecast(spec, check_entries(spec))
    assert pace.of(cost) == pytest.approx(2.5 + 4.0)
    twice = loads(text(prompts="[a, b, c, d, e, f, g, h]"))
    more = forecast(twice, check_entries(twice))
    assert pace.of(more) == pytest.approx(2.5 + 4.0 * more.weight / cost.weight)
    assert (pace.fingerprint, pace.device) == ("f", "cpu")


def test_draws_that_were_not_measured_do_not_make_a_run_look_fast(tmp_path: Path) -> None:
    suite = text()
    spec = recorded(tmp_path, suite, seconds=4.0, passes=8)
    cost = forecast(spec, check_entries(spec))
    assert cost.passes == 16
    pace = measured_pace(spec, tmp_path)
    assert pace is not None
    assert pace.seconds * cost.weight == pytest.approx(8.0)


@pytest.mark.parametrize("other", [text(device="cuda"), text(dtype="bf16"), text(base=Path("/elsewhere/model"))])
def test_another_model_or_device_has_no_pace(tmp_path: Path, other: str) -> None:
    recorded(tmp_path, text())
    assert measured_pace(loads(other), tmp_path) is None


def test_another_server_has_another_pace(tmp_path: Path) -> None:
    spec = recorded(tmp_path, text())
    here = {s: getattr(spec.models, s).model_copy(update={"endpoint": "http://a/v1"}) for s in ("base", "ft")}
    served = spec.model_copy(update={"models": spec.models.model_copy(update=here)})
    assert measured_pace(spec, tmp_path) is not None
    assert measured_pace(served, tmp_path) is None


def test_runs_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    spec = loads(text())
    assert measured_pace(spec, tmp_path) is None
    recorded(tmp_path, text(), resumed=True)
    recorded(tmp_path, text(), passes=0)
    (RunFolder.create("not: a suite", root=tmp_path).path / "events.jsonl").write_text("torn\n{", encoding="utf-8")
    assert measured_pace(spec, tmp_path) is None


def test_another_adapter_gives_a_pace_but_no_draws(tmp_path: Path) -> None:
    recorded(tmp_path, text())
    spec = loads(text().replace(str(demo_dir() / "adapter"), str(tmp_path / "other")))
    pace = measured_pace(spec, tmp_path)
    assert pace is not None
    assert pace.fingerprint == ""


def test_memory_follows_from_the_headers() -> None:
    folder = demo_dir()
    base, adapter = look_at_base(str(folder / "model")), look_at_adapter(folder / "adapter")
    assert base is not None
    spec = loads(text(device="cpu"))
    cost = forecast(spec, check_entries(spec))
    found = memory(spec, base, adapter, cost)
    assert found is not None
    lora = sum(t.numbers for t in adapter.tensors.values())
    assert found.weights == 4 * (base.parameters + lora)
    assert (found.device, found.dtype) == ("cpu", "fp32")
    half = memory(loads(text(device="cuda:1")), base, adapter, cost)
    assert half is not None
    assert (half.weights, half.device, half.dtype) == (2 * base.parameters + 4 * lora, "cuda", "bf16")
    assert found.working < 100 * 2**20


def test_memory_is_not_guessed_for_packed_weights() -> None:
    spec = loads(text())
    cost = forecast(spec, check_entries(spec))
    packed = BaseFacts(Path(), {"quantization_config": {"bits": 4}}, {"a": Tensor("U8", (4, 4))}, 0)
    assert memory(spec, packed, None, cost) is None
    assert memory(spec, BaseFacts(Path(), {}, {}, 100), None, cost) is None
