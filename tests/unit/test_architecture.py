"""Imports run one way: no circles, and nothing knows what lies on a floor above it."""

import ast
import re
from pathlib import Path

import pytest

import llama_index_raganything

ROOT = Path(llama_index_raganything.__file__).parent
PACKAGE = ROOT.name
FLOORS = (
    {"errors", "_arguments", "_async", "_files", "_imports", "_pickling", "text"},
    {"elements", "settings", "nodes"},
    {"documents", "questions", "attachments", "images", "modalities", "workers", "models", "tables"},
    {"retries", "ranking"},
    {"graph"},
    {"readers", "stores"},
    {"node_parser", "enrich"},
    {"retrievers", "query_engine", "ingestion"},
    {"index"},
    {"cli", "testing"},
)


def is_module(name):
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def package_of(name, path):
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def imports():
    """Map every module to the package's modules that it imports, inside functions too, types aside."""
    graph = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing_only = {
            id(node)
            for branch in ast.walk(tree)
            if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
            for node in ast.walk(branch)
        }
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in typing_only]
        graph[name] = {
            target
            for node in froms
            for alias in node.names
            for target in [f"{node.module}.{alias.name}", node.module]
            if (node.module or "").startswith(PACKAGE) and is_module(target) and target != package_of(name, path)
        }
    return graph


def circles(graph):
    """Return the circles of a graph, each as the list of its members."""
    done, path, found = set(), [], []

    def visit(member):
        if member in path:
            found.append([*path[path.index(member) :], member])
            return
        if member in done:
            return
        path.append(member)
        for target in sorted(graph.get(member, ())):
            visit(target)
        path.pop()
        done.add(member)

    for member in graph:
        visit(member)
    return found


def inside(folder):
    """Map what lies directly in a folder, modules and folders, to what it imports there."""
    graph, depth = {}, len(folder)
    for module, targets in imports().items():
        parts = module.split(".")
        if tuple(parts[:depth]) != folder or len(parts) <= depth:
            continue
        own = graph.setdefault(parts[depth], set())
        for target in targets:
            other = target.split(".")
            if tuple(other[:depth]) == folder and len(other) > depth and other[depth] != parts[depth]:
                own.add(other[depth])
    return graph


def folders():
    return sorted((PACKAGE, *path.parent.relative_to(ROOT).parts) for path in ROOT.rglob("__init__.py"))


def test_no_import_circles():
    assert circles(imports()) == []


@pytest.mark.parametrize("folder", folders(), ids=".".join)
def test_imports_inside_a_folder_run_one_way(folder):
    """Modules and sub-folders side by side form no circle, so that each can be read without those above it."""
    assert circles(inside(folder)) == []


@pytest.mark.parametrize("folder", folders(), ids=".".join)
def test_no_folder_holds_more_than_a_dozen_modules(folder):
    path = ROOT.joinpath(*folder[1:])
    modules = [each for each in path.glob("*.py") if not each.name.startswith("_")]
    assert len(modules) <= 12, sorted(each.name for each in modules)


def test_no_two_modules_side_by_side_differ_by_an_s():
    for folder in folders():
        names = {path.stem for path in ROOT.joinpath(*folder[1:]).iterdir() if not path.name.startswith("_")}
        assert not {name for name in names if f"{name}s" in names}, folder


def test_the_documentation_shows_these_floors():
    text = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| (\d+) \| (`.*`) \|$", text, re.MULTILINE))
    assert {int(floor): set(re.findall(r"`(\w+)`", names)) for floor, names in shown.items()} == dict(
        enumerate(FLOORS, 1)
    )


def test_nothing_knows_a_floor_above_it():
    floor = {name: height for height, names in enumerate(FLOORS) for name in names}
    for module, targets in imports().items():
        name = module.split(".")[1] if "." in module else None
        if name in (None, "__main__"):
            continue
        for target in targets:
            below = target.split(".")[1] if "." in target else None
            if below is not None and below != name:
                assert floor[below] <= floor[name], f"{module} imports {target}"
