"""What ``show`` and ``SwayDash`` do without a browser: measuring, stopping, data frames, the plain HTML."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from sway_dash import SwayDash, show
from sway_dash.core.errors import ModelLoadError, SwayError
from sway_dash.core.result import SuiteResult
from sway_dash.demo import demo_dir
from sway_dash.report.json_io import load_result
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text
from tests.processes import loaded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake backend in workers."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FAKE_DELAY_S", "0.01")


@pytest.fixture(scope="module")
def held() -> tuple[Any, Any]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(demo_dir() / "model")
    model = PeftModel.from_pretrained(base, str(demo_dir() / "adapter"), is_trainable=True)
    model.train()
    return model, AutoTokenizer.from_pretrained(demo_dir() / "model")


def picture(html: str) -> Any:
    found = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"', html)
    assert len(found) == 1
    return Image.open(io.BytesIO(base64.b64decode(found[0]))).convert("RGB")


def test_names_are_there_without_any_screen_library():
    code = "import sway_dash; sway_dash.show, sway_dash.SwayDash"
    assert loaded(code, ("panel", "torch", "bokeh")) == []


@pytest.mark.parametrize("as_", ["folder", "path", "text", "result file", "result", "widget"])
def test_a_run_is_shown_however_it_is_named(as_: str):
    path = demo_dir() / "run"
    given: dict[str, Any] = {
        "folder": RunFolder(path),
        "path": path,
        "text": str(path),
        "result file": path / "result.json",
        "result": load_result(path / "result.json")[0],
        "widget": show(path),
    }
    shown = show(given[as_])
    html = shown._repr_html_()
    assert "Changed." in html
    assert "The keeper of Quillhaven Light is" in html
    assert "next_token" in html
    assert isinstance(shown.result, SuiteResult)  # type: ignore[attr-defined]
    assert "<table>" in html
    assert len(picture(html).getcolors(100_000)) > 4


def test_a_run_of_which_only_the_result_is_elsewhere(tmp_path: Path):
    copy = tmp_path / "of-a-friend.json"
    copy.write_bytes((demo_dir() / "run" / "result.json").read_bytes())
    assert "Changed." in show(copy).static_html()
    assert list(tmp_path.iterdir()) == [copy]


@pytest.mark.parametrize(
    ("what", "words"),
    [("nowhere/at/all", "is not there"), (str(ROOT), "no run folder"), (ROOT / "README.md", "README.md")],
)
def test_what_is_no_run_is_said(what: Any, words: str):
    with pytest.raises(SwayError, match=words):
        show(what)
    with pytest.raises(SwayError, match="no view"):
        show(demo_dir() / "run", view="all")


def test_plain_html_survives_a_sanitizer_and_is_inert(fakes: None):
    text = suite_text(prompts=5, nulls=3, ablation=False).replace("Prompt 1", "<script>alert(1)</script> &amp; <b>x")
    dash = SwayDash(text)
    dash.start().wait(120)
    html = dash.static_html()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;amp; &lt;b&gt;x" in html
    # Only what viewers leave in: no styles, no classes, no inline SVG.
    assert not re.search(r"<style|<svg| style=| class=| onclick", html)
    known = ["p", "b", "br", "img", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "details", "summary"]
    assert {*re.findall(r"<(\w+)", html)} <= set(known)


def test_a_suite_is_run_by_a_worker(fakes: None):
    dash = SwayDash(suite_text(prompts=6, nulls=3))
    assert dash.run is None
    assert dash.result is None
    assert "Not run yet" in dash._repr_html_()
    with pytest.raises(SwayError, match="nothing has been measured"):
        dash.to_frame()
    result = dash.start().wait(120)
    assert result.status == "finished"
    assert dash.result == result
    frame = dash.to_frame()
    assert list(frame.prompt[frame.probe == "moved"])[:2] == ["Prompt 0 about bread", "Prompt 1 about light"]
    assert frame.js[frame.probe == "moved"].mean() == pytest.approx(result.probes[1].raw)
    # A cell that is run again, and the result by itself, show what there is now.
    assert "Not run yet" not in dash._repr_html_()
    assert picture(result._repr_html_()).size == picture(dash._repr_html_()).size
    assert "finished" in repr(dash)


def test_a_run_can_be_stopped_and_started_again(fakes: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FAKE_DELAY_S", "0.3")
    dash = SwayDash(suite_text(prompts=40, nulls=0, ablation=False)).start()
    with pytest.raises(SwayError, match="a run goes on"):
        dash.start()
    with pytest.raises(TimeoutError):
        dash.wait(0.1)
    dash.stop()
    assert dash.wait(120).status == "cancelled"
    first = dash.run
    monkeypatch.setenv("FAKE_DELAY_S", "0")
    assert dash.start().wait(120).status == "finished"
    assert dash.run != first


def test_a_suite_that_cannot_run_says_why(fakes: None):
    dash = SwayDash(suite_text("noload"))
    result = dash.start().wait(120)
    assert result.status == "failed"
    assert "failed" in dash.static_html()


def test_the_model_in_memory_is_measured_and_left_as_it_was(held: tuple[Any, Any]):
    import torch

    model, tokenizer = held
    prompts = [
        "The keeper of Quillhaven Light is",
        "The lamp of Quillhaven Light shines",
        "A bee lives in a",
        "Once upon",
    ]
    before, mode = torch.random.get_rng_state(), model.training
    dash = SwayDash(model=model, tokenizer=tokenizer, prompts=prompts)
    result = dash.start().wait(120)
    assert (result.status, model.training) == ("finished", mode)
    assert torch.equal(torch.random.get_rng_state(), before)
    frame = dash.to_frame()
    assert frame.js[0] > 10 * frame.js[2]
    assert "in memory" in str(result.environment["adapter"])
    # What was recorded of the same model from its files.
    known = show(demo_dir() / "run").to_frame()
    recorded = known[(known.probe == "next_token") & (known.prompt == prompts[0])].js.iloc[0]
    assert frame.js[0] == pytest.approx(recorded, rel=1e-3)


def test_an_interruption_keeps_what_was_measured(held: tuple[Any, Any]):
    model, tokenizer = held
    prompts = [f"The keeper of lighthouse number {i} is" for i in range(400)]
    dash = SwayDash(model=model, tokenizer=tokenizer, prompts=prompts, preset="Full").start()
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        dash.wait(300)
    assert not dash.running
    assert dash.result is not None
    assert dash.result.status == "cancelled"
    assert model.training
    assert not model.get_base_model()._forward_pre_hooks


def test_a_model_that_cannot_be_measured_is_refused_at_once(held: tuple[Any, Any]):
    model, tokenizer = held
    with pytest.raises(ModelLoadError, match="give the PeftModel"):
        SwayDash(model=model.get_base_model(), tokenizer=tokenizer, prompts=["p"])
    with pytest.raises(SwayError, match="go together"):
        SwayDash(model=model, prompts=["p"])


def test_a_base_that_may_have_been_trained_is_warned_of(held: tuple[Any, Any]):
    model, tokenizer = held
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SwayDash(model=model, tokenizer=tokenizer, prompts=["p"])
    weight = model.get_base_model().model.norm.weight
    weight.requires_grad_(True)
    try:
        with pytest.warns(UserWarning, match=r"1 weights? of the base itself asks? for gradients .*norm\.weight"):
            SwayDash(model=model, tokenizer=tokenizer, prompts=["p"])
    finally:
        weight.requires_grad_(False)


def test_the_suite_of_a_held_model_can_be_read_elsewhere(held: tuple[Any, Any]):
    dash = SwayDash(model=held[0], tokenizer=held[1], prompts=["p"])
    models = yaml.safe_load(dash.suite.text())["models"]
    assert models["ft"]["base"] == str(demo_dir() / "model")


def test_marimo_gets_a_panel_object_whose_scripts_come_with_the_page():
    from panel.config import config
    from panel.viewable import Viewable

    before = config.inline
    try:
        config.inline = False
        assert isinstance(show(demo_dir() / "run")._display_(), Viewable)
        assert config.inline
    finally:
        config.inline = before


def test_the_view_of_vs_code_and_colab_brings_its_style_sheets_along():
    from panel.config import config

    from sway_dash.dash.notebook_design import Plain
    from sway_dash.dash.notebook_display import _widget
    from sway_dash.dash.notebook_view import NotebookView

    with config.set(design=Plain):
        view = NotebookView("overview")
    bundle = str(_widget(view.root).render_bundle)
    assert "data:text/css;base64," in bundle
    assert "https://cdn" not in bundle
