"""The New run page in a browser: form and YAML, mistakes, drafts, prompts, models, and a real run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sway_dash.demo import demo_dir
from tests.dash.conftest import suite_text
from tests.ui.conftest import Server, Tab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]

ACE = """(text) => { const deep = function* (n) { for (const c of n.children ?? []) { yield c
    if (c.shadowRoot) yield* deep(c.shadowRoot)
    yield* deep(c) } }
    for (const el of deep(document.body)) if (el.env?.editor) {
        if (text !== null) el.env.editor.setValue(text, -1)
        return el.env.editor.getValue() } return '' }"""
EXAMPLE = (demo_dir() / "sway.yaml").read_text(encoding="utf-8")
FOCUS = """() => { let a = document.activeElement; while (a?.shadowRoot?.activeElement) a = a.shadowRoot.activeElement
    return a ? [a.getAttribute('aria-invalid'), a.value ?? '', a.className] : [] }"""


class Page:
    """The page as a reader of it sees it."""

    def __init__(self, tab: Tab) -> None:
        self.tab, self.page = tab, tab.page
        self.page.locator(".sway-hook-yaml .ace_content").wait_for()
        # Where the example stands already nothing would show that a press has been answered.
        if self.yaml() != EXAMPLE:
            self.press("Demo suite")
        self.until(lambda: self.yaml() == EXAMPLE)
        # What was counted away from the loop arrives once the page is ready to be used.
        self.until(lambda: self.button().inner_text().startswith("Run 524 passes"))

    def until(self, holds: Callable[[], bool]) -> bool:
        return self.tab.until(holds)

    def yaml(self) -> str:
        return str(self.page.evaluate(ACE, None))

    def write(self, text: str) -> None:
        """Write the whole text, as if typed."""
        self.page.evaluate(ACE, text)

    def plan(self) -> str:
        return self.words("plan")

    def button(self) -> Any:
        return self.page.locator(".sway-hook-run").get_by_role("button")

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def field(self, label: str) -> Any:
        return self.page.get_by_label(label, exact=True).first

    def fill(self, label: str, value: str) -> None:
        self.field(label).fill(value)
        self.field(label).blur()

    def cells(self) -> list[str]:
        return list(self.page.locator(".sway-hook-prompts .tabulator-cell[tabulator-field=text]").all_inner_texts())

    def open_import(self) -> None:
        """Unfold what takes other prompts."""
        if not self.page.get_by_label("Paste prompts").is_visible():
            self.page.get_by_role("button", name="Paste or upload prompts").click()

    def words(self, hook: str) -> str:
        return " ".join(self.page.locator(f".sway-hook-{hook} :is(p, li)").all_inner_texts())


@pytest.fixture
def page(same_tab: Open) -> Page:
    """The form with the example in it."""
    return Page(same_tab("?page=new"))


def fake(**options: Any) -> str:
    return "# my comment\n" + suite_text(prompts=5, nulls=0, ablation=False, **options)


def test_the_form_changes_its_line_and_the_yaml_changes_the_form(page: Page) -> None:
    page.write(fake())
    page.until(lambda: page.field("name").input_value() == "moved")
    page.fill("name", "renamed")
    page.until(lambda: "name: renamed" in page.yaml())
    assert page.yaml() == fake().replace("name: moved", "name: renamed")
    page.write(page.yaml().replace("name: renamed", "name: by_hand"))
    page.until(lambda: page.field("name").input_value() == "by_hand")
    page.press("Undo")
    page.until(lambda: page.field("name").input_value() == "renamed")
    page.press("Undo")
    page.until(lambda: page.field("name").input_value() == "moved")
    page.press("Redo")
    page.until(lambda: "name: renamed" in page.yaml())


def test_the_editor_looks_like_one_in_both_themes(page: Page) -> None:
    gutter, line = (page.page.locator(f".sway-hook-yaml {name}").first for name in (".ace_gutter", ".ace_line"))
    page.until(lambda: line.bounding_box()["x"] >= gutter.bounding_box()["x"] + gutter.bounding_box()["width"])
    assert line.inner_text().startswith("# What did")
    colour = "el => getComputedStyle(el).backgroundColor"
    light = gutter.evaluate(colour)
    page.page.keyboard.press("t")
    page.until(lambda: gutter.evaluate(colour) not in (light, "rgba(0, 0, 0, 0)"))


def test_broken_yaml_closes_the_form_until_it_is_mended(page: Page) -> None:
    page.write(fake())
    page.until(lambda: page.button().inner_text().startswith("Run 10 passes"))
    page.write(fake() + "models: [\n")
    page.until(lambda: "invalid YAML" in page.plan())
    page.until(lambda: page.field("name").is_disabled())
    page.button().click()
    page.until(lambda: "ace_text-input" in page.page.evaluate(FOCUS)[2])
    page.write(fake())
    page.until(lambda: page.button().inner_text().startswith("Run 10 passes"))
    assert page.until(lambda: page.field("name").is_enabled())


def test_run_goes_to_what_is_wrong(page: Page) -> None:
    page.write(fake(assert_mean_gte=-1))
    page.until(lambda: "assert_mean_gte" in page.plan())
    assert not page.page.get_by_label("assert mean gte").is_visible()
    page.button().click()
    page.until(lambda: page.page.evaluate(FOCUS)[:2] == ["true", "-1"])
    page.fill("assert mean gte", "0.05")
    page.until(lambda: page.button().inner_text().startswith("Run 10 passes"))
    assert "assert_mean_gte: 0.05" in page.yaml()


def test_a_reload_keeps_the_draft(page: Page) -> None:
    page.write(fake())
    page.until(lambda: page.field("name").input_value() == "moved")
    page.fill("name", "kept")
    page.until(lambda: "Kept as draft d-" in page.words("notice"))
    page.until(lambda: "name: kept" in page.yaml())
    name = page.words("notice").split("draft ")[1].split(" ")[0]
    page.until(lambda: f"draft={name}" in page.page.url)
    page.page.wait_for_timeout(1000)
    page.page.reload()
    page.until(lambda: "name: kept" in page.yaml())
    assert page.yaml().startswith("# my comment\n")
    page.until(lambda: page.button().inner_text().startswith("Run 10 passes"))


def test_an_earlier_draft_can_be_opened_again(page: Page) -> None:
    page.write(fake())
    page.until(lambda: page.field("name").input_value() == "moved")
    page.fill("Name of the run", "Earlier one")
    page.until(lambda: "Kept as draft d-" in page.words("notice"))
    page.press("Empty suite")
    page.until(lambda: "my comment" not in page.yaml())
    page.field("Recent drafts").click()
    page.page.locator("li").filter(has_text="Earlier one").first.click()
    assert page.until(lambda: page.yaml() == fake())


def test_pasted_prompts_are_seen_tagged_and_freed_of_duplicates(page: Page) -> None:
    page.write(fake())
    page.until(lambda: len(page.cells()) == 5)
    page.open_import()
    page.page.get_by_label("Paste prompts").fill("first light\nsecond light\nfirst light\n")
    page.until(lambda: "3 prompts; 1 duplicate found" in page.words("preview"))
    page.press("Replace all")
    page.until(lambda: "3 prompts; 1 duplicate" in page.words("count"))
    page.until(lambda: page.cells() == ["first light", "second light", "first light"])
    notes = page.page.locator(".sway-hook-prompts .tabulator-cell[tabulator-field=note]")
    page.until(lambda: "repeats 1" in " ".join(notes.all_inner_texts()))
    page.press("Remove duplicates")
    page.until(lambda: page.cells() == ["first light", "second light"])
    page.page.locator(".sway-hook-prompts .tabulator-row input[type=checkbox]").first.check()
    page.field("Tag").fill("warm")
    page.press("Tag selected")
    page.until(lambda: "{text: first light, tags: [warm]}" in page.yaml())
    assert "# my comment\n" in page.yaml()


def test_a_cell_can_be_edited_in_place(page: Page) -> None:
    page.write(fake())
    page.until(lambda: len(page.cells()) == 5)
    cell = page.page.locator(".sway-hook-prompts .tabulator-cell[tabulator-field=text]").nth(1)
    box = page.page.locator(".sway-hook-prompts textarea")

    def editing() -> bool:
        # The table may still be drawing its new rows.
        if not box.count():
            cell.click()
        return bool(box.count())

    page.until(editing)
    box.fill("another light")
    page.page.keyboard.press("Tab")
    page.until(lambda: "text: another light" in page.yaml())
    assert page.until(lambda: page.cells()[1] == "another light")


def test_a_file_with_line_breaks_and_tags_is_taken(page: Page, tmp_path: Path) -> None:
    page.write(fake())
    page.until(lambda: len(page.cells()) == 5)
    (tmp_path / "p.csv").write_text('prompt,tags\n"one\nlight",a;b\ntwo light,\n', encoding="utf-8")
    page.open_import()
    page.page.locator("input[type=file]").first.set_input_files(tmp_path / "p.csv")
    page.until(lambda: "2 prompts found" in page.words("preview"))
    page.press("Add 2 prompts")
    page.until(lambda: "7 prompts" in page.words("count"))
    assert '{text: "one\\nlight", tags: [a, b]}' in page.yaml()


def test_the_example_adapter_is_found_and_described(page: Page) -> None:
    page.press("Empty suite")
    page.until(lambda: "is empty" in page.plan() or "is required" in page.plan())
    page.page.get_by_label("adapters found here").first.click()
    page.page.locator("li").filter(has_text="demo/adapter").click()
    page.until(lambda: "rank 16" in page.words("adapter") and "α 32" in page.words("adapter"))
    page.page.get_by_label("bases found here").first.click()
    page.page.locator("li").filter(has_text="demo/model").click()
    page.until(lambda: "1.6 M parameters" in page.words("base"))
    assert page.yaml().count("demo/model") == 2


def test_a_base_that_does_not_fit_is_refused_before_loading(page: Page, server: Server) -> None:
    model = server.runs / "wide"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 4}))
    names = {f"model.layers.{i}.self_attn.q_proj.weight": (512, 512) for i in range(4)}
    header = json.dumps(
        {n: {"dtype": "F32", "shape": list(s), "data_offsets": [0, 0]} for n, s in names.items()}
    ).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * len(header))
    page.until(lambda: "rank 16" in page.words("adapter"))
    page.fill("base model", str(model))
    page.until(lambda: "does not fit" in page.plan())
    assert "is 512 × 512 there" in page.plan()
    page.button().click()
    page.until(lambda: page.page.evaluate(FOCUS)[:2] == ["true", "./adapter"])
    page.press("Undo")
    page.until(lambda: "does not fit" not in page.plan())


def test_tokens_are_shown_as_the_model_reads_them(page: Page) -> None:
    page.until(lambda: "<|begin|> first" in page.words("tokens"))
    chips = page.page.locator(".sway-hook-tokens .sway-chip")
    page.until(lambda: chips.count() == 9)
    assert chips.nth(2).inner_text() == "·keeper"
    assert "chat template" in page.words("tokens")


def test_presets_keep_prompts_and_say_what_they_cost(page: Page) -> None:
    page.until(lambda: page.button().inner_text().startswith("Run 524 passes"))
    before = page.yaml()
    page.press("Quick check")
    page.until(lambda: "runs: 5" in page.yaml())
    page.until(lambda: page.button().inner_text().startswith("Run ") and "524" not in page.button().inner_text())
    assert page.yaml().count("enabled: false") == 2
    page.press("Undo")
    page.until(lambda: page.yaml() == before)


def test_what_a_slow_browser_reports_late_does_not_stay_on_the_button(page: Page) -> None:
    # Panel's widgets report every value they have painted, also one that the next has replaced meanwhile.
    late = """() => new Promise((done) => {
        for (const doc of Bokeh.documents) for (const m of [...doc._all_models.values()]) {
            if (!m.data?.attributes?.label?.startsWith?.("Run 524 passes")) continue
            m.data.setv({ label: "Run" })
            m.data.properties.label.change.connect(() => done(m.data.label))
        }
        setTimeout(() => done("nothing came"), 100_000) })"""
    assert page.page.evaluate(late).startswith("Run 524 passes")
    assert page.until(lambda: page.button().inner_text().startswith("Run 524 passes"))


@pytest.mark.parametrize("how", ["button", "key in a field", "key in the editor"])
def test_what_was_typed_last_is_in_the_run(page: Page, server: Server, how: str) -> None:
    page.write(fake())
    page.until(lambda: page.button().inner_text().startswith("Run 10 passes"))
    before = set(server.runs.iterdir())
    if how == "key in the editor":
        box = page.page.locator(".sway-hook-yaml .ace_content").bounding_box()
        page.page.mouse.click(box["x"] + 60, box["y"] + 8)
        page.page.keyboard.press("Control+End")
        page.page.keyboard.type("# typed last")
        page.page.keyboard.press("Control+Enter")
    else:
        page.field("name").fill("typed_last")
        page.button().click() if how == "button" else page.field("name").press("Control+Enter")
    page.until(lambda: any(p.name.startswith("r-") for p in set(server.runs.iterdir()) - before))
    (run,) = [p for p in set(server.runs.iterdir()) - before if p.name.startswith("r-")]
    page.until(lambda: (run / "spec.yaml").is_file())
    text = (run / "spec.yaml").read_text(encoding="utf-8")
    assert "# typed last" in text or "name: typed_last" in text


def test_it_runs_what_the_button_says(page: Page, server: Server) -> None:
    before = set(server.runs.iterdir())
    page.write(fake())
    page.until(lambda: page.button().inner_text().startswith("Run 10 passes"))
    page.button().click()

    def shown() -> Path:
        (name,) = parse_qs(urlsplit(page.page.url).query).get("run", ["none"])
        return server.runs / name

    page.until(lambda: shown().is_dir() and shown() not in before)
    page.until(lambda: "finished" in page.tab.head() and page.tab.rows() == 5)
    run = shown()
    assert (run / "spec.yaml").read_text(encoding="utf-8") == fake()
    last = json.loads((run / "events.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert last["backend_stats"]["forward_passes"] == 10
    page.tab.open_tab("New run")
    page.until(lambda: "≈" in page.button().inner_text())


def test_it_fits_a_telephone(same_tab: Open) -> None:
    page = Page(same_tab("?page=new", width=390, height=844))
    page.until(lambda: len(page.cells()) > 0)
    assert page.page.evaluate("document.scrollingElement.scrollWidth") <= 390
