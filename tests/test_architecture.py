"""The shape of the house is a test: imports point down, light imports stay light, files are small and described."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.processes import loaded

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sway_dash"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 450

LAYERS = {
    "core": {"core"},
    "backends": {"core", "backends"},
    "probes": {"core", "probes"},
    "mining": {"core", "probes", "mining"},
    # What is read from a finished run may be rendered below the place that makes runs; see BELOW_RUNNING.
    "report": {"core", "probes", "suite", "report", "figures", "backends"},
    "suite": {"core", "backends", "probes", "report", "suite"},
    # What is drawn of a run: no Panel, no param; pages and the HTML report show it.
    "figures": {"core", "backends", "probes", "report", "suite", "figures"},
    # What plugs the engine into other tools: the Trainer, pytest, trackers.
    "integrations": {"core", "backends", "probes", "report", "suite", "integrations"},
    "demo": {"core", "backends", "probes", "report", "suite", "demo"},
    "dash": {"core", "backends", "probes", "report", "suite", "figures", "demo", "dash"},
    # The commands are where everything meets.
    "cli": {"core", "backends", "probes", "mining", "report", "suite", "figures", "demo", "dash"}
    | {"integrations", "cli"},
}
"""Which folders a folder may import from."""

BELOW_RUNNING = {"execute", "runner", "store", "loader", "report"}
"""Modules of ``suite`` that renderers must not know: a renderer gets a result, it does not fetch one."""

MODEL_STACK = {"torch", "transformers", "peft", "safetensors", "accelerate", "tokenizers", "gguf"}
SCREEN_STACK = {"panel", "panel_material_ui", "bokeh", "holoviews", "param", "pandas", "matplotlib", "plotly"}


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def folder_of(path: Path) -> str:
    """Layer of a module; the few files at the top are the package itself."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


@cache
def parsed(path: Path) -> ast.Module:
    """The module's code, read once for all that is asked of it."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path, *, lazy: bool) -> set[str]:
    """Dotted names a module imports; without ``lazy`` only those that its own import brings along."""
    found: set[str] = set()
    package = ("sway_dash", *path.relative_to(PACKAGE).parts[:-1])
    pending: list[ast.AST] = [parsed(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not lazy:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            # ``from sway_dash import dash`` imports a folder just as well.
            found.update(f"{module}.{alias.name}" for alias in node.names)
        pending += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_point_down(path):
    here = folder_of(path)
    if not here:
        pytest.skip("the package's own face")
    for name in imports(path, lazy=True):
        parts = name.split(".")
        if parts[0] != "sway_dash" or len(parts) < 2 or parts[1] not in LAYERS:
            continue
        assert parts[1] in LAYERS[here], f"{here}/ imports {name}"
        if here == "report" and parts[1] == "suite":
            assert not BELOW_RUNNING & set(parts[2:3]), f"a renderer imports {name}"


def test_every_folder_has_its_place_in_the_table():
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders <= set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_the_model_stack_is_imported_lazily_and_only_where_models_live(path):
    at_once = {name.split(".")[0] for name in imports(path, lazy=False)}
    assert not at_once & MODEL_STACK, f"imports {at_once & MODEL_STACK} when it is itself imported"
    if folder_of(path) not in ("backends", "demo"):
        ever = {name.split(".")[0] for name in imports(path, lazy=True)}
        assert not ever & MODEL_STACK, f"imports {ever & MODEL_STACK}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_the_screen_stack_is_imported_only_where_things_are_shown(path):
    own = {"dash": SCREEN_STACK, "figures": {"bokeh"}, "report": {"bokeh", "pandas"}, "demo": {"bokeh"}}
    allowed = own.get(folder_of(path), set())
    ever = {name.split(".")[0] for name in imports(path, lazy=True)} & SCREEN_STACK
    assert not ever - allowed, f"imports {ever - allowed}"


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("sway_dash", {"torch", "transformers", "peft", "panel", "bokeh", "holoviews", "numpy", "pydantic", "yaml"}),
        ("sway_dash.cli.app", {"torch", "numpy", "pydantic", "yaml", "rich", "panel", "bokeh"}),
        ("sway_dash.core.scoring", {"torch", "scipy", "panel", "yaml"}),
        ("sway_dash.probes", MODEL_STACK | SCREEN_STACK | {"scipy"}),
        ("sway_dash.backends, sway_dash.backends.hf, sway_dash.backends.torch_compare", MODEL_STACK | SCREEN_STACK),
        ("sway_dash.suite.execute", MODEL_STACK | SCREEN_STACK | {"rich"}),
        ("sway_dash.suite.inspector", MODEL_STACK | SCREEN_STACK | {"rich"}),
        ("sway_dash.suite.inspect_client", MODEL_STACK | SCREEN_STACK | {"rich"}),
        ("sway_dash.suite.report, sway_dash.suite.trace_analysis", MODEL_STACK | SCREEN_STACK | {"rich"}),
        ("sway_dash.figures.plots", {"torch", "panel"}),
        ("sway_dash.dash.jobs", {"torch", "panel", "bokeh", "param"}),
        ("sway_dash.dash.state, sway_dash.dash.draft", {"torch", "panel", "bokeh", "holoviews"}),
        ("sway_dash.dash.app", {"torch", "transformers", "peft"}),
    ],
)
def test_a_light_import_stays_light(module, banned):
    assert loaded(f"import {module}", banned) == []


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_file_grows_too_long(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines < MAX_LINES, f"{lines} lines: split it"


def public_without_docstring(tree: ast.Module) -> Iterator[str]:
    """Public functions and classes that say nothing."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_modules_and_public_names_say_what_they_are(path):
    tree = parsed(path)
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"
    assert list(public_without_docstring(tree)) == []
