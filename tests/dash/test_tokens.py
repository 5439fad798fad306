"""A prompt token by token: colours, distributions, parts of the KL, generations, and what the copy buttons give."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.detail import Choice, Prediction, PromptDetail, TokenDetail
from sway_dash.core.events import Measurement
from sway_dash.core.scoring import BASE, FINETUNED
from sway_dash.dash import runs
from sway_dash.dash.expression import Expression
from sway_dash.dash.pages.generations import generations, readable
from sway_dash.dash.pages.token_view import TokenView
from sway_dash.dash.token_details import TokenDetails
from sway_dash.figures import plots
from sway_dash.figures.snippets import as_json, as_python
from sway_dash.figures.token_columns import (
    BINS,
    WINDOW,
    HeatScale,
    default_token,
    distribution,
    heat,
    heat_of,
    kl_terms,
    scale_of,
    spoken,
)
from sway_dash.suite.details import record as record_details
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import ROOT, suite_text

HOSTILE = "<img src=x onerror=alert(1)> </script> \x00 \u202eabc"


@pytest.fixture
def detail(fakes: Any) -> PromptDetail:
    return fakes.detail("The light of the hill is", BASE, FINETUNED)


def token(text: str, js: float | None = None, **kw: Any) -> TokenDetail:
    return TokenDetail(text, 1, prediction=None if js is None else Prediction(js, 2 * js, js), **kw)


def test_the_colours_end_at_the_99th_percentile_of_all_recorded_tokens(fakes: Any) -> None:
    details = [fakes.detail(f"light {i} on the sea", BASE, FINETUNED) for i in range(12)]
    scale = scale_of(details)
    values = [t.prediction.js for d in details for t in d.tokens if t.prediction]
    assert scale.js == np.quantile(values, 0.99)
    assert (scale.tokens, scale.prompts) == (len(values), 12)
    for layer in ("js", "kl", "delta"):
        view = heat(details[0], layer, scale.end(layer), 0, 0)
        for t, (_, _, _, share, _) in zip(details[0].tokens, view["tokens"], strict=True):
            value = heat_of(t, layer)
            if value is None:
                assert share is None
            else:
                assert share == pytest.approx(np.clip(value / scale.end(layer), -1, 1), abs=6e-4)
    assert any(t[3] < 0 for t in heat(details[0], "delta", scale.delta, 0, 0)["tokens"] if t[3] is not None)


def test_a_prompt_in_which_nothing_differs_is_drawn_without_colour() -> None:
    detail = PromptDetail("ab", tokens=(token("a"), token("b", 0.0)))
    assert [t[3] for t in heat(detail, "js", scale_of([detail]).js, 0, 1)["tokens"]] == [None, 0.0]
    assert scale_of([]) == HeatScale()


def test_tokens_are_told_in_words(detail: PromptDetail) -> None:
    at = default_token(detail)
    found = detail.tokens[at]
    assert (detail.tokens[at - 1].part, found.part) == ("prompt", "continuation")
    assert found.prediction is not None
    base = max(found.prediction.choices, key=lambda c: c.base).text.strip()
    text = spoken(found, at)
    assert text.startswith(f"token {at + 1} '·{found.text.strip()}', JS {found.prediction.js:.3g}")
    assert re.search(rf"base expected '·?{re.escape(base)}", text)
    assert "nothing stands before it" in spoken(detail.tokens[0], 0)
    assert "log-probability −" in spoken(replace(found, base_logprob=-1.0, tuned_logprob=-2.0), at, "delta")


def test_long_texts_are_sent_a_window_at_a_time(fakes: Any) -> None:
    long = PromptDetail("x", tokens=tuple(token(f" w{i}", 0.001 * (i % 97)) for i in range(2 * WINDOW + 50)))
    seen = heat(long, "js", 0.1, WINDOW, WINDOW + 3)
    assert len(seen["tokens"]) == WINDOW
    assert seen["tokens"][3][0] == f" w{WINDOW + 3}"
    assert (seen["total"], len(seen["line"])) == (2 * WINDOW + 50, BINS)
    assert max(seen["line"]) == pytest.approx(0.96)
    assert all(long.tokens[i].prediction.js == 0.096 for i in seen["peaks"])  # type: ignore[union-attr]
    view = TokenView()
    assert view.show(long, 5, HeatScale(js=0.1)) == 5
    assert view.text.view["start"] == 0
    view.show(long, WINDOW + 7, HeatScale(js=0.1))
    assert (view.text.view["start"], view.text.chosen) == (WINDOW, WINDOW + 7)


def test_a_token_outside_the_text_falls_back_to_the_next_token(detail: PromptDetail) -> None:
    view = TokenView()
    assert view.show(detail, 10_000, HeatScale(js=1.0)) == default_token(detail)
    assert view.show(detail, None, HeatScale(js=1.0)) == default_token(detail)


def test_layers_and_scale_can_be_changed(detail: PromptDetail) -> None:
    view = TokenView()
    view.show(detail, 3, HeatScale(js=10.0, kl=10.0, delta=10.0, tokens=7, prompts=2))
    wide = [t[3] for t in view.text.view["tokens"]]
    assert "7 tokens in 2 recorded prompts" in view._legend.object
    view.local = True
    close = [t[3] for t in view.text.view["tokens"]]
    assert max(s for s in close if s is not None) == 1.0 > max(s for s in wide if s is not None)
    assert "of this prompt" in view._legend.object
    view.layer = "delta"
    assert view.text.view["signed"]
    assert "likelier" in view._legend.object
    assert view.text.view["chosen"] == 3


# -- one position --------------------------------------------------------------------------------


def prediction() -> Prediction:
    base = {"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.06, "e": 0.03}
    tuned = {"a": 0.195, "b": 0.31, "c": 0.4, "d": 0.02, "e": 0.065}
    choices = tuple(Choice(f" {k}", i, base[k], tuned[k]) for i, k in enumerate(base))
    rest = 0.01 * math.log(0.01 / 0.01)
    kl = sum(tuned[k] * math.log(tuned[k] / base[k]) for k in base) + rest
    return Prediction(0.1, kl, 0.2, choices)


def test_rows_of_a_distribution_leave_nothing_out() -> None:
    rows = distribution(prediction(), "change")
    assert rows["label"] == ["·a", "·c", "·d", "·e", "·b", "all other tokens"]
    assert rows["base"][-1] == pytest.approx(0.01)
    assert sum(rows["tuned"]) == pytest.approx(1.0)
    assert rows["change"][:2] == ["−0.305", "+0.3"]
    assert rows["rank"][0] == "1 → 3"
    assert rows["rank"][2] == "≥ 4 → ≥ 5"
    assert distribution(prediction(), "probability")["label"][:2] == ["·a", "·c"]
    assert distribution(prediction(), "kl")["label"][0] == "·c"


def test_parts_of_the_kl_add_up_to_it() -> None:
    found = prediction()
    bars = kl_terms(found, limit=3)
    total = 0.0
    for left, right, side in zip(bars["left"], bars["right"], bars["side"], strict=True):
        step = right - left if side == "up" or (side == "rest" and left == pytest.approx(total)) else left - right
        assert pytest.approx(total) in (left, right)
        total += step
    assert total == pytest.approx(found.kl)
    assert bars["label"][0] == "·c"
    assert bars["label"][-1] == "all other tokens"
    assert bars["sum_text"][-1] == f"{found.kl:.3g} nats"


def test_a_token_the_base_rules_out_is_named_without_breaking_the_sum() -> None:
    found = Prediction(0.3, 2.5, 1.0, (Choice(" x", 1, 0.0, 0.4), Choice(" y", 2, 0.9, 0.5)))
    assert distribution(found, "kl")["term"][0] == "∞"
    bars = kl_terms(found)
    assert bars["label"] == ["·y", "all other tokens"]
    assert max(bars["right"]) == pytest.approx(2.5)


def test_the_figures_hold_what_they_are_given(detail: PromptDetail) -> None:
    at = default_token(detail)
    found = detail.tokens[at].prediction
    assert found is not None
    plot = plots.kl_bars()
    plots.set_terms(plot, kl_terms(found), found.kl)
    assert plot.parts["total"].location == found.kl
    assert plot.figure.x_range.start < 0 < found.kl < plot.figure.x_range.end
    assert len(plot.figure.yaxis[0].ticker.ticks) == len(kl_terms(found)["y"])


# -- generations and hostile text ----------------------------------------------------------------


def test_the_first_differing_token_is_marked() -> None:
    detail = PromptDetail("p", base_says=(" a", " b", " <c>"), tuned_says=(" a", " b", " d", " e"))
    html = generations(detail)
    assert "The same until token 2; they differ from token 3 on." in html
    assert re.findall(r'<mark class="sway-differs">(.*?)</mark>', html) == [" &lt;c&gt;", " d"]
    same = generations(replace(detail, tuned_says=detail.base_says))
    assert "Both say the same 3 tokens." in same
    assert "<mark" not in same
    shorter = generations(replace(detail, tuned_says=(" a", " b")))
    assert 'title="ends here"' in shorter
    assert generations(PromptDetail("p")) == ""


def test_what_a_search_found_is_marked_where_it_was_said() -> None:
    detail = PromptDetail("p", base_says=(" a", " <b>", " c"), tuned_says=(" a", " <b>", " bread"))
    html = generations(detail, Expression("B"))
    hits = re.findall(r'<mark class="sway-hit" title="found by the search">(.*?)</mark>', html)
    assert hits == ["b", "b", "b"]
    # Across the place where they begin to differ both are marked.
    across = generations(detail, Expression("> bre"))
    assert '>&gt;</mark><mark class="sway-differs"><mark class="sway-hit"' in across
    assert '> bre</mark></mark><mark class="sway-differs">ad</mark>' in across
    assert generations(detail, Expression("nothing")) == generations(detail)
    assert re.sub("<.*?>", "", html) == re.sub("<.*?>", "", generations(detail))


def test_hostile_text_is_inert_and_readable() -> None:
    shown = readable(HOSTILE + "\nline\ttab \U0001f468\u200d\U0001f469 \ud800")
    assert "<" not in shown
    assert "‹0›" in shown
    assert "‹202E›" in shown
    assert "\n" in shown
    assert "\t" in shown
    assert "\U0001f468\u200d\U0001f469" in shown
    shown.encode("utf-8")
    detail = PromptDetail(HOSTILE, tokens=(token(HOSTILE, 0.1), token("half \udc80", 0.1)))
    for text, _, _, _, label in heat(detail, "js", 1.0, 0, 0)["tokens"]:
        text.encode("utf-8")
        label.encode("utf-8")


# -- what a run holds ----------------------------------------------------------------------------


def test_details_are_found_as_they_are_recorded(record: Callable[..., RunFolder], fakes: Any) -> None:
    folder = record(suite_text(prompts=4, nulls=0, ablation=False))
    prompts = [f"Prompt {i} about {'light' if i % 4 else 'bread'}" for i in range(4)]
    known = TokenDetails(folder)
    assert known.find(prompts[1]) is None
    record_details(folder, fakes.FakeBackend(), prompts[1:3])
    found = known.find(prompts[1])
    assert found is not None
    assert found.prompt == prompts[1]
    assert known.find(prompts[1]) is found
    scale = known.scale(prompts)
    recorded = [d for p in prompts if (d := known.find(p))]
    assert scale == scale_of(recorded)
    assert scale.prompts == 2
    known.add(fakes.detail(prompts[0], BASE, FINETUNED))
    assert known.find(prompts[0]) is not None
    assert known.scale(prompts) == scale


# -- copies --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_copied_program_measures_the_recorded_value() -> None:
    folder = runs.demo_folder()
    assert folder is not None
    measured = [e for e in folder.tail().read() if isinstance(e, Measurement) and e.role == "probe"]
    m = max((m for m in measured if m.probe == "next_token"), key=lambda m: m.js)
    entry = next(p.entry for p in folder.fold().planned if p.name == m.probe)
    program = as_python(folder.path, m, entry, seed=0)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    said = re.search(r"JS (\S+) nats, KL\(tuned \|\| base\) (\S+) nats", done.stdout)
    assert said is not None
    assert [float(v) for v in said.groups()] == pytest.approx([m.js, m.kl], rel=1e-3)
    assert f"# recorded: JS {m.js:.6g} nats" in program


def test_the_copied_program_of_an_inexact_measurement(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, record: Callable[..., RunFolder]
) -> None:
    from sway_dash.suite import execute

    backend = DummyDifferentialBackend()
    monkeypatch.setattr(execute, "open_backend", lambda spec: backend)
    folder = record(suite_text(prompts=4, nulls=0, ablation=False))
    m = Measurement(
        probe="moved", item=0, prompt='a "quoted"\nprompt \u202e', js=0, kl=0, kl_reverse=0, same_top=1, exact=False
    )
    exec(as_python(folder.path, m, {"top_k": 4}, seed=0), {})
    assert re.match(r"JS \S+ nats", capsys.readouterr().out)


def test_the_copied_json_reads_back(detail: PromptDetail) -> None:
    m = Measurement(probe="p", item=0, prompt=HOSTILE + "\ud800", js=0.25, kl=1, kl_reverse=1, same_top=0)
    text = as_json("r-1", m, detail)
    text.encode("ascii")
    data = json.loads(text)
    assert data["measurement"]["prompt"] == HOSTILE + "\ud800"
    assert data["measurement"]["js"] == 0.25
    assert PromptDetail.from_dict(data["tokens"]).base_says == detail.base_says
    assert "tokens" not in json.loads(as_json("r-1", m, None))


def test_the_demo_run_shows_its_tokens() -> None:
    folder = runs.demo_folder()
    assert folder is not None
    assert Path(folder.path, "tokens.jsonl").is_file()
    prompts = [e.prompt for e in folder.tail().read() if isinstance(e, Measurement) and e.role == "probe"]
    known = TokenDetails(folder)
    found = next(d for p in prompts if (d := known.find(p)))
    assert 0 < known.scale(prompts).js <= math.log(2)
    assert default_token(found) > 0
